from __future__ import annotations

import re

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from services.security.vault import _SUITES, CannotOpen, Vault

MASTER = "a-master-key-for-tests-0123456789abcdef"
CIPHERS = ["AES-256-GCM", "SM4-GCM"]
PLACE = ("demo", "customers", "phone", "demo:1")


def _suite(cipher: str, key: bytes):  # the cipher alone, as the vault uses it
    return next(suite.make for suite in _SUITES.values() if (suite.name, suite.key_size) == (cipher, len(key)))(key)


@pytest.mark.parametrize(
    ("cipher", "key", "nonce", "aad", "plaintext", "sealed"),
    [
        pytest.param(
            "SM4-GCM",
            "0123456789abcdeffedcba9876543210",
            "00001234567800000000abcd",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
            "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
            "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
            "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
            "83de3541e4c2b58177e065a9bf7b62ec",
            id="RFC 8998 A.1",
        ),
        pytest.param(
            "AES-256-GCM",
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
            "76fc6ece0f4e1768cddf8853bb2d551b",
            id="GCM specification, test case 16",
        ),
    ],
)
def test_the_cipher_gives_the_standards_answer(
    cipher: str, key: str, nonce: str, aad: str, plaintext: str, sealed: str
) -> None:
    suite = _suite(cipher, bytes.fromhex(key))
    answer = suite.encrypt(bytes.fromhex(nonce), bytes.fromhex(plaintext), bytes.fromhex(aad))
    assert answer.hex() == sealed
    assert suite.decrypt(bytes.fromhex(nonce), answer, bytes.fromhex(aad)).hex() == plaintext
    with pytest.raises(InvalidTag):
        suite.decrypt(bytes.fromhex(nonce), answer, b"")


@pytest.mark.parametrize("cipher", CIPHERS)
@given(plaintext=st.binary(max_size=200))
def test_what_was_sealed_opens_in_its_place(cipher: str, plaintext: bytes) -> None:
    vault = Vault(MASTER, cipher)
    sealed = vault.seal(*PLACE, plaintext)
    assert vault.open(*PLACE, sealed) == plaintext
    assert vault.open(*PLACE, sealed) == Vault(MASTER, cipher).open(*PLACE, sealed)
    assert len(sealed) == len(plaintext) + 4 + 12 + 16


@pytest.mark.parametrize("cipher", CIPHERS)
def test_the_same_text_never_seals_to_the_same_bytes(cipher: str) -> None:
    vault = Vault(MASTER, cipher)
    seals = {vault.seal_text(*PLACE, "13800138000") for _ in range(100)}
    assert len(seals) == 100
    assert len({sealed[4:16] for sealed in seals}) == 100
    assert not any(b"13800138000" in sealed for sealed in seals)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(
    "elsewhere",
    [
        ("demo", "customers", "phone", "demo:2"),
        ("demo", "customers", "name", "demo:1"),
        ("demo", "staff", "phone", "demo:1"),
        ("other", "customers", "phone", "demo:1"),
    ],
    ids=["row", "field", "collection", "tenant"],
)
def test_a_value_copied_to_another_place_does_not_open(cipher: str, elsewhere: tuple[str, str, str, str]) -> None:
    vault = Vault(MASTER, cipher)
    sealed = vault.seal_text(*PLACE, "13800138000")
    with pytest.raises(CannotOpen) as refused:
        vault.open_text(*elsewhere, sealed)
    assert refused.value.code == "vault_tag"
    assert "13800138000" not in str(refused.value)
    assert vault.open_text(*PLACE, sealed) == "13800138000"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_value_with_any_byte_changed_does_not_open(cipher: str) -> None:
    vault = Vault(MASTER, cipher)
    sealed = vault.seal_text(*PLACE, "13800138000")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(CannotOpen):
            vault.open(*PLACE, bytes(changed))


@given(st.binary(max_size=80))
def test_whatever_is_no_sealed_value_is_refused_as_such(junk: bytes) -> None:
    with pytest.raises(CannotOpen):
        Vault(MASTER).open(*PLACE, junk)


@pytest.mark.parametrize(("before", "after"), [CIPHERS, CIPHERS[::-1]])
def test_what_was_written_before_a_change_of_cipher_still_opens(before: str, after: str) -> None:
    old, new = Vault(MASTER, before), Vault(MASTER, after)
    sealed = old.seal_text(*PLACE, "刘敏")
    assert new.open_text(*PLACE, sealed) == "刘敏"
    assert new.seal_text(*PLACE, "刘敏")[0] != sealed[0]
    assert old.blind("demo", "phone", "1") == new.blind("demo", "phone", "1")


def test_what_was_written_under_the_key_before_still_opens_and_new_writes_carry_the_new_key() -> None:
    old, new = Vault(MASTER, key_id=1), Vault(MASTER, key_id=2)
    sealed = old.seal_text(*PLACE, "刘敏")
    assert new.open_text(*PLACE, sealed) == "刘敏"
    assert new.seal_text(*PLACE, "刘敏")[1] == 2


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_day_has_a_key_of_its_own_and_those_before_go_on_opening(
    cipher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no key comes near the 2^32 values for which random nonces are good."""
    now = [1_764_374_399.0]
    vault = Vault(MASTER, cipher, clock=lambda: now[0])
    monkeypatch.setattr("os.urandom", lambda size: b"n" * size)
    today = vault.seal_text(*PLACE, "刘敏")
    assert vault.seal_text(*PLACE, "刘敏") == today, "the same key and nonce"
    now[0] += 1
    tomorrow = vault.seal_text(*PLACE, "刘敏")
    assert tomorrow[4:16] == today[4:16]
    assert tomorrow[16:] != today[16:]
    assert int.from_bytes(tomorrow[2:4]) == int.from_bytes(today[2:4]) + 1
    now[0] += 3_650 * 86_400
    for sealed in (today, tomorrow):
        assert Vault(MASTER, cipher, clock=lambda: now[0]).open_text(*PLACE, sealed) == "刘敏"
    moved = today[:2] + tomorrow[2:4] + today[4:]
    with pytest.raises(CannotOpen):
        vault.open(*PLACE, moved)


@pytest.mark.parametrize(
    ("version", "sealed"),
    [
        (1, "010183ed0216b85c62bd951ca1f33dd8c677fd5b08c49d1f51703316f5821a56b94a2fec"),
        (2, "020135efe29d12d6944a679050516052abdc2d08a5bcf0f8c12270cb7acfeb933d73457b"),
    ],
)
def test_what_was_sealed_before_keys_had_days_opens(version: int, sealed: str) -> None:
    kept = bytes.fromhex(sealed)
    assert kept[0] == version
    assert Vault(MASTER, clock=lambda: 4e9).open_text(*PLACE, kept) == "刘敏"


def test_another_master_key_opens_nothing_and_blinds_differently() -> None:
    ours, theirs = Vault(MASTER), Vault(MASTER + "x")
    with pytest.raises(CannotOpen):
        theirs.open(*PLACE, ours.seal(*PLACE, b"x"))
    assert ours.blind("demo", "phone", "1") != theirs.blind("demo", "phone", "1")


def test_values_of_json_come_back_as_they_were() -> None:
    vault = Vault(MASTER)
    value = {"name": "刘敏", "rows": [1, None, {"deep": True}]}
    assert vault.open_json(*PLACE, vault.seal_json(*PLACE, value)) == value


def test_a_blind_index_is_equal_for_equals_of_one_tenant_and_field_only() -> None:
    vault = Vault(MASTER)
    index = vault.blind("demo", "phone", "13800138000")
    assert re.fullmatch("[0-9a-f]{32}", index)
    assert index == Vault(MASTER).blind("demo", "phone", "13800138000")
    others = {
        vault.blind("demo", "phone", "13800138001"),
        vault.blind("other", "phone", "13800138000"),
        vault.blind("demo", "name", "13800138000"),
        vault.mac("demo", "phone", b"13800138000")[:32],
    }
    assert len(others) == 4
    assert index not in others
