"""What may not be said of an item: its words reach customers with no campaign's checker between."""

from __future__ import annotations

from collections.abc import Iterator

from rewards.item import Item
from services.documents import wording
from services.documents.parts import Text
from services.documents.placeholders import PLACEHOLDER, look_alikes
from services.documents.problems import Fault, Fix, Place, fault, shortened


def faults(item: Item) -> list[Fault]:
    """Texts that are blank or hold a placeholder, which nobody fills in, and words that plainly
    promise a reward for sharing or following."""
    return [one for place, text in _texts(item) for one in _wrong(place, text)]


def soft(item: Item) -> list[Fault]:
    """Words that only look so, which a checker may let pass with a reason."""
    return [
        fault(place, "wording_soft", words=one.words)
        for place, text in _texts(item)
        for one in wording.found_in(text)
        if not one.banned
    ]


def _texts(item: Item) -> Iterator[tuple[Place, str]]:
    for name, value in item:
        if isinstance(value, Text):
            yield (name, "zh"), value.zh
            yield (name, "en"), value.en


def _wrong(place: Place, text: str) -> Iterator[Fault]:
    if text and not text.strip():
        yield fault(place, "text_blank")
    for match in PLACEHOLDER.finditer(text):
        yield fault(place, "placeholder_here", text=match[0])
    for like in look_alikes(text):
        yield fault(place, "placeholder_like", text=shortened(like.text), fix=Fix())
    for one in wording.found_in(text):
        if one.banned:
            yield fault(place, "wording", words=one.words)
