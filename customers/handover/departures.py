"""Members who leave, and customers who are lost: who may no longer look, and who must be told."""

from __future__ import annotations

from customers import relationships
from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.banks.rows import STAFF
from customers.identity import resolution
from customers.relationships import RELATIONSHIPS
from services.cache import invalidate
from services.clock import utc
from services.observe import trace
from services.store.mongo import Doc
from services.wechat import events

TRANSFERRED = "DELETE_BY_TRANSFER"


def subject(tenant: str, userid: str) -> str:
    """The name under which all of a member's sessions are found."""
    return f"{tenant}:{userid}"


async def left(bank: Bank, userid: str, at: float) -> None:
    """The member left the bank, or was disabled, `at` (seconds UTC): nothing of his works any more,
    in no process, after services/security/sessions.py:LOCAL_SECONDS at most. Whoever heads his
    branch is told when he leaves customers behind.

    May run twice. A member who joined again after `at` is let alone.
    """
    db = bank.db
    row_id = f"{bank.id}:{userid}"
    older = {"$or": [{"changed_at": {"$exists": False}}, {"changed_at": {"$lte": utc(at)}}]}
    leaving = {"active": False, "leaving": True, "changed_at": utc(at), "left_at": utc(at)}
    await db[STAFF].update({"_id": row_id, "active": True, **older}, {"$set": leaving})
    row = await db[STAFF].find_one({"_id": row_id})
    if row is None or row["active"]:
        trace.note("staff.not_left", userid=userid, why="unknown" if row is None else "older")
        return
    ended = await bank.services.sessions.end_all("staff", subject(bank.id, userid))
    invalidate(bank.services, f"staff:{bank.id}")
    if not row.get("leaving"):  # told before
        return
    customers = await db[RELATIONSHIPS].count({"userid": userid, "active": True})
    if customers:
        heads = await _listeners(bank, userid, row["branch"])
        since = row["changed_at"].timestamp()
        key = f"{userid}:{int(since)}"
        await alarms.raise_alarm(
            bank,
            "staff.left",
            key,
            userids=heads,
            at=since,
            userid=userid,
            customers=customers,
        )
    await bank.audit("wecom", "staff.left", userid, sessions=ended, customers=customers)
    await db[STAFF].update({"_id": row_id, "left_at": row["left_at"]}, {"$unset": {"leaving": ""}})


async def lost(bank: Bank, row: Doc, event: events.ContactEvent, cid: str) -> None:
    """The customer deleted the RM, or the RM the customer: both the RM and the head of his branch
    are told, once. A hand-over is no loss, and neither is a friendship that is there again by
    now."""
    if isinstance(event, events.ExternalContactDeleted) and event.source == TRANSFERRED:
        return
    cids = await resolution.cids(bank, cid)
    if await relationships.between(bank, event.userid, cids) is not None:
        return
    kind = "customer.lost" if isinstance(event, events.FollowUserDeleted) else "customer.removed"
    member = await bank.db[STAFF].find_one({"_id": f"{bank.id}:{event.userid}"})
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
    return [head] if head and head != userid else []
