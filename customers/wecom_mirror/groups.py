"""Customer groups as WeCom has them, and who is in them (contract/wechat B7, C4).

An event says that something changed; what the group is now is asked for, unless the event names all
that changed since the version that is known. Each row keeps when WeCom was asked (`told`, seconds
UTC), and an older answer never undoes a newer one. A dismissed group stays dismissed, in whatever
order it is told. Names, and customers of whom only the external_userid is known, are sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from customers import timeline
from customers.banks.bank import Bank, open_bank
from customers.identity import resolution
from customers.identity import rows as person
from customers.identity.collections import IDENTITIES
from customers.timeline import TIMELINE
from customers.wecom_mirror.rows import GROUP_MEMBERS, GROUPS
from customers.wecom_mirror.sync import (
    Batch,
    Difference,
    Job,
    Outcome,
    Part,
    Problem,
    code_of,
    follow_users,
    note,
)
from services import ids
from services.clock import utc
from services.observe import trace
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import BadRequest, PlatformError

MEMBER, EXTERNAL = 1, 2
NOT_A_GROUP = frozenset({49008, 90501, 90509})
TOO_MANY_VISIBLE = 81017
BY_EVENT, BY_SYNC = "event", "sync"
QUIT = {0: "left", 1: "removed"}
OWNERS_AT_ONCE = 100
A_PAGE = 20


def group_id(tenant: str, chat_id: str) -> str:
    return f"{tenant}:{chat_id}"


def member_id(bank: Bank, chat_id: str, userid: str) -> str:
    """The `_id` of somebody in a group; a customer's id is not in it in clear."""
    return ids.tenant_id(
        bank.id, "group_member", chat_id, bank.vault.blind("group_members", userid)
    )


def name_of(bank: Bank, row: Doc) -> str:
    """The group's name, empty when it has none."""
    return _open(bank, "groups", row)


def _open(bank: Bank, collection: str, row: Doc) -> str:
    sealed = row.get("name")
    return bank.vault.open_text(collection, "name", row["_id"], sealed) if sealed else ""


async def group_changed(bank: Bank, row: Doc, event: events.GroupEvent) -> None:
    """A group began, changed or ended."""
    at = events.happened(event, row)
    if isinstance(event, events.GroupDismissed):
        await _dismissed(bank, event.chat_id, at)
        return
    known = await bank.db[GROUPS].find_one({"_id": group_id(bank.id, event.chat_id)})
    if isinstance(event, events.GroupUpdated):
        if event.cur_mem_ver and known is not None and known.get("version") == event.cur_mem_ver:
            trace.note("group.known")
            return
        if known is not None and _whole(event, known):
            await _take_out(bank, event, known, at)
            return
        if known is not None and event.last_mem_ver and known.get("version") != event.last_mem_ver:
            trace.note("group.gap")
    how = _how(event)
    gone = (
        dict.fromkeys(event.member_changes, how)
        if isinstance(event, events.GroupUpdated) and how
        else {}
    )
    await read(bank, event.chat_id, at, gone)


def _how(event: events.GroupEvent) -> str:
    """How those of a del_member event went."""
    if not isinstance(event, events.GroupUpdated) or event.update_detail != "del_member":
        return ""
    return "left" if event.quit_scene is None else QUIT.get(event.quit_scene, "left")


def _whole(event: events.GroupUpdated, known: Doc) -> bool:
    """Whether the event itself says all that changed since what is known: only goings can, for they
    need no details."""
    follows_on = bool(event.last_mem_ver) and event.last_mem_ver == known.get("version")
    names_all = 0 < event.mem_change_cnt == len(event.member_changes)
    return (
        event.update_detail == "del_member" and follows_on and names_all and bool(known["active"])
    )


async def _take_out(bank: Bank, event: events.GroupUpdated, known: Doc, at: float) -> None:
    """Ends those who went, unless an answer that is newer than `known` says that they are in the
    group."""
    db = bank.db
    ways = {member_id(bank, event.chat_id, userid): _how(event) for userid in event.member_changes}
    gone = await db[GROUP_MEMBERS].find({"_id": {"$in": list(ways)}, "active": True}, limit=None)
    await _end(bank, gone, {"$lte": known["told"]}, at, ways)
    versions = {"_id": group_id(bank.id, event.chat_id), "version": event.last_mem_ver}
    counts = await _counts(bank, event.chat_id)
    await db[GROUPS].update(versions, {"$set": {"version": event.cur_mem_ver, **counts}})


async def _counts(bank: Bank, chat_id: str) -> Doc:
    present = await bank.db[GROUP_MEMBERS].find(
        {"chat_id": chat_id, "active": True}, fields={"type": 1}, limit=None
    )
    return {"people": len(present), "customers": sum(row["type"] == EXTERNAL for row in present)}


async def read(bank: Bank, chat_id: str, at: float, gone: Mapping[str, str] | None = None) -> None:
    """Asks WeCom what the group is now; `gone` says of userids how they went. Raises
    PlatformError."""
    asked = bank.now()
    try:
        answer = await bank.wecom.groupchat_get(chat_id)
    except PlatformError as error:
        if error.errcode not in NOT_A_GROUP:
            raise
        await _dismissed(bank, chat_id, at)
        return
    ways = {member_id(bank, chat_id, userid): how for userid, how in (gone or {}).items()}
    await bring(bank, dict(answer.get("group_chat") or {}), asked, ways=ways)


def _group_row(bank: Bank, group: Mapping[str, Any]) -> Doc:
    row_id = group_id(bank.id, group["chat_id"])
    people = group.get("member_list") or []
    name = str(group.get("name") or "")
    return {
        "_id": row_id,
        "chat_id": str(group["chat_id"]),
        "name": bank.vault.seal_text(GROUPS, "name", row_id, name) if name else None,
        "owner": str(group.get("owner") or ""),
        "admins": sorted(str(one.get("userid") or "") for one in group.get("admin_list") or []),
        "created": int(group.get("create_time") or 0),
        "version": str(group.get("member_version") or ""),
        "people": len(people),
        "customers": sum(one.get("type") == EXTERNAL for one in people),
        "active": True,
        "ended_by": None,
    }


async def bring(
    bank: Bank,
    group: Mapping[str, Any],
    asked: float,
    *,
    status: int | None = None,
    ways: Mapping[str, str] | None = None,
) -> bool:
    """Makes our rows say what WeCom told when `asked`; False when something newer is known, or the
    group is dismissed."""
    rows, row = bank.db[GROUPS], _group_row(bank, group)
    if status is not None:
        row["status"] = status
    if await rows.insert_new([{"status": 0, **row, "told": asked}]):
        older = {"_id": row["_id"], "ended_by": {"$ne": BY_EVENT}, "told": {"$lt": asked}}
        if not await rows.update(older, {"$set": {**row, "told": asked}}):
            trace.note("group.newer_known")
            return False
    await _bring_members(bank, group, asked, ways or {})
    return True


async def _bring_members(
    bank: Bank, group: Mapping[str, Any], asked: float, ways: Mapping[str, str]
) -> None:
    db, chat_id = bank.db, str(group["chat_id"])
    told = {member_id(bank, chat_id, one["userid"]): one for one in group.get("member_list") or []}
    rows = await db[GROUP_MEMBERS].find({"chat_id": chat_id, "active": True}, limit=None)
    there = {row["_id"]: row for row in rows}
    cids = await _customers(bank, told.values())
    fresh = {
        row_id: _member_row(bank, chat_id, row_id, one, cids.get(one["userid"], ""), asked)
        for row_id, one in told.items()
        if row_id not in there or _differs(bank, there[row_id], one, cids.get(one["userid"], ""))
    }
    new = list(fresh.values())
    refused = [new[position] for position in await db[GROUP_MEMBERS].insert_new(new)]
    await db[GROUP_MEMBERS].bulk_update(
        [({"_id": row["_id"], "told": {"$lt": asked}}, {"$set": row}) for row in refused]
    )
    joined = [row for row_id, row in fresh.items() if row["cid"] and row_id not in there]
    joined += [
        row
        for row_id, row in fresh.items()
        if row["cid"] and row_id in there and not there[row_id]["cid"]
    ]
    await db[TIMELINE].insert_new(
        [_story(bank, row, "group.joined", float(row["joined"])) for row in joined]
    )
    gone = [row for row_id, row in there.items() if row_id not in told]
    await _end(bank, gone, {"$lt": asked}, asked, ways)


async def _customers(bank: Bank, people: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """external_userid → cid, of those who are known, or whose unionid is told; the others are
    nobody yet."""
    outsiders = [one for one in people if one.get("type") == EXTERNAL]
    by_row = {
        person.row_id(bank, "external_userid", one["userid"]): one["userid"] for one in outsiders
    }
    rows = (
        await bank.services.store.find_across(IDENTITIES, list(by_row), {"cid": 1})
        if by_row
        else []
    )
    found = {by_row[row["_id"]]: row["cid"] for row in rows}
    for one in outsiders:
        unionid, name = str(one.get("unionid") or ""), str(one.get("name") or "")
        if unionid and one["userid"] not in found:
            facts = resolution.Facts(external_userid=one["userid"], unionid=unionid, name=name)
            cid = await resolution.identify(bank, facts, source="details", proof="groupchat/get")
            found[one["userid"]] = cid
    return found


def _member_row(
    bank: Bank,
    chat_id: str,
    row_id: str,
    one: Mapping[str, Any],
    cid: str,
    asked: float,
) -> Doc:
    outside = one.get("type") == EXTERNAL

    def seal(field: str, value: str) -> bytes | None:
        return bank.vault.seal_text(GROUP_MEMBERS, field, row_id, value) if value else None

    return {
        "_id": row_id,
        "chat_id": chat_id,
        "type": EXTERNAL if outside else MEMBER,
        "userid": "" if outside else str(one["userid"]),
        "who": seal("who", str(one["userid"])) if outside else None,
        "cid": cid,
        "name": seal("name", str(one.get("name") or "")),
        "joined": int(one.get("join_time") or 0),
        "join_scene": int(one.get("join_scene") or 0),
        "invitor": str((one.get("invitor") or {}).get("userid") or ""),
        "state": str(one.get("state") or ""),
        "active": True,
        "left_at": None,
        "told": asked,
    }


def _differs(bank: Bank, row: Doc, one: Mapping[str, Any], cid: str) -> bool:
    same_joining = row["joined"] == int(one.get("join_time") or 0) and row["cid"] == cid
    return not same_joining or _open(bank, "group_members", row) != str(one.get("name") or "")


def _story(bank: Bank, row: Doc, kind: str, at: float, **more: Any) -> Doc:
    """A joining is one row, and its end is one, however often they are told."""
    key = f"{row['chat_id']}:{row['joined']}"
    data = {"chat_id": row["chat_id"], "state": row["state"], **more}
    return timeline.entry(bank, row["cid"], kind, key, data, at)


async def _end(
    bank: Bank,
    gone: Sequence[Doc],
    told: Doc,
    at: float,
    ways: Mapping[str, str],
) -> None:
    """These are not in their group any more since `at`, in rows that were told as the filter `told`
    says."""
    if not gone:
        return
    db, wanted = bank.db, [row["_id"] for row in gone]
    stories = [
        _story(bank, row, "group.left", at, how=ways.get(row["_id"], "unknown"))
        for row in gone
        if row["cid"]
    ]
    await db[TIMELINE].insert_new(stories)
    ended = {"active": False, "left_at": utc(at), "told": bank.now()}
    await db[GROUP_MEMBERS].update_many({"_id": {"$in": wanted}, "told": told}, {"$set": ended})


async def _dismissed(bank: Bank, chat_id: str, at: float, by: str = BY_EVENT) -> None:
    """The group is no more; also when it was never told that it began."""
    db, row_id, now = bank.db, group_id(bank.id, chat_id), bank.now()
    ended: Doc = {
        "active": False,
        "ended_by": by,
        "told": now,
        "ended_at": utc(at),
        "people": 0,
        "customers": 0,
    }
    nothing: Doc = {
        "_id": row_id,
        "chat_id": chat_id,
        "name": None,
        "owner": "",
        "admins": [],
        "created": 0,
        "status": 0,
    }
    if await db[GROUPS].insert_new([{**nothing, "version": "", **ended}]):
        await db[GROUPS].update({"_id": row_id}, {"$set": ended})
    inside = await db[GROUP_MEMBERS].find({"chat_id": chat_id, "active": True}, limit=None)
    ways = dict.fromkeys((row["_id"] for row in inside), "dismissed")
    await _end(bank, inside, {"$lt": now}, at, ways)


async def listed(bank: Bank) -> list[Doc]:
    """The groups that there are, the largest first, with their names."""
    rows = await bank.db[GROUPS].find({"active": True}, limit=None)
    shown = [{**row, "name": name_of(bank, row)} for row in rows]
    return sorted(shown, key=lambda row: (-row["people"], row["chat_id"]))


async def _read_page(job: Job, cursor: str) -> Batch:
    """A page of groups with their people. A corp that is too large to list without owners is asked
    for 100 owners at a time."""
    at: dict[str, Any] = orjson.loads(cursor) if cursor else {"owners": [], "next": "", "all": True}
    asked = job.bank.now()
    try:
        page = await job.client.groupchat_list(
            owner_userids=at["owners"], cursor=at["next"], limit=A_PAGE
        )
    except BadRequest as error:
        if error.errcode != TOO_MANY_VISIBLE or not at["all"]:
            raise
        return Batch([], await _next_owners(job, ""), asked)
    items: list[tuple[int, Doc]] = []
    problems = []
    for entry in page.get("group_chat_list") or []:
        try:
            answer = await job.client.groupchat_get(entry["chat_id"])
        except PlatformError as error:
            if error.action != "give_up":
                raise
            if error.errcode not in NOT_A_GROUP:  # else dismissed since it was listed
                problems.append(Problem(entry["chat_id"], code_of(error)))
        else:
            items.append((int(entry.get("status") or 0), dict(answer.get("group_chat") or {})))
    if following := str(page.get("next_cursor") or ""):
        after = orjson.dumps({**at, "next": following}).decode()
    else:
        after = "" if at["all"] else await _next_owners(job, at["owners"][-1])
    return Batch(items, after, asked, problems=problems)


async def _next_owners(job: Job, after: str) -> str:
    owners = [userid for userid in await follow_users(job) if userid > after][:OWNERS_AT_ONCE]
    return orjson.dumps({"owners": owners, "next": "", "all": False}).decode() if owners else ""


async def _write_page(job: Job, batch: Batch) -> Outcome:
    outcome = Outcome(done=len(batch.items), problems=list(batch.problems))
    rows, tenant = job.db[GROUPS], job.bank.id
    wanted = [group_id(tenant, group["chat_id"]) for _, group in batch.items]
    there = {row["_id"]: row for row in await rows.find({"_id": {"$in": wanted}}, limit=None)}
    found = []
    for row_id, (status, group) in zip(wanted, batch.items, strict=True):
        known = there.get(row_id)
        if known is None or not known["active"]:
            found.append(Difference("missing", group["chat_id"], str(group.get("owner") or "")))
            outcome.new += 1
        elif not _agrees(await open_bank(job.bank.services, tenant), known, group, status):
            found.append(Difference("changed", group["chat_id"], str(group.get("owner") or "")))
            outcome.changed += 1
    await note(job, found)
    for status, group in batch.items if job.mend else []:
        await bring(job.bank, group, batch.asked, status=status)
    seen = wanted + [group_id(tenant, problem.object) for problem in batch.problems]
    await rows.update_many({"_id": {"$in": seen}}, {"$set": {"seen": job.number}})
    if not batch.next:
        outcome.gone = await _close_unseen(job)
    return outcome


def _agrees(bank: Bank, known: Doc, group: Mapping[str, Any], status: int) -> bool:
    told = _group_row(bank, group)
    same = ("owner", "admins", "version", "people", "customers")
    name = str(group.get("name") or "")
    return (
        all(known.get(field) == told[field] for field in same)
        and name_of(bank, known) == name
        and (known.get("status") == status)
    )


async def _close_unseen(job: Job) -> int:
    """Groups that this sync did not see, known before it began, are gone at WeCom."""
    query: Doc = {"active": True, "seen": {"$ne": job.number}, "told": {"$lt": job.started}}
    gone = await job.db[GROUPS].find(query, limit=None)
    await note(job, [Difference("gone", row["chat_id"], row["owner"]) for row in gone])
    for row in gone if job.mend else []:
        await _dismissed(job.bank, row["chat_id"], job.started, BY_SYNC)
    return len(gone)


async def _again(job: Job, chat_id: str) -> None:
    await read(job.bank, chat_id, job.bank.now())


GROUPS_PART = Part("groups", _read_page, _write_page, _again)
