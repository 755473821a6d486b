"""The bank's fields on its pages: declared, shown with their history, written by RMs, and opened for a reason."""

from __future__ import annotations

import httpx
import pytest

from customers import relationships
from customers.actors import ClerkActor
from customers.fields import values
from customers.fields.values import Update
from customers.identity import resolution
from customers.identity.resolution import Facts
from customers.rfm import viewing
from operations import profiling
from services.container import Services
from tests.http.conftest import Clerk, post_form
from tests.support.banks import open_bank


@pytest.fixture
async def cid(demo: Services) -> str:
    """A friend of rm.chen of whom the core system told things twice."""
    bank = await open_bank(demo, "demo")
    facts = Facts(external_userid="wmE", name="欧阳娜娜")
    cid = await resolution.identify(bank, facts, source="callback", proof="event-77")
    await relationships.changed(bank, "rm.chen", cid, at=100.0, active=True)
    told = [
        Update(cid, {"balance_band": "C", "id_tail": "8412", "stage": "opened"}, 1_700_000_000.0, "core", "e1"),
        Update(cid, {"balance_band": "B"}, 1_710_000_000.0, "core", "e2"),
    ]
    assert [answer.code for answer in await values.write_many(bank, told)] == ["", ""]
    return cid


async def test_the_page_of_fields_has_what_the_bank_declares_and_how_many_have_it(clerk: Clerk, cid: str) -> None:
    lin = await clerk("lin")
    page = (await lin.get("/console/fields?lang=en")).text
    rows = {row.split("customer.")[1].split("<")[0]: row for row in page.split("<tr>")[2:] if "customer." in row}
    assert "Lead → Account opened" in rows["stage"]
    assert "RMs" in rows["interest"]
    assert "the bank&#x27;s systems" in rows["holdings"] or "the bank's systems" in rows["holdings"]
    held = {key: row.rsplit("<td", 1)[1].split(">")[1].split("<")[0] for key, row in rows.items()}
    assert (held["balance_band"], held["id_tail"], held["gender"]) == ("1", "1", "0")
    assert "Sealed" in rows["id_tail"]
    assert "证件尾号" in (await lin.get("/console/fields?lang=zh")).text


async def test_a_customers_fields_are_shown_with_their_history_and_sealed_ones_for_a_reason(
    clerk: Clerk, demo: Services, cid: str
) -> None:
    lin, auditor = await clerk("lin"), await clerk("audit")
    page = (await lin.get(f"/console/people/{cid}?lang=en")).text
    assert "200 thousand to 1 million" in page
    assert "核心系统" in page
    assert "8412" not in page
    history = (await lin.get(f"/console/people/{cid}/fields/balance_band?lang=en")).text
    assert history.index("200 thousand to 1 million") < history.index("50 to 200 thousand")
    sealed = f"/console/people/{cid}/fields/id_tail"
    assert "8412" not in (await lin.get(sealed)).text
    assert "/reveal" not in (await auditor.get(sealed)).text
    refused = await post_form(auditor, sealed, f"{sealed}/reveal", reason="看看")
    assert (refused.status_code, "8412" in refused.text) == (403, False)
    without = await post_form(lin, sealed, f"{sealed}/reveal", reason=" ")
    assert "8412" not in without.text
    seen = await post_form(lin, sealed, f"{sealed}/reveal", reason="客户来电核对")
    assert (seen.status_code, "8412" in seen.text, seen.headers["Cache-Control"]) == (200, True, "no-store")
    rows = await demo.store.tenant("demo")["audit"].find({"action": "field.revealed"})
    assert [(row["actor"], row["object"], row["data"]["field"], row["data"]["reason"]) for row in rows] == [
        ("lin", cid, "id_tail", "客户来电核对")
    ]
    assert (await lin.get(f"/console/people/{cid}/fields/shoe_size")).status_code == 404


async def test_in_which_fifths_he_is_stands_with_his_fields(
    clerk: Clerk, rm: httpx.AsyncClient, demo: Services, cid: str
) -> None:
    bank = await open_bank(demo, "demo")
    await profiling.bring(bank, [cid])
    await bank.db["profiles"].update({"_id": cid}, {"$set": {"rfm": {"r": 5, "f": 3, "m": 1}}})
    lin = await clerk("lin")
    page = (await lin.get(f"/console/people/{cid}?lang=en")).text
    assert [said for said in ("5 of 5", "3 of 5", "1 of 5") if said in page] == ["5 of 5", "3 of 5", "1 of 5"]
    shown = (await rm.get(f"/sidebar/demo/customers/{cid}?lang=zh")).text
    assert "<dt>最近一次交易（R）</dt><dd>第 5 档（共 5 档，5 最高）</dd>" in shown
    assert await viewing.of_customer(bank, ClerkActor("demo", "x", "x", frozenset()), cid) == []


async def test_an_rm_writes_what_he_may_and_sees_the_history(rm: httpx.AsyncClient, demo: Services, cid: str) -> None:
    page, bank = f"/sidebar/demo/customers/{cid}", await open_bank(demo, "demo")
    shown = (await rm.get(f"{page}?lang=en")).text
    assert "200 thousand to 1 million" in shown
    assert "8412" not in shown
    assert 'value="active"' in shown
    assert 'value="lead"' not in shown  # no move leads there
    saved = await post_form(rm, page, f"{page}/fields/stage/write", value="active")
    assert (saved.status_code, "Saved." in saved.text) == (200, True)
    refused = await post_form(rm, page, f"{page}/fields/stage/write", value="lead")
    assert "It does not change to this from what it is now." in refused.text
    wrong = await post_form(rm, page, f"{page}/fields/last_visit/write", value="2026-02-30")
    assert "This is not a value of that kind." in wrong.text
    assert (await post_form(rm, page, f"{page}/fields/balance_band/write", value="A")).status_code == 403
    await post_form(rm, page, f"{page}/fields/interest/write", value=" 稳健理财 ")
    held = {one.key: (one.value, one.by) for one in (await values.read(bank, {"one": [cid]}))["one"]}
    assert (held["stage"], held["interest"]) == (("active", "rm.chen"), ("稳健理财", "rm.chen"))
    history = (await rm.get(f"{page}/fields/stage?lang=en")).text
    assert history.index("Active") < history.index("Account opened")
    assert "陈思远" in history
    rows = await demo.store.tenant("demo")["audit"].find({"action": "field.written"})
    assert {(row["actor"], row["data"]["field"]) for row in rows} == {("rm.chen", "stage"), ("rm.chen", "interest")}
    stranger = await resolution.identify(bank, Facts(external_userid="wmX"), source="callback", proof="event-78")
    for address in (f"/sidebar/demo/customers/{stranger}/fields/stage", f"/sidebar/demo/customers/{cid}/fields/x"):
        assert (await rm.get(address)).status_code == 404
