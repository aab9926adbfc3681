"""The section of a model card on texts that are longer than a row. Other tools read one row of a text."""

from kerora.models.task import TaskModel
from kerora.tasks.probe import COLUMNS

# for str.format
WINDOWS = {
    "transformers": """from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("DIR")
model = AutoModelForSequenceClassification.from_pretrained("DIR").eval()
{rows}
logits = model(**rows).logits.{pool}""",
    "peft": """from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({base!r})
{rows}
logits = model.eval()(**rows).logits.{pool}  # model: see above""",
    "onnx": """import numpy as np, onnxruntime, tokenizers
tokenizer = tokenizers.Tokenizer.from_file("DIR/tokenizer.json")
tokenizer.enable_truncation({max_length}, stride={stride})
row = tokenizer.encode("a long text")
rows = [row, *row.overflowing]
longest = max(len(row.ids) for row in rows)
for row in rows:
    row.pad(longest, pad_id={pad_id})
session = onnxruntime.InferenceSession("DIR/model.onnx")
logits = session.run(None, {{{inputs}}})[0].{pool}""",
}
ROWS = """rows = tokenizer("a long text", truncation=True, max_length={max_length}, stride={stride},
                 return_overflowing_tokens=True, padding=True, return_tensors="pt")
rows.pop("overflow_to_sample_mapping")"""
POOLS = {"mean": "mean(0)", "max": "max(0)"}
TORCH_POOLS = {"mean": "mean(dim=0)", "max": "amax(dim=0)"}


def long_texts_section(form: str, model: TaskModel, base: str) -> str:
    """Return what the run does with long texts and how another tool can do it. Empty if every tool cuts alike.

    Args:
        form: format of the export.
        model: the exported model.
        base: name of the base model in snippets.
    """
    long = model.long_texts
    # An export in Kerora's own format holds the settings.
    if long.long == "cut-end" or form == "kerora":
        return ""
    settings = model.length_settings
    special = len(model.tokenizer.frame(False)[0]) - 1
    if not long.windows:
        last = (model.max_length - special) // 2
        first = model.max_length - special - last
        return (
            f"Of a text that is longer than {model.max_length} tokens, the run read the first {first} and the last "
            f"{last} tokens of text. Other tools cut the end instead, so cut the tokens before they are given to the "
            "model."
        )
    words = (
        f"The run read long texts in windows of {model.max_length} tokens that overlap by {settings['stride']}. The "
        f"logits of a text are the {'mean' if long.pool == 'mean' else 'maximum'} of those of its windows. Other tools "
        "read only the first window"
    )
    if form not in WINDOWS:
        return f"{words}. The run itself reads all windows with Kerora."
    values = {"max_length": model.max_length, "stride": settings["stride"]}
    inputs = ", ".join(f'"{name}": np.int32([row.{COLUMNS[name]} for row in rows])' for name in model.input)
    code = WINDOWS[form].format(
        **values,
        rows=ROWS.format(**values),
        base=base,
        pad_id=model.tokenizer.pad_id,
        inputs=inputs,
        pool=(POOLS if form == "onnx" else TORCH_POOLS)[long.pool],
    )
    return f"{words}, unless you give them all. For one text:\n\n```python\n{code}\n```"
