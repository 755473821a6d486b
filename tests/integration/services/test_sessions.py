from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from config.settings import Settings
from deploy.stack import Stores
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services
from services.errors import Unavailable
from services.security.sessions import LOCAL_SECONDS, Sessions
from tests.support.clock import StillClock
from tests.support.waiting import until

SESSION = {"tenant": "demo", "cid": "demo:1", "appid": "wx1"}


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def redis_again(stores: Stores) -> Iterator[Stores]:
    yield stores
    stores.start("redis")


async def _dump(services: Services) -> dict[bytes, Any]:
    return {key: await services.redis.get(key) for key in await services.redis.keys("yq:session:*")}


async def test_a_session_is_read_by_its_token_in_every_process(services: Services, settings: Settings) -> None:
    token = await services.sessions.open("customer", SESSION)
    other = await open_services(settings, COLLECTIONS, QUEUES)
    assert await services.sessions.read("customer", token) == SESSION
    assert await other.sessions.read("customer", token) == SESSION
    await other.close()


async def test_a_token_of_one_kind_opens_no_other(services: Services) -> None:
    kinds = ("customer", "staff", "clerk")
    tokens = {kind: await services.sessions.open(kind, {"kind": kind}) for kind in kinds}
    for kind in kinds:
        for other, token in tokens.items():
            expected = {"kind": kind} if kind == other else None
            assert await services.sessions.read(kind, token) == expected


@pytest.mark.parametrize("token", ["", "x", "*", "../clerk", "a" * 10_000, "令牌"])
async def test_an_unknown_token_is_no_session(services: Services, token: str) -> None:
    await services.sessions.open("customer", SESSION)
    assert await services.sessions.read("customer", token) is None


async def test_tokens_are_long_and_never_the_same(services: Services) -> None:
    tokens = [await services.sessions.open("customer", SESSION) for _ in range(50)]
    assert len(set(tokens)) == 50
    assert all(len(token) >= 43 for token in tokens)


async def test_a_dump_of_redis_signs_nobody_in(services: Services) -> None:
    token = await services.sessions.open("customer", SESSION)
    dump = await _dump(services)
    assert len(dump) == 1
    assert token.encode() not in b"".join([*dump.keys(), *dump.values()])
    for key in dump:
        assert await services.sessions.read("customer", key.decode().rsplit(":", 1)[1]) is None


async def test_a_session_ends_after_its_hours(services: Services, settings: Settings) -> None:
    assert services.sessions.seconds == settings.session_hours * 3600
    await services.sessions.open("customer", SESSION)
    (key,) = await services.redis.keys("yq:session:*")
    assert 0 < await services.redis.ttl(key) <= services.sessions.seconds
    brief = Sessions(services.redis, services.clock, services.vault, hours=1)
    token = await brief.open("customer", SESSION)
    for key in await services.redis.keys("yq:session:*"):
        await services.redis.pexpire(key, 1)

    async def gone() -> bool:
        return not await services.redis.keys("yq:session:*")

    await until(gone)
    assert await brief.read("customer", token) is None


async def test_an_ended_session_is_over_here_at_once_and_elsewhere_within_two_seconds(
    services: Services, settings: Settings, clock: StillClock
) -> None:
    other = await open_services(settings, COLLECTIONS, QUEUES, clock=clock)
    token = await services.sessions.open("customer", SESSION)
    kept = await services.sessions.open("customer", SESSION)
    assert await other.sessions.read("customer", token) == SESSION
    await services.sessions.read("customer", token)
    await services.sessions.end("customer", token)
    assert await services.sessions.read("customer", token) is None
    clock.now += LOCAL_SECONDS
    assert await other.sessions.read("customer", token) is None
    assert await other.sessions.read("customer", kept) == SESSION
    assert await _dump(services) == {key: value for key, value in (await _dump(other)).items() if value}
    assert LOCAL_SECONDS <= 2.0
    await other.close()


async def test_ending_a_session_of_another_kind_ends_nothing(services: Services) -> None:
    token = await services.sessions.open("customer", SESSION)
    await services.sessions.end("clerk", token)
    assert await services.sessions.read("customer", token) == SESSION


@pytest.mark.kills_store
async def test_without_redis_nobody_signs_in_and_nobody_is_thought_signed_out(
    services: Services, redis_again: Stores, clock: StillClock
) -> None:
    known = await services.sessions.open("customer", SESSION)
    fresh = await services.sessions.open("customer", SESSION)
    assert await services.sessions.read("customer", known) == SESSION
    redis_again.kill9("redis")
    asked = (
        services.sessions.open("customer", SESSION),
        services.sessions.read("customer", fresh),
        services.sessions.end("customer", fresh),
        services.sessions.count("lin", seconds=60),
    )
    for ask in asked:
        with pytest.raises(Unavailable) as refused:
            await ask
        assert (refused.value.code, refused.value.status) == ("sessions_unavailable", 503)
    assert await services.sessions.read("customer", known) == SESSION
    clock.now += LOCAL_SECONDS
    with pytest.raises(Unavailable):
        await services.sessions.read("customer", known)
    redis_again.start("redis")
    assert await services.sessions.read("customer", known) == SESSION


async def test_a_redis_that_was_emptied_asks_people_to_sign_in_again(services: Services, clock: StillClock) -> None:
    token = await services.sessions.open("customer", SESSION)
    await services.sessions.read("customer", token)
    await services.redis.flushdb()
    clock.now += LOCAL_SECONDS
    assert await services.sessions.read("customer", token) is None
    assert await services.sessions.read("customer", await services.sessions.open("customer", SESSION)) == SESSION


async def test_what_is_counted_is_counted_for_that_name_alone(services: Services) -> None:
    assert [await services.sessions.count("search|demo|lin", seconds=900) for _ in range(4)] == [1, 2, 3, 4]
    assert await services.sessions.count("search|demo|zhao", seconds=900) == 1
    keys = await services.redis.keys("yq:counted:*")
    assert len(keys) == 2
    assert not any(b"lin" in key or b"zhao" in key for key in keys)


async def test_twenty_at_once_are_counted_one_by_one(services: Services) -> None:
    counted = await asyncio.gather(*(services.sessions.count("lin", seconds=900) for _ in range(20)))
    assert sorted(counted) == list(range(1, 21))


async def test_a_count_always_has_an_end(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the process dies, or Redis goes away, right after one was counted."""

    async def never(*_: object, **__: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(services.redis, "expire", never)
    for _ in range(2):
        await asyncio.gather(services.sessions.count("lin", seconds=900), return_exceptions=True)
    for key in await services.redis.keys("yq:counted:*"):
        assert 0 < await services.redis.ttl(key) <= 900


async def test_the_time_of_a_count_begins_with_the_first(services: Services) -> None:
    await services.sessions.count("lin", seconds=900)
    (key,) = await services.redis.keys("yq:counted:*")
    await services.redis.expire(key, 10)
    await services.sessions.count("lin", seconds=900)
    assert 0 < await services.redis.ttl(key) <= 10


async def test_all_sessions_of_one_subject_end_here_at_once_and_elsewhere_within_two_seconds(
    services: Services, settings: Settings, clock: StillClock
) -> None:
    other = await open_services(settings, COLLECTIONS, QUEUES, clock=clock)
    tokens = [await services.sessions.open("staff", {"userid": "rm.chen"}, subject="demo:rm.chen") for _ in range(3)]
    colleague = await services.sessions.open("staff", {"userid": "rm.li"}, subject="demo:rm.li")
    for token in [*tokens, colleague]:
        assert await other.sessions.read("staff", token) is not None
        assert await services.sessions.read("staff", token) is not None
    assert await services.sessions.end_all("staff", "demo:rm.chen") == 3
    assert [await services.sessions.read("staff", token) for token in tokens] == [None] * 3
    clock.now += LOCAL_SECONDS
    assert [await other.sessions.read("staff", token) for token in tokens] == [None] * 3
    assert await other.sessions.read("staff", colleague) == {"userid": "rm.li"}
    assert await services.sessions.end_all("staff", "demo:rm.chen") == 0
    await other.close()


async def test_a_subject_of_another_kind_or_bank_is_another(services: Services) -> None:
    token = await services.sessions.open("staff", SESSION, subject="demo:lin")
    for kind, subject in (("clerk", "demo:lin"), ("staff", "other:lin"), ("staff", "demo:li"), ("staff", "*")):
        assert await services.sessions.end_all(kind, subject) == 0
    assert await services.sessions.read("staff", token) == SESSION


async def test_what_is_kept_of_a_subject_does_not_grow_with_sessions_that_are_over(
    services: Services, clock: StillClock
) -> None:
    for _ in range(3):
        await services.sessions.open("staff", SESSION, subject="demo:rm.chen")
        clock.now += services.sessions.seconds + 1
    await services.sessions.open("staff", SESSION, subject="demo:rm.chen")
    key = "yq:sessions_of:staff:demo:rm.chen"
    assert await services.redis.zcard(key) == 1
    assert 0 < await services.redis.ttl(key) <= services.sessions.seconds


@pytest.mark.kills_store
async def test_while_redis_is_away_nobody_is_thought_to_be_signed_out(services: Services, redis_again: Stores) -> None:
    token = await services.sessions.open("staff", SESSION, subject="demo:rm.chen")

    async def in_the_file() -> bool:  # while an earlier write is being synced, Redis holds the next ones back
        told = await services.redis.info("persistence")
        return not told["aof_buffer_length"] and not told["aof_pending_bio_fsync"]

    await until(in_the_file)
    redis_again.kill9("redis")
    with pytest.raises(Unavailable) as refused:
        await services.sessions.end_all("staff", "demo:rm.chen")
    assert refused.value.code == "sessions_unavailable"
    redis_again.start("redis")
    assert await services.sessions.read("staff", token) == SESSION
    assert await services.sessions.end_all("staff", "demo:rm.chen") == 1
