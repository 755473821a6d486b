"""SM2 over SM3: the standard's own example, and signatures that others made."""

from __future__ import annotations

import pytest

from services.security import sm2
from services.security.sm2 import N, P, read_key, read_signature, sm3
from tests.support.sm2_signer import G, Signer, plus, times

STANDARD_KEY = (
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
"""GB/T 32918.5, annex A."""
STANDARD_R = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
STANDARD_S = "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
OPENSSL_PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAE6r8S1URx26z7No7ZrkoF8w7zdQ8Y
BVD70o22D0J05eRJuYwh5XrPfrhRspjKm3jDK5xDL7au/dwYSwG28XvLPg==
-----END PUBLIC KEY-----
"""
OPENSSL_SIGNATURE = (
    "3046022100b790ec1873ebea8fa5d65493f619b87f2315162a5e5306143e92b489b47418ae"
    "022100fb29d88e6afa34df0c25074b7553ec39842ae3345bedc5703a17af13a7302605"
)
"""OpenSSL 3.0, `dgst -sm3 -sign` with `distid:1234567812345678`."""
MESSAGE = b"POST\n/open/v1/events\n1796025600\nabcdefghijklmnop\n00ff"
GMSSL = [
    (
        "c43d072a25f9f22a60984572c87aba5ddbb73e65b6db14b4fdb899c46c0344c1"
        "f2151611bda31d2ff7c21d270eb0d7d849ee0072fb399adad15ab787de22652e",
        b"",
        "3044021f1959e2f492c75a07a670cf9036fcb34e668c964f79f836adcf27045de21887"
        "022100a29dcb74408131f9f1c24317dc2de5f53c6024b7b14e8e2d5f165b829e7bfe5b",
    ),
    (
        "f7d7594c15d89bd86a7721a99b11dc55c0e6684cb66e818b118634d06b397bbd"
        "23ee34ab895e0c67fd040c649252550babec881a2a9b79dd951d0034d28e3033",
        b"POST\n/open/v1/events\n1796025600\nvector-nonce-0001\n"
        b"f1a823aaaaafe40e113c7f04dd72c289faf86252c4a9b57cf1d3c9e12547f9ad",
        "3045022046da79b051ad0c6ce87da1aeacaf9cd8ccdea5f39188d8855f1eb4cd6ac2fccf"
        "022100e5876f03dd59118deca9e5a4e6e1b254adbbc046dbb678092a77c863219daa7a",
    ),
]
"""GmSSL 3.1: another implementation's keys and signatures."""


def test_sm3_is_the_standards() -> None:
    assert sm3(b"a", b"bc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


def test_the_standards_example_verifies() -> None:
    key = read_key(STANDARD_KEY)
    assert key.verify(b"message digest", bytes.fromhex(STANDARD_R + STANDARD_S))
    assert not key.verify(b"message digests", bytes.fromhex(STANDARD_R + STANDARD_S))
    assert not key.verify(b"message digest", bytes.fromhex(STANDARD_S + STANDARD_R))


def test_a_signature_of_openssl_verifies_under_a_pem_key() -> None:
    key = read_key(OPENSSL_PEM)
    assert key.verify(MESSAGE, bytes.fromhex(OPENSSL_SIGNATURE))
    assert not key.verify(MESSAGE + b"\n", bytes.fromhex(OPENSSL_SIGNATURE))
    assert not read_key(STANDARD_KEY).verify(MESSAGE, bytes.fromhex(OPENSSL_SIGNATURE))


@pytest.mark.parametrize(("key", "message", "signature"), GMSSL)
def test_signatures_of_gmssl_verify_in_both_forms(key: str, message: bytes, signature: str) -> None:
    der = bytes.fromhex(signature)
    numbers = read_signature(der)
    assert numbers is not None
    raw = b"".join(one.to_bytes(32) for one in numbers)
    assert read_key(key).verify(message, der)
    assert read_key(key).verify(message, raw)
    for place in (5, 40):
        turned = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        assert not read_key(key).verify(message, turned)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        bytes(32) + (1).to_bytes(32),
        (1).to_bytes(32) + bytes(32),
        N.to_bytes(32) + (1).to_bytes(32),
        (1).to_bytes(32) + (N - 1).to_bytes(32),
        bytes.fromhex(OPENSSL_SIGNATURE) + b"\0",
        bytes.fromhex(OPENSSL_SIGNATURE)[:-1],
        bytes.fromhex("300702010102020001"),
        bytes.fromhex("3006020181020101"),
        b"\x30\x06\x02\x04\x01\x01\x02\x01",
        b"\x30" + b"\xff" * 80,
    ],
)
def test_what_is_no_signature_is_none(signature: bytes) -> None:
    assert not read_key(OPENSSL_PEM).verify(MESSAGE, signature)


def _as_if(monkeypatch: pytest.MonkeyPatch, private: int, s: int, t: int) -> tuple[sm2.PublicKey, bytes]:
    """A public key, and a signature by s and t alone that fits a message whose digest is as it has to be."""
    point = times(private, G)
    assert point is not None
    summed = plus(times(s, G), times(t, point))
    assert summed is not None
    r = (t - s) % N
    monkeypatch.setattr(sm2, "sm3", lambda *_: ((r - summed[0]) % N).to_bytes(32))
    return sm2.PublicKey(point), r.to_bytes(32) + s.to_bytes(32)


@pytest.mark.parametrize(
    ("s", "t", "good"),
    [
        (7, 12, True),
        (7, 7, False),
        (N, 12, False),
        (N + 7, 12, False),
        (7, N, False),
        (N - 1, 1, True),
    ],
    ids=["whole", "r is 0", "s is 0", "s is beyond", "r + s is 0", "as large as may be"],
)
def test_numbers_out_of_their_bounds_are_none_although_they_fit(
    monkeypatch: pytest.MonkeyPatch, s: int, t: int, good: bool
) -> None:
    key, signature = _as_if(monkeypatch, 0xD1CE, s, t)
    assert key.verify(b"message", signature) is good


def test_what_adds_up_to_the_point_at_infinity_is_no_signature() -> None:
    private, t = 0xD1CE, 12
    s = -t * private % N
    key = read_key(Signer(private).public)
    assert not key.verify(b"message", ((t - s) % N).to_bytes(32) + s.to_bytes(32))


def test_the_point_at_infinity_on_the_way_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    key, signature = _as_if(monkeypatch, N - 2, 2, 0x11)
    assert key.verify(b"message", signature)


@pytest.mark.parametrize(
    "signature",
    [
        OPENSSL_SIGNATURE.replace("3046022100b790", "30450220b790"),
        OPENSSL_SIGNATURE.replace("3046", "3047") + "00",
        GMSSL[0][2].replace("3044021f1959", "30450220001959"),
    ],
    ids=["a negative number", "something behind the numbers", "a number with a zero too many"],
)
def test_a_signature_that_is_written_in_another_way_is_none(signature: str) -> None:
    assert read_signature(bytes.fromhex(signature)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "06" + STANDARD_KEY[2:],
        f"{P + 1:064x}9f7a091433a81e3f218f405f792355bf2aa98b5ffa95982f03870800065279a3",
        f"9c17043effe1a805a74a9a5e70b9d659705d3242094a566dc016f49311178d1f{P + 1:064x}",
        "04" + "00" * 64,
        STANDARD_KEY[:-2] + "14",
        STANDARD_KEY[:-2],
        "02" + STANDARD_KEY[2:66],
        f"{P:064x}" + STANDARD_KEY[66:],
        "04" + "zz" * 64,
        OPENSSL_PEM.replace("Bgi0D", "Bgi0E"),
        OPENSSL_PEM.replace("PUBLIC", "PRIVATE"),
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEa\n-----END PUBLIC KEY-----",
    ],
)
def test_what_is_no_key_of_the_curve_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SM2"):
        read_key(text)
