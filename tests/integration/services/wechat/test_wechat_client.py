"""The async transport under wechatpy's methods: bounded retries, bounded answers, and an error for every ending."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tornado.testing import bind_unused_port

from services.observe.metrics import Metrics
from services.wechat.core import client as client_module
from services.wechat.core import errors
from services.wechat.core.client import Wire
from services.wechat.core.tokens import TokenStore
from services.wechat.wecom import WeComClient
from tests.integration.services.wechat.conftest import one_pool

GET = "/cgi-bin/externalcontact/get"
OK = {"errcode": 0, "errmsg": "ok"}


async def test_wechatpy_methods_are_awaited_and_carry_the_token(rig):
    async with rig() as r:
        r.platform.answers["/cgi-bin/externalcontact/list"] = {**OK, "external_userid": ["wm1"]}
        assert (await r.wecom.external_contact.list("rm001"))["external_userid"] == ["wm1"]
        (call,) = r.platform.of("/cgi-bin/externalcontact/list")
    assert call.query == {"userid": "rm001", "access_token": "T1"}


async def test_result_processors_of_wechatpy_are_honoured(rig):
    async with rig() as r:
        r.platform.answers["/wxa/getpaidunionid"] = {**OK, "unionid": "u1"}
        assert await r.mini.wxa.get_paid_unionid("o1") == "u1"
        assert r.platform.calls[-1].query == {"openid": "o1", "access_token": "T1"}
        r.platform.answers["/wxa/getpaidunionid"] = OK
        with pytest.raises(errors.UnknownOutcome, match="lacks 'unionid'"):
            await r.mini.wxa.get_paid_unionid("o1")


async def test_bodies_are_utf8_json_without_escapes(rig):
    async with rig() as r:
        r.platform.answers["/cgi-bin/x"] = OK
        await r.wecom.post("x", data={"name": "银桥"})
        call = r.platform.calls[-1]
    assert call.content == '{"name": "银桥"}'.encode()
    assert call.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_an_absolute_address_is_kept_and_a_foreign_one_gets_no_token(rig, serve_platform):
    async with rig() as r, serve_platform() as other:
        r.platform.answers["/sns/x"] = other.answers["/elsewhere"] = OK
        await r.mini.get(f"{r.platform.base}/sns/x", params={"a": 1})
        await r.mini.get(f"{other.base}/elsewhere")
        assert r.platform.calls[-1].query == {"a": "1", "access_token": "T1"}
        assert other.calls[-1].query == {}


async def test_a_query_in_the_endpoint_is_kept(rig):
    async with rig() as r:
        r.platform.answers["/cv/ocr/idcard"] = OK
        await r.mini.wxa.ocr_idcard(filename="a.jpg", file_bytes=b"jpeg", mime_type="image/jpeg")
        assert r.platform.calls[-1].query == {"type": "photo", "access_token": "T1"}


@pytest.mark.parametrize("errcode", [40014, 42001])
async def test_a_rejected_token_is_refreshed_once_and_the_call_sent_once_more(rig, errcode):
    async with rig() as r:
        r.platform.answers["/cgi-bin/gettoken"] = [
            {**OK, "access_token": "T1", "expires_in": 7200},
            {**OK, "access_token": "T2", "expires_in": 7200},
        ]
        r.platform.answers[GET] = lambda call: OK if call.query["access_token"] == "T2" else {"errcode": errcode}
        assert await r.wecom.customers.get("wm1") == OK
        assert [call.query["access_token"] for call in r.platform.of(GET)] == ["T1", "T2"]
        assert len(r.platform.of("/cgi-bin/gettoken")) == 2


async def test_a_token_rejected_for_ever_ends_after_two_sends_with_the_code(rig):
    async with rig() as r:
        r.platform.answers[GET] = {"errcode": 40014, "errmsg": "invalid access_token"}
        with pytest.raises(errors.TokenRejected) as caught:
            await r.wecom.customers.get("wm1")
        assert (caught.value.errcode, caught.value.action, caught.value.path) == (40014, "refresh", GET)
        assert len(r.platform.of(GET)) == 2
        assert len(r.platform.of("/cgi-bin/gettoken")) == 2
        for _ in range(3):
            with pytest.raises(errors.TokenRejected):
                await r.wecom.customers.get("wm1")
        assert len(r.platform.of(GET)) == 8
        assert len(r.platform.of("/cgi-bin/gettoken")) == 2


async def test_the_mini_program_forces_a_new_token_only_when_the_rejected_one_comes_back(rig):
    path, token_path = "/wxa/business/getuserphonenumber", "/cgi-bin/stable_token"
    async with rig() as r:
        r.platform.answers[path] = {"errcode": 40001, "errmsg": "invalid credential"}
        with pytest.raises(errors.TokenRejected):
            await r.mini.get_phone_number("code")
        assert len(r.platform.of(path)) == 2
        assert [call.json["force_refresh"] for call in r.platform.of(token_path)] == [False, False, True]
        with pytest.raises(errors.TokenRejected):
            await r.mini.get_phone_number("code")
        assert len(r.platform.of(path)) == 4
        assert len(r.platform.of(token_path)) == 3


async def test_fifty_calls_with_an_expired_token_fetch_one(rig):
    async with rig() as r:
        tokens = iter(["T1", "T2", "T3"])
        r.platform.answers["/cgi-bin/gettoken"] = lambda _: {**OK, "access_token": next(tokens), "expires_in": 7200}
        r.platform.answers[GET] = lambda call: OK if call.query["access_token"] == "T2" else {"errcode": 42001}
        assert await asyncio.gather(*(r.wecom.customers.get("wm1") for _ in range(50))) == [OK] * 50
        assert len(r.platform.of("/cgi-bin/gettoken")) == 2


async def test_wecoms_40001_is_a_wrong_secret_and_no_reason_to_refresh(rig):
    async with rig() as r:
        r.platform.answers[GET] = {"errcode": 40001, "errmsg": "invalid secret"}
        with pytest.raises(errors.BadConfig) as caught:
            await r.wecom.customers.get("wm1")
        assert caught.value.action == "page"
        assert len(r.platform.of(GET)) == 1
        assert len(r.platform.of("/cgi-bin/gettoken")) == 1


@pytest.mark.parametrize("errcode", [40001, 40125, 40164])
async def test_a_refused_token_call_is_bad_configuration_and_nothing_is_sent(rig, errcode):
    async with rig() as r:
        r.platform.answers["/cgi-bin/stable_token"] = {"errcode": errcode, "errmsg": "no"}
        with pytest.raises(errors.BadConfig) as caught:
            await r.mini.get_phone_number("code")
        assert (caught.value.errcode, caught.value.path) == (errcode, "/cgi-bin/stable_token")
        assert [call.path for call in r.platform.calls] == ["/cgi-bin/stable_token"]


@pytest.mark.parametrize(
    "answer", [{}, {"access_token": ""}, {"access_token": "T", "expires_in": 0}, {"access_token": 5}]
)
async def test_a_token_answer_without_a_usable_token_is_refused(rig, answer):
    async with rig() as r:
        r.platform.answers["/cgi-bin/stable_token"] = answer
        with pytest.raises(errors.UnknownOutcome, match="no usable access_token"):
            await r.mini.token()


@pytest.mark.parametrize(
    ("family", "errcode", "kind", "action"),
    [
        ("wecom", -1, errors.Transient, "retry"),
        ("wecom", 45009, errors.SlowDown, "defer"),
        ("wecom", 45033, errors.SlowDown, "defer"),
        ("wecom", 41050, errors.SubjectState, "give_up"),
        ("wecom", 41051, errors.AlreadyDone, "done"),
        ("wecom", 84061, errors.SubjectState, "give_up"),
        ("wecom", 40130, errors.SubjectState, "give_up"),
        ("wecom", 90511, errors.SubjectState, "give_up"),
        ("wecom", 41096, errors.TryLater, "defer"),
        ("wecom", 60020, errors.BadConfig, "page"),
        ("wecom", 40063, errors.BadRequest, "give_up"),
        ("wecom", 123456, errors.UnknownCode, "give_up"),
        ("wechat", 42001, errors.TokenRejected, "refresh"),
        ("wechat", 40029, errors.SubjectState, "give_up"),
        ("wechat", 43101, errors.SubjectState, "give_up"),
        ("wechat", 45011, errors.SlowDown, "defer"),
        ("wechat", 40013, errors.BadConfig, "page"),
        ("wechat", 47003, errors.BadRequest, "give_up"),
        ("wechat", 41051, errors.UnknownCode, "give_up"),
    ],
)
def test_codes_are_classified(family, errcode, kind, action):
    error = errors.platform_error(family, errcode, "text", "/p")
    assert type(error) is kind
    assert (error.errcode, error.errmsg, error.path, error.action) == (errcode, "text", "/p", action)


async def test_a_code_is_not_retried_by_the_client(rig):
    async with rig() as r:
        r.platform.answers[GET] = {"errcode": "-1", "errmsg": "system busy"}
        with pytest.raises(errors.Transient) as caught:
            await r.wecom.customers.get("wm1")
        assert caught.value.errcode == -1
        assert len(r.platform.of(GET)) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, {}, b"<html>"), errors.UnknownOutcome),
        ((200, {}, b"[]"), errors.UnknownOutcome),
        ((200, {}, b'"ok"'), errors.UnknownOutcome),
        ((200, {}, b""), errors.UnknownOutcome),
        ((200, {}, b'{"errcode": "many"}'), errors.UnknownOutcome),
        ((200, {"Content-Encoding": "gzip"}, b"xx"), errors.UnknownOutcome),
        ((500, {}, b"{}"), errors.UnknownOutcome),
        ((502, {}, b""), errors.UnknownOutcome),
        ((429, {}, b""), errors.SlowDown),
        ((404, {}, b""), errors.BadRequest),
        ((302, {"Location": "http://127.0.0.1/"}, b""), errors.BadConfig),
    ],
)
async def test_an_answer_that_is_not_the_platforms_is_an_error(rig, answer, kind):
    async with rig() as r:
        r.platform.answers[GET] = answer
        with pytest.raises(kind) as caught:
            await r.wecom.customers.get("wm1")
        assert (caught.value.errcode, caught.value.path) == (None, GET)
        assert len(r.platform.of(GET)) == 1


async def test_an_answer_over_two_megabytes_is_cut_off(rig):
    async with rig() as r:
        r.platform.answers[GET] = (200, {}, b'{"a":"' + b"x" * client_module.ANSWER_LIMIT + b'"}')
        with pytest.raises(errors.UnknownOutcome, match="more than 2097152 bytes"):
            await r.wecom.customers.get("wm1")


async def test_broken_nicknames_are_read(rig):
    async with rig() as r:
        r.platform.answers[GET] = (
            200,
            {},
            b'{"errcode":0,"name":"a\x0bb\xff","half":"\\ud83d","whole":"\\ud83d\\ude00"}',
        )
        answer = await r.wecom.customers.get("wm1")
    assert answer == {"errcode": 0, "name": "a\x0bb\ufffd", "half": "?", "whole": "😀"}


async def test_image_endpoints_answer_bytes_or_the_error(rig):
    path = "/wxa/getwxacodeunlimit"
    async with rig() as r:
        r.platform.answers[path] = [
            (200, {"Content-Type": "image/jpeg"}, b"\xff\xd8jpeg"),
            (200, {"Content-Type": "application/json"}, b'{"errcode":41030,"errmsg":"invalid page"}'),
            (200, {"Content-Type": "text/plain"}, b'{"errcode":40129,"errmsg":"bad scene"}'),
        ]
        assert await r.mini.wxa.get_wxa_code_unlimited("s") == b"\xff\xd8jpeg"
        for errcode in (41030, 40129):
            with pytest.raises(errors.BadRequest) as caught:
                await r.mini.wxa.get_wxa_code_unlimited("s")
            assert caught.value.errcode == errcode


async def test_no_connection_means_not_sent():
    listening, port = bind_unused_port()
    listening.close()
    async with one_pool() as pool:
        client = WeComClient("ww1", 1, "s", Wire(f"http://127.0.0.1:{port}", pool, TokenStore(None)))
        with pytest.raises(errors.NotSent) as caught:
            await client.customers.get("wm1")
    assert (caught.value.action, caught.value.errcode) == ("retry", None)


async def test_a_late_answer_is_an_unknown_outcome_and_the_limit_can_be_set_per_call(rig):
    release = asyncio.Event()

    async def late(_: object) -> dict[str, int]:
        await release.wait()
        return {"errcode": 0}

    async with rig(timeout=30) as r:
        r.platform.answers["/cgi-bin/externalcontact/send_welcome_msg"] = late
        with pytest.raises(errors.UnknownOutcome) as caught:
            await r.wecom.welcome.send("WC-1", text="hello", timeout=0.1)
        release.set()
    assert (caught.value.action, caught.value.errmsg) == ("defer", "SocketTimeoutError")


@contextlib.asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that says after each request what `talk` writes, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await ended.wait()


async def test_an_answer_that_drips_is_cut_off_by_the_total_time(rig, monkeypatch):
    monkeypatch.setattr(client_module, "CONNECT_SECONDS", 0.1)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"{")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with rig() as r, raw_server(drip) as address:
        with pytest.raises(errors.UnknownOutcome) as caught:
            await r.wecom.get(f"{address}/cgi-bin/x", timeout=0.2)
    assert caught.value.errmsg == "TimeoutError"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", ["get", "post"])
async def test_a_connection_broken_after_the_send_is_an_unknown_outcome_and_nothing_is_sent_again(rig, method, reset):
    """A code of `wx.login` is good for one call: the second one would say that it is wrong."""
    sent = []

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(1)
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with rig() as r, raw_server(hang_up) as address:
        with pytest.raises(errors.UnknownOutcome) as caught:
            await getattr(r.wecom, method)(f"{address}/cgi-bin/x")
    assert sent == [1]
    assert caught.value.errmsg == ("ClientOSError" if reset else "ServerDisconnectedError")


async def test_a_retried_upload_sends_the_whole_file_again(rig):
    async with rig() as r:
        answers = iter([{"errcode": 42001}, {**OK, "media_id": "m1"}])
        r.platform.answers["/cgi-bin/media/upload"] = lambda _: next(answers)
        file = io.BytesIO(b"the picture")
        file.name = "/somewhere/a.png"
        assert (await r.wecom.media.upload("image", file))["media_id"] == "m1"
        sent = r.platform.of("/cgi-bin/media/upload")
    assert len(sent) == 2
    for call in sent:
        assert b"the picture" in call.content
        assert b'name="media"; filename="a.png"' in call.content
        assert call.query["type"] == "image"


async def test_a_file_over_the_limit_is_not_sent(rig, monkeypatch):
    monkeypatch.setattr(client_module, "UPLOAD_LIMIT", 10)
    async with rig() as r:
        with pytest.raises(errors.BadRequest, match="at most 10 bytes"):
            await r.wecom.media.upload("image", io.BytesIO(b"x" * 11))
        assert r.platform.calls == []


async def test_calls_are_counted_by_path_and_code(rig):
    metrics = Metrics()
    async with rig(metrics=metrics) as r:
        r.platform.answers[GET] = [OK, {"errcode": 84061}, (500, {}, b"")]
        await r.wecom.customers.get("wm1")
        for kind in (errors.SubjectState, errors.UnknownOutcome):
            with pytest.raises(kind):
                await r.wecom.customers.get("wm1")
    counted = {
        (sample.labels["path"], sample.labels["errcode"]): sample.value
        for metric in metrics.platform_calls.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {
        ("/cgi-bin/gettoken", "0"): 1,
        (GET, "0"): 1,
        (GET, "84061"): 1,
        (GET, "platform_unknown_outcome"): 1,
    }


async def test_no_log_line_and_no_error_holds_a_token_or_a_secret(rig, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    async with rig() as r:
        r.platform.answers["/cgi-bin/gettoken"] = {**OK, "access_token": "TOKEN-VALUE", "expires_in": 7200}
        r.platform.answers[GET] = {"errcode": 60020, "errmsg": "not allow, hint: [1_2_3], from ip: 127.0.0.1"}
        with pytest.raises(errors.BadConfig) as caught:
            await r.wecom.customers.get("wm1")
        logged = "\n".join(record.getMessage() for record in caplog.records if record.name != "tornado.access")
        assert "hint: [1_2_3]" in logged
        for text in (logged, str(caught.value), repr(caught.value)):
            assert "TOKEN-VALUE" not in text
            assert "corp-secret" not in text


async def test_no_traceback_holds_a_secret_although_its_cause_would_say_the_address():
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 what\r\n\r\n")
        await writer.drain()

    async with raw_server(babble) as address, one_pool() as pool:
        client = WeComClient("ww1", 1, "corp-secret", Wire(address, pool, TokenStore(None)))
        with pytest.raises(errors.UnknownOutcome) as caught:
            await client.customers.get("wm1")
    assert caught.value.errmsg == "ClientResponseError"
    assert "corp-secret" not in "".join(traceback.format_exception(caught.value))
