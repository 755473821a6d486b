"""What a bank's file declares of the bank's own, and what is wrong with it, by line."""

from __future__ import annotations

import pytest

from customers.banks.declarations import FieldEntry
from customers.banks.files import read_tenant_file
from services.errors import InvalidInput
from tests.conftest import DEMO_BANK

DEMO = DEMO_BANK.read_text(encoding="utf-8")


def _problem(text: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        read_tenant_file(text, "bank.yaml")
    return refused.value.message


def test_the_demonstration_bank_declares_fields_events_and_a_system() -> None:
    file = read_tenant_file(DEMO, "bank.yaml")
    fields = {one.key: one for one in file.fields}
    stage = fields["stage"]
    assert (stage.type, stage.level, stage.written_by, stage.values) == (
        "choice", "C1", ["bank", "rm"], ["lead", "opened", "active", "dormant", "closed"],
    )  # fmt: skip
    assert (stage.moves["lead"], stage.moves.get("closed")) == (["opened"], None)
    assert (stage.label_of("dormant", "zh"), stage.label_of("gone", "en")) == ("沉默", "gone")
    assert [one.key for one in file.fields if one.sealed] == ["month_income", "id_tail"]
    assert [one.name for one in file.events][:2] == ["app.login", "account.opened"]
    assert (file.systems[0].id, file.systems[0].may) == ("core", ["events", "customers"])


def test_a_declaration_is_read_again_as_it_is_kept() -> None:
    for field in read_tenant_file(DEMO, "bank.yaml").fields:
        assert FieldEntry.model_validate(field.model_dump()) == field


LINE = {name: DEMO[: DEMO.index(name)].count("\n") + 1 for name in ("key: holdings", "key: id_tail", "name: app.login")}
END = DEMO.count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{zh: 证件尾号, en: Last digits of the ID}, type: text, class: C3, sealed: true",
         "{zh: 证件尾号, en: Last digits of the ID}, type: text, class: C3",
         f"bank.yaml:{LINE['key: id_tail']}: the field id_tail is of class C3: expected sealed: true"),
        ("key: holdings", "key: phone",
         f"bank.yaml:{LINE['key: holdings']}: phone is something that every customer has; choose another key"),
        ("key: holdings", "key: birthday", f"bank.yaml:{LINE['key: holdings']}: birthday stands twice"),
        ("type: number", "type: choice",
         f"bank.yaml:{LINE['key: holdings']}: a choice needs choices, and no other type has them"),
        ("lead: [opened]", "lead: [opend]",
         "no such choice: opend; expected one of ['lead', 'opened', 'active', 'dormant', 'closed']"),
        ("name: app.login", "name: account.opened",
         f"bank.yaml:{LINE['name: app.login'] + 1}: account.opened stands twice"),
        ("name: app.login", "name: login", "two or three words of small letters, digits and _, with dots between them"),
        ("id: core", "id: coffee-pos", f"bank.yaml:{END - 1}: coffee-pos stands twice"),
        ("may: [events, customers],", "may: [events], algorithm: sm2-sm3,",
         f"bank.yaml:{END - 1}: sm2-sm3 signs with the system's own key; leave secret out"),
    ],
    ids=["open-c3", "built-in", "twice", "choices", "moves", "event-twice", "event-name", "partner", "secret"],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, said: str) -> None:
    assert old in DEMO
    assert said in _problem(DEMO.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("events: [payment.made,", "events: [payment.gone,", "the file declares no event payment.gone; expected one of ["),
        ("events: [payment.made,", "events: [fund.bought,", "fund.bought stands twice"),
        ("amounts: {payment.made: amount", "amounts: {app.login: amount",
         "app.login is not among rfm's events; expected one of ['payment.made', 'deposit.made', 'fund.bought']"),
        ("amounts: {payment.made: amount", "amounts: {payment.made: channel",
         "channel is not one of the event's data that are money; expected one of ['amount']"),
        ("days: 365", "days: 401", "400"),
    ],
    ids=["event", "twice", "amount-event", "amount-key", "days"],
)  # fmt: skip
def test_what_is_wrong_with_rfm_is_said_with_its_line(old: str, new: str, said: str) -> None:
    line = DEMO[: DEMO.index(old)].count("\n") + 1
    problem = _problem(DEMO.replace(old, new))
    assert problem.startswith(f"bank.yaml:{line}: ")
    assert said in problem


def test_sm2_needs_a_public_key() -> None:
    text = DEMO + "  - {id: other, name: 其他系统, may: [events], algorithm: sm2-sm3}\n"
    assert _problem(text).startswith(f"bank.yaml:{END}: sm2-sm3 needs public_key")
    off = text.replace("algorithm: sm2-sm3", f"algorithm: sm2-sm3, public_key: '04{'ab' * 64}'")
    assert _problem(off).startswith(f"bank.yaml:{END}: sm2-sm3 needs public_key")
    point = "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    point += "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
    good = text.replace("algorithm: sm2-sm3", f"algorithm: sm2-sm3, public_key: '04{point}'")
    assert read_tenant_file(good, "bank.yaml").systems[1].algorithm == "sm2-sm3"
