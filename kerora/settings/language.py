"""The settings that only language models have. They are a group of `FitConfig`."""

import re
from dataclasses import dataclass

from kerora.errors import ConfigError
from kerora.settings.base import Settings, at_least, more_than, setting

PACKS = ("auto", "blocks", "docs", "none")


@dataclass(frozen=True)
class LanguageConfig(Settings):
    """The texts of `--task causal-lm` and their layout in rows."""

    prompt: str | None = setting(
        None,
        "Column of the prompts. The loss counts only the completions. Default: found by name (prompt, instruction, "
        "question, ...) if there is no text column.",
    )
    completion: str | None = setting(
        None, "Column of the completions. Default: found by name (completion, response, answer, ...)."
    )
    turns: str | None = setting(
        None,
        "Column of conversations. Default: found by name (messages, conversations, dialogue, turns). A conversation is "
        "a list of texts, or of objects with role and content. The chat template of the model "
        "writes them. Without one the end-of-text token ends each turn. The loss counts only the assistant's turns. In "
        "a list of plain texts these are every second text.",
    )
    roles: tuple[str, ...] = setting(
        (),
        "Meaning of further roles in conversations, as NAME=assistant or NAME=user, separated by commas. The loss "
        "counts the turns of 'assistant'. Default: the usual names, such as assistant, gpt, user, human and system.",
    )
    chat_template: str | None = setting(
        None,
        "Chat template of conversations, a Jinja file. Default: that of the model, if it has one. 'none' joins the "
        "turns by the end-of-text token.",
    )
    pack: str = setting(
        "auto",
        "How texts become rows. 'blocks' joins all texts and cuts the result every --max-length tokens. 'docs' does "
        "the same, but no text attends to another text or is predicted from it. 'none' gives each text its own rows, "
        "with padding. 'auto' is 'blocks' for texts and 'none' for prompts and turns.",
        choices=PACKS,
    )
    # A smaller step gives each token more context, and needs more windows.
    window_step: int | None = setting(
        None,
        "Evaluation reads texts longer than --max-length with a moving window. This is its step in tokens. Default: "
        "half of --max-length.",
        check=at_least(1),
    )
    samples: int = setting(
        4,
        "Number of sample prompts from the evaluated rows. Each is continued before and after training.",
        check=at_least(0),
    )
    sample_tokens: int = setting(40, "Length of a sample continuation in tokens.", check=at_least(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = next((item for item in self.roles if not re.fullmatch(r"[^=]+=(assistant|user)", item)), None)
        if wrong is not None:
            raise ConfigError(f"Setting 'roles' needs NAME=assistant or NAME=user. Received: {wrong!r}")

    def is_learnt(self, role: str) -> bool | None:
        """Tell whether the loss counts the turns of a role that `roles` names. None if it does not name it."""
        # Lowercase on both sides, because data sets write "User" and "user".
        meanings = dict(item.lower().rsplit("=", 1) for item in self.roles)
        meaning = meanings.get(role.lower())
        return None if meaning is None else meaning == "assistant"


@dataclass(frozen=True)
class Sampling(Settings):
    """How `kerora generate` and `kerora chat` choose the next token, and when a text ends.

    `top_p` is nucleus sampling (Holtzman et al. 2019, arXiv:1904.09751). The repetition penalty is from Keskar et al.
    2019 (arXiv:1909.05858). Both are computed as in transformers.

    Raises:
        ConfigError: a value is out of range, or `top_k` or `top_p` is given with temperature 0.
    """

    max_tokens: int = setting(64, "Maximum number of new tokens.", check=at_least(1))
    temperature: float = setting(
        0.0,
        "Sampling temperature: the logits are divided by it. 0 always takes the most probable token (greedy).",
        check=at_least(0),
    )
    top_k: int | None = setting(None, "Sample only from the K most probable tokens.", check=at_least(1))
    top_p: float | None = setting(
        None,
        "Sample only from the most probable tokens whose total probability reaches this value (nucleus sampling).",
        check=more_than(0),
    )
    repetition_penalty: float = setting(
        1.0,
        "Above 1: tokens that already occurred, also in the prompt, become less probable.",
        check=more_than(0),
    )
    stop: tuple[str, ...] = setting((), "Texts that end a continuation. They are not part of it.")
    seed: int = setting(42, "Seed of the sampling. Each prompt has its own random numbers.", check=at_least(0))

    def __post_init__(self) -> None:
        # first, because it converts text to numbers
        super().__post_init__()
        # not with `between`, which excludes its upper end: 1 keeps all tokens and is allowed
        if self.top_p is not None and self.top_p > 1:
            raise ConfigError(f"Setting 'top_p' must be 1 or less. Received: {self.top_p}")
        # an empty text is in every text, so nothing would be generated
        if not all(self.stop):
            raise ConfigError("Setting 'stop' must not hold an empty text. Leave the empty text out.")
        if self.temperature == 0 and (self.top_k is not None or self.top_p is not None):
            raise ConfigError("top_k and top_p need sampling, but temperature is 0. Give a temperature above 0.")
