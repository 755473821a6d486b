"""The vouchers that a customer holds, in his profile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from customers.banks.bank import Bank
from customers.profiles.source import Batch, Part, Source
from customers.rules.vocabulary import map_key
from rewards.vouchers.rows import OPEN, VOUCHERS


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    fields = {"cid": 1, "reward": 1, "state": 1, "at": 1}
    for query in batch.among("cid"):
        for row in await bank.db[VOUCHERS].find(query, fields=fields, limit=None):
            cid = batch.owners.get(row["cid"])
            if cid is not None and row["state"] in OPEN:
                reward, at = map_key(row["reward"]), row["at"].timestamp()
                held = found[cid].setdefault(reward, {"n": 0, "last": at})
                held["n"] += 1
                held["last"] = max(held["last"], at)
    return {cid: {"rewards": dict(sorted(held.items()))} for cid, held in found.items()}


SOURCE = Source("rewards", {VOUCHERS: "cid"}, _read, part=("rewards",))
