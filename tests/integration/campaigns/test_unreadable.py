"""A stored version that this release cannot carry out stops nobody else, and everybody is told what to do."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from typer.testing import CliRunner

from campaigns import live
from campaigns.engine import runs
from campaigns.publishing import unreadable, versions
from campaigns.publishing.unreadable import Found
from config.settings import Settings
from customers.banks.bank import Bank
from manage import app
from operations.events import explain
from services.container import Services
from tests.conftest import Sandbox
from tests.http.conftest import sign_in
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import LIN, WELCOME, ZHAO

WAITS = (
    WELCOME.replace("steps:\n", "exit: [{event: customer.blocked, as: lost}]\nsteps:\n")
    + "- {id: w, wait: {for: 1h}}\n"
)
OTHER = (
    WAITS.replace("id: hello", "id: other")
    .replace("codes: {c: {per: branch, branches: all}}\n", "")
    .replace("channel.code in codes('c')", "known(channel.code)")
)
OLD = "follow.userid"
"""What rules of before were met by: a text by itself."""


async def _stored(bank: Bank, campaign: str, version: int = 1) -> None:
    """The version as a release before the present language of rules stored it."""
    key = {"campaign": campaign, "version": version}
    row = await bank.db["campaign_versions"].find_one(key)
    assert row is not None
    rule = row["document"]["entry"]["when"]
    changed = {"document.entry.when": OLD, "text": row["text"].replace(rule, OLD)}
    await bank.db["campaign_versions"].update(key, {"$set": changed})
    bank.services.cache.clear()


@pytest.fixture
async def bank(demo: Services) -> Bank:
    await tools.go_live(demo, WAITS)
    await tools.go_live(demo, OTHER)
    return await open_bank(demo, "demo")


async def _entered(services: Services) -> list[tuple[str, str, str]]:
    return sorted((run["campaign"], run["status"], run["reason"]) for run in await tools.runs(services))


async def test_callbacks_and_other_campaigns_go_on(
    demo: Services, bank: Bank, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.scanned(sandbox, http, tools.CODE)
    await tools.all_work(demo)
    assert await _entered(demo) == [("hello", "active", ""), ("other", "active", "")]
    await _stored(bank, "hello")
    await tools.scanned(sandbox, http, tools.CODE, "陈晨")
    await tools.all_work(demo)
    assert await _entered(demo) == [("hello", "active", ""), ("other", "active", ""), ("other", "active", "")]
    cids = [run["cid"] for run in await tools.runs(demo) if run["campaign"] == "hello"]
    assert await runs.on_event(bank, cids, "customer.blocked") == 1
    assert await _entered(demo) == [("hello", "active", ""), ("other", "active", ""), ("other", "exited", "lost")]
    assert await bank.db["dead_letters"].count() == 0
    (run,) = [one for one in await tools.runs(demo) if one["campaign"] == "hello"]
    assert (await explain._run(bank, run, lambda code: code))["effects"] == []  # type: ignore[arg-type]
    clock.advance(3_700)
    for _ in range(14):
        await jobs.advance_runs(bank)
        clock.advance(301)
    assert ("hello", "error", "version_unreadable") in await _entered(demo)


async def test_who_looks_is_told_which_why_and_what_to_do(
    demo: Services, bank: Bank, settings: Settings, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.terminal.settings", lambda: settings)

    async def check() -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["campaign", "check"])
        return done.exit_code, done.output

    assert (await check())[0] == 0
    await _stored(bank, "hello")
    (found,) = await unreadable.find(bank)
    assert isinstance(found, Found)
    assert (found.campaign, found.version, found.why) == ("hello", 1, "published")
    assert [(problem.line, problem.code) for problem in found.problems] == [(5, "rule_test_name")]
    status, said = await check()
    assert status == 1
    assert "demo: campaign hello, version 1 (is published): version 1:5: " in said
    assert "submit each of these campaigns anew" in said
    for _ in range(2):
        await unreadable.watch(bank)
    (alarm,) = await bank.db["alarms"].find({"kind": unreadable.UNREADABLE})
    assert (alarm["data"]["campaign"], alarm["data"]["version"]) == ("hello", "1")
    await sign_in(http, "demo", "lin", "yinqiao-demo")
    assert "cannot be carried out" in (await http.get("/console/?lang=en")).text
    page = (await http.get("/console/campaigns/hello?lang=en")).text
    assert "Version 1 cannot be carried out any more" in page
    assert "<strong>Line 5</strong>" in page
    assert "cannot be carried out" not in (await http.get("/console/campaigns/other?lang=en")).text
    await tools.go_live(demo, WAITS.replace("欢迎", "你好"))
    assert await live.unreadable(bank) == {}
    assert (await check())[0] == 0


async def test_one_that_waits_is_not_agreed_to(demo: Services, bank: Bank) -> None:
    row = await versions.submit(bank, LIN, WAITS.replace("欢迎", "你好"))
    await _stored(bank, "hello", row["version"])
    with pytest.raises(live.VersionUnreadable) as refused:
        await versions.approve(bank, ZHAO, "hello", row["version"])
    assert (refused.value.code, refused.value.data["version"]) == ("version_unreadable", "2")
    (found,) = await unreadable.find(bank)
    assert (found.version, found.why) == (2, "waits")
    assert (await live.campaign_rows(bank))["hello"]["live_version"] == 1
