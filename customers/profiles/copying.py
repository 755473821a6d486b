"""Profiles as the database has them, for whoever keeps a copy."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from customers.banks.bank import Bank
from customers.profiles.rows import PROFILES, Profile
from services.container import Services
from services.store.mongo import Changes, Doc

Ends = tuple[str, str]
"""Of cids: from the first up to, but not including, the second."""


def follow(services: Services, token: Doc | None = None) -> Changes:
    """Whose profiles change at all banks, from a token on or from now; a change's `_id` is the
    cid."""
    return services.store.watch({PROFILES: ()}, token)


async def count_between(bank: Bank, ends: Ends, wanted: Doc | None = None) -> int:
    """How many there are, of those whom a filter fits. The ends stand outside of `$and`, where the
    embedded store finds its index for them."""
    asked = _between(ends) if wanted is None else {**_between(ends), "$and": [wanted]}
    return await bank.db[PROFILES].count(asked)


async def read_between(bank: Bank, ends: Ends) -> list[bytes]:
    """All of them, some in each part, for services.store.mongo.decode."""
    return await bank.db[PROFILES].find_raw(_between(ends))


def _between(ends: Ends) -> Doc:
    return {"_id": {"$gte": ends[0], "$lt": ends[1]}}


async def read(bank: Bank, cids: Collection[str]) -> list[Profile]:
    """Those of these customers who have one."""
    found = await bank.by_id(PROFILES, sorted(set(cids)))
    return [cast("Profile", row) for row in found.values() if row["tenant"] == bank.id]
