"""What the outputs of a head for whole texts mean, as transformers names it (`problem_type` in config.json)."""

ONE_CLASS = "single_label_classification"
"""Each text has one of the classes."""
SEVERAL_LABELS = "multi_label_classification"
"""Each text has any number of the labels."""
NUMBERS = "regression"
"""The outputs are numbers."""
HEADS = {
    ONE_CLASS: "single-label classification head. Name the classes",
    SEVERAL_LABELS: "head for several labels per text. Name the classes",
    NUMBERS: "regression head. Name the targets",
}
"""What a message calls a head, and how to start with a new one."""
