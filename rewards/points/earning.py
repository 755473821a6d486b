"""Earning: what a customer did brings him points, once, however often it is told.

An entry's key is made of the rule and the happening, so the ledger has it once
(rewards/ledger/book.py); what caps leave is set aside before (rewards/points/caps.py). Points go to
who the customer is now: happenings of an id that was merged are his.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime

from customers import happenings
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.webhooks import telling
from rewards.ledger import book
from rewards.ledger.entries import Entry
from rewards.ledger.lines import Leg
from rewards.points import accounts, caps, document, program
from rewards.points.document import Rule
from rewards.points.occasions import UNDONE, Happening
from rewards.points.program import Live
from rewards.points.rows import CapsRow
from services import ids
from services.errors import Conflict, KeyReused, Unavailable

MOST_LATE = 31
"""days: what happened longer ago brings nothing, since its day's count may be gone"""
EARNED = "points.earned"
EARN, GRANT = "earn", "points"
"""What the ledger calls points for something that a customer did, and those of a granted reward."""
log = logging.getLogger(__name__)


async def earn(bank: Bank, happening: Happening) -> dict[str, int]:
    """Gives the points that the programme's rules give for it: rule → points, 0 where a cap leaves
    none. Safe to repeat and to race."""
    live = await program.find_live(bank)
    if live is None:
        return {}
    day = datetime.fromtimestamp(happening.at, bank.tz).date()
    if (bank.today() - day).days > MOST_LATE:
        log.warning("a happening came too late", extra={"fields": {"kind": happening.occasion}})
        return {}
    rules = [
        name
        for name, rule in live.program.rules.items()
        if rule.event == happening.occasion and rule.holds(day)
    ]
    brought = {name: await _earn(bank, live, name, happening, day) for name in rules}
    for name, points in brought.items():
        if points:
            about = {"points": points, "rule": name}
            key = _key(name, _told(happening))
            await telling.tell_of(bank, EARNED, happening.cid, key, at=happening.at, **about)
    return brought


async def _earn(bank: Bank, live: Live, name: str, happening: Happening, day: date) -> int:
    rule, told = live.program.rules[name], _told(happening)
    key = _key(name, told)
    cids = await resolution.cids(bank, happening.cid)
    for _ in range(caps.TRIES):
        rows = await caps.read(bank, name, cids)
        known = await accounts.find(bank, key)
        if known is not None:
            await _posted(bank, rows, told)
            return int(known["amount"])
        points = await _set_aside(bank, rows, rule, told, day)
        if points == 0:
            return 0
        if points is not None:
            return await _post(bank, live, name, cids, key, told, points, day)
        await caps.pause()
    raise Unavailable("points_busy", "too many change this customer's points at once")


def _told(happening: Happening) -> str:
    """What the happening is called in keys."""
    return ids.fingerprint(f"{happening.occasion}|{happening.key}".encode())[:32]


def _key(rule: str, told: str) -> str:
    return f"earn:{rule}:{told}"


async def take_back(bank: Bank, happening: Happening) -> None:
    """It did not happen after all: what was earned by it is given back, by an entry that is linked to
    that; the caps go on to count it. What the customer has used meanwhile stays his. Safe to repeat
    and to race."""
    live = await program.find_live(bank)
    for name in live.program.rules if live is not None else ():
        known = await accounts.find(bank, _key(name, _told(happening)))
        if known is None:
            continue
        try:
            await book.refund(bank, known["_id"], reason="undone", maker="rewards", key="undone")
        except Conflict as error:
            fields = {"tenant": bank.id, "why": error.code}
            log.warning("points of what was undone were used already", extra={"fields": fields})


async def _set_aside(
    bank: Bank, rows: Sequence[CapsRow], rule: Rule, told: str, day: date
) -> int | None:
    """What the happening brings, set aside from now on; None when somebody was faster."""
    for row in rows:  # also under an id that was merged into his since
        if told in row["pending"]:
            return row["pending"][told]
    points = caps.allowed(rule, day, [row["used"] for row in rows])
    if points and not await caps.set_aside(bank, rows[0], told, day, points):
        return None
    return points


async def _post(
    bank: Bank,
    live: Live,
    name: str,
    cids: Sequence[str],
    key: str,
    told: str,
    points: int,
    day: date,
) -> int:
    """Posts what was set aside; what the happening brought at last."""
    issued = accounts.issued(live.program.id)
    about = {"program": live.program.id, "rule": name, "version": live.version}
    expires = document.expires(day, live.program.lifetime_of(name), bank.tz)
    legs = [Leg(issued, accounts.of(cids[0]), points)]
    brought = await credit(bank, Entry(key, EARN, legs, about, expires))
    await _posted(bank, await caps.read(bank, name, cids), told)
    return brought


async def _posted(bank: Bank, rows: Sequence[CapsRow], told: str) -> None:
    for row in rows:
        await caps.posted(bank, row, told)


async def credit(bank: Bank, entry: Entry) -> int:
    """Posts an entry whose key was made of what happened; what it brought, also when it was posted
    before and would be another today."""
    try:
        await book.post(bank, entry)
    except KeyReused:
        known = await accounts.find(bank, entry.key)
        return 0 if known is None else int(known["amount"])
    return entry.legs[0].amount


async def grant(bank: Bank, cid: str, grant_id: str, reward: str, points: int) -> None:
    """Gives the points of a granted reward of the kind `points`, once for each grant. Raises Conflict
    `points_none`: it is tried again, and then a dead letter, until the bank has a programme."""
    live = await program.live(bank)
    owner = (await resolution.cids(bank, cid))[0]
    expires = document.expires(bank.today(), live.program.lifetime, bank.tz)
    about = {"program": live.program.id, "reward": reward, "grant": grant_id}
    legs = [Leg(accounts.issued(live.program.id), accounts.of(owner), points)]
    key = f"grant:{grant_id}"
    brought = await credit(bank, Entry(key, GRANT, legs, about, expires))
    if brought:
        await telling.tell_of(bank, EARNED, cid, key, points=brought, reward=reward)


async def happened(bank: Bank, told: happenings.Happened) -> None:
    """What is told through the inbox (customers/happenings.py)."""
    kind, cid, key, at = told["kind"], told["cid"], told["key"], told["at"]
    if kind in UNDONE:
        await take_back(bank, Happening(UNDONE[kind], cid, key, at))
    else:
        await earn(bank, Happening(kind, cid, key, at))
