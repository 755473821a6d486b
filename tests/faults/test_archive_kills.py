"""The archive is pulled by real workers that are killed on the way: every message is there once, in order."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from services.container import Services
from tests.conftest import Sandbox, Stack
from tests.integration.customers import archived
from tests.support.waiting import until

MESSAGES = 1_200
_STARTER = ThreadPoolExecutor(1)
"""One thread that stays: processes end with the thread that started them (deploy/processes.py)."""


async def test_workers_that_are_killed_while_they_pull_lose_and_double_no_message(
    demo: Services, sandbox: Sandbox, stack: Stack
) -> None:
    await archived.give_key(sandbox, 1)
    person = await archived.friend(sandbox)
    for number in range(MESSAGES):
        await archived.say(sandbox, person, str(number))
    rows = demo.store.tenant("demo")["archive"]
    await archived.apply(demo, sandbox)

    async def reached(count: int) -> None:
        async def far_enough() -> bool:
            return await rows.count() >= count

        await until(far_enough, 120.0)

    for mark in (1, MESSAGES // 2):
        await reached(mark)
        stack.kill9("worker")
        pulls = demo.store.tenant("demo")["archive_pulls"]
        await pulls.update({}, {"$set": {"due": demo.clock()}})  # not to wait for the dead worker's lease
        await asyncio.get_running_loop().run_in_executor(_STARTER, stack.start, "worker")
    await reached(MESSAGES)
    assert await archived.texts(demo) == [str(number) for number in range(MESSAGES)]
