"""Pretrained models: finding them, and the tasks built on them."""
