"""The bank's midnight: points that have expired leave the customers' accounts, and whose points are
about to expire are told.

The accounts are seen to in the order of their ids, some at a time, and how far it is stands in the
night's row: whoever is killed is followed by another who goes on there. Seeing to an account twice
changes nothing: what has expired is gone after the first time, and nobody is told twice
(`points_notices`). Nothing depends on how soon it is done, since what has expired cannot be spent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from customers import timeline
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.messaging import subscriptions
from rewards.ledger import accounts as guarded
from rewards.ledger import book
from rewards.ledger.accounts import FOREVER
from rewards.ledger.entries import Entry
from rewards.ledger.lines import Leg
from rewards.ledger.rows import AccountRow
from rewards.points import accounts, program
from rewards.points.document import Notice, Program, notice_values
from rewards.points.rows import POINTS_NIGHTS, POINTS_NOTICES, NightRow, NoticeRow, notice_id
from services.errors import Conflict, InvalidInput, Unavailable, YinqiaoError
from services.queue.retry import FAIL, Retry
from services.store import leases
from services.store.mongo import Doc

TASK = "rewards.points_night"
LEASE_SECONDS = 30.0
AT_ONCE = 200
"""Accounts that are seen to before the row says so."""
TURN_SECONDS = 20.0
"""After this somebody else goes on."""
RETRY = Retry(50, first=5.0, then=FAIL)
WAITING = program.WAITING
EXPIRE = "expire_points"
"""What the ledger calls points that have expired."""
log = logging.getLogger(__name__)
NOTICE_DAYS = 30
"""days before they expire, where the programme does not say"""


async def move(bank: Bank, owner: str, row: NightRow) -> None:
    """Sees to the accounts from where the row says; to all of them, or for TURN_SECONDS."""
    live = await program.find_live(bank)
    until, cursor = bank.now() + TURN_SECONDS, row["cursor"]
    while live is not None:
        some = await guarded.some_of(bank, "points", cursor, AT_ONCE)
        await _see_to(bank, live.program, some)
        if len(some) < AT_ONCE:
            break
        cursor = some[-1]["_id"]
        if bank.now() >= until:
            await _put_back(bank, owner, bank.now(), cursor)
            return
        moved = {"cursor": cursor, "due": bank.now() + LEASE_SECONDS}
        mine = {"_id": row["_id"], "owner": owner}
        if not await bank.db[POINTS_NIGHTS].update(mine, {"$set": moved}):
            return
    await _put_back(bank, owner, program.next_midnight(bank), "")


async def _put_back(bank: Bank, owner: str, due: float, cursor: str) -> None:
    fields: Doc = {"cursor": cursor, "attempts": 0}
    await leases.put_back(bank.db[POINTS_NIGHTS], owner, [bank.id], due, **fields)


async def _see_to(bank: Bank, points: Program, rows: Sequence[AccountRow]) -> None:
    """One account that cannot be seen to holds up no other: the log has it, and the next night."""
    now = bank.utc()
    owners: dict[str, str] = {}
    for row in rows:
        try:
            gone = sum(n for at, n in _lots(row) if at <= now)
            owner = (await resolution.cids(bank, accounts.cid_of(row["account"])))[0]
            owners[row["account"]] = owner
            if gone:
                await _expire(bank, points, row, owner, gone)
        except Unavailable:
            raise
        except YinqiaoError as error:
            fields = {"tenant": bank.id, "account": row["account"], "why": error.code}
            log.exception("an account was left to the next night", extra={"fields": fields})
    await _tell(bank, points, [row for row in rows if row["account"] in owners], owners, now)


def _lots(row: AccountRow) -> Iterator[tuple[datetime, int]]:
    """When the account's lots expire, and what of each is not held."""
    for lot in row["lots"]:
        if lot["expires"] is not None and lot["left"] > lot["aside"]:
            yield lot["expires"], lot["left"] - lot["aside"]


async def _expire(bank: Bank, points: Program, row: AccountRow, owner: str, n: int) -> None:
    """Takes what has expired off the account. Somebody else may just have done so: then there is
    nothing left to take."""
    key = f"expire:{row['account']}:{bank.today()}:{row['rev']}"
    legs = [Leg(row["account"], accounts.expired(points.id), n)]
    entry = Entry(key, EXPIRE, legs, {"program": points.id}, of_expired=True)
    try:
        done = await book.post(bank, entry)
    except Conflict as error:
        if error.code != "insufficient":
            raise
        return
    await timeline.record(bank, owner, "points.expired", done.id, points=n)


async def _tell(
    bank: Bank,
    points: Program,
    rows: Sequence[AccountRow],
    owners: Mapping[str, str],
    now: datetime,
) -> None:
    """Tells whose points are about to expire, and was not told of these."""
    days = points.notice.days if points.notice else NOTICE_DAYS
    last = now + timedelta(days=days)
    found = {
        notice_id(bank.id, owners[row["account"]], at): (owners[row["account"]], at)
        for row in rows
        for at, _ in _lots(row)
        if now < at <= last
    }
    known = await bank.by_id(POINTS_NOTICES, list(found), {"_id": 1})
    for row_id, (cid, at) in found.items():
        if row_id not in known:
            await _tell_one(bank, points, row_id, cid, at)


async def _tell_one(bank: Bank, points: Program, row_id: str, cid: str, at: datetime) -> None:
    """Tells the customer of all his points that expire then."""
    his = await accounts.read(bank, await resolution.cids(bank, cid))
    n = sum(free for row in his.values() for expires, free in _lots(row) if expires == at)
    last = (at.astimezone(bank.tz) - timedelta(seconds=1)).date()
    how = "shown"
    if points.notice is not None and n:
        values = notice_values(points.notice, points.name.zh, n, last, (last - bank.today()).days)
        how = await _send(bank, points.notice, cid, values, row_id)
    if n:
        until = last.isoformat()
        await timeline.record(bank, cid, "points.expiring", row_id, points=n, until=until)
    row: NoticeRow = {
        "_id": row_id,
        "cid": cid,
        "expires": at,
        "points": n,
        "how": how,
        "at": bank.utc(),
    }
    await bank.insert(POINTS_NOTICES, {**row})


async def _send(bank: Bank, notice: Notice, cid: str, values: dict[str, str], key: str) -> str:
    try:
        await subscriptions.send(
            bank, notice.appid, cid, notice.template, values, key=key, page="pages/points"
        )
    except (Conflict, InvalidInput) as error:
        return error.code
    return "sent"


def expiring(
    points: accounts.Points, now: datetime, days: int = NOTICE_DAYS
) -> list[accounts.Expiring]:
    """What of a customer's points expires within so many days."""
    last = now + timedelta(days=days)
    return [one for one in points.lots if (one.at or FOREVER) <= last]
