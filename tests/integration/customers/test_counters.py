"""Counters and partners: who they are comes from the bank's file, and in production another agrees to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import yaml

from customers.access import clerk, counter, counter_rights
from customers.actors import ClerkActor
from customers.banks import accounts, apply, clerks, counters
from customers.banks.bank import Bank
from customers.banks.files import read_tenant_file
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound, NotSignedIn
from tests.conftest import DEMO_BANK
from tests.integration.customers.test_production import FIRST, _file, production
from tests.support.banks import open_bank

__all__ = ["production"]

DEMO = DEMO_BANK.read_text(encoding="utf-8")
PASSWORD = "yinqiao-demo"
SECRET = "k3" * 20
LIN = ClerkActor("demo", "lin", "林晓", clerks.PERMISSIONS["operations"])
Entry = dict[str, Any]


def _with(counters: list[Entry], partners: list[Entry] | None = None, text: str = "") -> str:
    file = yaml.safe_load(text or _file(lin=["operations"], zhao=["operations"]))
    return str(yaml.safe_dump({**file, "counters": counters, "partners": partners or []}, allow_unicode=True))


def _teller(**more: Any) -> Entry:
    return {"login": "tan", "name": "谭明", "branch": "sz-nanshan", "password": FIRST, **more}


async def _apply(services: Services, text: str, by: str = "cli:ops") -> Bank:
    await apply.apply_tenant(services, text, "bank.yaml", by)
    services.cache.clear()
    return await open_bank(services, "demo")


async def test_the_demo_bank_has_a_teller_a_merchants_person_and_a_partner(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    token = await counter.sign_in(demo, "demo", "nanshan", PASSWORD)
    actor, _ = await counter.actor_of(demo, "demo", token)
    assert (actor.name, actor.branch, actor.merchant, actor.per_day) == ("何静", "sz-nanshan", "", 200)
    coffee = await counters.counter(bank, "coffee")
    assert (coffee.branch, coffee.merchant, bank.merchants[coffee.merchant]) == ("", "yq-coffee", "银桥咖啡")
    partner = await counters.partner(bank, "coffee-pos")
    assert (partner.merchants, partner.per_day, len(partner.secrets)) == (("yq-coffee",), 10_000, 1)
    (row,) = await demo.store.tenant("demo")["partners"].find({})
    assert b"fake-partner-secret" not in row["secrets"]


async def test_who_leaves_the_file_is_out_at_once(demo: Services) -> None:
    token = await counter.sign_in(demo, "demo", "nanshan", PASSWORD)
    text = DEMO.replace("  - {login: nanshan, name: 何静, branch: sz-nanshan, password: yinqiao-demo}\n", "")
    file = yaml.safe_load(text)
    del file["partners"]
    bank = await _apply(demo, yaml.safe_dump(file, allow_unicode=True))
    with pytest.raises(NotSignedIn):
        await counter.actor_of(demo, "demo", token)
    with pytest.raises(NotSignedIn):
        await counter.sign_in(demo, "demo", "nanshan", PASSWORD)
    with pytest.raises(NotFound):
        await counters.partner(bank, "coffee-pos")
    bank = await _apply(demo, DEMO)
    with pytest.raises(NotSignedIn):
        await counter.actor_of(demo, "demo", token)
    await counter.sign_in(demo, "demo", "nanshan", PASSWORD)
    assert len((await counters.partner(bank, "coffee-pos")).secrets) == 1


async def test_another_place_ends_the_sessions_of_the_first(demo: Services) -> None:
    token = await counter.sign_in(demo, "demo", "nanshan", PASSWORD)
    await _apply(demo, DEMO.replace("何静, branch: sz-nanshan", "何静, branch: gz-tianhe"))
    with pytest.raises(NotSignedIn):
        await counter.actor_of(demo, "demo", token)
    token = await counter.sign_in(demo, "demo", "nanshan", PASSWORD)
    assert (await counter.actor_of(demo, "demo", token))[0].branch == "gz-tianhe"


async def test_a_counters_session_is_no_clerks_and_no_other_banks(demo: Services) -> None:
    token = await counter.sign_in(demo, "demo", "nanshan", PASSWORD)
    with pytest.raises(NotSignedIn):
        await clerk.actor_of(demo, token)
    with pytest.raises(NotSignedIn):
        await counter.actor_of(demo, "other", token)
    lin = await clerk.sign_in(demo, "demo", "lin", PASSWORD)
    with pytest.raises(NotSignedIn):
        await counter.actor_of(demo, "demo", lin)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"branch": None}, "either a branch or a merchant"),
        ({"merchant": "yq-coffee"}, "either a branch or a merchant"),
        ({"branch": "sz-nowhere"}, "unknown branch sz-nowhere"),
        ({"branch": None, "merchant": "tea"}, "unknown merchant tea"),
        ({"per_day": 0}, "per_day"),
        ({"per_day": 1.5}, "per_day"),
        ({"login": "Tan Ming"}, "login"),
        ({"login": "coffee"}, "coffee stands twice"),
    ],
)
def test_a_counter_that_cannot_be_is_refused_with_its_line(change: Entry, said: str) -> None:
    teller = {name: value for name, value in _teller(**change).items() if value is not None}
    file = yaml.safe_load(DEMO)
    file["counters"] = [*file["counters"], teller]
    with pytest.raises(InvalidInput) as refused:
        read_tenant_file(yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    assert said in refused.value.message
    assert refused.value.message.startswith("bank.yaml:")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"merchants": []}, "has no place"),
        ({"merchants": ["tea"]}, "unknown merchant tea"),
        ({"branches": ["moon"]}, "unknown branch moon"),
        ({"secret": "short"}, "{32,128}"),
        ({"id": "Coffee POS"}, "id"),
    ],
)
def test_a_partner_that_cannot_be_is_refused_without_its_secret(change: Entry, said: str) -> None:
    file = yaml.safe_load(DEMO)
    file["partners"] = [{**file["partners"][0], "secret": SECRET, **change}]
    with pytest.raises(InvalidInput) as refused:
        read_tenant_file(yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    assert said in refused.value.message
    assert SECRET not in refused.value.message


async def test_in_production_the_first_are_the_files_and_later_ones_wait(production: Services) -> None:
    coffee = {"id": "pos", "name": "POS", "merchants": ["yq-coffee"], "secret": SECRET}
    bank = await _apply(production, _with([_teller()], [coffee]))
    assert (await counters.counter(bank, "tan")).branch == "sz-nanshan"
    assert (await counters.partner(bank, "pos")).merchants == ("yq-coffee",)
    wider = {**coffee, "branches": ["sz-nanshan"], "per_day": 5}
    both = [_teller(), {"login": "luo", "name": "罗", "merchant": "yq-coffee", "password": FIRST}]
    bank = await _apply(production, _with(both, [wider]))
    assert (await counters.counter(bank, "luo")).merchant == ""
    partner = await counters.partner(bank, "pos")
    assert (partner.merchants, partner.branches, partner.per_day) == (("yq-coffee",), (), 5)
    listed = [(view.which, view.login, bool(view.asked)) for view in await counter_rights.list_counters(bank, LIN)]
    assert listed == [("partner", "pos", True), ("counter", "luo", True), ("counter", "tan", False)]
    await counter_rights.approve(bank, LIN, "counter", "luo")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await counter_rights.reject(bank, LIN, "partner", "pos", " ")
    await counter_rights.reject(bank, LIN, "partner", "pos", "未与我商量")
    production.cache.clear()
    assert (await counters.counter(bank, "luo")).merchant == "yq-coffee"
    assert (await counters.partner(bank, "pos")).branches == ()
    with pytest.raises(Conflict) as decided:
        await counter_rights.approve(bank, LIN, "partner", "pos")
    assert decided.value.code == "rights_decided"
    rows = await production.store.tenant("demo")["audit"].find({"object": "luo"}, sort=[("seq", 1)])
    told = [(row["action"], row["actor"]) for row in rows if "rights" in row["action"]]
    assert told == [("counter.rights_asked", "cli:ops"), ("counter.rights_granted", "lin")]


async def test_in_production_a_right_is_taken_at_once_and_nobody_agrees_to_his_own_request(
    production: Services,
) -> None:
    bank = await _apply(production, _with([_teller()]))
    bank = await _apply(production, _with([_teller(branch="gz-tianhe", per_day=500)]), "cli:lin")
    assert (await counters.counter(bank, "tan")).branch == ""
    with pytest.raises(Forbidden) as own:
        await counter_rights.approve(bank, LIN, "counter", "tan")
    assert own.value.code == "approver_is_author"
    with pytest.raises(Forbidden):
        await counter_rights.approve(bank, ClerkActor("demo", "eve", "", frozenset()), "counter", "tan")
    zhao = ClerkActor("demo", "zhao", "赵敏", LIN.permissions)
    await production.store.tenant("demo")["counters"].update({"login": "tan"}, {"$set": {"asked.per_day": 9_999}})
    with pytest.raises(Conflict) as changed:
        await counter_rights.approve(bank, zhao, "counter", "tan")
    assert changed.value.code == "approval_changed"


async def test_in_production_a_first_password_is_changed_and_no_published_secret_is_taken(
    production: Services,
) -> None:
    bank = await _apply(production, _with([_teller()]))
    token = await counter.sign_in(production, "demo", "tan", FIRST)
    assert (await counter.actor_of(production, "demo", token))[1].must_change
    await accounts.change_password(bank, counters.COUNTER, "tan", FIRST, "a lighthouse in may")
    bank = await _apply(production, _with([_teller()]))
    with pytest.raises(NotSignedIn):
        await counter.sign_in(production, "demo", "tan", FIRST)
    demos = yaml.safe_load(DEMO)["partners"]
    with pytest.raises(InvalidInput) as published:
        await _apply(production, _with([_teller(password=PASSWORD)], demos))
    assert "partners.0.secret: published" in published.value.message
    assert "counters.0.password" in published.value.message


async def test_a_new_secret_leaves_the_one_before_it_good_for_some_days(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    second = await counters.set_secret(bank, "coffee-pos", overlap=timedelta(days=7))
    third = await counters.set_secret(bank, "coffee-pos", overlap=timedelta(days=7))
    secrets = (await counters.partner(bank, "coffee-pos")).secrets
    assert [secret for secret, _ in secrets] == [third, second]
    assert secrets[0][1] is None
    assert secrets[1][1] == pytest.approx(bank.now() + 7 * 86_400, abs=60)
    last = await counters.set_secret(bank, "coffee-pos")
    assert [secret for secret, _ in (await counters.partner(bank, "coffee-pos")).secrets] == [last]
    with pytest.raises(NotFound):
        await counters.set_secret(bank, "nobody")
    rows = await demo.store.tenant("demo")["audit"].find({"action": "partner.secret_set"})
    assert len(rows) == 4
    assert not any(secret in str(rows) for secret in (second, third, last))
