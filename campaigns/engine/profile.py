"""The campaigns that a customer entered, in his profile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from campaigns.engine.rows import RUNS, STATUSES
from customers.banks.bank import Bank
from customers.profiles.source import Batch, Part, Source
from customers.rules.vocabulary import map_key


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    """When each was entered last; entries that were taken back count for nothing."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    fields = {"cid": 1, "campaign": 1, "entered_at": 1, "void": 1}
    for status in STATUSES:
        for query in batch.among("cid"):
            for row in await bank.db[RUNS].find(
                {"status": status, **query}, fields=fields, limit=None
            ):
                cid = batch.owners.get(row["cid"])
                if cid is not None and not row.get("void"):
                    campaign, at = map_key(row["campaign"]), row["entered_at"].timestamp()
                    found[cid][campaign] = max(at, found[cid].get(campaign, at))
    return {cid: {"campaigns": dict(sorted(entered.items()))} for cid, entered in found.items()}


SOURCE = Source("campaigns", {RUNS: "cid"}, _read, part=("campaigns",))
