"""The audience process, and the store under it, are killed while customers change: in the end every profile is what its
sources say, and the columnar mirror has it."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from customers import relationships
from customers.banks.bank import Bank
from customers.fields import values
from customers.fields.values import Update
from customers.identity import resolution
from customers.identity.facts import Facts
from deploy.parts import Parts
from deploy.stack import Stores
from operations import audience, comparing, profiling
from services.container import Services
from services.errors import Unavailable
from tests.integration.operations.test_audience import bank as bank
from tests.support.waiting import until

PEOPLE, KILLS = 40, 3
_STARTER = ThreadPoolExecutor(1)
"""One thread that stays: processes end with the thread that started them (deploy/processes.py)."""


@pytest.mark.kills_store
async def test_whatever_is_killed_every_profile_ends_as_its_sources_say(
    bank: Bank, services: Services, stores: Stores, tmp_path: Path
) -> None:
    dice, over = random.Random(23), asyncio.Event()
    written = 0

    async def change(number: int) -> None:
        cid = await resolution.identify(bank, Facts(external_userid=f"wm{number}"), source="callback", proof="e")
        told = {
            "holdings": dice.randrange(9),
            "balance_band": dice.choice("ABCD"),
            "id_tail": f"{dice.randrange(10_000)}",
        }
        await values.write_many(bank, [Update(cid, told, float(written), "core", f"e{written}")])
        userid, friends = dice.choice(("rm.chen", "rm.li")), dice.random() < 0.7
        await relationships.changed(bank, userid, cid, at=float(written), active=friends)
        if dice.random() < 0.1:  # he turns out to be somebody who was there before
            both = Facts(external_userid=f"wm{number}", unionid=f"u{number % 7}")
            await resolution.identify(bank, both, source="details", proof="call")

    async def write() -> None:
        nonlocal written
        while not over.is_set():
            try:
                await change(dice.randrange(PEOPLE))
                written += 1
            except Unavailable:  # the store is away, and nobody knows what it took
                await asyncio.sleep(0.05)

    loop = asyncio.get_running_loop()
    with Parts(services.settings, tmp_path / "logs") as parts:
        await loop.run_in_executor(_STARTER, parts.start, "audience")
        writing = asyncio.create_task(write())
        try:
            for kill in range(KILLS):
                await until(lambda kill=kill: _leads_since(services, kill + 1), 60.0)
                mark = written + dice.randrange(4, 20)

                async def far_enough(mark: int = mark) -> bool:
                    return written >= mark

                await until(far_enough, 60.0)
                await loop.run_in_executor(_STARTER, parts.kill9, "audience")
                if kill % 2:
                    await loop.run_in_executor(_STARTER, stores.kill9, "mongodb")
                    await loop.run_in_executor(_STARTER, stores.start, "mongodb")
                await loop.run_in_executor(_STARTER, parts.start, "audience")
        finally:
            over.set()
            await writing

        async def settled() -> bool:
            return not [cid async for _, found in profiling.check(bank) for cid in found]

        await until(settled, 60.0)
        await until(lambda: _is_mirrored(bank), 60.0)
    merged = await bank.db["customers"].count({"merged_into": {"$ne": None}})
    customers = await bank.db["customers"].count({"merged_into": None})
    assert await bank.db["profiles"].count() == customers
    assert merged > 0
    assert customers > 7


async def _is_mirrored(bank: Bank) -> bool:
    try:
        return not [told async for step in comparing.compare(bank) for told in step.told]
    except Unavailable:  # there is none yet
        return False


async def _leads_since(services: Services, fence: int) -> bool:
    """Whether somebody leads for the time of that number, or a later one."""
    try:
        row = await services.store.system(audience.AUDIENCE).find_one({"_id": audience.LEADER})
    except Unavailable:
        return False
    return row is not None and row["fence"] >= fence
