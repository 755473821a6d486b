"""Handing customers and groups over to another RM (contract/wechat B9): one clerk asks, another
agrees (promise P7), and every item's end is kept and shown. What is done at WeCom is in
customers/handover/work.py.

A batch goes from `submitted` to `approved` (or `rejected`) and ends as `done`. Its items go from
`requested` over `asking` (WeCom is being asked) to `waiting` (the customer has 24 h to refuse) and
end as `done`, `refused`, `limit` or `failed`, with a reason.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from customers import relationships, timeline
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks import staff, userids
from customers.banks.bank import Bank
from customers.handover.rows import HANDOVER_BATCHES, HANDOVERS, Batch, Item, Mode
from customers.identity import resolution
from customers.wecom_mirror import members
from services import ids
from services.cache import cached
from services.clock import utc
from services.errors import Conflict, InvalidInput, NotFound
from services.observe import trace
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events

SUBMITTED, APPROVED, REJECTED = "submitted", "approved", "rejected"
REQUESTED, ASKING, WAITING, DONE = "requested", "asking", "waiting", "done"
MESSAGE_MOST = 200
SHOWN = 500
SEALED_AT_ONCE = 200
UNASSIGNED_SECONDS = 30.0
TASK = "customers.handover"
COMPLETE = "customers.complete_handovers"
HANDOVER = approvals.Kind(
    name="handover",
    right="handover.submit",
    submitted="handover.submitted",
    approved="handover.approved",
    rejected="handover.rejected",
    refused="handover.approval_refused",
    decided="handover_decided",
)

_Target = tuple[Literal["customer", "group"], str, str]
"""(kind, external_userid or chat_id, cid)"""


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


async def start(bank: Bank, actor: ClerkActor, wanted: Wanted) -> str:
    """Hands the request in for another clerk's decision; the batch's id.

    Raises InvalidInput (`handover_same`, `handover_message`), NotFound (`staff_unknown`: the one
    who takes over is no active staff; `customer_unknown`: not his customer), Conflict
    (`handover_in_service`, `handover_not_in_service`: the mode is the other one;
    `handover_nothing`), and PlatformError when WeCom cannot say what he leaves behind.
    """
    batch = ids.tenant_id(bank.id, "handover_batch", actor.login, wanted.key)
    if await bank.db[HANDOVER_BATCHES].find_one({"_id": batch}, {"_id": 1}):
        return batch
    wanted = await _spelled(bank, wanted)
    await _check(bank, wanted)
    customers = await _customers(bank, wanted)
    groups = await _groups(bank, wanted)
    targets: list[_Target] = [("customer", target, cid) for target, cid in customers.items()]
    targets += [("group", chat_id, "") for chat_id in groups]
    if not targets:
        raise Conflict("handover_nothing", "there is nothing to hand over")
    await _keep_items(bank, batch, wanted, targets)
    row = _batch_row(bank, actor, batch, wanted, len(customers), len(groups))
    await _submit(bank, actor, row)
    await bank.insert(HANDOVER_BATCHES, {**row})
    return batch


async def _spelled(bank: Bank, wanted: Wanted) -> Wanted:
    """Whoever is named, in WeCom's spelling as far as it is known."""
    both = (wanted.handover_userid, wanted.takeover_userid)
    known = await members.spellings(bank, both)
    giver, taker = (known.get(one, one) for one in both)
    return replace(wanted, handover_userid=giver, takeover_userid=taker)


async def _keep_items(bank: Bank, batch: str, wanted: Wanted, targets: list[_Target]) -> None:
    """A leaver may have 20,000 customers, and others wait for the loop."""
    for first in range(0, len(targets), SEALED_AT_ONCE):
        part = targets[first : first + SEALED_AT_ONCE]
        items = [_item(bank, batch, wanted, *target) for target in part]
        await bank.db[HANDOVERS].insert_new([{**item} for item in items])


async def _submit(bank: Bank, actor: ClerkActor, row: Batch) -> None:
    about: Doc = {"mode": row["mode"], "from": row["handover_userid"], "to": row["takeover_userid"]}
    about |= {"customers": row["customers"], "groups": row["groups"]}
    content = await _content(bank, row)
    await approvals.submit(bank, actor, HANDOVER, row["_id"], content, **about)


async def _content(bank: Bank, row: Batch) -> approvals.Content:
    """What is decided on: who, what the customer reads, and every item."""
    items = await bank.db[HANDOVERS].find({"batch": row["_id"]}, fields={"_id": 1}, limit=None)
    return {
        "handover": {
            "mode": row["mode"],
            "from": row["handover_userid"],
            "to": row["takeover_userid"],
            "message": message_of(bank, row),
            "items": sorted(item["_id"] for item in items),
        }
    }


def message_of(bank: Bank, row: Batch) -> str:
    """What the customer reads."""
    return bank.vault.open_text(HANDOVER_BATCHES, "message", row["_id"], row["message"])


async def _check(bank: Bank, wanted: Wanted) -> None:
    if userids.same(wanted.handover_userid, wanted.takeover_userid):
        raise InvalidInput("handover_same", "nobody takes over from himself")
    if len(wanted.message) > MESSAGE_MOST:
        raise InvalidInput("handover_message", f"at most {MESSAGE_MOST} characters")
    await staff.staff_member(bank, wanted.takeover_userid)
    row = await staff.find(bank, wanted.handover_userid)
    if wanted.mode == "resigned" and row is not None and row["active"]:
        raise Conflict("handover_in_service", "this member has not left")
    if wanted.mode == "onjob" and (row is None or not row["active"]):
        raise Conflict("handover_not_in_service", "this member has left")


async def _customers(bank: Bank, wanted: Wanted) -> dict[str, str]:
    """external_userid → cid (empty while unknown) of those who are to go over."""
    if wanted.mode == "resigned" and wanted.cids is None:
        left = (await _unassigned(bank)).get(wanted.handover_userid, [])
        return dict.fromkeys(left, "")
    rows = await relationships.of_staff(bank, wanted.handover_userid, limit=100_000)
    his = [row["cid"] for row in rows]
    if wanted.cids is not None and not set(wanted.cids) <= set(his):
        raise NotFound("customer_unknown", "not a customer of this member")
    people = await _people(bank, his if wanted.cids is None else list(wanted.cids))
    return {person.external_userid: person.cid for person in people if person.external_userid}


async def _people(bank: Bank, cids: list[str]) -> list[resolution.Customer]:
    found: list[resolution.Customer] = []
    for first in range(0, len(cids), 500):
        asked = (resolution.customer(bank, cid) for cid in cids[first : first + 500])
        found += await asyncio.gather(*asked)
    return found


async def _groups(bank: Bank, wanted: Wanted) -> list[str]:
    if wanted.chat_ids is not None:
        return list(dict.fromkeys(wanted.chat_ids))
    return await groups_of(bank, wanted.handover_userid)


async def check_groups(bank: Bank, wanted: Wanted) -> None:
    """Raises NotFound `group_unknown` for a group that was ticked and is not the giver's, and
    PlatformError where WeCom does not say which are his."""
    if wanted.chat_ids and not set(wanted.chat_ids) <= set(
        await groups_of(bank, wanted.handover_userid)
    ):
        raise NotFound("group_unknown", "not a group of this member")


async def groups_of(bank: Bank, userid: str) -> list[str]:
    """The chat_ids of the customer groups that the member owns; raises PlatformError."""
    client, cursor, found = bank.wecom, "", list[str]()
    while True:
        answer = await client.groups.list(owner_userids=[userid], cursor=cursor)
        found += [str(chat["chat_id"]) for chat in answer.get("group_chat_list") or []]
        cursor = str(answer.get("next_cursor") or "")
        if not cursor:
            return found


async def unassigned(bank: Bank, actor: ClerkActor) -> dict[str, int]:
    """How many customers each member who left has left behind, at most UNASSIGNED_SECONDS old;
    raises PlatformError."""
    key = f"unassigned:{bank.id}"
    found = await cached(bank.services, key, UNASSIGNED_SECONDS, lambda: _unassigned(bank))
    return {userid: len(left) for userid, left in sorted(found.items())}


async def _unassigned(bank: Bank) -> dict[str, list[str]]:
    client, cursor, found = bank.wecom, "", dict[str, list[str]]()
    while True:
        answer = await client.handover.list_unassigned(cursor=cursor)
        for entry in answer.get("info") or []:
            found.setdefault(str(entry["handover_userid"]), []).append(
                str(entry["external_userid"])
            )
        cursor = str(answer.get("next_cursor") or "")
        if not cursor or answer.get("is_last"):
            return found


async def people(bank: Bank, actor: ClerkActor) -> list[Doc]:
    """Everybody who is or was staff of the actor's bank, by userid: `userid`, `name`, `branch`,
    `active`."""
    return [
        {
            "userid": row["userid"],
            "name": row["name"],
            "branch": row["branch"],
            "active": row["active"],
        }
        for row in await staff.everybody(bank)
    ]


async def choices(bank: Bank, actor: ClerkActor, userid: str) -> dict[str, Any]:
    """What a member could hand over: his newest SHOWN customers, masked, how many there are, and
    his groups; raises PlatformError."""
    rows = await relationships.of_staff(bank, userid, limit=SHOWN)
    found = await _people(bank, [row["cid"] for row in rows])
    total = await relationships.count_of_staff(bank, userid)
    return {
        "customers": [
            {"cid": person.cid, "name": resolution.mask_name(person.name)} for person in found
        ],
        "total": total,
        "groups": await groups_of(bank, userid),
    }


def target_index(bank: Bank, target: str) -> str:
    """The blind index of an external_userid or chat_id."""
    return bank.vault.blind("handovers.target", target)


def item_id(tenant: str, batch: str, kind: str, index: str) -> str:
    return ids.tenant_id(tenant, "handover", batch, kind, index)


def _item(
    bank: Bank,
    batch: str,
    wanted: Wanted,
    kind: Literal["customer", "group"],
    target: str,
    cid: str,
) -> Item:
    index = target_index(bank, target)
    row_id = item_id(bank.id, batch, kind, index)
    return {
        "_id": row_id,
        "batch": batch,
        "kind": kind,
        "mode": wanted.mode,
        "handover_userid": wanted.handover_userid,
        "takeover_userid": wanted.takeover_userid,
        "target": bank.vault.seal_text(HANDOVERS, "target", row_id, target),
        "target_index": index,
        "cid": cid,
        "state": REQUESTED,
        "reason": "",
        "asked_at": None,
    }


def _batch_row(
    bank: Bank, actor: ClerkActor, batch: str, wanted: Wanted, customers: int, groups: int
) -> Batch:
    message = bank.vault.seal_text(HANDOVER_BATCHES, "message", batch, wanted.message)
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
        "at": utc(bank.now()),
        "decided_by": "",
        "decided_at": None,
        "reason": "",
        "polls": 0,
        "open": False,
        "due": 0.0,
        "owner": None,
        "attempts": 0,
    }


async def approve(bank: Bank, actor: ClerkActor, batch: str) -> None:
    """Lets WeCom be asked. Raises Forbidden `approver_is_author` for whoever submitted it, NotFound
    `handover_unknown`, Conflict `handover_decided` or `approval_changed`."""
    content = await _content(bank, await _batch(bank, batch))
    async with approvals.approve(bank, actor, HANDOVER, batch, content) as approval:
        await _make_due(bank, batch, approval)
    bank.signal(TASK)


async def complete(bank: Bank) -> None:
    """Makes those batches due whose checker was cut short after he had decided."""
    for approval in await approvals.left_over(bank, HANDOVER):
        with suppress(Conflict):  # another worker makes it due
            async with approvals.finish(bank, HANDOVER, approval) as taken:
                await _make_due(bank, taken.subject, taken)


async def _make_due(bank: Bank, batch: str, approval: Approval) -> None:
    due: Doc = {"open": True, "due": bank.now(), "polls": 0}
    await _follow(bank, batch, approval, due)


async def reject(bank: Bank, actor: ClerkActor, batch: str, reason: str) -> None:
    """Turns it down; nothing was asked of WeCom. Raises as `approve`, and InvalidInput
    `reason_missing`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why")
    row = await _batch(bank, batch)
    if row["state"] != SUBMITTED:
        raise Conflict("handover_decided", "this hand-over waits for no decision")
    rejected = await approvals.reject(bank, actor, HANDOVER, batch, reason.strip())
    await _follow(bank, batch, rejected, {"reason": rejected.reason})


async def _follow(bank: Bank, batch: str, approval: Approval, fields: Doc) -> None:
    """The batch's own row says what was decided."""
    decided = {
        "state": approval.state,
        "decided_by": approval.decided_by,
        "decided_at": approval.decided_at,
        **fields,
    }
    waits = {"_id": batch, "state": SUBMITTED}
    await bank.db[HANDOVER_BATCHES].update(waits, {"$set": decided})


async def _batch(bank: Bank, batch: str) -> Batch:
    row = await bank.db[HANDOVER_BATCHES].find_one({"_id": batch})
    if row is None:
        raise NotFound("handover_unknown", "no such hand-over")
    return cast("Batch", row)


async def list_batches(bank: Bank, actor: ClerkActor, limit: int = 50) -> list[dict[str, Any]]:
    """The newest batches of the actor's bank, each with how many items are in which state."""
    rows = await bank.db[HANDOVER_BATCHES].find({}, sort=[("at", -1)], limit=limit)
    counts = await asyncio.gather(*(_counts(bank, row["_id"]) for row in rows))
    return [{**row, "states": states} for row, states in zip(rows, counts, strict=True)]


async def _counts(bank: Bank, batch: str) -> dict[str, int]:
    pipeline: list[Doc] = [
        {"$match": {"batch": batch}},
        {"$group": {"_id": "$state", "items": {"$sum": 1}}},
    ]
    found = await bank.db[HANDOVERS].aggregate(pipeline)
    return {row["_id"]: row["items"] for row in sorted(found, key=lambda row: str(row["_id"]))}


async def batch_view(bank: Bank, actor: ClerkActor, batch: str) -> dict[str, Any]:
    """One batch with its message and its first SHOWN items, customers masked; raises NotFound
    `handover_unknown`."""
    row = await _batch(bank, batch)
    rows = bank.db[HANDOVERS]
    items = await rows.find({"batch": batch}, sort=[("state", 1)], limit=SHOWN)
    shown = await asyncio.gather(*(_shown(bank, item) for item in cast("list[Item]", items)))
    return {
        **row,
        "message": message_of(bank, row),
        "items": shown,
        "states": await _counts(bank, batch),
    }


async def _shown(bank: Bank, item: Item) -> dict[str, Any]:
    if item["kind"] == "group":
        name = bank.vault.open_text(HANDOVERS, "target", item["_id"], item["target"])
    elif item["cid"]:
        name = resolution.mask_name((await resolution.customer(bank, item["cid"])).name)
    else:
        name = ""
    return {"kind": item["kind"], "name": name, "state": item["state"], "reason": item["reason"]}


async def transfer_failed(bank: Bank, row: InboxRow, event: events.HandoverFailed) -> None:
    """The customer refused, or the member who takes over has too many: the item ends with that
    reason. An event from before we asked says nothing of this time."""
    index = target_index(bank, event.external_userid)
    items = bank.db[HANDOVERS]
    asked = {
        "asked_at": {"$lt": utc(events.happened(event, row) + 1.0)},
        "state": {"$in": [ASKING, WAITING]},
    }
    found = await items.find({"takeover_userid": event.userid, "target_index": index, **asked})
    full = event.fail_reason == "customer_limit_exceed"
    for item in cast("list[Item]", found):
        await end(bank, item, "limit" if full else "refused", event.fail_reason)
    trace.note("handover.failed", items=len(found), reason=event.fail_reason)


async def end(bank: Bank, item: Item, state: str, reason: str) -> None:
    """Ends an item that did not go over; the customer's story says why, and the friendship stays as
    it is."""
    if item["cid"]:
        people: Doc = {"from": item["handover_userid"], "to": item["takeover_userid"]}
        await timeline.record(
            bank, item["cid"], "handover.failed", item["_id"], reason=reason, **people
        )
    query = {"_id": item["_id"], "state": {"$in": [REQUESTED, ASKING, WAITING]}}
    await bank.db[HANDOVERS].update(query, {"$set": {"state": state, "reason": reason}})
