"""The side panel: only staff of the bank, only their own customers, and the sign-in only where it was started."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from customers import consent, timeline
from customers.access import rm as access_rm
from customers.actors import ClerkActor, StaffActor
from customers.banks import apply
from customers.banks import bank as banks_bank
from customers.identity import resolution, review
from customers.wecom_mirror import tags
from deploy.parts import Parts
from rewards import catalogue
from services.container import Services
from services.errors import NotSignedIn
from tests.conftest import DEMO_BANK, Sandbox
from tests.http.conftest import post_form
from tests.integration.customers.dump import of_store
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until


async def _friend(demo: Services, sandbox: Sandbox, userid: str, name: str) -> str:
    """A new friend of that RM, handled as a worker would; the cid."""
    follows = demo.store.tenant("demo")["relationships"]
    before = await follows.count({"userid": userid})
    await sandbox.control("POST", f"people/{(await sandbox.person(name))['id']}/add", {"userid": userid})

    async def known() -> bool:
        await jobs.handle_inbox(await open_bank(demo, "demo"))
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


async def test_a_customer_who_deleted_the_rm_is_shown_as_ended_with_the_day(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    cid = await _friend(demo, sandbox, "rm.chen", "刘敏")
    (person,) = (await sandbox.control("GET", "people"))["people"]
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": "rm.chen"})
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    page = await rm.get(f"/sidebar/demo/customers/{cid}")
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))
    assert page.status_code == 200
    assert re.search(rf"<dt>结束于</dt><dd>{day} \d\d:\d\d</dd>", page.text)
    assert "刘敏" not in page.text
    assert "我的备注" not in page.text
    assert "Ended on" in (await rm.get(f"/sidebar/demo/customers/{cid}?lang=en")).text
    actor = ClerkActor("demo", "lin", "林晓", frozenset({review.READ}))
    (found,) = await review.search(await open_bank(demo, "demo"), actor, cid)
    assert (found["friend"], found["ended_at"] is not None) == (False, True)


async def test_the_panel_of_a_bank_without_an_english_name_opens_in_english(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    cid = await _friend(demo, sandbox, "rm.chen", "刘敏")
    text = re.sub(r"(?m)^name: .*$", "name: {zh: 银桥银行}", DEMO_BANK.read_text(encoding="utf-8"), count=1)
    await apply.apply_tenant(demo, text, DEMO_BANK.name)
    pages = ["/sidebar/demo/", "/sidebar/demo/contact", f"/sidebar/demo/customers/{cid}"]
    for page in pages:
        shown = await rm.get(f"{page}?lang=en")
        assert (shown.status_code, "银桥银行" in shown.text) == (200, True)
    await (await open_bank(demo, "demo")).db["relationships"].update_many({"cid": cid}, {"$set": {"active": False}})
    ended = await rm.get(f"/sidebar/demo/customers/{cid}?lang=en")
    assert (ended.status_code, "Ended on" in ended.text, "银桥银行" in ended.text) == (200, True, True)


async def test_a_session_of_one_bank_opens_no_other_banks_panel(rm: httpx.AsyncClient, other_bank: str) -> None:
    rm.cookies.set("yq_rm_other", rm.cookies["yq_rm_demo"])
    answer = await rm.get(f"/sidebar/{other_bank}/")
    assert answer.status_code == 302
    assert "/connect/oauth2/authorize" in answer.headers["Location"]


async def test_an_unknown_bank_is_not_found(http: httpx.AsyncClient) -> None:
    assert (await http.get("/sidebar/nobody/")).status_code == 404


async def test_an_rm_notes_something_of_his_customer_at_wecom_and_here(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    cid = await _friend(demo, sandbox, "rm.chen", "刘敏")
    page = f"/sidebar/demo/customers/{cid}"
    answer = await post_form(rm, page, f"{page}/notes", remark="刘女士", description="喜欢稳健理财")
    assert answer.status_code == 200
    assert 'value="刘女士"' in answer.text
    assert "喜欢稳健理财" in answer.text
    person = (await sandbox.control("GET", "people"))["people"][0]
    (friend,) = (await sandbox.control("GET", f"people/{person['id']}"))["friends"]
    assert (friend["remark"], friend["description"]) == ("刘女士", "喜欢稳健理财")
    kept = of_store(demo)
    assert not any("刘女士".encode() in rows for rows in kept.values())


async def test_a_note_that_is_too_long_is_refused_and_changes_nothing(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    page = f"/sidebar/demo/customers/{await _friend(demo, sandbox, 'rm.chen', '刘敏')}"
    answer = await post_form(rm, page, f"{page}/notes", remark="好" * 21)
    assert answer.status_code == 400
    assert "备注名最多 20 字" in answer.text
    assert 'name="remark" maxlength="20" value=""' in (await rm.get(page)).text


async def test_an_rm_puts_a_corp_tag_on_and_takes_it_off(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    cid = await _friend(demo, sandbox, "rm.chen", "刘敏")
    bank = await banks_bank.open_bank(demo, "demo")
    await bank.wecom.tags.create(["高净值"], group_name="客户等级")
    await tags.refresh(bank)
    at_bank = await open_bank(demo, "demo")
    (tag,) = [known for known, name in (await tags.known(at_bank)).items() if name == "客户等级:高净值"]
    page = f"/sidebar/demo/customers/{cid}"
    put = await post_form(rm, page, f"{page}/tags", add=tag)
    assert "移除标签：客户等级:高净值" in put.text
    assert "客户等级:高净值" in (await resolution.customer(await open_bank(demo, "demo"), cid)).tags
    taken = await post_form(rm, page, f"{page}/tags", remove=tag)
    assert "移除标签" not in taken.text
    assert "客户等级:高净值" not in (await resolution.customer(await open_bank(demo, "demo"), cid)).tags
    unknown = await post_form(rm, page, f"{page}/tags", add="etNobody")
    assert (unknown.status_code, "没有这个企业标签" in unknown.text) == (400, True)


@pytest.mark.parametrize(("change", "fields"), [("notes", {"remark": "x"}), ("tags", {"add": "et1"})])
async def test_another_rms_customer_can_be_neither_noted_nor_tagged(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services, change: str, fields: dict[str, str]
) -> None:
    theirs = await _friend(demo, sandbox, "rm.wang", "张伟")
    before = await demo.store.tenant("demo")["relationships"].find({})
    answer = await post_form(rm, "/sidebar/demo/", f"/sidebar/demo/customers/{theirs}/{change}", True, **fields)
    assert answer.status_code == 404
    assert await demo.store.tenant("demo")["relationships"].find({}) == before


async def test_the_story_names_campaigns_rewards_and_colleagues(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    cid = await _friend(demo, sandbox, "rm.chen", "刘敏")
    told = {"campaign": "acq-branch", "reward": "acq-branch.coffee", "from": "rm.wang"}
    await timeline.record(await open_bank(demo, "demo"), cid, "reward.offered", "1", at=demo.clock(), **told)
    page = (await rm.get(f"/sidebar/demo/customers/{cid}")).text
    rewards = await catalogue.all_rewards(await open_bank(demo, "demo"))
    assert f'<span class="story-value">{rewards["acq-branch.coffee"]["title"]["zh"]}</span>' in page
    assert '<span class="story-value">王若溪</span>' in page
    assert '<span class="story-value">acq-branch</span>' not in page


async def test_a_leaver_is_signed_out_of_every_server_within_five_seconds_of_the_callback(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services, second: Services, worker: Parts
) -> None:
    """Through WeCom's callback, the worker, and two server processes that both know his session (issue 2)."""
    assert (await rm.get("/sidebar/demo/")).status_code == 200
    token = rm.cookies["yq_rm_demo"]
    assert await access_rm.actor_of(await open_bank(second, "demo"), token) == StaffActor("demo", "rm.chen")
    told = time.monotonic()
    assert (await sandbox.control("DELETE", "members/rm.chen"))["delivered"] is True

    async def out_here() -> bool:
        return (await rm.get("/sidebar/demo/")).status_code == 302

    async def out_there() -> bool:
        try:
            await access_rm.actor_of(await open_bank(second, "demo"), token)
        except NotSignedIn:
            return True
        return False

    await until(out_here, 5.0)
    await until(out_there, 5.0 - (time.monotonic() - told))
    row = await demo.store.tenant("demo")["staff"].find_one({"userid": "rm.chen"})
    assert row is not None
    assert row["active"] is False


async def _agreed(demo: Services, cid: str) -> None:
    bank = await open_bank(demo, "demo")
    known = await resolution.customer(bank, cid)
    facts = resolution.Facts(external_userid=known.external_userid, phone="+8613800138000")
    assert await resolution.identify(bank, facts, source="phone", proof="phone:1") == cid
    await consent.give(bank, cid, "phone", "phone/2026-11", consent.TEXTS["phone", "phone/2026-11"], "mp:x")


async def test_an_rm_notes_that_his_customer_withdrew_his_consent(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    cid = await _friend(demo, sandbox, "rm.chen", "刘敏")
    await _agreed(demo, cid)
    page = f"/sidebar/demo/customers/{cid}"
    address = f"{page}/consents/phone/withdraw"
    for fields, words in (
        ({"reason": "客户当面提出"}, "请勾选确认"),
        ({"sure": "yes", "reason": " "}, "请写明原因"),
    ):
        refused = await post_form(rm, page, address, **fields)
        assert (refused.status_code, words in refused.text) == (400, True)
    bank = await open_bank(demo, "demo")
    assert (await resolution.customer(bank, cid)).phone
    done = await post_form(rm, page, address, sure="yes", reason="客户当面提出")
    assert (done.status_code, "手机号码已删除" in done.text) == (200, True)
    assert (await resolution.customer(bank, cid)).phone == ""
    assert "代客户撤回" not in (await rm.get(page)).text
    (entry,) = await bank.db["audit"].find({"action": "consent.withdrawn"})
    assert (entry["actor"], entry["object"]) == ("rm.chen", cid)
    assert entry["data"] == {"purpose": "phone", "channel": "side_panel", "reason": "客户当面提出"}
    unknown = await post_form(rm, page, f"{page}/consents/birthday/withdraw", sure="yes", reason="x")
    assert unknown.status_code == 404


@pytest.mark.parametrize("ended", [False, True])
async def test_no_other_rm_notes_it_and_none_who_was_deleted(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services, ended: bool
) -> None:
    cid = await _friend(demo, sandbox, "rm.chen" if ended else "rm.wang", "张伟")
    await _agreed(demo, cid)
    bank = await open_bank(demo, "demo")
    if ended:
        await bank.db["relationships"].update_many({"cid": cid}, {"$set": {"active": False}})
    address = f"/sidebar/demo/customers/{cid}/consents/phone/withdraw"
    answer = await post_form(rm, "/sidebar/demo/", address, sure="yes", reason="客户提出")
    assert answer.status_code == 404
    assert (await resolution.customer(bank, cid)).phone
    assert await bank.db["audit"].count({"action": "consent.withdrawn"}) == 0
