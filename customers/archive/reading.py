"""Reading the archive: how it goes for everybody who may see it, and messages for those who may
read, case by case.

A search shows who wrote when and of what type. Each message is opened by itself, and who opened it,
for which case, is in the audit trail before he sees it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, cast

from customers.actors import ClerkActor
from customers.archive import consents as archive_consents
from customers.archive import pull
from customers.archive.messages import KEPT, open_body, party_index
from customers.archive.rows import ARCHIVE, ArchivedRow
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.wecom_mirror import members
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.store.mongo import Doc

READ = "archive.read"
SHOWN = 500
RECALL_HOURS = 24
"""A message may be taken back for minutes; its recall is looked for that long after its day."""
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{3,39}")


async def status(bank: Bank, actor: ClerkActor) -> dict[str, Any] | None:
    """How the pulling goes, what could not be read, and how many customers agreed; None at a bank
    without an archive."""
    if bank.archive is None:
        return None
    row = await pull.find(bank)
    unread, seq, consents = await asyncio.gather(
        _unread(bank), pull.cursor(bank), archive_consents.counts(bank)
    )
    return {
        "seq": seq,
        "newest": row["newest"] if row else 0.0,
        "pulled": row["pulled"] if row else None,
        "lag": pull.lag(bank, row),
        "more": bool(row and row["more"]),
        "reason": row["reason"] if row else "",
        "unread": unread,
        "consents": consents,
        "retention_days": bank.archive.retention_days,
        "keys": sorted(bank.archive.private_keys),
    }


async def _unread(bank: Bank) -> dict[str, int]:
    """Reason → how many messages could not be read."""
    stages: list[Doc] = [
        {"$match": {"state": KEPT}},
        {"$group": {"_id": "$reason", "messages": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
    ]
    return {row["_id"]: row["messages"] for row in await bank.db[ARCHIVE].aggregate(stages)}


async def search(
    bank: Bank, actor: ClerkActor, case: str, userid: str, day: str
) -> list[dict[str, Any]]:
    """The first SHOWN messages of a member on a day (ISO, in the bank's time), in their order and
    without their content.

    Raises Forbidden `not_permitted`, InvalidInput `case_invalid` or `archive_day`.
    """
    await _permitted(bank, actor, case, userid)
    begin = _begin(bank, day)
    userid = (await members.spellings(bank, [userid])).get(userid, userid)
    wanted = {"userids": userid, "at": {"$gte": begin, "$lt": begin + timedelta(days=1)}}
    found = await bank.db[ARCHIVE].find(wanted, sort=[("at", 1)], limit=SHOWN)
    recalled = await _recalled(bank, userid, begin)
    names = await _names(bank, {cid for row in found for cid in row["cids"]})
    about = {"userid": userid, "day": day, "found": len(found)}
    await bank.audit(actor.login, "archive.searched", case, **about)
    return [_listed(row, names, recalled) for row in cast("list[ArchivedRow]", found)]


def _listed(row: ArchivedRow, names: Mapping[str, str], recalled: Collection[str]) -> Doc:
    return {
        "id": row["_id"],
        "at": row["at"],
        "sender": row["sender"],
        "members": row["userids"],
        "customers": [names[cid] for cid in row["cids"]],
        "group": bool(row["room"]),
        "msgtype": row["msgtype"],
        "recalled": row["msgid"] in recalled,
    }


async def read(bank: Bank, actor: ClerkActor, case: str, message: str) -> dict[str, Any]:
    """One message with its content; that `actor` read it for this `case` is in the audit trail
    then.

    Raises Forbidden `not_permitted`, InvalidInput `case_invalid`, NotFound `message_unknown`,
    Conflict `message_unread`.
    """
    await _permitted(bank, actor, case, message)
    row = await _message(bank, message)
    if row["body"] is None:
        raise Conflict("message_unread", "this message could not be opened yet")
    await bank.audit(actor.login, "archive.revealed", message, case=case, members=row["userids"])
    body = open_body(bank, row["_id"], row["body"])
    called = await _called(bank, row, body)
    return {
        "id": message,
        "at": row["at"],
        "sender": called.get(str(body.get("from") or body.get("user")), "–"),
        "to": [called[one] for one in _told(body) if one in called],
        "msgtype": row["msgtype"],
        "action": row["action"],
        "content": _content(body, row["msgtype"]),
        "recalled": await _is_recalled(bank, row),
    }


async def _message(bank: Bank, message: str) -> ArchivedRow:
    row = await bank.db[ARCHIVE].find_one({"_id": message})
    if row is None:
        raise NotFound("message_unknown", "no such message")
    return cast("ArchivedRow", row)


def _told(body: Mapping[str, Any]) -> list[str]:
    """To whom a message was written."""
    told = body.get("tolist")
    return [one for one in told if isinstance(one, str)] if isinstance(told, list) else []


async def _permitted(bank: Bank, actor: ClerkActor, case: str, subject: str) -> None:
    if READ not in actor.permissions:
        await bank.audit(actor.login, "archive.refused", subject)
        raise Forbidden("not_permitted", f"this needs the permission {READ}")
    if not _CASE.fullmatch(case):
        raise InvalidInput("case_invalid", "a case number has 4 to 40 letters, digits and . _ / -")


def _begin(bank: Bank, day: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(day), time.min, tzinfo=bank.tz)
    except ValueError as error:
        raise InvalidInput("archive_day", "a day such as 2026-11-22") from error


async def _recalled(bank: Bank, userid: str, begin: datetime) -> set[str]:
    """The msgids of what was taken back on the day or soon after it."""
    until = begin + timedelta(days=1, hours=RECALL_HOURS)
    wanted = {"userids": userid, "at": {"$gte": begin, "$lt": until}, "msgtype": "revoke"}
    rows = await bank.db[ARCHIVE].find(wanted, fields={"recalls": 1}, limit=None)
    return {row["recalls"] for row in rows}


async def _is_recalled(bank: Bank, row: ArchivedRow) -> bool:
    until = row["at"] + timedelta(hours=RECALL_HOURS)
    userid = row["userids"][0] if row["userids"] else ""
    wanted = {"userids": userid, "at": {"$gte": row["at"], "$lt": until}, "recalls": row["msgid"]}
    return bool(await bank.db[ARCHIVE].find(wanted, fields={"_id": 1}, limit=1))


async def _names(bank: Bank, cids: set[str]) -> dict[str, str]:
    wanted = sorted(cids)
    people = await asyncio.gather(*(resolution.customer(bank, cid) for cid in wanted))
    return {cid: resolution.mask_name(one.name) for cid, one in zip(wanted, people, strict=True)}


async def _called(bank: Bank, row: ArchivedRow, body: Mapping[str, Any]) -> dict[str, str]:
    """What everybody of the message is called on a page: members by name, customers masked."""
    people = await asyncio.gather(*(resolution.customer(bank, cid) for cid in row["cids"]))
    known = {party_index(bank, one.external_userid): one.name for one in people}
    parties = {str(body.get("from") or ""), *_told(body)}
    customers = {
        party: _masked(party, known.get(index, ""))
        for party in parties
        if (index := party_index(bank, party)) in row["customers"]
    }
    others = sorted({*row["userids"], *parties} - customers.keys() - {""})
    userids = {userid: userid for userid in others}
    return userids | await members.names_of(bank, others) | customers


def _masked(external_userid: str, name: str) -> str:
    return resolution.mask_name(name) or resolution.mask_id(external_userid)


def _content(body: dict[str, Any], kind: str) -> str:
    """A text as it was written; of anything else what WeCom says of it."""
    content = body.get(kind)
    if kind == "text" and isinstance(content, dict):
        return str(content.get("content", ""))
    return json.dumps(content if content is not None else body, ensure_ascii=False, indent=2)
