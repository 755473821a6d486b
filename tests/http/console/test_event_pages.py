"""The console's events: who may see them, what is on them, and what never is."""

from __future__ import annotations

import httpx
import pytest

from operations.events import handle
from services.container import Services
from services.queue.inbox import Arrival, receive
from services.store.mongo import Doc
from services.wechat.core.errors import EventUnreadable
from tests.conftest import Sandbox
from tests.http.conftest import Clerk, post_form, sign_in
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank

HOME = "/console/"
UNKNOWN = b"<xml><ToUserName>ww1</ToUserName><Event>brand_new</Event><ChangeType>thing</ChangeType></xml>"


@pytest.fixture
async def scanned(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> Doc:
    """The row of a customer who was added and greeted; with his and the code's ids under `secrets`."""
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    secrets = [person["external_userid"], person["unionid"], scan["welcome_code"], person["name"]]
    return {**row, "short": row["_id"].partition(":")[2], "secrets": secrets}


async def test_the_list_shows_the_newest_and_what_was_set_aside(clerk: Clerk, demo: Services, scanned: Doc) -> None:
    lin = await clerk("lin")
    await receive(demo, Arrival("demo", "wecom", UNKNOWN))
    await receive(demo, Arrival("demo", "wecom", b"<xml><Event>enter_agent</Event></xml>"))
    waiting = (await lin.get("/console/events?state=waiting")).text
    assert waiting.count('href="/console/events/') == 2
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    shown = (await lin.get("/console/events")).text
    assert "添加客户" in shown
    assert "brand_new/thing" in shown
    assert shown.count('href="/console/events/') == 3
    assert scanned["short"] in shown
    unknown = (await lin.get("/console/events?state=unknown")).text
    assert (unknown.count('href="/console/events/'), "brand_new/thing" in unknown) == (1, True)
    dead = (await lin.get("/console/events?state=dead&lang=en")).text
    assert (dead.count('href="/console/events/'), "the event lacks an id" in dead) == (1, True)
    wrong = await lin.get("/console/events?state=everything")
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("wecom", "WeCom"),
        ("wechat:wx5ab", "WeChat"),
        ("rewards", "a claimed reward"),
        ("happened", "this system"),
    ],
)
async def test_the_list_says_in_words_from_where_an_event_is(
    clerk: Clerk, demo: Services, source: str, said: str
) -> None:
    await receive(demo, Arrival("demo", source, b"{}"))
    lin = await clerk("lin")
    assert f"<td>{said}</td>" in (await lin.get("/console/events?state=waiting&lang=en")).text


async def test_an_events_page_says_what_was_decided_called_and_answered(clerk: Clerk, scanned: Doc) -> None:
    lin = await clerk("lin")
    page = await lin.get(f"/console/events/{scanned['short']}?lang=en")
    assert page.status_code == 200
    for text in (
        "customer added", "entered a campaign", "came through a live code of ours", "/cgi-bin/externalcontact/get",
        "/cgi-bin/externalcontact/send_welcome_msg", "acq-branch", "handled",
    ):  # fmt: skip
        assert text in page.text
    chinese = (await lin.get(f"/console/events/{scanned['_id']}?lang=zh")).text
    assert "进入活动" in chinese
    for secret in scanned["secrets"]:
        assert secret not in page.text
        assert secret not in chinese


async def test_the_page_of_a_customer_without_a_welcome_says_why(
    clerk: Clerk, demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41050, times=1)
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    page = (await (await clerk("lin")).get(f"/console/events/{row['_id']}")).text
    assert "没有发送欢迎语：" in page
    assert "客户、成员或欢迎码的状态不允许 (41050)" in page


async def test_programs_get_the_same_as_json(clerk: Clerk, scanned: Doc) -> None:
    lin = await clerk("lin")
    answer = await lin.get(f"/console/api/events/{scanned['short'][:12]}")
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    told = answer.json()
    assert (told["event"], told["state"], told["welcome"]["sent"]) == (scanned["_id"], "handled", True)
    assert [call["path"] for call in told["called"]] == ["/cgi-bin/externalcontact/get"]
    for secret in scanned["secrets"]:
        assert secret not in answer.text


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [("0" * 64, 404, "event_unknown"), ("zzz", 400, "event_id"), ("1234567", 400, "event_id")],
)
async def test_a_wrong_event_is_refused(clerk: Clerk, demo: Services, event: str, status: int, code: str) -> None:
    lin = await clerk("lin")
    answer = await lin.get(f"/console/api/events/{event}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    page = await lin.get(f"/console/events/{event}")
    assert (page.status_code, "text/html" in page.headers["Content-Type"]) == (status, True)


async def test_only_who_may_sees_events(http: httpx.AsyncClient, clerk: Clerk, demo: Services, scanned: Doc) -> None:
    for path in ("/console/events", f"/console/events/{scanned['short']}"):
        assert (await http.get(path)).status_code == 303
    refused = await http.get(f"/console/api/events/{scanned['short']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "not_signed_in")
    await demo.store.tenant("demo")["clerks"].update({"login": "lin"}, {"$set": {"roles": ["viewer"]}})
    viewer = await clerk("lin")
    for path in ("/console/events", f"/console/events/{scanned['short']}", f"/console/api/events/{scanned['short']}"):
        assert (await viewer.get(path)).status_code == 403
    assert 'href="/console/events"' not in (await viewer.get("/console/")).text


async def test_another_banks_clerk_finds_nothing(http: httpx.AsyncClient, other_bank: str, scanned: Doc) -> None:
    await sign_in(http, other_bank, "eve", "yinqiao-demo")
    assert (await http.get(f"/console/api/events/{scanned['short']}")).status_code == 404
    assert (await http.get(f"/console/api/events/{scanned['_id']}")).status_code == 400
    assert scanned["short"] not in (await http.get("/console/events")).text


BROKEN = (
    "<xml><Event>change_external_contact</Event><ChangeType>add_external_contact</ChangeType>"
    "<UserID>rm\x0b.chen</UserID><Remark>张三 13800138000</Remark><script>alert(1)</script></xml>"
).encode()


async def test_a_dead_letter_shows_how_it_is_built_and_is_handed_out_for_a_reason(clerk: Clerk, demo: Services) -> None:
    await receive(demo, Arrival("demo", "wecom", BROKEN))
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    address = f"/console/events/{row['_id'].partition(':')[2]}"
    lin = await clerk("lin")
    page = await lin.get(f"{address}?lang=en")
    assert f"{len(BROKEN)} bytes" in page.text
    for shown in ("add_external_contact", "&lt;UserID&gt;r…\\x0b", "&lt;Remark&gt;张… 1…", "&lt;script&gt;"):
        assert shown in page.text
    for hidden in ("13800138000", "张三", "rm.chen", "<script>alert"):
        assert hidden not in page.text
    refused = await post_form(lin, address, f"{address}/message", False, reason=" ")
    assert (refused.status_code, "application/octet-stream" in refused.headers["Content-Type"]) == (400, False)
    given = await post_form(lin, address, f"{address}/message", False, reason="to mend the reader")
    assert (given.status_code, given.content) == (200, BROKEN)
    assert given.headers["Content-Disposition"].startswith("attachment;")
    audited = await demo.store.tenant("demo")["audit"].find({"action": "event.downloaded"})
    assert [(one["actor"], one["object"], one["data"]["reason"]) for one in audited] == [
        ("lin", row["_id"], "to mend the reader")
    ]


async def test_what_was_set_aside_is_tried_again_from_its_page_and_from_the_list(
    clerk: Clerk, demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        await receive(demo, Arrival("demo", "wecom", BROKEN.replace(b"</xml>", b"<N>%d</N></xml>" % n)))
    with monkeypatch.context() as patch:
        patch.setattr(handle, "read", _unreadable)
        await jobs.handle_inbox(await open_bank(demo, "demo"))
    lin = await clerk("lin")
    listed = (await lin.get("/console/events?state=dead")).text
    assert listed.count('href="/console/events/') == 3
    rows = demo.store.tenant("demo")["inbox"]
    first = (await rows.find({}, sort=[("_id", 1)]))[0]["_id"].partition(":")[2]
    done = await post_form(lin, HOME, f"/console/events/{first}", False)
    assert (done.status_code, done.headers["Location"]) == (303, f"/console/events/{first}")
    assert await rows.count({"open": True}) == 1
    done = await post_form(lin, HOME, "/console/events", False, state="dead")
    assert (done.status_code, done.headers["Location"]) == (303, "/console/events")
    assert await rows.count({"open": True, "attempts": 0}) == 3
    assert await demo.store.tenant("demo")["dead_letters"].count() == 0
    refused = await post_form(lin, HOME, "/console/events", False, state="waiting")
    assert refused.status_code == 400
    await demo.store.tenant("demo")["clerks"].update({"login": "lin"}, {"$set": {"roles": ["viewer"]}})
    demo.cache.clear()
    viewer = await clerk("lin")
    refused = await post_form(viewer, HOME, "/console/events", False, state="dead")
    assert refused.status_code == 403


def _unreadable(*_: object) -> None:
    raise EventUnreadable("event_not_xml", "as a reader of yesterday would have it")


async def test_the_list_shows_the_worst_of_what_came_of_an_event(
    clerk: Clerk, demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=84061, times=1)
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=-1)
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    lin = await clerk("lin")
    listed = (await lin.get("/console/events?lang=en")).text
    assert ("not all done" in listed, ">handled<" in listed, "(84061)" in listed) == (True, False, True)
    failed = (await lin.get("/console/events?state=failed")).text
    assert failed.count('href="/console/events/') == 1
    assert (await lin.get("/console/events?state=unfinished")).text.count('href="/console/events/') == 0
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    told = (await lin.get(f"/console/api/events/{row['_id']}")).json()["outcome"]
    assert (told["state"], told["kind"], told["reason"]) == ("failed", "welcome", "platform_subject_state:84061")
    await demo.store.tenant("demo")["outbox"].update({"kind": "welcome"}, {"$set": {"state": "done"}})
    waiting = (await lin.get("/console/events?state=unfinished&lang=en")).text
    assert (waiting.count('href="/console/events/'), "in progress" in waiting) == (1, True)


async def test_what_failed_of_an_event_is_tried_again_from_its_page(
    clerk: Clerk, demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=40058, times=1)
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["state"] == "failed"
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    lin = await clerk("lin")
    done = await post_form(lin, HOME, f"/console/events/{row['_id']}", False)
    assert done.status_code == 303
    assert (await tools.effect(demo, "tag"))["open"] is True
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["state"] == "done"
    assert (await lin.get(f"/console/api/events/{row['_id']}")).json()["outcome"]["state"] == ""
    again = await post_form(lin, HOME, f"/console/events/{row['_id']}", False)
    assert (again.status_code, "alert" in again.text) == (409, True)
