"""Maker and checker, versions, pause: nothing goes live on one person's word."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from campaigns.channels import live_codes
from campaigns.publishing import versions as publishing
from config.settings import Settings
from customers.approvals import approvals
from customers.banks.bank import Bank
from rewards import catalogue, claims, ledger
from services.container import Services
from services.errors import Conflict, Forbidden, NotFound, Unavailable, YinqiaoError
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.integration.rewards import world
from tests.support.banks import open_bank
from tests.support.documents import LIN, REWARDS, WELCOME, ZHAO
from tests.support.killing import before_write

HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"
DB_NAMES = ("campaigns", "campaign_versions", "channels", "rewards", "transfers")


async def state(services: Services) -> dict[str, Any]:
    db = services.store.tenant("demo")
    return {name: await db[name].find({}, sort=[("_id", 1)]) for name in DB_NAMES}


async def ways(sandbox: Sandbox, group: str) -> list[str]:
    """The states of that group's live codes at WeCom, sorted."""
    found = (await sandbox.control("GET", "ways"))["ways"]
    return sorted(way["state"] for way in found if way["state"].startswith(f"{group}."))


async def test_the_author_cannot_approve_and_a_second_clerk_can(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    handed_in = await publishing.submit(bank, LIN, REWARDS)
    before = await state(demo)
    with pytest.raises(Forbidden, match="approver_is_author"):
        await publishing.approve(bank, LIN, "shop", 1)
    assert await state(demo) == before
    await publishing.approve(bank, ZHAO, "shop", 1)
    seen = await publishing.get_campaign(bank, LIN, "shop")
    assert (seen["state"], seen["live_version"], seen["pending_version"]) == ("live", 1, None)
    (version,) = seen["versions"]
    assert (version["author"], version["approved_by"], version["sha256"]) == ("lin", "zhao", handed_in["sha256"])
    trail = await demo.store.tenant("demo")["audit"].find({"object": "shop"}, sort=[("seq", 1)])
    actions = [row["action"] for row in trail]
    assert actions[:2] == ["campaign.submitted", "campaign.approval_refused"]
    assert actions[-1] == "campaign.published"
    assert await demo.audit.verify(demo.store.tenant("demo")) == []


async def test_what_is_only_submitted_gives_nothing(demo: Services, http: httpx.AsyncClient) -> None:
    await publishing.submit(await open_bank(demo, "demo"), LIN, REWARDS)
    (customer,) = await world.signed_in(demo, 1)
    answer = await http.post(f"/mp/{world.BANK}/rewards/shop.cup/claim", headers={**customer, "Idempotency-Key": "k"})
    assert answer.status_code == 404


async def test_approving_twice_approves_once(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, REWARDS)
    await publishing.approve(bank, ZHAO, "shop", 1)
    before = await state(demo)
    with pytest.raises(Conflict, match="version_decided"):
        await publishing.approve(bank, ZHAO, "shop", 1)
    assert await state(demo) == before


async def test_two_approvals_at_once_make_one_live_code_a_branch(
    demo: Services, second: Services, sandbox: Sandbox
) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, WELCOME + HI)
    other = replace(ZHAO, login="qian")
    done = await asyncio.gather(
        publishing.approve(bank, ZHAO, "hello", 1),
        publishing.approve(await open_bank(second, "demo"), other, "hello", 1),
        return_exceptions=True,
    )
    assert all(isinstance(one, YinqiaoError) for one in done if isinstance(one, BaseException))
    assert sum(not isinstance(one, BaseException) for one in done) >= 1
    assert await ways(sandbox, "c") == ["c.gz-tianhe", "c.sz-futian", "c.sz-nanshan"]
    audit = await demo.store.tenant("demo")["audit"].find({"object": "hello", "action": "campaign.published"})
    assert len(audit) == 1


async def test_a_stored_document_that_was_changed_is_not_published(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, REWARDS)
    versions = demo.store.tenant("demo")["campaign_versions"]
    await versions.update({"campaign": "shop"}, {"$set": {"text": REWARDS.replace("stock: 10", "stock: 999")}})
    before = await state(demo)
    with pytest.raises(Conflict, match="version_changed"):
        await publishing.approve(bank, ZHAO, "shop", 1)
    assert await state(demo) == before


async def test_what_goes_live_is_the_text_that_was_approved(demo: Services) -> None:
    """The parsed copy beside the text is no way around the approval."""
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, REWARDS)
    versions = demo.store.tenant("demo")["campaign_versions"]
    await versions.update({"campaign": "shop"}, {"$set": {"document.rewards.cup.stock": 999}})
    await asyncio.gather(publishing.approve(bank, ZHAO, "shop", 1), return_exceptions=True)
    row = await demo.store.tenant("demo")["rewards"].find_one({"reward": "shop.cup"})
    assert row is None or row["total"] == 10


async def test_a_newer_submission_takes_the_place_of_one_that_waits(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, REWARDS)
    await publishing.submit(bank, ZHAO, REWARDS.replace("stock: 10", "stock: 20"))
    with pytest.raises(Conflict, match="version_superseded"):
        await publishing.approve(bank, ZHAO, "shop", 1)
    with pytest.raises(Forbidden, match="approver_is_author"):
        await publishing.approve(bank, ZHAO, "shop", 2)
    await publishing.approve(bank, LIN, "shop", 2)
    assert (await world.stock(demo, reward="shop.cup"))["available"] == 20


async def test_submissions_at_once_get_numbers_of_their_own(demo: Services, second: Services) -> None:
    texts = [REWARDS.replace("stock: 10", f"stock: {n}") for n in range(1, 7)]
    both = (demo, second)
    done = await asyncio.gather(
        *[publishing.submit(await open_bank(both[n % 2], "demo"), LIN, text) for n, text in enumerate(texts)]
    )
    assert sorted(row["version"] for row in done) == [1, 2, 3, 4, 5, 6]
    waiting = await demo.store.tenant("demo")["campaign_versions"].find({"state": "submitted"})
    assert [row["version"] for row in waiting] == [6]


async def test_a_rejected_version_stays_rejected(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, REWARDS)
    with pytest.raises(YinqiaoError, match="reason_missing"):
        await publishing.reject(bank, ZHAO, "shop", 1, "  ")
    await publishing.reject(bank, ZHAO, "shop", 1, "too dear")
    with pytest.raises(Conflict, match="version_decided"):
        await publishing.approve(bank, ZHAO, "shop", 1)
    assert await demo.store.tenant("demo")["rewards"].count({"campaign": "shop"}) == 0


async def test_applying_the_same_file_again_changes_nothing(demo: Services, sandbox: Sandbox) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.apply(bank, WELCOME + HI, "t.yaml", "cli")
    before, codes = await state(demo), await ways(sandbox, "c")
    assert await publishing.plan(bank, WELCOME + HI, "t.yaml") == [
        "campaign hello: nothing to do, version 1 is this document"
    ]
    said = await publishing.apply(bank, WELCOME + HI, "t.yaml", "cli")
    assert said == ["campaign hello: version 1 is this document already"]
    assert (await state(demo), await ways(sandbox, "c")) == (before, codes)


async def test_in_production_the_command_line_only_submits(demo: Services, settings: Settings) -> None:
    production = replace(demo, settings=settings.model_copy(update={"env": "production"}))
    said = await publishing.apply(await open_bank(production, "demo"), REWARDS, "t.yaml", "cli")
    assert said == ["campaign shop: version 1 is pending approval in the console"]
    seen = await publishing.get_campaign(await open_bank(demo, "demo"), LIN, "shop")
    assert (seen["state"], seen["live_version"], seen["pending_version"]) == ("draft", None, 1)
    assert await demo.store.tenant("demo")["rewards"].count({"campaign": "shop"}) == 0


async def test_a_pause_stops_claims_and_going_on_opens_them(demo: Services, http: httpx.AsyncClient) -> None:
    bank = await open_bank(demo, "demo")
    (customer,) = await world.signed_in(demo, 1)
    path = f"/mp/{world.BANK}/rewards/flash.voucher/claim"
    await publishing.pause(bank, LIN, "flash")
    before = await world.all_rows(demo)
    refused = await http.post(path, headers={**customer, "Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "paused")
    after = await world.all_rows(demo)
    assert after["transfers"] == before["transfers"]
    with pytest.raises(Conflict, match="wrong_state"):
        await publishing.pause(bank, LIN, "flash")
    await publishing.resume(bank, ZHAO, "flash")
    demo.cache.of(claims.HINTS).clear()
    assert (await http.post(path, headers={**customer, "Idempotency-Key": "k"})).status_code == 200


@pytest.mark.parametrize("first", ["publish", "resume"])
async def test_a_pause_at_the_very_moment_closes_the_rewards(
    demo: Services, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The pause comes after the other has read that the campaign is live, and before it opens the rewards."""
    bank = await open_bank(demo, "demo")
    if first == "resume":
        await publishing.pause(bank, LIN, "flash")
    else:
        text = (await publishing.get_campaign(bank, LIN, "flash"))["text"]
        await publishing.submit(bank, LIN, text.replace("stock: 100", "stock: 90"))
    set_state, waiting = catalogue.set_state, [True]

    async def slowly(at: Bank, campaign: str, state: str) -> None:
        if state == "live" and waiting:
            waiting.clear()
            await publishing.pause(bank, ZHAO, "flash")
        await set_state(at, campaign, state)

    monkeypatch.setattr(catalogue, "set_state", slowly)
    await (publishing.resume(bank, LIN, "flash") if first == "resume" else publishing.approve(bank, ZHAO, "flash", 2))
    assert not waiting
    assert (await publishing.get_campaign(bank, LIN, "flash"))["state"] == "paused"
    assert (await world.reward_row(demo, reward="flash.voucher"))["state"] == "paused"


async def test_publishing_while_paused_leaves_campaign_and_rewards_in_one_state(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.pause(bank, LIN, "flash")
    text = (await publishing.get_campaign(bank, LIN, "flash"))["text"]
    await publishing.submit(bank, LIN, text.replace("二十元生活券", "生活券"))
    await publishing.approve(bank, ZHAO, "flash", 2)
    campaign = (await publishing.get_campaign(bank, LIN, "flash"))["state"]
    assert (await world.reward_row(demo, reward="flash.voucher"))["state"] == campaign == "paused"
    await publishing.resume(bank, LIN, "flash")
    assert (await world.reward_row(demo, reward="flash.voucher"))["state"] == "live"


@pytest.mark.parametrize("last", ["put", "end_others"])
async def test_a_publishing_that_is_killed_opens_no_reward_of_a_paused_campaign(
    demo: Services, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The last that it does is to make a new reward, or to take one up that an earlier version had dropped."""
    bank = await open_bank(demo, "demo")
    pen, pin = (
        f"  {key}: {{kind: code, title: {{zh: {key}}}, cost: 1, stock: 5, claim: anyone}}\n" for key in ("pen", "pin")
    )
    await tools.go_live(demo, REWARDS + pin)
    await tools.go_live(demo, REWARDS)
    await publishing.pause(bank, LIN, "shop")
    await publishing.submit(bank, LIN, REWARDS + pin + pen)
    does = getattr(catalogue, last)

    async def dies_afterwards(at: Bank, campaign: str, what: Any) -> None:
        await does(at, campaign, what)
        if last == "end_others" or what.key == "pen":
            raise Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, last, dies_afterwards)
        with pytest.raises(Unavailable, match="killed"):
            await publishing.approve(bank, ZHAO, "shop", 3)
    states = await reward_states(demo, "shop")
    assert len(states) == 3
    assert "live" not in states
    await publishing.approve(bank, ZHAO, "shop", 3)
    assert await reward_states(demo, "shop") == ["paused"] * 3
    await publishing.resume(bank, ZHAO, "shop")
    assert await reward_states(demo, "shop") == ["live"] * 3


async def test_applying_again_opens_the_rewards_of_a_publishing_that_was_killed_before(
    demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, "demo")

    async def dies(*_: Any) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "set_state", dies)
        with pytest.raises(Unavailable):
            await publishing.apply(bank, REWARDS, "t.yaml", "cli")
    assert await reward_states(demo, "shop") == ["paused"]
    await publishing.apply(bank, REWARDS, "t.yaml", "cli")
    assert await reward_states(demo, "shop") == ["live"]


async def reward_states(services: Services, campaign: str) -> list[str]:
    rows = await services.store.tenant("demo")["rewards"].find({"campaign": campaign})
    return [row["state"] for row in rows]


async def test_a_reward_that_a_new_version_drops_gives_nothing_more(demo: Services) -> None:
    """No live document declares it any more: neither its quantity nor its rules are published."""
    two = REWARDS + "  pen: {kind: code, title: {zh: 笔}, cost: 1, stock: 5, claim: anyone}\n"
    await tools.go_live(demo, two)
    await tools.go_live(demo, REWARDS)
    request = replace(world.request("a"), reward="shop.pen")
    assert await world.answer(demo, request) in ("ended", "paused", "reward_unknown")
    assert await ledger.check(await open_bank(demo, "demo")) == []


@pytest.mark.parametrize("broken", ["ensure", "put", "set_state", "invalidate"])
async def test_an_approval_that_was_cut_short_can_be_given_again(
    demo: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, REWARDS + "codes: {s: {per: branch, branches: all}}\n")
    modules = {"ensure": live_codes, "put": catalogue, "set_state": catalogue, "invalidate": publishing.live}

    def dies(*_: Any, **__: Any) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(modules[broken], broken, dies)
        with pytest.raises(Unavailable):
            await publishing.approve(bank, ZHAO, "shop", 1)
    await asyncio.gather(publishing.approve(bank, ZHAO, "shop", 1), return_exceptions=True)
    seen = await publishing.get_campaign(bank, LIN, "shop")
    assert (seen["state"], seen["live_version"], seen["versions"][0]["state"]) == ("live", 1, "live")
    assert await world.stock(demo, reward="shop.cup") == {
        "total": 10, "available": 10, "held": 0, "granted": 0, "retired": 0,
    }  # fmt: skip
    assert await ways(sandbox, "s") == ["s.gz-tianhe", "s.sz-futian", "s.sz-nanshan"]
    assert await ledger.check(bank) == []


async def test_what_stands_in_the_way_of_a_version_may_go_away_and_approving_again_goes_on(
    demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, "demo")
    await publishing.submit(bank, LIN, REWARDS)

    async def in_the_way(*_: Any) -> None:
        raise Conflict("stock_out", "more of it is out than would be left")

    with monkeypatch.context() as patch:
        patch.setattr(publishing.catalogue, "put", in_the_way)
        for _ in range(2):
            with pytest.raises(Conflict, match="stock_out"):
                await publishing.approve(bank, ZHAO, "shop", 1)
        seen = await publishing.get_campaign(bank, LIN, "shop")
        assert (seen["state"], seen["live_version"], seen["pending_version"]) == ("draft", None, 1)
    await publishing.approve(bank, ZHAO, "shop", 1)
    seen = await publishing.get_campaign(bank, LIN, "shop")
    assert (seen["state"], seen["live_version"], seen["pending_version"]) == ("live", 1, None)


async def test_an_approval_whose_checker_was_killed_anywhere_goes_live_when_it_is_given_again(
    demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each write in turn, the one between the decision and the version's own row among them."""
    bank = await open_bank(demo, "demo")
    for number in range(60):
        text = REWARDS.replace("id: shop", f"id: shop-{number}")
        await publishing.submit(bank, LIN, text)
        with monkeypatch.context() as patch:
            was_killed = before_write(patch, number)
            await asyncio.gather(publishing.approve(bank, ZHAO, f"shop-{number}", 1), return_exceptions=True)
        if was_killed():
            await publishing.approve(bank, ZHAO, f"shop-{number}", 1)
        seen = await publishing.get_campaign(bank, LIN, f"shop-{number}")
        (version,) = seen["versions"]
        assert (seen["live_version"], version["state"], version["approved_by"]) == (1, "live", "zhao"), number
        approval = await approvals.find(bank, publishing.CAMPAIGN, f"demo:shop-{number}:1")
        assert approval is not None
        assert (approval.state, approval.decided_by, approval.author) == ("applied", "zhao", "lin")
        if not was_killed():
            break
    assert number >= 8
    assert await ledger.check(bank) == []


async def test_an_answer_of_wecom_that_was_lost_makes_no_second_live_code(demo: Services, sandbox: Sandbox) -> None:
    bank = await open_bank(demo, "demo")
    await tools.fault(sandbox, "timeout_after_success", tools.ADD, times=1)
    with pytest.raises(Unavailable, match="wecom_unavailable"):
        await publishing.apply(bank, WELCOME + HI, "t.yaml", "cli")
    assert len(await ways(sandbox, "c")) == 1
    await publishing.apply(bank, WELCOME + HI, "t.yaml", "cli")
    assert await ways(sandbox, "c") == ["c.gz-tianhe", "c.sz-futian", "c.sz-nanshan"]
    listed = await live_codes.of_campaign(bank, "hello")
    known = {way["config_id"] for way in (await sandbox.control("GET", "ways"))["ways"]}
    assert {row["config_id"] for row in listed} <= known
    assert len(listed) == 3


async def test_what_is_not_there_is_not_found(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    for act in (publishing.pause, publishing.resume, publishing.get_campaign):
        with pytest.raises(NotFound, match="campaign_unknown"):
            await act(bank, LIN, "none")
    with pytest.raises(NotFound, match="version_unknown"):
        await publishing.approve(bank, ZHAO, "flash", 99)
