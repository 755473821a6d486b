"""Another bank's keys on every route of the bank's systems: nothing of the first bank is seen or changed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import yaml

from customers.banks import apply
from customers.banks.bank import Bank
from customers.identity import customer_numbers
from customers.intake.rows import BANK_EVENTS, BANK_TOLD
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.http.conftest import APPID, OTHER_BANK
from tests.http.console.at_stake import kept
from tests.support.bank_systems import CORE, SECRET, customer, event, moment, send, split
from tests.support.banks import open_bank

THEIRS = "fake-secret-of-another-banks-core-system00"
NUMBER, PHONE = "C0001", "13800000001"


def other_bank() -> str:
    """The second bank with the same declarations, and a system of the same name."""
    demo, other = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8")), yaml.safe_load(OTHER_BANK)
    system = {"id": "core", "name": "核心系统", "may": ["events", "customers"], "secret": THEIRS}
    other |= {"fields": demo["fields"], "events": demo["events"], "systems": [system]}
    return str(yaml.safe_dump(other, allow_unicode=True))


@pytest.fixture
async def demo_bank(demo: Services) -> Bank:
    await apply.apply_tenant(demo, other_bank(), "other.yaml")
    bank = await open_bank(demo, "demo")
    cid = await customer(bank, unionid="u1", external_userid="wm1", openids={APPID: "o1"}, phone=f"+86{PHONE}")
    await customer_numbers.link(bank, NUMBER, cid, source="bank", proof="test")
    return bank


def calls(event_id: str, *ids: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Every route, about a customer by each of his ids."""
    events = [event(f"{event_id}-{place}", **who) for place, who in enumerate(ids)]
    told = [{"customer": who, "fields": {"stage": "lead"}, "at": moment(60)} for who in ids]
    return [
        ("POST", "/open/v1/events", {"events": events}),
        ("POST", "/open/v1/customers", {"customers": told}),
        ("PUT", f"/open/v1/customers/{NUMBER}", {"fields": {"stage": "lead"}}),
    ]


async def test_another_banks_key_changes_nothing_over_ids_that_the_first_bank_has(
    http: httpx.AsyncClient, demo_bank: Bank, demo: Services
) -> None:
    ids = ({"number": NUMBER}, {"phone": PHONE}, {"unionid": "u1"}, {"external_userid": "wm1"})
    for method, path, body in calls("same", *ids):
        assert (await send(http, path, body, method)).json()["refused"] == 0
    await split(demo_bank)
    before = kept(demo, "demo")
    answers = []
    for method, path, body in calls("same", *ids):
        answers.append((await send(http, path, body, method, who="other/core", secret=THEIRS)).json())
    other = await open_bank(demo, "other")
    await split(other)
    assert kept(demo, "demo") == before
    accepted = {"status": "accepted"}
    assert answers == [
        {"accepted": 4, "refused": 0, "items": [{"id": f"same-{place}", **accepted} for place in range(4)]},
        {"accepted": 4, "refused": 0, "items": [accepted] * 4},
        {"accepted": 1, "refused": 0, "items": [accepted]},
    ], "as of ids that nobody has"
    for rows, number in ((BANK_EVENTS, 4), (BANK_TOLD, 5)):
        waiting = await other.db[rows].find({}, limit=None)
        assert [row.get("cid") for row in waiting] == [None] * number, "the second bank knows nobody"


async def test_no_key_signs_for_another_bank(http: httpx.AsyncClient, demo_bank: Bank, demo: Services) -> None:
    before = [kept(demo, bank) for bank in ("demo", "other")]
    for method, path, body in calls("e1", {"number": NUMBER}):
        for who, secret in ((CORE, THEIRS), ("other/core", SECRET)):
            answer = await send(http, path, body, method, who=who, secret=secret)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "signature_wrong")
    assert [kept(demo, bank) for bank in ("demo", "other")] == before


async def test_another_banks_mini_program_is_none_of_this_bank(
    http: httpx.AsyncClient, demo_bank: Bank, demo: Services
) -> None:
    before = kept(demo, "demo")
    for method, path, body in calls("e1", {"openid": "o1", "appid": APPID})[:2]:
        answer = await send(http, path, body, method, who="other/core", secret=THEIRS)
        (item,) = answer.json()["items"]
        assert (item["code"], item["field"]) == ("appid_unknown", "customer.appid")
    assert kept(demo, "demo") == before
