"""P10, P9: what a platform closed is told, shown, and lifted; what waited behind it goes on at once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from customers.actors import ClerkActor
from customers.alerts import alarms, refusals, troubles
from customers.banks.bank import Bank
from operations import limits, scheduler
from services.container import Services
from services.errors import InvalidInput, NotFound
from services.limiter import view
from services.store.mongo import Collection, Doc
from services.wechat.core.errors import SlowDown, behind
from tests.conftest import DEMO_BANK, Sandbox
from tests.integration.campaigns import tools
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

WELCOME = "/cgi-bin/externalcontact/send_welcome_msg"
TAG = "/cgi-bin/externalcontact/mark_tag"


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


async def open_alarms(bank: Bank, kind: str) -> list[Doc]:
    return [{**row} for row in await alarms.open_of(bank, kind)]


async def closed(bank: Bank) -> set[str]:
    return {api.state.name for api in await limits.overview(bank) if api.is_closed}


async def closed_by_a_tag(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    """A customer was greeted, and his tag met 45009."""
    await tools.fault(sandbox, "errcode", TAG, errcode=45009, window="day")
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)


async def test_a_closed_api_is_an_alarm_that_ends_by_itself(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank
) -> None:
    await closed_by_a_tag(demo, sandbox, http)
    await scheduler.tick(bank)
    (alarm,) = await open_alarms(bank, limits.CLOSED)
    assert (alarm["data"]["api"], alarm["data"]["errcode"]) == (TAG, 45009)
    assert alarm["data"]["answer"] == "reach max api daily quota limit"
    await limits.watch(bank)
    assert len(await open_alarms(bank, limits.CLOSED)) == 1
    await tools.no_faults(sandbox)
    await limits.lift(bank, "cli:test", TAG, "the storm is over")
    assert await open_alarms(bank, limits.CLOSED) == []
    (ended,) = await bank.db["alarms"].find({"kind": limits.CLOSED})
    assert (ended["state"], ended["how"]) == ("handled", "over")


async def test_what_waited_behind_a_closed_api_is_due_as_soon_as_a_call_passes(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank
) -> None:
    await closed_by_a_tag(demo, sandbox, http)
    await limits.watch(bank)
    (waiting,) = await bank.db["outbox"].find({"kind": "tag"})
    assert (waiting["open"], waiting["behind"]) == (True, f"wecom:{TAG}")
    far = bank.now() + 3483
    await bank.db["outbox"].update({"_id": waiting["_id"]}, {"$set": {"due": far}})
    (api,) = [one for one in await limits.overview(bank) if one.is_closed]
    assert (api.id, dict(api.waiting)) == (f"wecom:{TAG}", {"campaigns.send_effects": 1})
    await tools.no_faults(sandbox)
    await view.lift(demo.platform.limiter, "wecom", bank.wecom_app.corp_id, TAG)  # as a call that passes
    await limits.watch(bank)
    await tools.all_work(demo)
    (row,) = await bank.db["outbox"].find({"kind": "tag"})
    assert (row["state"], row["open"], "behind" in row) == ("done", False, False)
    assert await open_alarms(bank, limits.CLOSED) == []


async def test_one_api_that_is_closed_leaves_the_welcome_alone(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank
) -> None:
    await closed_by_a_tag(demo, sandbox, http)
    assert await closed(bank) == {TAG}
    assert await tools.welcomes(sandbox) == 1
    await tools.scanned(sandbox, http, name="王芳")
    await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 2


async def test_an_operator_lifts_a_block_with_a_reason_that_is_audited(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank
) -> None:
    await closed_by_a_tag(demo, sandbox, http)
    with pytest.raises(InvalidInput) as unsaid:
        await limits.lift(bank, "lin", f"wecom:{TAG}", "  ")
    assert unsaid.value.code == "reason_missing"
    with pytest.raises(NotFound) as other:
        await limits.lift(bank, "lin", f"wecom:{WELCOME}", "so")
    assert other.value.code == "api_unknown"
    await tools.no_faults(sandbox)
    await limits.lift(bank, "lin", f"wecom:{TAG}", "WeCom 说是误报")
    assert await closed(bank) == set()
    (row,) = await bank.db["audit"].find({"action": "platform.lifted"})
    assert (row["actor"], row["object"], row["data"]["reason"]) == ("lin", f"wecom:{TAG}", "WeCom 说是误报")
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["state"] == "done"


@pytest.mark.parametrize(
    ("errcode", "reason"),
    [
        (41050, "platform_subject_state:41050"),
        (40058, "platform_bad_request:40058"),
        (99999, "platform_unknown_code:99999"),
    ],
)
async def test_unsent_welcomes_are_one_alarm_with_their_number_cause_and_end(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank, clock: MovedClock, errcode: int, reason: str
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=errcode)
    for name in ("刘敏", "王芳", "陈强"):
        await tools.scanned(sandbox, http, name=name)
    await tools.all_work(demo)
    (alarm,) = await open_alarms(bank, troubles.UNGREETED)
    assert (alarm["data"]["times"], alarm["data"]["reason"], alarm["data"].get("end")) == (3, reason, None)
    assert alarm["userids"]
    await tools.no_faults(sandbox)
    clock.advance(troubles.QUIET_SECONDS + 1)
    await limits.watch(bank)
    (alarm,) = await open_alarms(bank, troubles.UNGREETED)  # until somebody has dealt with it
    assert alarm["data"]["end"] == alarm["data"]["last"]
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=errcode)
    await tools.scanned(sandbox, http, name="赵云")
    await tools.all_work(demo)
    times = sorted(row["data"]["times"] for row in await open_alarms(bank, troubles.UNGREETED))
    assert times == [1, 3]


async def test_a_welcome_that_a_limit_let_expire_is_an_alarm_within_a_minute(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", errcode=45009)
    await tools.scanned(sandbox, http)
    for _ in range(12):
        await tools.all_work(demo)
        clock.advance(2)
    (alarm,) = await open_alarms(bank, troubles.UNGREETED)
    assert alarm["data"]["times"] == 1
    assert alarm["data"]["reason"].startswith("platform_slow_down")
    await limits.watch(bank)
    assert {row["data"]["api"] for row in await open_alarms(bank, limits.CLOSED)} >= {WELCOME}
    assert "welcome.expired" in await tools.story(demo)


async def test_any_effect_that_somebody_must_mend_is_heard_of(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank
) -> None:
    await tools.fault(sandbox, "errcode", TAG, errcode=40058)
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    (alarm,) = await open_alarms(bank, troubles.FAILING)
    assert (alarm["data"]["effects"], alarm["data"]["reason"]) == (["tag"], "platform_bad_request:40058")


async def test_what_is_so_about_a_customer_is_no_alarm(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank
) -> None:
    await tools.fault(sandbox, "errcode", TAG, errcode=84061)
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["state"] == "failed"
    assert await open_alarms(bank, troubles.FAILING) == []


async def test_a_wrong_secret_is_asked_once_alarmed_and_tried_again_when_the_bank_is_applied(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank, clock: MovedClock
) -> None:
    from customers.banks import apply

    await sandbox.control("POST", "tokens/revoke", {"errcode": 42001})
    await demo.redis.flushdb()
    demo.platform.tokens._held.clear()
    await tools.fault(sandbox, "errcode", "gettoken", errcode=40001)
    for _ in range(5):
        await tools.scanned(sandbox, http)
        await tools.all_work(demo)
        clock.advance(120)
    counts = (await sandbox.control("GET", "calls"))["counts"]
    before = counts["/wecom/cgi-bin/gettoken"]
    await tools.all_work(demo)
    while demo.groups._background:
        await asyncio.gather(*demo.groups._background)
    assert (await sandbox.control("GET", "calls"))["counts"]["/wecom/cgi-bin/gettoken"] == before
    await refusals.tell(bank)
    assert {row["data"]["errcode"] for row in await open_alarms(bank, "platform.secret")} == {40001}
    (api,) = [one for one in await limits.overview(bank) if one.refused]
    assert (api.state.name, api.refused and api.refused.errcode) == ("/cgi-bin/gettoken", 40001)
    await tools.no_faults(sandbox)
    await apply.apply_tenant(demo, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    assert await bank.wecom.token()


async def test_the_command_line_and_the_page_may_lift_a_refused_secret_too(
    demo: Services, bank: Bank, sandbox: Sandbox
) -> None:
    tokens = demo.platform.tokens
    await demo.redis.flushdb()
    tokens._held.clear()
    await tools.fault(sandbox, "errcode", "gettoken", errcode=40001)
    with pytest.raises(Exception, match="40001"):
        await bank.wecom.token()
    await tools.no_faults(sandbox)
    await limits.lift(bank, "cli:test", "wecom:/cgi-bin/gettoken", "the secret was right")
    assert await bank.wecom.token()


async def test_the_metric_tells_what_is_closed(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank
) -> None:
    line = f'yinqiao_platform_closed{{path="{TAG}",tenant="demo"}} 1.0'
    await closed_by_a_tag(demo, sandbox, http)
    assert line in (await http.get("/metrics")).text
    await limits.lift(bank, "cli:test", TAG, "over")
    assert line not in (await http.get("/metrics")).text


async def test_an_api_that_both_platforms_have_is_closed_and_opened_for_one_of_them_alone(
    demo: Services, bank: Bank
) -> None:
    """Both have `/cgi-bin/media/upload`, and each mini-program has one of its own."""
    upload = "/cgi-bin/media/upload"
    first, second = list(bank.miniprograms)[:2]
    scopes = (("wecom", bank.wecom_app.corp_id), ("wechat", first), ("wechat", second))
    for number, (family, scope) in enumerate(scopes):
        with pytest.raises(SlowDown) as refused:
            async with demo.platform.limiter.passing(family, scope, upload, 1.0):
                raise SlowDown(45009, "reach max api minute limit", upload)
        row = {"_id": f"demo:{number}", "lane": "effects", "kind": "subscribe", "open": True, "owner": None}
        await bank.db["outbox"].insert({**row, "due": bank.now() + 3000, "attempts": 0, **behind(refused.value)})
    await limits.watch(bank)
    waiting = {api.id: dict(api.waiting) for api in await limits.overview(bank) if api.is_closed}
    names = [f"wecom:{upload}", f"wechat:{first}:{upload}", f"wechat:{second}:{upload}"]
    assert waiting == {name: {"campaigns.send_effects": 1} for name in names}
    await limits.lift(bank, "cli:test", names[1], "it was a mistake")
    await limits.watch(bank)
    due = [row["_id"] for row in await bank.db["outbox"].find({"due": {"$lte": bank.now()}})]
    assert due == ["demo:1"]
    assert {row["gathers"] for row in await open_alarms(bank, limits.CLOSED)} == {names[0], names[2]}


async def test_one_fault_is_one_alarm_of_what_failed_and_one_of_who_was_not_greeted(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", errcode=99999)
    for _ in range(2):
        await tools.scanned(sandbox, http)
    for _ in range(3):
        await tools.all_work(demo)
        clock.advance(5)
    (failing,) = await open_alarms(bank, troubles.FAILING)
    assert {"tag", "enrich"} <= set(failing["data"]["effects"])
    assert failing["data"]["times"] >= 4
    (unsent,) = await open_alarms(bank, troubles.UNGREETED)
    assert unsent["data"]["times"] == 2
    assert unsent["userids"]


@pytest.mark.parametrize(
    "reason", ["platform_slow_down:45009", "platform_slow_down", "gave_up_after_12:platform_slow_down"]
)
async def test_a_limit_is_one_cause_whoever_said_so(demo: Services, bank: Bank, reason: str) -> None:
    await troubles.failed(bank, "welcome", "platform_slow_down:45009")
    await troubles.failed(bank, "welcome", reason)
    (alarm,) = await open_alarms(bank, troubles.UNGREETED)
    assert (alarm["data"]["times"], alarm["data"]["reason"]) == (2, "platform_slow_down")


async def test_two_processes_that_meet_the_same_failure_first_raise_one_alarm(
    demo: Services, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Collection.count

    async def after_another(rows: Collection, wanted: Doc) -> int:
        monkeypatch.setattr(Collection, "count", counted)
        await alarms.gather(bank, troubles.FAILING, "internal", 2, reason="internal")
        return await counted(rows, wanted)

    for earlier in (0, 1):
        monkeypatch.setattr(Collection, "count", after_another)
        await alarms.gather(bank, troubles.FAILING, "internal", 1, reason="internal")
        (alarm,) = await open_alarms(bank, troubles.FAILING)
        assert (alarm["data"]["times"], alarm["key"]) == (3, f"internal:{earlier}")
        await alarms.handle(bank, [alarm["_id"]], "lin", "console", "test")


async def test_a_welcome_that_came_too_late_is_told_with_what_kept_it(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=-1)
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    clock.advance(30)
    await tools.all_work(demo)
    (alarm,) = await open_alarms(bank, troubles.UNGREETED)
    assert alarm["data"]["reason"] == "platform_busy:-1"


async def test_what_fails_again_after_somebody_dealt_with_it_is_told_again_on_the_same_day(
    demo: Services, bank: Bank
) -> None:
    actor = ClerkActor("demo", "林晓", "lin", frozenset())
    for expected in (1, 2):
        for _ in range(2):
            await alarms.work_failed(bank, "campaigns.advance_runs", "internal")
        (row,) = await open_alarms(bank, "work.failed")
        assert await bank.db["alarms"].count({"kind": "work.failed"}) == expected
        await alarms.handle_by_clerk(bank, actor, row["_id"])


async def test_a_closed_api_that_nobody_calls_is_open_when_its_longest_wait_is_over(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, bank: Bank, clock: MovedClock
) -> None:
    """Its alarm ends, and the page does not speak of a time that is past."""
    await closed_by_a_tag(demo, sandbox, http)
    await tools.no_faults(sandbox)
    await limits.watch(bank)
    clock.advance(100)
    await limits.watch(bank)
    assert (len(await open_alarms(bank, limits.CLOSED)), await closed(bank)) == (1, {TAG})
    clock.advance(30)
    await limits.watch(bank)
    assert (await open_alarms(bank, limits.CLOSED), await closed(bank)) == ([], set())
    (waiting,) = await bank.db["outbox"].find({"kind": "tag"})
    assert waiting["due"] <= bank.now()
