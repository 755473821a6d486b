"""The counter: sign in, look, write off, take back, the day's list; all of it without a script."""

from __future__ import annotations

import asyncio
import html
import re

import httpx
import pytest

from customers.banks import apply
from services.container import Services
from services.errors import UnknownOutcome
from tests.conftest import DEMO_BANK
from tests.http.conftest import PASSWORD, Clerk, form_token, post_form
from tests.http.counter.granting import Grant, Make, grant

__all__ = ["grant"]

HOME = "/counter/demo/"
NEW = "steinhauer 4 segel"
DEMO = DEMO_BANK.read_text(encoding="utf-8")


async def sign_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    page = f"{HOME}sign-in"
    return await post_form(client, page, page, follow=False, name=name, password=password)


@pytest.fixture
def counter(clients: Make) -> Clerk:
    """Makes a client of somebody at a counter."""

    async def make(name: str) -> httpx.AsyncClient:
        client = await clients()
        answer = await sign_in(client, name)
        assert (answer.status_code, answer.headers["Location"]) == (303, HOME), answer.text
        return client

    return make


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the page's form for writing off."""
    found = re.findall(r'type="hidden" name="(shown|key|uses)" value="([^"]*)"', page)
    return {name: html.unescape(value) for name, value in found}


async def look(client: httpx.AsyncClient, code: str) -> httpx.Response:
    return await post_form(client, HOME, f"{HOME}look", code=code)


async def redeem(client: httpx.AsyncClient, page: httpx.Response, **more: str) -> httpx.Response:
    data = {"_xsrf": form_token(page.text), **fields(page.text), **more}
    return await client.post(f"{HOME}redeem", data=data, follow_redirects=True)


async def test_a_teller_looks_writes_off_and_takes_back(
    counter: Clerk, grant: Grant, demo: Services, clerk: Clerk
) -> None:
    nanshan, code = await counter("nanshan"), await grant()
    seen = await look(nanshan, code.lower().replace("-", " "))
    for said in ("二十元生活券", "¥20.00", "待使用", "确认核销", "客户"):
        assert said in seen.text
    assert "刘敏" not in seen.text
    receipt = await redeem(nanshan, seen)
    assert (receipt.status_code, "核销成功" in receipt.text, "已核销" in receipt.text) == (200, True, True)
    assert "核销成功" not in (await nanshan.get(receipt.url.path)).text
    today = (await nanshan.get(f"{HOME}today")).text
    assert ("二十元生活券" in today, "<strong>1</strong> / 200" in today, "有效 1 笔 · ¥20.00" in today) == (True,) * 3
    undo = f"{receipt.url.path}/undo"
    empty = await post_form(nanshan, receipt.url.path, undo, reason=" ")
    assert (empty.status_code, "请写明原因" in empty.text) == (400, True)
    undone = await post_form(nanshan, receipt.url.path, undo, reason="客户拿错了")
    assert ("已撤销这次核销" in undone.text, "客户拿错了" in undone.text) == (True, True)
    again = await post_form(nanshan, HOME, undo, reason="再来一次")
    assert (again.status_code, "已经撤销" in again.text) == (409, True)
    today = (await nanshan.get(f"{HOME}today")).text
    assert ("有效 0 笔 · ¥0.00" in today, "<strong>1</strong> / 200" in today) == (True, True)
    rows = await demo.store.tenant("demo")["audit"].find({"actor": "teller:nanshan"}, sort=[("seq", 1)])
    assert [row["action"] for row in rows] == ["voucher.used", "voucher.undone"]
    trail = (await (await clerk("lin")).get("/console/audit")).text
    assert "何静 (nanshan)" in trail


async def test_the_second_counter_is_told_when_where_and_by_whom(counter: Clerk, grant: Grant) -> None:
    code = await grant()
    coffee, nanshan = await counter("coffee"), await counter("nanshan")
    page, other = await look(coffee, code), await look(nanshan, code)
    assert (await redeem(coffee, page)).status_code == 200
    refused = await redeem(nanshan, other)
    assert refused.status_code == 409
    for said in ("银桥咖啡", "唐宁", "核销", 'role="alert"', 'id="code"'):
        assert said in refused.text
    later = await look(nanshan, code)
    assert ("不能核销" in later.text, "确认核销" in later.text, "银桥咖啡" in later.text) == (True, False, True)


async def test_the_same_confirmation_sent_twice_is_one_write_off(counter: Clerk, grant: Grant) -> None:
    nanshan, code = await counter("nanshan"), await grant()
    page = await look(nanshan, code)
    first, second = await redeem(nanshan, page), await redeem(nanshan, page)
    assert first.url == second.url
    assert "<strong>1</strong> / 200" in (await nanshan.get(f"{HOME}today")).text


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("", 400, "请输入或扫描券码"),
        ("0000-0000-0000", 400, "不是本行的券码"),
        ("<script>alert(1)</script>", 404, "没有这张券"),
        ("'; drop table vouchers", 404, "没有这张券"),
        ("字" * 200, 404, "没有这张券"),
    ],
)
async def test_what_is_no_voucher_is_refused_in_plain_words(counter: Clerk, code: str, status: int, said: str) -> None:
    nanshan = await counter("nanshan")
    refused = await look(nanshan, code)
    assert (refused.status_code, said in refused.text, "<script>alert" in refused.text) == (status, True, False)
    english = await nanshan.post(
        f"{HOME}look?lang=en", data={"_xsrf": form_token(refused.text), "code": code}, follow_redirects=True
    )
    assert "券" not in re.sub(
        r"<a class=\"bar-lang.*?</a>|value=\"[^\"]*\"|<p class=\"bar-place.*?</p>", "", english.text
    )


async def test_guesses_shut_the_counter_for_a_while_and_nobody_else(
    counter: Clerk, grant: Grant, demo: Services
) -> None:
    nanshan, coffee, code = await counter("nanshan"), await counter("coffee"), await grant()
    token = form_token((await nanshan.get(HOME)).text)
    answers = [
        await nanshan.post(f"{HOME}look", data={"_xsrf": token, "code": f"AAAA-AAAA-{number:04}"})
        for number in range(21)
    ]
    assert [answer.status_code for answer in answers[-2:]][-1] == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert (await look(coffee, code)).status_code == 200
    refused = await demo.store.tenant("demo")["audit"].count({"action": "voucher.refused"})
    assert refused >= 20


async def test_a_counter_writes_off_no_more_a_day_than_it_may(counter: Clerk, grant: Grant, demo: Services) -> None:
    text = DEMO.replace("何静, branch: sz-nanshan", "何静, branch: sz-nanshan, per_day: 2")
    await apply.apply_tenant(demo, text, "bank.yaml")
    nanshan = await counter("nanshan")
    pages = [await look(nanshan, await grant()) for _ in range(4)]
    ended = await asyncio.gather(*(redeem(nanshan, page) for page in pages))
    assert sorted(answer.status_code for answer in ended) == [200, 200, 409, 409]
    refused = next(answer for answer in ended if answer.status_code == 409)
    assert "今日核销次数已达上限（2 次）" in refused.text


async def test_what_is_not_known_yet_is_asked_again_under_the_same_key(
    counter: Clerk, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewards import desk

    nanshan, code = await counter("nanshan"), await grant()
    page = await look(nanshan, code)

    async def lost(*_: object) -> None:
        raise UnknownOutcome("store_unknown", "the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(desk, "redeem", lost)
        unknown = await redeem(nanshan, page)
    assert (unknown.status_code, "结果未知" in unknown.text) == (503, True)
    assert fields(unknown.text)["key"] == fields(page.text)["key"]
    assert "核销成功" in (await redeem(nanshan, unknown)).text


async def test_anothers_write_off_is_not_there(counter: Clerk, grant: Grant) -> None:
    nanshan, coffee = await counter("nanshan"), await counter("coffee")
    receipt = await redeem(nanshan, await look(nanshan, await grant()))
    assert (await coffee.get(receipt.url.path)).status_code == 404
    assert (await post_form(coffee, HOME, f"{receipt.url.path}/undo", reason="x")).status_code == 404
    for odd in ("nothing", "other:" + "0" * 32, "demo:" + "0" * 32):
        assert (await nanshan.get(f"{HOME}uses/{odd}")).status_code == 404
    assert (await nanshan.get(receipt.url.path)).status_code == 200


async def test_signing_in_is_refused_alike_and_locked_after_ten_failures(
    clients: Make, demo: Services, clerk: Clerk
) -> None:
    client = await clients()
    for name, password in (("nanshan", "wrong"), ("nobody", PASSWORD), ("", ""), ("lin", PASSWORD)):
        refused = await sign_in(client, name, password)
        assert (refused.status_code, "登录未通过" in refused.text) == (401, True)
    for _ in range(9):
        await sign_in(client, "nanshan", "wrong")
    shut = await sign_in(client, "nanshan", PASSWORD)
    assert (shut.status_code, int(shut.headers["Retry-After"]) > 0) == (429, True)
    page = (await (await clerk("lin")).get("/console/counters")).text
    for said in ("何静", "锁定至", "深圳南山支行", "唐宁", "银桥咖啡收银系统", "每次请求签名", "0 / 10000"):
        assert said in page
    told = {row["action"] for row in await demo.store.tenant("demo")["audit"].find({"action": {"$regex": "^counter"}})}
    assert told >= {"counter.sign_in_failed", "counter.locked_out"}


async def test_who_must_change_his_password_does_nothing_before(
    clients: Make, counter: Clerk, demo: Services, clerk: Clerk
) -> None:
    await demo.store.tenant("demo")["counters"].update({"login": "nanshan"}, {"$set": {"must_change": True}})
    demo.cache.clear()
    client = await clients()
    await sign_in(client, "nanshan")
    account = f"{HOME}account"
    for page in (HOME, f"{HOME}today"):
        assert (await client.get(page)).headers["Location"] == account
    assert (await post_form(client, account, f"{HOME}look", code="x")).status_code == 403
    for old, new, again, said in (
        (PASSWORD, NEW, NEW + "x", "两次输入的新密码不一致"),
        ("wrong", NEW, NEW, "当前密码不正确"),
        (PASSWORD, "12345678", "12345678", "密码不符合要求"),
    ):
        refused = await post_form(client, account, account, old=old, new=new, again=again)
        assert (refused.status_code, said in refused.text) == (400, True)
    changed = await post_form(client, account, account, old=PASSWORD, new=NEW, again=NEW)
    assert "密码已修改" in changed.text
    assert (await sign_in(client, "nanshan")).status_code == 401
    assert (await sign_in(client, "nanshan", NEW)).headers["Location"] == HOME


async def test_who_leaves_the_file_is_out_with_the_next_request(counter: Clerk, demo: Services) -> None:
    nanshan, coffee = await counter("nanshan"), await counter("coffee")
    gone = "  - {login: nanshan, name: 何静, branch: sz-nanshan, password: yinqiao-demo}\n"
    await apply.apply_tenant(demo, DEMO.replace(gone, ""), "bank.yaml")
    assert (await nanshan.get(HOME)).headers["Location"] == f"{HOME}sign-in"
    assert (await coffee.get(HOME)).status_code == 200


async def test_whose_rights_wait_reads_so_and_may_do_nothing(counter: Clerk, demo: Services) -> None:
    nanshan = await counter("nanshan")
    await demo.store.tenant("demo")["counters"].update({"login": "nanshan"}, {"$set": {"rights": None}})
    demo.cache.clear()
    waiting = await nanshan.get(HOME)
    assert (waiting.status_code, "正在等待银行审批" in waiting.text) == (403, True)
    assert (await nanshan.get(f"{HOME}account")).status_code == 200


async def test_a_form_whose_session_ended_is_back_after_signing_in(counter: Clerk, demo: Services) -> None:
    nanshan = await counter("nanshan")
    token = form_token((await nanshan.get(HOME)).text)
    nanshan.cookies.delete("yq_counter_demo")
    ended = await nanshan.post(f"{HOME}look", data={"_xsrf": token, "code": "ABCD"})
    assert (ended.status_code, "重新登录" in ended.text or "已退出" in ended.text) == (401, True)
    back = await sign_in(nanshan, "nanshan")
    assert 'value="ABCD"' in (await nanshan.get(back.headers["Location"])).text


async def test_every_page_is_light_and_forbids_what_is_foreign(counter: Clerk, grant: Grant) -> None:
    nanshan = await counter("nanshan")
    seen = await look(nanshan, await grant())
    receipt = await redeem(nanshan, seen)
    pages = [seen, receipt, *[await nanshan.get(f"{HOME}{page}") for page in ("", "today", "account", "uses/x")]]
    for page in pages:
        linked = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        weight = len(page.content) + sum([len((await nanshan.get(one)).content) for one in linked])
        assert weight < 40_000, page.url
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert page.headers["Cache-Control"] == "no-store"
