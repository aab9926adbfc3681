"""The settings that only language models have; a group of `FitConfig`."""

from dataclasses import dataclass

from kerora.errors import ConfigError
from kerora.settings.base import Settings, at_least, more_than, setting

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


@dataclass(frozen=True)
class Sampling(Settings):
    """How `kerora generate` and `kerora chat` choose the next token, and when a text ends.

    `top_p` is nucleus sampling (Holtzman et al. 2019, arXiv:1904.09751), the penalty that of Keskar et al. 2019
    (arXiv:1909.05858); both are computed as transformers computes them.

    Raises:
        ConfigError: a value is out of range, or `top_k` or `top_p` is given though nothing is drawn.
    """

    max_tokens: int = setting(64, "New tokens at most.", check=at_least(1))
    temperature: float = setting(
        0.0, "Logits are divided by it before a token is drawn; 0 takes the most probable token.", check=at_least(0)
    )
    top_k: int | None = setting(None, "Draw from so many most probable tokens only.", check=at_least(1))
    top_p: float | None = setting(
        None, "Draw from the most probable tokens that together reach this probability.", check=more_than(0)
    )
    repetition_penalty: float = setting(
        1.0, "Makes tokens that occurred already, in the prompt too, less probable when above 1.", check=more_than(0)
    )
    stop: tuple[str, ...] = setting((), "Texts that end a continuation and are not part of it.")
    seed: int = setting(42, "Seed of the drawing; each prompt draws for itself.", check=at_least(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_p is not None and self.top_p > 1:
            raise ConfigError(f"Setting 'top_p' must be 1 or less. Received: {self.top_p}")
        if not all(self.stop):
            raise ConfigError("Setting 'stop' must hold no empty text.")
        if self.temperature == 0 and (self.top_k is not None or self.top_p is not None):
            raise ConfigError("top_k and top_p choose what is drawn, but temperature is 0. Give a temperature above 0.")
