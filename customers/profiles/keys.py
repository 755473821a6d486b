"""Names as keys of a profile."""

from __future__ import annotations


def key_of(name: str) -> str:
    """The name of an event, a campaign or a reward as a key: MongoDB reads dots as a path."""
    return name.replace(".", "/")
