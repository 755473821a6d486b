"""Occasions: what a customer may earn points for, one table.

An occasion is a kind of the customers' timeline. Whoever tells of it gives the customer, a key that
is the same however often it is told, and when it was; a new occasion is a row here and whoever tells
of it (rewards/points/earning.py). The events that the bank's own systems send are occasions too,
under their names with BANKS before them (customers/intake/effects.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from customers.intake.effects import TOLD_AS as BANKS


@dataclass(frozen=True, slots=True)
class Occasion:
    """`undone_by` is the kind that takes it back, told with the same key: what was earned by it is
    given back then."""

    name: str
    undone_by: str = ""


OCCASIONS: dict[str, Occasion] = {
    one.name: one
    for one in (
        Occasion("customer.login"),
        Occasion("phone.bound"),
        Occasion("customer.added"),
        Occasion("reward.claimed"),
        Occasion("voucher.used", undone_by="voucher.undone"),
    )
}


UNDONE = {one.undone_by: one.name for one in OCCASIONS.values() if one.undone_by}
"""What takes an occasion back → that occasion."""


def kinds_of(occasions: Iterable[str]) -> set[str]:
    """The kinds of happenings that must be told for these occasions."""
    wanted = set(occasions)
    known = [OCCASIONS[one] for one in wanted if one in OCCASIONS]
    own = {one for one in wanted if one.startswith(BANKS)}
    return own | {one.name for one in known} | {one.undone_by for one in known if one.undone_by}


def of_bank(events: Iterable[str]) -> list[str]:
    """The occasions of a bank whose own systems send these events."""
    return [*OCCASIONS, *(f"{BANKS}{name}" for name in events)]


@dataclass(frozen=True, slots=True)
class Happening:
    """An occasion of one customer: `key` is the same however often it is told, `at` is in seconds
    UTC."""

    occasion: str
    cid: str
    key: str
    at: float
