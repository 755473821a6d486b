"""Profiles are made again from their sources, whole, for some customers at a time.

The profile is read first, then its sources, and it is written only while it still has the `seq` that
was read: whoever read an older state of the sources changes nothing that was made from a newer one.
So any number may refresh the same customers at once. What was concluded by rules that are over once it
is written is concluded again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from customers.banks.bank import Bank
from customers.identity.rows import (
    CustomerRow,
    count_customers,
    customers_between,
    customers_by_id,
)
from customers.profiles.rows import PROFILES, Profile
from customers.profiles.source import Batch, Source
from customers.rules.days import MOST_WINDOW, number_of
from services.errors import Unavailable
from services.store.mongo import Doc

AT_ONCE = 500
TRIES, HOPS = 8, 8
_IDS = 2**128
EMPTY: Mapping[str, Any] = {
    "fields": {}, "blind": {}, "tags": [], "rms": [], "events": {}, "campaigns": {}, "rewards": {},
    "segments": [], "lists": [], "bound": False, "created_at": 0.0,
}  # fmt: skip
_OWN = ("_id", "tenant", "seq")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A customer whose profile changed: how it was and how it is, None where there is none."""

    cid: str
    before: Profile | None
    after: Profile | None


async def refresh(bank: Bank, cids: Iterable[str], sources: Sequence[Source]) -> list[Refreshed]:
    """Brings the profiles of these customers up to their sources; those that changed. Who was merged
    into another has none, and the other's is made instead. Safe to repeat and to race; raises
    Unavailable when the store is away."""
    return (await refresh_all(bank, cids, sources)).changed


@dataclass(frozen=True)
class All:
    """Whose profiles are as their sources say now: `cids` and, of these, who `changed`."""

    cids: list[str]
    changed: list[Refreshed]


async def refresh_all(bank: Bank, cids: Iterable[str], sources: Sequence[Source]) -> All:
    """As `refresh`, with all whom it looked at: these customers, and whom each was merged into. Where
    `cids` are a mapping, it names the sources of which something changed of each; what the others
    say stays as it is in his profile, where these have a part of their own."""
    found = All([], [])
    wanted = sorted({cid for cid in cids if cid.startswith(f"{bank.id}:")})
    of = cids if isinstance(cids, Mapping) else {}
    for start in range(0, len(wanted), AT_ONCE):
        some = {cid: of.get(cid, ()) for cid in wanted[start : start + AT_ONCE]}
        await _refresh(bank, some, sources, found)
    return found


_Asked = Mapping[str, Collection[str]]
"""cid → the sources of which something changed; none where everything is to be read."""


async def _refresh(bank: Bank, asked: _Asked, sources: Sequence[Source], found: All) -> None:
    for _ in range(TRIES):
        versions = await _versions(bank, sources)
        known, batch, every = await _read(bank, list(asked))
        found.cids.extend(every)
        made = await _make(bank, batch, sources, known, asked)
        changed = _changed(bank, every, known, made)
        left = await _write(bank, changed)
        found.changed.extend(one for one in changed if one.cid not in left)
        if await _versions(bank, sources) != versions:
            continue
        if not left:
            return
        asked = dict.fromkeys(sorted(left), ())
    raise Unavailable("profiles_busy", "these profiles are being written by too many at once")


async def _versions(bank: Bank, sources: Iterable[Source]) -> list[object]:
    """By which rules profiles are concluded now."""
    return [await one.version(bank) for one in sources if one.version is not None]


async def _read(
    bank: Bank, cids: Sequence[str]
) -> tuple[dict[str, Profile], Batch, Collection[str]]:
    """The profiles of these customers and of whom each was merged into, their own rows, each read
    after the profile, and who they all are."""
    known, rows = dict[str, Profile](), dict[str, CustomerRow]()
    every, asked = dict.fromkeys(cids), list(cids)
    for _ in range(HOPS):
        known |= await _known(bank, asked)
        found = await customers_by_id(bank, asked)
        rows |= found
        into = {row["merged_into"] for row in found.values() if row.get("merged_into")}
        asked = sorted(into - every.keys())
        if not asked:
            break
        every |= dict.fromkeys(asked)
    return known, _batch(bank, rows), every


def _batch(bank: Bank, rows: Mapping[str, CustomerRow]) -> Batch:
    return Batch({cid: cast("Doc", row) for cid, row in rows.items() if _is_open(bank, row)})


def _is_open(bank: Bank, row: Any) -> bool:
    return row["tenant"] == bank.id and not row.get("merged_into")


async def _known(bank: Bank, cids: Sequence[str]) -> dict[str, Profile]:
    rows = await bank.by_id(PROFILES, cids)
    his = {cid: row for cid, row in rows.items() if row["tenant"] == bank.id}
    return cast("dict[str, Profile]", his)


async def _make(
    bank: Bank,
    batch: Batch,
    sources: Sequence[Source],
    known: Mapping[str, Profile],
    asked: _Asked = MappingProxyType({}),
) -> dict[str, Doc]:
    """The profiles of a batch; `known` are these as they were."""
    read = _to_read(batch, sources, known, asked)
    made = {cid: {**EMPTY, **_kept(known.get(cid), only)} for cid, only in read.items()}
    for source in sources:
        his = {cid for cid, only in read.items() if only is None or source.name in only.sources}
        some = batch if len(his) == len(read) else batch.some(his)
        for cid, part in (await source.read(bank, some)).items() if his else ():
            made[cid].update(part)
    for source in sources:
        if source.conclude is not None and made:
            for cid, part in (await source.conclude(bank, known, made)).items():
                made[cid].update(part)
    return made


@dataclass(frozen=True, slots=True)
class _Only:
    """A profile is made anew of these sources alone, which give these keys."""

    sources: frozenset[str]
    keys: frozenset[str]


def _to_read(
    batch: Batch, sources: Sequence[Source], known: Mapping[str, Profile], asked: _Asked
) -> dict[str, _Only | None]:
    """Of what each is made anew; None where that is everything."""
    kinds = {cid: frozenset(asked.get(cid, ())) for cid in batch.rows}
    only = {changed: _only(sources, changed) for changed in set(kinds.values())}
    return {cid: only[changed] if cid in known else None for cid, changed in kinds.items()}


def _only(sources: Sequence[Source], changed: frozenset[str]) -> _Only | None:
    """Where these sources have changed: they, and those that conclude from all."""
    some = [one for one in sources if one.name in changed or one.conclude is not None]
    if not changed or not all(one.part for one in some):
        return None
    keys = frozenset(key for one in some for key in one.part)
    return _Only(frozenset(one.name for one in some), keys)


def _kept(known: Profile | None, only: _Only | None) -> Doc:
    """What stays of a profile that was known."""
    if known is None or only is None:
        return {}
    return {key: value for key, value in known.items() if key not in only.keys and key not in _OWN}


def _changed(
    bank: Bank, cids: Iterable[str], known: Mapping[str, Profile], made: Mapping[str, Doc]
) -> list[Refreshed]:
    """Those whose profile is not as it was; that days have become too old to be asked for is no
    change."""
    found, since = [], oldest_day(bank)
    for cid in cids:
        before, part = known.get(cid), made.get(cid)
        after = None if part is None else _whole(cid, before, part)
        if (
            after is not None
            and before is not None
            and _content(before, since) == _content(after, since)
        ):
            continue
        if before is not None or after is not None:
            found.append(Refreshed(cid, before, after))
    return found


def _whole(cid: str, before: Profile | None, made: Doc) -> Profile:
    seq = 1 if before is None else before["seq"] + 1
    return cast("Profile", {"_id": cid, "seq": seq, **made})


def oldest_day(bank: Bank) -> int:
    """The first day of the longest window of a rule."""
    return number_of(bank.today()) - MOST_WINDOW + 1


def _content(profile: Profile, since: int = 0) -> Doc:
    found = {name: value for name, value in profile.items() if name not in _OWN}
    found["events"] = {
        name: {**tally, "days": {day: n for day, n in tally["days"].items() if int(day) >= since}}
        for name, tally in profile["events"].items()
    }
    return found


async def _write(bank: Bank, changed: Sequence[Refreshed]) -> set[str]:
    """Writes them; the cids of those among whom somebody else wrote meanwhile."""
    rows = bank.db[PROFILES]
    new = [one for one in changed if one.before is None]
    there = await rows.insert_new([cast("Doc", one.after) for one in new])
    left = {new[place].cid for place in there}
    old = [
        (cast("Doc", one.after), one.before["seq"])
        for one in changed
        if one.before is not None and one.after is not None
    ]
    if await rows.replace_each(old, "seq") < len(old):
        left |= {doc["_id"] for doc, _ in old}
    for one in changed:
        if one.after is None and one.before is not None:
            if not await rows.delete({"_id": one.cid, "seq": one.before["seq"]}):
                left.add(one.cid)
    return left


# all of a bank's


def spans(tenant: str, customers: int) -> Iterator[tuple[str, str]]:
    """Spans of ids that together hold every customer, with about AT_ONCE of so many in each: ids are
    hashes, and lie evenly."""
    parts = max(1, customers // AT_ONCE)
    edges = [f"{tenant}:", *(_edge(tenant, nth * _IDS // parts) for nth in range(1, parts))]
    yield from zip(edges, [*edges[1:], f"{tenant};"], strict=True)


def _edge(tenant: str, number: int) -> str:
    return f"{tenant}:{number:032x}"


async def spans_of(bank: Bank) -> list[tuple[str, str]]:
    """The spans of all of the bank's customers."""
    return list(spans(bank.id, await count_customers(bank)))


async def refresh_span(
    bank: Bank, span: tuple[str, str], sources: Sequence[Source]
) -> list[Refreshed]:
    """As `refresh`, for everybody whose id lies in a span; profiles of nobody go."""
    versions = await _versions(bank, sources)
    known, made = await _span(bank, span, sources)
    changed = _changed(bank, {*known, *made}, known, made)
    left = await _write(bank, changed)
    if await _versions(bank, sources) != versions:
        left = {*known, *made}
    again = await refresh(bank, left, sources) if left else []
    return [one for one in changed if one.cid not in left] + again


async def differences(
    bank: Bank, span: tuple[str, str], sources: Sequence[Source]
) -> dict[str, list[str]]:
    """cid → the keys in which his profile is not as his sources say it now; of one who has none, or
    should have none, `_id`."""
    known, made = await _span(bank, span, sources)
    return _told(_changed(bank, {*known, *made}, known, made))


async def still_different(
    bank: Bank, cids: Iterable[str], sources: Sequence[Source]
) -> dict[str, list[str]]:
    """The same of these customers alone."""
    asked = sorted(cids)
    known = await _known(bank, asked)
    batch = _batch(bank, await customers_by_id(bank, asked))
    made = await _make(bank, batch, sources, known)
    return _told(_changed(bank, asked, known, made))


def _told(changed: Iterable[Refreshed]) -> dict[str, list[str]]:
    return {
        one.cid: _keys(one.before, one.after) if one.before and one.after else ["_id"]
        for one in changed
    }


def _keys(before: Any, after: Any) -> list[str]:
    every = {*_content(before), *_content(after)}
    return sorted(name for name in every if before.get(name) != after.get(name))


async def _span(
    bank: Bank, span: tuple[str, str], sources: Sequence[Source]
) -> tuple[dict[str, Profile], dict[str, Doc]]:
    low, high = span
    found = await bank.db[PROFILES].find({"_id": {"$gte": low, "$lt": high}}, limit=None)
    known = {row["_id"]: cast("Profile", row) for row in found}
    return known, await _make(bank, await batch_of(bank, span), sources, known)


async def batch_of(bank: Bank, span: tuple[str, str]) -> Batch:
    """All customers whose id lies in a span."""
    rows = await customers_between(bank, *span)
    open_rows = {row["_id"]: cast("Doc", row) for row in rows if not row.get("merged_into")}
    return Batch(open_rows, span)


async def find(bank: Bank, cid: str) -> Profile | None:
    """A customer's profile."""
    return (await _known(bank, [cid])).get(cid)


async def segments_of(bank: Bank, cids: Sequence[str]) -> dict[str, list[str] | None]:
    """The segments in each customer's profile; None of who has none."""
    found = await bank.by_id(PROFILES, cids, {"segments": 1, "tenant": 1})
    his = {cid: row["segments"] for cid, row in found.items() if row["tenant"] == bank.id}
    return {cid: his.get(cid) for cid in cids}


async def segments_in(bank: Bank, span: tuple[str, str]) -> dict[str, list[str]]:
    """The same of those whose id lies in a span and who are in any."""
    found = await _in_span(bank, span, {"segments.0": {"$exists": True}}, {"segments": 1})
    return {row["_id"]: row["segments"] for row in found}


async def rfm_in(bank: Bank, span: tuple[str, str]) -> dict[str, dict[str, int]]:
    """The fifths of those whose id lies in a span and who have any."""
    found = await _in_span(bank, span, {"rfm": {"$exists": True}}, {"rfm": 1})
    return {row["_id"]: row["rfm"] for row in found}


async def matching(bank: Bank, span: tuple[str, str], wanted: Doc) -> set[str]:
    """Whose id lies in a span and whose profile a filter fits."""
    return {row["_id"] for row in await _in_span(bank, span, wanted, {"_id": 1})}


async def _in_span(bank: Bank, span: tuple[str, str], wanted: Doc, fields: Doc) -> list[Doc]:
    inside = {"_id": {"$gte": span[0], "$lt": span[1]}}
    stages: list[Doc] = [{"$match": inside}, {"$match": wanted}, {"$project": fields}]
    return await bank.db[PROFILES].aggregate(stages)


async def count(bank: Bank, wanted: Doc) -> int:
    """How many profiles a filter fits."""
    return await bank.db[PROFILES].count(wanted)


async def count_by_segment(bank: Bank) -> dict[str, int]:
    """How many are in each segment; one that nobody is in is left out."""
    stages: list[Doc] = [
        {"$match": {"segments.0": {"$exists": True}}},
        {"$unwind": "$segments"},
        {"$group": {"_id": "$segments", "n": {"$sum": 1}}},
    ]
    found = await bank.db[PROFILES].aggregate(stages)
    return {row["_id"]: row["n"] for row in found}


async def branches(bank: Bank, wanted: Doc) -> dict[str, int]:
    """How many of them have an RM at each branch, by the branch; `` without any."""
    every = {"$map": {"input": "$rms", "as": "one", "in": "$$one.branch"}}
    each = {"$cond": [{"$eq": ["$rms", []]}, [""], {"$setUnion": [every, []]}]}
    stages: list[Doc] = [
        {"$match": wanted},
        {"$project": {"at": each}},
        {"$unwind": "$at"},
        {"$group": {"_id": "$at", "n": {"$sum": 1}}},
    ]
    found = await bank.db[PROFILES].aggregate(stages)
    return {row["_id"]: row["n"] for row in sorted(found, key=lambda row: (-row["n"], row["_id"]))}


async def some(bank: Bank, wanted: Doc, limit: int) -> list[str]:
    """The cids of at most `limit` of them: the first ones, since ids are hashes and say nothing."""
    found = await bank.db[PROFILES].find(wanted, fields={"_id": 1}, sort=[("_id", 1)], limit=limit)
    return [row["_id"] for row in found]
