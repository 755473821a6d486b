"""What a customer's declared fields say in his profile: open values, and blind indexes of sealed
ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import cast

from customers.banks.bank import Bank
from customers.fields.rows import FIELD_VALUES, FieldRow
from customers.fields.values import newest
from customers.profiles.source import Batch, Part, Source


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    by_cid: defaultdict[str, list[FieldRow]] = defaultdict(list)
    for query in batch.among("_id"):
        for row in await bank.db[FIELD_VALUES].find(query, limit=None):
            cid = batch.owners.get(row["_id"])
            if cid is not None:
                by_cid[cid].append(cast("FieldRow", row))
    return {cid: _part(bank, rows) for cid, rows in by_cid.items()}


def _part(bank: Bank, rows: list[FieldRow]) -> Part:
    holders = newest(bank, rows)
    return {
        "fields": {k: row["values"][k] for k, row in sorted(holders.items()) if k in row["values"]},
        "blind": {k: row["blind"][k] for k, row in sorted(holders.items()) if k in row["blind"]},
    }


SOURCE = Source("fields", {FIELD_VALUES: "_id"}, _read)
