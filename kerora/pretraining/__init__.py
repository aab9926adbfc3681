"""Pre-training: text, vocabulary, masked and next-token models, distillation, and the preset that comes out."""
