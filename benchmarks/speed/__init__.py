"""Speed and memory side by side: Kerora, transformers with PEFT, and plain KerasHub, on the same work."""
