"""What is done with corp tags and takes a while: renaming, which one clerk may, and merging and
deleting, where one asks and another agrees (promise P7). What becomes of the customers is in
walking.py.

A tag that is used is not renamed: a published campaign would make the old one anew, and a live
segment's rule would name a tag that there is not. It is merged or deleted only when it was asked for
with that in view, and the second clerk agrees to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from campaigns.corp_tags import desk
from campaigns.corp_tags.desk import Found, check_free, unfinished, waits
from campaigns.corp_tags.rows import (
    CANCELLED,
    FAILED,
    REJECTED,
    RUNNING,
    SUBMITTED,
    TAG_ACTS,
    Act,
    TagAct,
)
from campaigns.corp_tags.uses import uses
from customers import relationships
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.banks.bank import Bank
from customers.identity import rows as identity_rows
from customers.wecom_mirror import tags
from services import ids
from services.errors import Conflict, InvalidInput, NotFound, Unavailable
from services.queue.retry import FAIL, Retry
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError

TASK = "campaigns.tags"
COMPLETE = "campaigns.complete_tags"
LEASE_SECONDS = 30.0
RETRY = Retry(12, first=1.0, then=FAIL)
SHOWN = 20

KIND = approvals.Kind(
    name="tag",
    right="tags.write",
    submitted="tag.act_submitted",
    approved="tag.act_approved",
    rejected="tag.act_rejected",
    refused="tag.approval_refused",
    decided="tag_act_decided",
)


async def rename(bank: Bank, actor: ClerkActor, subject: str, name: str) -> None:
    """Gives a tag or a group another name: at once at WeCom, then at the customers, some at a time.
    The id stays.

    Raises NotFound `corp_tag_unknown`, InvalidInput `tag_name`, Conflict `tag_used`, `tag_act_waits`, and
    as desk.py:worded.
    """
    name = desk.check_name(name)
    found = await desk.find(bank, subject)
    if name == (found.tag.tag if found.tag else found.group.name):
        return
    _check_unused(found)
    strange = bool(found.group.strategy)  # customers have no names of its tags
    row = None if strange else await _new(bank, actor, _Wanted("rename", found, to=name))
    async with bank.audited(actor.login, "tag.renamed", found.name, to=name):
        if row is None:
            await desk.tell(bank, found, name=name)
        else:
            await _tell_name(bank, actor, found, row)
    desk.forget_counts(bank)
    bank.signal(TASK)


async def _tell_name(bank: Bank, actor: ClerkActor, found: Found, row: TagAct) -> None:
    """Names it at WeCom and in the mirror. What WeCom refuses is over; where it does not answer, a
    worker asks again."""
    try:
        await desk.tell(bank, found, name=row["to"])
    except PlatformError as error:
        if error.is_final:
            await _end(bank, row["_id"], FAILED, actor.login, error.reason)
        raise
    except (Conflict, NotFound, InvalidInput) as error:
        await _end(bank, row["_id"], FAILED, actor.login, error.code)
        raise
    await relabel(bank, row)
    await bank.db[TAG_ACTS].update({"_id": row["_id"]}, {"$set": {"due": bank.now()}})


async def relabel(bank: Bank, row: TagAct) -> None:
    """The mirror has the new name, so that customers who come from now on have it, too."""
    mirrored = [one for one in await tags.listed(bank) if one["tag_id"] in row["tags"]]
    of_tag = row["subject"] in row["tags"]
    tag, group = (row["to"], "") if of_tag else ("", row["to"])
    await tags.relabel(bank, mirrored, tag, group)


def _check_unused(found: Found) -> None:
    if found.used_by:
        raise _used(found.used_by)


async def ask(
    bank: Bank, actor: ClerkActor, subject: str, reason: str, *, into: str = "", force: bool = False
) -> str:
    """Asks another clerk to agree that a tag is merged `into` another one, and without that that a
    tag or a group is deleted; the request's id. `force`: although it is used.

    Raises InvalidInput `reason_missing` or `tag_merge`, NotFound `corp_tag_unknown`, Conflict `tag_used`
    or `tag_act_waits`.
    """
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "say why"})
    found = await desk.find(bank, subject)
    target = await desk.find(bank, into) if into else None
    if target is not None and not _mergeable(found, target):
        raise InvalidInput("tag_merge", "only a corp tag goes into another corp tag")
    if not force:
        _check_unused(found)
    wanted = _Wanted("merge" if target else "delete", found, target, reason=reason.strip())
    row = await _new(bank, actor, replace(wanted, forced=force and bool(found.used_by)))
    await _submit(bank, actor, row)
    return row["_id"]


def _mergeable(found: Found, target: Found) -> bool:
    """WeCom lets no app put the tag of a rule group on a customer."""
    both = (found, target)
    return found.id != target.id and all(one.tag and not one.group.strategy for one in both)


@dataclass(frozen=True)
class _Wanted:
    """What somebody wants to be done with a tag or a group."""

    act: Act
    found: Found
    into: Found | None = None
    to: str = ""
    reason: str = ""
    forced: bool = False

    @property
    def names(self) -> list[list[str]]:
        """Old and new names at the customers."""
        found, to = self.found, self.to
        if not to:
            return []
        if found.tag:
            return [[found.tag.name, tags.name_of(found.group.name, to)]]
        return [[tag.name, tags.name_of(to, tag.tag)] for tag in found.tags]

    @property
    def row(self) -> Doc:
        """What its row says of it."""
        found, into = self.found, self.into
        return {
            "act": self.act,
            "subject": found.id,
            "name": found.name,
            "tags": [tag.id for tag in found.tags],
            "strategy": bool(found.group.strategy),
            "into": into.id if into else "",
            "into_name": into.name if into else "",
            "to": self.to,
            "names": self.names,
            "used": found.used_by,
            "forced": self.forced,
            "reason": self.reason,
        }


_NOT_BEGUN: Doc = {
    "why": "",
    "owner": None,
    "attempts": 0,
    "done": 0,
    "left_out": 0,
    "after": "",
    "changed": 0,
    "settled": False,
}


async def _new(bank: Bank, actor: ClerkActor, wanted: _Wanted) -> TagAct:
    """The row of an act. Written, then compared with the others that are not finished: of two that
    are about the same tag at once, at most one stays. Raises Conflict `tag_act_waits`."""
    runs = wanted.act == "rename"
    old = [pair[0] for pair in wanted.names]
    new = {
        "_id": ids.new_id(bank.id),
        "author": actor.login,
        "state": RUNNING if runs else SUBMITTED,
        "at": bank.utc(),
        "open": runs,
        "due": bank.now() + LEASE_SECONDS,
        "total": await identity_rows.count_tagged(bank, old) if old else 0,
    }
    row = cast("TagAct", {**_NOT_BEGUN, **wanted.row, **new})
    await bank.db[TAG_ACTS].insert(cast("Doc", row))
    try:
        await _check_alone(bank, row)
    except Conflict:
        await bank.db[TAG_ACTS].delete({"_id": row["_id"]})
        raise
    return row


async def _check_alone(bank: Bank, row: TagAct) -> None:
    """Raises Conflict `tag_act_waits` when another act that is not finished is about its tags."""
    about = {*row["tags"], row["into"]} - {""}
    for other in await unfinished(bank):
        if other["_id"] != row["_id"] and about & {*other["tags"], other["into"]}:
            raise waits(other)
    await check_free(bank, [name for pair in row["names"] for name in pair], but=row["_id"])


async def _submit(bank: Bank, actor: ClerkActor, row: TagAct) -> None:
    facts = {"act": row["act"], "into": row["into_name"], "forced": row["forced"]}
    facts |= {"reason": row["reason"]}
    content = _content(row)
    await approvals.submit(bank, actor, KIND, row["_id"], content, about=row["name"], **facts)


def _content(row: TagAct) -> approvals.Content:
    what = [row["act"], row["subject"], row["into"], row["forced"], row["reason"], row["author"]]
    return {"act": [*what, *row["tags"]]}


async def find_act(bank: Bank, act: str) -> TagAct:
    """Raises NotFound `tag_act_unknown`."""
    row = await bank.db[TAG_ACTS].find_one({"_id": act})
    if row is None:
        raise NotFound("tag_act_unknown", "no such request")
    return cast("TagAct", row)


async def _asked(bank: Bank, act: str) -> TagAct:
    """What is decided on; submitted now, if its author was cut short before he had."""
    row = await find_act(bank, act)
    if row["state"] == SUBMITTED and await approvals.find(bank, KIND, act) is None:
        author = ClerkActor(bank.id, row["author"], row["author"], frozenset())
        await _submit(bank, author, row)
    return row


async def approve(bank: Bank, actor: ClerkActor, act: str) -> None:
    """Agrees to what another clerk asked for, and begins it. Raises Forbidden `approver_is_author`,
    NotFound `tag_act_unknown`, Conflict `tag_act_decided`, and `tag_used` when somebody uses it by
    now, of which its author did not know."""
    row = await _asked(bank, act)
    async with approvals.approve(bank, actor, KIND, act, _content(row)) as approval:
        await _begin(bank, row, approval.decided_by)


async def complete(bank: Bank) -> None:
    """Begins what was agreed to by a clerk who was cut short."""
    for approval in await approvals.left_over(bank, KIND):
        # another worker does it, it cannot be done any more, or not yet
        with suppress(Conflict, Unavailable):
            async with approvals.finish(bank, KIND, approval) as taken:
                await _begin(bank, await find_act(bank, taken.subject), taken.decided_by)


async def _begin(bank: Bank, row: TagAct, by: str) -> None:
    """Makes it due; safe to repeat. Raises Conflict `tag_used`, and then it is over."""
    used = [] if row["forced"] or row["strategy"] else await used_by(bank, row)
    if used:
        await _end(bank, row["_id"], FAILED, by, "tag_used", used=used)
        raise _used(used)
    subject, into = row["subject"], row["into"]
    total = await relationships.count_with_tag(bank, subject, into) if into else 0
    begun = {"state": RUNNING, "open": True, "due": bank.now(), "total": total}
    begun |= {"decided_by": by, "decided_at": bank.utc()}
    submitted = {"_id": row["_id"], "state": SUBMITTED}
    await bank.db[TAG_ACTS].update(submitted, {"$set": begun})
    bank.signal(TASK)


def _used(by: Sequence[str]) -> Conflict:
    return Conflict("tag_used", "campaigns or segments use it", data={"by": ", ".join(by)})


async def used_by(bank: Bank, row: TagAct) -> list[str]:
    """The campaigns and segments that use its tags now."""
    known = await tags.known(bank)
    found = await uses(bank, [known[one] for one in row["tags"] if one in known])
    return sorted({use.by for by in found.values() for use in by})


async def reject(bank: Bank, actor: ClerkActor, act: str, reason: str) -> None:
    """Turns down what was asked for. Raises InvalidInput `reason_missing`, NotFound
    `tag_act_unknown`, Conflict `tag_act_decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "say why"})
    await _asked(bank, act)
    rejected = await approvals.reject(bank, actor, KIND, act, reason.strip())
    await _end(bank, act, REJECTED, rejected.decided_by, reason.strip())


async def cancel(bank: Bank, actor: ClerkActor, act: str) -> None:
    """Ends a merge that is under way, before its tag is deleted: who has the other tag by now keeps
    both. Raises NotFound `tag_act_unknown`, Conflict `tag_act_decided` when it is too late."""
    row = await find_act(bank, act)
    running = {"_id": act, "act": "merge", "state": RUNNING}
    over = {"state": CANCELLED, "open": False, "owner": None}
    async with bank.audited(actor.login, "tag.act_cancelled", row["name"], into=row["into_name"]):
        if not await bank.db[TAG_ACTS].update(running, {"$set": over}):
            raise Conflict("tag_act_decided", "it is not under way, or can be stopped no more")


async def _end(bank: Bank, act: str, state: str, by: str, why: str = "", **fields: Any) -> None:
    ended = {"state": state, "why": why, "open": False, "decided_by": by, "decided_at": bank.utc()}
    ended |= fields
    waiting = {"_id": act, "state": {"$in": [SUBMITTED, RUNNING]}}
    await bank.db[TAG_ACTS].update(waiting, {"$set": ended})


async def shown(bank: Bank) -> list[TagAct]:
    """What waits or is under way, oldest first, then what ended last."""
    over = await bank.db[TAG_ACTS].find({"open": False}, sort=[("at", -1)], limit=2 * SHOWN)
    waiting = await unfinished(bank)
    ended = [row for row in over if row["state"] not in (SUBMITTED,)]
    return [*waiting, *cast("list[TagAct]", ended[:SHOWN])]
