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
from dataclasses import dataclass
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
SEARCH, OPENED = "archive_search", "archive_opened"
"""The kinds of session that keep what a search found and which message was opened."""
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
    lines = await _lines(bank, wanted, userid, begin)
    about = {"userid": userid, "day": day, "found": len(lines)}
    await bank.audit(actor.login, "archive.searched", case, **about)
    return lines


async def _lines(bank: Bank, wanted: Doc, userid: str, begin: datetime) -> list[dict[str, Any]]:
    found = await bank.db[ARCHIVE].find(wanted, sort=[("at", 1)], limit=SHOWN)
    recalled = await _recalled(bank, userid, begin)
    names = await _names(bank, {cid for row in found for cid in row["cids"]})
    return [_listed(row, names, recalled) for row in cast("list[ArchivedRow]", found)]


@dataclass(frozen=True)
class Found:
    """What somebody looked for, and the messages that were there."""

    case: str
    userid: str
    day: str
    messages: list[dict[str, Any]]


async def keep_search(bank: Bank, actor: ClerkActor, found: Found) -> str:
    """A name, good for the clerk alone, under which he finds again what he found for the case."""
    shown = [row["id"] for row in found.messages]
    kept = {"case": found.case, "userid": found.userid, "day": found.day, "shown": shown}
    return await _keep(bank, actor, SEARCH, kept)


async def kept_search(bank: Bank, actor: ClerkActor, search: str) -> Found:
    """An earlier search of this clerk's: its messages and no others, as they are now. Raises NotFound
    `search_over`, and Forbidden for who may not read any more."""
    kept = await _kept(bank, actor, SEARCH, search)
    await _permitted(bank, actor, kept["case"], kept["userid"])
    userid = (await members.spellings(bank, [kept["userid"]])).get(kept["userid"], kept["userid"])
    shown = {"_id": {"$in": kept["shown"]}}
    lines = await _lines(bank, shown, userid, _begin(bank, kept["day"]))
    return Found(kept["case"], kept["userid"], kept["day"], lines)


async def _keep(bank: Bank, actor: ClerkActor, kind: str, kept: Mapping[str, Any]) -> str:
    whose = {"tenant": bank.id, "login": actor.login}
    return await bank.services.sessions.open(kind, {**kept, **whose})


async def _kept(bank: Bank, actor: ClerkActor, kind: str, token: str) -> Mapping[str, Any]:
    kept = await bank.services.sessions.read(kind, token)
    if kept is None or (kept["tenant"], kept["login"]) != (bank.id, actor.login):
        raise NotFound("search_over", "this search is over; search again")
    return kept


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


async def open_message(bank: Bank, actor: ClerkActor, case: str, message: str) -> str:
    """Opens one message for a case, as `read` does; a name, good for the clerk alone, under which he
    reads it again."""
    await read(bank, actor, case, message)
    return await _keep(bank, actor, OPENED, {"case": case, "message": message})


async def opened(bank: Bank, actor: ClerkActor, token: str) -> tuple[str, dict[str, Any]]:
    """The case and the message that this clerk opened for it, permitted as it was then; the audit
    trail has it already. Raises NotFound `search_over`, and what `read` raises."""
    kept = await _kept(bank, actor, OPENED, token)
    await _permitted(bank, actor, kept["case"], kept["message"])
    row = await _message(bank, kept["message"])
    return kept["case"], await _shown(bank, row, _sealed(row))


async def read(bank: Bank, actor: ClerkActor, case: str, message: str) -> dict[str, Any]:
    """One message with its content; that `actor` read it for this `case` is in the audit trail
    then.

    Raises Forbidden `not_permitted`, InvalidInput `case_invalid`, NotFound `message_unknown`,
    Conflict `message_unread`.
    """
    await _permitted(bank, actor, case, message)
    row = await _message(bank, message)
    sealed = _sealed(row)
    await bank.audit(actor.login, "archive.revealed", message, case=case, members=row["userids"])
    return await _shown(bank, row, sealed)


def _sealed(row: ArchivedRow) -> bytes:
    if row["body"] is None:
        raise Conflict("message_unread", "this message could not be opened yet")
    return row["body"]


async def _shown(bank: Bank, row: ArchivedRow, sealed: bytes) -> dict[str, Any]:
    """The message with its content."""
    body = open_body(bank, row["_id"], sealed)
    called = await _called(bank, row, body)
    return {
        "id": row["_id"],
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
