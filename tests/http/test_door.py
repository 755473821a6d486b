"""What every request meets before its route (handlers/http/door.py): whatever comes in, the answer is
a refusal in one shape, and no fault of ours."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest
from tornado.httpserver import HTTPServer

from config.bounds import BODY_BYTES
from deploy.ports import free_port
from handlers.health import Alive
from handlers.http.api import Api
from handlers.http.patience import BODY_SECONDS, HEAD_SECONDS, Patience
from handlers.http.route import Route
from handlers.routes import ROUTES
from server import LIMITS, make_app
from services.container import Services
from tests.conftest import Server
from tests.http.conftest import APPID, Clerk
from tests.support.waiting import until

ODD_METHODS = ("TRACE", "OPTIONS", "PROPFIND", "HEAD", "PUT", "PATCH", "DELETE", "FROBNICATE")
SEGMENTS = {"appid": APPID, "tenant": "demo", "version": "1"}


def address(route: Route) -> str:
    """An address of the route."""
    return re.sub(r"\{(\w+)\}", lambda found: SEGMENTS.get(found[1], "demo:0"), route.path)


def answered_as_promised(answer: httpx.Response, route: Route) -> None:
    """A refusal: JSON where programs ask, a page where people do, and no word of what serves it."""
    assert 400 <= answer.status_code < 500, (route.path, answer.status_code, answer.text)
    assert answer.headers["Server"] == "yinqiao"
    assert answer.headers["X-Request-ID"]
    if answer.request.method == "HEAD":
        assert answer.content == b""
    elif isinstance(route.handler, type) and issubclass(route.handler, Api):
        assert set(answer.json()["error"]) >= {"code", "message", "request_id"}
    else:
        assert answer.headers["Content-Type"].startswith("text/html"), (route.path, answer.headers)
        assert "error-status" in answer.text


@pytest.fixture
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing of what the test does is logged as a fault."""
    with caplog.at_level(logging.INFO):
        yield
    faults = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR or one.exc_info]
    assert faults == []


@pytest.mark.usefixtures("no_faults")
@pytest.mark.parametrize("method", ODD_METHODS)
async def test_a_method_that_a_path_does_not_have_is_refused_and_told_what_it_has(
    http: httpx.AsyncClient, method: str
) -> None:
    for route in ROUTES:
        if method in route.ops:
            continue
        answer = await http.request(method, address(route))
        answered_as_promised(answer, route)
        assert answer.status_code == 405, route.path
        assert answer.headers["Allow"].split(", ") == list(route.ops)


@pytest.mark.usefixtures("no_faults")
async def test_a_method_that_only_another_face_has_is_refused_too(http: httpx.AsyncClient) -> None:
    for method in ODD_METHODS:
        static = await http.request(method, "/static/desk.css")
        assert static.status_code == (200 if method == "HEAD" else 405)
        assert static.headers["Server"] == "yinqiao"
        unknown = await http.request(method, "/nothing/here")
        assert unknown.status_code == 404


ODD_ADDRESSES = (
    "/static/%00",
    "/static/%00.css",
    "/static/../server.py",
    "/static/%2e%2e/%2e%2e/server.py",
    "/static/..%2f..%2fserver.py",
    "/static//etc/passwd",
    "/static/vendor",
    "/static/",
    "/static/" + "x" * 300,
    "/static/nothing.css?v=1",
    "/static/desk.css?v=%00",
    "/static/%ff.css",
    "/static/desk.css%0d%0aX-Injected:1",
    "/console/%00",
    "/console/campaigns/%2e%2e%2f",
    "/console/campaigns/" + "9" * 129,
    "/console/campaigns/demo/versions/99999999999999999999999/approve",
    "/console/events?state=%00",
    "/console/login?bank=%00",
    "/mp/%00/home",
    "/mp/wx/rewards/%E5%92%96/claim",
    "/%ff%fe",
    "/healthz?" + "&".join(f"a{number}=1" for number in range(300)),
    "/healthz?" + "x" * 5_000,
    "/" + "x" * 5_000,
    "/readyz/%2e",
    "//healthz",
    "/healthz/../metrics",
    "/healthz;x=1",
)


@pytest.mark.usefixtures("no_faults")
@pytest.mark.parametrize("path", ODD_ADDRESSES, ids=lambda path: path[:40])
async def test_an_odd_address_is_refused(server: Server, path: str) -> None:
    for accept in ("application/json", "text/html"):
        status, headers, body = await raw(server, f"GET {path} HTTP/1.1", f"Accept: {accept}")
        assert 400 <= status < 500, (path, status)
        assert "server: yinqiao" in headers.lower()
        assert "tornado" not in headers.lower() + body.lower()
        assert '"error"' in body or "error-status" in body


ODD_HEADERS = (
    "Content-Length: abc",
    "Content-Length: -1",
    "Content-Length: 1\r\nContent-Length: 2",
    "Content-Length: 99999999999999999999",
    "Content-Length: 10000000000",
    "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "Transfer-Encoding: gzip",
    "X-Request-ID: " + "x" * 5_000,
    "X-Request-ID: a\tb",
    "Cookie: yq_lang=\xff; =;;; yq_console=\x01\x02; yq_lang",
    "Cookie: " + "; ".join(f"c{number}=1" for number in range(900)),
    "Accept-Language: \xff\xfe,;q=x",
    "Accept: \xff",
    "Authorization: Bearer",
    "Authorization: Bearer \xff\xfe",
    "Content-Type: multipart/form-data",
    "Content-Type: multipart/form-data; boundary=" + "x" * 400,
    "Content-Type: \xff/;charset=none",
    "Content-Encoding: gzip",
    "X-Forwarded-For: \xff, 1.1.1.1",
    "Range: bytes=9999999999999999999999-",
    "If-Modified-Since: never",
    "If-None-Match: \xff",
    "Origin: http://[::1",
    "Idempotency-Key: " + "x" * 300,
    "Idempotency-Key: \xff",
    "X-Big: " + "x" * 17_000,
    "Host: a b",
    "Host: demo\r\nHost: other",
    "No colon here",
    " : empty",
)


@pytest.mark.usefixtures("no_faults")
@pytest.mark.parametrize("header", ODD_HEADERS, ids=lambda header: header[:30])
async def test_an_odd_header_makes_no_fault(server: Server, header: str) -> None:
    for line in (
        "GET /healthz HTTP/1.1",
        "GET /console/login HTTP/1.1",
        "GET /static/desk.css HTTP/1.1",
        "POST /console/login HTTP/1.1",
        f"POST /mp/{APPID}/login HTTP/1.1",
        f"POST /mp/{APPID}/rewards/x/claim HTTP/1.1",
        "GET /sidebar/demo/oauth?code=x&state=y HTTP/1.1",
        f"GET /preview/{APPID}/ HTTP/1.1",
    ):
        status, headers, _ = await raw(server, line, header)
        assert status < 500, (line, status)
        assert "tornado" not in headers.lower()


LOGIN_BODIES = (
    b'{"code": 99999999999999999999999999999999}',
    b'{"code": NaN}',
    b'{"code": Infinity}',
    b'{"code": 1e999}',
    b'{"code": "\\ud800"}',
    b'{"code": "\xed\xa0\x80"}',
    b'{"code": "\\u0000"}',
    b'{"code": "a\\u0000b"}',
    b'{"code": "\xff"}',
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b'{"code": ' + b"9" * 60_000 + b"}",
    b"\xef\xbb\xbf{}",
    b"\x00" * 100,
)


@pytest.mark.usefixtures("no_faults")
@pytest.mark.parametrize("body", LOGIN_BODIES, ids=lambda body: str(body[:24]))
async def test_an_odd_body_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
        answer = await http.post(f"/mp/{APPID}/login", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_body")


async def test_the_last_of_two_keys_counts_and_is_checked(http: httpx.AsyncClient) -> None:
    body = b'{"code": "fine", "code": {"$ne": null}}'
    answer = await http.post(f"/mp/{APPID}/login", content=body)
    assert answer.json()["error"]["fields"].keys() == {"code"}


@pytest.mark.usefixtures("no_faults")
async def test_a_body_that_is_too_long_is_refused_before_it_is_there(server: Server) -> None:
    for line in (
        f"POST /mp/{APPID}/login HTTP/1.1",
        "POST /console/login HTTP/1.1",
        "POST /sidebar/demo/logout HTTP/1.1",
    ):
        for length in (BODY_BYTES + 1, 20_000_000, 10**15):
            status, headers, body = await raw(server, line, f"Content-Length: {length}")
            assert status == 413, line
            assert "body_too_large" in body
            assert "connection: close" in headers.lower()


@pytest.mark.usefixtures("no_faults")
async def test_a_body_that_is_too_long_gets_its_answer_while_it_is_sent(http: httpx.AsyncClient) -> None:
    for path in (f"/mp/{APPID}/login", "/console/login"):
        for size in (BODY_BYTES + 1, 3_000_000):
            answer = await http.post(path, content=b"x" * size)
            assert (answer.status_code, "body_too_large" in answer.text) == (413, True)


@pytest.mark.usefixtures("no_faults")
async def test_a_body_without_a_length_is_counted_as_it_comes(http: httpx.AsyncClient) -> None:
    async def chunks(count: int) -> object:
        for _ in range(count):
            yield b" " * 1024

    for path in (f"/mp/{APPID}/login", "/console/login"):
        answer = await http.post(path, content=chunks(65))  # type: ignore[arg-type]
        assert (answer.status_code, "body_too_large" in answer.text) == (413, True)
    short = await http.post(f"/mp/{APPID}/login", content=chunks(64))  # type: ignore[arg-type]
    assert (short.status_code, short.json()["error"]["code"]) == (400, "invalid_body")
    assert (await http.get("/healthz")).status_code == 200


@pytest.mark.usefixtures("no_faults")
async def test_a_form_of_too_many_fields_is_refused(clerk: Clerk) -> None:
    lin = await clerk("lin")
    for form in ("&" * 20_000, "&".join(f"k{number}=1" for number in range(300))):
        answer = await lin.post(
            "/console/sync", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code in (400, 403)


async def test_https_is_for_good(demo: Services) -> None:
    settings = demo.settings.model_copy(update={"public_url": "https://bank.example"})
    listening, port = HTTPServer(make_app(replace(demo, settings=settings)), **LIMITS), free_port()
    listening.listen(port, "127.0.0.1")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for path in ("/healthz", "/console/login", "/static/desk.css", "/nothing"):
                answer = await client.get(path)
                assert answer.headers["Strict-Transport-Security"] == "max-age=31536000", path
    finally:
        listening.stop()
        await listening.close_all_connections()


@pytest.fixture
async def waiting(demo: Services) -> AsyncIterator[tuple[Patience, list[float], int]]:
    """A server whose patience goes by the time in the list; and its port."""
    now, app, port = [0.0], make_app(demo), free_port()
    app.patience = Patience(lambda: now[0])
    listening = HTTPServer(app, **LIMITS)
    listening.listen(port, "127.0.0.1")
    try:
        yield app.patience, now, port
    finally:
        listening.stop()
        await listening.close_all_connections()


async def one_waits(patience: Patience) -> bool:
    return len(patience) == 1


async def test_a_connection_is_waited_for_so_long_and_no_longer(waiting: tuple[Patience, list[float], int]) -> None:
    patience, now, port = waiting
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: de")
    await until(lambda: one_waits(patience))
    now[0] = HEAD_SECONDS - 0.1
    patience.look()
    writer.write(b"mo\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    await until(lambda: one_waits(patience))  # and now for the next one
    now[0] += HEAD_SECONDS - 0.1
    patience.look()
    assert len(patience) == 1
    now[0] += 0.1
    patience.look()
    assert b"HTTP/1.1" not in await reader.read()
    assert len(patience) == 0
    writer.close()


async def test_a_body_that_does_not_come_is_given_up(waiting: tuple[Patience, list[float], int]) -> None:
    patience, now, port = waiting
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /mp/{APPID}/login HTTP/1.1\r\nHost: demo\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n{{"
    writer.write(head.encode())
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
    now[0] = BODY_SECONDS - 0.1
    patience.look()
    assert len(patience) == 1
    now[0] = BODY_SECONDS
    patience.look()
    assert await reader.read() == b""
    writer.close()


async def test_a_request_at_work_is_waited_for_by_nobody(
    waiting: tuple[Patience, list[float], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    patience, now, port = waiting
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(alive: Alive) -> None:
        begun.set()
        await release.wait()
        alive.answer({"late": True})

    monkeypatch.setattr(Alive, "get", slow)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: demo\r\n\r\n")
    await begun.wait()
    now[0] = 10 * HEAD_SECONDS
    patience.look()
    release.set()
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_plain_http_is_not_for_good(http: httpx.AsyncClient) -> None:
    assert "Strict-Transport-Security" not in (await http.get("/healthz")).headers


async def raw(server: Server, line: str, *more: str) -> tuple[int, str, str]:
    """One request by hand, without a body, on a connection of its own: status, headers, body."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [line, *more] if any(one.startswith("Host:") for one in more) else [line, "Host: demo", *more]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    data = b""
    try:
        async with asyncio.timeout(10):
            data = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", data)
            data += await reader.readexactly(int(length[1])) if length else b""
    except (asyncio.IncompleteReadError, TimeoutError) as error:
        data += getattr(error, "partial", b"")
    finally:
        writer.close()
    head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
    return int(head.split(" ", 2)[1]) if head else 400, head, body


@pytest.mark.usefixtures("no_faults")
@pytest.mark.parametrize(
    ("line", "header", "wanted"),
    [
        ("get /healthz HTTP/1.1", "A: b", 405),
        ("OPTIONS * HTTP/1.1", "A: b", 404),
        ("CONNECT demo:80 HTTP/1.1", "A: b", 404),
        ("GET /static/% HTTP/1.1", "A: b", 404),
        ("GET /static/desk.css%00 HTTP/1.1", "A: b", 400),
        ("GET /static/\xff\xfe HTTP/1.1", "A: b", 400),
        ("GET /healthz HTTP/2.0", "A: b", 400),
        ("BREW /console/login HTTP/1.1", "Transfer-Encoding: chunked", 405),
        (f"BREW /mp/{APPID}/login HTTP/1.1", "Content-Length: 5", 405),
        ("POST /console/login HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 100000", 413),
        (f"POST /mp/{APPID}/login HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 100000", 413),
        ("GET /sidebar/demo/oauth?code=%00&state=y HTTP/1.1", "A: b", 400),
        (f"GET /preview/{APPID}/?code={'x' * 300} HTTP/1.1", "A: b", 400),
        ("GET /console/login?lang=en%00 HTTP/1.1", "A: b", 400),
        ("GET /console/ HTTP/1.1", "Cookie: yq_console=\xff; yq_xsrf=2|zz|zz|zz", 303),
    ],
)
async def test_odd_lines_get_the_answer_that_they_deserve(server: Server, line: str, header: str, wanted: int) -> None:
    status, headers, _ = await raw(server, line, header)
    assert status == wanted
    assert "tornado" not in headers.lower()
