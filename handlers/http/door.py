"""The door: what every request meets before its route. Made-up methods, addresses that cannot be
one, and bodies that are longer than their route takes are refused here, before anything is parsed,
counted or stored, and all in one shape: JSON for programs, a page for browsers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    ParseBodyConfig,
    ParseUrlEncodedConfig,
    RequestStartLine,
    ResponseStartLine,
    set_parse_body_config,
)
from tornado.web import Application
from typing_extensions import override

from config.bounds import ADDRESS_BYTES, FORM_FIELDS, LISTS_FORM_FIELDS, clean
from handlers.http.api import Api, ApiMessage, Refuser
from handlers.http.base import Refusal, Traffic, refusal_of
from handlers.http.files import UPLOAD_SECONDS
from handlers.http.pages import Refused, StaticFiles
from handlers.http.patience import BODY_SECONDS, HEAD_SECONDS, Patience
from handlers.http.route import UNKNOWN, Op, Route
from services.container import Services
from services.errors import InvalidInput, TooLarge, YinqiaoError

STATIC_FILES = "/static/"
AT_THE_ROOT = frozenset({"/favicon.ico", "/robots.txt"})
LINGER_BYTES = 8 * 1024 * 1024
"""So much of a refused body is still read, so that its sender sees the answer and not a broken
connection."""
LINGER_SECONDS = 5.0
_PLAIN = re.compile(r"[A-Za-z0-9/_.:@-]*")
_LENGTH = re.compile(r"[0-9]{1,18}(?:,[ \t]*[0-9]{1,18})*")


@dataclass(frozen=True)
class Place:
    """Where a request leads: a Route and the parameters of its path."""

    route: Route
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def is_program(self) -> bool:
        return isinstance(self.route.handler, type) and issubclass(self.route.handler, Api)


class Table:
    """The routes by the first part of their path, and how many parts it has."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes: dict[tuple[str, int], list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            for path in {route.path, route.path.rstrip("/")}:
                self._routes.setdefault(_shape(path), []).append((route.pattern(), route))

    def find(self, path: str) -> Place | None:
        for pattern, route in self._routes.get(_shape(path), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return Place(route, match.groupdict())
        return None


def _shape(path: str) -> tuple[str, int]:
    return path[1:].partition("/")[0], path.count("/")


class Door(Application):
    """The application: each request is refused, or led to its route with a body that is not longer
    than the route takes."""

    def __init__(
        self, routes: tuple[Route, ...], services: Services, traffic: Traffic, **settings: Any
    ) -> None:
        set_parse_body_config(
            ParseBodyConfig(urlencoded=ParseUrlEncodedConfig(max_arguments=LISTS_FORM_FIELDS))
        )
        super().__init__([], traffic=traffic, **settings)
        self._table = Table(routes)
        self._services = services
        self._shared: dict[str, Any] = {"services": services, "traffic": traffic}
        self._of_programs = {**self._shared, "secure": services.settings.secure}
        self.patience = Patience()
        self._production = services.settings.env == "production"

    @override
    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return Arriving(self, server_conn, request_conn)

    @override
    def find_handler(self, request: HTTPServerRequest, **_: Any) -> Any:
        place = self._place(request)
        refusal = self._objection(request, place)
        if refusal is not None:
            return Turned(self, request, place, refusal)
        wanted = place.route.ops[request.method or ""]
        inner = self._led(request, place)
        if wanted.file:
            connection: Any = request.connection
            connection.set_max_body_size(wanted.most)
            self.patience.wait(connection.stream, UPLOAD_SECONDS)
        if "Transfer-Encoding" in request.headers:
            return Measured(self, request, place, inner, wanted.most)
        return inner

    def _place(self, request: HTTPServerRequest) -> Place:
        path = request.path
        if path.startswith(STATIC_FILES) or path in AT_THE_ROOT:
            return Place(StaticFiles.ROUTE)
        found = self._table.find(path)
        if found is None or (found.route.dev and self._production):
            return Place(UNKNOWN)
        return found

    def _objection(self, request: HTTPServerRequest, place: Place) -> Refusal | None:
        """Why this request is not let in, by what its first lines say."""
        try:
            check_address(request)
            wanted = place.route.ops.get(request.method or "")
            if place.route is UNKNOWN:
                return refusal_of(None, 404)
            if wanted is None:
                return refusal_of(None, 405, allow=tuple(place.route.ops))
            check_body(request, wanted, place)
        except YinqiaoError as error:
            return refusal_of(error, error.status)
        return None

    def _led(self, request: HTTPServerRequest, place: Place) -> HTTPMessageDelegate:
        handler: Any = place.route.handler
        if place.is_program:
            return ApiMessage(
                handler(
                    route=place.route,
                    request=request,
                    path=place.parameters,
                    **self._of_programs,
                )
            )
        parameters: dict[str, Any] = dict(place.parameters)
        if place.route is StaticFiles.ROUTE:
            parameters["path"] = _decoded(request.path).removeprefix(STATIC_FILES).lstrip("/")
        return self._handled(request, handler, route=place.route, parameters=parameters)

    def turned(
        self, request: HTTPServerRequest, place: Place, refusal: Refusal
    ) -> HTTPMessageDelegate:
        """What answers with `refusal`: JSON where programs ask, a page where people do."""
        html = "text/html" in request.headers.get("Accept", "")
        if place.is_program or (place.route is UNKNOWN and not html):
            shared = {"route": place.route, "request": request, "path": {}, **self._of_programs}
            return ApiMessage(Refuser(refusal=refusal, **shared))
        return self._handled(request, Refused, route=place.route, refusal=refusal)

    def _handled(
        self,
        request: HTTPServerRequest,
        handler: Any,
        parameters: dict[str, Any] | None = None,
        **more: Any,
    ) -> HTTPMessageDelegate:
        return self.get_handler_delegate(
            request, handler, {**self._shared, **more}, path_kwargs=parameters
        )


class Arriving(HTTPMessageDelegate):
    """A request while it comes in: whoever takes it is found when its headers are there."""

    _inner: HTTPMessageDelegate | None = None

    def __init__(self, door: Door, server_connection: object, connection: HTTPConnection) -> None:
        self._door = door
        self._server_connection = server_connection
        self._connection = connection
        self._stream = cast("HTTP1Connection", connection).stream
        door.patience.wait(self._stream, HEAD_SECONDS)

    @override
    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        request = HTTPServerRequest(
            connection=self._connection,
            server_connection=self._server_connection,
            start_line=cast("RequestStartLine", start_line),
            headers=headers,
        )
        self._door.patience.wait(self._stream, BODY_SECONDS)
        self._inner = inner = cast("HTTPMessageDelegate", self._door.find_handler(request))
        return inner.headers_received(start_line, headers)

    @override
    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._inner.data_received(chunk) if self._inner else None

    @override
    def finish(self) -> None:
        self._door.patience.over(self._stream)
        if self._inner:
            self._inner.finish()

    @override
    def on_connection_close(self) -> None:
        self._door.patience.over(self._stream)
        if self._inner:
            self._inner.on_connection_close()


def check_address(request: HTTPServerRequest) -> None:
    """Raises InvalidInput `bad_address` for a path or a query that no address of ours can have."""
    if len(request.uri or "") > ADDRESS_BYTES:
        raise InvalidInput("bad_address", "the address is too long")
    if len(request.query_arguments) > FORM_FIELDS:
        raise InvalidInput("bad_address", "the address has too many parameters")
    try:
        if not _PLAIN.fullmatch(request.path):
            clean(_decoded(request.path))
        for name, values in request.query_arguments.items():
            clean(name)
            clean(values[-1].decode("utf-8", "replace"))
    except ValueError as error:
        raise InvalidInput("bad_address", "the address cannot be read") from error


def check_body(request: HTTPServerRequest, wanted: Op, place: Place) -> None:
    """Raises TooLarge for a body that says that it is longer than `wanted` takes, and InvalidInput
    for a form that no page of ours has."""
    length = declared_length(request.headers)
    if length > wanted.most:
        raise too_large(wanted.most)
    multipart = request.headers.get("Content-Type", "").lower().startswith("multipart/")
    if not place.is_program and request.method == "POST" and multipart != wanted.file:
        raise InvalidInput("invalid_body", "the form is of another kind")


def too_large(most: int) -> TooLarge:
    return TooLarge("body_too_large", f"at most {most} bytes")


def declared_length(headers: HTTPHeaders) -> int:
    """Content-Length, or 0 where there is none that can be read: the server refuses such a request
    itself."""
    given = headers.get("Content-Length", "0")
    return int(given.partition(",")[0]) if _LENGTH.fullmatch(given) else 0


def _decoded(path: str) -> str:
    """A path without percent signs; raises ValueError when it is no UTF-8."""
    return unquote_to_bytes(path.encode("latin-1")).decode()


class Turned(HTTPMessageDelegate):
    """Answers with a refusal at once, whatever still comes in. A body that is not too long is read
    and dropped: a connection that is closed on a sender who still sends takes the answer with
    it."""

    def __init__(
        self, door: Door, request: HTTPServerRequest, place: Place, refusal: Refusal
    ) -> None:
        connection: Any = request.connection
        self._lingers = (
            declared_length(request.headers) <= LINGER_BYTES and "Expect" not in request.headers
        )
        request.connection = self._answering = _Answering(connection, closes=not self._lingers)
        connection.set_max_body_size(LINGER_BYTES)
        door.patience.wait(connection.stream, LINGER_SECONDS)
        self._inner = door.turned(request, place, refusal)

    @override
    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        if self._lingers:
            self._inner.finish()
            return None
        self._answering.all_read()
        self._inner.finish()
        return self._answering.wait()

    @override
    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return None

    @override
    def finish(self) -> None:
        self._answering.all_read()

    @override
    def on_connection_close(self) -> None:
        self._inner.on_connection_close()


class _Answering(HTTPConnection):
    """A connection that is finished when the answer is written and the request is read, both."""

    def __init__(self, connection: Any, *, closes: bool) -> None:
        self._connection = connection
        self._closes = closes
        self._written = self._read = False
        self._ended = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    @override
    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Any:
        if self._closes or not self._read:
            headers["Connection"] = "close"
        return self._connection.write_headers(start_line, headers, chunk)

    @override
    def write(self, chunk: bytes) -> Any:
        return self._connection.write(chunk)

    @override
    def finish(self) -> None:
        self._written = True
        self._end()

    def all_read(self) -> None:
        """Nothing more is waited for from the sender."""
        self._read = True
        self._end()

    async def wait(self) -> None:
        """Until it is finished, or it is waited for too long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), LINGER_SECONDS)

    def _end(self) -> None:
        if self._written and self._read:
            self._ended.set()
            self._connection.finish()


class Measured(HTTPMessageDelegate):
    """A body that does not say how long it is, up to `most` bytes."""

    def __init__(
        self,
        door: Door,
        request: HTTPServerRequest,
        place: Place,
        inner: HTTPMessageDelegate,
        most: int,
    ) -> None:
        self._door = door
        self._request = request
        self._place = place
        self._inner = inner
        self._left = self._most = most

    @override
    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return self._inner.headers_received(start_line, headers)

    @override
    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._left < 0:
            return None
        self._left -= len(chunk)
        if self._left >= 0:
            return self._inner.data_received(chunk)
        self._inner.on_connection_close()
        error = too_large(self._most)
        refusal = refusal_of(error, error.status)
        self._inner = turned = Turned(self._door, self._request, self._place, refusal)
        return turned.headers_received(
            RequestStartLine(self._request.method or "", "", ""), self._request.headers
        )

    @override
    def finish(self) -> None:
        self._inner.finish()

    @override
    def on_connection_close(self) -> None:
        self._inner.on_connection_close()
