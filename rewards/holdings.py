"""The vouchers that a customer holds, as his RM sees them: without anything that could be shown at a
counter; and where one was used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue
from rewards.rows import TRANSFERS, Grant, grant_ids
from rewards.vouchers import held, life, redeem
from rewards.vouchers.rows import OPEN, find_voucher

MOST = 20
"""So many vouchers are listed, those that can be used first."""


@dataclass(frozen=True)
class Held:
    """A voucher: `left` of `uses` are left, and it may be used until before `expires`."""

    title: dict[str, str]
    state: str
    at: datetime
    expires: datetime | None
    uses: int
    left: int

    @property
    def open(self) -> bool:
        return self.state in OPEN


@dataclass(frozen=True)
class Holdings:
    """`vouchers` are MOST of `count`."""

    vouchers: tuple[Held, ...]
    count: int


@dataclass(frozen=True)
class Used:
    """`count` uses of a voucher, at a counter that is called `where`."""

    at: datetime
    where: str
    count: int


async def uses_of(bank: Bank, redemption: str) -> list[Used]:
    """The last uses of a voucher that the customer may look at, newest first; `redemption` as his
    pages call it."""
    row = await find_voucher(bank, f"{bank.id}:{redemption}")
    recent = row["recent"] if row is not None else []
    return [Used(one["at"], redeem.where(bank, one["by"]), one["count"]) for one in recent[::-1]]


async def of(bank: Bank, cid: str) -> Holdings:
    """What the customer holds now, under any of his ids."""
    cids = await resolution.cids(bank, cid)
    rewards = await catalogue.all_rewards(bank)
    wanted = [one for reward in rewards.values() for one in grant_ids(bank.id, reward, cids)]
    found = (await bank.read(TRANSFERS, wanted)).values()
    grants = [cast("Grant", row) for row in found if row["kind"] == "grant"]
    now = bank.utc()
    vouchers = [
        Held(
            title=rewards[row["reward"]]["title"],
            state=held.state_of(bank, row),
            at=row["at"],
            expires=row["expires"],
            uses=row["uses"],
            left=life.left(bank, row, now),
        )
        for row in await held.of_customer(bank, cids, grants)
    ]
    vouchers.sort(key=lambda one: not one.open)
    return Holdings(tuple(vouchers[:MOST]), len(vouchers))
