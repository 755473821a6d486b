"""Members who leave, and customers who are lost: who may no longer look, and who must be told."""

from __future__ import annotations

from customers import relationships
from customers.alerts import alarms
from customers.banks import staff, userids
from customers.banks.bank import Bank
from customers.banks.staff import StaffRow
from customers.identity import resolution
from services.cache import invalidate
from services.observe import trace
from services.queue.inbox import InboxRow
from services.wechat import events

TRANSFERRED = "DELETE_BY_TRANSFER"


def subject(tenant: str, userid: str) -> str:
    """The name under which all of a member's sessions are found."""
    return f"{tenant}:{userids.key(userid)}"


async def left(bank: Bank, userid: str, at: float) -> None:
    """The member left the bank, or was disabled, `at` (seconds UTC): nothing of his works any more,
    in no process, after services/security/sessions.py:LOCAL_SECONDS at most. Whoever heads his
    branch is told when he leaves customers behind.

    May run twice. A member who joined again after `at` is let alone.
    """
    await staff.end_staff(bank, userid, at)
    row = await staff.find(bank, userid)
    if row is None or row["active"]:
        trace.note("staff.not_left", userid=userid, why="unknown" if row is None else "older")
        return
    ended = await bank.services.sessions.end_all("staff", subject(bank.id, userid))
    invalidate(bank.services, f"staff:{bank.id}")
    if row.get("leaving"):
        customers = await relationships.count_of_staff(bank, userid)
        if customers:
            await _tell_head(bank, row, customers)
        await bank.audit("wecom", "staff.left", userid, sessions=ended, customers=customers)
        await staff.end_leaving(bank, row)


async def _tell_head(bank: Bank, row: StaffRow, customers: int) -> None:
    """Somebody left, and leaves so many customers behind."""
    userid, since = row["userid"], row["changed_at"].timestamp()
    heads = await _listeners(bank, userid, row["branch"])
    await alarms.raise_alarm(
        bank,
        "staff.left",
        f"{userid}:{int(since)}",
        userids=heads,
        at=since,
        userid=userid,
        customers=customers,
    )


def is_transfer(event: events.ContactEvent) -> bool:
    """Whether a hand-over ended the friendship, and nobody else."""
    return isinstance(event, events.ExternalContactDeleted) and event.source == TRANSFERRED


async def lost(bank: Bank, row: InboxRow, event: events.ContactEvent, cid: str) -> None:
    """The customer deleted the RM, or the RM the customer: both the RM and the head of his branch
    are told, once. A hand-over is no loss, and neither is a friendship that is there again by
    now."""
    if is_transfer(event):
        return
    cids = await resolution.cids(bank, cid)
    if await relationships.between(bank, event.userid, cids) is not None:
        return
    kind = "customer.lost" if isinstance(event, events.FollowUserDeleted) else "customer.removed"
    member = await staff.find(bank, event.userid)
    branch = member["branch"] if member else ""
    told = await _listeners(bank, event.userid, branch)
    if member and member["active"]:
        told.insert(0, event.userid)
    at = events.happened(event, row)
    await alarms.raise_alarm(
        bank, kind, row["_id"], userids=told, cid=cid, at=at, userid=event.userid
    )


async def _listeners(bank: Bank, userid: str, branch: str) -> list[str]:
    """The head of the branch, unless it is himself whom it is about."""
    head = bank.heads.get(branch, "")
    return [head] if head and not userids.same(head, userid) else []
