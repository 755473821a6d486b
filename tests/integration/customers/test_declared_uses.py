"""What live segments ask for is not taken out of the bank's file."""

from __future__ import annotations

import re

import pytest

from customers.actors import ClerkActor
from customers.banks import apply
from customers.fields import rows, values
from customers.fields.values import Update
from customers.segments import document, versions
from operations import profiling
from services.cache import invalidate
from services.container import Services
from services.errors import InvalidInput
from tests.conftest import DEMO_BANK
from tests.support.banks import open_bank
from tests.support.killing import Killed, before_write

LIN, ZHAO = (ClerkActor("demo", login, login, frozenset()) for login in ("lin", "zhao"))
DEMO = DEMO_BANK.read_text(encoding="utf-8")
WITHOUT_RFM = re.sub(r"rfm:\n(  .*\n)+", "", DEMO)
REMOVED = DEMO.replace("{key: payroll, name", "{key: payroll, removed: true, name")
GONE = re.sub(r"  - \{key: payroll.*\n", "", DEMO)
RENAMED = DEMO.replace("{value: D, label", "{value: E, label")
NO_EVENT = re.sub(r"  - \{name: branch.visited.*\n", "", DEMO)


async def _put(services: Services, key: str, rule: str) -> None:
    bank = await open_bank(services, "demo")
    words = await profiling.vocabulary(bank)
    segment = document.read(key, {"name": {"zh": key, "en": key}, "rule": rule})
    number = await versions.submit(bank, LIN, key, segment, words)
    await versions.approve(bank, ZHAO, key, number, words)


@pytest.mark.parametrize(
    ("rule", "text", "said"),
    [
        ("customer.bound and customer.payroll", REMOVED, "column 20: the field customer.payroll was removed"),
        ("customer.bound and customer.payroll", GONE, "column 20: unknown field customer.payroll"),
        ("customer.balance_band in ['C', 'D']", RENAMED, "column 32: customer.balance_band is never D"),
        ("rfm.m == 5", WITHOUT_RFM, "column 1: rfm.m asks for RFM, which the bank's file does not declare"),
        ("event('branch.visited', 30d)", NO_EVENT, "column 7: unknown event branch.visited"),
    ],
    ids=["removed", "gone", "choice", "rfm", "event"],
)
async def test_what_a_live_segment_asks_for_is_not_taken_away(bank: Services, rule: str, text: str, said: str) -> None:
    assert text != DEMO
    await _put(bank, "mine", rule)
    before = await bank.store.system("tenants").find_one({"_id": "demo"})
    with pytest.raises(InvalidInput) as refused:
        await apply.apply_tenant(bank, text, "bank.yaml")
    assert "segment mine is live: its rule, " + said in refused.value.message
    assert await bank.store.system("tenants").find_one({"_id": "demo"}) == before
    opened = await open_bank(bank, "demo")
    number = await versions.archive(opened, LIN, "mine", "不再用")
    await versions.approve(opened, ZHAO, "mine", number, await profiling.vocabulary(opened))
    await apply.apply_tenant(bank, text, "bank.yaml")


async def test_values_of_a_removed_field_outlive_no_file(bank: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever removes it is cut short before each of his writes, until they are gone."""
    opened, history = await open_bank(bank, "demo"), bank.store.tenant("demo")["field_history"]
    for payroll, at in ((True, 10.0), (False, 20.0)):
        told = Update(f"demo:{'1' * 32}", {"payroll": payroll}, at, "core", f"e{at}")
        assert await values.write_many(opened, [told]) == [values.TAKEN]
    cut_short, removed = 0, False
    while await history.count({}) or await rows.is_used(opened, "payroll"):
        for text, said in ((GONE, "gone"), (DEMO, "declared anew"))[: 1 + removed]:
            with pytest.raises(InvalidInput, match=f"payroll has values and is {said}; declare it with"):
                await apply.apply_tenant(bank, text, "bank.yaml")
        with monkeypatch.context() as patched:
            before_write(patched, cut_short)
            with pytest.raises(Killed):
                await apply.apply_tenant(bank, REMOVED, "bank.yaml")
        cut_short += 1
        invalidate(bank, "tenants")  # as a new process has none
        removed = "payroll" in (await open_bank(bank, "demo")).removed_fields
    assert removed
    await apply.apply_tenant(bank, GONE, "bank.yaml")


async def test_a_segment_that_is_broken_already_holds_up_no_file(bank: Services) -> None:
    await _put(bank, "mine", "customer.payroll")
    await bank.store.tenant("demo")["segments"].update({}, {"$set": {"rule": "customer.older"}})
    await apply.apply_tenant(bank, REMOVED, "bank.yaml")
