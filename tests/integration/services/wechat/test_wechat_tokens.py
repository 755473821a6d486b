"""One fetch for all: across callers, across processes, without Redis, and never in a loop."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from tornado.testing import bind_unused_port

from services.security.vault import Vault
from services.wechat.core import tokens as tokens_module
from services.wechat.core.errors import BadConfig, NotSent, PlatformError
from services.wechat.core.tokens import App, Grant, TokenStore


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """A token endpoint: gives T1, T2, … or always the same; counts; can be held back by `gate`."""

    def __init__(self, *, repeat: bool = False, seconds: int = 7200) -> None:
        self.rejected: list[str | None] = []
        self.repeat = repeat
        self.seconds = seconds
        self.error: PlatformError | None = None
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.app = App(f"bank-{uuid.uuid4().hex}", "wecom:ww1:1000002", self.fetch)

    async def fetch(self, rejected: str | None) -> Grant:
        self.rejected.append(rejected)
        self.asked.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        return Grant("T1" if self.repeat else f"T{len(self.rejected)}", self.seconds)


@contextlib.asynccontextmanager
async def stores(url: str | None, count: int, **options: Any) -> AsyncIterator[list[TokenStore]]:
    clients = [Redis.from_url(url) if url else None for _ in range(count)]
    made = [TokenStore(client, **options) for client in clients]
    try:
        yield made
    finally:
        for store, client in zip(made, clients, strict=True):
            await store.aclose()
            if client:
                await client.aclose()


async def test_fifty_callers_with_one_expired_token_cause_one_fetch(redis_url):
    source = Source()
    async with stores(redis_url, 1) as (store,):
        old = await store.get(source.app)
        got = await asyncio.gather(*(store.refresh(source.app, reject=old) for _ in range(50)))
    assert set(got) == {"T2"}
    assert source.rejected == [None, "T1"]


async def test_two_processes_cause_one_fetch(redis_url):
    source = Source()
    source.gate.clear()
    async with stores(redis_url, 2) as both:
        asked = [asyncio.create_task(store.get(source.app)) for store in both for _ in range(25)]
        await source.asked.wait()
        source.gate.set()
        assert set(await asyncio.gather(*asked)) == {"T1"}
        got = await asyncio.gather(*(store.refresh(source.app, reject="T1") for store in both for _ in range(25)))
    assert set(got) == {"T2"}
    assert source.rejected == [None, "T1"]


async def test_a_caller_with_an_older_token_takes_the_stored_one_without_a_fetch(redis_url):
    source = Source()
    async with stores(redis_url, 2) as (one, other):
        assert await one.get(source.app) == "T1"
        assert await other.get(source.app) == "T1"
        assert await one.refresh(source.app, reject="T1") == "T2"
        assert await other.refresh(source.app, reject="T1") == "T2"
    assert source.rejected == [None, "T1"]


async def test_without_redis_one_fetch_serves_all_callers_of_the_process():
    listening, port = bind_unused_port()
    listening.close()
    source = Source()
    async with stores(f"redis://127.0.0.1:{port}", 1) as (store,):
        got = await asyncio.gather(*(store.get(source.app) for _ in range(50)))
        assert set(got) == {"T1"}
        assert await store.get(source.app) == "T1"
        again = await asyncio.gather(*(store.refresh(source.app, reject="T1") for _ in range(50)))
    assert set(again) == {"T2"}
    assert source.rejected == [None, "T1"]


async def test_a_silent_redis_does_not_hold_a_caller(monkeypatch):
    monkeypatch.setattr(tokens_module, "REDIS_SECONDS", 0.05)
    release = asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    source = Source()
    async with stores(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1) as (store,):
        assert await store.get(source.app) == "T1"
    release.set()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("with_redis", [True, False])
async def test_a_token_that_comes_back_the_same_is_not_fetched_again_and_again(redis_url, with_redis):
    source, clock = Source(repeat=True), Clock()
    async with stores(redis_url if with_redis else None, 1, clock=clock) as (store,):
        assert await store.get(source.app) == "T1"
        for _ in range(20):
            assert await store.refresh(source.app, reject="T1") == "T1"
        assert source.rejected == [None, "T1"]
        clock.now += tokens_module.FRUITLESS_SECONDS
        assert await store.refresh(source.app, reject="T1") == "T1"
    assert source.rejected == [None, "T1", "T1"]


async def test_in_its_last_minutes_a_token_serves_on_while_one_fetches_the_next(redis_url):
    source, clock = Source(), Clock()
    async with stores(redis_url, 2, clock=clock) as both:
        for store in both:
            assert await store.get(source.app) == "T1"
        clock.now += 7200 - 301
        assert [await store.get(source.app) for store in both] == ["T1", "T1"]
        assert source.rejected == [None]
        clock.now += 1
        source.gate.clear()
        source.asked.clear()
        assert [await store.get(source.app) for store in both for _ in range(10)] == ["T1"] * 20
        await source.asked.wait()
        source.gate.set()
        async with asyncio.timeout(5):
            while await both[0].get(source.app) != "T2":  # noqa: ASYNC110 - the fetch is the store's own task
                await asyncio.sleep(0.01)
        clock.now += tokens_module.HELD_SECONDS
        assert [await store.get(source.app) for store in both] == ["T2", "T2"]
    assert source.rejected == [None, None]


async def test_a_failed_early_fetch_leaves_the_valid_token_in_use():
    source, clock = Source(), Clock()
    async with stores(None, 1, clock=clock) as (store,):
        assert await store.get(source.app) == "T1"
        clock.now += 7000
        source.error = NotSent(None, "ConnectError", "/cgi-bin/gettoken")
        for _ in range(10):
            assert await store.get(source.app) == "T1"
            await asyncio.sleep(0)
        assert source.rejected == [None, None]
        clock.now += 200
        with pytest.raises(NotSent):
            await store.get(source.app)


@pytest.mark.parametrize("errcode", [40001, 40013, 40125])
@pytest.mark.parametrize("with_redis", [False, True])
async def test_a_refused_secret_is_never_tried_again_by_itself(redis_url, errcode, with_redis):
    source, clock = Source(), Clock()
    source.error = BadConfig(errcode, "invalid credential", "/cgi-bin/gettoken")
    async with stores(redis_url if with_redis else None, 2, clock=clock) as (store, other):
        for seconds in (0, 31, 3600, 100 * 86_400):
            clock.now += seconds
            for _ in range(5):
                with pytest.raises(BadConfig) as caught:
                    await store.get(source.app)
                assert (caught.value.errcode, caught.value.action) == (errcode, "page")
        if with_redis:
            with pytest.raises(BadConfig):
                await other.get(source.app)
        assert source.rejected == [None]
        found = await store.refused_secret(source.app.tenant, source.app.id)
        assert found is not None
        assert (found.errcode, found.since) == (errcode, 1_700_000_000.0)


async def test_another_secret_is_tried_at_once_and_so_is_the_same_when_somebody_says_so(redis_url):
    source, clock = Source(), Clock()
    source.error = BadConfig(40001, "invalid credential", "/cgi-bin/gettoken")
    async with stores(redis_url, 1, clock=clock) as (store,):
        with pytest.raises(BadConfig):
            await store.get(source.app)
        anew = replace(source.app, mark=tokens_module.mark_of("another"))
        with pytest.raises(BadConfig):
            await store.get(anew)
        assert len(source.rejected) == 1  # the same failure within seconds: FAILED_SECONDS
        clock.now += tokens_module.FAILED_SECONDS
        with pytest.raises(BadConfig):
            await store.get(anew)
        assert len(source.rejected) == 2
        assert await store.retry_secret(anew.tenant, anew.id)
        assert not await store.retry_secret(anew.tenant, anew.id)
        source.error = None
        assert await store.get(anew) == "T3"
        assert await store.refused_secret(anew.tenant, anew.id) is None


@pytest.mark.parametrize("errcode", [60020, 40164])
async def test_what_is_set_right_at_the_platform_is_asked_about_again(errcode):
    source, clock = Source(), Clock()
    source.error = BadConfig(errcode, "not allow to access from your ip", "/cgi-bin/gettoken")
    async with stores(None, 1, clock=clock) as (store,):
        for _ in range(20):
            with pytest.raises(BadConfig):
                await store.get(source.app)
        assert source.rejected == [None]
        clock.now += tokens_module.FAILED_SECONDS
        source.error = None
        assert await store.get(source.app) == "T2"


async def test_a_lock_left_by_a_killed_process_delays_and_does_not_block(redis_url, monkeypatch):
    monkeypatch.setattr(tokens_module, "WAIT_SECONDS", 0.1)
    source = Source()
    async with stores(redis_url, 1) as (store,), Redis.from_url(redis_url) as redis:
        await redis.set(f"{source.app.key}:lock", "killed", ex=60)
        assert await store.get(source.app) == "T1"
        assert await redis.get(f"{source.app.key}:lock") == b"killed"


async def test_the_lock_is_given_back(redis_url):
    source = Source()
    async with stores(redis_url, 1) as (store,), Redis.from_url(redis_url) as redis:
        await store.get(source.app)
        assert await redis.exists(f"{source.app.key}:lock") == 0
        assert 7100 < await redis.ttl(source.app.key) <= 7200


async def test_a_stored_token_is_sealed_and_a_damaged_one_is_fetched_anew(redis_url):
    source = Source()
    vault = Vault("a master key of a test")
    async with stores(redis_url, 2, vault=vault) as (one, other), Redis.from_url(redis_url) as redis:
        assert await one.get(source.app) == "T1"
        stored = await redis.get(source.app.key)
        assert b"T1" not in stored
        assert b"expires_at" not in stored
        await redis.set(source.app.key, stored[:-1] + bytes([stored[-1] ^ 1]))
        assert await other.get(source.app) == "T2"


async def test_apps_of_one_corp_do_not_share_tokens_nor_expiry(redis_url):
    first, second = Source(), Source()
    second_app = App(first.app.tenant, "wecom:ww1:1000003", second.fetch)
    async with stores(redis_url, 1) as (store,):
        assert await store.get(first.app) == "T1"
        await store.refresh(first.app, reject="T1")
        assert await store.get(second_app) == "T1"
        assert await store.get(first.app) == "T2"


async def test_a_bank_that_names_another_banks_corp_gets_nothing_of_it(redis_url):
    theirs, ours = Source(), Source()
    ours.error = BadConfig(40001, "invalid credential", "/cgi-bin/gettoken")
    async with stores(redis_url, 1) as (store,):
        assert await store.get(theirs.app) == "T1"
        with pytest.raises(BadConfig):
            await store.get(ours.app)


async def test_a_caller_who_leaves_does_not_end_the_fetch_for_others():
    source = Source()
    source.gate.clear()
    async with stores(None, 1) as (store,):
        first = asyncio.create_task(store.get(source.app))
        second = asyncio.create_task(store.get(source.app))
        await source.asked.wait()
        first.cancel()
        source.gate.set()
        assert await second == "T1"
        with pytest.raises(asyncio.CancelledError):
            await first
    assert source.rejected == [None]


async def test_an_expired_token_is_fetched_anew_and_never_handed_out(redis_url):
    source, clock = Source(seconds=60), Clock()
    async with stores(redis_url, 1, clock=clock) as (store,):
        assert await store.get(source.app) == "T1"
        clock.now += 60
        assert await asyncio.gather(*(store.get(source.app) for _ in range(20))) == ["T2"] * 20
    assert source.rejected == [None, None]


@pytest.mark.parametrize("errcode", [40014, 42001, 48006, 60020])
async def test_a_refusal_that_is_over_costs_no_welcome(errcode):
    """A welcome's code lives for 20 s: who scans after the trouble is greeted in time."""
    source, clock = Source(), Clock()
    source.error = BadConfig(errcode, "no token today", "/cgi-bin/gettoken")
    async with stores(None, 1, clock=clock) as (store,):
        with pytest.raises(BadConfig):
            await store.get(source.app)
        source.error = None
        clock.now += 10
        assert await store.get(source.app) == "T2"
