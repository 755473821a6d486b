"""Corp tags as WeCom has them: a mirror by id, and what a tag on a friendship means for the
customer (contract/wechat B4).

A tag is called `group:tag`; one of our own group 银桥 goes by its bare name. A friendship keeps ids,
a customer keeps names: a customer has a tag as long as one of his RMs' friendships has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from customers import relationships
from customers.banks.bank import Bank
from customers.identity.collections import CUSTOMERS
from customers.relationships import RELATIONSHIPS
from customers.wecom_mirror.rows import CORP_TAGS
from customers.wecom_mirror.sync import Batch, Difference, Job, Outcome, Part, note
from services.cache import Slot, TtlCache, cached, invalidate
from services.store.mongo import Doc
from services.wechat.core.errors import BadRequest

if TYPE_CHECKING:
    from services.wechat.events import TagChanged

OWN_GROUP = "银桥"
UNKNOWN_TAG = 40068
CACHE_SECONDS = 60.0
_STRANGERS: Slot[TtlCache[tuple[str, str], bool]] = Slot("strangers", lambda: TtlCache(10_000))
"""Tags, by tenant and id, that WeCom did not know when it was asked a moment ago."""


def name_of(group: str, tag: str) -> str:
    """What the tag is called in campaigns and rules."""
    return tag if group == OWN_GROUP else f"{group}:{tag}"


async def known(bank: Bank) -> dict[str, str]:
    """id → name of every corp tag in the mirror, at most CACHE_SECONDS old."""

    async def load() -> dict[str, str]:
        rows = await bank.db[CORP_TAGS].find({}, fields={"tag_id": 1, "name": 1}, limit=None)
        return {row["tag_id"]: row["name"] for row in rows}

    return await cached(bank.services, f"corp_tags:{bank.id}", CACHE_SECONDS, load)


async def names(bank: Bank, tag_ids: Iterable[str]) -> list[str]:
    """The names of these tags; WeCom is asked once for those that the mirror lacks, and what it
    does not know is left out."""
    wanted = list(tag_ids)
    by_id = await known(bank) if wanted else {}
    strangers = bank.services.cache.of(_STRANGERS)
    now = bank.now()
    if lacking := [
        tag_id
        for tag_id in wanted
        if tag_id not in by_id and strangers.get((bank.id, tag_id), now) is None
    ]:
        await refresh(bank, tag_ids=lacking)
        by_id = await known(bank)
        for tag_id in lacking:
            if tag_id not in by_id:
                strangers.put((bank.id, tag_id), True, now + CACHE_SECONDS)
    return sorted(by_id[tag_id] for tag_id in wanted if tag_id in by_id)


async def listed(bank: Bank) -> list[Doc]:
    """The mirror as people read it: by group and order, larger orders first."""
    rows = await bank.db[CORP_TAGS].find({}, limit=None)
    return sorted(
        rows, key=lambda row: (-row["group_order"], row["group"], -row["order"], row["tag"])
    )


async def refresh(
    bank: Bank,
    *,
    tag_ids: Sequence[str] = (),
    group_ids: Sequence[str] = (),
) -> None:
    """Reads these tags or these groups (or all) again and brings the mirror up to it; raises
    PlatformError."""
    asked = bank.now()
    fresh = _rows(bank.id, await _told(bank, tag_ids, group_ids))
    query: Doc = {}
    if tag_ids:
        query = {"_id": {"$in": [_row_id(bank.id, tag_id) for tag_id in tag_ids]}}
    elif group_ids:
        query = {"group_id": {"$in": list(group_ids)}}
    there = {row["_id"]: row for row in await bank.db[CORP_TAGS].find(query, limit=None)}
    await _bring(bank, fresh, there, asked)


async def _told(bank: Bank, tag_ids: Sequence[str], group_ids: Sequence[str]) -> Mapping[str, Any]:
    """WeCom's answer (92117). One id that it does not know refuses the whole question: then all
    tags are asked for."""
    client = bank.wecom
    try:
        return await client.tags.list(tag_ids=tag_ids, group_ids=group_ids)
    except BadRequest as error:
        if error.errcode != UNKNOWN_TAG:
            raise
    if len(tag_ids) + len(group_ids) < 2:
        return {}
    everything = await client.tags.list()
    groups = []
    for group in everything.get("tag_group") or []:
        held = [
            tag
            for tag in group.get("tag") or []
            if tag["id"] in tag_ids or group["group_id"] in group_ids
        ]
        groups.append({**group, "tag": held})
    return {"tag_group": groups}


def _row_id(tenant: str, tag_id: str) -> str:
    return f"{tenant}:{tag_id}"


def _rows(tenant: str, answer: Mapping[str, Any]) -> dict[str, Doc]:
    rows: dict[str, Doc] = {}
    for group in answer.get("tag_group") or []:
        about = {
            "group_id": group["group_id"],
            "group": group["group_name"],
            "group_order": int(group.get("order") or 0),
        }
        for tag in group.get("tag") or []:
            if group.get("deleted") or tag.get("deleted"):
                continue
            row_id = _row_id(tenant, tag["id"])
            named = {
                "tag_id": tag["id"],
                "tag": tag["name"],
                "name": name_of(group["group_name"], tag["name"]),
            }
            rows[row_id] = {"_id": row_id, **named, "order": int(tag.get("order") or 0), **about}
    return rows


async def _bring(
    bank: Bank,
    fresh: Mapping[str, Doc],
    there: Mapping[str, Doc],
    asked: float,
) -> None:
    """Makes the mirror say `fresh`, as WeCom told it when `asked`, where it said `there`; customers
    follow a new name, and lose what is gone. They come before the mirror: who is killed in between
    leaves what the next telling finds and completes. What the mirror learnt from a newer answer
    stays."""
    db, changes = bank.db, _compare(fresh, there, asked)
    await db[CORP_TAGS].insert_new([{**fresh[row_id], "told": asked} for row_id in changes.new])
    for row_id in changes.changed:
        old, name = there[row_id]["name"], fresh[row_id]["name"]
        if old != name:
            await db[CUSTOMERS].update_many({"tags": old}, {"$addToSet": {"tags": name}})
            await db[CUSTOMERS].update_many({"tags": old}, {"$pull": {"tags": old}})
    told = [{**fresh[row_id], "told": asked} for row_id in changes.changed]
    await db[CORP_TAGS].bulk_update([({"_id": row["_id"]}, {"$set": row}) for row in told])
    for row_id in changes.gone:
        await db[CUSTOMERS].update_many(
            {"tags": there[row_id]["name"]}, {"$pull": {"tags": there[row_id]["name"]}}
        )
        await db[RELATIONSHIPS].update_many(
            {"tags": there[row_id]["tag_id"]}, {"$pull": {"tags": there[row_id]["tag_id"]}}
        )
        await db[CORP_TAGS].delete({"_id": row_id})
    invalidate(bank.services, f"corp_tags:{bank.id}")
    invalidate(bank.services, f"tags:{bank.id}")


@dataclass(frozen=True)
class _Changes:
    """`_id`s of the mirror's rows: those that it lacks, that say something else, and whose tag is
    gone."""

    new: list[str]
    changed: list[str]
    gone: list[str]


def _compare(fresh: Mapping[str, Doc], there: Mapping[str, Doc], asked: float) -> _Changes:
    """What an answer of `asked` (seconds UTC) changes; nothing in rows that a newer answer
    wrote."""
    older = {row_id for row_id, row in there.items() if float(row.get("told") or 0.0) < asked}
    return _Changes(
        sorted(fresh.keys() - there.keys()),
        sorted(row_id for row_id in fresh.keys() & older if _differs(fresh[row_id], there[row_id])),
        sorted(older - fresh.keys()),
    )


def _differs(row: Doc, there: Doc) -> bool:
    return any(there.get(name) != value for name, value in row.items())


async def tag_changed(bank: Bank, row: Doc, event: TagChanged) -> None:
    """Reads the tag or the group of the event again: whatever the order of events, WeCom's present
    word counts."""
    if event.change == "shuffle" or event.tag_type == "tag_group":
        await refresh(bank, group_ids=[event.id] if event.id else [])
    else:
        await refresh(bank, tag_ids=[event.id])


async def carry(
    bank: Bank,
    cid: str,
    userid: str,
    before: Iterable[str],
    after: Iterable[str],
) -> None:
    """The tags of his friendship with `userid` were the ids `before` and are `after`: the
    customer's names follow. What another RM's friendship still has stays."""
    old, new = set(before), set(after)
    if fresh := await names(bank, new):
        update = {"$addToSet": {"tags": {"$each": fresh}}}
        await bank.change(CUSTOMERS, cid, update)
    if gone := old - new:
        others = await relationships.of_customer(bank, [cid])
        gone -= {tag for row in others if row["userid"] != userid for tag in row.get("tags") or []}
        if lost := await names(bank, gone):
            await bank.change(CUSTOMERS, cid, {"$pull": {"tags": {"$in": lost}}})


async def _read(job: Job, _cursor: str) -> Batch:
    asked = job.bank.now()
    answer = await job.client.tags.list()
    rows = _rows(job.bank.id, answer)
    return Batch([rows], "", asked, total=len(rows))


async def _write(job: Job, batch: Batch) -> Outcome:
    fresh: dict[str, Doc] = batch.items[0]
    there = {row["_id"]: row for row in await job.db[CORP_TAGS].find({}, limit=None)}
    changes = _compare(fresh, there, batch.asked)
    found = [
        Difference("missing", fresh[row_id]["tag_id"], fresh[row_id]["name"])
        for row_id in changes.new
    ]
    found += [
        Difference("gone", there[row_id]["tag_id"], there[row_id]["name"])
        for row_id in changes.gone
    ]
    found += [
        Difference("changed", fresh[row_id]["tag_id"], fresh[row_id]["name"])
        for row_id in changes.changed
    ]
    await note(job, found)
    if job.mend:
        await _bring(job.bank, fresh, there, batch.asked)
    return Outcome(len(fresh), len(changes.new), len(changes.changed), len(changes.gone))


TAGS_PART = Part("tags", _read, _write)


async def keep(bank: Bank, cid: str, tags: Sequence[str]) -> None:
    """Keeps the names of tags with the customer, besides those that he has."""
    if tags:
        await bank.change(CUSTOMERS, cid, {"$addToSet": {"tags": {"$each": list(tags)}}})
