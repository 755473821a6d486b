"""Who follows whom: a row for each RM and customer, told in any order.

Each change carries the time of its event (CreateTime); an older event never undoes a newer one, so
delete before add ends as add before delete (contract/wechat C3: delivery is not ordered). What
WeCom tells besides (remark, description, tags) carries the time at which WeCom was asked
(`fetched_at`); an older answer never undoes a newer one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from customers.banks import staff
from customers.banks.bank import Bank
from customers.profiles.source import Batch, Part, Source
from services import ids
from services.clock import utc
from services.store.mongo import Doc, TenantStore
from services.store.rows import Rows


class Relationship(TypedDict):
    """One RM and one customer. It began or ended `at`, and began `since` (both in seconds UTC, the
    events' own times).

    `ended_by` is ENDED_BY_SYNC when no event told of the end, ENDED_BY_TRANSFER when it went on with
    another RM. `ended_at` is when it last ended, also when it began again since. `state` and `add_way` say how it
    began. `tags` are ids of corp tags, `remark` and `description` are the RM's, sealed: as WeCom
    told them at `fetched_at`.
    """

    _id: str
    userid: str
    cid: str
    active: bool
    at: float
    ended_by: NotRequired[str | None]
    ended_at: NotRequired[float]
    since: NotRequired[float]
    state: NotRequired[str]
    add_way: NotRequired[int | None]
    tags: NotRequired[list[str]]
    remark: NotRequired[bytes | None]
    description: NotRequired[bytes | None]
    fetched_at: NotRequired[datetime]


class Snapshot(TypedDict):
    """What a relationship was at one moment."""

    userid: str
    cid: str
    active: bool
    at: float
    since: float | None
    state: str | None
    add_way: int | None
    ended_by: NotRequired[str | None]


RELATIONSHIPS = Rows(
    "relationships",
    indexes=(
        (("tenant", 1), ("userid", 1), ("active", 1), ("cid", 1)),
        (("tenant", 1), ("active", 1), ("cid", 1)),
    ),
    sealed=("remark", "description"),
)
"""One RM and one customer."""

ENDED_BY_SYNC, ENDED_BY_TRANSFER = "sync", "transfer"
BEGINNING = ("state", "add_way", "since")
ENDED = (*BEGINNING, "ended_by")
AT_ONCE = 100


@dataclass(frozen=True)
class FollowInfo:
    """What WeCom says of one RM and one customer (contract/wechat B3): `since` in seconds UTC,
    `tags` as corp tag ids."""

    userid: str
    since: float = 0.0
    state: str = ""
    add_way: int | None = None
    remark: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()

    def notes(self) -> dict[str, str]:
        return {"remark": self.remark, "description": self.description}


def read_follow_info(info: Mapping[str, Any]) -> FollowInfo:
    """A `follow_user` of 92114, or a `follow_info` of 92994, which has tag ids only."""
    tag_ids = info.get("tag_id") or [tag.get("tag_id") for tag in info.get("tags") or []]
    way = info.get("add_way")
    return FollowInfo(
        userid=str(info.get("userid") or ""),
        since=float(info.get("createtime") or 0.0),
        state=str(info.get("state") or ""),
        add_way=None if way is None else int(way),
        remark=str(info.get("remark") or ""),
        description=str(info.get("description") or ""),
        tags=tuple(sorted({str(tag) for tag in tag_ids if tag})),
    )


def relationship_id(tenant: str, userid: str, cid: str) -> str:
    """The `_id` of the two's row."""
    return ids.tenant_id(tenant, "follow", userid, cid)


def follow_info_of(bank: Bank, row: Relationship) -> FollowInfo:
    """What a row holds of tags, remark and description, as WeCom would say it."""
    notes = open_notes(bank, row)
    return FollowInfo(
        row["userid"],
        tags=tuple(row.get("tags") or []),
        remark=notes["remark"],
        description=notes["description"],
    )


async def changed(
    bank: Bank,
    userid: str,
    cid: str,
    *,
    at: float,
    active: bool,
    **fields: Any,
) -> bool:
    """Records that the relationship began or ended `at` (seconds UTC, the event's own time); False
    when something newer is known.

    `fields` of a beginning belong to it (`since`): told after its end, they complete the row, as
    they would have in order."""
    row_id = relationship_id(bank.id, userid, cid)
    pair: Doc = {"userid": userid, "cid": cid}
    row = pair | {"active": active, "at": at, "ended_by": None, **fields}
    row["since" if active else "ended_at"] = at
    if await bank.insert(RELATIONSHIPS, {"_id": row_id, **row}):
        return True
    rows = bank.db[RELATIONSHIPS]
    if await rows.update({"_id": row_id, "at": {"$lt": at}}, {"$set": row}):
        return True
    if active:
        await _complete(bank, row_id, at, fields)
        return False
    same_second = {"_id": row_id, "at": at, "active": True}  # of one second, the end is believed
    if await rows.update(same_second, {"$set": row}):
        return True
    await rows.update({"_id": row_id}, {"$max": {"ended_at": at}})
    return False


async def _complete(bank: Bank, row_id: str, at: float, fields: Doc) -> None:
    """Tells a row of a beginning that it knows already, or that is over."""
    rows = bank.db[RELATIONSHIPS]
    over: Doc = {"_id": row_id, "active": False, "since": {"$not": {"$gte": at}}}
    await rows.update(over, {"$set": {"since": at, **fields}})
    for name, value in fields.items():  # details that come after the event of the same second
        if value is not None:
            lacks = {"_id": row_id, "at": at, "active": True, name: None}
            await rows.update(lacks, {"$set": {name: value}})


def new_relationship(bank: Bank, cid: str, info: FollowInfo, asked: float) -> Relationship:
    """The row of two who were not known to be friends, as WeCom told it when `asked` (seconds
    UTC)."""
    row_id = relationship_id(bank.id, info.userid, cid)
    row: Doc = {
        "_id": row_id,
        "userid": info.userid,
        "cid": cid,
        "active": True,
        "at": info.since,
        "since": info.since,
        "state": info.state,
        "add_way": info.add_way,
    }
    return cast("Relationship", row | _details(bank, row_id, info, utc(asked)))


def _details(bank: Bank, row_id: str, info: FollowInfo, fetched_at: datetime) -> Doc:
    sealed = {
        name: bank.vault.seal_text(RELATIONSHIPS, name, row_id, text) if text else None
        for name, text in info.notes().items()
    }
    return {"tags": list(info.tags), "fetched_at": fetched_at, **sealed}


def open_notes(bank: Bank, row: Relationship) -> dict[str, str]:
    """The RM's remark on the customer and his description of him."""

    def text(name: str, sealed: bytes | None) -> str:
        return bank.vault.open_text(RELATIONSHIPS, name, row["_id"], sealed) if sealed else ""

    return {
        "remark": text("remark", row.get("remark")),
        "description": text("description", row.get("description")),
    }


def believes(row: Relationship, info: FollowInfo) -> bool:
    """Whether the two are friends by what WeCom tells: an end that is newer counts more, unless a
    sync inferred it."""
    return row["active"] or row["at"] < info.since or row.get("ended_by") == ENDED_BY_SYNC


def differences(bank: Bank, row: Relationship, info: FollowInfo) -> list[str]:
    """Which of "state", "tags" and "notes" WeCom tells otherwise than `row` has it; nothing when
    they agree. An end that is newer than what WeCom tells is believed."""
    if not believes(row, info):
        return []
    found = ["state"] if not row["active"] or row["at"] < info.since else []
    if sorted(row.get("tags") or []) != list(info.tags):
        found.append("tags")
    if open_notes(bank, row) != info.notes():
        found.append("notes")
    return found


async def bring(bank: Bank, cid: str, info: FollowInfo, asked: float) -> None:
    """Brings the two's row up to what WeCom told when it was `asked` (seconds UTC)."""
    row = new_relationship(bank, cid, info, asked)
    if await bank.insert(RELATIONSHIPS, cast("Doc", row)):
        return
    known = (await read(bank, [row["_id"]])).get(row["_id"])
    if known is None:  # merged or renamed in this moment: whoever did it has the row
        return
    if not known["active"] and known.get("ended_by") == ENDED_BY_SYNC:
        await _revive(bank, known, info)
    if known["at"] <= info.since:
        began = {"state": info.state, "add_way": info.add_way}
        await changed(bank, info.userid, cid, at=info.since, active=True, **began)
    if differences(bank, {**known, "active": True}, info):
        await describe(bank, [(row["_id"], info)], asked)


async def _revive(bank: Bank, row: Relationship, info: FollowInfo) -> None:
    """The two are friends after all: no event told of the end."""
    inferred = {"_id": row["_id"], "active": False, "ended_by": ENDED_BY_SYNC}
    revived = {"active": True, "at": max(row["at"], info.since), "ended_by": None}
    await bank.db[RELATIONSHIPS].update(inferred, {"$set": revived})


async def describe(bank: Bank, told: Iterable[tuple[str, FollowInfo]], asked: float) -> None:
    """Writes tags, remark and description into rows that are there, unless a newer answer is in
    them."""
    await _write_details(bank, told, utc(asked))


async def _write_details(
    bank: Bank, told: Iterable[tuple[str, FollowInfo]], fetched_at: datetime
) -> None:
    older: Doc = {"fetched_at": {"$not": {"$gte": fetched_at}}}
    changes = [
        ({"_id": row_id, **older}, {"$set": _details(bank, row_id, info, fetched_at)})
        for row_id, info in told
    ]
    await bank.db[RELATIONSHIPS].bulk_update(changes)


async def retag(
    bank: Bank,
    userid: str,
    cid: str,
    added: Sequence[str],
    taken: Sequence[str],
) -> None:
    """Keeps the ids of tags that we marked ourselves, which WeCom does not call back for. Customers
    who were given the same tags at the same moment share a write."""

    async def flush(marks: list[_Marked]) -> Sequence[None]:
        alike: defaultdict[_Marked, list[str]] = defaultdict(list)
        for one in marks:
            alike[replace(one, row="")].append(one.row)
        for same, rows in alike.items():
            await _retag(bank.services.store.tenant(same.tenant), same, rows, bank.utc())
        return [None] * len(marks)

    mark = _Marked(bank.id, relationship_id(bank.id, userid, cid), tuple(added), tuple(taken))
    await bank.services.groups.get("change:tags", flush).submit(mark)


@dataclass(frozen=True, slots=True)
class _Marked:
    """What was marked at one relationship."""

    tenant: str
    row: str
    added: tuple[str, ...]
    taken: tuple[str, ...]


async def _retag(db: TenantStore, marked: _Marked, rows: Sequence[str], now: datetime) -> None:
    wanted, fetched = {"_id": {"$in": list(rows)}}, {"$max": {"fetched_at": now}}
    if marked.added:
        each = {"$addToSet": {"tags": {"$each": list(marked.added)}}}
        await db[RELATIONSHIPS].update_many(wanted, {**each, **fetched})
    if marked.taken:
        each = {"$pull": {"tags": {"$in": list(marked.taken)}}}
        await db[RELATIONSHIPS].update_many(wanted, {**each, **fetched})


async def drop_tag(bank: Bank, tag_id: str) -> None:
    """No relationship has the tag any more."""
    await bank.db[RELATIONSHIPS].update_many({"tags": tag_id}, {"$pull": {"tags": tag_id}})


async def page_with_tag(bank: Bank, tag_id: str, after: str, limit: int) -> list[Relationship]:
    """The next `limit` present relationships after the `_id` `after` that have the tag."""
    tagged = {"tags": tag_id, "active": True, "_id": {"$gt": after}}
    found = await bank.db[RELATIONSHIPS].find(tagged, sort=[("_id", 1)], limit=limit)
    return cast("list[Relationship]", found)


async def count_with_tag(bank: Bank, tag_id: str, without: str) -> int:
    """How many present relationships have the tag `tag_id` and not the tag `without`."""
    both = [{"tags": tag_id}, {"tags": {"$ne": without}}]
    return await bank.db[RELATIONSHIPS].count({"active": True, "$and": both})


async def customers_with(bank: Bank, tag_ids: Collection[str]) -> dict[str, int]:
    """How many customers have each of these tags at one of their RMs, by the tag's id."""
    tagged: Doc = {"active": True, "tags": {"$in": list(tag_ids)}}
    each: Doc = {"$group": {"_id": {"tag": "$tags", "cid": "$cid"}}}
    rows = await bank.db[RELATIONSHIPS].aggregate(
        [{"$match": tagged}, {"$project": {"tags": 1, "cid": 1}}, {"$unwind": "$tags"}, each]
    )
    return dict(Counter(row["_id"]["tag"] for row in rows if row["_id"]["tag"] in tag_ids))


async def end_unseen(bank: Bank, rows: Sequence[Relationship], at: float) -> None:
    """Ends relationships that WeCom no longer knew `at` (seconds UTC), except those that began anew
    since."""
    wanted = [row["_id"] for row in rows]
    ended = {"active": False, "at": at, "ended_by": ENDED_BY_SYNC}
    for start in range(0, len(wanted), AT_ONCE):
        some = {"$in": wanted[start : start + AT_ONCE]}
        older = {"_id": some, "active": True, "at": {"$lt": at}}
        await bank.db[RELATIONSHIPS].update_many(older, {"$set": ended})


async def rename(bank: Bank, userid: str, to: str) -> None:
    """Gives a member's relationships to his new userid; safe to repeat."""
    rows = bank.db[RELATIONSHIPS]
    for active in (True, False):
        while found := await rows.find({"userid": userid, "active": active}, limit=AT_ONCE):
            await rows.insert_new([_renamed(bank, row, to) for row in found])
            await rows.delete({"_id": {"$in": [row["_id"] for row in found]}})


def _renamed(bank: Bank, row: Doc, to: str) -> Doc:
    row_id = relationship_id(bank.id, to, row["cid"])
    notes = open_notes(bank, cast("Relationship", row))
    sealed = {
        name: bank.vault.seal_text(RELATIONSHIPS, name, row_id, text) if text else None
        for name, text in notes.items()
    }
    return {**row, "_id": row_id, "userid": to, **sealed}


async def move(bank: Bank, cid: str, to: str) -> None:
    """Gives a merged customer's relationships to whom he was merged into; of two with one RM the
    newer word counts."""
    for row in await _of_all_times(bank, [cid]):
        await _give(bank, row, to)


async def hand_on(bank: Bank, userid: str, cid: str, to: str) -> None:
    """Gives the relationship of the RM with one customer to another, if there is one."""
    row_id = relationship_id(bank.id, userid, cid)
    row = await bank.db[RELATIONSHIPS].find_one({"_id": row_id})
    if row is not None:
        await _give(bank, cast("Relationship", row), to)


async def _give(bank: Bank, row: Relationship, to: str) -> None:
    told = _told(row)
    await changed(bank, row["userid"], to, at=row["at"], active=row["active"], **told)
    if row.get("fetched_at") is not None:
        row_id = relationship_id(bank.id, row["userid"], to)
        info = follow_info_of(bank, row)
        await _write_details(bank, [(row_id, info)], row["fetched_at"])
    await bank.db[RELATIONSHIPS].delete({"_id": row["_id"]})


def _told(row: Relationship | Snapshot) -> Doc:
    """What was told of the beginning, and how it ended when it did."""
    names = BEGINNING if row["active"] else ENDED
    return {name: value for name, value in row.items() if name in names}


async def split(bank: Bank, given: Snapshot, kept: Snapshot) -> None:
    """Two relationships with one RM were made one: the customer of `given` has his again, and that
    of `kept` is as it was, unless something newer is known of it."""
    told = {name: value for name, value in _told(given).items() if value is not None}
    userid, at, active = given["userid"], given["at"], given["active"]
    await changed(bank, userid, given["cid"], at=at, active=active, **told)
    row_id = relationship_id(bank.id, userid, kept["cid"])
    before = {name: value for name, value in kept.items() if name != "cid"}
    brought = {"_id": row_id, "at": at, "active": active}
    await bank.db[RELATIONSHIPS].update(brought, {"$set": before})


async def snapshots(bank: Bank, cids: Sequence[str]) -> list[Snapshot]:
    """Who follows these customers, and who did."""
    return [
        {
            "userid": row["userid"],
            "cid": row["cid"],
            "active": row["active"],
            "at": row["at"],
            "since": row.get("since"),
            "state": row.get("state"),
            "add_way": row.get("add_way"),
            "ended_by": row.get("ended_by"),
        }
        for row in await _of_all_times(bank, cids)
    ]


async def _of_all_times(bank: Bank, cids: Sequence[str]) -> list[Relationship]:
    found: list[Doc] = []
    for active in (True, False):
        wanted = {"active": active, "cid": {"$in": list(cids)}}
        found += await bank.db[RELATIONSHIPS].find(wanted, limit=None)
    return cast("list[Relationship]", found)


async def of_staff(bank: Bank, userid: str, limit: int = 200) -> list[Relationship]:
    """The RM's present friends, newest first."""
    present = {"userid": userid, "active": True}
    found = await bank.db[RELATIONSHIPS].find(present, sort=[("at", -1)], limit=limit)
    return cast("list[Relationship]", found)


async def count_of_staff(bank: Bank, userid: str) -> int:
    """How many present friends the RM has."""
    return await bank.db[RELATIONSHIPS].count({"userid": userid, "active": True})


async def page_of_staff(bank: Bank, userid: str, after: str, limit: int) -> list[Relationship]:
    """At most `limit` of the RM's present friends, by cid, beginning `after` that cid; without tags
    and notes."""
    present = {"userid": userid, "active": True, "cid": {"$gt": after}}
    without = {"tags": 0, "remark": 0, "description": 0}
    found = await bank.db[RELATIONSHIPS].find(
        present, fields=without, sort=[("cid", 1)], limit=limit
    )
    return cast("list[Relationship]", found)


async def pages_of_staff(bank: Bank, userid: str, limit: int) -> AsyncIterator[list[Relationship]]:
    """All of the RM's present friends, by cid, `limit` at a time."""
    after = ""
    while page := await page_of_staff(bank, userid, after, limit):
        yield page
        if len(page) < limit:
            return
        after = page[-1]["cid"]


async def of_customer(bank: Bank, cids: Sequence[str]) -> list[Relationship]:
    """The RMs who follow the customer now, newest first; customers who are asked for in one moment
    share one query."""

    async def flush(asked: list[Sequence[str]]) -> list[list[Relationship]]:
        every = list(dict.fromkeys(cid for cids in asked for cid in cids))
        present = {"active": True, "cid": {"$in": every}}
        found = await bank.db[RELATIONSHIPS].find(present, limit=None)
        newest_first = sorted(found, key=lambda row: float(row["at"]), reverse=True)
        rows = cast("list[Relationship]", newest_first)
        return [[row for row in rows if row["cid"] in cids] for cids in asked]

    group = bank.services.groups.get(f"follows:{bank.id}", flush, limit=32, lanes=2)
    return cast("list[Relationship]", await group.submit(cids))


async def between(bank: Bank, userid: str, cids: Sequence[str]) -> Relationship | None:
    """The present relationship of the two, or None; `cids` are all of the one customer's."""
    found = await read(bank, [relationship_id(bank.id, userid, cid) for cid in cids])
    return next((row for row in found.values() if row["active"]), None)


async def last_of(bank: Bank, cids: Sequence[str]) -> Relationship | None:
    """The customer's present relationship, or else the one that ended last; None when he never was
    anybody's friend."""
    found = await bank.db[RELATIONSHIPS].find({"cid": {"$in": list(cids)}}, limit=None)
    rows = cast("list[Relationship]", found)
    return max(rows, key=lambda row: (row["active"], row["at"]), default=None)


async def ended_between(bank: Bank, userid: str, cids: Sequence[str]) -> Relationship | None:
    """How the friendship of the two ended; None while it goes on, when there was none, and when it
    went on with another RM."""
    found = await read(bank, [relationship_id(bank.id, userid, cid) for cid in cids])
    if not found or any(row["active"] for row in found.values()):
        return None
    last = max(found.values(), key=lambda row: row["at"])
    return None if last.get("ended_by") == ENDED_BY_TRANSFER else last


async def ended_since(bank: Bank, userid: str, cids: Sequence[str], at: float) -> bool:
    """Whether a friendship of the two that began `at` (seconds UTC) is known to be over: it ended
    then or later, whatever WeCom still lists, or they are none now. Of one second, the end is
    believed."""
    found = await read(bank, [relationship_id(bank.id, userid, cid) for cid in cids])
    present = [row for row in found.values() if row["active"]]
    return not present or any(row.get("ended_at", -1.0) >= at for row in present)


async def is_over(bank: Bank, userid: str, cids: Sequence[str]) -> bool:
    """Whether the two were friends and are no more. One that went on with another RM is not over,
    and neither is one of which nothing is known."""
    found = await read(bank, [relationship_id(bank.id, userid, cid) for cid in cids])
    ended = [row for row in found.values() if not row["active"]]
    if not ended or len(ended) < len(found):
        return False
    return all(row.get("ended_by") != ENDED_BY_TRANSFER for row in ended)


async def read(bank: Bank, wanted: Sequence[str]) -> dict[str, Relationship]:
    """The relationships with these `_id`s, read together with what others ask for now."""
    return cast("dict[str, Relationship]", await bank.read(RELATIONSHIPS, wanted))


async def by_id(bank: Bank, wanted: Sequence[str]) -> dict[str, Relationship]:
    """The relationships with these `_id`s; any number of them."""
    return cast("dict[str, Relationship]", await bank.by_id(RELATIONSHIPS, wanted))


async def insert_new(bank: Bank, rows: Sequence[Relationship]) -> set[str]:
    """Inserts what is not there yet; the `_id`s of those that were there."""
    refused = await bank.db[RELATIONSHIPS].insert_new(cast("Sequence[Doc]", rows))
    return {rows[position]["_id"] for position in refused}


# in profiles


async def _in_profiles(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    """Who follows a customer now, and since when he has been anybody's friend."""
    found: defaultdict[str, list[Relationship]] = defaultdict(list)
    for active in (True, False):
        for query in batch.among("cid"):
            asked = {"active": active, **query}
            for row in await bank.db[RELATIONSHIPS].find(asked, fields=_OF_PROFILES, limit=None):
                cid = batch.owners.get(row["cid"])
                if cid is not None:
                    found[cid].append(cast("Relationship", row))
    userids = {row["userid"] for rows in found.values() for row in rows}
    branches = await staff.branches_of(bank, userids)
    return {cid: _part(rows, branches) for cid, rows in found.items()}


_OF_PROFILES = {"userid": 1, "cid": 1, "active": 1, "at": 1, "since": 1}


def _part(rows: Sequence[Relationship], branches: Mapping[str, str]) -> Part:
    present = {
        row["userid"]: {
            "userid": row["userid"],
            "branch": branches.get(row["userid"], ""),
            "since": float(row.get("since") or row["at"]),
        }
        for row in sorted(rows, key=lambda row: -float(row.get("since") or row["at"]))
        if row["active"]
    }
    began = [float(row["since"]) for row in rows if row.get("since")]
    followers = {"rms": [present[userid] for userid in sorted(present)]}
    return {**followers, "added_at": min(began)} if began else followers


SOURCE = Source("relationships", {RELATIONSHIPS: "cid"}, _in_profiles)
