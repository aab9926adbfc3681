"""Settings of one task that several others refuse."""

from kerora.errors import ConfigError
from kerora.settings.fit import FitConfig


def check_no_threshold(config: FitConfig) -> None:
    """Refuse --threshold.

    Raises:
        ConfigError: it is given.
    """
    if config.training.threshold is not None:
        raise ConfigError(
            f"--threshold decides which labels a text gets with --task multi-label, not with --task {config.task}. "
            "Leave it out."
        )
