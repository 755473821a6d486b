"""The console's page of the sync: who may look, who may begin, and what it shows."""

from __future__ import annotations

import httpx

from customers.wecom_mirror.sync import Problem, keep_problems
from operations.sync import run
from services.container import Services
from tests.conftest import Sandbox
from tests.http.conftest import Clerk, post_form
from tests.support import jobs
from tests.support.banks import open_bank

PAGE = "/console/sync"


async def test_a_clerk_begins_a_sync_and_sees_it_go(clerk: Clerk, demo: Services, sandbox: Sandbox) -> None:
    lin = await clerk("lin")
    assert "尚未进行过同步" in (await lin.get(PAGE)).text
    begun = await post_form(lin, PAGE, PAGE)
    assert "同步已开始" in begun.text
    joined = await post_form(lin, PAGE, PAGE)
    assert "已有同步正在进行" in joined.text
    await sandbox.control("POST", "people/bulk", {"count": 30, "seed": 1})
    await jobs.sync(await open_bank(demo, "demo"))
    shown = await lin.get(f"{PAGE}/progress")
    assert shown.text.lstrip().startswith("<p")
    row = await run.latest(await open_bank(demo, "demo"))
    assert row is not None
    assert (row["by"], row["counts"]["customers"]["done"]) == ("lin", 30)
    assert '<td class="text-end funnel-count">30</td>' in shown.text
    english = (await lin.get(f"{PAGE}?lang=en")).text
    assert "What could not be brought in" in english


async def test_the_page_cancels(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    await post_form(lin, PAGE, PAGE)
    cancelled = await post_form(lin, PAGE, f"{PAGE}/cancel")
    assert "同步已取消" in cancelled.text
    again = await post_form(lin, PAGE, f"{PAGE}/cancel")
    assert (again.status_code, "当前没有正在进行的同步" in again.text) == (409, True)


async def test_an_error_is_shown_masked_and_tried_again(clerk: Clerk, demo: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    part = run.PARTS["customers"]
    await keep_problems(await open_bank(demo, "demo"), part, [Problem(person["external_userid"], "customer_busy")])
    await keep_problems(
        await open_bank(demo, "demo"), part, [Problem("wmNobody000000000000000000000001", "customer_busy")]
    )
    lin = await clerk("lin")
    page = (await lin.get(PAGE)).text
    assert person["external_userid"] not in page
    assert f"{person['external_userid'][:2]}…{person['external_userid'][-4:]}" in page
    rows = await demo.store.tenant("demo")["sync_errors"].find({})
    told = {}
    for row in rows:
        name = row["_id"].split(":", 1)[1]
        answer = await post_form(lin, PAGE, f"{PAGE}/errors/{name}/retry")
        told[demo.vault.open_text("demo", "sync_errors", "object", row["_id"], row["object"])] = answer.text
    assert "该对象已同步" in told[person["external_userid"]]
    assert "仍未成功" in told["wmNobody000000000000000000000001"]
    assert await demo.store.tenant("demo")["sync_errors"].count() == 1
    gone = await post_form(lin, PAGE, f"{PAGE}/errors/{'0' * 32}/retry")
    assert gone.status_code == 404


async def test_an_auditor_looks_and_does_not_touch(clerk: Clerk, http: httpx.AsyncClient, demo: Services) -> None:
    audit = await clerk("audit")
    page = await audit.get(PAGE)
    assert (page.status_code, "开始全量同步" in page.text) == (200, False)
    token = page.text.split('name="_xsrf" value="', 1)[1].split('"', 1)[0]
    refused = await audit.post(PAGE, data={"_xsrf": token})
    assert refused.status_code == 403
    assert await run.latest(await open_bank(demo, "demo")) is None
    stranger = await http.get(f"{PAGE}/progress", headers={"HX-Request": "true"})
    assert (stranger.status_code, stranger.headers["HX-Redirect"]) == (401, "/console/")
