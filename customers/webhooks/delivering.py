"""Deliveries go out: in order for each customer at each webhook, signed, until they are taken.

A webhook is one worker's at a time, by a lease in its row: a round takes what is due, sends each
customer's deliveries one after the other and different customers' side by side, and writes down each
answer. What fails holds back the later ones of this customer at this webhook, and nothing else; a
receiver that answers nobody is left alone for a while. A worker that is killed between an answer and
its note sends that delivery once more, under the same id.
"""

from __future__ import annotations

import asyncio
import logging
import secrets as random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.banks.files import Webhook
from customers.banks.tasks import SEND_WEBHOOKS
from customers.webhooks import secrets, sending
from customers.webhooks.rows import (
    DELIVERED,
    FAILED,
    WEBHOOK_DELIVERIES,
    WEBHOOKS,
    Delivery,
    WebhookRow,
    row_id,
)
from customers.webhooks.sending import Outcome
from services.queue.retry import FAIL, Retry
from services.store import leases
from services.store.mongo import Doc

TURN_SECONDS = 10.0
"""So long a turn begins rounds."""
LOOK_SECONDS = 0.2
"""While one webhook is busy, the bank's others are looked at so often."""
SENDING_SECONDS = 10.0
"""So long a round begins to send."""
LEASE_SECONDS = SENDING_SECONDS + sending.SECONDS + 20.0
"""Longer than a round can take."""
LOT, AT_ONCE = 200, 8
"""So many deliveries a round takes, of so many customers side by side."""
RETRY = Retry(None, first=5.0, most=3_600.0, then=FAIL)
GIVE_UP = timedelta(days=3).total_seconds()
LATE = timedelta(minutes=10).total_seconds()
"""Somebody is told when a delivery is refused that is so old."""
STRIKES = 3
"""So many in a round without an answer, and none with: the receiver is left alone for a pause."""
PAUSE = Retry(None, first=2.0, most=300.0, then=FAIL)
KEPT = {
    DELIVERED: timedelta(days=30).total_seconds(),
    FAILED: timedelta(days=90).total_seconds(),
}
"""So long a row is kept after its end."""
ENDED: Doc = {"open": False}
log = logging.getLogger(__name__)


@dataclass
class _Round:
    """One webhook, ours for a round."""

    bank: Bank
    hook: Webhook
    row: WebhookRow
    owner: str
    until: float
    delivered: int = 0
    struck: int = 0
    off: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more is to be sent in this round."""
        silent = self.struck >= STRIKES and not self.delivered
        return self.off or silent or self.bank.now() > self.until


async def is_ready(bank: Bank) -> bool:
    """Whether there is anything that could be sent now."""
    return bool(await _ready(bank))


async def send_due(bank: Bank) -> None:
    """Sends what is due to every webhook of the bank; one that is slow holds up none of the
    others."""
    until = bank.now() + TURN_SECONDS
    busy: dict[str, asyncio.Task[None]] = {}
    try:
        while await _begin(bank, busy, until) or busy:
            done, _ = await asyncio.wait(
                busy.values(), timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for name in [name for name, task in busy.items() if task in done]:
                busy.pop(name).result()
    finally:
        await asyncio.gather(*busy.values(), return_exceptions=True)
    if bank.now() >= until and await is_ready(bank):
        bank.signal(SEND_WEBHOOKS)


async def _begin(bank: Bank, busy: dict[str, asyncio.Task[None]], until: float) -> bool:
    """A round for each webhook that has none and something due; whether there was any."""
    hooks = await _ready(bank, [*busy]) if bank.now() < until else []
    busy |= {hook.id: asyncio.create_task(_round(bank, hook)) for hook in hooks}
    return bool(hooks)


async def _ready(bank: Bank, but: list[str] | None = None) -> list[Webhook]:
    """The webhooks that are nobody's now, may be sent to, and have something due."""
    hooks = [hook for hook in bank.webhooks if hook.id not in (but or [])]
    if not hooks:
        return []
    wanted = {"_id": {"$in": [row_id(bank.id, hook.id) for hook in hooks]}, **_free(bank)}
    rows = await bank.db[WEBHOOKS].find(wanted, limit=None)
    free = {row["webhook"] for row in rows if secrets.good(bank, cast("WebhookRow", row))}
    return [hook for hook in hooks if hook.id in free and await _has_due(bank, hook)]


def _free(bank: Bank) -> Doc:
    now = bank.now()
    return {"off": None, "pause": {"$lte": now}, "leased_until": {"$lte": now}}


async def _has_due(bank: Bank, hook: Webhook) -> bool:
    due = {"webhook": hook.id, "open": True, "due": {"$lte": bank.now()}}
    return await bank.db[WEBHOOK_DELIVERIES].find_one(due, {"_id": 1}) is not None


async def _due(bank: Bank, hook: Webhook, limit: int) -> list[Delivery]:
    """Those that have been due longest."""
    horizon = bank.services.cache.of(leases.HORIZONS)[WEBHOOK_DELIVERIES, hook.id, bank.id]
    due: Doc = {"webhook": hook.id, "open": True}
    found = await horizon.oldest(bank.db[WEBHOOK_DELIVERIES], due, bank.now(), limit)
    return await _open(bank, [row["_id"] for row in found])


async def _open(bank: Bank, row_ids: Sequence[str]) -> list[Delivery]:
    """Those of these that still wait."""
    rows = await bank.by_id(WEBHOOK_DELIVERIES, row_ids)
    return cast("list[Delivery]", [row for row in rows.values() if row["open"]])


async def _round(bank: Bank, hook: Webhook) -> None:
    owner = random.token_hex(8)
    row = await _take(bank, hook, owner)
    if row is None:
        return
    this = _Round(bank, hook, row, owner, bank.now() + SENDING_SECONDS)
    try:
        lots = await _lots(this)
        places = asyncio.Semaphore(AT_ONCE)
        sent = (_send_lot(this, lot, places) for lot in lots)
        faults = [one for one in await asyncio.gather(*sent, return_exceptions=True) if one]
        if faults:  # of one customer: the others' were sent
            raise faults[0]
    finally:
        await _give_back(this)


async def _take(bank: Bank, hook: Webhook, owner: str) -> WebhookRow | None:
    """The webhook is `owner`'s for LEASE_SECONDS; None when it is somebody else's."""
    free = {"_id": row_id(bank.id, hook.id), **_free(bank)}
    mine = {"owner": owner, "leased_until": bank.now() + LEASE_SECONDS}
    taken = await bank.db[WEBHOOKS].update_and_get(free, {"$set": mine})
    return cast("WebhookRow | None", taken)


async def _give_back(this: _Round) -> None:
    """Ends the lease, if it is still ours; whoever answered nobody is left alone for a pause."""
    bank, fields = this.bank, cast("Doc", {"owner": None, "leased_until": 0.0})
    if this.delivered:
        fields |= {"silent": 0, "delivered_at": bank.utc()}
    elif this.struck >= STRIKES:
        silent = this.row["silent"] + 1
        fields |= {"silent": silent, "pause": bank.now() + PAUSE.delay(silent)}
    mine = {"_id": this.row["_id"], "owner": this.owner}
    await bank.db[WEBHOOKS].update(mine, {"$set": fields})


async def _lots(this: _Round) -> list[list[Delivery]]:
    """What is due, customer by customer, each in the order in which it happened; without those for
    whom an earlier one waits for its next try. Of a customer as many as were found, though not
    these: the first of all that wait for him."""
    bank = this.bank
    found = {row["_id"]: row for row in await _due(bank, this.hook, LOT)}
    counts = Counter(row["cid"] for row in found.values())
    lots, now = [], bank.now()
    for cid, rows in (await _waiting(this, set(counts))).items():
        until = max(row["due"] for row in rows)
        if until > now:
            await _hold_back(this, cid, until)
        else:
            lots.append([row["_id"] for row in sorted(rows, key=_order)[: counts[cid]]])
    rest = [each for lot in lots for each in lot if each not in found]
    found |= {row["_id"]: row for row in await _open(bank, rest)}
    known = ([found[each] for each in lot if each in found] for lot in lots)
    return sorted((lot for lot in known if lot), key=lambda lot: _order(lot[0]))


async def _waiting(this: _Round, cids: set[str]) -> dict[str, list[Delivery]]:
    """All that waits for these customers, due or not."""
    his = {"cid": {"$in": sorted(cids)}, "webhook": this.hook.id, "open": True}
    fields = {"cid": 1, "due": 1, "at": 1, "noted_at": 1}
    waiting: defaultdict[str, list[Delivery]] = defaultdict(list)
    for row in await this.bank.db[WEBHOOK_DELIVERIES].find(his, limit=None, fields=fields):
        waiting[row["cid"]].append(cast("Delivery", row))
    return waiting


def _order(row: Delivery) -> tuple[Any, float]:
    return row["at"], row["noted_at"]


async def _send_lot(this: _Round, lot: list[Delivery], places: asyncio.Semaphore) -> None:
    """One customer's deliveries, until one is not taken."""
    async with places:
        if this.over:
            return
        bank = this.bank
        keys = secrets.good(bank, this.row)
        customer = await sending.customer_of(bank, lot[0]["cid"])
        for row in lot:
            if this.over:
                return
            outcome = await sending.send(bank, this.hook, keys, row, customer)
            if outcome.reason:
                this.struck += outcome.silent
                await _not_taken(this, row, outcome)
                return
            this.delivered += 1
            await _end(bank, row, DELIVERED, outcome)


async def _end(bank: Bank, row: Delivery, state: str, outcome: Outcome) -> None:
    ended: Doc = {
        "open": False,
        "state": state,
        "attempts": row["attempts"] + 1,
        "reason": outcome.reason,
        "status": outcome.status,
        "ended_at": bank.utc(),
        "due": bank.now() + KEPT[state],
    }
    still = {"_id": row["_id"], "open": True}
    await bank.db[WEBHOOK_DELIVERIES].update(still, {"$set": ended})


async def _not_taken(this: _Round, row: Delivery, outcome: Outcome) -> None:
    """A later try; or none, when its three days are over."""
    bank, age = this.bank, this.bank.now() - row["since"]
    about = {"webhook": this.hook.id, "reason": outcome.reason, "status": outcome.status}
    log.warning("a webhook did not take a delivery", extra={"fields": {"tenant": bank.id, **about}})
    gone = outcome.reason == sending.GONE
    if age >= GIVE_UP and not gone:
        await _end(bank, row, FAILED, outcome)
        await alarms.raise_daily(bank, "webhook.failed", this.hook.id, **about)
        return
    await _try_later(this, row, outcome)
    if gone:
        await _turn_off(this)
    elif age >= LATE:
        await alarms.raise_daily(bank, "webhook.late", this.hook.id, **about)


async def _try_later(this: _Round, row: Delivery, outcome: Outcome) -> None:
    """With all that comes after it."""
    attempts = row["attempts"] + 1
    due = this.bank.now() + RETRY.delay(attempts, at_least=outcome.wait)
    tried: Doc = {"attempts": attempts, "reason": outcome.reason, "status": outcome.status}
    still = {"_id": row["_id"], "open": True}
    await this.bank.db[WEBHOOK_DELIVERIES].update(still, {"$set": {**tried, "due": due}})
    await _hold_back(this, row["cid"], due)


async def _hold_back(this: _Round, cid: str, due: float) -> None:
    """Nothing of this customer's goes to this webhook before `due`."""
    his = {"cid": cid, "webhook": this.hook.id, "open": True, "due": {"$lt": due}}
    await this.bank.db[WEBHOOK_DELIVERIES].update_many(his, {"$set": {"due": due}})


async def _turn_off(this: _Round) -> None:
    """Its receiver says that it is gone for good: a person turns it on again."""
    this.off = True
    bank, now = this.bank, this.bank.utc()
    on = {"_id": this.row["_id"], "off": None}
    if await bank.db[WEBHOOKS].update(on, {"$set": {"off": now}}):
        key = f"{this.hook.id}:{now.isoformat()}"
        await alarms.raise_alarm(bank, "webhook.off", key, webhook=this.hook.id)


async def delete_old(bank: Bank) -> None:
    """Deletes what ended so long ago that nobody asks any more."""
    over = {**ENDED, "due": {"$lte": bank.now()}}
    await bank.db[WEBHOOK_DELIVERIES].delete(over)
