"""Whose profile a filter fits, as a table that leaves the bank: masked, or in clear for a reason.

The table comes in pieces, and neither the customers nor their rows are held. A second file of the same
is made anew: nothing is kept.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity.facts import mask_id, mask_name
from customers.identity.rows import customers_by_id
from customers.identity.sealing import open_customer
from customers.profiles import refreshing
from services import sheets
from services.errors import Forbidden, InvalidInput
from services.phones import mask_phone
from services.security.intents import Act
from services.store.mongo import Doc

EXPORT, REVEAL = "segments.export", "segments.reveal"
HEADING = ("cid", "number", "name", "phone")


@dataclass(frozen=True)
class Wanted:
    """Whether numbers, names and phones are to be `clear`, and the `reason`."""

    clear: bool = False
    reason: str = ""

    def said(self) -> Doc:
        """What the audit trail says of it."""
        reason = self.reason.strip()
        return {"clear": self.clear} | ({"reason": reason} if reason else {})


def check(actor: ClerkActor, wanted: Wanted) -> None:
    """Raises Forbidden `not_permitted`, and InvalidInput `reason_missing` where it is to be in
    clear."""
    for permission in (EXPORT, REVEAL) if wanted.clear else (EXPORT,):
        if permission not in actor.permissions:
            raise Forbidden("not_permitted", f"this needs the permission {permission}")
    if wanted.clear and not wanted.reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})


async def table(
    bank: Bank, audited: AbstractAsyncContextManager[Act], fits: Doc, wanted: Wanted
) -> AsyncGenerator[bytes]:
    """The table piece by piece, made inside of an act (`bank.audited`), which says at its end how
    many are in it."""
    async with audited as act:
        act.data["customers"] = 0
        yield sheets.csv_file([HEADING])
        for span in await refreshing.spans_of(bank):
            lines = await _lines(bank, await refreshing.matching(bank, span, fits), wanted)
            act.data["customers"] += len(lines)
            if lines:
                yield sheets.csv_text(lines).encode()


async def _lines(bank: Bank, cids: Collection[str], wanted: Wanted) -> list[tuple[str, ...]]:
    known = await customers_by_id(bank, sorted(cids))
    lines: list[tuple[str, ...]] = []
    for cid, row in sorted(known.items()):
        one = open_customer(bank, row)
        if wanted.clear:
            lines.append((cid, one.number, one.name, one.phone))
        else:
            masked = mask_id(one.number), mask_name(one.name), mask_phone(one.phone)
            lines.append((cid, *masked))
    return lines
