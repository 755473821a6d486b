"""Static lists: made, renamed and archived by clerks, and asked for by rules.

An archived list is known to no rule and takes no file. Who is on it stays, so that bringing it back is
enough.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from typing import cast

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.lists import rows
from customers.lists.rows import LIST_MEMBERS, LISTS, ListRow
from customers.profiles import downloading
from customers.profiles.downloading import Wanted
from customers.rules.tokens import texts_of
from customers.rules.vocabulary import Titles
from customers.segments import rows as segments
from customers.segments.rows import SegmentRow
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc

MOST_LISTS = 1_000
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


async def create(bank: Bank, by: str, key: str, name: Mapping[str, str]) -> None:
    """Makes a list. Raises InvalidInput `list_wrong`, Conflict `list_exists` or `lists_full`."""
    if not _KEY.fullmatch(key):
        raise InvalidInput("list_wrong", "an id of small letters and digits, and two names")
    said = _named(name)
    if await bank.db[LISTS].count() >= MOST_LISTS:
        raise Conflict("lists_full", f"there are {MOST_LISTS} lists already")
    row: ListRow = {
        "_id": rows.list_id(bank.id, key),
        "list": key,
        "name": said,
        "at": bank.utc(),
        "by": by,
    }
    async with bank.audited(by, "list.created", key) as act:
        act.done = await bank.insert(LISTS, cast("Doc", row))
    if not act.done:
        raise Conflict("list_exists", f"there is a list {key}", data={"id": key})


def _named(name: Mapping[str, str]) -> dict[str, str]:
    said = {one: name.get(one, "").strip() for one in ("zh", "en")}
    if not all(said.values()):
        raise InvalidInput("list_wrong", "an id of small letters and digits, and two names")
    return said


async def rename(bank: Bank, by: str, key: str, name: Mapping[str, str]) -> None:
    """Calls it something else; its id stays. Raises InvalidInput `list_wrong`, NotFound
    `list_unknown`."""
    said, row = _named(name), await find(bank, key)
    async with bank.audited(by, "list.renamed", key) as act:
        act.done = await bank.db[LISTS].update(
            {"_id": row["_id"], "name": {"$ne": said}}, {"$set": {"name": said}}
        )


async def archive(bank: Bank, by: str, key: str, why: str) -> None:
    """Takes a list out of use. Raises InvalidInput `reason_missing`, NotFound `list_unknown`,
    Conflict `list_archived`, or `list_used` while a segment's rule names it."""
    if not why.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    await find(bank, key)
    await _expect_unused(bank, key)
    async with bank.audited(by, "list.archived", key, reason=why.strip()) as act:
        act.done = await _set_archived(bank, key)
        if not act.done:
            raise _archived(key)
        try:
            await _expect_unused(bank, key)  # who went live meanwhile read a rule that names it
        except Conflict:
            await _set_back(bank, key)
            raise


async def bring_back(bank: Bank, by: str, key: str) -> None:
    """Puts an archived list into use again, with all who are on it; nothing where it is in use.
    Raises NotFound `list_unknown`."""
    await find(bank, key)
    async with bank.audited(by, "list.brought_back", key) as act:
        act.done = await _set_back(bank, key)


async def _set_archived(bank: Bank, key: str) -> bool:
    in_use = {"_id": rows.list_id(bank.id, key), "archived": {"$ne": True}}
    return await bank.db[LISTS].update(in_use, {"$set": {"archived": True}})


async def _set_back(bank: Bank, key: str) -> bool:
    archived = {"_id": rows.list_id(bank.id, key), "archived": True}
    return await bank.db[LISTS].update(archived, {"$unset": {"archived": ""}})


async def _expect_unused(bank: Bank, key: str) -> None:
    found = [row["segment"] for row in await used_by(bank, key)]
    if found:
        by = ", ".join(found)
        raise Conflict("list_used", f"{by} use {key}", data={"by": by})


def _archived(key: str) -> Conflict:
    return Conflict("list_archived", f"the list {key} is archived", data={"id": key})


async def used_by(bank: Bank, key: str) -> list[SegmentRow]:
    """The segments whose rules name it, live ones and those that wait for their first approval."""
    return [
        row
        for row in await segments.everything(bank)
        if row["state"] != segments.ARCHIVED and key in texts_of(row["rule"], "list")
    ]


async def everything(bank: Bank) -> list[ListRow]:
    """Every list, by id."""
    found = await bank.db[LISTS].find({}, sort=[("list", 1)], limit=None)
    return cast("list[ListRow]", found)


async def titles(bank: Bank) -> dict[str, Titles]:
    """The lists that a rule may name, with what they are called."""
    return {row["list"]: row["name"] for row in await everything(bank) if not row.get("archived")}


async def find(bank: Bank, key: str) -> ListRow:
    """Raises NotFound `list_unknown`."""
    row = await bank.db[LISTS].find_one({"_id": rows.list_id(bank.id, key)})
    if row is None:
        raise NotFound("list_unknown", f"there is no list {key}")
    return cast("ListRow", row)


async def in_use(bank: Bank, key: str) -> ListRow:
    """The same of one that is not archived; raises Conflict `list_archived`."""
    row = await find(bank, key)
    if row.get("archived"):
        raise _archived(key)
    return row


async def count(bank: Bank, key: str) -> int:
    """How many customers are on it."""
    return await bank.db[LIST_MEMBERS].count({"list": key, "on": True})


async def download(
    bank: Bank, actor: ClerkActor, key: str, wanted: Wanted
) -> AsyncGenerator[bytes]:
    """Who is on it as rules see it, as a table in pieces. Raises Forbidden `not_permitted`,
    InvalidInput `reason_missing`, NotFound `list_unknown`."""
    downloading.check(actor, wanted)
    await find(bank, key)
    audited = bank.audited(actor.login, "list.downloaded", key, **wanted.said())
    return downloading.table(bank, audited, {"lists": key}, wanted)
