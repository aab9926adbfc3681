"""The settings that only language models have; see `kerora.config` for all others."""

from dataclasses import dataclass

from kerora.settings import Settings, at_least, setting

PACKS = ("auto", "blocks", "docs", "none")


@dataclass(frozen=True)
class LanguageConfig(Settings):
    """The texts of `--task causal-lm` and how they are laid out in rows."""

    prompt: str | None = setting(
        None,
        "Column of the prompts; the loss counts the completions alone. Empty means found by name (prompt, "
        "instruction, question, ...) where there is no text column.",
    )
    completion: str | None = setting(None, "Column of the completions (completion, response, answer, ...).")
    turns: str | None = setting(
        None,
        "Column of conversations (messages, conversations, dialogue, turns): a list of texts, or of objects with role "
        "and content. Each turn ends with the end-of-text token; the loss counts the assistant's turns, of mere texts "
        "every second one.",
    )
    pack: str = setting(
        "auto",
        "'blocks' joins all texts and cuts them at max_length, 'docs' does so and lets no text see another or be "
        "predicted from it, 'none' gives each text rows of its own, padded by length. 'auto' is blocks for texts, none "
        "for prompts and turns.",
        choices=PACKS,
    )
    stride: int | None = setting(
        None,
        "Tokens by which the window moves over texts longer than max_length in evaluation; empty means half of it.",
        check=at_least(1),
    )
    samples: int = setting(
        4, "Prompts from the evaluated rows that are continued before and after training.", check=at_least(0)
    )
    sample_tokens: int = setting(40, "Tokens of such a continuation.", check=at_least(1))
