"""Which lists a customer is on, in his profile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from customers.banks.bank import Bank
from customers.lists.rows import LIST_MEMBERS
from customers.profiles.source import Batch, Part, Source


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for query in batch.among("cid"):
        for row in await bank.db[LIST_MEMBERS].find(query, limit=None):
            cid = batch.owners.get(row["cid"])
            if cid is not None and row["on"]:
                found[cid].add(row["list"])
    return {cid: {"lists": sorted(lists)} for cid, lists in found.items()}


SOURCE = Source("lists", {LIST_MEMBERS: "cid"}, _read, part=("lists",))
