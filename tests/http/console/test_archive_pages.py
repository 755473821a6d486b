"""The console's pages of the archive and of forbidden words: who may look, who may read, and that two clerks decide."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import httpx
import pytest

from customers.actors import ClerkActor
from customers.archive import reading
from customers.wecom_mirror import details
from services.container import Services
from services.errors import Forbidden, NotFound
from tests.conftest import Sandbox
from tests.http.conftest import Clerk, form_token, post_form
from tests.integration.customers import archived
from tests.support.banks import open_bank

ARCHIVE, WORDS = "/console/archive", "/console/intercepts"
RULE = {"name": "保本承诺", "kind": "block", "words": "保本\n稳赚不赔", "userids": "rm.chen, rm.li", "phone": "on"}


@pytest.fixture
async def bank(demo: Services, sandbox: Sandbox) -> Services:
    await archived.give_key(sandbox, 1)
    await archived.apply(demo, sandbox)
    person = await archived.friend(sandbox, "刘小敏")
    await details.fetch(await open_bank(demo, "demo"), person["external_userid"])
    await archived.say(sandbox, person, "我想买理财")
    await archived.pull(demo)
    return demo


def today(services: Services) -> str:
    return datetime.fromtimestamp(services.clock(), timezone(timedelta(hours=8))).date().isoformat()


async def test_a_bank_without_an_archive_is_told_so(clerk: Clerk) -> None:
    page = await (await clerk("audit")).get(f"{ARCHIVE}?lang=en")
    assert page.status_code == 200
    assert "The message archive is not set up. Ask your administrator." in page.text


async def test_an_auditor_reads_a_message_for_a_case(clerk: Clerk, bank: Services) -> None:
    auditor = await clerk("audit")
    page = (await auditor.get(f"{ARCHIVE}?lang=en")).text
    assert "Agreed to the archive: 1" in page
    searched = await post_form(auditor, ARCHIVE, ARCHIVE, case="2026-C-017", userid="rm.chen", day=today(bank))
    assert searched.status_code == 200
    assert "刘**" in searched.text
    assert "理财" not in searched.text
    (row,) = await archived.kept(bank)
    opened = await post_form(auditor, ARCHIVE, f"{ARCHIVE}/messages/{row['_id']}", case="2026-C-017")
    assert "我想买理财" in opened.text
    audit = (await auditor.get("/console/audit?lang=en")).text
    assert "Archived message opened" in audit


async def test_without_a_case_the_page_says_what_is_wrong(clerk: Clerk, bank: Services) -> None:
    auditor = await clerk("audit")
    (row,) = await archived.kept(bank)
    for action, more in (
        (ARCHIVE, {"userid": "rm.chen", "day": today(bank)}),
        (f"{ARCHIVE}/messages/{row['_id']}", {}),
    ):
        answer = await post_form(auditor, f"{ARCHIVE}?lang=en", action, case="!", **more)
        assert (answer.status_code, "A case number has 4 to 40" in answer.text) == (400, True)
        assert "理财" not in answer.text


async def test_who_may_only_see_how_it_goes_reads_nothing(clerk: Clerk, bank: Services) -> None:
    lin = await clerk("lin")
    page = await lin.get(f"{ARCHIVE}?lang=en")
    assert "Newest message" in page.text
    assert "Case number" not in page.text
    (row,) = await archived.kept(bank)
    for action in (ARCHIVE, f"{ARCHIVE}/messages/{row['_id']}"):
        answer = await post_form(lin, "/console/handover/new", action, case="2026-C-017")
        assert answer.status_code == 403


async def _approve(client: httpx.AsyncClient, services: Services) -> httpx.Response:
    (change,) = await services.store.tenant("demo")["intercept_changes"].find({"state": "submitted"})
    return await post_form(client, WORDS, f"{WORDS}/{change['_id']}/approve")


async def test_words_go_from_one_clerk_over_another_to_wecom_and_back(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    proposed = await post_form(lin, f"{WORDS}?lang=en", WORDS, **RULE)
    assert "Submitted: it is pending approval." in proposed.text
    assert (await _approve(lin, demo)).status_code == 403
    approved = await _approve(zhao, demo)
    assert (approved.status_code, "保本, 稳赚不赔" in approved.text) == (200, True)
    rule = await demo.store.tenant("demo")["intercept_rules"].find_one({})
    assert rule is not None
    assert (rule["words"], rule["userids"], rule["semantics"]) == (["保本", "稳赚不赔"], ["rm.chen", "rm.li"], [1])
    compared = await lin.get(f"{WORDS}/compare?lang=en")
    assert "Nothing: both sides agreed." in compared.text
    ended = await post_form(zhao, WORDS, WORDS, change="end", name="保本承诺")
    assert ended.status_code == 200
    await _approve(lin, demo)
    assert await demo.store.tenant("demo")["intercept_rules"].count() == 0


async def test_a_rule_that_wecom_would_not_take_comes_back_with_what_was_written(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    answer = await post_form(lin, WORDS, WORDS, **{**RULE, "departments": "two"})
    assert (answer.status_code, "稳赚不赔" in answer.text) == (400, True)
    assert await demo.store.tenant("demo")["intercept_changes"].count() == 0


async def test_a_change_is_turned_down_with_a_reason(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    await post_form(lin, WORDS, WORDS, **RULE)
    (change,) = await demo.store.tenant("demo")["intercept_changes"].find({})
    answer = await post_form(zhao, WORDS, f"{WORDS}/{change['_id']}/reject", reason="词太宽")
    assert "词太宽" in answer.text
    brought = await post_form(zhao, WORDS, f"{WORDS}/bring")
    assert brought.status_code == 200
    assert await demo.store.tenant("demo")["intercept_rules"].count() == 0


async def test_an_auditor_sees_the_words_and_changes_none(clerk: Clerk, demo: Services) -> None:
    auditor = await clerk("audit")
    page = await auditor.get(WORDS)
    assert page.status_code == 200
    token = form_token((await auditor.get(ARCHIVE)).text)
    answer = await auditor.post(WORDS, data={"_xsrf": token, **RULE})
    assert answer.status_code == 403
    assert await demo.store.tenant("demo")["intercept_changes"].count() == 0


async def test_the_lag_is_measured_when_the_metrics_are_asked_for(http: httpx.AsyncClient, bank: Services) -> None:
    assert 'yinqiao_archive_lag_seconds{tenant="demo"} 0.0' in (await http.get("/metrics")).text
    rows = bank.store.tenant("demo")["archive_pulls"]
    await rows.update({}, {"$set": {"behind_since": bank.clock() - 1000.0}})
    found = re.search(r'yinqiao_archive_lag_seconds\{tenant="demo"\} ([0-9.]+)', (await http.get("/metrics")).text)
    assert found is not None
    assert float(found[1]) >= 1000.0


async def test_going_back_or_reloading_shows_what_was_found_and_asks_for_nothing_again(
    clerk: Clerk, bank: Services
) -> None:
    auditor = await clerk("audit")
    wanted = {"case": "2026-C-017", "userid": "rm.chen", "day": today(bank)}
    found = await post_form(auditor, ARCHIVE, ARCHIVE, follow=False, **wanted)
    (row,) = await archived.kept(bank)
    opened = await post_form(auditor, ARCHIVE, f"{ARCHIVE}/messages/{row['_id']}", follow=False, case="2026-C-017")
    for answer, text in ((found, "刘**"), (opened, "我想买理财")):
        assert answer.status_code == 303
        address = answer.headers["Location"]
        assert "2026-C-017" not in address
        for _ in range(2):
            again = await auditor.get(address)
            assert (again.status_code, text in again.text, "2026-C-017" in again.text) == (200, True, True)
        assert "Cache-Control" in again.headers
        assert (await (await clerk("lin")).get(address)).status_code == 403
        over = await auditor.get(address.rsplit("/", 1)[0] + "/" + "x" * 43)
        assert (over.status_code, "请重新搜索" in over.text) == (404, True)
    rows = await bank.store.tenant("demo")["audit"].find({"actor": "audit"}, sort=[("seq", 1)])
    acts = [one["action"] for one in rows if one["action"].startswith("archive.")]
    assert acts == ["archive.searched", "archive.revealed"]


async def test_what_somebody_found_is_nobody_elses(clerk: Clerk, bank: Services) -> None:
    reader = await open_bank(bank, "demo")
    mine = ClerkActor("demo", "audit", "审计", frozenset({reading.READ}))
    other = ClerkActor("demo", "other", "别人", frozenset({reading.READ}))
    without = ClerkActor("demo", "audit", "审计", frozenset())
    (row,) = await archived.kept(bank)
    messages = await reading.search(reader, mine, "2026-C-017", "rm.chen", today(bank))
    search = await reading.keep_search(reader, mine, reading.Found("2026-C-017", "rm.chen", today(bank), messages))
    opened = await reading.open_message(reader, mine, "2026-C-017", row["_id"])
    for again in (
        lambda actor: reading.kept_search(reader, actor, search),
        lambda actor: reading.opened(reader, actor, opened),
    ):
        await again(mine)
        with pytest.raises(NotFound, match="search_over"):
            await again(other)
        with pytest.raises(Forbidden, match="not_permitted"):
            await again(without)
