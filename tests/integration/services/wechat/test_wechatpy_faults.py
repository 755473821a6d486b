"""wechatpy 2.0.0a26's faults (contract/wechat E): each shown, and shown to be avoided. A new version fails here first."""

from __future__ import annotations

import asyncio
import base64
import hmac
import inspect
import io

import pytest
import wechatpy.client
import wechatpy.work
import xmltodict
from wechatpy.client.api import WeChatWxa
from wechatpy.crypto import BaseWeChatCrypto
from wechatpy.crypto import base as wechatpy_cipher
from wechatpy.crypto.pkcs7 import PKCS7Encoder
from wechatpy.exceptions import InvalidSignatureException
from wechatpy.work.crypto import WeChatCrypto

from services.errors import YinqiaoError
from services.wechat.core import crypto, errors
from services.wechat.core.crypto import Credentials, sign, verify_and_decrypt
from services.wechat.events import reading

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
OURS = Credentials("token", KEY, "ww1")
THEIRS = WeChatCrypto("token", KEY, "ww1")
NOW = 1_700_000_000
OK = {"errcode": 0, "errmsg": "ok"}


class Wechatpy(wechatpy.work.WeChatClient):
    """wechatpy as it is, pointed at the fake platform."""

    def __init__(self, base: str, **options: object) -> None:
        self.API_BASE_URL = f"{base}/cgi-bin/"
        super().__init__("wwcorp", "corp-secret", **options)
        self._http.trust_env = False

    def fetch_access_token(self) -> dict[str, object]:
        return self._fetch_access_token(f"{self.API_BASE_URL}gettoken", {"corpid": "wwcorp", "corpsecret": "s"})


def envelope(encrypted: str) -> bytes:
    return f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def signed(encrypted: str) -> dict[str, str]:
    return {"msg_signature": sign("token", str(NOW), "n", encrypted), "timestamp": str(NOW), "nonce": "n"}


def seal(plain: bytes) -> str:
    encryptor = OURS._cipher.encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


async def test_retry_by_recursion_against_two_sends(rig):
    async with rig() as r:
        rejected = iter(range(40))
        r.platform.answers["/cgi-bin/user/get"] = lambda _: OK if next(rejected, None) is None else {"errcode": 40014}
        theirs = Wechatpy(r.platform.base, timeout=5)
        await asyncio.to_thread(theirs.user.get, "rm001")
        theirs._http.close()
        assert len(r.platform.of("/cgi-bin/user/get")) == 41
        assert len(r.platform.of("/cgi-bin/gettoken")) == 41
        r.platform.calls.clear()
        r.platform.answers["/cgi-bin/user/get"] = {"errcode": 40014}
        with pytest.raises(errors.TokenRejected):
            await r.wecom.user.get("rm001")
        assert len(r.platform.of("/cgi-bin/user/get")) == 2
        assert len(r.platform.of("/cgi-bin/gettoken")) == 2


async def test_a_retried_upload_sends_nothing_against_the_whole_file(rig):
    async with rig() as r:
        answers = iter([{"errcode": 42001}, OK, {"errcode": 42001}, OK])
        r.platform.answers["/cgi-bin/media/upload"] = lambda _: next(answers)
        theirs = Wechatpy(r.platform.base, timeout=5)
        await asyncio.to_thread(theirs.media.upload, "image", io.BytesIO(b"the picture"))
        theirs._http.close()
        await r.wecom.media.upload("image", io.BytesIO(b"the picture"))
        sent = [b"the picture" in call.content for call in r.platform.of("/cgi-bin/media/upload")]
    assert sent == [True, False, True, True]


async def test_secret_in_the_key_and_one_expiry_for_all_apps_against_a_key_per_app(rig):
    first, second = Wechatpy("http://a"), Wechatpy("http://a")
    second.secret = "another"
    assert "corp-secre" in first.access_token_key
    assert first.access_token_expires_at_key == second.access_token_expires_at_key
    for client in (first, second):
        client._http.close()
    async with rig() as r:
        assert r.wecom._app.key == "wechat:token:bank:wecom:wwcorp:1000002"
        assert r.mini._app.key == "wechat:token:bank:wechat:wxapp"


async def test_no_time_limit_and_a_requests_session_against_a_given_client(rig):
    theirs = Wechatpy("http://a")
    assert theirs.timeout is None
    assert type(theirs._http).__module__ == "requests.sessions"
    theirs._http.close()
    async with rig() as r:
        assert r.wecom.timeout == 4.0
        assert not hasattr(r.wecom, "_http")
        assert not hasattr(r.mini, "_http")


async def test_a_token_property_that_blocks_against_none(rig):
    assert isinstance(wechatpy.client.WeChatClient.access_token, property)
    async with rig() as r:
        with pytest.raises(AttributeError, match="await token"):
            r.mini.media.get_url("m1")
        assert r.platform.calls == []


async def test_hard_coded_hosts_against_the_configured_base(rig):
    assert WeChatWxa.API_BASE_URL == "https://api.weixin.qq.com/"
    async with rig() as r:
        r.platform.answers["/wxa/get_category"] = {**OK, "category_list": []}
        r.platform.answers["/customservice/kfsession/getwaitcase"] = OK
        assert await r.mini.wxa.get_category() == []
        await r.mini.customservice.get_wait_case()
        assert [call.path for call in r.platform.calls[1:]] == [
            "/wxa/get_category",
            "/customservice/kfsession/getwaitcase",
        ]


async def test_a_needless_token_on_login_against_none(rig):
    async with rig() as r:
        r.platform.answers["/sns/jscode2session"] = {"openid": "o", "session_key": "k"}
        assert "access_token" in inspect.getsource(wechatpy.client.base.BaseWeChatClient._request)
        await r.mini.wxa.code_to_session("c")
        assert [call.path for call in r.platform.calls] == ["/sns/jscode2session"]
        assert "access_token" not in r.platform.calls[0].query


async def test_wrong_bodies_and_paths_against_the_contract(rig):
    async with rig() as r:
        for path in (
            "externalcontact/batch/get_by_user",
            "externalcontact/mark_tag",
            "user/getuserinfo",
            "auth/getuserinfo",
        ):
            r.platform.answers[f"/cgi-bin/{path}"] = OK
        await r.wecom.external_contact.batch_get_by_user("rm001")
        assert "userid_list" not in r.platform.calls[-1].json
        await r.wecom.post("externalcontact/batch/get_by_user", data={"userid_list": ["rm001"]})
        assert r.platform.calls[-1].json == {"userid_list": ["rm001"]}
        await r.wecom.external_contact.mark_tag("rm001", "wm1", add_tag=["et1"])
        assert r.platform.calls[-1].json["remove_tag"] == []
        await r.wecom.tags.mark("rm001", "wm1", add=["et1"])
        assert "remove_tag" not in r.platform.calls[-1].json
        await r.wecom.oauth.get_user_info("c")
        assert r.platform.calls[-1].path == "/cgi-bin/user/getuserinfo"
        await r.wecom.members.get_user_info("c")
        assert r.platform.calls[-1].path == "/cgi-bin/auth/getuserinfo"
        assert "agentid" not in r.wecom.oauth.authorize_url("https://x", "s")
        assert "agentid=1000002" in r.wecom.authorize_url("https://x", "s")


def test_an_early_stopping_compare_against_a_constant_one(monkeypatch):
    assert "_signature != signature" in inspect.getsource(BaseWeChatCrypto._decrypt_message)
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return given == expected

    monkeypatch.setattr(hmac, "compare_digest", compare)
    encrypted = crypto.encrypt(OURS, b"hello")
    query = signed(encrypted)
    verify_and_decrypt(OURS, query, envelope(encrypted), now=NOW)
    assert compared[0] == (query["msg_signature"].encode(), query["msg_signature"].encode())


def test_a_parser_before_the_signature_against_none(monkeypatch):
    parsed: list[object] = []
    parse = xmltodict.parse
    monkeypatch.setattr(xmltodict, "parse", lambda body: parsed.append(body) or parse(body))
    monkeypatch.setattr(reading, "decode", lambda *_, **__: pytest.fail("parsed an unverified body"))
    body = envelope("AAAA")
    with pytest.raises(InvalidSignatureException):
        THEIRS.decrypt_message(body, "forged", str(NOW), "n")
    assert len(parsed) == 1
    with pytest.raises(YinqiaoError, match="callback_bad_signature"):
        verify_and_decrypt(OURS, {"msg_signature": "forged", "timestamp": str(NOW), "nonce": "n"}, body, now=NOW)
    assert len(parsed) == 1


def test_unchecked_padding_against_checked():
    assert PKCS7Encoder.decode(b"abc\0") == b""
    head = b"r" * 16 + (5).to_bytes(4, "big") + b"hello" + b"ww1"
    encrypted = seal(head + b"\x07" * 35 + b"\x24")
    query = signed(encrypted)
    assert THEIRS.decrypt_message(envelope(encrypted), query["msg_signature"], str(NOW), "n") == "hello"
    with pytest.raises(YinqiaoError, match="callback_bad_padding"):
        verify_and_decrypt(OURS, query, envelope(encrypted), now=NOW)


def test_a_length_past_the_end_against_refused():
    assert "len(" not in inspect.getsource(wechatpy_cipher.BasePrpCrypto._decrypt)
    encrypted = seal((b"r" * 16 + (2**31).to_bytes(4, "big") + b"hello").ljust(31, b"x") + b"\x01")
    with pytest.raises(YinqiaoError, match="callback_bad_length"):
        verify_and_decrypt(OURS, signed(encrypted), envelope(encrypted), now=NOW)


def test_a_stale_message_against_refused():
    encrypted = crypto.encrypt(OURS, b"hello")
    query = signed(encrypted)
    assert THEIRS.decrypt_message(envelope(encrypted), query["msg_signature"], str(NOW), "n") == "hello"
    with pytest.raises(YinqiaoError, match="callback_stale"):
        verify_and_decrypt(OURS, query, envelope(encrypted), now=NOW + 86400)


def test_a_key_checked_by_assert_against_an_error():
    with pytest.raises(AssertionError):
        WeChatCrypto("token", KEY[:-4], "ww1")
    with pytest.raises(YinqiaoError, match="callback_bad_key"):
        Credentials("token", KEY[:-4], "ww1")
