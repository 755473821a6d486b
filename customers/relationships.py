"""Who follows whom: a row for each pair of RM and customer, told in any order.

Each change carries the time of its event (CreateTime); an older event never undoes a newer one, so
delete before add ends as add before delete (contract/wechat C3: delivery is not ordered). What
WeCom tells besides (remark, description, tags) carries the time at which WeCom was asked (`told`);
an older answer never undoes a newer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from customers.banks.bank import Bank
from services import ids
from services.store.mongo import Doc
from services.store.rows import Rows

RELATIONSHIPS = Rows(
    "relationships",
    indexes=(
        (("tenant", 1), ("userid", 1), ("active", 1), ("cid", 1)),
        (("tenant", 1), ("active", 1), ("cid", 1)),
    ),
)
"""A pair of RM and customer."""

ENDED_BY_SYNC = "sync"
SEALED = ("remark", "description")


@dataclass(frozen=True)
class Relation:
    """What WeCom says of one RM and one customer (contract/wechat B3): `since` in seconds UTC,
    `tags` as corp tag ids."""

    userid: str
    since: float = 0.0
    state: str = ""
    add_way: int | None = None
    remark: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()


def read_relation(info: Mapping[str, Any]) -> Relation:
    """A `follow_user` of 92114, or a `follow_info` of 92994, which has tag ids only."""
    told = info.get("tag_id") or [tag.get("tag_id") for tag in info.get("tags") or []]
    way = info.get("add_way")
    return Relation(
        userid=str(info.get("userid") or ""),
        since=float(info.get("createtime") or 0.0),
        state=str(info.get("state") or ""),
        add_way=None if way is None else int(way),
        remark=str(info.get("remark") or ""),
        description=str(info.get("description") or ""),
        tags=tuple(sorted({str(tag) for tag in told if tag})),
    )


def follow_id(tenant: str, userid: str, cid: str) -> str:
    """The `_id` of the pair's row."""
    return ids.tenant_id(tenant, "follow", userid, cid)


async def changed(
    bank: Bank,
    userid: str,
    cid: str,
    *,
    at: float,
    active: bool,
    **fields: Any,
) -> bool:
    """Records that the friendship began or ended `at` (seconds UTC, the event's own time); False
    when something newer is known.

    `fields` of a beginning belong to it (`since`): told after its end, they complete the row, as
    they would have in order."""
    row_id = follow_id(bank.id, userid, cid)
    row: Doc = {
        "userid": userid,
        "cid": cid,
        "active": active,
        "at": at,
        "ended_by": None,
        **fields,
    }
    row |= {"since": at} if active else {}
    if await bank.insert(RELATIONSHIPS, {"_id": row_id, **row}):
        return True
    rows = bank.db[RELATIONSHIPS]
    newer: Doc = {"_id": row_id, "at": {"$lt": at}}
    same_second: Doc = {
        "_id": row_id,
        "at": at,
        "active": True,
    }  # of one second, the end is believed
    if await rows.update(newer, {"$set": row}) or (
        not active and await rows.update(same_second, {"$set": row})
    ):
        return True
    if active:
        over: Doc = {"_id": row_id, "active": False, "since": {"$not": {"$gte": at}}}
        await rows.update(over, {"$set": {"since": at, **fields}})
        for (
            name,
            value,
        ) in fields.items():  # details that come after the event of the same second complete it
            if value is not None:
                await rows.update({**same_second, name: None}, {"$set": {name: value}})
    return False


def new_row(bank: Bank, cid: str, relation: Relation, asked: float) -> Doc:
    """The row of a friendship that was not known, as WeCom told it when `asked`."""
    row_id = follow_id(bank.id, relation.userid, cid)
    row: Doc = {
        "_id": row_id,
        "userid": relation.userid,
        "cid": cid,
        "active": True,
        "at": relation.since,
    }
    row |= {"since": relation.since, "state": relation.state, "add_way": relation.add_way}
    return row | _described(bank, row_id, relation, asked)


def _described(bank: Bank, row_id: str, relation: Relation, asked: float) -> Doc:
    def seal(name: str) -> bytes | None:
        text = getattr(relation, name)
        return bank.vault.seal_text(RELATIONSHIPS, name, row_id, text) if text else None

    return {"tags": list(relation.tags), "told": asked, **{name: seal(name) for name in SEALED}}


def opened(bank: Bank, row: Doc) -> dict[str, str]:
    """The RM's remark on the customer and his description of him."""

    def text(name: str) -> str:
        sealed = row.get(name)
        return bank.vault.open_text(RELATIONSHIPS, name, row["_id"], sealed) if sealed else ""

    return {name: text(name) for name in SEALED}


def believes(row: Doc, relation: Relation) -> bool:
    """Whether the two are friends by what WeCom tells: an end that is newer counts more, unless a
    sync inferred it."""
    return bool(row["active"] or row["at"] < relation.since or row.get("ended_by") == ENDED_BY_SYNC)


def news(bank: Bank, row: Doc, relation: Relation) -> list[str]:
    """Which of "state", "tags" and "notes" WeCom tells otherwise than `row` has it; nothing when
    they agree. An end that is newer than what WeCom tells is believed."""
    if not believes(row, relation):
        return []
    found = ["state"] if not row["active"] or row["at"] < relation.since else []
    if sorted(row.get("tags") or []) != list(relation.tags):
        found.append("tags")
    if opened(bank, row) != {name: getattr(relation, name) for name in SEALED}:
        found.append("notes")
    return found


async def bring(bank: Bank, cid: str, relation: Relation, asked: float) -> Doc | None:
    """Brings the pair's row up to what WeCom told when it was `asked` (seconds UTC); the row as it
    was before, or None."""
    row = new_row(bank, cid, relation, asked)
    row_id = row["_id"]
    if await bank.insert(RELATIONSHIPS, row):
        return None
    before = (await bank.read(RELATIONSHIPS, [row_id])).get(row_id)
    if before is None:  # merged or renamed in this moment: whoever did it has the row
        return None
    if not before["active"] and before.get("ended_by") == ENDED_BY_SYNC:
        revived = {"active": True, "at": max(before["at"], relation.since), "ended_by": None}
        lost = {"_id": row_id, "active": False, "ended_by": ENDED_BY_SYNC}
        await bank.db[RELATIONSHIPS].update(lost, {"$set": revived})
    told = {"state": relation.state, "add_way": relation.add_way}
    if before["at"] <= relation.since:
        await changed(bank, relation.userid, cid, at=relation.since, active=True, **told)
    if news(bank, {**before, "active": True}, relation):
        await describe(bank, [(row_id, relation)], asked)
    return before


async def describe(bank: Bank, told: Iterable[tuple[str, Relation]], asked: float) -> None:
    """Writes tags, remark and description into rows that are there, unless a newer answer is in
    them."""
    older: Doc = {"told": {"$not": {"$gte": asked}}}
    rows = bank.db[RELATIONSHIPS]
    await rows.bulk_update(
        [
            (
                {"_id": row_id, **older},
                {"$set": _described(bank, row_id, relation, asked)},
            )
            for row_id, relation in told
        ]
    )


async def retag(
    bank: Bank,
    userid: str,
    cid: str,
    added: Sequence[str],
    taken: Sequence[str],
) -> None:
    """Keeps the ids of tags that we marked ourselves, which WeCom does not call back for."""
    row_id = follow_id(bank.id, userid, cid)
    rows, told = bank.db[RELATIONSHIPS], {"$max": {"told": bank.now()}}
    if added:
        await rows.update({"_id": row_id}, {"$addToSet": {"tags": {"$each": list(added)}}, **told})
    if taken:
        await rows.update({"_id": row_id}, {"$pull": {"tags": {"$in": list(taken)}}, **told})


async def end_unseen(bank: Bank, rows: Sequence[Doc], at: float) -> None:
    """Ends friendships that WeCom no longer knew `at` (seconds UTC), except those that began anew
    since."""
    wanted = [row["_id"] for row in rows]
    ended = {"active": False, "at": at, "ended_by": ENDED_BY_SYNC}
    for start in range(0, len(wanted), 100):
        query = {"_id": {"$in": wanted[start : start + 100]}, "active": True, "at": {"$lt": at}}
        await bank.db[RELATIONSHIPS].update_many(query, {"$set": ended})


async def rename(bank: Bank, userid: str, to: str) -> None:
    """Gives a member's friendships to his new userid; safe to repeat."""
    rows = bank.db[RELATIONSHIPS]
    for active in (True, False):
        while found := await rows.find({"userid": userid, "active": active}, limit=100):
            await rows.insert_new([_renamed(bank, row, to) for row in found])
            await rows.delete({"_id": {"$in": [row["_id"] for row in found]}})


def _renamed(bank: Bank, row: Doc, to: str) -> Doc:
    row_id = follow_id(bank.id, to, row["cid"])
    texts = opened(bank, row)
    sealed = {
        name: bank.vault.seal_text(RELATIONSHIPS, name, row_id, text) if text else None
        for name, text in texts.items()
    }
    return {**row, "_id": row_id, "userid": to, **sealed}


async def move(bank: Bank, cid: str, to: str) -> None:
    """Gives a merged customer's friendships to whom he was merged into; of two with one RM the
    newer word counts."""
    rows = bank.db[RELATIONSHIPS]
    present = [
        await rows.find({"active": active, "cid": cid}, limit=None) for active in (True, False)
    ]
    for row in chain(*present):
        told = {name: row[name] for name in ("state", "add_way", "since") if name in row}
        await changed(bank, row["userid"], to, at=row["at"], active=row["active"], **told)
        if row.get("told") is not None:
            texts = opened(bank, row)
            notes = Relation(
                row["userid"],
                tags=tuple(row["tags"]),
                remark=texts["remark"],
                description=texts["description"],
            )
            await describe(bank, [(follow_id(bank.id, row["userid"], to), notes)], row["told"])
        await rows.delete({"_id": row["_id"]})


async def of_staff(bank: Bank, userid: str, limit: int = 200) -> list[Doc]:
    """The RM's present friends, newest first."""
    rows = bank.db[RELATIONSHIPS]
    return await rows.find({"userid": userid, "active": True}, sort=[("at", -1)], limit=limit)


async def of_customer(bank: Bank, cids: Sequence[str]) -> list[Doc]:
    """The RMs who follow the customer now, newest first; customers who are asked for in one moment
    share one query."""

    async def flush(asked: list[Sequence[str]]) -> list[list[Doc]]:
        every = list(dict.fromkeys(cid for cids in asked for cid in cids))
        by_cid: dict[str, list[Doc]] = {}
        for row in await bank.db[RELATIONSHIPS].find(
            {"active": True, "cid": {"$in": every}}, limit=None
        ):
            by_cid.setdefault(row["cid"], []).append(row)
        found = [[row for cid in cids for row in by_cid.get(cid, [])] for cids in asked]
        return [sorted(rows, key=lambda row: float(row["at"]), reverse=True) for rows in found]

    group = bank.services.groups.get(f"follows:{bank.id}", flush, limit=32, lanes=2)
    return cast("list[Doc]", await group.submit(cids))


async def pair(bank: Bank, userid: str, cids: list[str]) -> Doc | None:
    """The present friendship of the two, or None."""
    wanted = [follow_id(bank.id, userid, cid) for cid in cids]
    found = await bank.read(RELATIONSHIPS, wanted)
    return next((row for row in found.values() if row["active"]), None)


async def count_of_staff(bank: Bank, userid: str) -> int:
    """How many follow the RM now."""
    return await bank.db[RELATIONSHIPS].count({"userid": userid, "active": True})
