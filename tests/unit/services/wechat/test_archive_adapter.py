"""The archive's gateway over HTTP: what we ask, what we take, and what every bad answer ends as."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.errors import Unavailable
from services.wechat.core.archive import HttpArchive, Record, Unreadable, private_key, random_key

Answer = Callable[[str, dict[str, Any]], httpx.Response]
RECORD = {"seq": 3, "msgid": "m", "publickey_ver": 1, "encrypt_random_key": "a", "encrypt_chat_msg": "b"}


@pytest.fixture
async def gateway() -> AsyncIterator[Callable[[Answer], HttpArchive]]:
    """Makes a gateway that answers as told."""
    opened: list[httpx.AsyncClient] = []

    def make(answer: Answer) -> HttpArchive:
        def handle(request: httpx.Request) -> httpx.Response:
            return answer(request.url.path, json.loads(request.content))

        client = httpx.AsyncClient(transport=httpx.MockTransport(handle), trust_env=False)
        opened.append(client)
        return HttpArchive("http://archive.bank/sdk/", "ww1", "s3cret", client)

    yield make
    for client in opened:
        await client.aclose()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


async def test_records_are_asked_for_by_seq_and_come_in_order(gateway: Any) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def answer(path: str, body: dict[str, Any]) -> httpx.Response:
        asked.append((path, body))
        return httpx.Response(200, json={"errcode": 0, "chatdata": [{**RECORD, "seq": 5}, RECORD]})

    found = await gateway(answer).pull(2, 5000)
    assert asked == [("/sdk/getchatdata", {"corpid": "ww1", "secret": "s3cret", "seq": 2, "limit": 1000})]
    assert [record.seq for record in found] == [3, 5]
    assert found[0] == Record(3, "m", 1, "a", "b")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (httpx.Response(200, json={"errcode": 10001}), "archive_refused"),
        (httpx.Response(502), "archive_unavailable"),
        (httpx.Response(302, headers={"Location": "http://elsewhere"}), "archive_unavailable"),
        (httpx.Response(200, text="no json"), "archive_unavailable"),
        (httpx.Response(200, json=[]), "archive_unavailable"),
        (httpx.Response(200, json={"errcode": 0}), "archive_unavailable"),
        (httpx.Response(200, json={"errcode": 0, "chatdata": [{"seq": 3}]}), "archive_unavailable"),
        (httpx.Response(200, json={"errcode": 0, "chatdata": [{**RECORD, "seq": 2}]}), "archive_unavailable"),
    ],
)
async def test_a_bad_answer_is_an_outage_and_never_an_empty_page(gateway: Any, answer: Any, code: str) -> None:
    with pytest.raises(Unavailable) as refused:
        await gateway(lambda path, body: answer).pull(2, 10)
    assert refused.value.code == code
    assert "s3cret" not in str(refused.value)


async def test_a_gateway_that_cannot_be_reached_is_an_outage(gateway: Any) -> None:
    def away(path: str, body: dict[str, Any]) -> httpx.Response:
        raise httpx.ConnectError("no")

    with pytest.raises(Unavailable, match="archive_unavailable"):
        await gateway(away).pull(0, 10)


async def test_a_message_is_opened_with_the_records_key(gateway: Any) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def answer(path: str, body: dict[str, Any]) -> httpx.Response:
        asked.append((path, body))
        return httpx.Response(200, text='{"msgid": "m", "text": {"content": "\\ud83d\\u0001"}}')

    message = await gateway(answer).decrypt("k", Record(3, "m", 1, "a", "b"))
    assert asked == [("/sdk/decryptdata", {"encrypt_key": "k", "encrypt_chat_msg": "b"})]
    assert message["msgid"] == "m"


@pytest.mark.parametrize("answer", [{"errcode": 10003}, {"msgtype": "text"}])
async def test_a_message_that_does_not_open_is_unreadable_and_no_outage(gateway: Any, answer: Any) -> None:
    with pytest.raises(Unreadable, match="archive_message_unreadable"):
        await gateway(lambda path, body: httpx.Response(200, json=answer)).decrypt("k", Record(3, "m", 1, "a", "b"))


async def test_a_file_comes_in_chunks_until_it_ends(gateway: Any) -> None:
    asked: list[str] = []

    def answer(path: str, body: dict[str, Any]) -> httpx.Response:
        assert (path, body["sdkfileid"]) == ("/sdk/getmediadata", "f1")
        asked.append(body["indexbuf"])
        last = len(asked) == 2
        data = base64.b64encode(b"two" if last else b"one ").decode()
        return httpx.Response(200, json={"errcode": 0, "data": data, "outindexbuf": "i1", "is_finish": last})

    assert [chunk async for chunk in gateway(answer).media("f1")] == [b"one ", b"two"]
    assert asked == ["", "i1"]


async def test_a_file_that_does_not_go_on_is_an_outage(gateway: Any) -> None:
    stuck = httpx.Response(200, json={"errcode": 0, "data": "", "outindexbuf": "", "is_finish": False})
    with pytest.raises(Unavailable, match="archive_unavailable"):
        _ = [chunk async for chunk in gateway(lambda path, body: stuck).media("f1")]


def test_the_random_key_is_opened_with_the_key_of_its_version(key: rsa.RSAPrivateKey) -> None:
    locked = base64.b64encode(key.public_key().encrypt(b"c2VjcmV0", padding.PKCS1v15())).decode()
    keys = {2: private_key(pem(key))}
    assert random_key(keys, Record(1, "m", 2, locked, "")) == "c2VjcmV0"
    for record, reason in (
        (Record(1, "m", 1, locked, ""), "archive_key_unknown"),
        (Record(1, "m", 2, "AAAA", ""), "archive_key_wrong"),
        (Record(1, "m", 2, "no base64!", ""), "archive_key_wrong"),
    ):
        with pytest.raises(Unreadable, match=reason):
            random_key(keys, record)


def test_only_an_rsa_private_key_is_a_key(key: rsa.RSAPrivateKey) -> None:
    for bad in (
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP256R1())),
    ):
        with pytest.raises(ValueError, match="RSA private key"):
            private_key(bad)
