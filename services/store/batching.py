"""Group commits over one collection: inserts, reads by id, deletions, and the ending of leased rows.

Thin uses of `services/store/groupcommit.py` that every room shares: callers in one process that
insert, read, delete or finish at the same moment share one round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import bson

from services.container import Services
from services.store.mongo import Doc

Item = TypeVar("Item", bound="_Ending | _Change")


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
    owner: str | None


async def insert(services: Services, tenant: str, collection: str, doc: Doc) -> bool:
    """True when `doc` is new; False when its `_id` was there already. Durable either way."""

    async def flush(docs: list[Doc]) -> Sequence[bool]:
        refused = await services.store.insert_new_across(collection, docs)
        return [position not in refused for position in range(len(docs))]

    group = services.groups.get(f"insert:{collection}", flush, lanes=2)
    return cast("bool", await group.submit({**doc, "tenant": tenant}))


async def read(
    services: Services, tenant: str, collection: str, wanted: Sequence[str]
) -> dict[str, Doc]:
    """The documents of that tenant with these ids, by id."""

    async def flush(asked: list[tuple[str, Sequence[str]]]) -> Sequence[dict[str, Doc]]:
        every = list(dict.fromkeys(doc_id for _, wanted in asked for doc_id in wanted))
        rows = await services.store.find_across(collection, every) if every else []
        found = {(row["tenant"], row["_id"]): row for row in rows}
        return [_found(found, owner, wanted) for owner, wanted in asked]

    group = services.groups.get(f"read:{collection}", flush, limit=32, lanes=2)
    return cast("dict[str, Doc]", await group.submit((tenant, wanted)))


def _found(rows: dict[tuple[str, str], Doc], tenant: str, wanted: Sequence[str]) -> dict[str, Doc]:
    return {doc_id: rows[tenant, doc_id] for doc_id in wanted if (tenant, doc_id) in rows}


async def remove(services: Services, tenant: str, collection: str, row_id: str) -> None:
    """Deletes one row, together with others that go at the same moment."""

    async def flush(going: list[tuple[str, str]]) -> Sequence[bool]:
        by_tenant: dict[str, list[str]] = {}
        for owner, one in going:
            by_tenant.setdefault(owner, []).append(one)
        for owner, some in by_tenant.items():
            await services.store.tenant(owner)[collection].delete({"_id": {"$in": some}})
        return [True] * len(going)

    group = services.groups.get(f"remove:{collection}", flush, limit=32, lanes=2)
    await group.submit((tenant, row_id))


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

    async def flush(endings: list[_Ending]) -> Sequence[bool]:
        for same in _alike(endings, lambda one: {"fields": one.fields, "own": sorted(one.own)}):
            await _write(services, collection, same, [{"$set": _each(same)}])
        return [True] * len(endings)

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

    async def flush(changes: list[_Change]) -> Sequence[bool]:
        for same in _alike(changes, lambda one: {"update": one.update}):
            await _write(services, collection, same, same[0].update)
        return [True] * len(changes)

    one = _Change(tenant, row_id, update, owner or None)
    await services.groups.get(f"change:{collection}", flush).submit(one)


def _alike(items: Iterable[Item], what: Callable[[Item], Doc]) -> list[list[Item]]:
    """The items of one tenant and owner that are alike in `what`, together."""
    groups: dict[tuple[str, str | None, bytes], list[Item]] = {}
    for item in items:
        key = (item.tenant, item.owner, bson.encode(what(item)))
        groups.setdefault(key, []).append(item)
    return list(groups.values())


async def _write(
    services: Services, collection: str, same: Sequence[Item], update: Doc | list[Doc]
) -> None:
    """One update of all these rows of one tenant; of leased rows only those still the owner's."""
    first = same[0]
    query: Doc = {"_id": {"$in": [item.row_id for item in same]}}
    if first.owner is not None:
        query["owner"] = first.owner
    await services.store.tenant(first.tenant)[collection].update_many(query, update)
