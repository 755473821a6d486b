"""An offer: the right of one customer to claim one reward, made by a campaign's grant step. One per
customer and reward."""

from __future__ import annotations

from typing import Any

from customers import timeline
from customers.banks.bank import Bank
from rewards.rows import OFFERS
from services import ids
from services.clock import utc
from services.queue.effects import EffectKind
from services.queue.outbox import Effect
from services.store.mongo import Doc


def offer_id(tenant: str, reward: str, cid: str) -> str:
    return ids.tenant_id(tenant, "offer", reward, cid)


async def make(bank: Bank, cid: str, reward: str, run: str) -> bool:
    """Offers `reward` to the customer; False when he has that offer already. `run` is whose step it
    was."""
    row: Doc = {
        "_id": offer_id(bank.id, reward, cid),
        "cid": cid,
        "reward": reward,
        "run": run,
        "at": utc(bank.now()),
    }
    new = await bank.insert(OFFERS, row)
    await timeline.record(bank, cid, "reward.offered", reward, reward=reward)
    return new


async def of_customers(
    bank: Bank, wanted: list[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The offers that exist among (reward, cid) pairs."""
    by_id = {offer_id(bank.id, reward, cid): (reward, cid) for reward, cid in wanted}
    found = await bank.read(OFFERS, list(by_id))
    return {by_id[row_id]: row for row_id, row in found.items()}


async def perform(bank: Bank, effect: Effect) -> None:
    """Makes the offer that a campaign's step asked for."""
    await make(bank, effect.cid, effect.args["reward"], effect.run)


OFFER: EffectKind[Bank] = EffectKind(name="offer", execute=perform)
"""The right to claim a reward; the story is `make`'s."""
