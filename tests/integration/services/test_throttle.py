"""How often somebody may ask (services/security/throttle.py): exactly so many, whoever asks at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.container import Services
from services.errors import TooMany
from services.security import throttle
from services.security.throttle import Rate, Throttle

RATE = Rate("test", 30, 3_600)
OWN = Rate("own", 5, 3_600, shared=False)


async def _taken(rate: Rate, who: str, times: int, *by: Throttle) -> int:
    """How many of `times` tries got one, all at once, by these processes in turn."""
    tries = [by[number % len(by)].take(rate, who) for number in range(times)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, TooMany)]
    assert len(refused) + answers.count(None) == times
    return answers.count(None)


async def test_of_all_who_ask_at_once_in_two_processes_exactly_so_many_get_one(
    services: Services, second: Services
) -> None:
    assert await _taken(RATE, "li", 200, services.throttle, second.throttle) == 30
    assert await _taken(RATE, "li", 50, second.throttle) == 0
    assert await _taken(RATE, "wang", 10, services.throttle) == 10


async def test_without_the_script_more_get_one(services: Services, second: Services) -> None:
    """The guard off: read, look, write, as two processes would do it without the script."""

    async def unguarded(self: Any, takes: list[Any]) -> list[float]:
        waits = []
        for one in takes:
            used = int(await services.redis.get(one.key) or 0)
            await asyncio.sleep(0)
            waits.append(1.0 if used >= one.rate.most else 0.0)
            if used < one.rate.most:
                await services.redis.set(one.key, used + 1)
        return waits

    pair = [Throttle(each.redis, each.clock, each.metrics) for each in (services, second)]
    for each in pair:
        each._takes._flush = unguarded.__get__(each)
    assert await _taken(RATE, "li", 200, *pair) > 30


async def test_whoever_is_refused_is_told_when_to_come_again(services: Services) -> None:
    rate = Rate("slow", 2, 600)
    await services.throttle.take(rate, "li")
    await services.throttle.take(rate, "li")
    with pytest.raises(TooMany) as refused:
        await services.throttle.take(rate, "li")
    assert refused.value.code == "too_many_requests"
    assert 295 <= refused.value.retry_after <= 300


async def test_what_is_given_back_can_be_taken_again(services: Services) -> None:
    assert await _taken(RATE, "li", 40, services.throttle) == 30
    await services.throttle.give_back(RATE, "li")
    assert await _taken(RATE, "li", 40, services.throttle) == 1
    for _ in range(100):
        await services.throttle.give_back(RATE, "li")
    assert await _taken(RATE, "li", 40, services.throttle) == 30


async def test_it_grows_back(services: Services) -> None:
    rate = Rate("quick", 2, 0.4)
    assert await _taken(rate, "li", 5, services.throttle) == 2
    await asyncio.sleep(0.5)
    assert await _taken(rate, "li", 5, services.throttle) == 2


async def test_redis_forgets_who_has_not_asked_for_a_while(services: Services) -> None:
    await services.throttle.take(Rate("test", 30, 60), "13800138000")
    keys = [key async for key in services.redis.scan_iter("yq:rate:*")]
    assert len(keys) == 1
    assert b"138" not in keys[0]
    assert 0 < await services.redis.pttl(keys[0]) <= 2_000


async def test_without_redis_a_process_counts_for_itself(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from redis.exceptions import ConnectionError as Away

    async def away(**_: Any) -> Any:
        raise Away("gone")

    monkeypatch.setattr(services.throttle, "_script", away)
    assert await _taken(RATE, "li", 100, services.throttle) == 30
    await services.throttle.give_back(RATE, "li")
    assert await _taken(RATE, "li", 10, services.throttle) == 1


async def test_what_is_only_read_costs_redis_nothing(services: Services) -> None:
    assert await _taken(OWN, "li", 20, services.throttle) == 5
    assert [key async for key in services.redis.scan_iter("yq:rate:*")] == []


async def test_a_process_remembers_only_so_many(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_LOCAL", 100)
    small = Throttle(services.redis, services.clock, services.metrics)
    for number in range(1_000):
        await small.take(OWN, f"address {number}")
    assert len(small._local) == 100
