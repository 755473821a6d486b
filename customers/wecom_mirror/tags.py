"""Corp tags as WeCom has them: a mirror by id, and what a tag on a relationship means for the
customer (contract/wechat B4).

A tag is called `group:tag`; one of our own group 银桥 goes by its bare name. A relationship keeps
ids, a customer keeps names: a customer has a tag as long as one of his RMs' relationships has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from customers import relationships
from customers.banks.bank import Bank
from customers.identity import rows as identity_rows
from customers.relationships import FollowInfo, Relationship
from customers.wecom_mirror.rows import CORP_TAGS, CorpTag
from customers.wecom_mirror.sync import Batch, Difference, Job, Outcome, Part, note
from services.cache import Slot, TtlCache, cached, invalidate
from services.clock import utc
from services.queue.inbox import InboxRow
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
    strangers, now = bank.services.cache.of(_STRANGERS), bank.now()
    lacking = [
        tag_id
        for tag_id in wanted
        if tag_id not in by_id and strangers.get((bank.id, tag_id), now) is None
    ]
    if lacking:
        await refresh(bank, tag_ids=lacking)
        by_id = await known(bank)
        for tag_id in (one for one in lacking if one not in by_id):
            strangers.put((bank.id, tag_id), True, now + CACHE_SECONDS)
    return sorted(by_id[tag_id] for tag_id in wanted if tag_id in by_id)


async def listed(bank: Bank) -> list[CorpTag]:
    """The mirror as people read it: by group and order, larger orders first."""
    rows = (await _mirrored(bank, {})).values()
    return sorted(
        rows, key=lambda row: (-row["group_order"], row["group"], -row["order"], row["tag"])
    )


async def _mirrored(bank: Bank, query: Doc) -> dict[str, CorpTag]:
    """What the mirror says, by `_id`."""
    rows = await bank.db[CORP_TAGS].find(query, limit=None)
    return {row["_id"]: cast("CorpTag", row) for row in rows}


async def refresh(
    bank: Bank,
    *,
    tag_ids: Sequence[str] = (),
    group_ids: Sequence[str] = (),
) -> None:
    """Reads these tags or these groups (or all) again and brings the mirror up to it; raises
    PlatformError."""
    asked = bank.now()
    told = _read_tags(bank.id, await _ask(bank, tag_ids, group_ids))
    query: Doc = {}
    if tag_ids:
        query = {"_id": {"$in": [_row_id(bank.id, tag_id) for tag_id in tag_ids]}}
    elif group_ids:
        query = {"group_id": {"$in": list(group_ids)}}
    await _bring(bank, _compare(told, await _mirrored(bank, query), asked), asked)


async def learn(bank: Bank, group: Mapping[str, Any], asked: float) -> None:
    """Takes the new tags of a group into the mirror, as WeCom answered when they were made."""
    told = _read_tags(bank.id, {"tag_group": [group]})
    mirrored = await _mirrored(bank, {"_id": {"$in": list(told)}})
    await _bring(bank, _compare(told, mirrored, asked), asked)


async def relabel(bank: Bank, wanted: Sequence[CorpTag], tag: str, group: str) -> None:
    """These tags are called `tag` now, or are in the group `group`; an empty one stays. Customers
    follow elsewhere: whoever calls this has them renamed."""
    changes: list[tuple[Doc, Doc]] = []
    for row in wanted:
        name, of = tag or row["tag"], group or row["group"]
        called = {"tag": name, "group": of, "name": name_of(of, name)}
        changes.append(({"_id": row["_id"]}, {"$set": {**called, "fetched_at": bank.utc()}}))
    await bank.db[CORP_TAGS].bulk_update(changes)
    invalidate(bank.services, f"corp_tags:{bank.id}")


async def drop(bank: Bank, tag_id: str) -> None:
    """WeCom has deleted the tag: customers and relationships lose it, then the mirror."""
    gone = list((await _mirrored(bank, {"_id": _row_id(bank.id, tag_id)})).values())
    await relationships.drop_tag(bank, tag_id)
    await _bring(bank, _Changes([], [], gone), bank.now())


async def _ask(bank: Bank, tag_ids: Sequence[str], group_ids: Sequence[str]) -> Mapping[str, Any]:
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


def _read_tags(tenant: str, answer: Mapping[str, Any]) -> dict[str, CorpTag]:
    """The rows of the tags in WeCom's answer, without those that it calls deleted."""
    rows = [
        _corp_tag(tenant, group, tag)
        for group in answer.get("tag_group") or []
        for tag in group.get("tag") or []
        if not group.get("deleted") and not tag.get("deleted")
    ]
    return {row["_id"]: row for row in rows}


def _corp_tag(tenant: str, group: Mapping[str, Any], tag: Mapping[str, Any]) -> CorpTag:
    return {
        "_id": _row_id(tenant, tag["id"]),
        "tag_id": tag["id"],
        "tag": tag["name"],
        "name": name_of(group["group_name"], tag["name"]),
        "order": int(tag.get("order") or 0),
        "group_id": group["group_id"],
        "group": group["group_name"],
        "group_order": int(group.get("order") or 0),
    }


@dataclass(frozen=True)
class _Changes:
    """What an answer of WeCom's changes in the mirror: tags that it lacks, that it calls or sorts
    otherwise (with what it says now), and that are gone."""

    new: list[CorpTag]
    changed: list[tuple[CorpTag, CorpTag]]
    gone: list[CorpTag]


def _compare(
    told: Mapping[str, CorpTag], mirrored: Mapping[str, CorpTag], asked: float
) -> _Changes:
    """What an answer of `asked` (seconds UTC) changes; nothing in rows that a newer answer
    wrote."""
    older = {row_id for row_id, row in mirrored.items() if row["fetched_at"] < utc(asked)}
    return _Changes(
        new=[told[row_id] for row_id in sorted(told.keys() - mirrored.keys())],
        changed=[
            (told[row_id], mirrored[row_id])
            for row_id in sorted(told.keys() & older)
            if not told[row_id].items() <= mirrored[row_id].items()
        ],
        gone=[mirrored[row_id] for row_id in sorted(older - told.keys())],
    )


async def _bring(bank: Bank, changes: _Changes, asked: float) -> None:
    """Changes the mirror to what WeCom told when `asked`; customers follow a new name, and lose
    what is gone. They come before the mirror: who is killed in between leaves what the next telling
    finds and completes. What the mirror learnt from a newer answer stays."""
    rows, fetched = bank.db[CORP_TAGS], {"fetched_at": utc(asked)}
    await rows.insert_new([{**tag, **fetched} for tag in changes.new])
    for tag, before in changes.changed:
        if before["name"] != tag["name"]:
            await identity_rows.rename_tag(bank, before["name"], tag["name"])
    await rows.bulk_update(
        [({"_id": tag["_id"]}, {"$set": {**tag, **fetched}}) for tag, _ in changes.changed]
    )
    for tag in changes.gone:
        await identity_rows.drop_tag(bank, tag["name"])
        await relationships.drop_tag(bank, tag["tag_id"])
        await rows.delete({"_id": tag["_id"]})
    invalidate(bank.services, f"corp_tags:{bank.id}")


async def tag_changed(bank: Bank, row: InboxRow, event: TagChanged) -> None:
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
    """The tags of his relationship with `userid` were the ids `before` and are `after`: the
    customer's names follow. What another RM's relationship still has stays."""
    old, new = set(before), set(after)
    if given := await names(bank, new):
        await identity_rows.add_tags(bank, cid, given)
    if gone := old - new:
        gone -= await _tags_of_others(bank, cid, userid)
        if taken := await names(bank, gone):
            await identity_rows.remove_tags(bank, cid, taken)


async def _tags_of_others(bank: Bank, cid: str, userid: str) -> set[str]:
    """The tags that other RMs than `userid` gave the customer, by id."""
    rows = await relationships.of_customer(bank, [cid])
    return {tag for row in rows if row["userid"] != userid for tag in row.get("tags") or []}


async def follow(bank: Bank, cid: str, info: FollowInfo, row: Relationship | None) -> None:
    """The customer's names follow the tags that WeCom told of a relationship, which `row` says
    otherwise or does not know yet."""
    before = sorted((row.get("tags") if row else None) or [])
    if before != list(info.tags):
        await carry(bank, cid, info.userid, before, info.tags)


async def _read(job: Job, _cursor: str) -> Batch:
    asked = job.bank.now()
    rows = _read_tags(job.bank.id, await job.client.tags.list())
    return Batch([rows], "", asked, total=len(rows))


async def _write(job: Job, batch: Batch) -> Outcome:
    told: dict[str, CorpTag] = batch.items[0]
    changes = _compare(told, await _mirrored(job.bank, {}), batch.asked)
    found = [Difference("missing", tag["tag_id"], tag["name"]) for tag in changes.new]
    found += [Difference("gone", tag["tag_id"], tag["name"]) for tag in changes.gone]
    found += [Difference("changed", tag["tag_id"], tag["name"]) for tag, _ in changes.changed]
    await note(job, found)
    if job.mend:
        await _bring(job.bank, changes, batch.asked)
    return Outcome(len(told), len(changes.new), len(changes.changed), len(changes.gone))


TAGS_PART = Part("tags", _read, _write)
