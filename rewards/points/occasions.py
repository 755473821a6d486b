"""Occasions: what a customer may earn points for, one table.

An occasion is a kind of the customers' timeline. Whoever tells of it gives the customer, a key that
is the same however often it is told, and when it was; a new occasion, also of the bank's own
systems, is a row here and whoever tells of it (rewards/points/earning.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Occasion:
    """`told_by`: the `product` itself, or the bank's own `systems`."""

    name: str
    told_by: Literal["product", "systems"] = "product"


OCCASIONS: dict[str, Occasion] = {
    one.name: one
    for one in (
        Occasion("customer.login"),
        Occasion("phone.bound"),
        Occasion("customer.added"),
        Occasion("reward.claimed"),
        Occasion("voucher.used"),
    )
}


@dataclass(frozen=True, slots=True)
class Happening:
    """An occasion of one customer: `key` is the same however often it is told, `at` is in seconds
    UTC."""

    occasion: str
    cid: str
    key: str
    at: float
