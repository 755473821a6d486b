"""The frame around every simulated API call: faults, method, token, body, errors, log (wechat-contract 0)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tornado.web import RequestHandler
from typing_extensions import override

from sandbox.core import Sandbox
from sandbox.errors import ApiError, wechat_body, wecom_body
from sandbox.faults import Fault
from sandbox.journal import without_secrets

NEVER_SECONDS = 120.0
"""How long an answer that never comes is withheld before the connection is closed."""


@dataclass(slots=True)
class Call:
    """One API call as a verb sees it. `app` is the appid or agent id that the token belongs to."""

    box: Sandbox
    query: dict[str, str]
    body: dict[str, Any]
    host: str
    app: str = ""

    def given(self, name: str, missing: int) -> str:
        """A query parameter. Raises ApiError `missing` when empty."""
        value = self.query.get(name, "")
        if not value:
            raise ApiError(missing)
        return value

    def text(self, name: str, *, most: int | None = None, missing: int = 0) -> str:
        """A string of the body, at most `most` characters. Raises ApiError 40058, or `missing` when empty."""
        value = self.body.get(name, "")
        if not value and missing:
            raise ApiError(missing)
        if not isinstance(value, str) or (most is not None and len(value) > most):
            raise ApiError(40058, f"invalid Request Parameter: {name}")
        return value

    def strings(self, name: str) -> list[str]:
        """A list of strings of the body. Raises ApiError 40058."""
        value = self.body.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ApiError(40058, f"invalid Request Parameter: {name}")
        return value

    def integer(self, name: str, default: int, *, missing: int = 0) -> int:
        """An integer of the body. Raises ApiError 40058, or `missing` when absent."""
        value = self.body.get(name)
        if value is None:
            if missing:
                raise ApiError(missing)
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise ApiError(40058, f"invalid Request Parameter: {name}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.body.get(name, default)
        if not isinstance(value, bool):
            raise ApiError(40058, f"invalid Request Parameter: {name}")
        return value


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of a family. `token`: needs an access token; `contact`: needs the customer-contact permission;
    `bare`: its success has no errcode (mini-program credentials and login, A1, A2)."""

    method: str
    path: str
    answer: Callable[[Call], dict[str, Any]]
    token: bool = True
    contact: bool = False
    bare: bool = False


class ApiHandler(RequestHandler):
    """Serves one endpoint of one family (`base` is `wechat` or `wecom`)."""

    @override
    def initialize(self, box: Sandbox, base: str, endpoint: Endpoint) -> None:
        self.box, self.base, self.endpoint = box, base, endpoint
        self._gone = asyncio.Event()

    @override
    def on_connection_close(self) -> None:
        self._gone.set()

    @override
    async def get(self) -> None:
        await self._play()

    @override
    async def post(self) -> None:
        await self._play()

    async def _play(self) -> None:
        started = time.perf_counter()
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        full = f"/{self.base}{self.endpoint.path}"
        trouble = self.box.faults.api(full, token_call=not self.endpoint.token)
        if trouble.seconds:
            await asyncio.sleep(trouble.seconds)
        fault = trouble.fault
        kind = fault.kind if fault else ""
        body: dict[str, Any] = {}
        answer: dict[str, Any] | None = None
        if kind not in {"close", "http"}:
            body, answer = self._answer(query, fault if kind == "errcode" else None)
        self.box.journal.call(
            self.base,
            self.endpoint.path,
            {
                "time": self.box.clock.now(),
                "method": self.request.method,
                "query": without_secrets(query),
                "body": without_secrets(body),
                "errcode": answer.get("errcode", 0) if answer else None,
                "fault": kind,
                "ms": round((time.perf_counter() - started) * 1000, 2),
            },
        )
        await self._reply(answer, fault)

    async def _reply(self, answer: dict[str, Any] | None, fault: Fault | None) -> None:
        if fault and fault.kind == "timeout_after_success":
            try:
                await asyncio.wait_for(self._gone.wait(), NEVER_SECONDS)
            except TimeoutError:
                self._gone.set()
        if self._gone.is_set() or (fault and fault.kind in {"close", "timeout_after_success"}):
            self.detach().close()
            return
        if answer is None:
            self.send_error(fault.status if fault else 500)
            return
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        await self.finish(json.dumps(answer, ensure_ascii=False, separators=(",", ":")))

    def _answer(self, query: dict[str, str], fault: Fault | None) -> tuple[dict[str, Any], dict[str, Any]]:
        body: dict[str, Any] = {}
        try:
            if fault:
                raise ApiError(fault.errcode)
            body = self._body()
            call = Call(self.box, query, body, self.request.host)
            if self.endpoint.token:
                call.app = self._authorised(query)
            result = self.endpoint.answer(call)
        except ApiError as error:
            return body, self._error(error)
        return body, result if self.endpoint.bare else {"errcode": 0, "errmsg": "ok", **result}

    def _body(self) -> dict[str, Any]:
        method = self.endpoint.method
        if self.request.method != method:
            raise ApiError(43002 if method == "POST" else 43001)
        if method == "GET":
            return {}
        if not self.request.body:
            raise ApiError(44002)
        try:
            body = json.loads(self.request.body)
        except ValueError as error:
            raise ApiError(47001) from error
        if not isinstance(body, dict):
            raise ApiError(47001)
        return body

    def _authorised(self, query: dict[str, str]) -> str:
        wecom = self.base == "wecom"
        owner = self.box.tokens.owner(query.get("access_token", ""), wecom=wecom)
        if self.endpoint.contact:
            app = self.box.world.app(int(owner))
            if app is None or not app.customer_contact:
                raise ApiError(48002)
        return owner

    def _error(self, error: ApiError) -> dict[str, Any]:
        if self.base == "wecom":
            return wecom_body(error, self.box.clock.now(), self.request.remote_ip or "")
        return wechat_body(error, self.box.clock.now())


class UnknownPath(RequestHandler):
    """A path that the family does not have: HTTP 404 and a line in the log, so that mistakes are loud (F6)."""

    @override
    def initialize(self, box: Sandbox, base: str) -> None:
        self.box, self.base = box, base

    @override
    async def prepare(self) -> None:
        path = self.request.path.removeprefix(f"/{self.base}")
        entry = {"time": self.box.clock.now(), "method": self.request.method, "query": {}, "body": {}, "ms": 0.0}
        self.box.journal.call(self.base, path, {**entry, "errcode": None, "fault": "no such path"})
        self.set_status(404)
        await self.finish({"error": f"the sandbox has no {self.request.path}"})
