"""wechatpy's clients made async: their one-shot API methods return awaitables.

Calls go over the bank's own connections (pools.py), so nothing is opened at import. Methods that use
an answer themselves (`jsapi.get_jsapi_ticket`, `user.list`, `media.get_url`, …) cannot work this
way; call those endpoints through `get` and `post`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from mimetypes import guess_type
from pathlib import PurePath
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
from yarl import URL

from services.limiter import Limiter, lane
from services.observe import trace
from services.observe.metrics import Metrics
from services.wechat.core.errors import (
    BadConfig,
    BadRequest,
    Family,
    NotSent,
    PlatformError,
    SlowDown,
    TokenRejected,
    UnknownCode,
    UnknownOutcome,
    is_known,
    platform_error,
)
from services.wechat.core.pools import Broken, Pool
from services.wechat.core.tokens import App, Grant, TokenStore

ANSWER_LIMIT = 2 * 1024 * 1024
UPLOAD_LIMIT = 20 * 1024 * 1024
READ_SECONDS = 4.0
CONNECT_SECONDS = 2.0

_ANSWERS_BYTES = frozenset(
    {
        "/wxa/getwxacode",
        "/wxa/getwxacodeunlimit",
        "/cgi-bin/wxaapp/createwxaqrcode",
        "/cgi-bin/media/get",
    }
)
_TAKES_NO_TOKEN = frozenset(
    {"/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/gettoken", "/sns/jscode2session"}
)
_OPTIONAL = frozenset(
    {
        "/cgi-bin/idconvert/unionid_to_external_userid",
        "/cgi-bin/externalcontact/unionid_to_external_userid",
    }
)
"""Calls that WeCom grants to few apps (contract/wechat B3): who is refused them is set up right."""
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
"""What ends a call before its first byte left."""
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "Yinqiao"}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

log = logging.getLogger(__name__)

OnUnknown = Callable[[str, Family, PlatformError], None]
"""Told of every code that nobody has classified yet, and of every refusal of how we are set up, with
the tenant and the platform; must not wait."""


@dataclass(frozen=True)
class Wire:
    """How a bank's clients of one platform reach it: below `base`, over the bank's connections to it
    and a shared token store. `timeout` is in seconds for one read."""

    base: str
    pool: Pool
    tokens: TokenStore
    timeout: float = READ_SECONDS
    metrics: Metrics | None = None


@dataclass(slots=True)
class _Call:
    """One API call, ready to be sent more than once; `path` is what errors, logs and metrics
    say."""

    method: str
    url: str
    path: str
    params: dict[str, Any] = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    seconds: float
    with_token: bool
    ours: bool


class AsyncClientMixin:
    """Stands before a wechatpy client in the bases and sends its calls over the bank's
    connections.

    `get`, `post` and wechatpy's methods take requests' usual keywords (`params`, `data` or `json`
    as a JSON body, `files`) and `timeout` in seconds for one read. They raise PlatformError, and
    nothing else, for what the platform or the network does. A rejected token is refreshed once and
    the call sent once more; there is no other retry. Once `guard` was called, each call waits for
    its place in the platform's limits (services/limiter).
    """

    family: ClassVar[Family]
    platform_origin: ClassVar[str]
    appid: str

    def _set_up(self, wire: Wire, app: App) -> None:
        """What wechatpy's `__init__` does, without its requests session and its token cache."""
        self.base = wire.base.rstrip("/")
        self.API_BASE_URL = f"{self.base}/cgi-bin/"
        self.auto_retry = False
        self.timeout = wire.timeout
        self._pool = wire.pool
        self._tokens = wire.tokens
        self._app = app
        self._metrics = wire.metrics
        self._limiter: Limiter | None = None
        self._on_unknown: OnUnknown | None = None

    def guard(self, limiter: Limiter, on_unknown: OnUnknown) -> None:
        """From here on calls keep to `limiter`, and `on_unknown` is told of codes that somebody must
        look at."""
        self._limiter = limiter
        self._on_unknown = on_unknown

    @property
    def access_token(self) -> str:
        """Not there: wechatpy's would fetch in the middle of the event loop."""
        raise AttributeError("an async client has no access_token property: await token()")

    async def token(self) -> str:
        """The app's access token, for the few addresses that a browser must be given."""
        return await self._tokens.get(self._app)

    async def _request(
        self,
        method: str,
        url_or_endpoint: str,
        *,
        result_processor: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> Any:
        call = await self._prepare(method, url_or_endpoint, **options)
        if call.with_token:
            answer = await self._send_with_token(call)
        elif call.ours and call.path in _TAKES_NO_TOKEN:
            answer = await self._send_with_secret(call)
        else:
            answer = await self._send(call)
        if result_processor is None:
            return answer
        try:
            return result_processor(answer)
        except (LookupError, TypeError, ValueError) as error:
            raise UnknownOutcome(None, f"the answer lacks {error}", call.path) from error

    async def _fetch_grant(self, method: str, path: str, **options: Any) -> Grant:
        """The platform's answer to a token call, checked. Whoever asks first asks for all, so it
        goes in the first lane."""
        call = await self._prepare(method, f"{self.base}{path}", **options)
        with lane("welcome"):
            answer = await self._send(call, token_call=True)
        token, seconds = answer.get("access_token"), answer.get("expires_in", 7200)
        if (
            not isinstance(token, str)
            or not token
            or not isinstance(seconds, int)
            or not 0 < seconds <= 86400
        ):
            raise UnknownOutcome(None, "the answer holds no usable access_token", call.path)
        return Grant(token, seconds)

    async def _prepare(
        self,
        method: str,
        endpoint: str,
        *,
        api_base_url: str | None = None,
        params: Mapping[str, Any] | None = None,
        data: Any = None,
        json: Any = None,
        files: Any = None,
        timeout: float | None = None,  # noqa: ASYNC109 - a number for the wire, not a scope
    ) -> _Call:
        url = self._resolve(endpoint, api_base_url)
        ours = url.startswith((f"{self.base}/", f"{self.platform_origin}/"))
        path = urlsplit(url).path.removeprefix(urlsplit(self.base).path if ours else "")
        query = {name: value for name, value in (params or {}).items() if value is not None}
        body = await _body(data if json is None else json, files, path)
        with_token = ours and path not in _TAKES_NO_TOKEN and "access_token" not in query
        return _Call(
            method.upper(), url, path, query, body, timeout or self.timeout, with_token, ours
        )

    def _resolve(self, endpoint: str, api_base_url: str | None) -> str:
        """An absolute address as it is; else below `api_base_url`, with the platform's host
        replaced by our base."""
        if endpoint.startswith(("http://", "https://")):
            return endpoint
        root = api_base_url or self.API_BASE_URL
        if root.startswith(self.platform_origin):
            root = self.base + root.removeprefix(self.platform_origin)
        return root + endpoint

    async def _send_with_token(self, call: _Call) -> Any:
        token = await self._tokens.get(self._app)
        try:
            return await self._send(call, token)
        except TokenRejected:
            token = await self._tokens.refresh(self._app, reject=token)
        return await self._send(call, token)

    async def _send_with_secret(self, call: _Call) -> Any:
        """A call that carries the app's secret itself: never again with one that was refused."""
        await self._tokens.check_secret(self._app)
        try:
            return await self._send(call)
        except PlatformError as error:
            await self._tokens.heard(self._app, error)
            raise

    async def _send(
        self, call: _Call, token: str | None = None, *, token_call: bool = False
    ) -> Any:
        """Sends once, in its turn. A call that was given no turn counts as SlowDown without having
        been sent."""
        async with self._turn(call), self._watched(call.path):
            status, headers, content = await self._exchange(call, token)
            return _read(self.family, call.path, status, headers, content, token_call=token_call)

    @asynccontextmanager
    async def _turn(self, call: _Call) -> AsyncIterator[None]:
        if self._limiter is None or not call.ours:
            yield
            return
        longest = call.seconds + 2 * CONNECT_SECONDS
        async with self._limiter.passing(self.family, str(self.appid), call.path, longest):
            yield

    @asynccontextmanager
    async def _watched(self, path: str) -> AsyncIterator[None]:
        """Counts, traces and logs what one call comes to."""
        start = time.perf_counter()
        try:
            yield
        except PlatformError as error:
            known = error.errcode is not None and not isinstance(error, UnknownCode)
            self._count(path, str(error.errcode) if known else error.name)
            trace.call(
                path,
                error.name if error.errcode is None else error.errcode,
                time.perf_counter() - start,
            )
            if isinstance(error, (BadRequest, BadConfig, UnknownCode)):
                log.warning("platform call failed for good: %s", error)
            self._report(error)
            raise
        self._count(path, "0")
        trace.call(path, 0, time.perf_counter() - start)

    async def _exchange(
        self, call: _Call, token: str | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Sends once and reads at most ANSWER_LIMIT bytes, of a file UPLOAD_LIMIT; raises NotSent
        or UnknownOutcome. Neither names its cause: that one may say the address, with the token."""
        try:
            async with (
                asyncio.timeout(call.seconds + 2 * CONNECT_SECONDS),
                self._pool.place(call.path) as session,
                session.request(
                    call.method,
                    _address(call, token),
                    headers={**_HEADERS, **call.body.get("headers", {})},
                    data=_sent(call.body),
                    timeout=aiohttp.ClientTimeout(
                        connect=2 * CONNECT_SECONDS,
                        sock_connect=CONNECT_SECONDS,
                        sock_read=call.seconds,
                    ),
                    allow_redirects=False,
                ) as response,
            ):
                content = await _bounded(response, call.path)
                return response.status, response.headers, content
        except _NOT_SENT as error:
            raise NotSent(None, type(error).__name__, call.path) from None
        except Broken as error:
            raise UnknownOutcome(None, str(error), call.path) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnknownOutcome(None, type(error).__name__, call.path) from None

    def _report(self, error: PlatformError) -> None:
        """Tells of a code that nobody has classified, or that refuses how we are set up."""
        if error.errcode is None or self._on_unknown is None:
            return
        refused = isinstance(error, BadConfig) and error.path not in _OPTIONAL
        if refused or not is_known(self.family, error.errcode):
            self._on_unknown(self._app.tenant, self.family, error)

    def _count(self, path: str, errcode: str) -> None:
        if self._metrics:
            self._metrics.platform_calls.labels(path, errcode).inc()


def _address(call: _Call, token: str | None) -> URL:
    """The address with its query; a parameter takes the place of one of that name in the address."""
    parts = urlsplit(call.url)
    query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **call.params}
    if token:
        query["access_token"] = token
    return URL(parts._replace(query=urlencode(query, doseq=True)).geturl(), encoded=True)


async def _bounded(response: aiohttp.ClientResponse, path: str) -> bytes:
    most = UPLOAD_LIMIT if path in _ANSWERS_BYTES else ANSWER_LIMIT
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnknownOutcome(None, "the answer is compressed although that was not accepted", path)
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > most:
            raise UnknownOutcome(None, f"the answer has more than {most} bytes", path)
    return bytes(content)


def _read(
    family: Family,
    path: str,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    token_call: bool,
) -> dict[str, Any] | bytes:
    """The answer's JSON object, or its bytes where the endpoint answers those; raises
    PlatformError."""
    if status != 200:
        raise _http_error(status, path)
    if path in _ANSWERS_BYTES and _is_file(headers, content):
        return content
    try:
        answer = _decode(content)
        errcode = int(answer.get("errcode") or 0)
    except (ValueError, TypeError, RecursionError) as error:
        raise UnknownOutcome(None, "the answer is not a JSON object", path) from error
    if errcode:
        raise platform_error(
            family, errcode, str(answer.get("errmsg", ""))[:500], path, token_call=token_call
        )
    return answer


def _is_file(headers: Mapping[str, str], content: bytes) -> bool:
    """A file with a name may begin like JSON; an error never has a name."""
    if "content-disposition" in headers:
        return True
    return "json" not in headers.get("content-type", "") and not content.startswith(b"{")


def _decode(content: bytes) -> dict[str, Any]:
    """A JSON object. Nicknames come with raw control characters and halves of emoji: both are let
    through, as wechatpy does, but a lone surrogate becomes "?" because no database takes it."""
    answer = json.loads(content.decode("utf-8", "replace"), strict=False)
    if _SURROGATE.search(content):
        answer = json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
    if not isinstance(answer, dict):
        raise TypeError(f"not an object but {type(answer).__name__}")
    return answer


def _http_error(status: int, path: str) -> PlatformError:
    message = f"HTTP {status}"
    if status == 429:
        return SlowDown(None, message, path, retry_after=60)
    if status >= 500:
        return UnknownOutcome(None, message, path)
    return BadRequest(None, message, path) if status >= 400 else BadConfig(None, message, path)


async def _body(data: Any, files: Any, path: str) -> dict[str, Any]:
    """A body that can be sent twice: UTF-8 JSON without escapes, raw text, or a form with files."""
    if files:
        items: Iterable[tuple[str, Any]] = files.items() if isinstance(files, Mapping) else files
        return {
            "data": dict(data or {}),
            "files": [(name, await _file(value, path)) for name, value in items],
        }
    if data is None:
        return {}
    if isinstance(data, str):
        return {"content": data.encode()}
    if isinstance(data, bytes):
        return {"content": data}
    content = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
    return {"content": content, "headers": {"Content-Type": "application/json; charset=utf-8"}}


def _sent(body: Mapping[str, Any]) -> bytes | aiohttp.FormData | None:
    """What goes out: files as streams, piece by piece, since 20 MB at once would hold up the event
    loop. Names of files stay as they are: WeChat reads them as UTF-8 and undoes no escapes."""
    if "files" not in body:
        return body.get("content")
    form = aiohttp.FormData(quote_fields=False)
    for name, value in body["data"].items():
        form.add_field(name, str(value))
    for field_name, (name, content, *kind) in body["files"]:
        (content_type,) = kind or [guess_type(name)[0] or "application/octet-stream"]
        form.add_field(field_name, BytesIO(content), filename=name, content_type=content_type)
    return form


async def _file(value: Any, path: str) -> tuple[Any, ...]:
    """(name, bytes, and the content type if one was given), read once and off the event loop."""
    name, content, *kind = value if isinstance(value, (tuple, list)) else (None, value)
    if hasattr(content, "read"):
        name = name or PurePath(str(getattr(content, "name", "upload"))).name
        content = await asyncio.to_thread(content.read, UPLOAD_LIMIT + 1)
    if len(content) > UPLOAD_LIMIT:
        raise BadRequest(None, f"a file has at most {UPLOAD_LIMIT} bytes", path)
    return (name or "upload", content, *kind)
