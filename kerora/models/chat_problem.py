"""What the use of a chat template needs without Jinja, which only conversations load."""

START, END = "\ue0f0\ue0f1generation\ue0f2", "\ue0f0\ue0f1endgeneration\ue0f2"
"""Written around the text of a ``{% generation %}`` block. The characters are private, and messages may not hold
them."""


class TemplateProblem(Exception):
    """A template that cannot be used, or that refuses a conversation."""
