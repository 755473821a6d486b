"""Vouchers as clerks see them: found by code, customer or campaign, page by page; and what became of
one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from customers import timeline
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue
from rewards.vouchers import acts, codes, held, issuing, life, redeem
from rewards.vouchers.redeem import Redeemer
from rewards.vouchers.rows import (
    STATES,
    VOUCHER_USES,
    VOUCHERS,
    Use,
    Voucher,
    VoucherAct,
    find_voucher,
)
from services.errors import InvalidInput, NotFound
from services.store.mongo import Doc

PAGE = 50
MOST_USES = 200
CHANGES = (
    "voucher.opened",
    "voucher.offered",
    "voucher.taken",
    "voucher.expired",
    "voucher.recalled",
    "voucher.refunded",
    "voucher.made_good",
    "voucher.granted",
)
"""What happens to a voucher besides its uses, as the timeline has it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which vouchers: of a customer (`cids`), of a campaign, in a state; `before` is where the page
    begins."""

    cids: tuple[str, ...] = ()
    campaign: str = ""
    state: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A page of vouchers, newest first; `after` begins the next, if there is one."""

    rows: Sequence[Mapping[str, Any]]
    after: str


def is_own_code(bank: Bank, typed: str) -> bool:
    """Whether what was typed has the form of a code of the bank's own."""
    return codes.is_code(bank.vault, codes.meant(codes.plain(typed)))


async def by_code(bank: Bank, actor: ClerkActor, code: str) -> str:
    """The id of the voucher with that code. Raises what a counter is told; guesses count, and a
    search is in the audit trail, without the code."""
    clerk = Redeemer("clerk", actor.login, actor.name)
    view = await redeem.look(bank, clerk, code)
    await bank.audit(actor.login, "voucher.searched", view.voucher)
    return view.voucher


async def listed(bank: Bank, wanted: Wanted) -> Found:
    """Raises InvalidInput `page_unknown`."""
    query: Doc = {}
    if wanted.cids:
        query["cid"] = {"$in": list(wanted.cids)}
    if wanted.campaign:
        query["campaign"] = wanted.campaign
    if wanted.state:
        query["state"] = wanted.state if wanted.state in STATES else {"$in": []}
    elif wanted.campaign:
        query["state"] = {"$in": list(STATES)}
    if wanted.before:
        query |= _before(bank, wanted.before)
    newest_first = [("at", -1), ("_id", -1)]
    found = await bank.db[VOUCHERS].find(query, sort=newest_first, limit=PAGE + 1)
    rows = cast("list[Voucher]", found[:PAGE])
    after = _place(rows[-1]) if len(found) > PAGE else ""
    return Found(await asyncio.gather(*(summary(bank, row) for row in rows)), after)


async def campaigns(bank: Bank) -> list[str]:
    """The campaigns that give vouchers, by id."""
    rewards = (await catalogue.all_rewards(bank)).values()
    return sorted({one["campaign"] for one in rewards if one["kind"] in issuing.KINDS})


def _place(row: Voucher) -> str:
    return f"{int(row['at'].timestamp() * 1000)}.{row['_id'].partition(':')[2]}"


def _before(bank: Bank, place: str) -> Doc:
    millis, _, number = place.partition(".")
    if not (millis.isascii() and millis.isdecimal() and len(millis) <= 14 and number.isalnum()):
        raise InvalidInput("page_unknown", "no page begins there")
    at = datetime.fromtimestamp(int(millis) / 1000, UTC)
    return {"$or": [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": f"{bank.id}:{number}"}}]}


async def summary(bank: Bank, row: Voucher) -> dict[str, Any]:
    """A voucher in one line; its customer's name is masked."""
    rewards = await catalogue.all_rewards(bank)
    person = await resolution.customer(bank, row["cid"])
    last = row["recent"][-1] if row["recent"] else None
    return {
        "id": row["_id"],
        "reward": row["reward"],
        "title": rewards[row["reward"]]["title"],
        "campaign": row["campaign"],
        "cid": person.cid,
        "customer": resolution.mask_name(person.name),
        "state": held.state_of(bank, row),
        "at": row["at"],
        "expires": row["expires"],
        "uses": row["uses"],
        "uses_per": row["uses_per"],
        "left": life.left(bank, row, bank.utc()),
        "last_at": None if last is None else last["at"],
        "last_where": "" if last is None else redeem.where(bank, last["by"]),
        "instead_of": row.get("instead_of", ""),
        "made_good": row.get("made_good", ""),
        "cost": row["cost"],
    }


@dataclass(frozen=True, slots=True)
class Life:
    """A voucher with all that became of it: `uses` newest first, with those that were refused;
    `changes` likewise; what clerks asked for, and may ask for."""

    voucher: Mapping[str, Any]
    how: Mapping[str, str]
    uses: Sequence[Use]
    changes: Sequence[timeline.Entry]
    acts: Sequence[VoucherAct]
    may: Sequence[str]


async def life_of(bank: Bank, voucher: str) -> Life:
    """Raises NotFound `voucher_unknown`."""
    row = await find_voucher(bank, voucher) or await issuing.of_grant_id(bank, voucher)
    if row is None:
        raise NotFound("voucher_unknown", "no such voucher")
    item = issuing.item_of(await catalogue.find(bank, row["reward"]))
    uses = await bank.db[VOUCHER_USES].find(
        {"voucher": voucher, "state": {"$ne": "asked"}}, sort=[("at", -1)], limit=MOST_USES
    )
    cids = [row["cid"], *(one["cid"] for one in row["held"])]
    told = await timeline.of_kinds(bank, cids, CHANGES)
    return Life(
        voucher=await summary(bank, row),
        how=(item.how or item.text).model_dump(),
        uses=cast("list[Use]", uses),
        changes=[one for one in told if one["data"].get("voucher") == voucher],
        acts=await acts.of_voucher(bank, voucher),
        may=acts.may(bank, row),
    )
