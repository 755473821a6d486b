"""A clerk's own page, and the page of clerks with roles that wait."""

from __future__ import annotations

import httpx

from services.container import Services
from tests.http.conftest import PASSWORD, Clerk, post_form, sign_in

ACCOUNT, CLERKS = "/console/account", "/console/clerks"
NEW = "steinhauer 4 segel"


async def _change(client: httpx.AsyncClient, old: str, new: str, again: str) -> httpx.Response:
    return await post_form(client, ACCOUNT, ACCOUNT, old=old, new=new, again=again)


async def test_a_clerk_changes_his_password_and_signs_in_with_it(clerk: Clerk, http: httpx.AsyncClient) -> None:
    lin, elsewhere = await clerk("lin"), await clerk("lin")
    for old, new, again, said in (
        (PASSWORD, NEW, NEW + "x", "两次输入的新密码不一致"),
        ("wrong", NEW, NEW, "当前密码不正确"),
        (PASSWORD, "12345678", "12345678", "密码不符合要求"),
    ):
        refused = await _change(lin, old, new, again)
        assert (refused.status_code, said in refused.text) == (400, True)
    changed = await _change(lin, PASSWORD, NEW, NEW)
    assert "密码已修改，请用新密码登录" in changed.text
    assert (await elsewhere.get(ACCOUNT)).headers["Location"] == "/console/login"
    assert (await sign_in(http, "demo", "lin", PASSWORD)).status_code == 401
    assert (await sign_in(http, "demo", "lin", NEW)).status_code == 303


async def test_a_password_is_not_guessed_in_a_session_that_was_left_open(clerk: Clerk) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    for _ in range(10):
        assert (await _change(lin, "guess", NEW, NEW)).status_code == 400
    shut = await _change(lin, PASSWORD, NEW, NEW)
    assert (shut.status_code, 0 < int(shut.headers["Retry-After"]) <= 900) == (429, True)
    assert (await _change(zhao, PASSWORD, NEW, NEW)).status_code == 200


async def test_who_is_locked_out_reads_when_to_come_again(http: httpx.AsyncClient) -> None:
    for _ in range(10):
        assert (await sign_in(http, "demo", "lin", "guess")).status_code == 401
    shut = await sign_in(http, "demo", "lin", PASSWORD)
    assert (shut.status_code, 0 < int(shut.headers["Retry-After"]) <= 900) == (429, True)


async def test_who_must_change_his_password_does_nothing_before(
    clerk: Clerk, demo: Services, http: httpx.AsyncClient
) -> None:
    rows = demo.store.tenant("demo")["clerks"]
    await rows.update({"login": "lin"}, {"$set": {"must_change": True}})
    demo.cache.clear()
    await sign_in(http, "demo", "lin", PASSWORD)
    for page in ("/console/", "/console/audit", CLERKS):
        assert (await http.get(page)).headers["Location"] == ACCOUNT
    told = await http.get(ACCOUNT)
    assert "你的密码由他人设置" in told.text
    refused = await post_form(http, ACCOUNT, "/console/campaigns/acq-branch/pause")
    assert (refused.status_code, "请先设置你自己的密码" in refused.text) == (403, True)
    await _change(http, PASSWORD, NEW, NEW)
    await sign_in(http, "demo", "lin", NEW)
    assert (await http.get("/console/audit")).status_code == 200


async def test_signing_out_everywhere_ends_every_session(clerk: Clerk) -> None:
    lin, elsewhere = await clerk("lin"), await clerk("lin")
    await post_form(lin, ACCOUNT, f"{ACCOUNT}/logout")
    assert (await elsewhere.get("/console/")).headers["Location"] == "/console/login"


async def test_who_signs_in_reads_when_he_was_there_last_and_who_failed(clerk: Clerk, http: httpx.AsyncClient) -> None:
    lin = await clerk("lin")
    assert "上次登录" not in (await lin.get("/console/audit")).text.split("<table")[0]
    for _ in range(2):
        await sign_in(http, "demo", "lin", "not-the-password")
    again = await clerk("lin")
    page = (await again.get("/console/audit")).text
    assert "有 2 次以你的名字登录失败" in page
    assert "上次登录：" in page
    english = (await again.get("/console/audit?lang=en")).text
    assert "2 failed sign-ins with your name" in english
    assert "127.0.0.*" in english


async def test_roles_that_wait_are_approved_or_rejected_by_another_clerk(clerk: Clerk, demo: Services) -> None:
    from customers.access import roles
    from customers.banks import clerks
    from customers.banks.files import ClerkEntry
    from tests.support.banks import open_bank

    bank = await open_bank(demo, "demo")
    for login in ("eve", "max"):
        row = await clerks.write(bank, login, f"夏{login}")
        entry = ClerkEntry(login=login, name=f"夏{login}", roles=["auditor"])
        await roles._apply_roles(bank, row, entry, "cli:ops", waits=True)
    lin, audit = await clerk("lin"), await clerk("audit")
    page = (await lin.get(CLERKS)).text
    assert page.count(f'action="{CLERKS}/') == 4
    assert ("夏eve" in page, "审计" in page, "cli:ops" in page) == (True, True, True)
    seen = (await audit.get(CLERKS)).text
    assert ("夏eve" in seen, f"{CLERKS}/eve/approve" in seen) == (True, False)
    granted = await post_form(lin, CLERKS, f"{CLERKS}/eve/approve")
    assert "角色已批准" in granted.text
    refused = await post_form(lin, CLERKS, f"{CLERKS}/max/reject", reason="未与我商量")
    assert "角色申请已驳回" in refused.text
    assert [(await clerks.find(bank, login) or {}).get("roles") for login in ("eve", "max")] == [["auditor"], []]
    again = await post_form(lin, CLERKS, f"{CLERKS}/eve/approve")
    assert again.status_code == 409
