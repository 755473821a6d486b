"""How many customers meet a rule, before anything is sent: asked of the profiles in the store.

Whoever answers it faster answers this question, with the age of what he has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from customers.banks.bank import Bank
from customers.profiles import refreshing
from customers.rules.days import number_of
from customers.rules.filters import to_filter
from customers.rules.tree import Tree
from services.store.mongo import Doc

SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many customers there are, at which branches their RMs are (each counts at every branch of
    his; under an empty name who has no RM), some of them by their cids, and how old the answer's
    source is."""

    count: int
    by_branch: Mapping[str, int]
    sample: list[str]
    age_seconds: float


async def estimate(bank: Bank, tree: Tree) -> Estimate:
    """Those who meet the rule today. Raises Unavailable when the store does not answer in time."""
    return await of_filter(bank, to_filter(tree, number_of(bank.today())))


async def of_segment(bank: Bank, segment: str) -> Estimate:
    """The same of a segment's members."""
    return await of_filter(bank, {"segments": segment})


async def of_filter(bank: Bank, wanted: Doc) -> Estimate:
    """The same of those whose profile fits a filter."""
    count, branches, sample = await asyncio.gather(
        refreshing.count(bank, wanted),
        refreshing.branches(bank, wanted),
        refreshing.some(bank, wanted, SAMPLE),
    )
    return Estimate(count, branches, sample, 0.0)
