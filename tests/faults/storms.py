"""A storm for tests that kill the server: many at once who do not give up, and what they were told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from customers.identity import resolution
from services.container import Services
from services.errors import Unavailable
from tests.conftest import Stack
from tests.integration.rewards.world import BANK
from tests.support.banks import open_bank

STARTER = ThreadPoolExecutor(1)
"""One thread that stays: processes end with the thread that started them (deploy/processes.py)."""
AT_ONCE, EVERY, FIRST = 64, 2.0, 0.4
"""So many clients; a kill every so many seconds, and the first after so many."""
AGAIN_SECONDS = 0.2
log = logging.getLogger(__name__)
Item = TypeVar("Item")


@dataclass
class Wave:
    """Claims on one reward, and what their customers were told."""

    reward: str
    granted: dict[str, str] = field(default_factory=dict)
    """customer → the redemption of the 200 that he read"""
    codes: dict[str, str] = field(default_factory=dict)
    """customer → its code"""
    refused: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)
    """who was refused"""

    @property
    def answered(self) -> int:
        return len(self.granted) + self.refused.total()


async def customers(services: Services, count: int) -> list[str]:
    """So many customers of the demo bank; their ids."""
    bank, found = await open_bank(services, "demo"), list[str]()
    facts = [resolution.Facts(unionid=f"u{n}", openids={BANK: f"o{n}"}) for n in range(count)]
    for start in range(0, count, 500):
        found += await asyncio.gather(*(resolution.identify(bank, one) for one in facts[start : start + 500]))
    return found


async def patiently(act: Callable[[], Awaitable[Any]]) -> Any:
    """`act`, again and again while a store is away."""
    while True:
        try:
            return await act()
        except Unavailable:
            await asyncio.sleep(AGAIN_SECONDS)


async def claim(services: Services, http: httpx.AsyncClient, wave: Wave, cid: str) -> None:
    """A customer who does not give up: the same key until the answer is one."""
    session = {"tenant": "demo", "cid": cid, "appid": BANK}
    headers = {"Idempotency-Key": f"key of {cid}"}
    while True:
        if "Authorization" not in headers:
            token = await patiently(lambda: services.sessions.open("customer", session))
            headers["Authorization"] = f"Bearer {token}"
        try:
            answer = await http.post(f"/mp/{BANK}/rewards/{wave.reward}/claim", headers=headers)
        except httpx.HTTPError as error:
            wave.troubles[type(error).__name__] += 1
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        if answer.status_code == 200:
            redemption = answer.json()["redemption"]
            wave.granted[cid], wave.codes[cid] = redemption["id"], redemption["code"]
            return
        code = answer.json()["error"]["code"]
        if answer.status_code == 409:
            wave.refused[code] += 1
            wave.others.append(cid)
            return
        assert answer.status_code in (401, 404, 503), answer.text  # 404: the server has not heard of the reward yet
        wave.troubles[code] += 1
        if answer.status_code == 401:  # Redis came back without this session
            del headers["Authorization"]
        await asyncio.sleep(AGAIN_SECONDS)


async def each(items: Iterable[Item], act: Callable[[Item], Awaitable[None]], at_once: int = AT_ONCE) -> None:
    """`act` for each item, by so many clients at once."""
    queue = iter(items)

    async def client() -> None:
        for item in queue:
            await act(item)

    await asyncio.gather(*(client() for _ in range(at_once)))


async def claims(
    services: Services, http: httpx.AsyncClient, wave: Wave, cids: Iterable[str], at_once: int = AT_ONCE
) -> None:
    await each(cids, lambda cid: claim(services, http, wave, cid), at_once)


def client(url: str) -> httpx.AsyncClient:
    """For all clients of a storm."""
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=20.0)


async def while_killed(stack: Stack, load: Coroutine[Any, Any, None], most: int = 10_000) -> None:
    """The load, with the web process killed every two seconds until it is over or was killed so often; once at
    least."""
    loop, begin, kills = asyncio.get_running_loop(), time.monotonic(), 0
    working = asyncio.ensure_future(load)
    try:
        while kills < most and not (await asyncio.wait([working], timeout=EVERY if kills else FIRST))[0]:
            await loop.run_in_executor(STARTER, stack.kill9, "server")
            await loop.run_in_executor(STARTER, stack.start, "server")
            kills += 1
        await working
    finally:
        working.cancel()
    log.info("killed %d times in %.0f s", kills, time.monotonic() - begin)
    assert kills, "the load was over before the first kill"
