"""Webhooks have a worker of their own; killed while a receiver thinks, it sends the same once more, in its order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from config.settings import Settings
from customers import timeline
from customers.webhooks.rows import WEBHOOK_DELIVERIES, WEBHOOKS
from deploy.parts import Parts
from services.container import Services
from tests.integration.customers.test_webhooks import Receiver, receiver, with_webhooks
from tests.support.waiting import until

__all__ = ["receiver"]


async def test_a_killed_worker_sends_the_same_once_more_before_what_comes_after(
    demo: Services, settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    bank = await with_webhooks(demo, receiver, core=["customer.added"])
    killed = asyncio.Event()

    async def answer() -> int:
        await killed.wait()
        return 200

    receiver.answers = lambda *_: answer()

    async def tell(key: str) -> None:
        await timeline.record(bank, "demo:a", "customer.added", key, userid="rm.chen", state=key)

    async def came() -> bool:
        return bool(receiver.keys())

    async def delivered() -> bool:
        done: dict[str, Any] = {"state": "delivered"}
        return await bank.db[WEBHOOK_DELIVERIES].count(done) == 2

    with Parts(settings, tmp_path) as parts:
        parts.start("webhooks")
        await tell("first")
        await until(came, 30)
        parts.kill9("webhooks")
        killed.set()
        await tell("second")
        assert await bank.db[WEBHOOK_DELIVERIES].count({"state": "waiting", "attempts": 0}) == 2
        # as if its lease had come to its end by itself
        await bank.db[WEBHOOKS].update({"_id": "demo:core"}, {"$set": {"leased_until": 0.0}})
        parts.start("webhooks")
        await tell("second")
        await until(delivered, 30)
    assert receiver.keys() == ["first", "first", "second"]
    first, again, _ = (one["id"] for one in receiver.came["core"])
    assert first == again
