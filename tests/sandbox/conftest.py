"""Fixtures of the sandbox's tests.

- `playing`: async context manager; a sandbox on a free port, its clock standing still, with clients (`Playing`)
- `world`: the demonstration world
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
import xmltodict
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from wechatpy.crypto import WeChatCrypto as PushCrypto
from wechatpy.exceptions import WeChatException
from wechatpy.utils import check_signature
from wechatpy.work.crypto import WeChatCrypto

from sandbox.app import make_app
from sandbox.core.clock import Clock
from sandbox.core.options import Options
from sandbox.core.sandbox import Sandbox
from sandbox.core.world import World, load
from tests.browser import chromium

collect_ignore = [] if chromium.find() or os.environ.get("CI") == "true" else ["test_sandbox_page.py"]
"""Without Chromium the page is not walked, as in tests/browser."""
NOW = 1_800_000_000
EC = "/cgi-bin/externalcontact"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(40)


class Receiver:
    """A bank's callback address that verifies with wechatpy; `answers` scripts the status of the next posts."""

    def __init__(self, world: World) -> None:
        app = world.corp.apps[0]
        self.crypto = WeChatCrypto(app.token, app.encoding_aes_key, world.corp.corp_id)
        self.answers: deque[int] = deque()
        self.bodies: list[bytes] = []
        self.messages: list[bytes] = []
        self.problems: list[str] = []
        self.names: list[str] = []
        """Under which ids the next events are kept, for whoever sends them to know."""
        self._came = asyncio.Condition()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The verified events, in the order of arrival."""
        return [xmltodict.parse(m)["xml"] for m in self.messages]

    async def take(self, body: bytes, query: dict[str, str]) -> tuple[int, str]:
        self.bodies.append(body)
        status, answer = (self.answers.popleft() if self.answers else 200), "success"
        try:
            message = self.crypto.decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"])
            self.messages.append(message.encode() if isinstance(message, str) else message)
        except WeChatException as error:
            self.problems.append(type(error).__name__)
            status, answer = 403, "refused"
        async with self._came:
            self._came.notify_all()
        return status, answer

    async def until(self, posts: int) -> None:
        """Wait until that many posts have come."""
        async with asyncio.timeout(20), self._came:
            await self._came.wait_for(lambda: len(self.bodies) >= posts)


class PushReceiver:
    """A mini-program's push address, in XML or JSON, that verifies with wechatpy."""

    def __init__(self, world: World) -> None:
        self.cryptos = {
            m.appid: PushCrypto(m.token, m.encoding_aes_key, m.appid) for m in world.mini_programs if m.token
        }
        self.tokens = {m.appid: m.token for m in world.mini_programs}
        self.events: list[dict[str, Any]] = []
        self.queries: list[dict[str, str]] = []
        self.replies: deque[tuple[str, str]] = deque()
        """What the next pushes are answered: for which mini-program it is sealed, and the message."""

    def reply(self, query: dict[str, str]) -> str:
        """What to answer a push that was taken."""
        if not self.replies:
            return "success"
        appid, message = self.replies.popleft()
        return str(self.cryptos[appid].encrypt_message(message, query["nonce"], query["timestamp"]))

    def take(self, appid: str, body: bytes, query: dict[str, str]) -> None:
        check_signature(self.tokens[appid], query["signature"], query["timestamp"], query["nonce"])
        is_json = body.startswith(b"{")
        envelope = body.decode() if not is_json else dict2xml(json.loads(body))
        message = self.cryptos[appid].decrypt_message(
            envelope, query["msg_signature"], query["timestamp"], query["nonce"]
        )
        self.queries.append(query)
        self.events.append(json.loads(message) if is_json else xmltodict.parse(message)["xml"])


def dict2xml(fields: dict[str, str]) -> str:
    """An envelope of a JSON push in the form that wechatpy reads."""
    return xmltodict.unparse({"xml": fields}, full_document=False)


class _Push(RequestHandler):
    def initialize(self, receiver: PushReceiver) -> None:
        self.receiver = receiver

    def get(self, appid: str) -> None:
        ask = self.get_query_argument
        check_signature(self.receiver.tokens[appid], ask("signature"), ask("timestamp"), ask("nonce"))
        self.finish(ask("echostr"))

    def post(self, appid: str) -> None:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            self.receiver.take(appid, self.request.body, query)
        except WeChatException:
            self.set_status(403)
            return
        self.finish(self.receiver.reply(query))


class _Callback(RequestHandler):
    def initialize(self, receiver: Receiver) -> None:
        self.receiver = receiver

    async def get(self) -> None:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        receiver = self.receiver
        self.finish(
            receiver.crypto.check_signature(*(query[n] for n in ("msg_signature", "timestamp", "nonce", "echostr")))
        )

    async def post(self) -> None:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        status, answer = await self.receiver.take(self.request.body, query)
        self.set_status(status)
        if status == 200 and self.receiver.names:
            self.set_header("X-Event-Id", self.receiver.names.pop(0))
        self.finish(answer)


class Playing:
    """A running sandbox with everything that a test needs around it."""

    def __init__(
        self, box: Sandbox, url: str, http: httpx.AsyncClient, receiver: Receiver, pushes: PushReceiver
    ) -> None:
        self.box, self.url, self.http, self.receiver, self.pushes = box, url, http, receiver, pushes
        self.app = box.world.corp.apps[0]
        self.mini, self.other_mini = box.world.mini_programs

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        return (await self.http.get(path, params=query)).json()

    async def post(self, path: str, body: Any, **query: Any) -> dict[str, Any]:
        return (await self.http.post(path, params=query, json=body)).json()

    async def control(self, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        """A control call: POST with a body, else GET."""
        path = "/control" + path
        answer = await (self.http.get(path) if body is None else self.http.post(path, json=body))
        assert answer.status_code == status, answer.text
        return answer.json()

    async def wecom_token(self, secret: str = "", **query: Any) -> dict[str, Any]:
        asked = {"corpid": self.box.world.corp.corp_id, "corpsecret": secret or self.app.secret} | query
        return await self.get("/wecom/cgi-bin/gettoken", **asked)

    async def wecom(self, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """A WeCom call with a good token: POST with a body, else GET."""
        query = {"access_token": (await self.wecom_token())["access_token"], **query}
        path = "/wecom" + path
        return await (self.get(path, **query) if body is None else self.post(path, body, **query))

    async def stable_token(self, **changes: Any) -> dict[str, Any]:
        body = {"grant_type": "client_credential", "appid": self.mini.appid, "secret": self.mini.secret}
        return await self.post("/wechat/cgi-bin/stable_token", body | changes)

    async def wechat(self, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """A mini-program call with a good token of the first mini-program: POST with a body, else GET."""
        query = {"access_token": (await self.stable_token())["access_token"], **query}
        path = "/wechat" + path
        return await (self.get(path, **query) if body is None else self.post(path, body, **query))

    async def session(self, code: str, **changes: Any) -> dict[str, Any]:
        asked = {"appid": self.mini.appid, "secret": self.mini.secret, "js_code": code}
        return await self.get("/wechat/sns/jscode2session", **(asked | {"grant_type": "authorization_code"} | changes))

    async def person(self, name: str = "张晓雯", phone: str = "13800000001") -> dict[str, Any]:
        return await self.control("/people", {"name": name, "phone": phone})

    async def way(self, **fields: Any) -> str:
        """The config_id of a new live code."""
        answer = await self.wecom(f"{EC}/add_contact_way", {"type": 2, "scene": 2, "party": [2], **fields})
        assert answer["errcode"] == 0, answer
        return answer["config_id"]

    async def upload(self, path: str, name: str, content: bytes, **query: Any) -> dict[str, Any]:
        """A multipart upload of a WeCom path with a good token."""
        query = {"access_token": (await self.wecom_token())["access_token"], **query}
        answer = await self.http.post("/wecom" + path, params=query, files={"media": (name, content)})
        return answer.json()

    async def picture(self, **query: Any) -> str:
        """The media_id of a new temporary picture."""
        answer = await self.upload("/cgi-bin/media/upload", "a.png", PICTURE, type="image", **query)
        return answer["media_id"]

    async def befriended(self, name: str, userid: str = "rm.chen") -> dict[str, Any]:
        """A new person who is a friend of the member."""
        person = await self.person(name)
        await self.control(f"/people/{person['id']}/add", {"userid": userid})
        return person

    async def inbox(self, person: dict[str, Any], kind: str) -> list[dict[str, Any]]:
        """The messages of a kind on a person's phone."""
        return [m for m in (await self.control(f"/people/{person['id']}"))["inbox"] if m["kind"] == kind]

    async def settled(self) -> None:
        """Wait until everything that was told in the background has arrived."""
        async with asyncio.timeout(20):
            await self.box.sender.idle()

    async def friend(self, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new person who scanned a new live code: the person, and what came of the scan."""
        config_id = await self.way(**fields)
        person = await self.person()
        return person, await self.control(f"/people/{person['id']}/scan", {"config_id": config_id})


def _listen(app: Application) -> tuple[HTTPServer, str]:
    server = HTTPServer(app)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    return server, f"http://127.0.0.1:{sockets[0].getsockname()[1]}"


@asynccontextmanager
async def _playing(world: World | None = None, clock: Clock | None = None, **options: Any) -> AsyncIterator[Playing]:
    world = world or load()
    receiver, pushes = Receiver(world), PushReceiver(world)
    bank, bank_url = _listen(
        Application([("/callback", _Callback, {"receiver": receiver}), ("/push/([^/]+)", _Push, {"receiver": pushes})])
    )
    addresses = {"callback_url": f"{bank_url}/callback", "push_url": f"{bank_url}/push/{{appid}}"}
    wiring = Options(**addresses | {"retry_delay": 0.0} | options)
    box = Sandbox(world, wiring, clock or Clock(lambda: NOW))
    server, url = _listen(make_app(box))
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
            yield Playing(box, url, http, receiver, pushes)
    finally:
        await box.close()
        for running in (server, bank):
            running.stop()
            await running.close_all_connections()


@pytest.fixture
def playing() -> Callable[..., AbstractAsyncContextManager[Playing]]:
    """Call it for a running sandbox; takes a world, a clock and the fields of Options."""
    return _playing


@pytest.fixture
def world() -> World:
    return load()
