"""Who came into a segment and who left it, told once each.

A profile says which segments its customer is in; `segment_members` says what of that was told. The
row is changed first, only while it is as it was read and all of it told, and then told under the
number of its turn: whoever is cut short between the two is completed by whoever looks next. After a
change the profile is read again, since it may have changed meanwhile; the row is read again when it
was somebody else who changed it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from customers import happenings, timeline
from customers.banks.bank import IDS_AT_ONCE, Bank
from customers.profiles import refreshing
from customers.segments import rows
from customers.segments.rows import SEGMENT_FILLS, SEGMENT_MEMBERS, MemberRow
from services.errors import Unavailable
from services.store.mongo import Doc

AT_ONCE = 500
TRIES = 8


async def settle(bank: Bank, cids: Iterable[str]) -> None:
    """Brings the memberships of these customers up to their profiles, and tells what is new, exactly
    once: in the timeline, and to who asked for it. Safe to repeat and to race; raises Unavailable."""
    if not await bank.db[rows.SEGMENTS].find_one({}, {"_id": 1}):
        return
    wanted = sorted(set(cids))
    for start in range(0, len(wanted), AT_ONCE):
        await _settle(bank, wanted[start : start + AT_ONCE])


async def settle_span(bank: Bank, span: tuple[str, str]) -> None:
    """The same of all whose id lies in a span, looked at together."""
    profiles = await refreshing.segments_in(bank, span)
    found = await bank.db[SEGMENT_MEMBERS].find(
        {"cid": {"$gte": span[0], "$lt": span[1]}}, limit=None
    )
    by_cid = _by_cid(cast("list[MemberRow]", found))
    unlike = {
        cid
        for cid in {*profiles, *by_cid}
        if _inside(by_cid.get(cid, {})) != set(profiles.get(cid, ()))
        or any(row["announced"] < row["turn"] for row in by_cid.get(cid, {}).values())
    }
    await settle(bank, unlike)


_Members = dict[str, dict[str, MemberRow]]
"""cid → segment → row"""


async def _settle(bank: Bank, cids: Sequence[str]) -> None:
    members: _Members | None = None
    looked_at = cids
    for _ in range(TRIES):
        if members is None:
            members = await _members(bank, cids)
            await _tell(bank, [row for each in members.values() for row in each.values()])
        profiles = await refreshing.segments_of(bank, looked_at)
        unlike = _unlike(profiles, members)
        if not unlike:
            return
        turned = _turned(bank, unlike, members, await _quiet(bank))
        if await _write(bank, turned):
            await _tell(bank, turned)
            for row in turned:
                members.setdefault(row["cid"], {})[row["segment"]] = row
            looked_at = sorted({row["cid"] for row in turned})
        else:
            members, looked_at = None, cids
    raise Unavailable("segments_busy", "these memberships are being changed by too many at once")


async def _members(bank: Bank, cids: Sequence[str]) -> _Members:
    found: list[Doc] = []
    for start in range(0, len(cids), IDS_AT_ONCE):
        asked = {"cid": {"$in": list(cids[start : start + IDS_AT_ONCE])}}
        found += await bank.db[SEGMENT_MEMBERS].find(asked, limit=None)
    return _by_cid(cast("list[MemberRow]", found))


def _by_cid(found: Iterable[MemberRow]) -> dict[str, dict[str, MemberRow]]:
    by_cid: dict[str, dict[str, MemberRow]] = {}
    for row in found:
        by_cid.setdefault(row["cid"], {})[row["segment"]] = row
    return by_cid


def _inside(members: Mapping[str, MemberRow]) -> set[str]:
    return {segment for segment, row in members.items() if row["left"] is None}


async def _quiet(bank: Bank) -> set[str]:
    """The segments whose rule is changing: who comes in or leaves because of that did nothing."""
    found = await bank.db[SEGMENT_FILLS].find({"open": True, "quiet": True}, limit=None)
    return {row["segment"] for row in found}


@dataclass(frozen=True, slots=True)
class _Unlike:
    """Of this segment a customer's profile says something else than his membership does. Who has no
    profile any more leaves quietly (`gone`), since he is another customer now."""

    cid: str
    segment: str
    gone: bool


def _unlike(profiles: Mapping[str, list[str] | None], members: _Members) -> list[_Unlike]:
    return [
        _Unlike(cid, segment, segments is None)
        for cid, segments in profiles.items()
        for segment in sorted(set(segments or ()) ^ _inside(members.get(cid, {})))
    ]


def _turned(
    bank: Bank, unlike: Iterable[_Unlike], members: _Members, quiet: set[str]
) -> list[MemberRow]:
    """The rows that are to be."""
    now, found = bank.now(), list[MemberRow]()
    for one in unlike:
        was = members.get(one.cid, {}).get(one.segment)
        silent = one.gone or one.segment in quiet
        found.append(_next(bank, one.cid, one.segment, was, now, silent=silent))
    return found


def _next(
    bank: Bank, cid: str, segment: str, was: MemberRow | None, now: float, *, silent: bool
) -> MemberRow:
    turn = 1 if was is None else was["turn"] + 1
    comes = was is None or was["left"] is not None
    return {
        "_id": rows.member_id(bank.id, segment, cid),
        "segment": segment,
        "cid": cid,
        "since": now if was is None or comes else was["since"],
        "left": None if comes else now,
        "at": now,
        "turn": turn,
        "announced": turn if silent else turn - 1,
    }


def _unturned(turn: int) -> Doc:
    """What a row has that was read before this turn, with all of it told."""
    return {"turn": turn - 1, "announced": turn - 1}


async def _write(bank: Bank, turned: Sequence[MemberRow]) -> bool:
    """Writes the turns; one that somebody else has taken stays as it is. Whether all are ours. Those
    of one kind are changed in one statement, since each statement reaches the disk by itself."""
    new = [cast("Doc", row) for row in turned if row["turn"] == 1]
    ours = len(new) - len(await bank.db[SEGMENT_MEMBERS].insert_new(new))
    alike: defaultdict[tuple[int, int, bool, float], list[MemberRow]] = defaultdict(list)
    for row in turned:
        if row["turn"] > 1:
            kind = (row["turn"], row["announced"], row["left"] is None, row["at"])
            alike[kind].append(row)
    for (turn, announced, comes, at), some in alike.items():
        said: Doc = {"left": None, "since": at} if comes else {"left": at}
        said |= {"at": at, "turn": turn, "announced": announced}
        ours += await _set(bank, some, _unturned(turn), said)
    return ours == len(turned)


async def _set(bank: Bank, members: Sequence[MemberRow], as_read: Doc, fields: Doc) -> int:
    """Sets the fields of these rows that are still as they were read; how many."""
    found = 0
    for start in range(0, len(members), IDS_AT_ONCE):
        some = [row["_id"] for row in members[start : start + IDS_AT_ONCE]]
        query = {"_id": {"$in": some}, **as_read}
        found += await bank.db[SEGMENT_MEMBERS].update_many(query, {"$set": fields})
    return found


async def _tell(bank: Bank, members: Iterable[MemberRow]) -> None:
    untold = [row for row in members if row["announced"] < row["turn"]]
    if not untold:
        return
    entries = [_entry(bank, row) for row in untold]
    await timeline.record_many(bank, entries)
    await asyncio.gather(
        *(
            happenings.tell(bank, told["kind"], row["cid"], _key(row), at=row["at"])
            for row, told in zip(untold, entries, strict=True)
        )
    )
    by_turn: defaultdict[int, list[MemberRow]] = defaultdict(list)
    for row in untold:
        by_turn[row["turn"]].append(row)
    for turn, some in by_turn.items():
        await _set(bank, some, {"turn": turn}, {"announced": turn})


def _key(row: MemberRow) -> str:
    return f"{row['segment']}:{row['turn']}"


def _entry(bank: Bank, row: MemberRow) -> timeline.Entry:
    kind = "segment.entered" if row["left"] is None else "segment.left"
    data = {"segment": row["segment"]}
    return timeline.entry(bank, row["cid"], kind, _key(row), data, row["at"])
