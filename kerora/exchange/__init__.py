"""Exports of models and adapters to other tools, and imports from them: PEFT, transformers, KerasHub, ONNX."""
