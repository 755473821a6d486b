"""Handing customers and groups over to another RM (wechat-contract B9): one clerk asks, another
agrees (promise P7), and every item's end is kept and shown. What is done at WeCom is in
customers/handover/work.py.

A batch goes from `submitted` to `approved` (or `rejected`) and ends as `done`. Its items go from
`requested` over `asking` (WeCom is being asked) to `waiting` (the customer has 24 h to refuse) and
end as `done`, `refused`, `limit` or `failed`, with a reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from customers import relationships, timeline
from customers.actors import ClerkActor
from customers.banks.directory import Tenant, get_tenant, staff_member, wecom_client
from customers.identity import resolution
from services import ids
from services.cache import cached
from services.clock import utc
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.observe import trace
from services.store.mongo import Doc, Duplicate
from services.wechat import events

SUBMITTED, APPROVED, REJECTED = "submitted", "approved", "rejected"
REQUESTED, ASKING, WAITING, DONE = "requested", "asking", "waiting", "done"
MESSAGE_MOST = 200
SHOWN = 500
SEALED_AT_ONCE = 200
UNASSIGNED_SECONDS = 30.0
TASK = "customers.handover"

Mode = Literal["onjob", "resigned"]


@dataclass(frozen=True)
class Wanted:
    """What is to go from whom to whom. None for `cids` and `chat_ids` means all that he has;
    `message` is what the customer reads (in service only, at most 200 characters); `key` makes the
    same request twice one batch."""

    mode: Mode
    handover_userid: str
    takeover_userid: str
    key: str
    cids: tuple[str, ...] | None = None
    chat_ids: tuple[str, ...] | None = ()
    message: str = ""


async def start(services: Services, actor: ClerkActor, wanted: Wanted) -> str:
    """Hands the request in for another clerk's decision; the batch's id.

    Raises InvalidInput (`handover_same`, `handover_message`), NotFound (`staff_unknown`: the one
    who takes over is no active staff; `customer_unknown`: not his customer), Conflict
    (`handover_in_service`, `handover_not_in_service`: the mode is the other one;
    `handover_nothing`), and PlatformError when WeCom cannot say what he leaves behind.
    """
    batch = ids.tenant_id(actor.tenant, "handover_batch", actor.login, wanted.key)
    db = services.store.tenant(actor.tenant)
    if await db["handover_batches"].find_one({"_id": batch}, {"_id": 1}):
        return batch
    await _check(services, actor.tenant, wanted)
    tenant = await get_tenant(services, actor.tenant)
    customers = await _customers(services, tenant, wanted)
    groups = await _groups(services, tenant, wanted)
    targets = [("customer", target, cid) for target, cid in customers.items()]
    targets += [("group", chat_id, "") for chat_id in groups]
    if not targets:
        raise Conflict("handover_nothing", "there is nothing to hand over")
    for first in range(
        0, len(targets), SEALED_AT_ONCE
    ):  # a leaver may have 20,000 customers, and others wait for the loop
        part = targets[first : first + SEALED_AT_ONCE]
        await db["handovers"].insert_new(
            [_item(services, actor.tenant, batch, wanted, *one) for one in part]
        )
    row = _batch_row(services, actor, batch, wanted, len(customers), len(groups))
    try:
        await db["handover_batches"].insert(row)
    except Duplicate:
        return batch
    data = {"mode": wanted.mode, "from": wanted.handover_userid, "to": wanted.takeover_userid}
    counts = {"customers": len(customers), "groups": len(groups)}
    await services.audit.record(db, actor.login, "handover.submitted", batch, **data, **counts)
    return batch


async def _check(services: Services, tenant: str, wanted: Wanted) -> None:
    if wanted.handover_userid == wanted.takeover_userid:
        raise InvalidInput("handover_same", "nobody takes over from himself")
    if len(wanted.message) > MESSAGE_MOST:
        raise InvalidInput("handover_message", f"at most {MESSAGE_MOST} characters")
    await staff_member(services, tenant, wanted.takeover_userid)
    row = await services.store.tenant(tenant)["staff"].find_one(
        {"_id": f"{tenant}:{wanted.handover_userid}"}
    )
    if wanted.mode == "resigned" and row is not None and row["active"]:
        raise Conflict("handover_in_service", "this member has not left")
    if wanted.mode == "onjob" and (row is None or not row["active"]):
        raise Conflict("handover_not_in_service", "this member has left")


async def _customers(services: Services, tenant: Tenant, wanted: Wanted) -> dict[str, str]:
    """external_userid → cid (empty while unknown) of those who are to go over."""
    if wanted.mode == "resigned" and wanted.cids is None:
        left = (await _unassigned(services, tenant)).get(wanted.handover_userid, [])
        return dict.fromkeys(left, "")
    rows = await relationships.of_staff(services, tenant.id, wanted.handover_userid, limit=100_000)
    his = [row["cid"] for row in rows]
    if wanted.cids is not None and not set(wanted.cids) <= set(his):
        raise NotFound("customer_unknown", "not a customer of this member")
    people = await _people(services, tenant.id, his if wanted.cids is None else list(wanted.cids))
    return {person.external_userid: person.cid for person in people if person.external_userid}


async def _people(services: Services, tenant: str, cids: list[str]) -> list[resolution.Customer]:
    found: list[resolution.Customer] = []
    for first in range(0, len(cids), 500):
        asked = (resolution.customer(services, tenant, cid) for cid in cids[first : first + 500])
        found += await asyncio.gather(*asked)
    return found


async def _groups(services: Services, tenant: Tenant, wanted: Wanted) -> list[str]:
    if wanted.chat_ids is not None:
        return list(dict.fromkeys(wanted.chat_ids))
    return await groups_of(services, tenant, wanted.handover_userid)


async def groups_of(services: Services, tenant: Tenant, userid: str) -> list[str]:
    """The chat_ids of the customer groups that the member owns; raises PlatformError."""
    client, cursor, found = wecom_client(services, tenant), "", list[str]()
    while True:
        answer = await client.groupchat_list(owner_userids=[userid], cursor=cursor)
        found += [str(chat["chat_id"]) for chat in answer.get("group_chat_list") or []]
        cursor = str(answer.get("next_cursor") or "")
        if not cursor:
            return found


async def unassigned(services: Services, actor: ClerkActor) -> dict[str, int]:
    """How many customers each member who left has left behind, at most UNASSIGNED_SECONDS old;
    raises PlatformError."""
    tenant = await get_tenant(services, actor.tenant)
    key = f"unassigned:{tenant.id}"
    found = await cached(services, key, UNASSIGNED_SECONDS, lambda: _unassigned(services, tenant))
    return {userid: len(left) for userid, left in sorted(found.items())}


async def _unassigned(services: Services, tenant: Tenant) -> dict[str, list[str]]:
    client, cursor, found = wecom_client(services, tenant), "", dict[str, list[str]]()
    while True:
        answer = await client.get_unassigned_list(cursor=cursor)
        for entry in answer.get("info") or []:
            found.setdefault(str(entry["handover_userid"]), []).append(
                str(entry["external_userid"])
            )
        cursor = str(answer.get("next_cursor") or "")
        if not cursor or answer.get("is_last"):
            return found


async def people(services: Services, actor: ClerkActor) -> list[Doc]:
    """Everybody who is or was staff of the actor's bank, by userid: `userid`, `name`, `branch`,
    `active`."""
    rows = await services.store.tenant(actor.tenant)["staff"].find(
        {}, sort=[("userid", 1)], limit=None
    )
    return [{name: row[name] for name in ("userid", "name", "branch", "active")} for row in rows]


async def choices(services: Services, actor: ClerkActor, userid: str) -> dict[str, Any]:
    """What a member could hand over: his newest SHOWN customers, masked, how many there are, and
    his groups; raises PlatformError."""
    rows = await relationships.of_staff(services, actor.tenant, userid, limit=SHOWN)
    found = await _people(services, actor.tenant, [row["cid"] for row in rows])
    total = await services.store.tenant(actor.tenant)["follows"].count(
        {"userid": userid, "active": True}
    )
    return {
        "customers": [
            {"cid": person.cid, "name": resolution.mask_name(person.name)} for person in found
        ],
        "total": total,
        "groups": await groups_of(services, await get_tenant(services, actor.tenant), userid),
    }


def target_index(services: Services, tenant: str, target: str) -> str:
    """The blind index of an external_userid or chat_id."""
    return services.vault.blind(tenant, "handovers.target", target)


def item_id(tenant: str, batch: str, kind: str, index: str) -> str:
    return ids.tenant_id(tenant, "handover", batch, kind, index)


def _item(
    services: Services, tenant: str, batch: str, wanted: Wanted, kind: str, target: str, cid: str
) -> Doc:
    index = target_index(services, tenant, target)
    row_id = item_id(tenant, batch, kind, index)
    return {
        "_id": row_id,
        "batch": batch,
        "kind": kind,
        "mode": wanted.mode,
        "handover_userid": wanted.handover_userid,
        "takeover_userid": wanted.takeover_userid,
        "target": services.vault.seal_text(tenant, "handovers", "target", row_id, target),
        "target_index": index,
        "cid": cid,
        "state": REQUESTED,
        "reason": "",
        "asked_at": None,
    }


def _batch_row(
    services: Services, actor: ClerkActor, batch: str, wanted: Wanted, customers: int, groups: int
) -> Doc:
    message = services.vault.seal_text(
        actor.tenant, "handover_batches", "message", batch, wanted.message
    )
    return {
        "_id": batch,
        "mode": wanted.mode,
        "handover_userid": wanted.handover_userid,
        "takeover_userid": wanted.takeover_userid,
        "message": message,
        "customers": customers,
        "groups": groups,
        "state": SUBMITTED,
        "requested_by": actor.login,
        "at": utc(services.clock()),
        "decided_by": "",
        "decided_at": None,
        "reason": "",
        "polls": 0,
        "open": False,
        "due": 0.0,
        "owner": None,
        "attempts": 0,
    }


async def approve(services: Services, actor: ClerkActor, batch: str) -> None:
    """Lets WeCom be asked. Raises Forbidden `approver_is_author` for whoever submitted it, NotFound
    `handover_unknown`, Conflict `handover_decided`."""
    db = services.store.tenant(actor.tenant)
    row = await _batch(services, actor.tenant, batch)
    if row["requested_by"] == actor.login:
        await services.audit.record(db, actor.login, "handover.approval_refused", batch)
        raise Forbidden("approver_is_author", "another clerk must approve what you submitted")
    now = services.clock()
    await _decide(services, actor, batch, {"state": APPROVED, "open": True, "due": now, "polls": 0})
    await services.audit.record(
        db, actor.login, "handover.approved", batch, submitted_by=row["requested_by"]
    )
    services.wakeups.signal(TASK, actor.tenant)


async def reject(services: Services, actor: ClerkActor, batch: str, reason: str) -> None:
    """Turns it down; nothing was asked of WeCom. Raises as `approve`, and InvalidInput
    `reason_missing`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why")
    await _batch(services, actor.tenant, batch)
    await _decide(services, actor, batch, {"state": REJECTED, "reason": reason.strip()})
    db = services.store.tenant(actor.tenant)
    await services.audit.record(db, actor.login, "handover.rejected", batch, reason=reason.strip())


async def _decide(services: Services, actor: ClerkActor, batch: str, fields: Doc) -> None:
    decided = {"decided_by": actor.login, "decided_at": utc(services.clock()), **fields}
    batches = services.store.tenant(actor.tenant)["handover_batches"]
    if not await batches.update({"_id": batch, "state": SUBMITTED}, {"$set": decided}):
        raise Conflict("handover_decided", "this hand-over waits for no decision")


async def _batch(services: Services, tenant: str, batch: str) -> Doc:
    row = await services.store.tenant(tenant)["handover_batches"].find_one({"_id": batch})
    if row is None:
        raise NotFound("handover_unknown", "no such hand-over")
    return row


async def list_batches(
    services: Services, actor: ClerkActor, limit: int = 50
) -> list[dict[str, Any]]:
    """The newest batches of the actor's bank, each with how many items are in which state."""
    rows = await services.store.tenant(actor.tenant)["handover_batches"].find(
        {}, sort=[("at", -1)], limit=limit
    )
    counts = await asyncio.gather(*(_counts(services, actor.tenant, row["_id"]) for row in rows))
    return [{**row, "states": states} for row, states in zip(rows, counts, strict=True)]


async def _counts(services: Services, tenant: str, batch: str) -> dict[str, int]:
    pipeline: list[Doc] = [
        {"$match": {"batch": batch}},
        {"$group": {"_id": "$state", "items": {"$sum": 1}}},
    ]
    found = await services.store.tenant(tenant)["handovers"].aggregate(pipeline)
    return {row["_id"]: row["items"] for row in sorted(found, key=lambda row: str(row["_id"]))}


async def batch_view(services: Services, actor: ClerkActor, batch: str) -> dict[str, Any]:
    """One batch with its message and its first SHOWN items, customers masked; raises NotFound
    `handover_unknown`."""
    row = await _batch(services, actor.tenant, batch)
    rows = services.store.tenant(actor.tenant)["handovers"]
    items = await rows.find({"batch": batch}, sort=[("state", 1)], limit=SHOWN)
    shown = await asyncio.gather(*(_shown(services, actor.tenant, item) for item in items))
    message = services.vault.open_text(
        actor.tenant, "handover_batches", "message", batch, row["message"]
    )
    return {
        **row,
        "message": message,
        "items": shown,
        "states": await _counts(services, actor.tenant, batch),
    }


async def _shown(services: Services, tenant: str, item: Doc) -> dict[str, Any]:
    if item["kind"] == "group":
        name = services.vault.open_text(tenant, "handovers", "target", item["_id"], item["target"])
    elif item["cid"]:
        name = resolution.mask_name((await resolution.customer(services, tenant, item["cid"])).name)
    else:
        name = ""
    return {"kind": item["kind"], "name": name, "state": item["state"], "reason": item["reason"]}


async def transfer_failed(
    services: Services, tenant: str, row: Doc, event: events.HandoverFailed
) -> None:
    """The customer refused, or the member who takes over has too many: the item ends with that
    reason. An event from before we asked says nothing of this time."""
    index = target_index(services, tenant, event.external_userid)
    items = services.store.tenant(tenant)["handovers"]
    asked = {
        "asked_at": {"$lt": events.happened(event, row) + 1.0},
        "state": {"$in": [ASKING, WAITING]},
    }
    found = await items.find({"takeover_userid": event.userid, "target_index": index, **asked})
    full = event.fail_reason == "customer_limit_exceed"
    for item in found:
        await end(services, tenant, item, "limit" if full else "refused", event.fail_reason)
    trace.note("handover.failed", items=len(found), reason=event.fail_reason)


async def end(services: Services, tenant: str, item: Doc, state: str, reason: str) -> None:
    """Ends an item that did not go over; the customer's story says why, and the friendship stays as
    it is."""
    if item["cid"]:
        people = {"from": item["handover_userid"], "to": item["takeover_userid"]}
        await timeline.record(
            services, tenant, item["cid"], "handover.failed", item["_id"], reason=reason, **people
        )
    query = {"_id": item["_id"], "state": {"$in": [REQUESTED, ASKING, WAITING]}}
    await services.store.tenant(tenant)["handovers"].update(
        query, {"$set": {"state": state, "reason": reason}}
    )
