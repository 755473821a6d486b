"""The faces for programs: JSON over Tornado's HTTP server, without RequestHandler.

RequestHandler brings cookies, templates, locales and forms that a program does not need, at half
the price of a request (docs/decisions/0014). An Api handles one request with the same words as the
browser faces: parse, one use-case, answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from typing import Any

import orjson
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from typing_extensions import override

from config.logging import bind_task
from customers.banks.bank import Bank, open_bank
from handlers.http.auth import PUBLIC
from handlers.http.base import (
    Model,
    Refusal,
    Traffic,
    address_of,
    common_headers,
    log_failure,
    method_label,
    query_of,
    read_model,
    refusal_of,
    request_id_of,
)
from handlers.http.rates import Turn
from handlers.http.route import Route
from services.container import Services

JSON = "application/json; charset=UTF-8"


class Api:
    """One request to one Route. `actor`, and `bank`, which is
    his, are set where the route's permission asks for somebody."""

    actor: Any = None
    bank: Bank

    def __init__(
        self,
        services: Services,
        traffic: Traffic,
        route: Route,
        request: HTTPServerRequest,
        path: dict[str, str],
        secure: bool,
    ) -> None:
        self.services = services
        self.traffic = traffic
        self.route = route
        self.request = request
        self.path_kwargs = path
        self.request_id = request_id_of(request)
        self.closed = False
        self._secure = secure
        self._turn = Turn(services)
        self._status = 200
        self._headers: dict[str, str] = {}
        self._body = b""

    async def serve(self) -> None:
        """Answers the request, whatever happens to it."""
        self.traffic.enter()
        try:
            bind_task(request_id=self.request_id)
            await self._answer()
        finally:
            self.traffic.leave()
            method, took = method_label(self.request.method), self.request.request_time()
            self.services.metrics.answered(self.route.path, method, self._status, took)

    async def _answer(self) -> None:
        try:
            wanted = self.route.ops[self.request.method or ""]
            if wanted.permission != PUBLIC:
                await self.authenticate(wanted.permission)
                await self._turn.take(wanted, self.request.method or "", self.actor)
            await self.serve_method()
        except Exception as error:
            log_failure(self.route.path, error)
            self.answer_refusal(refusal_of(error, 500))
        self._turn.ended(self._status)
        self._send()

    def _send(self) -> None:
        if self.closed:
            return
        headers = HTTPHeaders()
        for name, value in (
            common_headers(self.request_id, secure=self._secure) | self._headers
        ).items():
            headers[name] = value
        if self._status != 204:
            headers["Content-Length"] = str(len(self._body))
        if self.traffic.draining:
            headers["Connection"] = "close"
        connection = self.request.connection
        if connection is None:
            return
        start = ResponseStartLine("HTTP/1.1", self._status, responses.get(self._status, "Unknown"))
        body = None if self.request.method == "HEAD" else self._body or None
        _written = connection.write_headers(start, headers, body)
        connection.finish()

    async def serve_method(self) -> None:
        """Serves the request's method by `get`, `post` and so on, as the route's table says."""
        method: Callable[..., Awaitable[None]] = getattr(self, (self.request.method or "").lower())
        await method(**self.path_kwargs)

    async def authenticate(self, permission: str) -> None:
        """Sets who asks, and his bank; raises what `identify` raises."""
        self.actor = await self.identify(permission)
        self.bank = await open_bank(self.services, self.actor.tenant)

    async def identify(self, permission: str) -> Any:
        """Who is asking, by this face's session; raises NotSignedIn or Forbidden. Each face says
        how."""
        raise NotImplementedError(permission)

    get: Callable[..., Awaitable[None]]
    post: Callable[..., Awaitable[None]]
    put: Callable[..., Awaitable[None]]
    patch: Callable[..., Awaitable[None]]
    delete: Callable[..., Awaitable[None]]

    def body(self, model: type[Model]) -> Model:
        """The JSON body as `model`; raises InvalidInput."""
        return read_model(model, self.request.body)

    def client_ip(self) -> str:
        return address_of(self.request, self.services.settings.trusted_proxies)

    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return query_of(self.request)

    def set_status(self, status: int) -> None:
        self._status = status

    def set_header(self, name: str, value: str) -> None:
        self._headers[name] = value

    def write(self, body: bytes) -> None:
        self._body += body

    def answer(self, body: bytes | Mapping[str, Any], status: int = 200) -> None:
        """Answers with JSON: bytes that are JSON already, or a mapping."""
        self._status = status
        self._headers["Content-Type"] = JSON
        self._body = body if isinstance(body, bytes) else orjson.dumps(body)

    def answer_text(self, text: str | bytes) -> None:
        self._headers["Content-Type"] = "text/plain; charset=UTF-8"
        self._body = text if isinstance(text, bytes) else text.encode()

    def answer_refusal(self, refusal: Refusal) -> None:
        """Answers with an error as contract/design 5 says."""
        error: dict[str, Any] = {
            "code": refusal.code,
            "message": refusal.message,
            "request_id": self.request_id,
        }
        if refusal.fields:
            error["fields"] = refusal.fields
        if refusal.status == 401:
            self._headers["WWW-Authenticate"] = "Bearer"
        self._headers |= refusal.headers()
        self.answer({"error": error}, refusal.status)


class Refuser(Api):
    """Answers with a refusal that was decided before the route was asked."""

    def __init__(self, *, refusal: Refusal, **shared: Any) -> None:
        super().__init__(**shared)
        self._refusal = refusal

    @override
    async def _answer(self) -> None:
        self.answer_refusal(self._refusal)
        self._send()


class ApiMessage(HTTPMessageDelegate):
    """Gathers the request's body and starts its Api."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._chunks: list[bytes] = []

    @override
    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return None

    @override
    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._chunks.append(chunk)
        return None

    @override
    def finish(self) -> None:
        self._api.request.body = b"".join(self._chunks)
        tasks = self._api.traffic.tasks
        task = asyncio.get_running_loop().create_task(self._api.serve())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    @override
    def on_connection_close(self) -> None:
        self._api.closed = True
        self._chunks.clear()
