"""Reading the archive: how it goes for everybody who may see it, and messages for those who may
read, case by case.

A search shows who wrote when and of what type. Each message is opened by itself, and who opened it,
for which case, is in the audit trail before he sees it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

from customers.actors import ClerkActor
from customers.archive import consents as archive_consents
from customers.archive import pull
from customers.archive.messages import CUSTOMERS, KEPT, open_body, party_index
from customers.archive.rows import ARCHIVE, ARCHIVE_PULLS
from customers.banks.bank import Bank
from customers.banks.rows import STAFF
from customers.identity import resolution
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
    rows = bank.db[ARCHIVE]
    row = await bank.db[ARCHIVE_PULLS].find_one({"_id": pull.pull_id(bank.id)})
    reasons: list[Doc] = [
        {"$match": {"state": KEPT}},
        {"$group": {"_id": "$reason", "messages": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
    ]
    unread, seq, consents = await asyncio.gather(
        rows.aggregate(reasons),
        pull.cursor(bank),
        archive_consents.counts(bank),
    )
    return {
        "seq": seq,
        "newest": row["newest"] if row else 0.0,
        "pulled": row["pulled"] if row else None,
        "lag": pull.lag(bank, row),
        "more": bool(row and row["more"]),
        "reason": row["reason"] if row else "",
        "unread": {one["_id"]: one["messages"] for one in unread},
        "consents": consents,
        "retention_days": bank.archive.retention_days,
        "keys": sorted(bank.archive.private_keys),
    }


async def search(
    bank: Bank, actor: ClerkActor, case: str, userid: str, day: str
) -> list[dict[str, Any]]:
    """The first SHOWN messages of a member on a day (ISO, in the bank's time), in their order and
    without their content.

    Raises Forbidden `not_permitted`, InvalidInput `case_invalid` or `archive_day`.
    """
    await _permitted(bank, actor, case, userid)
    begin = _begin(bank, day)
    rows = bank.db[ARCHIVE]
    wanted = {"userids": userid, "at": {"$gte": begin, "$lt": begin + timedelta(days=1)}}
    found = await rows.find(wanted, sort=[("at", 1)], limit=SHOWN)
    recalled = await _recalled(bank, actor, userid, begin)
    names = await _names(bank, {cid for row in found for cid in row["cids"]})
    await bank.services.audit.record(
        bank.db, actor.login, "archive.searched", case, userid=userid, day=day, found=len(found)
    )  # fmt: skip
    return [
        {
            "id": row["_id"],
            "at": row["at"],
            "sender": row["sender"],
            "members": row["userids"],
            "customers": [names[cid] for cid in row["cids"]],
            "group": bool(row["room"]),
            "msgtype": row["msgtype"],
            "recalled": row["msgid"] in recalled,
        }
        for row in found
    ]


async def read(bank: Bank, actor: ClerkActor, case: str, message: str) -> dict[str, Any]:
    """One message with its content; that `actor` read it for this `case` is in the audit trail
    then.

    Raises Forbidden `not_permitted`, InvalidInput `case_invalid`, NotFound `message_unknown`,
    Conflict `message_unread`.
    """
    await _permitted(bank, actor, case, message)
    db = bank.db
    row = await db[ARCHIVE].find_one({"_id": message})
    if row is None:
        raise NotFound("message_unknown", "no such message")
    if row["body"] is None:
        raise Conflict("message_unread", "this message could not be opened yet")
    await bank.audit(actor.login, "archive.revealed", message, case=case, members=row["userids"])
    body = open_body(bank, row)
    called = await _called(bank, row, body)
    told = body.get("tolist")
    return {
        "id": message,
        "at": row["at"],
        "sender": called.get(str(body.get("from") or body.get("user")), "–"),
        "to": [called[one] for one in told if one in called] if isinstance(told, list) else [],
        "msgtype": row["msgtype"],
        "action": row["action"],
        "content": _content(body, row["msgtype"]),
        "recalled": bool(await _recalls_of(bank, actor, row)),
    }


async def _permitted(bank: Bank, actor: ClerkActor, case: str, subject: str) -> None:
    if READ not in actor.permissions:
        await bank.audit(actor.login, "archive.refused", subject)
        raise Forbidden("not_permitted", f"this needs the permission {READ}")
    if not _CASE.fullmatch(case):
        raise InvalidInput("case_invalid", "a case number has 4 to 40 letters, digits and . _ / -")


def _begin(bank: Bank, day: str) -> datetime:
    try:
        midnight = datetime.combine(date.fromisoformat(day), datetime.min.time())
        return midnight.replace(
            tzinfo=timezone(timedelta(hours=bank.services.settings.utc_offset_hours))
        )
    except ValueError as error:
        raise InvalidInput("archive_day", "a day such as 2026-11-22") from error


async def _recalled(bank: Bank, actor: ClerkActor, userid: str, begin: datetime) -> set[str]:
    until = begin + timedelta(days=1, hours=RECALL_HOURS)
    wanted = {"userids": userid, "at": {"$gte": begin, "$lt": until}, "msgtype": "revoke"}
    rows = await bank.db[ARCHIVE].find(wanted, fields={"recalls": 1}, limit=None)
    return {row["recalls"] for row in rows}


async def _recalls_of(bank: Bank, actor: ClerkActor, row: Doc) -> list[Doc]:
    until = row["at"] + timedelta(hours=RECALL_HOURS)
    userid = row["userids"][0] if row["userids"] else ""
    wanted = {"userids": userid, "at": {"$gte": row["at"], "$lt": until}, "recalls": row["msgid"]}
    return await bank.db[ARCHIVE].find(wanted, fields={"_id": 1}, limit=1)


async def _names(bank: Bank, cids: set[str]) -> dict[str, str]:
    wanted = sorted(cids)
    people = await asyncio.gather(*(resolution.customer(bank, cid) for cid in wanted))
    return {cid: resolution.mask_name(one.name) for cid, one in zip(wanted, people, strict=True)}


async def _called(bank: Bank, row: Doc, body: dict[str, Any]) -> dict[str, str]:
    """What everybody of the message is called on a page: members by name, customers masked."""
    staff = await bank.read(STAFF, [f"{bank.id}:{userid}" for userid in row["userids"]])
    called = {userid: userid for userid in row["userids"]} | {
        one["userid"]: one["name"] for one in staff.values()
    }
    told = body.get("tolist")
    parties: Sequence[Any] = [body.get("from"), *(told if isinstance(told, list) else [])]
    people = [resolution.customer(bank, cid) for cid in row["cids"]]
    known = {
        party_index(bank, one.external_userid): one.name for one in await asyncio.gather(*people)
    }
    for party in {one for one in parties if isinstance(one, str) and one.startswith(CUSTOMERS)}:
        name = known.get(party_index(bank, party), "")
        called[party] = resolution.mask_name(name) or resolution.mask_id(party)
    return called


def _content(body: dict[str, Any], kind: str) -> str:
    """A text as it was written; of anything else what WeCom says of it."""
    content = body.get(kind)
    if kind == "text" and isinstance(content, dict):
        return str(content.get("content", ""))
    return json.dumps(content if content is not None else body, ensure_ascii=False, indent=2)
