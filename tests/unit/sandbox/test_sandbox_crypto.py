"""The sandbox's callback crypto against the published vectors (contract/wechat C5) and wechatpy."""

from __future__ import annotations

import pytest
from wechatpy.work.crypto import WeChatCrypto

from sandbox.core.crypto import BadCallback, Envelope, signature

OFFICIAL = ("QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "wx5823bf96d3bd56c7")
WECHATPY = ("123456", "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR", "wx49f0ab532d5d035a")

V1 = (
    "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3"
    "TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gs"
    "ijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUa"
    "x5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIG"
    "HBZZIs2pDBS8R07+qN+E7Q=="
)
V1_MESSAGE = (
    "<xml><ToUserName><![CDATA[wx5823bf96d3bd56c7]]></ToUserName>\n<FromUserName><![CDATA[mycreate]]></FromUserName>\n"
    "<CreateTime>1409659813</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[hello]]></Content>\n"
    "<MsgId>4561255354251345929</MsgId>\n<AgentID>218</AgentID>\n</xml>"
)
V1B = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ=="
V2 = "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q=="
V2C_MESSAGE = """<xml>
<MsgType><![CDATA[text]]></MsgType>
<Content><![CDATA[test]]></Content>
<FromUserName><![CDATA[wx49f0ab532d5d035a]]></FromUserName>
<ToUserName><![CDATA[messense]]></ToUserName>
<AgentID>1</AgentID>
<CreateTime>1411525903</CreateTime>
</xml>"""
V2C = (
    "9s4gMv99m88kKTh/H8IdkOiMg6bisoy3ypwy9H4hvSPe9nsGaqyw5hhSjdYbcrKk+j3nba4HMOTzHrluLBYqxgNcBqGsL8GqxlhZgURnAtObvesE"
    "l5nZ+uBE8bviY0LWke8Zy9V/QYKxNV2FqllNXcfmstttyIkMKCCmVbCFM2JTF5wY0nFhHZSjPUL2Q1qvSUCUld+/WIXrx0oyKQmpB6o8NRrrNrsD"
    "f03oxI1p9FxUgMnwKKZeOA/uu+2IEvEBtb7muXsVbwbgX05UPPJvFurDXafG0RQyPR+mf1nDnAtQmmNOuiR5MIkdQ39xn1vWwi1O5oazPoQJz0nT"
    "YjxxEE8kv3kFxtAGVRe3ypD3WeK2XeFYFMNMpatF9XiKzHo3"
)

VECTORS = {
    "V1": (OFFICIAL, "1409659813", "1372623149", V1, "477715d11cdb4164915debcba66cb864d751f3e6", V1_MESSAGE),
    "V1b": (
        OFFICIAL,
        "1409659589",
        "263014780",
        V1B,
        "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
        "1616140317555161061",
    ),
    "V2": (WECHATPY, "1411443780", "437374425", V2, "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96", "5927782489442352469"),
    "V2c": (WECHATPY, "1411525903", "461056294", V2C, "407518b7649e86ef23978113f92d27afa9296533", V2C_MESSAGE),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector_opens_and_seals_to_the_same_bytes(name):
    """C2, C5: the signature, the message, the receiveid, and the same ciphertext from the same random prefix."""
    (token, key, receiveid), timestamp, nonce, encrypted, expected, message = VECTORS[name]
    envelope = Envelope(token, key)
    assert envelope.sign(timestamp, nonce, encrypted) == expected
    plain = envelope.open(encrypted, timestamp=timestamp, nonce=nonce, msg_signature=expected)
    assert (plain.message.decode(), plain.receiveid) == (message, receiveid)
    assert envelope.encrypt(plain.message, receiveid, plain.prefix) == encrypted


def test_v2c_comes_from_the_published_prefix():
    assert Envelope(*WECHATPY[:2]).encrypt(V2C_MESSAGE.encode(), WECHATPY[2], b"1234567890123456") == V2C


@pytest.mark.parametrize("length", range(70))
def test_every_padding_length_opens(length):
    """C2: the block is 32, so pads of 17 to 32 occur."""
    envelope = Envelope(*OFFICIAL[:2])
    assert envelope.decrypt(envelope.encrypt(b"x" * length, OFFICIAL[2])).message == b"x" * length


def test_wechatpy_opens_what_the_sandbox_seals():
    envelope = Envelope(*WECHATPY[:2])
    encrypted = envelope.encrypt("你好".encode(), WECHATPY[2])
    signed = envelope.sign("1", "2", encrypted)
    opened = WeChatCrypto(*WECHATPY).decrypt_message({"Encrypt": encrypted}, signed, "1", "2")
    assert opened == "你好"


def test_wrong_signature_is_refused_before_decrypting():
    with pytest.raises(BadCallback, match="signature"):
        Envelope(*OFFICIAL[:2]).open("not even base64", timestamp="1", nonce="2", msg_signature="0" * 40)


@pytest.mark.parametrize("encrypted", ["", "AAAA", "!!!!", "A" * 43 + "=", "A" * 64])
def test_malformed_ciphertext_is_refused(encrypted):
    with pytest.raises(BadCallback):
        Envelope(*OFFICIAL[:2]).decrypt(encrypted)


def test_signature_sorts_its_parts():
    assert signature("b", "d", "a", "c") == signature("d", "c", "b", "a")
