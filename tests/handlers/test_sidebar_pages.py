"""The side panel: only staff of the bank, only their own customers, and the sign-in only where it was started."""

from __future__ import annotations

import httpx

from campaigns import inbox
from services.container import Services
from tests.conftest import Sandbox
from tests.waiting import until


async def _friend(demo: Services, sandbox: Sandbox, userid: str, name: str) -> str:
    """A new friend of that RM, handled as a worker would; the cid."""
    follows = demo.store.tenant("demo")["follows"]
    before = await follows.count({"userid": userid})
    await sandbox.control("POST", f"people/{(await sandbox.person(name))['id']}/add", {"userid": userid})

    async def known() -> bool:
        await inbox.handle_inbox(demo, "demo")
        return await follows.count({"userid": userid}) > before

    await until(known)
    rows = await follows.find({"userid": userid}, sort=[("at", -1)], limit=1)
    return str(rows[0]["cid"])


async def test_a_visitor_is_sent_to_wecom_with_a_state_of_his_own(http: httpx.AsyncClient, demo: Services) -> None:
    answer = await http.get("/sidebar/demo/")
    there = httpx.URL(answer.headers["Location"])
    assert answer.status_code == 302
    assert str(there).startswith(f"{demo.settings.wechat_open_base}/connect/oauth2/authorize")
    assert there.params["redirect_uri"] == f"{demo.settings.url}/sidebar/demo/oauth"
    assert there.params["state"] in answer.headers["Set-Cookie"]


async def test_a_code_without_the_state_of_this_browser_signs_nobody_in(
    http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    code = await sandbox.oauth_code("rm.chen")
    for state in ("", "0" * 32):
        answer = await http.get("/sidebar/demo/oauth", params={"code": code, "state": state})
        assert answer.status_code == 401
        assert "yq_rm_demo" not in http.cookies
    await http.get("/sidebar/demo/")
    answer = await http.get("/sidebar/demo/oauth", params={"code": code, "state": "0" * 32})
    assert (answer.status_code, "yq_rm_demo" in http.cookies) == (401, False)


async def test_a_used_code_is_refused_in_words(http: httpx.AsyncClient, rm: httpx.AsyncClient) -> None:
    there = await http.get("/sidebar/demo/")
    state = httpx.URL(there.headers["Location"]).params["state"]
    answer = await http.get("/sidebar/demo/oauth", params={"code": "never-given", "state": state})
    assert answer.status_code == 401
    assert "登录码已用过" in answer.text


async def test_the_rm_returns_to_where_he_wanted_to_go(http: httpx.AsyncClient, sandbox: Sandbox) -> None:
    wanted = "/sidebar/demo/customers/demo:1234"
    state = httpx.URL((await http.get(wanted)).headers["Location"]).params["state"]
    code = await sandbox.oauth_code("rm.chen")
    answer = await http.get("/sidebar/demo/oauth", params={"code": code, "state": state})
    assert (answer.status_code, answer.headers["Location"]) == (302, wanted)


async def test_an_rm_sees_his_own_customers_masked_and_no_others(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    mine = await _friend(demo, sandbox, "rm.chen", "刘敏")
    theirs = await _friend(demo, sandbox, "rm.wang", "张伟")
    listed = (await rm.get("/sidebar/demo/")).text
    assert f"/sidebar/demo/customers/{mine}" in listed
    assert theirs not in listed
    assert "刘*" in listed
    assert "刘敏" not in listed
    card = await rm.get(f"/sidebar/demo/customers/{mine}")
    assert "添加了客户经理" in card.text
    refused = await rm.get(f"/sidebar/demo/customers/{theirs}")
    assert refused.status_code == 404
    assert "张" not in refused.text


async def test_a_session_of_one_bank_opens_no_other_banks_panel(rm: httpx.AsyncClient, other_bank: str) -> None:
    rm.cookies.set("yq_rm_other", rm.cookies["yq_rm_demo"])
    answer = await rm.get(f"/sidebar/{other_bank}/")
    assert answer.status_code == 302
    assert "/connect/oauth2/authorize" in answer.headers["Location"]


async def test_an_unknown_bank_is_not_found(http: httpx.AsyncClient) -> None:
    assert (await http.get("/sidebar/nobody/")).status_code == 404
