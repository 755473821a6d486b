"""The callback addresses over HTTP; what becomes of an event is tested with the inbox."""

from __future__ import annotations

import time
from urllib.parse import quote

import httpx

from customers.banks.bank import open_bank
from services.container import Services
from services.wechat.core import crypto

EVENT = (
    "<xml><ToUserName><![CDATA[ww0c0ffee000000001]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
    "<CreateTime>{at}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_external_contact]]></Event>"
    "<ChangeType><![CDATA[add_external_contact]]></ChangeType><UserID><![CDATA[rm.chen]]></UserID>"
    "<ExternalUserID><![CDATA[wm000000000000000000000000000001]]></ExternalUserID></xml>"
)


async def _signed(demo: Services, message: bytes, nonce: str = "n1") -> tuple[str, str]:
    """The query and the encrypted text of a genuine message."""
    app = (await open_bank(demo, "demo")).wecom_app
    credentials = crypto.Credentials(app.token, app.aes_key, app.corp_id)
    encrypted = crypto.encrypt(credentials, message)
    timestamp = str(int(time.time()))
    signature = crypto.sign(app.token, timestamp, nonce, encrypted)
    return f"msg_signature={signature}&timestamp={timestamp}&nonce={nonce}", encrypted


async def _stored(demo: Services) -> int:
    return await demo.store.tenant("demo")["inbox"].count()


async def test_the_address_check_is_answered_with_the_plaintext(http: httpx.AsyncClient, demo: Services) -> None:
    query, encrypted = await _signed(demo, b"5927782489442352469")
    answer = await http.get(f"/wecom/demo/callback?{query}&echostr={quote(encrypted, safe='')}")
    assert (answer.status_code, answer.text) == (200, "5927782489442352469")


async def test_an_event_is_stored_before_it_is_acknowledged_and_a_repeat_is_one(
    http: httpx.AsyncClient, demo: Services
) -> None:
    query, encrypted = await _signed(demo, EVENT.format(at=int(time.time())).encode())
    body = f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
    for _ in range(3):
        answer = await http.post(f"/wecom/demo/callback?{query}", content=body)
        assert (answer.status_code, answer.content) == (200, b"")
    assert await _stored(demo) == 1


async def test_what_cannot_be_trusted_or_read_is_refused_and_not_stored(
    http: httpx.AsyncClient, demo: Services
) -> None:
    query, encrypted = await _signed(demo, EVENT.format(at=1).encode())
    body = f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
    cases = [
        (query.replace("msg_signature=", "msg_signature=0"), body, 403, "callback_bad_signature"),
        ("", body, 403, "callback_bad_signature"),
        (query, "not xml", 400, "callback_not_xml"),
        (query, f"<!DOCTYPE x [<!ENTITY a 'b'>]>{body}", 400, "callback_dtd"),
        (query, "<xml><Encrypt>" + "A" * (64 * 1024) + "</Encrypt></xml>", 413, "callback_too_large"),
    ]
    for parameters, content, status, code in cases:
        answer = await http.post(f"/wecom/demo/callback?{parameters}", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    unknown = await http.post(f"/wecom/nobody/callback?{query}", content=body)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "tenant_unknown")
    assert await _stored(demo) == 0


async def test_the_address_check_survives_a_gateway_that_decodes(http: httpx.AsyncClient, demo: Services) -> None:
    for number in range(40):
        query, encrypted = await _signed(demo, str(number).encode())
        if "+" in encrypted:
            answer = await http.get(f"/wecom/demo/callback?{query}&echostr={encrypted}")  # a bare + is a space
            assert (answer.status_code, answer.text) == (200, str(number))
            break
    else:
        raise AssertionError("no base64 with a +")


async def test_a_plaintext_that_is_no_text_is_given_back_as_it_is(http: httpx.AsyncClient, demo: Services) -> None:
    query, encrypted = await _signed(demo, b"\xff\xfe\x00")
    answer = await http.get(f"/wecom/demo/callback?{query}&echostr={quote(encrypted, safe='')}")
    assert (answer.status_code, answer.content) == (200, b"\xff\xfe\x00")


async def test_the_address_check_survives_a_gateway_that_drops_the_padding(
    http: httpx.AsyncClient, demo: Services
) -> None:
    seen = set()
    for number in range(0, 200, 7):
        query, encrypted = await _signed(demo, b"1" * number)
        bare = encrypted.rstrip("=")
        seen.add(len(encrypted) - len(bare))
        for given in (bare, f"{bare}=", encrypted.replace("=", "%3D"), encrypted.replace("=", "%253d")):
            answer = await http.get(f"/wecom/demo/callback?{query}&echostr={quote(given, safe='%=')}")
            assert (answer.status_code, answer.text) == (200, "1" * number)
    assert seen - {0}
