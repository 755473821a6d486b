"""Callback crypto against the published vectors, and every refusal by its own code."""

from __future__ import annotations

import base64

import pytest
from wechatpy.work.crypto import WeChatCrypto

from services.errors import YinqiaoError
from services.wechat.core import crypto
from services.wechat.core.crypto import (
    Credentials,
    encrypt,
    encrypt_reply,
    sign,
    verify_and_decrypt,
    verify_push,
    verify_push_url,
    verify_url,
)

V1 = Credentials("QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "wx5823bf96d3bd56c7")
V1_ENCRYPT = (
    "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3TUUk"
    "SUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gsijff0ekUNX"
    "ZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUax5wLVMNS0+rUPA3k"
    "22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+qN+E7Q=="
)
V1_QUERY = {
    "msg_signature": "477715d11cdb4164915debcba66cb864d751f3e6",
    "timestamp": "1409659813",
    "nonce": "1372623149",
}
V1_MESSAGE = (
    "<xml><ToUserName><![CDATA[wx5823bf96d3bd56c7]]></ToUserName>\n<FromUserName><![CDATA[mycreate]]></FromUserName>\n"
    "<CreateTime>1409659813</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[hello]]></Content>\n"
    "<MsgId>4561255354251345929</MsgId>\n<AgentID>218</AgentID>\n</xml>"
)
V2 = Credentials("123456", "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR", "wx49f0ab532d5d035a")
V2B_ENCRYPT = (
    "RgqEoJj5A4EMYlLvWO1F86ioRjZfaex/gePD0gOXTxpsq5Yj4GNglrBb8I2BAJVODGajiFnXBu7mCPatfjsu6IHCrsTyeDXzF6Bv283dGymzxh6ydJRvZsry"
    "DyZbLTE7rhnus50qGPMfp2wASFlzEgMW9z1ef/RD8XzaFYgm7iTdaXpXaG4+BiYyolBug/gYNx410cvkKR2/nPwBiT+P4hIiOAQqGp/TywZBtDh1yCF2KOd0"
    "gpiMZ5jSw3e29mTvmUHzkVQiMS6td7vXUaWOMZnYZlF3So2SjHnwh4jYFxdgpkHHqIrH/54SNdshoQgWYEvccTKe7FS709/5t6NMxuGhcUGAPOQipvWTT4dS"
    "hyqio7mlsl5noTrb++x6En749zCpQVhDpbV6GDnTbcX2e8K9QaNWHp91eBdCRxthuL0="
)
V2C_REPLY = """<xml>
<MsgType><![CDATA[text]]></MsgType>
<Content><![CDATA[test]]></Content>
<FromUserName><![CDATA[wx49f0ab532d5d035a]]></FromUserName>
<ToUserName><![CDATA[messense]]></ToUserName>
<AgentID>1</AgentID>
<CreateTime>1411525903</CreateTime>
</xml>"""
V2C_ENCRYPT = (
    "9s4gMv99m88kKTh/H8IdkOiMg6bisoy3ypwy9H4hvSPe9nsGaqyw5hhSjdYbcrKk+j3nba4HMOTzHrluLBYqxgNcBqGsL8GqxlhZgURnAtObvesEl5nZ+uBE"
    "8bviY0LWke8Zy9V/QYKxNV2FqllNXcfmstttyIkMKCCmVbCFM2JTF5wY0nFhHZSjPUL2Q1qvSUCUld+/WIXrx0oyKQmpB6o8NRrrNrsDf03oxI1p9FxUgMnw"
    "KKZeOA/uu+2IEvEBtb7muXsVbwbgX05UPPJvFurDXafG0RQyPR+mf1nDnAtQmmNOuiR5MIkdQ39xn1vWwi1O5oazPoQJz0nTYjxxEE8kv3kFxtAGVRe3ypD3"
    "WeK2XeFYFMNMpatF9XiKzHo3"
)
V3_ENCRYPT = (
    "Q/jUxIL3/jRaFeTKesIr1QSq2SOEApDqlzcRrRM6Jlk4EbMBns3plPOR/W3gThOEq+zYI42fNSoIUb3cQwt9zyD1aLU/7D3WNLute7LQ9LSHjZEfVmx5zcIR"
    "9zvrUWGjhe1whTPH4e1WR6vbOYs8o/bDRF0vX/NcE4XK7P83Y6CzQiJoKbjVCne84s0zcw5eh+ZUDB55eaDHPSoS7kAC8kB00pfBoDF0jyfc8CUKLW97e72v"
    "JGyUWjZ0BvYN+R+tFjMgEzg/EN1imuuFnf40DMAcvB6y+C97TuaWjpgfRdowGWzn10JAFNukRfQqjdA0e2bfczJ7+t9w/t8/XSMADJOt1xbnP+I5cRX/r7ue"
    "BGmG/6ejP3myO9yTXHdujGvwrXHuWw+J7qD4VoUVjbm2vQ1qQKbrweKssr6O+3XSbanZ5R3n26EpN/gfgX+r6rcGViqsFop9Ai9xMnfJUubB6Q=="
)
NOW = 1_700_000_000


def envelope(encrypted: str) -> bytes:
    head = "<ToUserName><![CDATA[ww1]]></ToUserName><AgentID><![CDATA[1000002]]></AgentID>"
    return f"<xml>{head}<Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def query(encrypted: str, *, token: str = V1.token, timestamp: int = NOW, nonce: str = "n1") -> dict[str, str]:
    signature = sign(token, str(timestamp), nonce, encrypted)
    return {"msg_signature": signature, "timestamp": str(timestamp), "nonce": nonce}


def seal(plain: bytes) -> str:
    """`plain` encrypted as it is: the padding, length and receiveid are the test's business."""
    encryptor = V1._cipher.encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


def plain(
    message: bytes, receiveid: bytes = b"wx5823bf96d3bd56c7", *, block: int = 32, length: int | None = None
) -> bytes:
    size = len(message) if length is None else length
    head = b"r" * 16 + size.to_bytes(4, "big") + message + receiveid
    pad = block - len(head) % block
    return head + bytes([pad]) * pad


def refusal(encrypted: str, **options: object) -> YinqiaoError:
    with pytest.raises(YinqiaoError) as caught:
        verify_and_decrypt(V1, query(encrypted), envelope(encrypted), now=NOW, **options)
    return caught.value


def test_official_post_sample_decrypts():
    got = verify_and_decrypt(V1, V1_QUERY, envelope(V1_ENCRYPT), now=1409659813)
    assert got == crypto.Decrypted(V1_MESSAGE.encode(), 1409659813, "1372623149")
    assert len(got.message) == 284


def test_official_url_check_answers_the_plaintext():
    echostr = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ=="
    asked = {
        "msg_signature": "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
        "timestamp": "1409659589",
        "nonce": "263014780",
        "echostr": echostr,
    }
    assert verify_url(V1, asked, now=1409659589) == b"1616140317555161061"


def test_wechatpy_url_check_sample():
    asked = {
        "msg_signature": "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96",
        "timestamp": "1411443780",
        "nonce": "437374425",
        "echostr": "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q==",
    }
    assert verify_url(V2, asked, now=1411443780) == b"5927782489442352469"


def test_wechatpy_post_sample_decrypts():
    asked = {
        "msg_signature": "74d92dfeb87ba7c714f89d98870ae5eb62dff26d",
        "timestamp": "1411525903",
        "nonce": "461056294",
    }
    message = verify_and_decrypt(V2, asked, envelope(V2B_ENCRYPT), now=1411525903).message
    assert message.startswith(b"<xml>")
    assert b"<ToUserName><![CDATA[wx49f0ab532d5d035a]]></ToUserName>" in message


def test_wechatpy_reply_sample_encrypts_to_the_byte():
    encrypted = encrypt(V2, V2C_REPLY.encode(), random16=b"1234567890123456")
    assert encrypted == V2C_ENCRYPT
    assert sign("123456", "1411525903", "461056294", encrypted) == "407518b7649e86ef23978113f92d27afa9296533"


def test_signature_only_sample():
    assert sign("ovAkP0Tb", "1628737717", "1811081856", V3_ENCRYPT) == "8128e41a38892d814e4aa67753425da9dc8ec2b3"


def test_mini_program_url_check_sample():
    asked = {
        "signature": "f464b24fc39322e44b38aa78f5edd27bd1441696",
        "timestamp": "1714036504",
        "nonce": "1514711492",
        "echostr": "4375120948345356249",
    }
    credentials = Credentials("AAAAA", V1.aes_key, "wxapp")
    assert crypto.verify_push_url(credentials, asked, now=1714036504) == b"4375120948345356249"
    with pytest.raises(YinqiaoError, match="callback_bad_signature"):
        crypto.verify_push_url(credentials, {**asked, "nonce": "1"}, now=1714036504)


def test_reply_is_read_by_another_implementation():
    reply = encrypt_reply(V1, "好".encode(), timestamp=NOW, nonce="n2")
    signature = reply.decode().split("<MsgSignature><![CDATA[")[1].split("]]")[0]
    other = WeChatCrypto(V1.token, V1.aes_key, V1.receiveid)
    assert other.decrypt_message(reply, signature, str(NOW), "n2") == "好"


@pytest.mark.parametrize("size", range(0, 34))
def test_every_padding_length_round_trips(size):
    message = b"m" * size
    encrypted = encrypt(V1, message)
    assert verify_and_decrypt(V1, query(encrypted), envelope(encrypted), now=NOW).message == message


@pytest.mark.parametrize(
    "body",
    [
        "<xml><Encrypt>{}</Encrypt></xml>",
        "<xml>\n  <Encrypt> <![CDATA[{}]]> </Encrypt>\n</xml>\n",
        '<?xml version="1.0" encoding="UTF-8"?>\n<xml><Encrypt><![CDATA[{}]]></Encrypt></xml>',
        "\ufeff<xml><AgentID/><Encrypt><![CDATA[{}]]></Encrypt></xml>",
    ],
)
def test_usual_envelopes_are_read(body):
    encrypted = encrypt(V1, b"hello")
    assert verify_and_decrypt(V1, query(encrypted), body.format(encrypted).encode(), now=NOW).message == b"hello"


def test_padding_to_sixteen_is_read():
    encrypted = seal(plain(b"hello", block=16))
    assert verify_and_decrypt(V1, query(encrypted), envelope(encrypted), now=NOW).message == b"hello"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "callback_not_xml"),
        (b"{}", 400, "callback_not_xml"),
        (b"<html></html>", 400, "callback_not_xml"),
        (b"<xml><Encrypt>AAAA</Encrypt>", 400, "callback_not_xml"),
        (b"<xml><!-- x --><Encrypt>AAAA</Encrypt></xml>", 400, "callback_not_xml"),
        (b"<!DOCTYPE xml><xml><Encrypt>AAAA</Encrypt></xml>", 400, "callback_dtd"),
        (b'<?xml version="1.0"?><!doctype xml><xml><Encrypt>AAAA</Encrypt></xml>', 400, "callback_dtd"),
        (b"<xml><!ENTITY a 'b'><Encrypt>AAAA</Encrypt></xml>", 400, "callback_dtd"),
        ("<!DOCTYPE xml><xml><Encrypt>AAAA</Encrypt></xml>".encode("utf-16"), 400, "callback_not_xml"),
        ("<xml><Encrypt>AAAA</Encrypt></xml>".encode("utf-16-be"), 400, "callback_not_xml"),
        ("<xml><Encrypt>AAAA</Encrypt></xml>".encode("utf-32"), 400, "callback_not_xml"),
        (b'<?xml version="1.0" encoding="utf-16"?><xml><Encrypt>AAAA</Encrypt></xml>', 400, "callback_not_xml"),
        (b'<?xml version="1.0" encoding="utf-7"?><xml>+ADwAIQ-DOCTYPE</xml>', 400, "callback_not_xml"),
        (b"<xml><Encrypt>AA\0AA</Encrypt></xml>", 400, "callback_not_xml"),
        (b"<xml></xml>", 400, "callback_no_encrypt"),
        (b"<xml><Encrypt></Encrypt></xml>", 400, "callback_no_encrypt"),
        (b"<xml></Encrypt>AAAA<Encrypt></xml>", 400, "callback_no_encrypt"),
        (b"<xml><Encrypt>AAAA</Encrypt><Encrypt>AAAA</Encrypt></xml>", 400, "callback_no_encrypt"),
        (b"<xml><Encrypt>&#65;AAA</Encrypt></xml>", 400, "callback_no_encrypt"),
        (b"<xml><Encrypt>AA AA</Encrypt></xml>", 400, "callback_no_encrypt"),
        (b"<xml><Encrypt>AAAA</Encrypt></xml>", 403, "callback_bad_signature"),
        (b"<xml>" + b" " * 65536 + b"</xml>", 413, "callback_too_large"),
    ],
)
def test_bodies_that_are_no_envelope_are_refused_before_any_decryption(body, status, code, monkeypatch):
    monkeypatch.setattr(crypto, "_decrypt", lambda *_: pytest.fail("decrypted an unverified body"))
    with pytest.raises(YinqiaoError) as caught:
        verify_and_decrypt(V1, {"timestamp": str(NOW), "nonce": "n"}, body, now=NOW)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_billion_laughs_is_refused():
    body = b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><xml><Encrypt>&b;</Encrypt></xml>'
    with pytest.raises(YinqiaoError, match="callback_dtd"):
        verify_and_decrypt(V1, V1_QUERY, body, now=1409659813)


@pytest.mark.parametrize("part", ["msg_signature", "timestamp", "nonce"])
def test_a_changed_or_missing_query_part_is_a_bad_signature(part):
    encrypted = encrypt(V1, b"hello")
    genuine = query(encrypted)
    without = {name: value for name, value in genuine.items() if name != part}
    for forged in ({**genuine, part: genuine[part] + "0"}, {**genuine, part: "é\ud800"}, without):
        with pytest.raises(YinqiaoError) as caught:
            verify_and_decrypt(V1, forged, envelope(encrypted), now=NOW)
        assert (caught.value.status, caught.value.code) == (403, "callback_bad_signature")


def test_an_altered_body_is_a_bad_signature():
    encrypted, other = encrypt(V1, b"hello"), encrypt(V1, b"hullo")
    with pytest.raises(YinqiaoError, match="callback_bad_signature"):
        verify_and_decrypt(V1, query(encrypted), envelope(other), now=NOW)


@pytest.mark.parametrize("offset", [-601, 601])
def test_a_timestamp_outside_the_window_is_stale(offset):
    encrypted = encrypt(V1, b"hello")
    with pytest.raises(YinqiaoError) as caught:
        verify_and_decrypt(V1, query(encrypted), envelope(encrypted), now=NOW + offset)
    assert (caught.value.status, caught.value.code) == (403, "callback_stale")


@pytest.mark.parametrize("offset", [-600, 600])
def test_a_timestamp_at_the_edge_of_the_window_is_taken(offset):
    encrypted = encrypt(V1, b"hello")
    assert verify_and_decrypt(V1, query(encrypted), envelope(encrypted), now=NOW + offset).message == b"hello"


@pytest.mark.parametrize("timestamp", ["", "-1", "1e9", "１７００", "9" * 13])
def test_a_timestamp_that_is_no_number_is_stale(timestamp):
    encrypted = encrypt(V1, b"hello")
    signed = {"msg_signature": sign(V1.token, timestamp, "n", encrypted), "timestamp": timestamp, "nonce": "n"}
    with pytest.raises(YinqiaoError, match="callback_stale"):
        verify_and_decrypt(V1, signed, envelope(encrypted), now=NOW)


@pytest.mark.parametrize(
    ("encrypted", "code"),
    [
        ("AAAAA", "callback_bad_cipher"),
        (base64.b64encode(b"x" * 16).decode(), "callback_bad_cipher"),
        (base64.b64encode(b"x" * 33).decode(), "callback_bad_cipher"),
        (seal(b"x" * 63 + b"\x00"), "callback_bad_padding"),
        (seal(b"x" * 63 + b"\x21"), "callback_bad_padding"),
        (seal(b"x" * 63 + b"\x02"), "callback_bad_padding"),
        (seal(b"\x20" * 32), "callback_bad_length"),
        (seal(plain(b"hello", length=2**32 - 1)), "callback_bad_length"),
        (seal(plain(b"hello", length=5 + 18 + 1)), "callback_bad_length"),
        (seal(plain(b"hello", b"wx0000000000000000")), "callback_bad_receiveid"),
        (seal(plain(b"hello", b"")), "callback_bad_receiveid"),
        (seal(plain(b"hello", length=4)), "callback_bad_receiveid"),
    ],
)
def test_a_signed_body_with_a_bad_inside_is_refused_by_its_own_code(encrypted, code):
    error = refusal(encrypted)
    assert (error.status, error.code) == (403, code)


def test_a_message_over_the_limit_is_refused():
    encrypted = encrypt(V1, b"m" * 60_000)
    assert refusal(encrypted).code == "callback_too_large"


def test_push_takes_json_and_compares_the_appid():
    mini = Credentials(V1.token, V1.aes_key, "wxapp")
    encrypted = encrypt(mini, b'{"Event":"x"}')
    asked = query(encrypted)
    body = b'{"ToUserName":"gh_1","Encrypt":"%s"}' % encrypted.replace("/", "\\/").encode()
    assert crypto.verify_push(mini, asked, body, now=NOW).message == b'{"Event":"x"}'
    assert crypto.verify_push(mini, asked, envelope(encrypted), now=NOW).message == b'{"Event":"x"}'
    with pytest.raises(YinqiaoError, match="callback_bad_receiveid"):
        crypto.verify_push(V1, asked, body, now=NOW)
    with pytest.raises(YinqiaoError, match="callback_not_encrypted"):
        crypto.verify_push(mini, {"signature": "x", "timestamp": str(NOW), "nonce": "n"}, body, now=NOW)
    with pytest.raises(YinqiaoError, match="callback_no_encrypt"):
        crypto.verify_push(mini, asked, b'{"Encrypt":"AAAA","Encrypt":"AAAA"}', now=NOW)


@pytest.mark.parametrize("check", [verify_url, crypto.verify_push_url])
def test_an_oversized_echostr_is_refused(check):
    with pytest.raises(YinqiaoError) as caught:
        check(V1, {"echostr": "A" * 65537, "timestamp": str(NOW), "nonce": "n"}, now=NOW)
    assert (caught.value.status, caught.value.code) == (413, "callback_too_large")


@pytest.mark.parametrize("key", ["", "short", "a" * 44, "!" * 43, "a" * 42 + "\n"])
def test_an_unusable_key_is_refused_when_the_credentials_are_made(key):
    with pytest.raises(YinqiaoError, match="callback_bad_key"):
        Credentials("t", key, "ww1")


def test_credentials_do_not_print_their_secrets():
    assert repr(V1) == "Credentials(receiveid='wx5823bf96d3bd56c7')"


def _enveloped(message: bytes = b"<xml><Event>e</Event></xml>") -> tuple[str, dict[str, str]]:
    """What is encrypted, and a genuine query for it."""
    encrypted = encrypt(V1, message, random16=b"0123456789abcdef")
    query = {"timestamp": str(NOW), "nonce": "n+1"}
    query["msg_signature"] = sign(V1.token, str(NOW), "n+1", encrypted)
    return encrypted, query


@pytest.mark.parametrize(
    "around",
    [
        b"\xef\xbb\xbf<xml><Encrypt>%b</Encrypt></xml>",
        b"\xef\xbb\xbf\xef\xbb\xbf\r\n<xml><Encrypt>%b</Encrypt></xml>",
        b'<?xml version="1.0" encoding="GBK"?><xml><Encrypt>%b</Encrypt></xml>',
        b"<?xml version='1.1' encoding='ISO-8859-1' standalone='yes' ?>\n<xml><Encrypt>%b</Encrypt></xml>",
        b'\xef\xbb\xbf<?xml version="1.0" encoding="no-such"?><xml><Encrypt>%b</Encrypt></xml>\n',
        b"<xml><ToUserName>\xff\xfe\x01</ToUserName><Encrypt>%b</Encrypt></xml>",
    ],
)
def test_a_genuine_envelope_is_taken_with_what_stands_around_it(around: bytes) -> None:
    encrypted, query = _enveloped()
    got = verify_and_decrypt(V1, query, around % encrypted.encode(), now=NOW)
    assert got.message == b"<xml><Event>e</Event></xml>"


@pytest.mark.parametrize(
    "around",
    [
        b'\xef\xbb\xbf{"Encrypt":"%b"}',
        b'{"ToUserName":"\x01","Encrypt": "%b"}\n',
    ],
)
def test_a_genuine_push_is_taken_with_what_stands_around_it(around: bytes) -> None:
    encrypted, query = _enveloped()
    escaped = encrypted.replace("/", "\\/").replace("+", "\\u002B").replace("=", "\\u003d")
    for written in (encrypted, escaped):
        got = verify_push(V1, query, around % written.encode(), now=NOW)
        assert got.message == b"<xml><Event>e</Event></xml>"


def _with_plus() -> bytes:
    """A plaintext whose base64 has a `+`."""
    return next(
        text for number in range(1000) if "+" in encrypt(V1, text := str(number).encode(), random16=b"0123456789abcdef")
    )


@pytest.mark.parametrize("spoiled", [("+", " "), ("+", "%2B"), ("=", "%3D"), ("", "")])
def test_a_space_in_base64_is_the_plus_that_a_gateway_decoded(spoiled: tuple[str, str]) -> None:
    plain = _with_plus()
    encrypted, query = _enveloped(plain)
    echostr = encrypted.replace(*spoiled) if spoiled[0] else f"{encrypted}\n"
    for nonce in ("n+1", "n 1"):
        assert verify_url(V1, {**query, "nonce": nonce, "echostr": echostr}, now=NOW) == plain
    with pytest.raises(YinqiaoError, match="callback_bad_signature"):
        verify_url(V1, {**query, "echostr": echostr.replace("A", "B", 1)}, now=NOW)


def test_the_push_address_check_gives_a_decoded_plus_back() -> None:
    query = {
        "timestamp": f" {NOW} ",
        "nonce": "a 1",
        "echostr": "x y/z==",
        "signature": sign(V1.token, str(NOW), "a+1"),
    }
    assert verify_push_url(V1, query, now=NOW) == b"x+y/z=="
