"""What every handler shares: the request id, the typed body, the one mapping of errors to HTTP; and
the browser faces' base.

A handler method is: parse, one use-case, answer. Errors of `services/errors.py` are left to the
mapping; a page catches those that it shows beside the form that caused them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from types import TracebackType
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler
from typing_extensions import override

from config.bounds import ID_LENGTH
from config.logging import bind
from customers.banks.bank import Bank, open_bank
from handlers.http.auth import PUBLIC
from handlers.http.rates import Turn
from handlers.http.route import Op, Route
from services.container import Services
from services.errors import InvalidInput, YinqiaoError
from services.wechat.core.errors import PlatformError

logger = logging.getLogger("yinqiao.http")

Model = TypeVar("Model", bound=BaseModel)

MOST_TOLD = 50
"""So many faults of a body are told."""
METHODS = frozenset({"GET", "POST", "HEAD"})
"""What a metric calls by its name; every other method is `other`."""
HSTS = "max-age=31536000"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_HTTP_CODES = {403: "forbidden", 404: "not_found", 405: "method_not_allowed"}


_PROCESS = os.urandom(8).hex()
_numbers = itertools.count(1)


def _next_request_id() -> str:
    """Unique: this process's random name and a number."""
    return f"{_PROCESS}{next(_numbers):08x}"


@dataclass
class Traffic:
    """What this process is doing: requests in flight, and whether it is on its way out."""

    in_flight: int = 0
    draining: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.idle.set()

    def enter(self) -> None:
        self.in_flight += 1
        self.idle.clear()

    def leave(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()


@dataclass(frozen=True)
class Refusal:
    """An error as the caller sees it; `retry_after` in seconds, `allow` the methods of a path."""

    status: int
    code: str
    message: str
    fields: dict[str, str] = field(default_factory=dict)
    retry_after: int | None = None
    allow: tuple[str, ...] = ()

    def headers(self) -> dict[str, str]:
        """What the answer says besides: when to come again, and what is allowed here."""
        said = {}
        if self.retry_after is not None:
            said["Retry-After"] = str(self.retry_after)
        if self.status == 405:
            said["Allow"] = ", ".join(self.allow)
        return said


PLATFORM_FAILED = "the platform did not answer as it should"
"""What outsiders hear of an answer of WeChat's or WeCom's, whose own words name addresses."""
INTERNAL = Refusal(500, "internal", "something went wrong on our side")


def refusal_of(error: BaseException | None, status: int, *, allow: tuple[str, ...] = ()) -> Refusal:
    """The one mapping of errors to HTTP. What is not an error of ours, or is a fault of ours, is a
    500 that says nothing."""
    if isinstance(error, PlatformError):
        later = error.retry_after if error.status == 503 else None
        return Refusal(error.status, error.code, PLATFORM_FAILED, retry_after=later)
    if isinstance(error, YinqiaoError) and error.status in (502, 503):
        later = getattr(error, "retry_after", None)
        return Refusal(error.status, error.code, error.message, retry_after=later)
    if isinstance(error, YinqiaoError) and error.status < 500:
        return Refusal(
            error.status,
            error.code,
            error.message,
            error.fields,
            getattr(error, "retry_after", None),
        )
    if isinstance(error, HTTPError) or (error is None and status < 500):
        code = _HTTP_CODES.get(status, "bad_request")
        return Refusal(status, code, code.replace("_", " "), allow=allow)
    return INTERNAL


def read_model(
    model: type[Model], data: bytes | Mapping[str, Any], code: str = "invalid_body"
) -> Model:
    """`data` as `model`, strictly: a dict where a scalar is due is refused. Raises InvalidInput
    with the fields' faults."""
    try:
        return (
            model.model_validate_json(data)
            if isinstance(data, bytes)
            else model.model_validate(data)
        )
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        fields = {
            ".".join(map(str, fault["loc"]))[:ID_LENGTH] or "body": fault["msg"]
            for fault in faults[:MOST_TOLD]
        }
        raise InvalidInput(
            code, "the request cannot be read as what it should be", fields=fields
        ) from None


def method_label(method: str | None) -> str:
    """The method as a metric's label: nothing that a caller made up."""
    return method if method in METHODS else "other"


def common_headers(request_id: str, *, secure: bool) -> dict[str, str]:
    """What every answer of ours carries; `secure` when browsers reach us over https."""
    return {
        "Server": "yinqiao",
        "X-Request-ID": request_id,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        **({"Strict-Transport-Security": HSTS} if secure else {}),
    }


def request_id_of(request: HTTPServerRequest) -> str:
    """The caller's own X-Request-ID when it is a sane one, else a new one."""
    given = request.headers.get("X-Request-ID", "")
    return given if given and _REQUEST_ID.fullmatch(given) else _next_request_id()


def address_of(request: HTTPServerRequest, trusted: Sequence[str]) -> str:
    """The caller's address, by which he is counted: of IPv6 the network of 64 bits that one
    household has. A proxy's word for it counts only when the proxy is listed (ASVS 4.1.3), by its
    address or its network."""
    address = _ip(request.remote_ip or "")
    networks = _networks(tuple(trusted))
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    while address is not None and forwarded and any(address in known for known in networks):
        earlier = _ip(forwarded.pop())
        if earlier is None:
            break
        address = earlier
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False).network_address)
    return str(address or "")


@lru_cache(maxsize=8)
def _networks(trusted: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(proxy, strict=False) for proxy in trusted)


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def query_of(request: HTTPServerRequest) -> dict[str, str]:
    """The query's parameters; of a repeated one the last."""
    return {
        name: values[-1].decode("utf-8", "replace")
        for name, values in request.query_arguments.items()
    }


def log_failure(path: str, error: BaseException) -> None:
    """Logs what is a fault of ours or of the platforms; refusals are the metrics' business."""
    status = error.status if isinstance(error, YinqiaoError) else getattr(error, "status_code", 500)
    if status in (502, 503):
        logger.warning("%s answered %s: %s", path, status, error)
    elif status >= 500:
        logger.error("%s failed", path, exc_info=(type(error), error, error.__traceback__))


class Base(RequestHandler):
    """Serves one Route. `actor`, and `bank`, which is
    his, are set where the route's permission asks for somebody."""

    actor: Any = None
    bank: Bank

    @override
    def initialize(self, services: Services, traffic: Traffic, route: Route) -> None:
        self.services = services
        self.traffic = traffic
        self.route = route
        self._bound = ExitStack()
        self._turn = Turn(services)
        traffic.enter()
        if traffic.draining:
            self.set_header("Connection", "close")

    @override
    def set_default_headers(self) -> None:
        if not hasattr(self, "request_id"):
            self.request_id = request_id_of(self.request)
        secure = self.application.settings["secure"]
        self._headers.update(common_headers(self.request_id, secure=secure))

    @override
    def prepare(self) -> Awaitable[None] | None:
        self._bound.enter_context(bind(request_id=self.request_id))
        wanted = self.route.ops[self.request.method or ""]
        if sum(map(len, self.request.body_arguments.values())) > wanted.fields:
            raise InvalidInput("too_many_fields", f"at most {wanted.fields} fields")
        return None if wanted.permission == PUBLIC else self._authorise(wanted)

    async def _authorise(self, wanted: Op) -> None:
        await self.authenticate(wanted.permission)
        await self._turn.take(wanted, self.request.method or "", self.actor)

    async def authenticate(self, permission: str) -> None:
        """Sets who asks, and his bank; raises what `identify` raises."""
        self.actor = await self.identify(permission)
        self.bank = await open_bank(self.services, self.actor.tenant)

    async def identify(self, permission: str) -> Any:
        """Who is asking, by this face's session; raises NotSignedIn or Forbidden. Each face says
        how."""
        raise NotImplementedError(permission)

    def body(self, model: type[Model]) -> Model:
        """The JSON body as `model`; raises InvalidInput."""
        return read_model(model, self.request.body)

    def client_ip(self) -> str:
        return address_of(self.request, self.services.settings.trusted_proxies)

    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return query_of(self.request)

    def answer(self, body: bytes | Mapping[str, Any], status: int = 200) -> None:
        """Answers with JSON: bytes that are JSON already, or a mapping."""
        self.set_status(status)
        self._headers["Content-Type"] = "application/json; charset=UTF-8"
        self.write(body if isinstance(body, bytes) else orjson.dumps(body))

    def answer_text(self, text: str) -> None:
        self._headers["Content-Type"] = "text/plain; charset=UTF-8"
        self.write(text)

    def answer_refusal(self, refusal: Refusal) -> None:
        """Answers with an error; browser faces answer with a page."""
        error: dict[str, Any] = {
            "code": refusal.code,
            "message": refusal.message,
            "request_id": self.request_id,
        }
        if refusal.fields:
            error["fields"] = refusal.fields
        self.answer({"error": error}, refusal.status)

    @override
    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        refusal = kwargs.get("refusal") or refusal_of(error, status_code)
        self.set_status(refusal.status)
        for name, value in refusal.headers().items():
            self.set_header(name, value)
        self.answer_refusal(refusal)

    @override
    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if value is not None:
            log_failure(self.route.path, value)

    @override
    def compute_etag(self) -> str | None:
        return None

    @override
    def on_finish(self) -> None:
        self.traffic.leave()
        self._bound.close()
        self._turn.ended(self._status_code)
        method, took = method_label(self.request.method), self.request.request_time()
        self.services.metrics.answered(self.route.path, method, self._status_code, took)
