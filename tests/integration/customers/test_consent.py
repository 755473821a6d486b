from __future__ import annotations

import hashlib

import pytest

from customers import consent
from services.container import Services
from services.errors import InvalidInput
from tests.support.banks import open_bank
from tests.support.clock import StillClock

PHONE = "phone/2026-11"


async def test_a_consent_says_who_agreed_to_which_text_when_and_where(services: Services) -> None:
    text = consent.text_of("phone", PHONE)
    await consent.give(await open_bank(services, "demo"), "demo:c", "phone", PHONE, text, "mp:wx1")
    (row,) = await services.store.tenant("demo")["consents"].find({})
    shown = f"{text['en']}|{text['zh']}"
    assert (row["cid"], row["purpose"], row["version"], row["channel"]) == ("demo:c", "phone", PHONE, "mp:wx1")
    assert row["text_sha256"] == hashlib.sha256(shown.encode()).hexdigest()
    assert 1_800_000_000 <= row["at"].timestamp() < 1_800_000_060


async def test_the_first_row_of_a_consent_is_never_changed(services: Services) -> None:
    text = consent.text_of("phone", PHONE)
    await consent.give(await open_bank(services, "demo"), "demo:c", "phone", PHONE, text, "mp:wx1")
    before = await services.store.tenant("demo")["consents"].find({})
    await consent.give(await open_bank(services, "demo"), "demo:c", "phone", PHONE, text, "mp:wx2")
    assert await services.store.tenant("demo")["consents"].find({}) == before


async def test_a_round_ends_with_its_withdrawal_whatever_the_clocks_said(services: Services, clock: StillClock) -> None:
    """Two processes, one of which is a minute ahead."""
    bank, text = await open_bank(services, "demo"), consent.text_of("phone", PHONE)
    await consent.give(bank, "demo:c", "phone", PHONE, text, "mp:wx1")
    clock.now -= 60
    await consent.withdraw(bank, "demo:c", "phone", "mp:wx1")
    assert (await consent.standing(bank, ["demo:c"], "phone")).withdrawn
    clock.now -= 60
    await consent.give(bank, "demo:c", "phone", PHONE, text, "mp:wx1")
    assert (await consent.standing(bank, ["demo:c"], "phone")).agrees
    await consent.withdraw(bank, "demo:c", "phone", "mp:wx1")
    assert (await consent.standing(bank, ["demo:c"], "phone")).withdrawn


async def test_each_customer_and_each_bank_has_consents_of_its_own(services: Services) -> None:
    text = consent.text_of("phone", PHONE)
    for tenant, cid in (("demo", "demo:c"), ("demo", "demo:d"), ("other", "demo:c")):
        await consent.give(await open_bank(services, tenant), cid, "phone", PHONE, text, "mp:wx1")
    assert await services.store.tenant("demo")["consents"].count() == 2
    assert await services.store.tenant("other")["consents"].count() == 1


@pytest.mark.parametrize(
    ("purpose", "version", "code"),
    [
        ("phone", "", "consent_missing"),
        ("phone", "phone/1999-01", "consent_unknown"),
        ("broadcast", PHONE, "consent_unknown"),
    ],
)
def test_without_a_known_text_there_is_no_consent(purpose: str, version: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        consent.text_of(purpose, version)
    assert refused.value.code == code
    assert list(refused.value.fields) == ["consent"]
