"""Arithmetic of spans: the codes that a pool still has, as few runs of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rewards.pools.rows import Span

NEVER = datetime.max.replace(tzinfo=UTC)
Number = tuple[str, int]
"""A code: the lot, and the number in it."""


def size(spans: Iterable[Span]) -> int:
    return sum(span["end"] - span["first"] for span in spans)


def ordered(spans: Iterable[Span]) -> list[Span]:
    """The same codes, soonest to expire first, neighbours as one."""
    found: list[Span] = []
    for span in sorted(spans, key=_order):
        last = found[-1] if found else None
        if last is not None and _neighbours(last, span):
            last["end"] = span["end"]
        elif span["end"] > span["first"]:
            found.append({**span})
    return found


def _order(span: Span) -> tuple[datetime, str, int]:
    return span["expires"] or NEVER, span["lot"], span["first"]


def _neighbours(one: Span, other: Span) -> bool:
    same = (one["lot"], one["expires"]) == (other["lot"], other["expires"])
    return same and one["end"] == other["first"]


def split(spans: Sequence[Span], n: int) -> tuple[list[Span], list[Span]]:
    """The first `n` codes (or all), and the rest."""
    taken: list[Span] = []
    rest: list[Span] = []
    for span in spans:
        cut = span["first"] + max(0, min(n, span["end"] - span["first"]))
        n -= cut - span["first"]
        if cut > span["first"]:
            taken.append({**span, "end": cut})
        if cut < span["end"]:
            rest.append({**span, "first": cut})
    return taken, rest


def singles(spans: Iterable[Span]) -> Iterator[Span]:
    """Each code as a span of its own, in their order."""
    for span in spans:
        for number in range(span["first"], span["end"]):
            yield {**span, "first": number, "end": number + 1}


def numbers(spans: Iterable[Span]) -> Iterator[Number]:
    """Each code's lot and number, in their order."""
    for span in spans:
        for number in range(span["first"], span["end"]):
            yield span["lot"], number


def without(spans: Iterable[Span], numbers: Iterable[Number]) -> list[Span]:
    """The spans without these codes."""
    out = set(numbers)
    return ordered(one for one in singles(spans) if (one["lot"], one["first"]) not in out)


def has(spans: Iterable[Span], number: Number) -> bool:
    lot, n = number
    return any(span["lot"] == lot and span["first"] <= n < span["end"] for span in spans)
