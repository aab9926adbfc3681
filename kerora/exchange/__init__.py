"""Models and adapters to and from other tools: PEFT, transformers, KerasHub, ONNX."""
