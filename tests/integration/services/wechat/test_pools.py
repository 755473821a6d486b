"""Nobody waits for another bank's, or another platform's, slow answers; who finds no place is told soon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from services.container import Services
from services.limiter import Lane, lane
from services.wechat.core import pools as pools_module
from services.wechat.core.errors import NotSent
from services.wechat.core.pools import EACH, MOST, QUEUE, Pool, Pools
from tests.conftest import Sandbox
from tests.support.banks import open_bank


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    made = Pools()
    yield made
    await made.close()


class Held:
    """Calls that hold a place until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.began: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, pool: Pool, count: int, name: Lane = "normal", label: str = "") -> None:
        async def hold() -> None:
            with lane(name):
                async with pool.place("/x"):
                    self.began.append(label or name)
                    await self.go.wait()

        self.tasks += [asyncio.create_task(hold()) for _ in range(count)]
        await asyncio.sleep(0.01)

    async def end(self) -> list[BaseException]:
        self.go.set()
        done = await asyncio.gather(*self.tasks, return_exceptions=True)
        return [each for each in done if isinstance(each, BaseException)]


@pytest.mark.parametrize(("tenant", "platform"), [("a", "wecom"), ("b", "wechat"), ("b", "wecom")])
async def test_a_full_pool_is_no_others(pools: Pools, tenant: str, platform: str) -> None:
    held = Held()
    await held.start(pools.of("a", "wechat"), 40)
    async with asyncio.timeout(0.2):
        async with pools.of(tenant, platform).place("/x"):
            pass
    refused = await held.end()
    assert refused == []


async def test_who_finds_no_place_is_told_soon_and_was_not_sent(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_module, "WAIT_SECONDS", 0.1)
    pool, held = pools.of("a", "wechat"), Held()
    await held.start(pool, EACH)
    began = time.monotonic()
    refused = await asyncio.gather(*(_try(pool) for _ in range(QUEUE + 10)))
    assert time.monotonic() - began < 2
    assert len([why for why in refused if why and "too many" in why]) >= 10
    assert all(refused)
    await held.end()
    assert await _try(pool) == ""


async def _try(pool: Pool) -> str:
    try:
        async with pool.place("/x"):
            return ""
    except NotSent as error:
        return error.errmsg


async def test_mass_work_leaves_places_to_those_before_it(pools: Pools) -> None:
    pool, held = pools.of("a", "wecom"), Held()
    await held.start(pool, EACH, "bulk")
    assert len(held.began) == EACH // 2
    await held.start(pool, EACH, "normal")
    assert len(held.began) == EACH - 2
    await held.start(pool, EACH, "welcome")
    assert len(held.began) == EACH
    await held.end()
    assert held.began[EACH : EACH + EACH - 2] == ["welcome"] * (EACH - 2)  # and before all others


async def test_all_pools_together_are_bounded_and_each_has_some_in_any_case(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools_module, "TOTAL", 20)
    held = Held()
    for number in range(3):
        await held.start(pools.of(f"bank{number}", "wecom"), 14, label=str(number))
    assert [held.began.count(label) for label in "012"] == [14, 6, 2]
    held_alone = Held()
    await held_alone.start(pools.of("late", "wecom"), 1, label="late")
    assert held_alone.began == ["late"]
    await held_alone.end()
    await held.end()
    assert len(held.began) == 42
    assert pools.taken == 0


async def test_a_cancelled_waiter_takes_no_place(pools: Pools) -> None:
    pool, held = pools.of("a", "wecom"), Held()
    await held.start(pool, EACH)
    waiting = Held()
    await waiting.start(pool, 5)
    for task in waiting.tasks:
        task.cancel()
    await waiting.end()
    await held.end()
    assert pools.taken == 0
    full = Held()
    await full.start(pool, EACH, "welcome")
    assert len(full.began) == EACH
    await full.end()


async def test_who_is_cancelled_as_his_place_comes_gives_it_back(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, held, waiting, look = pools.of("a", "wecom"), Held(), Held(), Pool.look
    await held.start(pool, MOST[1])
    await waiting.start(pool, 1)

    def cancelled_meanwhile(pool: Pool) -> None:
        look(pool)
        waiting.tasks[0].cancel()

    monkeypatch.setattr(Pool, "look", cancelled_meanwhile)
    await held.end()
    await waiting.end()
    assert waiting.began == []
    assert pools.taken == 0


async def test_without_pools_of_its_own_a_slow_platform_holds_up_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the pools are for: over one pool for all, a sign-in at WeCom finds no place."""
    monkeypatch.setattr(pools_module, "WAIT_SECONDS", 0.1)
    shared = Pools().of("every bank", "every platform")
    held = Held()
    await held.start(shared, 40)
    assert await _try(shared)
    await held.end()
    await shared.close()


async def test_a_slow_wechat_keeps_nobody_from_signing_in_through_wecom(demo: Services, sandbox: Sandbox) -> None:
    bank = await open_bank(demo, "demo")
    fault = {"target": "api", "kind": "latency", "seconds": 3, "path": "sns/jscode2session"}
    await bank.wecom.token()
    await sandbox.control("POST", "faults", fault)
    program = bank.miniprogram(next(iter(bank.miniprograms)))
    logins = [asyncio.create_task(program.code_to_session(f"code-{number}")) for number in range(40)]
    await asyncio.sleep(0.3)
    async with asyncio.timeout(2.5):
        answer = await bank.wecom.members.get_user_info(await sandbox.oauth_code("rm.chen"))
    assert answer["userid"] == "rm.chen"
    ended = await asyncio.gather(*logins, return_exceptions=True)
    assert any(isinstance(each, NotSent) for each in ended)  # told soon, instead of waiting in line
