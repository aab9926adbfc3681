"""Logs of a training in the tools that people compare experiments with: TensorBoard, Weights & Biases, MLflow."""
