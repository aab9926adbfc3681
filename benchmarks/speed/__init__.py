"""Speed and memory of Kerora, transformers with PEFT, and plain KerasHub, on the same work."""
