"""Files have a worker of their own: what else there is to do does not wait behind them."""

from __future__ import annotations

from deploy.parts import Parts
from rewards.pools import importing
from rewards.vouchers.rows import VOUCHERS
from services.container import Services
from tests.integration.rewards import pool_world, world
from tests.support.banks import open_bank
from tests.support.waiting import until


async def test_a_file_keeps_no_other_work_waiting(demo: Services, worker: Parts) -> None:
    """Each of the worker's two children is sent a file first, and neither begins one."""
    bank = await open_bank(demo, "demo")
    await pool_world.make(bank)
    uploads = [(await pool_world.send(bank, pool_world.file(1_000, 1_000 * n)))[0] for n in range(3)]
    await world.put(demo, 10)
    assert await world.answer(demo, world.request("ann")) == "granted"

    async def told() -> bool:
        return bool(await bank.db[VOUCHERS].count({"reward": world.REWARD}))

    await until(told, 30.0)
    states = [(await importing.find(bank, one["upload"]))["state"] for one in uploads]
    assert states == [importing.WAITING] * 3
    worker.start("files")

    async def imported() -> bool:
        return (await pool_world.counts(bank))["imported"] == 3_000

    await until(imported, 60.0)
    assert await pool_world.counts(bank) == pool_world.counted(3_000, 3_000)
