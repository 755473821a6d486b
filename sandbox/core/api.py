"""The frame around every simulated API call: faults, method, token, body, errors, log
(contract/wechat 0)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tornado.web import RequestHandler
from typing_extensions import override

from sandbox.core.errors import ApiError, wechat_body, wecom_body
from sandbox.core.faults import Fault, Trouble
from sandbox.core.journal import without_secrets
from sandbox.core.sandbox import Sandbox

OUTSIDE = frozenset({"close", "http"})
"""Faults that meet a call before it gets anywhere."""
NEVER_SECONDS = 120.0
"""How long an answer that never comes is withheld before the connection is closed."""


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file as the multipart body named it."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is not JSON: a picture, a file."""

    content: bytes
    kind: str
    headers: dict[str, str] = field(default_factory=dict)


Answer: TypeAlias = "dict[str, Any] | Raw"


def _errcode(answer: Answer | None) -> int | None:
    """What the log tells of an answer; None when there was none."""
    if answer is None:
        return None
    return 0 if isinstance(answer, Raw) else int(answer.get("errcode", 0))


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a `bytes=first-last` header that fits into `size` bytes; None for any
    other."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", header)
    if found is None:
        return None
    first = int(found[1])
    last = min(int(found[2]) if found[2] else size - 1, size - 1)
    return (first, last) if first <= last else None


@dataclass(slots=True)
class Call:
    """One API call as a verb sees it. `app` is the appid or agent id that the token belongs to."""

    box: Sandbox
    query: dict[str, str]
    body: dict[str, Any]
    host: str
    app: str = ""
    files: list[File] = field(default_factory=list)
    method: str = "POST"
    ip: str = ""
    """Where it came from."""
    short_pages: bool = False
    """Lists come in short and empty pages (F7); `sandbox.core.paging` does it."""

    def given(self, name: str, missing: int) -> str:
        """A query parameter. Raises ApiError `missing` when empty."""
        value = self.query.get(name, "")
        if not value:
            raise ApiError(missing)
        return value

    def text(self, name: str, *, most: int | None = None, missing: int = 0) -> str:
        """A string of the body, at most `most` characters. Raises ApiError 40058, or `missing` when
        empty."""
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

    def span(self, most: int) -> tuple[int, int]:
        """`start_time` and `end_time` of the body, Unix seconds. Raises ApiError 40058 when one is
        missing, or they are reversed or more than `most` seconds apart."""
        start = self.integer("start_time", 0, missing=40058)
        end = self.integer("end_time", 0, missing=40058)
        if not 0 <= end - start <= most:
            raise ApiError(40058, "invalid Request Parameter: start_time or end_time")
        return start, end

    def flag(self, name: str, default: bool) -> bool:
        value = self.body.get(name, default)
        if not isinstance(value, bool):
            raise ApiError(40058, f"invalid Request Parameter: {name}")
        return value


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of a family. `method` may be "GET|POST"; `token`: needs an access token; `contact`:
    needs the customer-contact permission; `bare`: its success has no errcode (mini-program
    credentials and login, A1, A2); `upload`: its body is multipart; `empty`: its body may be
    missing; `own`: refused to WeCom's own customer-contact secret (B6); `alone`: the field of the
    body for whose value one call at a time is let in (43108, A4)."""

    method: str
    path: str
    answer: Callable[[Call], Answer]
    token: bool = True
    contact: bool = False
    bare: bool = False
    upload: bool = False
    empty: bool = False
    own: bool = False
    alone: str = ""


class ApiHandler(RequestHandler):
    """Serves the endpoints of one family (`base` is `wechat` or `wecom`), by path."""

    endpoint: Endpoint

    @override
    def initialize(self, box: Sandbox, base: str, endpoints: dict[str, Endpoint]) -> None:
        self.box = box
        self.base = base
        self.endpoints = endpoints
        self._gone = asyncio.Event()

    @override
    async def prepare(self) -> None:
        path = self.request.path.removeprefix(f"/{self.base}")
        if path in self.endpoints:
            self.endpoint = self.endpoints[path]
        else:
            await self._unknown(path)

    async def _unknown(self, path: str) -> None:
        """HTTP 404 and a line in the log, so that mistakes are loud (F6)."""
        entry = {
            "time": self.box.clock.now(),
            "method": self.request.method,
            "query": {},
            "body": {},
            "ms": 0.0,
        }
        self.box.journal.call(self.base, path, {**entry, "errcode": None, "fault": "no such path"})
        self.set_status(404)
        await self.finish({"error": f"the sandbox has no {self.request.path}"})

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
        path = f"/{self.base}{self.endpoint.path}"
        trouble = self.box.faults.api(path, token_call=not self.endpoint.token)
        body, answer = await self._served(query, trouble)
        entry = {
            "time": self.box.clock.now(),
            "method": self.request.method,
            "query": without_secrets(query),
            "body": without_secrets(body),
            "errcode": _errcode(answer),
            "fault": trouble.fault.kind if trouble.fault else "",
            "ms": round((time.perf_counter() - started) * 1000, 2),
        }
        self.box.journal.call(self.base, self.endpoint.path, entry)
        await self._reply(answer, trouble.fault)

    async def _served(
        self, query: dict[str, str], trouble: Trouble
    ) -> tuple[dict[str, Any], Answer | None]:
        """The body of the call and the answer; None when trouble meets it before it gets
        anywhere."""
        kind = trouble.fault.kind if trouble.fault else ""
        try:
            with self._place(query, kind):
                if trouble.seconds:
                    await asyncio.sleep(trouble.seconds)
                if kind in OUTSIDE:
                    return {}, None
                with self._alone():
                    if self.endpoint.alone:
                        await asyncio.sleep(self.box.switches.subscribe_ms / 1000)
                    return self._answer(query, trouble.fault)
        except ApiError as error:
            return {}, self._error(error)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The call's place where one at a time is let in for what its body names. Raises ApiError
        43108 beside another."""
        who = str(self._body().get(self.endpoint.alone, "")) if self.endpoint.alone else ""
        if who and who in self.box.under_way:
            raise ApiError(43108)
        self.box.under_way.add(who)
        try:
            yield
        finally:
            self.box.under_way.discard(who)

    @contextmanager
    def _place(self, query: dict[str, str], kind: str) -> Iterator[None]:
        """The call's place among those that the limits let in at once. Raises ApiError when they
        refuse it."""
        if kind in OUTSIDE:
            yield
            return
        app = self.box.tokens.holder(query.get("access_token", ""))
        owner = self.box.world.corp.corp_id if self.base == "wecom" else app or self._appid(query)
        gate = self.box.limits.enter(
            self.base, owner, app, self.endpoint.path, self.request.remote_ip or ""
        )
        try:
            yield
        finally:
            self.box.limits.leave(gate)

    def _appid(self, query: dict[str, str]) -> str:
        """The appid of a call without a token, which is in the query or in the body; "" when it is
        in neither."""
        if "appid" in query or not self.request.body:
            return query.get("appid", "")
        try:
            return str(self._body().get("appid", ""))
        except ApiError:
            return ""

    async def _reply(self, answer: Answer | None, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        if kind == "timeout_after_success":
            try:
                await asyncio.wait_for(self._gone.wait(), NEVER_SECONDS)
            except TimeoutError:
                self._gone.set()
        if self._gone.is_set() or kind in {"close", "timeout_after_success"}:
            self.detach().close()
        elif answer is None:
            self.send_error(fault.status if fault else 500)
        elif isinstance(answer, Raw):
            await self._reply_raw(answer)
        else:
            self.set_header("Content-Type", "application/json; charset=UTF-8")
            await self.finish(json.dumps(answer, ensure_ascii=False, separators=(",", ":")))

    async def _reply_raw(self, answer: Raw) -> None:
        """Bytes, or the part of them that a Range header asks for."""
        self.set_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        wanted = parse_range(self.request.headers.get("Range", ""), len(answer.content))
        if wanted is None:
            await self.finish(answer.content)
            return
        first, last = wanted
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {first}-{last}/{len(answer.content)}")
        await self.finish(answer.content[first : last + 1])

    def _answer(self, query: dict[str, str], fault: Fault | None) -> tuple[dict[str, Any], Answer]:
        """The body of the call, {} when it was not read, and the answer."""
        body: dict[str, Any] = {}
        try:
            if fault and fault.kind == "errcode":
                raise ApiError(fault.errcode, fault.text)
            self._trusted()
            body = self._body()
            result = self.endpoint.answer(self._call(query, body, fault))
        except ApiError as error:
            return body, self._error(error)
        if isinstance(result, Raw) or self.endpoint.bare:
            return body, result
        return body, {"errcode": 0, "errmsg": "ok", **result}

    def _call(self, query: dict[str, str], body: dict[str, Any], fault: Fault | None) -> Call:
        """The call as a verb sees it. Raises ApiError when its token does not open the endpoint."""
        call = Call(
            self.box,
            query,
            body,
            self.request.host,
            files=self._files(),
            method=self.request.method or "",
            ip=self.request.remote_ip or "",
            short_pages=fault is not None and fault.kind == "short_pages",
        )
        if self.endpoint.token:
            call.app = self._authorised(query)
        return call

    def _body(self) -> dict[str, Any]:
        if self.request.method not in self.endpoint.method.split("|"):
            raise ApiError(43002 if self.endpoint.method == "POST" else 43001)
        if self.request.method == "GET" or self.endpoint.upload:
            return {}
        if not self.request.body:
            if self.endpoint.empty:
                return {}
            raise ApiError(44002)
        try:
            body = json.loads(self.request.body)
        except ValueError as error:
            raise ApiError(47001) from error
        if not isinstance(body, dict):
            raise ApiError(47001)
        return body

    def _files(self) -> list[File]:
        """The files of a multipart body, whatever their fields are called."""
        return [File(f.filename, f.body) for files in self.request.files.values() for f in files]

    def _authorised(self, query: dict[str, str]) -> str:
        wecom = self.base == "wecom"
        owner = self.box.tokens.owner(query.get("access_token", ""), wecom=wecom)
        if wecom and (self.endpoint.contact or self.endpoint.own):
            self._may_contact(int(owner))
        return owner

    def _may_contact(self, agent_id: int) -> None:
        """Raises ApiError 48002 for an app that may not call the customer-contact API, 48006 when
        its rights were taken away."""
        app = self.box.world.app(agent_id)
        if app is None or not app.customer_contact:
            raise ApiError(48002)
        if app.builtin and (self.endpoint.own or not self.box.switches.system_secret_may_call):
            raise ApiError(48002)
        if self.box.switches.app_unused:
            raise ApiError(48006, "api forbidden: the app has not been used for long")

    def _trusted(self) -> None:
        """Raises ApiError 60020 or 40164 for an address that may not call."""
        ip = self.request.remote_ip or ""
        switches = self.box.switches
        if self.base == "wecom" and switches.trusted_ips and ip not in switches.trusted_ips:
            raise ApiError(60020, f"not allow to access from your ip: {ip}")
        if self.base == "wechat" and switches.ip_whitelist and ip not in switches.ip_whitelist:
            raise ApiError(40164, f"invalid ip {ip} ipv6 ::ffff:{ip}, not in whitelist")

    def _error(self, error: ApiError) -> dict[str, Any]:
        if self.base == "wecom":
            return wecom_body(error, self.box.clock.now(), self.request.remote_ip or "")
        answer = wechat_body(error, self.box.clock.now())
        request = {
            "invoke_time": self.box.seconds(),
            "cost_in_ms": 1,
            "request_url": self.endpoint.path,
            "request_body": self.request.body.decode("utf-8", "replace")[:2048]
            if self.endpoint.token
            else "",
            "response_body": json.dumps(answer),
            "client_ip": self.request.remote_ip,
        }
        self.box.journal.refused(answer["errmsg"].rpartition("rid: ")[2], request)
        return answer
