"""Hand-overs and alarms at the console: who may see and do what, and that two people decide."""

from __future__ import annotations

import re

import httpx
import pytest

from customers import relationships
from customers.alerts import alarms
from customers.identity import resolution
from services.container import Services
from services.wechat.core.errors import Transient
from services.wechat.wecom.groups import Groups
from services.wechat.wecom.handover import Handover
from tests.http.conftest import Clerk, post_form
from tests.support.banks import open_bank

NEW = "/console/handover/new"


@pytest.fixture(autouse=True)
def _wecom(monkeypatch: pytest.MonkeyPatch) -> None:
    """What WeCom says of groups and of those who left."""

    async def groups(*_: object, **__: object) -> dict[str, object]:
        return {"group_chat_list": [{"chat_id": "wrGroupOne", "status": 0}]}

    async def left(*_: object, **__: object) -> dict[str, object]:
        return {
            "info": [{"handover_userid": "rm.gone", "external_userid": f"wm{n}"} for n in range(3)],
            "is_last": True,
        }

    monkeypatch.setattr(Groups, "list", groups)
    monkeypatch.setattr(Handover, "list_unassigned", left)


async def _friend(services: Services, name: str) -> str:
    cid = await resolution.identify(
        await open_bank(services, "demo"), resolution.Facts(external_userid=f"wm{name}", name=name)
    )
    await relationships.changed(await open_bank(services, "demo"), "rm.chen", cid, at=services.clock(), active=True)
    return cid


async def _hand_in(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    page = f"{NEW}?mode=onjob&giver=rm.chen"
    key = re.search(r'name="key" value="([0-9a-f]+)"', (await client.get(page)).text)
    assert key is not None
    given = {"mode": "onjob", "giver": "rm.chen", "taker": "rm.li", "customers": "all", "groups": "none", **fields}
    return await post_form(client, page, "/console/handover", True, key=key.group(1), **given)


async def test_one_clerk_hands_in_and_another_approves(demo: Services, clerk: Clerk) -> None:
    await _friend(demo, "欧阳娜娜")
    lin, zhao = await clerk("lin"), await clerk("zhao")
    form = (await lin.get(f"{NEW}?mode=onjob&giver=rm.chen")).text
    assert "欧***" in form
    assert "wrGroupOne" in form
    handed = await _hand_in(lin, message="您好")
    page = str(handed.url.path)
    assert handed.status_code == 200
    assert "已提交" in handed.text
    assert "欧***" in handed.text
    assert "欧阳娜娜" not in handed.text
    own = await post_form(lin, page, f"{page}/approve")
    assert own.status_code == 403
    batches = demo.store.tenant("demo")["handover_batches"]
    assert [row["state"] for row in await batches.find({})] == ["submitted"]
    approved = await post_form(zhao, page, f"{page}/approve")
    assert approved.status_code == 200
    assert [(row["state"], row["decided_by"]) for row in await batches.find({})] == [("approved", "zhao")]
    assert "待发起" in approved.text


async def test_a_rejection_says_why(demo: Services, clerk: Clerk) -> None:
    await _friend(demo, "刘敏")
    page = str((await _hand_in(await clerk("lin"))).url.path)
    rejected = await post_form(await clerk("zhao"), page, f"{page}/reject", reason="客户在休假")
    assert "客户在休假" in rejected.text
    assert "已驳回" in rejected.text


async def test_only_the_ticked_ones_go(demo: Services, clerk: Clerk) -> None:
    chosen = await _friend(demo, "刘敏")
    await _friend(demo, "张伟")
    await _hand_in(await clerk("lin"), customers="chosen", cid=chosen, groups="chosen", chat="wrGroupOne")
    rows = await demo.store.tenant("demo")["handovers"].find({}, sort=[("kind", 1)])
    assert [(row["kind"], row["cid"]) for row in rows] == [("customer", chosen), ("group", "")]


async def test_what_is_refused_is_explained_and_nothing_is_kept(demo: Services, clerk: Clerk) -> None:
    lin = await clerk("lin")
    refused = await _hand_in(lin)
    assert refused.status_code == 409
    assert "没有可交接的客户或客户群" in refused.text
    assert await demo.store.tenant("demo")["handover_batches"].count() == 0


async def test_the_list_shows_what_was_left_behind(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch, demo: Services
) -> None:
    lin = await clerk("lin")
    assert "rm.gone: 3 位客户" in (await lin.get("/console/handover")).text
    assert "rm.gone: 3 customers" in (await lin.get("/console/handover?lang=en")).text

    async def away(*_: object, **__: object) -> None:
        raise Transient(-1, "busy", "get_unassigned_list")

    monkeypatch.setattr(Handover, "list_unassigned", away)
    demo.cache.clear()
    answer = await lin.get("/console/handover?lang=zh")
    assert answer.status_code == 200
    assert "企业微信暂时无法告知" in answer.text


async def test_an_auditor_sees_and_changes_nothing(demo: Services, clerk: Clerk) -> None:
    await _friend(demo, "刘敏")
    await alarms.raise_alarm(await open_bank(demo, "demo"), "customer.lost", "e1", userid="rm.chen")
    page = str((await _hand_in(await clerk("lin"))).url.path)
    (alarm,) = await demo.store.tenant("demo")["alarms"].find({})
    audit = await clerk("audit")
    for path in ("/console/handover", page, "/console/alarms"):
        assert (await audit.get(path)).status_code == 200
    assert (await audit.get(NEW)).status_code == 403
    for action in (f"{page}/approve", f"{page}/reject", "/console/handover", f"/console/alarms/{alarm['_id']}/handle"):
        assert (await post_form(audit, "/console/handover", action, reason="x")).status_code == 403
    assert [row["state"] for row in await demo.store.tenant("demo")["handover_batches"].find({})] == ["submitted"]
    assert [row["state"] for row in await demo.store.tenant("demo")["alarms"].find({})] == ["open"]


async def test_an_unknown_hand_over_is_not_found(clerk: Clerk) -> None:
    lin = await clerk("lin")
    assert (await lin.get("/console/handover/demo:none")).status_code == 404
    assert (await post_form(lin, "/console/handover", "/console/handover/demo:none/approve")).status_code == 404


async def test_an_alarm_is_dealt_with_once(demo: Services, clerk: Clerk) -> None:
    cid = await _friend(demo, "欧阳娜娜")
    await alarms.raise_alarm(
        await open_bank(demo, "demo"), "customer.lost", "e1", cid=cid, userids=["rm.chen"], userid="rm.chen"
    )
    lin = await clerk("lin")
    listed = (await lin.get("/console/alarms")).text
    assert "客户删除了客户经理" in listed
    assert "欧***" in listed
    assert "欧阳娜娜" not in listed
    (alarm,) = await demo.store.tenant("demo")["alarms"].find({})
    done = await post_form(lin, "/console/alarms", f"/console/alarms/{alarm['_id']}/handle")
    assert "没有提醒" in done.text
    again = await post_form(lin, "/console/alarms", f"/console/alarms/{alarm['_id']}/handle")
    assert again.status_code == 409
    assert "已有人处理" in again.text
    handled = (await lin.get("/console/alarms?state=handled")).text
    assert "林晓 (lin)</span> · 控制台" in handled
