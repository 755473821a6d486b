"""Customer groups as WeCom has them, and who is in them (contract/wechat B7, C4).

An event says that something changed; what the group is now is asked for, unless the event names all
that changed since the version that is known. Each row keeps when WeCom was asked (`fetched_at`),
and an older answer never undoes a newer one. A dismissed group stays dismissed, in whatever order
it is told. Names, and customers of whom only the external_userid is known, are sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, TypedDict, cast

import orjson

from customers import timeline
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.wecom_mirror.rows import GROUP_MEMBERS, GROUPS, Group, GroupMember
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
from services.queue import effects, outbox
from services.queue.inbox import InboxRow
from services.queue.outbox import Effect
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import BadConfig, BadRequest, PlatformError, SubjectState
from services.wechat.core.lists import OF_ONE_MEMBER

MEMBER, EXTERNAL = 1, 2
NOT_A_GROUP = frozenset({49008, 90501, 90509})
TOO_MANY_VISIBLE = 81017
BY_EVENT, BY_SYNC = "event", "sync"
QUIT = {0: "left", 1: "removed"}
OWNERS_AT_ONCE = 100
LAG_SECONDS = 10.0
A_PAGE = 20
Ways = Mapping[str, str]
"""`_id` of a group member's row → how he went."""


class Listed(TypedDict):
    """A group with how many are in it, its name opened."""

    chat_id: str
    name: str
    owner: str
    people: int
    customers: int
    created: int


def group_id(tenant: str, chat_id: str) -> str:
    return f"{tenant}:{chat_id}"


def member_id(bank: Bank, chat_id: str, userid: str) -> str:
    """The `_id` of somebody in a group; a customer's id is not in it in clear."""
    blind = bank.vault.blind(GROUP_MEMBERS, userid)
    return ids.tenant_id(bank.id, "group_member", chat_id, blind)


def name_of(bank: Bank, row: Group) -> str:
    """The group's name, empty when it has none."""
    sealed = row.get("name")
    return bank.vault.open_text(GROUPS, "name", row["_id"], sealed) if sealed else ""


async def _find(bank: Bank, chat_id: str) -> Group | None:
    row = await bank.db[GROUPS].find_one({"_id": group_id(bank.id, chat_id)})
    return cast("Group | None", row)


async def _inside(bank: Bank, chat_id: str) -> list[GroupMember]:
    """Who is in the group."""
    present = {"chat_id": chat_id, "active": True}
    return cast("list[GroupMember]", await bank.db[GROUP_MEMBERS].find(present, limit=None))


async def group_changed(bank: Bank, row: InboxRow, event: events.GroupEvent) -> None:
    """A group began, changed or ended."""
    at = events.happened(event, row)
    if isinstance(event, events.GroupDismissed):
        await _dismissed(bank, event.chat_id, at)
    elif isinstance(event, events.GroupUpdated):
        await _updated(bank, row["_id"], event, at)
    else:
        await read(bank, event.chat_id, at)


async def _updated(bank: Bank, row_id: str, event: events.GroupUpdated, at: float) -> None:
    known = await _find(bank, event.chat_id)
    if known is not None:
        if event.cur_mem_ver and known["version"] == event.cur_mem_ver:
            trace.note("group.known")
            return
        if _says_all(event, known):
            await _take_out(bank, event, known, at)
            return
        if event.last_mem_ver and known["version"] != event.last_mem_ver:
            trace.note("group.gap")
    change = Change(event.chat_id, event.last_mem_ver, event.cur_mem_ver)
    await read(bank, event.chat_id, at, _ways(bank, event))
    if await _lags(bank, change):
        await _read_later(bank, row_id, change, at, _ways(bank, event))


@dataclass(frozen=True)
class Change:
    """From which version of a group's people to which."""

    chat_id: str
    before: str
    after: str


async def _lags(bank: Bank, change: Change) -> bool:
    """Whether what WeCom answered is the group as it was before the change that it told of: its
    answers may come behind its events (contract/wechat B7)."""
    known = await _find(bank, change.chat_id)
    if known is None or not known["active"] or not change.before or not change.after:
        return False
    return known["version"] == change.before != change.after


async def _read_later(bank: Bank, cause: str, change: Change, at: float, ways: Ways) -> None:
    trace.note("group.lags")
    effect = Effect(
        id=ids.tenant_id(bank.id, "group", cause),
        tenant=bank.id,
        kind=READ_GROUP.name,
        cid="",
        args={**asdict(change), "at": at, "ways": dict(ways)},
    )
    await outbox.put(bank.services, effect, due=bank.now() + LAG_SECONDS)


async def read_again(bank: Bank, effect: Effect) -> effects.Outcome | None:
    """Asks once more for a group whose change did not show yet; raises PlatformError."""
    args = effect.args
    change = Change(args["chat_id"], args["before"], args["after"])
    if not await _lags(bank, change):  # something newer came
        return None
    await read(bank, change.chat_id, float(args["at"]), args["ways"])
    if await _lags(bank, change):
        return effects.Outcome("later", "group_lags", LAG_SECONDS)
    return None


READ_GROUP: effects.EffectKind[Bank] = effects.EffectKind(name="group", execute=read_again)
"""A group whose change WeCom told of before it showed it."""


def _ways(bank: Bank, event: events.GroupUpdated) -> Ways:
    """How those of a del_member event went; nobody of any other."""
    if event.update_detail != "del_member":
        return {}
    how = "left" if event.quit_scene is None else QUIT.get(event.quit_scene, "left")
    return {member_id(bank, event.chat_id, userid): how for userid in event.member_changes}


def _says_all(event: events.GroupUpdated, known: Group) -> bool:
    """Whether the event itself says all that changed since what is known: only goings can, for they
    need no details."""
    follows_on = bool(event.last_mem_ver) and event.last_mem_ver == known["version"]
    names_all = 0 < event.mem_change_cnt == len(event.member_changes)
    return event.update_detail == "del_member" and follows_on and names_all and known["active"]


async def _take_out(bank: Bank, event: events.GroupUpdated, known: Group, at: float) -> None:
    """Ends those who went, unless an answer that is newer than `known` says that they are in the
    group."""
    ways = _ways(bank, event)
    present = {"_id": {"$in": list(ways)}, "active": True}
    gone = cast("list[GroupMember]", await bank.db[GROUP_MEMBERS].find(present, limit=None))
    await _end(bank, gone, {"$lte": known["fetched_at"]}, at, ways)
    counts = await _counts(bank, event.chat_id)
    unchanged = {"_id": known["_id"], "version": event.last_mem_ver}
    await bank.db[GROUPS].update(unchanged, {"$set": {"version": event.cur_mem_ver, **counts}})


async def _counts(bank: Bank, chat_id: str) -> Doc:
    present = await bank.db[GROUP_MEMBERS].find(
        {"chat_id": chat_id, "active": True}, fields={"type": 1}, limit=None
    )
    return {"people": len(present), "customers": sum(row["type"] == EXTERNAL for row in present)}


async def read(bank: Bank, chat_id: str, at: float, ways: Ways | None = None) -> None:
    """Asks WeCom what the group is now; `ways` say how some went. Raises PlatformError."""
    asked = bank.now()
    try:
        answer = await bank.wecom.groups.get(chat_id)
    except PlatformError as error:
        if error.errcode not in NOT_A_GROUP:
            raise
        await _dismissed(bank, chat_id, at)
        return
    await bring(bank, dict(answer.get("group_chat") or {}), asked, ways=ways)


def _group(bank: Bank, told: Mapping[str, Any]) -> Group:
    """The row of a group as WeCom told it."""
    row_id = group_id(bank.id, told["chat_id"])
    people = told.get("member_list") or []
    name = str(told.get("name") or "")
    return {
        "_id": row_id,
        "chat_id": str(told["chat_id"]),
        "name": bank.vault.seal_text(GROUPS, "name", row_id, name) if name else None,
        "owner": str(told.get("owner") or ""),
        "admins": sorted(str(one.get("userid") or "") for one in told.get("admin_list") or []),
        "created": int(told.get("create_time") or 0),
        "version": str(told.get("member_version") or ""),
        "people": len(people),
        "customers": sum(one.get("type") == EXTERNAL for one in people),
        "active": True,
        "ended_by": None,
    }


async def bring(
    bank: Bank,
    told: Mapping[str, Any],
    asked: float,
    *,
    status: int | None = None,
    ways: Ways | None = None,
) -> bool:
    """Makes our rows say what WeCom told when `asked`; False when something newer is known, or the
    group is dismissed."""
    rows, fetched_at = bank.db[GROUPS], utc(asked)
    row: Doc = {**_group(bank, told), "fetched_at": fetched_at}
    if status is not None:
        row["status"] = status
    if await rows.insert_new([{"status": 0, **row}]):
        older = {
            "_id": row["_id"],
            "ended_by": {"$ne": BY_EVENT},
            "fetched_at": {"$lt": fetched_at},
        }
        if not await rows.update(older, {"$set": row}):
            trace.note("group.newer_known")
            return False
    await _bring_members(bank, told, asked, ways or {})
    return True


@dataclass(frozen=True)
class _Person:
    """Somebody in a group as WeCom told it; the `cid` is empty for a member, and for a customer
    whom we do not know."""

    userid: str
    external: bool
    name: str
    unionid: str
    joined: int
    join_scene: int
    invitor: str
    state: str
    cid: str = ""


def _person(told: Mapping[str, Any]) -> _Person:
    return _Person(
        userid=str(told["userid"]),
        external=told.get("type") == EXTERNAL,
        name=str(told.get("name") or ""),
        unionid=str(told.get("unionid") or ""),
        joined=int(told.get("join_time") or 0),
        join_scene=int(told.get("join_scene") or 0),
        invitor=str((told.get("invitor") or {}).get("userid") or ""),
        state=str(told.get("state") or ""),
    )


async def _said(bank: Bank, told: Mapping[str, Any]) -> dict[str, _Person]:
    """Who is in the group by WeCom's word, by the `_id`s of their rows. Customers have the `cid` of
    those who are known, or whose unionid is told; the others are nobody yet."""
    people = [_person(one) for one in told.get("member_list") or []]
    outsiders = [one.userid for one in people if one.external]
    cids = await resolution.known_by_external_userid(bank, outsiders)
    for one in people:
        if one.external and one.unionid and one.userid not in cids:
            facts = resolution.Facts(one.userid, one.unionid, name=one.name)
            cid = await resolution.identify(bank, facts, source="details", proof="groupchat/get")
            cids[one.userid] = cid
    return {
        member_id(bank, told["chat_id"], one.userid): replace(one, cid=cids.get(one.userid, ""))
        for one in people
    }


async def _bring_members(bank: Bank, told: Mapping[str, Any], asked: float, ways: Ways) -> None:
    chat_id = str(told["chat_id"])
    said = await _said(bank, told)
    there = {row["_id"]: row for row in await _inside(bank, chat_id)}
    fresh = [
        _member(bank, chat_id, row_id, one, asked)
        for row_id, one in said.items()
        if _is_news(bank, there.get(row_id), one)
    ]
    known = {row_id for row_id, row in there.items() if row["cid"]}
    await _tell_joinings(bank, [row for row in fresh if row["_id"] not in known])
    await _write_members(bank, fresh, asked)  # who stands there is told of
    gone = [row for row_id, row in there.items() if row_id not in said]
    await _end(bank, gone, {"$lt": utc(asked)}, asked, ways)


async def _tell_joinings(bank: Bank, fresh: Sequence[GroupMember]) -> None:
    """Into the stories of those who are customers of ours."""
    stories = [
        _story(bank, row, "group.joined", float(row["joined"])) for row in fresh if row["cid"]
    ]
    await timeline.record_many(bank, stories)


async def _write_members(bank: Bank, fresh: Sequence[GroupMember], asked: float) -> None:
    rows = cast("Sequence[Doc]", fresh)
    members = bank.db[GROUP_MEMBERS]
    refused = [rows[position] for position in await members.insert_new(rows)]
    older = {"fetched_at": {"$lt": utc(asked)}}
    await members.bulk_update([({"_id": row["_id"], **older}, {"$set": row}) for row in refused])


def _member(bank: Bank, chat_id: str, row_id: str, one: _Person, asked: float) -> GroupMember:
    def seal(field: str, value: str) -> bytes | None:
        return bank.vault.seal_text(GROUP_MEMBERS, field, row_id, value) if value else None

    return {
        "_id": row_id,
        "chat_id": chat_id,
        "type": EXTERNAL if one.external else MEMBER,
        "userid": "" if one.external else one.userid,
        "who": seal("who", one.userid) if one.external else None,
        "cid": one.cid,
        "name": seal("name", one.name),
        "joined": one.joined,
        "join_scene": one.join_scene,
        "invitor": one.invitor,
        "state": one.state,
        "active": True,
        "left_at": None,
        "fetched_at": utc(asked),
    }


def _is_news(bank: Bank, row: GroupMember | None, one: _Person) -> bool:
    """Whether he is not known to be in the group, or otherwise."""
    if row is None or row["joined"] != one.joined or row["cid"] != one.cid:
        return True
    sealed = row["name"]
    name = bank.vault.open_text(GROUP_MEMBERS, "name", row["_id"], sealed) if sealed else ""
    return name != one.name


def _story(bank: Bank, row: GroupMember, kind: str, at: float, **more: Any) -> timeline.Entry:
    """A joining is one entry, and its end is one, however often they are told."""
    key = f"{row['chat_id']}:{row['joined']}"
    data = {"chat_id": row["chat_id"], "state": row["state"], **more}
    return timeline.entry(bank, row["cid"], kind, key, data, at)


async def _end(
    bank: Bank, gone: Sequence[GroupMember], fetched: Mapping[str, datetime], at: float, ways: Ways
) -> None:
    """These are not in their group any more since `at`, in rows whose `fetched_at` is as the filter
    `fetched` says."""
    if not gone:
        return
    stories = [
        _story(bank, row, "group.left", at, how=ways.get(row["_id"], "unknown"))
        for row in gone
        if row["cid"]
    ]
    await timeline.record_many(bank, stories)
    wanted = {"_id": {"$in": [row["_id"] for row in gone]}, "fetched_at": fetched}
    ended = {"active": False, "left_at": utc(at), "fetched_at": bank.utc()}
    await bank.db[GROUP_MEMBERS].update_many(wanted, {"$set": ended})


async def _dismissed(bank: Bank, chat_id: str, at: float, by: str = BY_EVENT) -> None:
    """The group is no more; also when it was never told that it began."""
    row_id, now = group_id(bank.id, chat_id), bank.utc()
    ended: Doc = {
        "active": False,
        "ended_by": by,
        "ended_at": utc(at),
        "fetched_at": now,
        "people": 0,
        "customers": 0,
    }
    unheard_of: Doc = {**_group(bank, {"chat_id": chat_id}), "status": 0, **ended}
    if await bank.db[GROUPS].insert_new([unheard_of]):
        await bank.db[GROUPS].update({"_id": row_id}, {"$set": ended})
    inside = await _inside(bank, chat_id)
    ways = dict.fromkeys((row["_id"] for row in inside), "dismissed")
    await _end(bank, inside, {"$lt": now}, at, ways)


async def listed(bank: Bank) -> list[Listed]:
    """The groups that there are, the largest first, with their names."""
    rows = cast("list[Group]", await bank.db[GROUPS].find({"active": True}, limit=None))
    shown: list[Listed] = [
        {
            "chat_id": row["chat_id"],
            "name": name_of(bank, row),
            "owner": row["owner"],
            "people": row["people"],
            "customers": row["customers"],
            "created": row["created"],
        }
        for row in rows
    ]
    return sorted(shown, key=lambda row: (-row["people"], row["chat_id"]))


async def by_chat_id(bank: Bank, chat_ids: Sequence[str]) -> dict[str, Group]:
    """The groups of these chat_ids that we know."""
    wanted = [group_id(bank.id, one) for one in chat_ids]
    rows = await bank.db[GROUPS].find({"_id": {"$in": wanted}}, limit=None)
    return {row["chat_id"]: cast("Group", row) for row in rows}


async def _read_page(job: Job, cursor: str) -> Batch:
    """A page of groups with their people. A corp that is too large to list without owners is asked
    for 100 owners at a time."""
    at: dict[str, Any] = orjson.loads(cursor) if cursor else {"owners": [], "next": "", "all": True}
    asked = job.bank.now()
    try:
        page = await job.client.groups.list(
            owner_userids=at["owners"], cursor=at["next"], limit=A_PAGE
        )
    except (BadRequest, BadConfig, SubjectState) as error:
        return await _refused(job, at, error, asked)
    items, problems = await _read_groups(job, page.get("group_chat_list") or [])
    after = await _after(job, at, str(page.get("next_cursor") or ""))
    return Batch(items, after, asked, problems=problems)


async def _refused(job: Job, at: Mapping[str, Any], error: PlatformError, asked: float) -> Batch:
    """What to read instead. One owner whom WeCom does not take refuses all that are asked for with
    him: half of them are tried, until he is alone and is passed over."""
    owners: list[str] = at["owners"]
    if at["all"] and error.errcode == TOO_MANY_VISIBLE:
        return Batch([], await _next_owners(job, ""), asked)
    if not owners or error.errcode not in OF_ONE_MEMBER:
        raise error
    if len(owners) > 1:
        half = {"owners": owners[: len(owners) // 2], "next": "", "all": False}
        return Batch([], orjson.dumps(half).decode(), asked)
    following = await _next_owners(job, owners[0])
    return Batch([], following, asked, problems=[Problem(owners[0], code_of(error))])


async def _after(job: Job, at: Mapping[str, Any], following: str) -> str:
    """The cursor of the page after this one."""
    if following:
        return orjson.dumps({**at, "next": following}).decode()
    return "" if at["all"] else await _next_owners(job, at["owners"][-1])


async def _read_groups(
    job: Job, entries: Sequence[Mapping[str, Any]]
) -> tuple[list[tuple[int, Mapping[str, Any]]], list[Problem]]:
    """Status and details of each group of a page, and those that WeCom would not tell."""
    items: list[tuple[int, Mapping[str, Any]]] = []
    problems: list[Problem] = []
    for entry in entries:
        try:
            answer = await job.client.groups.get(entry["chat_id"])
        except PlatformError as error:
            if error.action != "give_up":
                raise
            if error.errcode not in NOT_A_GROUP:  # else dismissed since it was listed
                problems.append(Problem(entry["chat_id"], code_of(error)))
        else:
            items.append((int(entry.get("status") or 0), dict(answer.get("group_chat") or {})))
    return items, problems


async def _next_owners(job: Job, after: str) -> str:
    owners = [userid for userid in await follow_users(job) if userid > after][:OWNERS_AT_ONCE]
    return orjson.dumps({"owners": owners, "next": "", "all": False}).decode() if owners else ""


async def _write_page(job: Job, batch: Batch) -> Outcome:
    outcome = Outcome(done=len(batch.items), problems=list(batch.problems))
    await note(job, await _differences(job, batch, outcome))
    for status, told in batch.items if job.mend else []:
        await bring(job.bank, told, batch.asked, status=status)
    chat_ids = [told["chat_id"] for _, told in batch.items]
    chat_ids += [problem.object for problem in batch.problems]
    seen = {"_id": {"$in": [group_id(job.bank.id, chat_id) for chat_id in chat_ids]}}
    await job.db[GROUPS].update_many(seen, {"$set": {"seen": job.number}})
    if not batch.next:
        outcome.gone = await _close_unseen(job)
    return outcome


async def _differences(job: Job, batch: Batch, outcome: Outcome) -> list[Difference]:
    """What the page tells otherwise than our rows; counted in `outcome`."""
    known = await by_chat_id(job.bank, [told["chat_id"] for _, told in batch.items])
    found = []
    for status, told in batch.items:
        row = known.get(told["chat_id"])
        about = (told["chat_id"], str(told.get("owner") or ""))
        if row is None or not row["active"]:
            found.append(Difference("missing", *about))
            outcome.new += 1
        elif not _agrees(job.bank, row, told, status):
            found.append(Difference("changed", *about))
            outcome.changed += 1
    return found


def _agrees(bank: Bank, row: Group, told: Mapping[str, Any], status: int) -> bool:
    now = _group(bank, told)
    return (
        row["owner"] == now["owner"]
        and row["admins"] == now["admins"]
        and row["version"] == now["version"]
        and row["people"] == now["people"]
        and row["customers"] == now["customers"]
        and name_of(bank, row) == name_of(bank, now)
        and row.get("status") == status
    )


async def _close_unseen(job: Job) -> int:
    """Groups that this sync did not see, known before it began, are gone at WeCom."""
    unseen: Doc = {
        "active": True,
        "seen": {"$ne": job.number},
        "fetched_at": {"$lt": utc(job.started)},
    }
    gone = await job.db[GROUPS].find(unseen, limit=None)
    await note(job, [Difference("gone", row["chat_id"], row["owner"]) for row in gone])
    for row in gone if job.mend else []:
        await _dismissed(job.bank, row["chat_id"], job.started, BY_SYNC)
    return len(gone)


async def _again(job: Job, chat_id: str) -> None:
    await read(job.bank, chat_id, job.bank.now())


GROUPS_PART = Part("groups", _read_page, _write_page, _again)
