"""The console's pages about who is who: found exactly, shown masked, changed by two clerks."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from customers import consent
from customers.identity import customer_numbers, resolution, sealing
from customers.identity.resolution import Facts
from services.container import Services
from tests.http.conftest import APPID, Clerk, post_form
from tests.support.banks import open_bank

EXTERNAL, UNION, OPEN, PHONE = (
    "wmExternalUserid00000001",
    "oUnionid0000000000000001",
    "oOpenid00000000000000001",
    "13800138000",
)


@pytest.fixture
async def two(demo: Services) -> tuple[str, str]:
    """The winner, a friend in WeCom, and the loser, who has bound his phone; not merged yet."""
    winner = await resolution.identify(
        await open_bank(demo, "demo"),
        Facts(external_userid=EXTERNAL, name="欧阳娜娜"),
        source="callback",
        proof="event-77",
    )
    signed_in = Facts(unionid=UNION, openids={APPID: OPEN}, phone=f"+86{PHONE}")
    loser = await resolution.identify(await open_bank(demo, "demo"), signed_in, source="login", proof="login:1")
    return winner, loser


async def _merge(demo: Services) -> str:
    await resolution.identify(
        await open_bank(demo, "demo"), Facts(external_userid=EXTERNAL, unionid=UNION), source="details", proof="call-5"
    )
    (merge,) = await demo.store.tenant("demo")["merges"].find({"state": "done"})
    return str(merge["_id"])


async def _search(client: httpx.AsyncClient, wanted: str) -> list[str]:
    """The cids that the page links to."""
    answer = await post_form(client, "/console/people", "/console/people", q=wanted)
    assert answer.status_code == 200
    found = answer.text.split('id="found"')[1].split("</section>")[0]
    return re.findall(r'href="/console/people/([^"]+)"', found)


async def test_a_customer_is_found_by_exactly_his_phone_number_or_id(
    clerk: Clerk, demo: Services, two: tuple[str, str]
) -> None:
    winner, loser = two
    await customer_numbers.link(await open_bank(demo, "demo"), "C-1001", winner, source="bank", proof="file:1")
    lin = await clerk("lin")
    for wanted, cid in ((PHONE, loser), ("C-1001", winner), (EXTERNAL, winner), (UNION, loser), (loser, loser)):
        assert await _search(lin, f" {wanted} ") == [cid]
    for wanted in ("C-1002", "wm", "欧阳娜娜"):
        assert await _search(lin, wanted) == []


async def test_pages_show_ids_masked_with_where_they_came_from(
    clerk: Clerk, demo: Services, two: tuple[str, str]
) -> None:
    winner, loser = two
    await _merge(demo)
    lin = await clerk("lin")
    for cid in (winner, loser):
        page = (await lin.get(f"/console/people/{cid}?lang=en")).text
        for shown in ("欧***", "138****8000", "event-77", "login:1", "call-5", "callback", "sign-in", "…0001"):
            assert shown in page, shown
        for secret in (EXTERNAL, UNION, OPEN, PHONE, "欧阳娜娜"):
            assert secret not in page


async def test_two_clerks_undo_a_merge(clerk: Clerk, demo: Services, two: tuple[str, str]) -> None:
    winner, loser = two
    merge, page = await _merge(demo), f"/console/people/{two[0]}"
    lin, zhao = await clerk("lin"), await clerk("zhao")
    action = f"/console/people/merges/{merge}"
    asked = await post_form(lin, page, f"{action}/undo", cid=winner, reason="两位不同的客户")
    assert "已申请，等待另一位同事同意" in asked.text
    alone = await post_form(lin, page, f"{action}/approve", cid=winner)
    assert (alone.status_code, "申请人不能同意自己的申请" in alone.text) == (403, True)
    assert (await resolution.customer(await open_bank(demo, "demo"), loser)).cid == winner
    done = await post_form(zhao, page, f"{action}/approve", cid=winner)
    assert (done.status_code, "合并已撤销" in done.text) == (200, True)
    assert (await resolution.customer(await open_bank(demo, "demo"), loser)).cid == loser
    again = await post_form(zhao, page, f"{action}/approve", cid=winner)
    assert again.status_code == 409
    audit = (await lin.get("/console/audit?lang=en")).text
    assert "undoing of a merge asked for" in audit
    assert "merge undone" in audit


async def test_two_clerks_answer_a_question(clerk: Clerk, demo: Services, two: tuple[str, str]) -> None:
    winner, loser = two
    await customer_numbers.link(await open_bank(demo, "demo"), "C-1001", winner, source="bank", proof="file:1")
    assert (
        await customer_numbers.link(await open_bank(demo, "demo"), "C-1001", loser, source="bank", proof="file:2")
        == customer_numbers.CONFLICT
    )
    lin, zhao = await clerk("lin"), await clerk("zhao")
    listed = (await lin.get("/console/people")).text
    assert "客户号已属于另一位客户" in listed
    assert "C-1001" not in listed
    (question,) = await demo.store.tenant("demo")["review_tasks"].find({})
    page, action = f"/console/people/{loser}", f"/console/people/questions/{question['_id']}"
    silent = await post_form(lin, page, f"{action}/propose", cid=loser, answer="move", reason=" ")
    assert silent.status_code == 400
    await post_form(lin, page, f"{action}/propose", cid=loser, answer="move", reason="核对柜面系统")
    alone = await post_form(lin, page, f"{action}/agree", cid=loser)
    assert alone.status_code == 403
    assert (await resolution.customer(await open_bank(demo, "demo"), winner)).number == "C-1001"
    await post_form(zhao, page, f"{action}/agree", cid=loser)
    at_bank = await open_bank(demo, "demo")
    people = [await resolution.customer(at_bank, cid) for cid in (winner, loser)]
    assert [person.number for person in people] == ["", "C-1001"]


async def test_an_auditor_sees_and_changes_nothing(clerk: Clerk, demo: Services, two: tuple[str, str]) -> None:
    merge = await _merge(demo)
    audit = await clerk("audit")
    page = await audit.get(f"/console/people/{two[0]}")
    assert (page.status_code, "撤销" in page.text.split("<main")[1]) == (200, False)
    answer = await post_form(audit, "/console/people", f"/console/people/merges/{merge}/undo", cid=two[0], reason="x")
    assert answer.status_code == 403
    (row,) = await demo.store.tenant("demo")["merges"].find({})
    assert row["state"] == "done"


async def test_another_banks_clerk_finds_nobody(
    clerk: Clerk, demo: Services, two: tuple[str, str], http: httpx.AsyncClient, other_bank: str
) -> None:
    from tests.http.conftest import PASSWORD, sign_in

    merge: Any = await _merge(demo)
    await sign_in(http, other_bank, "eve", PASSWORD)
    assert await _search(http, PHONE) == []
    assert (await http.get(f"/console/people/{two[0]}")).status_code == 404
    answer = await post_form(http, "/console/people", f"/console/people/merges/{merge}/undo", cid=two[0], reason="x")
    assert answer.status_code == 404


async def test_a_search_is_found_again_under_an_address_that_names_nobody(
    clerk: Clerk, demo: Services, two: tuple[str, str]
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    there = await post_form(lin, "/console/people", "/console/people", follow=False, q=PHONE)
    assert there.status_code == 303
    address = there.headers["Location"]
    assert PHONE not in address
    for _ in range(2):
        again = await lin.get(address)
        assert (again.status_code, two[1] in again.text) == (200, True)
    anothers = await zhao.get(address)
    assert (anothers.status_code, two[1] in anothers.text) == (404, False)
    over = await lin.get("/console/people/search/" + "x" * 43)
    assert (over.status_code, "请重新搜索" in over.text) == (404, True)


@pytest.mark.parametrize("wanted", [PHONE, f"+86{PHONE}", "C-1001", EXTERNAL])
async def test_what_is_looked_for_is_never_taken_from_an_address(
    clerk: Clerk, demo: Services, two: tuple[str, str], wanted: str
) -> None:
    lin = await clerk("lin")
    answer = await lin.get("/console/people", params={"q": wanted})
    assert (answer.status_code, "请使用搜索框" in answer.text, wanted in answer.text) == (400, True, False)
    assert not any(cid in answer.text for cid in two)


async def test_every_search_is_in_the_trail_by_its_index_and_they_are_used_up(
    clerk: Clerk, demo: Services, two: tuple[str, str]
) -> None:
    object.__setattr__(demo, "settings", demo.settings.model_copy(update={"searches_a_day": 5}))
    lin, zhao = await clerk("lin"), await clerk("zhao")
    for wanted in (PHONE, f" +86 {PHONE[:3]} {PHONE[3:7]} {PHONE[7:]}", "13900000000", "C-1001", EXTERNAL):
        await _search(lin, wanted)
    answers = [await post_form(lin, "/console/people", "/console/people", q=PHONE) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429] * 3
    assert "今天的搜索次数已用完" in answers[0].text
    assert two[1] not in answers[0].text
    assert await _search(zhao, PHONE) == [two[1]]
    rows = await demo.store.tenant("demo")["audit"].find({}, sort=[("seq", 1)])
    found = [(row["actor"], row["object"], row["data"]) for row in rows if row["action"] == "customer.searched"]
    indexes = [index for _, index, _ in found]
    bank = await open_bank(demo, "demo")
    assert indexes[0] == indexes[1] == indexes[5] == sealing.phone_index(bank, f"+86{PHONE}")
    assert len(set(indexes)) == 4
    assert [(actor, data["found"]) for actor, _, data in found] == [
        ("lin", 1), ("lin", 1), ("lin", 0), ("lin", 0), ("lin", 1), ("zhao", 1),
    ]  # fmt: skip
    assert not any(secret in str(rows) for secret in (PHONE, "13900000000", "C-1001", EXTERNAL))
    assert [row["action"] for row in rows].count("customer.search_refused") == 1


async def test_a_clerk_notes_that_a_customer_withdrew_his_consent(clerk: Clerk, demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    facts = Facts(unionid=UNION, openids={APPID: OPEN}, phone=f"+86{PHONE}")
    cid = await resolution.identify(bank, facts, source="phone", proof="phone:1")
    await consent.give(bank, cid, "phone", "phone/2026-11", consent.TEXTS["phone", "phone/2026-11"], "mp:x")
    lin, page = await clerk("lin"), f"/console/people/{cid}"
    assert "代客户撤回" in (await lin.get(page)).text
    done = await post_form(lin, page, f"{page}/consents/phone/withdraw", cid=cid, reason="客户来电")
    assert "手机号码已删除" in done.text
    shown = (await lin.get(page)).text
    assert "已撤回" in shown
    assert "代客户撤回" not in shown
    assert (await resolution.customer(bank, cid)).phone == ""


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("138 0000 000", "无法识别"),
        ("13800000001 转 12", "无法识别"),
        ("85251234567", "无法识别"),
        ("1.38E+10", "四舍五入"),
        ("C-9999", "没有完全匹配"),
        ("wmNobodyAtAll", "没有完全匹配"),
    ],
)
async def test_a_search_says_so_when_what_looks_like_a_phone_cannot_be_read(
    clerk: Clerk, demo: Services, wanted: str, words: str
) -> None:
    lin = await clerk("lin")
    answer = await post_form(lin, "/console/people", "/console/people", q=wanted)
    assert words in answer.text
