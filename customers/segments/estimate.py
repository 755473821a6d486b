"""How many customers meet a rule, before anything is sent: counted in the columnar mirror of this
host, and where none is fresh, in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from customers.banks.bank import Bank
from customers.columnar import reading
from customers.profiles import refreshing
from customers.rules.days import number_of
from customers.rules.filters import to_filter
from customers.rules.tree import Member, Tree

SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many customers there are, at which branches their RMs are (each counts at every branch of
    his; under an empty name who has no RM), and some of them by their cids. `mirror_age` is how many
    seconds old the mirror is in which they were counted; None: they were counted in the database."""

    count: int
    by_branch: Mapping[str, int]
    sample: list[str]
    mirror_age: float | None


async def estimate(bank: Bank, tree: Tree) -> Estimate:
    """Those who meet the rule today. Raises Unavailable when the store does not answer in time."""
    found = await reading.count(bank, tree, SAMPLE)
    if found is not None:
        return Estimate(found.count, found.by_branch, found.sample, found.age_seconds)
    return await in_database(bank, tree)


async def of_segment(bank: Bank, segment: str) -> Estimate:
    """The same of a segment's members."""
    member = Member(text="", column=1, function="segment", value=segment, titles={})
    return await estimate(bank, member)


async def in_database(bank: Bank, tree: Tree) -> Estimate:
    """The same, asked of the database whatever mirror there is."""
    wanted = to_filter(tree, number_of(bank.today()))
    count, branches, sample = await asyncio.gather(
        refreshing.count(bank, wanted),
        refreshing.branches(bank, wanted),
        refreshing.some(bank, wanted, SAMPLE),
    )
    return Estimate(count, branches, sample, None)
