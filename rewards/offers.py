"""An offer: the right of one customer to claim one reward, made by a campaign's grant step, or by
his RM (rewards/allowance.py). One per customer and reward."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from customers import timeline
from customers.banks.bank import Bank
from rewards.rows import OFFERS, Offer, Place
from services import ids
from services.queue.effects import EffectKind
from services.queue.outbox import Effect
from services.store.mongo import Doc


def offer_id(tenant: str, reward: str, cid: str) -> str:
    """The `_id` of the offer of a reward to a customer."""
    return ids.tenant_id(tenant, "offer", reward, cid)


async def make(bank: Bank, cid: str, reward: str, run: str, place: Place | None = None) -> bool:
    """Offers `reward` to the customer; False when he has that offer already. `run` is whose step it
    was, and `place` which channel, branch and RM the claim counts for."""
    row: Offer = {
        "_id": offer_id(bank.id, reward, cid),
        "cid": cid,
        "reward": reward,
        "run": run,
        "at": bank.utc(),
    }
    if place:
        row["place"] = place
    new = await bank.insert(OFFERS, cast("Doc", row))
    await timeline.record(bank, cid, "reward.offered", reward, reward=reward)
    return new


async def offered(bank: Bank, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the (reward, cid) pairs for which there is an offer."""
    by_id = {offer_id(bank.id, reward, cid): (reward, cid) for reward, cid in pairs}
    return {by_id[row_id] for row_id in await bank.read(OFFERS, list(by_id))}


async def place_of(bank: Bank, reward: str, cids: Iterable[str]) -> Place | None:
    """Whose the customer's offer of the reward is, under any of his ids; None without an offer that
    says so."""
    rows = await bank.read(OFFERS, [offer_id(bank.id, reward, cid) for cid in cids])
    places = (cast("Offer", row).get("place") for row in rows.values())
    return next((place for place in places if place), None)


async def perform(bank: Bank, effect: Effect) -> None:
    """Makes the offer that a campaign's step asked for."""
    said = {name: effect.args.get(name) for name in ("channel", "branch", "userid")}
    place = {"channel": said["channel"], "branch": said["branch"], "staff": said["userid"]}
    known = cast("Place", {name: value for name, value in place.items() if value})
    await make(bank, effect.cid, effect.args["reward"], effect.run, known)


OFFER: EffectKind[Bank] = EffectKind(name="offer", execute=perform)
"""The right to claim a reward; the story is `make`'s."""
