"""Webhooks for people: those of the bank's file, how each goes, what waits and what failed, and to have
it sent again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from customers.banks.bank import Bank
from customers.banks.files import Webhook
from customers.banks.tasks import SEND_WEBHOOKS
from customers.webhooks import secrets
from customers.webhooks.delivering import KEPT
from customers.webhooks.rows import (
    DELIVERED,
    FAILED,
    WAITING,
    WEBHOOK_DELIVERIES,
    WEBHOOKS,
    Delivery,
    WebhookRow,
    row_id,
)
from services.clock import utc
from services.errors import InvalidInput, NotFound
from services.store.mongo import Doc

STATES = (WAITING, DELIVERED, FAILED)
REMOVED = "webhook_removed"
AT_ONCE = 500


@dataclass(frozen=True)
class WebhookView:
    """A webhook as a clerk sees it. `oldest` is when the oldest that waits happened to be written
    down; `secrets` says with how many it signs now."""

    id: str
    url: str
    events: tuple[str, ...]
    secrets: int
    off: datetime | None
    pause: datetime | None
    delivered_at: datetime | None
    waiting: int
    failed: int
    oldest: datetime | None


async def apply(bank: Bank) -> list[str]:
    """Makes those of the bank's file known, and gives up what was for others; what a person has to
    do, as sentences. Safe to repeat."""
    rows = [await _made_known(bank, hook) for hook in bank.webhooks]
    await _give_up_all_but(bank, [hook.id for hook in bank.webhooks])
    without = [row["webhook"] for row in rows if not secrets.good(bank, row)]
    return [f"webhook {one} has no secret: manage.py webhook secret {one}" for one in without]


async def _made_known(bank: Bank, hook: Webhook) -> WebhookRow:
    new: Doc = {"webhook": hook.id, "owner": None, "leased_until": 0.0}
    new |= {"pause": 0.0, "silent": 0, "off": None}
    one = {"_id": row_id(bank.id, hook.id)}
    row = await bank.db[WEBHOOKS].update_and_get(one, {"$setOnInsert": new}, upsert=True)
    return cast("WebhookRow", row)


async def _give_up_all_but(bank: Bank, webhooks: Sequence[str]) -> None:
    others = {"webhook": {"$nin": list(webhooks)}, "open": True}
    ended: Doc = {"open": False, "state": FAILED, "reason": REMOVED, "ended_at": bank.utc()}
    ended["due"] = bank.now() + KEPT[FAILED]
    await bank.db[WEBHOOK_DELIVERIES].update_many(others, {"$set": ended})


async def overview(bank: Bank) -> list[WebhookView]:
    """Every webhook of the bank's file, in its order."""
    wanted = [row_id(bank.id, hook.id) for hook in bank.webhooks]
    rows = {row["webhook"]: row for row in (await bank.by_id(WEBHOOKS, wanted)).values()}
    return [
        await _view(bank, hook, cast("WebhookRow", rows[hook.id]))
        for hook in bank.webhooks
        if hook.id in rows
    ]


async def _view(bank: Bank, hook: Webhook, row: WebhookRow) -> WebhookView:
    deliveries = bank.db[WEBHOOK_DELIVERIES]
    waits: Doc = {"webhook": hook.id, "state": WAITING}
    first = await deliveries.find(waits, sort=[("noted_at", 1)], limit=1)
    return WebhookView(
        hook.id,
        hook.url,
        tuple(hook.events),
        len(secrets.good(bank, row)),
        row["off"],
        utc(row["pause"]) if row["pause"] > bank.now() else None,
        row.get("delivered_at"),
        await deliveries.count(waits),
        await deliveries.count({"webhook": hook.id, "state": FAILED}),
        utc(first[0]["noted_at"]) if first else None,
    )


async def newest(bank: Bank, webhook: str, state: str, limit: int = 50) -> list[Delivery]:
    """The newest deliveries of a webhook in that state, or in any. Raises InvalidInput
    `webhook_state_unknown`."""
    if state and state not in STATES:
        raise InvalidInput("webhook_state_unknown", f"one of {', '.join(STATES)}")
    wanted: Doc = {"webhook": webhook, "state": state or {"$in": list(STATES)}}
    found = await bank.db[WEBHOOK_DELIVERIES].find(wanted, sort=[("noted_at", -1)], limit=limit)
    return cast("list[Delivery]", found)


async def delivery(bank: Bank, beginning: str) -> Delivery:
    """One delivery, by its row's id or the first 8 digits of it or more. Raises NotFound
    `delivery_unknown`."""
    digits = beginning.removeprefix(f"{bank.id}:")
    if len(digits) >= 8 and all(one in "0123456789abcdef" for one in digits):
        start = f"{bank.id}:{digits}"
        wanted = {"_id": {"$gte": start, "$lt": f"{start}g"}}
        found = await bank.db[WEBHOOK_DELIVERIES].find(wanted, limit=2)
        if len(found) == 1:
            return cast("Delivery", found[0])
    raise NotFound("delivery_unknown", "there is no such delivery")


def known(bank: Bank, webhook: str) -> Webhook:
    """The webhook of the bank's file; raises NotFound `webhook_unknown`."""
    for hook in bank.webhooks:
        if hook.id == webhook:
            return hook
    raise NotFound("webhook_unknown", f"{bank.id} has no webhook {webhook}")


async def replay(bank: Bank, by: str, beginning: str) -> None:
    """Has one delivery sent again, whether it failed or was taken, under its id of before. Raises
    NotFound `delivery_unknown` or `webhook_unknown`."""
    row = await delivery(bank, beginning)
    known(bank, row["webhook"])
    async with bank.audited(by, "webhook.replayed", row["webhook"], delivery=row["_id"]) as act:
        act.done = bool(await _again(bank, [row["_id"]]))
    bank.signal(SEND_WEBHOOKS)


async def replay_failed(bank: Bank, by: str, webhook: str) -> int:
    """Has everything sent again that failed at a webhook; how many those were."""
    known(bank, webhook)
    failed: Doc = {"webhook": webhook, "state": FAILED}
    again = 0
    async with bank.audited(by, "webhook.replayed", webhook) as act:
        while some := await bank.db[WEBHOOK_DELIVERIES].find(
            failed, sort=[("noted_at", 1)], limit=AT_ONCE, fields={"_id": 1}
        ):
            again += await _again(bank, [row["_id"] for row in some])
        act.data["deliveries"] = again
        act.done = again > 0
    bank.signal(SEND_WEBHOOKS)
    return again


async def _again(bank: Bank, ids: Sequence[str]) -> int:
    now = bank.now()
    ended = {"_id": {"$in": list(ids)}, "open": False}
    fresh: Doc = {"open": True, "state": WAITING, "due": now, "since": now, "attempts": 0}
    fresh |= {"reason": "", "status": 0}
    return await bank.db[WEBHOOK_DELIVERIES].update_many(ended, {"$set": fresh})


async def turn_on(bank: Bank, by: str, webhook: str) -> None:
    """Has a webhook sent to again that its receiver turned off, or that is left alone for a pause.
    Raises NotFound `webhook_unknown`."""
    known(bank, webhook)
    one: Doc = {"_id": row_id(bank.id, webhook)}
    async with bank.audited(by, "webhook.turned_on", webhook):
        fields = {"off": None, "pause": 0.0, "silent": 0}
        await bank.db[WEBHOOKS].update(one, {"$set": fields})
        waiting = {"webhook": webhook, "open": True, "due": {"$gt": bank.now()}}
        await bank.db[WEBHOOK_DELIVERIES].update_many(waiting, {"$set": {"due": bank.now()}})
    bank.signal(SEND_WEBHOOKS)
