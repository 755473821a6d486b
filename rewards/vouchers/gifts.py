"""Giving a voucher away, where its reward declares that it may be (`transferable`).

Its customer asks for a code and passes it on, as a link or by word; another customer of the bank takes
the voucher with it. Until then it is the giver's: he may use it, take the offer back, or make
another, which ends the one before. Whoever has taken it has a new code, and the old one and its QR
codes lead nowhere.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.vouchers import codes, issuing, life, redeem
from rewards.vouchers.rows import ACTIVE, VOUCHERS, Gift, Voucher
from services.errors import Conflict, NotFound, YinqiaoError
from services.security.tries import Limit, LockedOut
from services.store.mongo import Doc, Duplicate

LENGTH = 16
GOOD = timedelta(days=3)
FAILURES, FAILURE_SECONDS = 10, 3_600
"""How often a customer may be wrong in that time."""


@dataclass(frozen=True, slots=True)
class Offered:
    """What the giver passes on, until when it is good."""

    code: str
    until: datetime


class GiftUnknown(NotFound, redeem.Guessed):
    """No voucher is given with this code."""

    def __init__(self) -> None:
        super().__init__("gift_unknown", "no voucher is given with this code, or not any more")


def limits(bank: Bank, cid: str) -> list[Limit]:
    """How often a customer may be wrong about a code."""
    return [Limit(f"gift|{bank.id}|{cid}", FAILURES, FAILURE_SECONDS)]


async def offer(bank: Bank, cids: Sequence[str], voucher: str) -> Offered:
    """The code with which another customer takes the voucher. Raises NotFound `voucher_unknown` for
    one that is not his, Conflict `not_transferable`, and what a voucher that is over is refused
    with."""
    row = await issuing.of_grant_id(bank, voucher)
    if row is None or row["cid"] not in cids:
        raise NotFound("voucher_unknown", "no such voucher")
    item = issuing.item_of(await catalogue.find(bank, row["reward"]))
    code = "".join(secrets.choice(codes.ALPHABET) for _ in range(LENGTH))
    until = min(one for one in (bank.utc() + GOOD, row["expires"]) if one is not None)

    def decide(row: Voucher) -> Doc:
        _check_holder(row, cids)
        refusal = redeem.over(bank, row)
        if refusal is not None:
            raise refusal
        if not item.transferable or row["used"] or "code" in row:
            raise Conflict("not_transferable", "this voucher cannot be given away")
        gift: Gift = {
            "index": _index(bank, code),
            "sealed": bank.vault.seal_text(VOUCHERS, "gift", row["_id"], code),
            "until": until,
        }
        return life.happened(row, "voucher.offered", bank.utc(), fields={"gift": gift})

    await life.change(bank, voucher, decide)
    return Offered(_shown(code), until)


def offered(bank: Bank, row: Voucher) -> Offered | None:
    """What is offered of the voucher at this moment."""
    gift = row.get("gift")
    if not gift or gift.get("taken") or gift["until"] <= bank.utc():
        return None
    code = bank.vault.open_text(VOUCHERS, "gift", row["_id"], gift["sealed"])
    return Offered(_shown(code), gift["until"])


async def take_back(bank: Bank, cids: Sequence[str], voucher: str) -> None:
    """The voucher is offered to nobody any more. Raises NotFound `voucher_unknown`."""

    def decide(row: Voucher) -> Doc:
        _check_holder(row, cids)
        gift = row.get("gift")
        return {"gift": None} if gift and not gift.get("taken") else {}

    await life.change(bank, voucher, decide)


async def take(bank: Bank, cids: Sequence[str], typed: str) -> str:
    """The id of the voucher that the customer, whose own id is the first of `cids`, has now. Taken
    twice by the same is once. Raises NotFound `gift_unknown` (a guess), Conflict `gift_own`, and what
    a voucher that is over is refused with; each refusal is in the audit trail, without the code."""
    index = _index(bank, codes.meant(codes.plain(typed)))
    async with _judged(bank, cids[0]):
        found = await bank.db[VOUCHERS].find_one({"gift.index": index}, {"_id": 1})
        if found is None:
            raise GiftUnknown
        for more in range(1, issuing.TRIES + 1):
            try:
                return await _take(bank, cids, found["_id"], index, more)
            except Duplicate:  # another voucher has this code: the next one
                continue
    raise RuntimeError("no free code for a voucher")


@asynccontextmanager
async def _judged(bank: Bank, cid: str) -> AsyncIterator[None]:
    """Around the judging of a code: guesses are counted, refusals written down."""
    try:
        async with bank.services.tries.trying(limits(bank, cid), redeem.Guessed):
            yield
    except YinqiaoError as error:
        again = isinstance(error, LockedOut) and not error.first
        if error.status < 500 and not again:
            await bank.audit(f"customer:{cid}", "voucher.refused", "-", reason=error.code)
        raise


async def _take(bank: Bank, cids: Sequence[str], voucher: str, index: str, more: int) -> str:
    def decide(row: Voucher) -> Doc:
        gift, now = row.get("gift"), bank.utc()
        if not gift or gift["index"] != index:
            raise GiftUnknown
        if row["cid"] in cids:
            if gift.get("taken"):
                return {}
            raise Conflict("gift_own", "this voucher is yours already")
        if gift["until"] <= now or gift.get("taken"):
            raise GiftUnknown
        refusal = redeem.over(bank, row)
        if refusal is not None:
            raise refusal
        if row["used"]:
            raise GiftUnknown
        return _taken(bank, row, cids[0], more, now)

    return (await life.change(bank, voucher, decide))["_id"]


def _taken(bank: Bank, row: Voucher, cid: str, more: int, now: datetime) -> Doc:
    """The change by which the voucher is another customer's, under a new code."""
    nth = row["nth"] + more
    index = codes.index_of(bank.vault, codes.code_of(bank.vault, row["_id"], nth))
    given = life.happened(row, "voucher.given", now)
    after: Voucher = {**row, "cid": cid, "steps": given["steps"], "last_step": given["last_step"]}
    fields: Doc = {
        "cid": cid,
        "nth": nth,
        "index": index,
        "indexes": [index],
        "held": [*row["held"], {"cid": row["cid"], "until": now}],
        "gift": {**(row.get("gift") or {}), "taken": True},
    }
    return life.happened(after, "voucher.taken", now, state=ACTIVE, fields=fields)


def _check_holder(row: Voucher, cids: Sequence[str]) -> None:
    if row["cid"] not in cids:
        raise NotFound("voucher_unknown", "no such voucher")


def _index(bank: Bank, code: str) -> str:
    return bank.vault.blind("vouchers.gift", code)


def _shown(code: str) -> str:
    return "-".join(code[start : start + 4] for start in range(0, LENGTH, 4))
