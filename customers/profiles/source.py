"""What profiles are made of: each owner of rows that say something of customers declares a Source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customers.banks.bank import IDS_AT_ONCE, Bank
from services.store.mongo import Change, Doc

Part = Mapping[str, Any]
"""Keys of a profile, with their values."""
Known = Mapping[str, Any]
"""Profiles as they were, by cid."""
Version = Callable[[Bank], Awaitable[object]]
Resolve = Callable[[Bank, Sequence[Change]], Awaitable[Iterable[str]]]


@dataclass(frozen=True)
class Batch:
    """Customers whose profiles are made together. `rows` are their own rows, by cid; `owners` lead
    from their ids, and those of whoever was merged into them, to their cids. With a `span` they are
    all whose ids lie in it (from the first up to, but not including, the second)."""

    rows: Mapping[str, Doc]
    span: tuple[str, str] | None = None
    owners: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        owners = {cid: cid for cid in self.rows}
        owners |= {one: cid for cid, row in self.rows.items() for one in row.get("aliases", [])}
        object.__setattr__(self, "owners", owners)

    def among(self, name: str) -> list[Doc]:
        """Filters that together find the rows whose `name` is one of the ids; and, with a span,
        rows of others too, whom `owners` does not know. Not many ids in one filter, since the
        embedded store compares each row with all of them; and nothing beside it that no index has
        before `name`, since then it reads the whole collection."""
        listed = [one for one in self.owners if self.span is None or not self._spans(one)]
        found: list[Doc] = [
            {name: {"$in": listed[start : start + IDS_AT_ONCE]}}
            for start in range(0, len(listed), IDS_AT_ONCE)
        ]
        if self.span is not None:
            found.append({name: {"$gte": self.span[0], "$lt": self.span[1]}})
        return found

    def some(self, cids: Collection[str]) -> Batch:
        """Those of them who are among these."""
        return Batch({cid: row for cid, row in self.rows.items() if cid in cids})

    def _spans(self, cid: str) -> bool:
        return self.span is not None and self.span[0] <= cid < self.span[1]


@dataclass(frozen=True)
class Source:
    """Rows that profiles are made of. `watched` are the collections whose changes concern
    customers, each with the field that has the cid (`_id`, if the row is the customer's own), or
    with what tells whom a change concerns. `read` gives a part of the profile of each customer of a
    batch, by cid; `conclude` another part, of what all sources gave and of how profiles were, by rules
    of which `version` says which they are. A source that names the keys of its `part` gives these
    alone, and from the rows that it watches alone: after a change of them nothing else is read."""

    name: str
    watched: Mapping[str, str | Resolve]
    read: Callable[[Bank, Batch], Awaitable[Mapping[str, Part]]]
    conclude: Callable[[Bank, Known, Mapping[str, Part]], Awaitable[Mapping[str, Part]]] | None = (
        None
    )
    version: Version | None = None
    part: tuple[str, ...] = ()

    def shown(self) -> Mapping[str, tuple[str, ...]]:
        """Which fields of inserted rows a stream of changes has to tell."""
        names = {rows: by for rows, by in self.watched.items() if isinstance(by, str)}
        return {
            rows: (names[rows],) if names.get(rows, "_id") != "_id" else () for rows in self.watched
        }


async def concerned(
    bank: Bank, sources: Iterable[Source], changes: Sequence[Change]
) -> dict[str, set[str]]:
    """The cids of those whom these changes of one bank's rows concern, each with the names of the
    sources of which something changed. A row that is gone by now concerns nobody: whoever deletes one
    changes another of the same customer's."""
    watching: defaultdict[tuple[str, str | Resolve], list[str]] = defaultdict(list)
    for source in sources:
        for watched in source.watched.items():
            watching[watched].append(source.name)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for (rows, by), names in watching.items():
        his = [change for change in changes if change.collection == rows]
        for cid in await _whom(bank, rows, by, his) if his else ():
            found[cid].update(names)
    return dict(found)


async def _whom(bank: Bank, rows: str, by: str | Resolve, his: Sequence[Change]) -> Iterable[str]:
    if not isinstance(by, str):
        return await by(bank, his)
    if by == "_id":
        return [str(change.id) for change in his]
    return await _cids(bank, rows, by, his)


async def _cids(bank: Bank, rows: str, by: str, changes: Sequence[Change]) -> set[str]:
    found = {change.fields[by] for change in changes if change.fields.get(by)}
    unknown = {change.id for change in changes if not change.fields.get(by)}
    looked_up = await bank.by_id(rows, sorted(unknown), {by: 1})
    return found | {row[by] for row in looked_up.values() if row.get(by)}


async def nothing(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    """What a source reads whose rows only say whom others' concern."""
    return {}
