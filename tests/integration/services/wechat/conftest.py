"""Fixtures of the platform clients: a platform on a free port that answers what a test tells it to."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from services.wechat.core.client import Wire
from services.wechat.core.pools import Pool, Pools
from services.wechat.core.tokens import TokenStore
from services.wechat.miniprogram import MiniProgramClient
from services.wechat.wecom import WeComClient


@dataclass
class Call:
    """One request as the platform received it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class FakePlatform:
    """Answers by path: a JSON object, (status, headers, bytes), a function of the Call, or a list of these, in turn."""

    base: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def of(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    async def answer(self, call: Call) -> Any:
        self.calls.append(call)
        found = self.answers.get(call.path, (404, {}, b""))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if callable(found):
            found = found(call)
            if inspect.isawaitable(found):
                found = await found
        return found


class _Handler(RequestHandler):
    def initialize(self, platform: FakePlatform) -> None:
        self.platform = platform

    async def prepare(self) -> None:
        request = self.request
        query = {name: self.get_query_argument(name, strip=False) for name in request.query_arguments}
        path = request.path.removeprefix("/sim")
        call = Call(request.method or "", path, query, dict(request.headers), request.body)
        found = await self.platform.answer(call)
        status, headers, content = found if isinstance(found, tuple) else (200, {}, json.dumps(found).encode())
        self.set_status(status)
        for name, value in headers.items():
            self.set_header(name, value)
        self.finish(content)


@contextlib.asynccontextmanager
async def _serve() -> AsyncIterator[FakePlatform]:
    platform = FakePlatform()
    listening, port = bind_unused_port()
    server = HTTPServer(Application([(r".*", _Handler, {"platform": platform})]))
    server.add_socket(listening)
    platform.base = f"http://127.0.0.1:{port}/sim"
    platform.answers["/cgi-bin/stable_token"] = {"access_token": "T1", "expires_in": 7200}
    platform.answers["/cgi-bin/gettoken"] = {"errcode": 0, "errmsg": "ok", "access_token": "T1", "expires_in": 7200}
    try:
        yield platform
    finally:
        server.stop()
        await server.close_all_connections()


@pytest.fixture
def serve_platform() -> Callable[[], contextlib.AbstractAsyncContextManager[FakePlatform]]:
    """`async with serve_platform() as platform:` – the bases of both families are `platform.base`."""
    return _serve


@dataclass
class Rig:
    platform: FakePlatform
    tokens: TokenStore
    mini: MiniProgramClient
    wecom: WeComClient


@contextlib.asynccontextmanager
async def one_pool() -> AsyncIterator[Pool]:
    """Connections to WeCom."""
    pools = Pools()
    try:
        yield pools.of("bank", "wecom")
    finally:
        await pools.close()


@contextlib.asynccontextmanager
async def _rig(**options: Any) -> AsyncIterator[Rig]:
    async with _serve() as platform, one_pool() as pool:
        tokens = TokenStore(None)
        wire = Wire(platform.base, pool, tokens, **options)
        yield Rig(
            platform,
            tokens,
            MiniProgramClient("wxapp", "mini-secret", wire, tenant="bank"),
            WeComClient("wwcorp", 1000002, "corp-secret", wire, tenant="bank"),
        )
        await tokens.aclose()


@pytest.fixture
def rig() -> Callable[..., contextlib.AbstractAsyncContextManager[Rig]]:
    """`async with rig() as r:` – one mini-program and one WeCom app on a platform, tokens without Redis."""
    return _rig
