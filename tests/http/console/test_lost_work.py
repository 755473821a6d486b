"""What somebody wrote is never lost: not by a session that was over, a refusal, another tab, or Back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from customers import relationships
from customers.identity import resolution
from handlers.http import kept_forms
from services import ids
from services.container import Services
from services.wechat.wecom.groups import Groups
from services.wechat.wecom.handover import Handover
from tests.conftest import Sandbox
from tests.http.conftest import PASSWORD, Clerk, post_form
from tests.support.banks import open_bank
from tests.support.forms import PageForm, forms_of, like

CAMPAIGN = "/console/campaigns/acq-branch"
NEW_HANDOVER = "/console/handover/new?mode=onjob&giver=rm.chen"
MESSAGE = "您好，\n我是新的客户经理"
TEXT = "第一行 <b>“原文”</b> & {{customer.name}}\n  second line"


@pytest.fixture(autouse=True)
async def busy(demo: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank with something on every page that has a form."""

    async def groups(*_: object, **__: object) -> dict[str, object]:
        return {"group_chat_list": [{"chat_id": "wrGroupOne", "status": 0}, {"chat_id": "wrGroupTwo", "status": 0}]}

    async def left(*_: object, **__: object) -> dict[str, object]:
        return {"info": [], "is_last": True}

    monkeypatch.setattr(Groups, "list", groups)
    monkeypatch.setattr(Handover, "list_unassigned", left)
    for name in ("刘敏", "张伟"):
        cid = await resolution.identify(
            await open_bank(demo, "demo"), resolution.Facts(external_userid=f"wm{name}", name=name)
        )
        await relationships.changed(await open_bank(demo, "demo"), "rm.chen", cid, at=demo.clock(), active=True)


async def _end(demo: Services, client: httpx.AsyncClient) -> None:
    """The session is over, as after a night: the browser does not have its cookie any more."""
    await demo.sessions.end("clerk", client.cookies["yq_console"])
    client.cookies.delete("yq_console")
    for key in await demo.redis.keys("yq:counted:*"):
        await demo.redis.delete(key)


def _same(after: PageForm, sent: dict[str, Any]) -> None:
    for name in after.texts:
        if name in sent:
            assert after.texts[name].replace("\r\n", "\n") == sent[name], name
    for name, values in after.choices.items():
        wanted = sent.get(name, [])
        wanted = wanted if isinstance(wanted, list) else [wanted]
        if set(wanted) <= set(values):
            assert sorted(after.chosen.get(name, [])) == sorted(wanted), name


async def _pending(lin: httpx.AsyncClient, demo: Services) -> str:
    """A version of lin's that waits for approval."""
    rows = await demo.store.tenant("demo")["campaign_versions"].find({"campaign": "acq-branch", "version": 1})
    text = str(rows[0]["text"]).replace("stock: 20000", "stock: 19999")
    await post_form(lin, f"{CAMPAIGN}/edit", "/console/campaigns", text=text, campaign="acq-branch")
    return text


async def _batch(lin: httpx.AsyncClient) -> str:
    form = next(form for form in forms_of((await lin.get(NEW_HANDOVER)).text) if form.action == "/console/handover")
    answer = await lin.post(form.action, data=form.sent(), follow_redirects=True)
    assert answer.status_code == 200
    return str(answer.url.path)


async def _pages(demo: Services, lin: httpx.AsyncClient) -> list[str]:
    await _pending(lin, demo)
    batch = await _batch(lin)
    rule = {"name": "保本承诺", "kind": "block", "words": "保本", "userids": "rm.chen", "phone": "on"}
    await post_form(lin, "/console/intercepts", "/console/intercepts", **rule)
    return [
        "/console/campaigns/new",
        f"{CAMPAIGN}/edit",
        CAMPAIGN,
        NEW_HANDOVER,
        batch,
        "/console/intercepts",
        "/console/sync",
    ]


async def test_every_form_is_back_as_it_was_filled_in_after_signing_in_again(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    tried = []
    for page in await _pages(demo, lin):
        for form in forms_of((await zhao.get(page)).text):
            if form.action == "/console/logout":
                continue
            sent = form.filled(TEXT)
            await _end(demo, zhao)
            stopped = await zhao.post(form.action, data=sent)
            assert stopped.status_code == 401, form.action
            assert "/console/campaigns" not in stopped.headers.get("Location", "")
            (sign_in,) = [one for one in forms_of(stopped.text) if one.action == "/console/login"]
            answer = await zhao.post(
                sign_in.action, data={**sign_in.hidden, "bank": "demo", "name": "zhao", "password": PASSWORD}
            )
            assert answer.status_code == 303
            back = await zhao.get(answer.headers["Location"])
            assert back.status_code == 200, form.action
            assert "表单没有提交" in back.text
            after = like(back.text, form)
            assert after is not None, form.action
            _same(after, sent)
            tried.append(form.action)
    assert len(tried) >= 10
    assert (await demo.store.tenant("demo")["campaigns"].find_one({"campaign": "acq-branch"}) or {})[
        "live_version"
    ] == 1


async def test_another_person_does_not_get_it(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    page = "/console/campaigns/new"
    form = forms_of((await lin.get(page)).text)[-1]
    await _end(demo, lin)
    stopped = await lin.post(form.action, data=form.filled("nur für lin"))
    (sign_in,) = [one for one in forms_of(stopped.text) if one.action == "/console/login"]
    sent = {**sign_in.hidden, "bank": "demo", "name": "zhao", "password": PASSWORD}
    answer = await lin.post(sign_in.action, data=sent, follow_redirects=True)
    assert answer.status_code == 200
    assert "nur für lin" not in answer.text
    kept = str(answer.url)
    assert "nur für lin" not in (await (await clerk("audit")).get(kept)).text
    again = await clerk("lin")
    assert "nur für lin" in (await again.get(kept)).text
    assert "nur für lin" not in repr([await demo.redis.get(key) for key in await demo.redis.keys("yq:kept_form:*")])


async def test_a_form_that_another_opened_is_not_sent_in_my_name(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    form = forms_of((await lin.get("/console/campaigns/new")).text)[-1]
    zhao.cookies.set("yq_xsrf", lin.cookies["yq_xsrf"])
    answer = await zhao.post(form.action, data=form.filled("lin schrieb das"))
    assert answer.status_code == 409
    assert "登录的是另一位同事" in answer.text
    assert "lin schrieb das" not in answer.text
    assert await demo.store.tenant("demo")["campaign_versions"].count({"author": "zhao"}) == 0


async def test_a_form_whose_token_is_over_is_refused_and_can_be_had_back(clerk: Clerk) -> None:
    lin = await clerk("lin")
    form = forms_of((await lin.get("/console/campaigns/new")).text)[-1]
    lin.cookies.delete("yq_xsrf")
    await lin.get("/console/")
    refused = await lin.post(form.action, data=form.filled(TEXT))
    assert refused.status_code == 403
    link = refused.text.split('class="btn btn-primary" href="', 1)[1].split('"', 1)[0]
    after = like((await lin.get(link)).text, form)
    assert after is not None
    assert after.texts["text"] == TEXT


async def test_only_so_many_forms_of_one_person_are_kept_and_none_that_is_too_large(services: Services) -> None:
    form, lin = kept_forms.Sent("/console/campaigns", {"text": ["x"]}), "clerk|demo|lin"
    for _ in range(kept_forms.MOST_OF_ONE + 2):
        await kept_forms.put_away(services, lin, form, ids.token())
    assert len(await services.redis.keys("yq:kept_form:*")) == kept_forms.MOST_OF_ONE
    large = kept_forms.Sent("/console/campaigns", {"text": ["x" * kept_forms.MOST_BYTES]})
    await kept_forms.put_away(services, "clerk|demo|zhao", large, "large-large-large-large")
    await kept_forms.put_away(services, "clerk|demo|zhao", form, "small-small-small-small")
    assert await kept_forms.find(services, "clerk|demo|zhao", "large-large-large-large") is None
    assert await kept_forms.find(services, "clerk|demo|zhao", "small-small-small-small") == form


async def test_without_a_known_sender_nothing_is_kept(http: httpx.AsyncClient, demo: Services) -> None:
    answer = await post_form(http, "/console/login", "/console/campaigns", text="anonymous")
    assert answer.status_code == 401
    assert await demo.redis.keys("yq:kept*") == []


@pytest.mark.parametrize("deep", [f"{CAMPAIGN}/edit", "/console/alarms?state=handled", NEW_HANDOVER])
async def test_a_deep_link_is_where_signing_in_leads(http: httpx.AsyncClient, deep: str) -> None:
    asked = await http.get(deep, follow_redirects=True)
    (form,) = [one for one in forms_of(asked.text) if one.action == "/console/login"]
    wrong = await http.post(form.action, data={**form.hidden, "bank": "demo", "name": "lin", "password": "wrong"})
    (form,) = [one for one in forms_of(wrong.text) if one.action == "/console/login"]
    answer = await http.post(form.action, data={**form.hidden, "bank": "demo", "name": "lin", "password": PASSWORD})
    assert answer.headers["Location"] == deep


@pytest.mark.parametrize("evil", ["https://evil.example/", "//evil.example", "/\\evil.example", "/console/..//evil"])
async def test_signing_in_leads_nowhere_else(http: httpx.AsyncClient, evil: str) -> None:
    fields = {"bank": "demo", "name": "lin", "password": PASSWORD, "next": evil}
    page = await http.get("/console/login", params={"next": evil})
    assert "evil" not in page.text
    answer = await post_form(http, "/console/login", "/console/login", False, **fields)
    assert answer.headers["Location"] == "/console/"


async def test_the_ticked_ones_with_nothing_ticked_comes_back_as_it_was(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    form = next(one for one in forms_of((await lin.get(NEW_HANDOVER)).text) if one.action == "/console/handover")
    sent: dict[str, Any] = {
        **form.sent(),
        "taker": "rm.wang",
        "customers": "chosen",
        "groups": "none",
        "message": MESSAGE,
    }
    refused = await lin.post(form.action, data=sent)
    assert refused.status_code == 409
    after = like(refused.text, form)
    assert after is not None
    assert (after.chosen["taker"], after.chosen["customers"], after.chosen["groups"]) == (
        ["rm.wang"],
        ["chosen"],
        ["none"],
    )
    assert after.texts["message"] == MESSAGE
    assert "cid" not in after.chosen
    sent = {
        **sent,
        "cid": form.choices["cid"][:1],
        "chat": form.choices["chat"],
        "groups": "chosen",
        "taker": "rm.chen",
    }
    refused = await lin.post(form.action, data=sent)
    after = like(refused.text, form)
    assert after is not None
    assert (after.chosen["cid"], after.chosen["chat"]) == (form.choices["cid"][:1], form.choices["chat"])
    assert await demo.store.tenant("demo")["handover_batches"].count() == 0


async def test_every_refused_form_comes_back_with_what_was_written(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    tried = []
    for page in await _pages(demo, lin):
        for form in forms_of((await lin.get(page)).text):
            if not form.texts:
                continue
            sent = {**form.filled(TEXT), **({"name": "一" * 30} if "name" in form.texts else {})}
            if "reason" in sent:
                sent["reason"] = "很长的原因" * 120
            refused = await lin.post(form.action, data=sent)
            assert 400 <= refused.status_code < 500, form.action
            after = like(refused.text, form)
            assert after is not None, form.action
            _same(after, sent)
            tried.append(form.action)
    assert len(tried) >= 5


async def test_what_was_done_is_said_once(clerk: Clerk) -> None:
    lin = await clerk("lin")
    paused = await post_form(lin, CAMPAIGN, f"{CAMPAIGN}/pause")
    assert "活动已暂停" in paused.text
    assert "done" not in str(paused.url)
    assert "活动已暂停" not in (await lin.get(str(paused.url))).text
    assert "活动已暂停" not in (await lin.get(f"{CAMPAIGN}?done=paused")).text


async def test_every_note_is_that_of_its_deed(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    first, second = await _batch(lin), await _batch(lin)
    assert "交接已开始" in (await post_form(zhao, first, f"{first}/approve")).text
    assert "没有客户被交接" in (await post_form(zhao, second, f"{second}/reject", reason="不合适")).text
    await _pending(lin, demo)
    assert "版本已驳回" in (await post_form(zhao, CAMPAIGN, f"{CAMPAIGN}/versions/2/reject", reason="不合适")).text
    await _pending(lin, demo)
    assert "新版本已上线" in (await post_form(zhao, CAMPAIGN, f"{CAMPAIGN}/versions/3/approve")).text


async def test_a_part_that_asks_for_itself_leaves_the_page_alone_when_the_session_is_over(
    clerk: Clerk, demo: Services
) -> None:
    lin = await clerk("lin")
    await _end(demo, lin)
    headers = {"HX-Request": "true", "HX-Current-URL": f"http://bank.example{CAMPAIGN}"}
    answer = await lin.get(f"{CAMPAIGN}/funnel", headers=headers)
    assert answer.status_code == 401
    assert "HX-Redirect" not in answer.headers
    assert f'href="{CAMPAIGN}"' in answer.text


async def test_a_side_panel_form_is_back_after_signing_in_again(
    rm: httpx.AsyncClient, sandbox: Sandbox, demo: Services
) -> None:
    cid = (await rm.get("/sidebar/demo/")).text.split('href="/sidebar/demo/customers/', 1)[1].split('"', 1)[0]
    page = f"/sidebar/demo/customers/{cid}"
    form = next(one for one in forms_of((await rm.get(page)).text) if one.action.endswith("/notes"))
    await demo.sessions.end("staff", rm.cookies["yq_rm_demo"])
    sent = {**form.hidden, "remark": "老客户", "description": "喜欢定期存款\n周三来"}
    stopped = await rm.post(form.action, data=sent)
    assert stopped.status_code == 401
    link = stopped.text.split('class="btn btn-primary" href="', 1)[1].split('"', 1)[0]
    there = await rm.get(link)
    state = httpx.URL(there.headers["Location"]).params["state"]
    code = await sandbox.oauth_code("rm.chen")
    back = await rm.get("/sidebar/demo/oauth", params={"code": code, "state": state}, follow_redirects=True)
    after = like(back.text, form)
    assert after is not None
    assert after.texts == {"remark": "老客户", "description": "喜欢定期存款\n周三来"}
    assert "表单没有提交" in back.text
