"""A sync whose worker is killed twice: nothing is missing, nothing is there twice, and the counts are the sandbox's truth."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from operations.sync import run
from services.container import Services
from tests.conftest import Sandbox, Stack
from tests.integration.campaigns.test_syncing import counts, ours, truth
from tests.support.banks import open_bank
from tests.support.waiting import until

CUSTOMERS = 1_200
_STARTER = ThreadPoolExecutor(1)
"""One thread that stays: processes end with the thread that started them (deploy/processes.py)."""


async def test_a_sync_that_is_killed_twice_brings_everything_in_once(
    demo: Services, sandbox: Sandbox, stack: Stack
) -> None:
    await sandbox.control("POST", "people/bulk", {"count": CUSTOMERS, "seed": 11, "tagged": True})
    slow = {"target": "api", "kind": "latency", "path": "/cgi-bin/externalcontact/batch/get_by_user", "seconds": 0.1}
    await sandbox.control("POST", "faults", slow)
    await run.start(await open_bank(demo, "demo"), "cli")

    async def done() -> int:
        row = await run.latest(await open_bank(demo, "demo"))
        return 0 if row is None else int(row["counts"].get("customers", {}).get("done", 0))

    async def reached(count: int) -> None:
        async def far_enough() -> bool:
            return await done() >= count

        await until(far_enough, 120.0)

    for mark in (CUSTOMERS // 4, CUSTOMERS // 2):
        await reached(mark)
        assert await done() < CUSTOMERS
        stack.kill9("worker")
        await asyncio.get_running_loop().run_in_executor(_STARTER, stack.start, "worker")

    async def over() -> bool:
        row = await run.latest(await open_bank(demo, "demo"))
        return row is not None and not row["open"]

    await until(over, 180.0)
    row = await run.latest(await open_bank(demo, "demo"))
    assert row is not None
    assert (row["state"], row["counts"]["customers"]["done"]) == ("done", CUSTOMERS)
    assert await ours(demo) == await truth(sandbox)
    assert await counts(demo) == {"customers": CUSTOMERS, "identities": 2 * CUSTOMERS, "relationships": CUSTOMERS}
    assert await demo.store.tenant("demo")["sync_errors"].count() == 0
