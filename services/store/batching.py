"""Group commits over one collection: inserts, reads by id, and the ending of leased rows.

Thin uses of `services/store/groupcommit.py` that every room shares: callers in one process that
insert, read or finish at the same moment share one round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import bson

from services.container import Services
from services.store.mongo import Doc


async def insert(services: Services, tenant: str, collection: str, doc: Doc) -> bool:
    """True when `doc` is new; False when its `_id` was there already. Durable either way."""

    async def flush(docs: list[Doc]) -> Sequence[bool | Exception]:
        refused = await services.store.insert_new_across(collection, docs)
        return [position not in refused for position in range(len(docs))]

    answer = await services.groups.get(f"insert:{collection}", flush, lanes=2).submit(
        {**doc, "tenant": tenant}
    )
    return cast("bool", answer)


async def read(
    services: Services, tenant: str, collection: str, wanted: Sequence[str]
) -> dict[str, Doc]:
    """The documents of that tenant with these ids, by id."""

    async def flush(
        groups: list[tuple[str, Sequence[str]]],
    ) -> Sequence[dict[str, Doc] | Exception]:
        every = list(dict.fromkeys(doc_id for _, group in groups for doc_id in group))
        found = (
            {doc["_id"]: doc for doc in await services.store.find_across(collection, every)}
            if every
            else {}
        )
        return [
            {
                doc_id: found[doc_id]
                for doc_id in group
                if doc_id in found and found[doc_id]["tenant"] == owner
            }
            for owner, group in groups
        ]

    answer = await services.groups.get(f"read:{collection}", flush, limit=32, lanes=2).submit(
        (tenant, wanted)
    )
    return cast("dict[str, Doc]", answer)


async def close(
    services: Services, tenant: str, collection: str, owner: str, row_id: str, **fields: Any
) -> None:
    """Ends a leased row that is still `owner`'s, together with others that end the same way."""
    ended = {"$set": {"open": False, "owner": None, **fields}}
    await change(services, tenant, collection, row_id, ended, owner=owner)


async def close_each(
    services: Services,
    tenant: str,
    collection: str,
    owner: str,
    row_id: str,
    own: Doc,
    **fields: Any,
) -> None:
    """The same for rows that end alike in `fields` but for their `own`; those that were claimed
    together share one write."""

    async def flush(items: list[_Ending]) -> Sequence[bool | Exception]:
        alike: dict[tuple[str, str, bytes], list[_Ending]] = {}
        for item in items:
            key = (
                item.tenant,
                item.owner,
                bson.encode({"fields": item.fields, "own": sorted(item.own)}),
            )
            alike.setdefault(key, []).append(item)
        for (tenant_, owner_, _), same in alike.items():
            wanted = {"_id": {"$in": [item.row_id for item in same]}, "owner": owner_}
            await services.store.tenant(tenant_)[collection].update_many(
                wanted, [{"$set": _each(same)}]
            )
        return [True] * len(items)

    ending = _Ending(tenant, row_id, owner, {"open": False, "owner": None, **fields}, own)
    await services.groups.get(f"close:{collection}", flush).submit(ending)


def _each(items: list[_Ending]) -> Doc:
    """What one statement sets in all of these rows: each finds its own values by its place in the
    list."""
    place = {"$indexOfArray": [{"$literal": [item.row_id for item in items]}, "$_id"]}
    alike = {name: {"$literal": value} for name, value in items[0].fields.items()}
    own = {
        name: {"$arrayElemAt": [{"$literal": [item.own[name] for item in items]}, place]}
        for name in items[0].own
    }
    return {**alike, **own}


async def change(
    services: Services,
    tenant: str,
    collection: str,
    row_id: str,
    update: Doc | list[Doc],
    *,
    owner: str = "",
) -> None:
    """Changes one row, together with others that change the same way; a leased row only while it is
    `owner`'s (rows that were claimed together have one owner)."""

    async def flush(items: list[_Change]) -> Sequence[bool | Exception]:
        alike: dict[tuple[str, str, bytes], list[_Change]] = {}
        for item in items:
            key = (item.tenant, item.owner, bson.encode({"update": item.update}))
            alike.setdefault(key, []).append(item)
        for (tenant_, owner_, _), same in alike.items():
            query: Doc = {"_id": {"$in": [item.row_id for item in same]}}
            fence = {"owner": owner_} if owner_ else {}
            await services.store.tenant(tenant_)[collection].update_many(
                {**query, **fence}, same[0].update
            )
        return [True] * len(items)

    await services.groups.get(f"change:{collection}", flush).submit(
        _Change(tenant, row_id, update, owner)
    )


@dataclass(frozen=True, slots=True)
class _Ending:
    tenant: str
    row_id: str
    owner: str
    fields: Doc
    own: Doc


@dataclass(frozen=True, slots=True)
class _Change:
    tenant: str
    row_id: str
    update: Doc | list[Doc]
    owner: str
