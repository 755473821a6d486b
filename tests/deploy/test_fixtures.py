"""The fixtures of tests/conftest.py: the same demonstration bank in the test's loop, with a worker, and as processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from config.settings import Settings
from deploy.parts import Parts
from operations.schema import COLLECTIONS
from services.container import Services
from tests.conftest import Sandbox, Server, Stack
from tests.support.banks import apply_demo, open_bank
from tests.support.beginnings import Beginnings

OF_BANK = [rows for rows in COLLECTIONS if rows.of_bank]


async def until(true: Callable[[], Awaitable[Any]]) -> Any:
    deadline = time.monotonic() + 30.0
    while not (found := await true()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
    return found


async def welcomed(sandbox: Sandbox, person: dict[str, Any]) -> list[Any]:
    return list((await sandbox.control("GET", f"people/{person['id']}"))["inbox"])


async def test_each_test_has_a_database_of_its_own(services: Services, settings: Settings) -> None:
    rows = services.store.tenant("bank")["inbox"]
    assert await rows.count() == 0
    await rows.insert({"_id": "bank:1"})
    assert services.settings is settings
    assert not settings.data_dir.exists()


@pytest.mark.parametrize("turn", [1, 2])
async def test_nothing_is_left_in_redis_from_another_test(services: Services, turn: int) -> None:
    assert await services.redis.dbsize() == 0
    await services.redis.set("turn", turn)


async def test_what_is_put_back_is_what_was_made(services: Services, sandbox: Sandbox, beginnings: Beginnings) -> None:
    made: list[int] = []

    async def make() -> None:
        made.append(1)
        await apply_demo(services)

    async def seen() -> dict[str, Any]:
        keys = await services.redis.keys("wechat:token:*")
        return {
            "rows": {name: await services.store.tenant("demo")[name].find({}, sort=[("_id", 1)]) for name in OF_BANK},
            "bank": await services.store.system("tenants").find({}),
            "tokens": {key: await services.redis.get(key) for key in keys},
            "ways": await sandbox.control("GET", "ways"),
            "calls": (await sandbox.control("GET", "calls"))["counts"],
            "audit": await services.audit.verify(services.store.tenant("demo")),
        }

    await beginnings.begin("twice", services, sandbox, make)
    before = await seen()
    db = services.store.tenant("demo")
    await db["clerks"].delete({"login": "lin"})
    await db["staff"].update_many({}, {"$set": {"name": "nobody"}})
    await db["inbox"].insert_new([{"_id": f"demo:{number}"} for number in range(50)])
    await db["alarms"].insert({"_id": "demo:one"})
    await services.redis.flushdb()
    await sandbox.person()
    with pytest.raises(AssertionError, match="before twice began"):
        await beginnings.begin("twice", services, sandbox, make)
    await sandbox.control("POST", "reset")
    await beginnings.begin("twice", services, sandbox, make)
    assert await seen() == before
    assert (before["audit"], len(before["ways"]["ways"]), len(before["tokens"])) == ([], 3, 1)
    assert (await sandbox.control("GET", "people"))["people"] == []
    assert made == [1]
    await (await open_bank(services, "demo")).wecom.ways.get(before["ways"]["ways"][0]["config_id"])
    assert (await sandbox.control("GET", "calls"))["counts"]["/wecom/cgi-bin/gettoken"] == 1


async def test_a_server_in_the_tests_loop_and_a_real_worker_welcome_a_customer(
    server: Server, worker: Parts, sandbox: Sandbox
) -> None:
    ways = (await sandbox.control("GET", "ways"))["ways"]
    person = await sandbox.person()
    scanned = await sandbox.scan(person, config_id=ways[0]["config_id"])
    assert scanned["delivered"] is True
    assert len(await until(lambda: welcomed(sandbox, person))) == 1
    assert worker.runs("worker")


@pytest.mark.kills_store
async def test_the_stack_survives_kill_9_of_server_worker_and_store(stack: Stack, sandbox: Sandbox) -> None:
    ways = (await sandbox.control("GET", "ways"))["ways"]
    for name in ("server", "worker", "mongodb", "redis"):
        stack.kill9(name)
    for name in ("mongodb", "redis", "server", "worker"):
        stack.start(name)
    person = await sandbox.person()
    await sandbox.scan(person, config_id=ways[0]["config_id"])
    assert len(await until(lambda: welcomed(sandbox, person))) == 1


async def test_the_http_client_speaks_to_the_server(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).status_code == 200


async def test_the_stores_are_up_again_after_a_test_that_killed_one(services: Services) -> None:
    await services.store.ping()
    assert await services.redis.ping() is True
