"""What was acknowledged is stored, and one event is one row however often it is told (promise P3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from deploy.stack import Stores
from services.container import Services
from services.errors import Forbidden, UnknownOutcome
from services.queue import inbox
from services.queue.inbox import DUPLICATE, STORED, Arrival
from tests.support.clock import StillClock


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def stores_again(stores: Stores) -> Iterator[Stores]:
    yield stores
    stores.start_all()


def _event(n: int, tenant: str = "demo") -> Arrival:
    return Arrival(tenant, "wecom", f"<xml><n>{n}</n></xml>".encode(), nonce=f"nonce{n}")


async def _messages(services: Services, tenant: str = "demo") -> list[bytes]:
    rows = await services.store.tenant(tenant)["inbox"].find({})
    return sorted(services.vault.open(tenant, "inbox", "body", row["_id"], row["body"]) for row in rows)


async def test_a_message_is_stored_sealed_and_due_at_once(services: Services, clock: StillClock) -> None:
    assert await inbox.receive(services, _event(1)) == STORED
    (row,) = await services.store.tenant("demo")["inbox"].find({})
    assert (row["_id"], row["source"], row["open"], row["due"], row["owner"], row["attempts"]) == (
        _event(1).id, "wecom", True, clock.now, None, 0,
    )  # fmt: skip
    assert b"<xml>" not in row["body"]
    assert await _messages(services) == [_event(1).message]


async def test_one_message_told_three_times_is_one_row(services: Services, second: Services) -> None:
    told = [await inbox.receive(who, _event(1)) for who in (services, services, second)]
    assert told == [STORED, DUPLICATE, DUPLICATE]
    assert await _messages(services) == [_event(1).message]


async def test_one_message_told_with_new_nonces_is_one_row(services: Services) -> None:
    told = [await inbox.receive(services, Arrival("demo", "wecom", b"<xml/>", f"n{n}")) for n in range(3)]
    assert told == [STORED, DUPLICATE, DUPLICATE]
    assert await services.store.tenant("demo")["inbox"].count() == 1


async def test_one_message_told_twenty_times_at_once_is_stored_once(services: Services, second: Services) -> None:
    told = await asyncio.gather(*(inbox.receive(who, _event(1)) for who in (services, second) for _ in range(10)))
    assert sorted(told) == [DUPLICATE] * 19 + [STORED]
    assert await services.store.tenant("demo")["inbox"].count() == 1


async def test_fifty_different_events_of_one_second_are_fifty(services: Services, second: Services) -> None:
    """The clock stands still; half of them come to another process."""
    told = await asyncio.gather(*(inbox.receive((services, second)[n % 2], _event(n)) for n in range(50)))
    assert told == [STORED] * 50
    assert await _messages(services) == sorted(_event(n).message for n in range(50))


async def test_the_same_message_of_two_banks_or_two_sources_is_two(services: Services) -> None:
    arrivals = [
        Arrival("demo", "wecom", b"<xml/>", "n"),
        Arrival("other", "wecom", b"<xml/>", "n"),
        Arrival("demo", "wechat:wx1", b"<xml/>"),
    ]
    assert [await inbox.receive(services, arrival) for arrival in arrivals] == [STORED] * 3
    assert await services.store.tenant("demo")["inbox"].count() == 2
    assert await services.store.tenant("other")["inbox"].count() == 1


async def test_a_nonce_with_another_message_is_refused_and_nothing_is_stored(services: Services) -> None:
    await inbox.receive(services, Arrival("demo", "wecom", b"<genuine/>", "n"))
    with pytest.raises(Forbidden) as refused:
        await inbox.receive(services, Arrival("demo", "wecom", b"<forged/>", "n"))
    assert (refused.value.code, refused.value.status) == ("callback_replayed", 403)
    assert await _messages(services) == [b"<genuine/>"]
    assert await inbox.receive(services, Arrival("demo", "wecom", b"<genuine/>", "n")) == DUPLICATE


async def test_a_nonce_that_another_process_saw_is_refused(services: Services, second: Services) -> None:
    await inbox.receive(services, Arrival("demo", "wecom", b"<genuine/>", "n"))
    with pytest.raises(Forbidden):
        await inbox.receive(second, Arrival("demo", "wecom", b"<forged/>", "n"))
    assert await _messages(services) == [b"<genuine/>"]
    missed = second.metrics.registry.get_sample_value("yinqiao_redis_missed_total", {"what": "nonces"})
    assert missed is None


async def test_of_two_messages_with_one_nonce_in_one_group_one_is_refused(services: Services) -> None:
    messages = [b"<one/>", b"<two/>"]
    told = await asyncio.gather(
        *(inbox.receive(services, Arrival("demo", "wecom", message, "n")) for message in messages),
        inbox.receive(services, _event(1)),
        return_exceptions=True,
    )
    assert [answer if isinstance(answer, str) else type(answer) for answer in told] == [STORED, Forbidden, STORED]
    assert await _messages(services) == [b"<one/>", _event(1).message]


async def test_a_nonce_may_come_again_when_its_time_is_over(services: Services, clock: StillClock) -> None:
    """Numbers of ten digits do repeat, and the signature covers the time: an old one is refused for its time."""
    await inbox.receive(services, Arrival("demo", "wecom", b"<one/>", "n"))
    for key in await services.redis.keys("yq:nonce:*"):
        assert 0 < await services.redis.ttl(key) <= services.settings.callback_window
    clock.now += services.settings.callback_window
    await services.redis.flushdb()
    assert await inbox.receive(services, Arrival("demo", "wecom", b"<two/>", "n")) == STORED


async def test_messages_without_a_nonce_are_told_apart_by_what_they_say(services: Services) -> None:
    told = [await inbox.receive(services, Arrival("demo", "rewards", message)) for message in (b"1", b"2", b"1")]
    assert told == [STORED, STORED, DUPLICATE]
    assert await services.redis.keys("yq:nonce:*") == []


@pytest.mark.kills_store
async def test_events_are_stored_and_nonces_watched_while_redis_is_away(
    services: Services, stores_again: Stores
) -> None:
    stores_again.kill9("redis")
    assert await inbox.receive(services, _event(1)) == STORED
    assert await inbox.receive(services, _event(1)) == DUPLICATE
    with pytest.raises(Forbidden):
        await inbox.receive(services, Arrival("demo", "wecom", b"<forged/>", "nonce1"))
    assert await _messages(services) == [_event(1).message]
    assert (services.metrics.registry.get_sample_value("yinqiao_redis_missed_total", {"what": "nonces"}) or 0) >= 1


@pytest.mark.kills_store
async def test_an_event_that_could_not_be_stored_is_not_acknowledged_and_is_taken_when_told_again(
    services: Services, stores_again: Stores
) -> None:
    await inbox.receive(services, _event(0))
    stores_again.kill9("mongodb")
    told = await asyncio.gather(*(inbox.receive(services, _event(n)) for n in range(1, 6)), return_exceptions=True)
    stores_again.start("mongodb")
    assert [type(answer) for answer in told] == [UnknownOutcome] * 5
    assert [await inbox.receive(services, _event(n)) for n in range(6)] == [DUPLICATE, *[STORED] * 5]
    assert len(await _messages(services)) == 6
