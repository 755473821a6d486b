"""Fixtures: real parts, on free ports, with a database of its own for each test. Nothing here skips; it fails.

Async tests and fixtures just work (pytest-asyncio, auto mode); each runs in a loop of its own.

Once a run
    stores       SecantusDB and Redis (deploy.stack.Stores): `.mongodb_uri`, `.redis_url`, `.kill9(name)`, `.start(name)`
    mongodb_uri  the address of the embedded MongoDB
    redis_url    the address of the embedded Redis

Once a test
    settings     config.settings.Settings on the stores: emptied database and Redis, own data folder, a free port
    clock        what `services` take for the time; a folder or file overrides it with one of tests/support/clock.py
    services     services.container.Services, opened and closed in the test's loop
    second       another process's services on the same stores
    sandbox      the simulated WeChat and WeCom as a process (tests.conftest.Sandbox), reset; async helpers for its people
    demo         services with the demo bank and its campaigns applied against the sandbox
    server       the Tornado application over `demo`, in the test's loop; `.url`
    http         httpx.AsyncClient with `server.url` as its base
    worker       a real Celery worker with two children, at work before the test begins (deploy.parts.Parts)
    stack        server, worker and scheduler as processes over the demo bank: `.url`, `.start(name)`, `.stop(name)`,
                 `.kill9(name)`, where a name may also be `mongodb` or `redis`

The environment holds no YINQIAO_ variable during a test, and no `.env` is read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.httpserver import HTTPServer

from config.settings import Settings
from deploy.parts import Parts
from deploy.ports import free_port, wait_for_port
from deploy.processes import end, spawn
from deploy.stack import Stores
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.clock import Clock, system_clock
from services.container import Services, open_services
from tests.support import selection
from tests.support import stores as run_stores
from tests.support.alone import ALONE, Room
from tests.support.banks import DEMO_BANK, DEMO_CAMPAIGNS, apply_demo
from tests.support.beginnings import Beginnings
from tests.support.once import catalogues, paid_once

__all__ = ["DEMO_BANK", "DEMO_CAMPAIGNS", "catalogues", "paid_once"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """One test marked `alone` at a time, and no other beside it (tests/support/alone.py)."""
    folder = item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    shared = folder.parent if hasattr(item.config, "workerinput") else folder
    with Room(shared).held(alone=item.get_closest_marker(ALONE) is not None):
        return (yield)


def pytest_addoption(parser: pytest.Parser) -> None:
    ours = parser.getgroup("yinqiao")
    ours.addoption("--mongodb-uri", default="", help="a MongoDB of your own, instead of an embedded one a worker")
    ours.addoption(
        "--redis-url", default="", help="a Redis of your own: as many empty databases as workers from this one on"
    )
    ours.addoption("--soak", action="store_true", help="the long forms (marker soak), and nothing else")


def pytest_configure(config: pytest.Config) -> None:
    selection.share_ports(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if run_stores.are_others(config) and not hasattr(config, "workerinput"):
        run_stores.check_others(config, getattr(config.option, "numprocesses", None) or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selection.select(config, items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    selection.heard_from_worker(node)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("YINQIAO_"):
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(scope="session")
def stores(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    stores = run_stores.opened(pytestconfig, tmp_path_factory.mktemp("stores"))
    try:
        stores.start_all()
        yield stores
    finally:
        stores.stop_all()


@pytest.fixture(scope="session")
def _databases(pytestconfig: pytest.Config, stores: Stores) -> Iterator[run_stores.Databases]:
    databases = run_stores.Databases(stores.mongodb_uri)
    yield databases
    if run_stores.are_others(pytestconfig):  # our own are thrown away whole
        databases.drop()
        run_stores.empty_redis(stores.redis_url)
    databases.close()


@pytest.fixture(scope="session")
def mongodb_uri(stores: Stores) -> str:
    return stores.mongodb_uri


@pytest.fixture(scope="session")
def redis_url(stores: Stores) -> str:
    return stores.redis_url


@pytest.fixture(scope="session")
def _server_port() -> int:
    """One port a run, since the sandbox is told once where to post its callbacks."""
    return free_port()


@pytest.fixture(scope="session")
def _sandbox_port() -> int:
    return free_port()


@pytest.fixture
def settings(
    request: pytest.FixtureRequest,
    stores: Stores,
    _databases: run_stores.Databases,
    _server_port: int,
    _sandbox_port: int,
    tmp_path: Path,
) -> Settings:
    stores.start_all()
    run_stores.empty_redis(stores.redis_url)
    database = _databases.next()
    if "beginnings" not in request.fixturenames:
        _databases.become(database, {})
    sandbox = f"http://127.0.0.1:{_sandbox_port}"
    return Settings(
        port=_server_port,
        data_dir=tmp_path / "data",
        mongodb_uri=stores.mongodb_uri,
        mongodb_database=database,
        redis_url=stores.redis_url,
        wechat_api_base=f"{sandbox}/wechat",
        wecom_api_base=f"{sandbox}/wecom",
        wechat_open_base=f"{sandbox}/open",
        wechatpay_api_base=f"{sandbox}/wechatpay",
        sandbox_url=sandbox,
        nightly_sync="off",
    )


@pytest.fixture
def clock() -> Clock:
    return system_clock


@pytest.fixture
async def services(settings: Settings, clock: Clock) -> AsyncIterator[Services]:
    opened = await open_services(settings, COLLECTIONS, QUEUES, clock=clock)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def second(settings: Settings, clock: Clock) -> AsyncIterator[Services]:
    opened = await open_services(settings, COLLECTIONS, QUEUES, clock=clock)
    try:
        yield opened
    finally:
        await opened.close()


class Sandbox:
    """The simulated platforms: `.url`, the API bases `.wechat` and `.wecom`, and its people through `/control`."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self.wechat = f"{url}/wechat"
        self.wecom = f"{url}/wecom"
        self.untouched = False
        """Whether nothing was asked of it since it was empty."""
        self._client = client

    async def control(self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any) -> Any:
        """The answer of one call to the control API, e.g. `await sandbox.control("POST", "people", {"name": "刘敏"})`."""
        self.untouched = (method, path, body) == ("POST", "reset", None)
        answer = await self._client.request(method, f"{self.url}/control/{path}", json=body, params=query)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def person(self, name: str = "刘敏", **fields: Any) -> dict[str, Any]:
        return dict(await self.control("POST", "people", {"name": name, **fields}))

    async def scan(self, person: dict[str, Any], **which: Any) -> dict[str, Any]:
        """The person scans a live code, by `config_id` or `state`, and becomes a member's friend."""
        return dict(await self.control("POST", f"people/{person['id']}/scan", which))

    async def open(self, person: dict[str, Any], appid: str) -> str:
        """A login code, as `wx.login` gives it."""
        return str((await self.control("POST", f"people/{person['id']}/open", {"appid": appid}))["code"])

    async def phone_code(self, person: dict[str, Any], appid: str) -> str:
        return str((await self.control("POST", f"people/{person['id']}/phone", {"appid": appid}))["code"])

    async def oauth_code(self, userid: str) -> str:
        return str((await self.control("POST", f"members/{userid}/oauth"))["code"])


@pytest.fixture(scope="session")
def _sandbox_process(tmp_path_factory: pytest.TempPathFactory, _server_port: int, _sandbox_port: int) -> Iterator[str]:
    url, log = f"http://127.0.0.1:{_sandbox_port}", tmp_path_factory.mktemp("sandbox") / "sandbox.log"
    callback = f"http://127.0.0.1:{_server_port}/wecom/demo/callback"
    push = f"http://127.0.0.1:{_server_port}/wechat/{{appid}}/callback"
    addresses = ["--wecom-callback", callback, "--wechat-callback", push]
    addresses += ["--portal-url", f"http://127.0.0.1:{_server_port}/preview/{{appid}}/"]
    addresses += [
        "--sidebar-url",
        f"http://127.0.0.1:{_server_port}/sidebar/demo/chat?external_userid={{external_userid}}",
    ]
    command = [sys.executable, "-m", "sandbox", "--port", str(_sandbox_port), *addresses]
    process = spawn(command, log=log)
    try:
        wait_for_port(_sandbox_port, 30.0, alive=lambda: process.poll() is None)
        yield url
    finally:
        end(process)


@pytest.fixture
async def sandbox(_sandbox_process: str) -> AsyncIterator[Sandbox]:
    async with httpx.AsyncClient(trust_env=False, timeout=15.0) as client:
        sandbox = Sandbox(_sandbox_process, client)
        await sandbox.control("POST", "reset")
        yield sandbox


@pytest.fixture(scope="session")
def beginnings(_databases: run_stores.Databases, redis_url: str) -> Iterator[Beginnings]:
    beginnings = Beginnings(_databases, redis_url)
    yield beginnings
    beginnings.close()


@pytest.fixture
async def demo(services: Services, sandbox: Sandbox, beginnings: Beginnings) -> Services:
    await beginnings.begin("demo", services, sandbox, lambda: apply_demo(services))
    return services


@dataclass(frozen=True)
class Server:
    url: str
    services: Services


@pytest.fixture
async def server(demo: Services) -> AsyncIterator[Server]:
    from server import make_app

    listening = HTTPServer(make_app(demo))
    listening.listen(demo.settings.port, "127.0.0.1")
    try:
        yield Server(demo.settings.url, demo)
    finally:
        listening.stop()
        await listening.close_all_connections()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=15.0) as client:
        yield client


@pytest.fixture
def worker(demo: Services, tmp_path: Path) -> Iterator[Parts]:
    with Parts(demo.settings, tmp_path / "logs") as parts:
        parts.start("worker")
        yield parts


class Stack:
    """Every process of the product, and both stores, by name."""

    def __init__(self, parts: Parts, stores: Stores, url: str) -> None:
        self.parts = parts
        self.url = url
        self._stores = stores

    def start(self, name: str) -> None:
        (self._stores if name in self._stores.ports else self.parts).start(name)

    def kill9(self, name: str) -> None:
        (self._stores if name in self._stores.ports else self.parts).kill9(name)

    def stop(self, name: str) -> int:
        return self.parts.stop(name)

    def log(self, name: str) -> str:
        return self.parts.log(name)


@pytest.fixture
def stack(demo: Services, stores: Stores, tmp_path: Path) -> Iterator[Stack]:
    with Parts(demo.settings, tmp_path / "logs") as parts:
        for name in ("server", "worker", "scheduler"):
            parts.start(name)
        yield Stack(parts, stores, demo.settings.url)
        stores.start_all()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    selection.tell(terminalreporter)
