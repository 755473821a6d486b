"""Maker and checker: one clerk submits, another decides, and what was decided is carried out
(promise P7, decision 0025).

The row of `approvals` is the truth of a decision, and one conditional write makes it: nobody decides
on what he submitted himself, on what was decided, or on a content that is not the one that was
submitted. The subject's own row follows. Whoever is cut short between the two has decided, and
approving again carries it out: what a kind does when it was agreed to is safe to repeat.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from customers.actors import ClerkActor
from customers.approvals.rows import (
    APPLIED,
    APPROVALS,
    APPROVED,
    LAPSED,
    REJECTED,
    REPLACED,
    SUBMITTED,
    Approval,
    approval_id,
    approval_of,
)
from customers.banks import clerks
from customers.banks.bank import Bank
from services import ids
from services.errors import Conflict, Forbidden
from services.store.mongo import Doc

BUSY = timedelta(seconds=60)
"""How long the carrying out belongs to whoever decided; after that it is anybody's."""
ONCE: frozenset[str] = frozenset()
"""A subject is submitted once; a change of it is another subject."""
AFTERWARDS = frozenset({APPLIED, REJECTED, REPLACED, LAPSED})
"""A subject may be submitted again when the earlier request has ended."""
ANY_TIME = AFTERWARDS | {SUBMITTED}
"""A subject may be submitted again until somebody has agreed to it."""

UNRECORDED: Doc = {
    "recorded": False,
    "says": {"$exists": True},
    "state": {"$in": [APPROVED, APPLIED, REJECTED, LAPSED]},
}
"""Decisions of which the audit trail does not say yet what `says`."""

Content = Mapping[str, Any]
"""Section → what it says, as JSON can hold it. Most kinds have one section."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Something that takes two clerks.

    `right` is the permission that its author must still have when another agrees; empty for what
    is asked for by the bank's file. `submitted`, `approved`, `rejected` and `refused` (its author tried to approve it) are audit
    actions; an empty one is not recorded, since what follows records it. `decided` and `changed` are
    the codes of Conflict for what waits for no decision and for another content. `replaces` are the
    states of an earlier request whose place a new one takes. With `revocable`, what was agreed to
    and could not be carried out may still be turned down. With `lapses`, a Conflict while it is
    carried out ends the request; without, what stands in the way may go away, and approving again
    goes on. `lifetime`: for so long it may be decided.
    """

    name: str
    right: str
    submitted: str
    approved: str
    rejected: str
    refused: str
    decided: str
    changed: str = ""
    replaces: frozenset[str] = ONCE
    revocable: bool = False
    lapses: bool = True
    lifetime: timedelta | None = None


def digest(content: Any) -> str:
    """The hash of what JSON can hold, the same however it is ordered."""
    return ids.fingerprint(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def _digests(content: Content) -> dict[str, str]:
    return {name: digest(part) for name, part in content.items()}


async def find(bank: Bank, kind: Kind, subject: str) -> Approval | None:
    """The last request about this subject."""
    row = await bank.db[APPROVALS].find_one({"_id": approval_id(bank.id, kind.name, subject)})
    return None if row is None else approval_of(row)


async def waits(bank: Bank, kind: Kind, subject: str) -> bool:
    """Whether a decision on it is asked for."""
    found = await find(bank, kind, subject)
    return found is not None and found.state == SUBMITTED


async def submit(
    bank: Bank,
    actor: ClerkActor,
    kind: Kind,
    subject: str,
    content: Content,
    *,
    about: str = "",
    **data: Any,
) -> bool:
    """Asks for another clerk's decision. True when it waits for one now, also when this clerk had
    submitted the same; False when another request about this subject is in the way.

    `about` is what the audit trail names in place of the subject, `data` what it says of it; neither
    carries a person's data in clear.
    """
    row = _row(bank, actor, kind, subject, content)
    row |= {"about": about or subject, "data": data}
    async with bank.audited(actor.login, kind.submitted, row["about"], **data) as act:
        act.done = await bank.insert(APPROVALS, row)
        if not act.done and kind.replaces:
            earlier = {"_id": row["_id"], "state": {"$in": sorted(kind.replaces)}}
            act.done = await bank.db[APPROVALS].update(earlier, {"$set": row})
    if act.done:
        return True
    known = await find(bank, kind, subject)
    same = (SUBMITTED, actor.login, row["sha256"])
    return known is not None and (known.state, known.author, known.sha256) == same


def _row(bank: Bank, actor: ClerkActor, kind: Kind, subject: str, content: Content) -> Doc:
    digests, now = _digests(content), bank.utc()
    undecided = {"agreed_by": "", "agreed_at": None}
    return {
        "_id": approval_id(bank.id, kind.name, subject),
        "kind": kind.name,
        "subject": subject,
        "author": actor.login,
        "sha256": digest(digests),
        "sections": {name: {"sha256": sha, **undecided} for name, sha in digests.items()},
        "waiting": list(digests),
        "state": SUBMITTED,
        "submitted_at": now,
        "expires_at": None if kind.lifetime is None else now + kind.lifetime,
        "decided_by": "",
        "decided_at": None,
        "busy_until": None,
        "recorded": False,
        "reason": "",
    }


@asynccontextmanager
async def approve(
    bank: Bank,
    actor: ClerkActor,
    kind: Kind,
    subject: str,
    content: Content,
    sections: Collection[str] = (),
) -> AsyncIterator[Approval]:
    """Agrees to what another clerk submitted (to these `sections` of it, else to all), and is held
    while it is carried out:

        async with approvals.approve(bank, actor, KIND, subject, content) as approval:
            ...  # safe to repeat

    `content` is what stands in the subject's own row now. When the block ends, it is carried out; a
    Conflict in it means that it cannot be any more, and the request lapses (unless `kind.lapses` is
    off); after any other error it stays agreed to, and approving again goes on. While other sections wait, `approval.state` is
    still `submitted` and nothing may be done.

    Raises Forbidden `approver_is_author`, and Conflict: `kind.decided`, `kind.changed`,
    `approval_expired`, or `author_left` while its author may not ask for it any more.
    """
    approval = await _agree(bank, actor, kind, subject, content, sections)
    if approval.state != APPROVED:
        yield approval
        return
    async with _carrying_out(bank, kind, approval):
        yield approval


@asynccontextmanager
async def _carrying_out(bank: Bank, kind: Kind, approval: Approval) -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        if kind.lapses and isinstance(error, Conflict):
            await _leave(bank, approval, state=LAPSED, reason=error.code)
        else:
            await _leave(bank, approval, busy_until=bank.utc())
        raise
    await _leave(bank, approval, state=APPLIED)


async def left_over(bank: Bank, kind: Kind) -> list[Approval]:
    """What was agreed to and is not carried out, and nobody is at it: whoever decided was cut
    short."""
    wanted = {"kind": kind.name, "state": APPROVED, "busy_until": {"$lte": bank.utc()}}
    return [approval_of(row) for row in await bank.db[APPROVALS].find(wanted)]


@asynccontextmanager
async def finish(bank: Bank, kind: Kind, approval: Approval) -> AsyncIterator[Approval]:
    """As `approve`, for a worker who carries out what is left over. Raises Conflict `kind.decided`
    when somebody else is at it."""
    taken = await _go_on(bank, kind, approval, by="")
    async with _carrying_out(bank, kind, taken):
        yield taken


async def _agree(
    bank: Bank,
    actor: ClerkActor,
    kind: Kind,
    subject: str,
    content: Content,
    sections: Collection[str],
) -> Approval:
    approval = await find(bank, kind, subject)
    if approval is None:
        raise _decided(kind)
    if approval.author == actor.login:
        await bank.audit(actor.login, kind.refused, approval.about, **approval.data)
        raise Forbidden("approver_is_author", "another clerk must approve what you submitted")
    if approval.state == SUBMITTED and not await clerks.still_may(
        bank, approval.author, kind.right
    ):
        raise Conflict("author_left", "whoever submitted this may not any more; submit it anew")
    if approval.sha256 != digest(_digests(content)):
        raise Conflict(
            kind.changed or "approval_changed", "what is stored is not what was submitted"
        )
    if approval.state == APPROVED:
        return await _go_on(bank, kind, approval, actor.login)
    if approval.state != SUBMITTED:
        raise _decided(kind)
    if approval.expires_at is not None and approval.expires_at <= bank.utc():
        await _lapse(bank, approval)
        raise Conflict("approval_expired", "this was submitted too long ago; submit it again")
    return await _decide(bank, actor, kind, approval, sections)


def _decided(kind: Kind) -> Conflict:
    return Conflict(kind.decided, "this waits for no decision, or somebody else just decided")


async def _decide(
    bank: Bank, actor: ClerkActor, kind: Kind, approval: Approval, sections: Collection[str]
) -> Approval:
    now = bank.utc()
    agreed = [name for name in approval.waiting if not sections or name in sections]
    waiting = [name for name in approval.waiting if name not in agreed]
    change: Doc = {"waiting": waiting}
    for name in agreed:
        change[f"sections.{name}.agreed_by"] = actor.login
        change[f"sections.{name}.agreed_at"] = now
    if not waiting:
        change |= {"state": APPROVED, "decided_by": actor.login, "decided_at": now}
        change |= {"busy_until": now + BUSY, "says": kind.approved}
    undecided = _undecided(approval, actor)
    row = await bank.db[APPROVALS].update_and_get(undecided, {"$set": change})
    if row is None:
        raise _decided(kind)
    decided = approval_of(row)
    await _record(bank, decided, kind.approved, actor.login, agreed)
    return decided


async def _record(
    bank: Bank, approval: Approval, action: str, by: str, sections: Sequence[str] = ()
) -> None:
    """Says in the audit trail what was decided. Cut short, it is said by whoever goes on, or by a
    worker (`record_decisions`)."""
    said = {"author": approval.author, "content": approval.sha256, **approval.data}
    if approval.reason:
        said["reason"] = approval.reason
    if len(approval.sections) > 1 and sections:
        said["sections"] = sections
    if action:
        await bank.audit(by, action, approval.about, **said)
    if approval.state != SUBMITTED:
        recorded = {"$set": {"recorded": True}}
        await bank.db[APPROVALS].update({"_id": approval.id, "state": approval.state}, recorded)


def _undecided(approval: Approval, actor: ClerkActor) -> Doc:
    """What the row must still say for `actor` to decide on what he read."""
    return {
        "_id": approval.id,
        "state": SUBMITTED,
        "sha256": approval.sha256,
        "waiting": list(approval.waiting),
        "author": {"$ne": actor.login},
    }


async def _go_on(bank: Bank, kind: Kind, approval: Approval, by: str) -> Approval:
    """Takes up what was agreed to and not carried out."""
    now = bank.utc()
    idle = {"$or": [{"decided_by": by}, {"busy_until": {"$lte": now}}]}
    row = await bank.db[APPROVALS].update_and_get(
        {"_id": approval.id, "state": APPROVED, **idle}, {"$set": {"busy_until": now + BUSY}}
    )
    if row is None:
        raise _decided(kind)
    if not row["recorded"]:
        await _record(bank, approval_of(row), kind.approved, row["decided_by"])
    return approval_of(row)


async def _leave(bank: Bank, approval: Approval, **fields: Any) -> None:
    await bank.db[APPROVALS].update({"_id": approval.id, "state": APPROVED}, {"$set": fields})


async def _lapse(bank: Bank, approval: Approval) -> None:
    expired = {"state": LAPSED, "reason": "approval_expired"}
    waits = {"_id": approval.id, "state": SUBMITTED, "sha256": approval.sha256}
    await bank.db[APPROVALS].update(waits, {"$set": expired})


async def reject(
    bank: Bank, actor: ClerkActor, kind: Kind, subject: str, reason: str = ""
) -> Approval:
    """Turns down what waits for a decision. The same clerk's second try answers as his first, and
    after BUSY anybody's does, so that the subject's row can follow when he was cut short. Raises
    Conflict `kind.decided`."""
    waits: list[Doc] = [{"state": SUBMITTED}]
    if kind.revocable:
        waits.append({"state": APPROVED, "busy_until": {"$lte": bank.utc()}})
    change = {"state": REJECTED, "decided_by": actor.login, "decided_at": bank.utc()}
    change |= {"reason": reason, "recorded": False, "says": kind.rejected}
    row_id = approval_id(bank.id, kind.name, subject)
    rejected = {"_id": row_id, "$or": waits}
    await bank.db[APPROVALS].update(rejected, {"$set": change})
    approval = await find(bank, kind, subject)
    if approval is None or not _is_rejected(bank, approval, actor):
        raise _decided(kind)
    if not approval.recorded:
        await _record(bank, approval, kind.rejected, approval.decided_by)
    return approval


def _is_rejected(bank: Bank, approval: Approval, actor: ClerkActor) -> bool:
    """By this clerk, or so long ago that whoever rejected it is at it no more."""
    decided = approval.decided_at
    if approval.state != REJECTED or decided is None:
        return False
    return approval.decided_by == actor.login or decided + BUSY <= bank.utc()


async def replace(bank: Bank, kind: Kind, subjects: Sequence[str]) -> None:
    """Ends the requests about these subjects, whose place newer ones take; what somebody carries out
    at this moment goes on."""
    wanted = [approval_id(bank.id, kind.name, subject) for subject in subjects]
    waits = [{"state": SUBMITTED}, {"state": APPROVED, "busy_until": {"$lte": bank.utc()}}]
    await bank.db[APPROVALS].update_many(
        {"_id": {"$in": wanted}, "$or": waits}, {"$set": {"state": REPLACED}}
    )


async def record_decisions(bank: Bank) -> None:
    """Says in the audit trail what was decided by somebody who was cut short and did not come
    back."""
    wanted = {**UNRECORDED, "decided_at": {"$lte": bank.utc() - BUSY}}
    for row in await bank.db[APPROVALS].find(wanted):
        await _record(bank, approval_of(row), row["says"], row["decided_by"])
