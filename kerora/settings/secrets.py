"""Masks passwords and tokens in texts that are kept or sent."""

import re

# the password of an address, values that are named like a secret, and tokens of the hub
_SECRETS = (
    (re.compile(r"(?<=://)[^/\s@]+(?=@)"), "***"),
    (re.compile(r"(?i)((?:token|key|secret|password|passwd|signature|sig)=)[^&\s]+"), r"\1***"),
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), "hf_***"),
)


def masked(text: str) -> str:
    """Return text without passwords in addresses, values that are named like a secret, and tokens of the hub."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
