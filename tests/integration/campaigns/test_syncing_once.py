"""One sync at a time, and what a night that mends makes anew."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from campaigns.channels import live_codes
from customers.banks.bank import Bank
from customers.wecom_mirror.sync import Problem, keep_problems
from operations.sync import rows
from operations.sync import run as syncing
from services.container import Services
from services.errors import Conflict
from tests.conftest import Sandbox
from tests.integration.campaigns.test_syncing import differences, night, nightly, run
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


@pytest.mark.parametrize(("guarded", "open_syncs"), [(True, 1), (False, 2)])
async def test_two_who_find_no_sync_in_the_same_moment_begin_one_because_its_number_is_taken(
    demo: Services, second: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, guarded: bool, open_syncs: int
) -> None:
    """With rows that are not called by their number there are two."""
    real, both = syncing.latest, asyncio.Barrier(2)

    async def at_once(bank: Bank) -> dict[str, Any] | None:
        row = await real(bank)
        await both.wait()
        return row

    def unguarded(bank: Bank, number: int) -> str:
        return f"{bank.id}:{number:08d}:{secrets.token_hex(8)}"

    monkeypatch.setattr(syncing, "latest", at_once)
    if not guarded:
        monkeypatch.setattr(rows, "row_id", unguarded)
    told = await asyncio.gather(*[syncing.start(await open_bank(one, "demo"), "cli") for one in (demo, second)])
    assert sorted(begun for _, begun in told) == [not guarded, True]
    assert await demo.store.tenant("demo")["syncs"].count({"open": True}) == open_syncs
    assert await demo.store.tenant("demo")["audit"].count({"action": "sync.started"}) == open_syncs


async def test_a_part_cannot_be_tried_again_while_another_sync_runs_and_its_error_stays(
    demo: Services, sandbox: Sandbox
) -> None:
    """To join that one would lose it: it may be past this part, or without it."""
    await keep_problems(
        await open_bank(demo, "demo"), syncing.PARTS["links"], [Problem("*", "platform_bad_config:48002")]
    )
    (error,) = await demo.store.tenant("demo")["sync_errors"].find({})
    await syncing.start(await open_bank(demo, "demo"), "cli", parts=["tags"])
    with pytest.raises(Conflict, match="sync_running"):
        await syncing.retry(await open_bank(demo, "demo"), "cli", error["_id"].split(":", 1)[1])
    assert await demo.store.tenant("demo")["sync_errors"].find({}) == [error]
    assert await demo.store.tenant("demo")["syncs"].count() == 1


@pytest.mark.parametrize("mode", ["mend", "report"])
async def test_a_live_code_that_somebody_deleted_in_wecom_is_made_again_by_a_night_that_mends(
    demo: Services, sandbox: Sandbox, clock: MovedClock, mode: str
) -> None:
    clock.advance(60)
    (lost, *_) = before = sorted(
        await live_codes.of_campaign(await open_bank(demo, "demo"), "acq-branch"), key=lambda row: row["state"]
    )
    client = (await open_bank(demo, "demo")).wecom
    await client.ways.delete(lost["config_id"])
    await night(clock)
    services = nightly(demo, mode)
    await syncing.nightly(await open_bank(services, "demo"))
    row = await run(services, clock)
    assert row["counts"]["live_codes"]["gone"] == 1
    assert ("live_codes", "gone", lost["state"]) in await differences(demo)
    after = sorted(
        await live_codes.of_campaign(await open_bank(demo, "demo"), "acq-branch"), key=lambda row: row["state"]
    )
    ways = {way["config_id"]: way["state"] for way in (await sandbox.control("GET", "ways"))["ways"]}
    assert after[1:] == before[1:]
    if mode == "report":
        assert (after, lost["config_id"] in ways) == (before, False)
    else:
        assert after[0]["config_id"] != lost["config_id"]
        assert ways[after[0]["config_id"]] == lost["state"]
        assert await demo.store.tenant("demo")["channels"].count({"at_wecom": "wanted"}) == 0
