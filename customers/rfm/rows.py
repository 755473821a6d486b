"""The rows of RFM: by what the bank's customers are ranked and how far a night is, and what was
measured of them in it."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from services.cache import cached
from services.store.rows import Rows

CACHE_SECONDS = 5.0


class Ranking(TypedDict):
    """How customers are ranked: by what happened on the day `since` (counted from 1970) and later, of
    `events`, of which `amounts` says what each came to. `cuts` are the values that end the four lower
    fifths of `ranked` customers by `r`, `f` and `m`; `at` is when they were, in seconds UTC."""

    events: list[str]
    amounts: dict[str, str]
    since: int
    cuts: dict[str, list[int]]
    ranked: int
    at: float


class NightRow(TypedDict):
    """One a bank. `live` is how customers are ranked now, `declared` what the bank's file said when
    the night was asked for, and `next` what it measures by. In its `step`, `done` parts of all are
    done, parts that so many `customers` make (None before it begins), and `changed` of them moved.
    While it is `quiet` a change of the declaration is the cause, which happened to nobody. `turn`
    counts the nights. The rest is a waiting row's (services/store/leases.py); `due` is in seconds
    UTC."""

    _id: str
    live: NotRequired[Ranking | None]
    declared: dict[str, Any] | None
    next: NotRequired[Ranking | None]
    step: str
    customers: int | None
    done: int
    changed: int
    quiet: bool
    turn: int
    open: bool
    due: float
    owner: str | None
    attempts: int
    state: str


class PartRow(TypedDict):
    """What a night measured of a part of the customers: r, f and m of each, as whole numbers of eight
    bytes. The `_id` is made of the night's turn and the part's number."""

    _id: str
    values: bytes


RFM_NIGHTS = Rows("rfm_nights")
"""How the bank's customers are ranked by RFM, and how far the night is."""
RFM_PARTS = Rows("rfm_parts")
"""What was measured in the night that is under way."""


def part_id(tenant: str, turn: int, part: int) -> str:
    return f"{tenant}:{turn}:{part}"


async def find(bank: Bank) -> NightRow | None:
    return cast("NightRow | None", await bank.db[RFM_NIGHTS].find_one({"_id": bank.id}))


def cache_key(tenant: str) -> str:
    """Where a process keeps how a bank's customers are ranked, for CACHE_SECONDS."""
    return f"rfm:{tenant}"


async def live(bank: Bank) -> Ranking | None:
    """How the bank's customers are ranked, some seconds old at most; None where they are not."""

    async def load() -> Ranking | None:
        row = await find(bank)
        return None if row is None else row.get("live")

    return await cached(bank.services, cache_key(bank.id), CACHE_SECONDS, load)
