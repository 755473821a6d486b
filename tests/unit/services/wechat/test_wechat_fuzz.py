"""Whatever arrives, nothing leaves but our own errors."""

from __future__ import annotations

import base64

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import YinqiaoError
from services.wechat.core.client import _read
from services.wechat.core.crypto import Credentials, encrypt, sign, verify_and_decrypt, verify_push, verify_url
from services.wechat.core.errors import EventUnreadable, PlatformError, UnknownOutcome
from services.wechat.events import Event, parse_event

CREDENTIALS = Credentials("QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "ww1")
NOW = 1_700_000_000
GENUINE = encrypt(CREDENTIALS, b"<xml><Event>e</Event></xml>")
ENVELOPE = f"<xml><Encrypt><![CDATA[{GENUINE}]]></Encrypt></xml>".encode()

_pieces = st.sampled_from(
    [b"<xml>", b"</xml>", b"<Encrypt>", b"</Encrypt>", b"<![CDATA[", b"]]>", b"<!DOCTYPE", b"<?xml", b"?>", b"{", b"}"]
)
_bodies = st.one_of(
    st.binary(max_size=400),
    st.lists(st.one_of(_pieces, st.binary(max_size=20)), max_size=20).map(b"".join),
    st.text(max_size=100).map(lambda text: f"<xml>{text}</xml>".encode("utf-16", "surrogatepass")),
)
_texts = st.text(max_size=40)
_queries = st.fixed_dictionaries(
    {}, optional={"msg_signature": _texts, "timestamp": _texts, "nonce": _texts, "echostr": _texts, "signature": _texts}
)


def _signed(encrypted: str) -> dict[str, str]:
    return {
        "msg_signature": sign(CREDENTIALS.token, str(NOW), "n", encrypted),
        "timestamp": str(NOW),
        "nonce": "n",
        "echostr": encrypted,
    }


def _refused(check, *arguments: object) -> bool:
    try:
        check(CREDENTIALS, *arguments, now=NOW)
    except YinqiaoError as error:
        return error.status in (400, 403, 413)
    return False


@settings(max_examples=300, deadline=None)
@given(body=_bodies, query=_queries)
def test_unsigned_garbage_is_refused(body, query):
    assert _refused(verify_and_decrypt, query, body)
    assert _refused(verify_push, query, body)
    assert _refused(verify_url, query)


@settings(max_examples=300, deadline=None)
@given(sealed=st.binary(max_size=200))
def test_signed_garbage_is_refused(sealed):
    encrypted = base64.b64encode(sealed).decode()
    query = _signed(encrypted)
    assert _refused(verify_and_decrypt, query, f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode())
    assert _refused(verify_url, query)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(ENVELOPE) - 1), byte=st.integers(0, 255))
def test_one_changed_byte_never_changes_the_message(position, byte):
    body = ENVELOPE[:position] + bytes([byte]) + ENVELOPE[position + 1 :]
    try:
        got = verify_and_decrypt(CREDENTIALS, _signed(GENUINE), body, now=NOW)
    except YinqiaoError:
        return
    assert got.message == b"<xml><Event>e</Event></xml>"


@settings(max_examples=300, deadline=None)
@given(message=st.one_of(_bodies, st.binary(max_size=100).map(lambda inner: b"<xml>" + inner + b"</xml>")))
def test_a_message_is_an_event_or_refused(message):
    try:
        event = parse_event(message)
    except EventUnreadable:
        return
    assert isinstance(event, Event)


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=200), _json.map(lambda value: httpx.Response(200, json=value).content)),
    status=st.integers(100, 599),
)
def test_an_answer_is_an_object_or_a_platform_error(content, status):
    try:
        answer = _read("wecom", "/cgi-bin/x", status, httpx.Headers(), content, token_call=False)
    except PlatformError:
        return
    assert isinstance(answer, dict)


def test_an_answer_of_brackets_does_not_exhaust_the_stack():
    content = b'{"a":' + b"[" * 500_000
    with pytest.raises(UnknownOutcome):
        _read("wechat", "/x", 200, httpx.Headers(), content, token_call=False)
