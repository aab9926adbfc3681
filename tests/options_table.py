"""Prints the tables of options of the README from the settings in the folder kerora/settings.

    python tests/options_table.py

Paste the first between the marks `<!-- options -->` and `<!-- /options -->` of README.md, the second
between `<!-- pretrain options -->` and `<!-- /pretrain options -->`, the third between
`<!-- tune options -->` and `<!-- /tune options -->`.
"""

from itertools import groupby

from kerora.config import FitConfig, PretrainConfig, Setting, settings
from kerora.settings.base import Settings
from kerora.settings.tune import TuneConfig

GROUPS = {"": "Run", "data": "Data", "model": "Model", "lora": "LoRA", "training": "Training"}
GROUPS["language"] = "Language models"
TUNE_GROUPS = {"": "Search"}
PRETRAIN_GROUPS = {**GROUPS, "": "Output", "data": "Text", "model": "Encoder", "distillation": "Distillation"}


def options_table(root: type[Settings] = FitConfig) -> str:
    """Return the table as Markdown: option, key of the YAML file, default, meaning."""
    lines = ["| option | key | default | meaning |", "|---|---|---|---|"]
    titles = {FitConfig: GROUPS, TuneConfig: TUNE_GROUPS}.get(root, PRETRAIN_GROUPS)
    for group, items in groupby(settings(root), key=lambda item: item.path.rpartition(".")[0]):
        lines.append(f"| **{titles[group]}** | | | |")
        lines += [_line(item) for item in items]
    return "\n".join(lines)


def _line(item: Setting) -> str:
    option = f"`{item.option}`" if not isinstance(item.default, bool) else f"`{item.option}`, `--no-{item.option[2:]}`"
    choices = f" One of {', '.join(f'`{choice}`' for choice in item.choices)}." if item.choices else ""
    help_text = item.help.replace("|", "\\|").replace("<", "&lt;")
    return f"| {option} | `{item.path}` | {_default(item.default)} | {help_text}{choices} |"


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    print(options_table(), options_table(PretrainConfig), options_table(TuneConfig), sep="\n\n")
