"""A crowd with a past plays the bank while segments are live; who is in which agrees with a plain reading of what
the sandbox knows, and a planted lie is found."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from customers.banks.bank import Bank
from customers.lists import keeping, uploading
from customers.segments import document, versions
from deploy import audit_segments, audit_truth, truth_file
from operations import profiling
from operations.sync import run as syncing
from operations.sync import view
from services.container import Services
from tests.conftest import Sandbox, Stack
from tests.faults.test_people_audit import asked, played
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until


@dataclass(frozen=True)
class Play:
    """`crowd` people whom WeCom told of, and `customers` who come while it is played; `patience` in seconds."""

    crowd: int
    customers: int
    patience: float


async def read_in(bank: Bank, sandbox: Sandbox, play: Play) -> None:
    """The crowd is in WeCom, and so in the product."""
    await sandbox.control("POST", "people/bulk", {"count": play.crowd, "seed": 7, "tagged": True})
    await syncing.start(bank, "test")

    async def over() -> bool:
        sync = await view.progress(bank)
        return sync is not None and not sync["open"]

    await until(over, play.patience)
    assert await bank.db["customers"].count() == play.crowd


async def agree(bank: Bank) -> None:
    """All segments that can be judged are live, before anything is told."""
    await keeping.create(bank, "lin", audit_segments.LIST, {"zh": "名单", "en": "List"})
    wanted, parsed = document.read_file(audit_segments.segments_file(), "audit.yaml")
    words = await profiling.vocabulary(bank, new=wanted)
    named = document.check_file(wanted, parsed, "audit.yaml", words, await versions.uses(bank))
    await versions.apply(bank, wanted, named, words, "cli:test")


async def put_on_the_list(bank: Bank, truth: truth_file.Truth, patience: float) -> None:
    received = uploading.Receiver("list.csv")
    await received.write(audit_segments.list_file(truth.customers))
    name = await uploading.start(bank, "lin", audit_segments.LIST, "add", received)
    await jobs.run(bank, uploading.TASK)  # if no worker has it yet

    async def is_over() -> bool:
        return not (await uploading.upload(bank, audit_segments.LIST, name))["open"]

    await until(is_over, patience)
    upload = await uploading.upload(bank, audit_segments.LIST, name)
    assert (upload["state"], upload["problems"]) == ("done", [])


async def judged(demo: Services, sandbox: Sandbox, stack: Stack, folder: Path, play: Play) -> truth_file.Truth:
    """Plays it all; every segment is as the sandbox's truth says, and none of them is empty or everybody."""
    loop = asyncio.get_running_loop()
    bank = await open_bank(demo, "demo")
    await read_in(bank, sandbox, play)
    await loop.run_in_executor(None, stack.start, "audience")
    assert await audit_segments.followed(bank, play.patience)
    await agree(bank)
    assert await audit_segments.followed(bank, play.patience)
    args = asked(sandbox, demo, customers=play.customers, crowd=play.crowd, rate=20.0)
    truth = await played(args, folder / "truth.jsonl")
    await put_on_the_list(bank, truth, play.patience)
    found, counts = await audit_truth.compare(demo, "demo", truth, sandbox.url, patience=play.patience)
    assert (Counter(one.what for one in found), found[:10]) == (Counter(), [])
    members = {key: counts[f"in {key}"] for key in audit_segments.SEGMENTS}
    assert all(0 < n < len(truth.customers) for n in members.values()), members
    assert counts["customers"] >= play.crowd + play.customers
    assert not [cid async for _, unlike in profiling.check(bank) for cid in unlike]
    return truth


async def test_members_are_whom_the_truth_says(demo: Services, sandbox: Sandbox, stack: Stack, tmp_path: Path) -> None:
    truth = await judged(demo, sandbox, stack, tmp_path, Play(crowd=240, customers=12, patience=90.0))
    bank = await open_bank(demo, "demo")

    async def what() -> set[tuple[str, str]]:
        found, _ = await audit_truth.compare(demo, "demo", truth, sandbox.url, patience=30.0)
        return {(one.what, one.whose) for one in found}

    rich = next(one for one in truth.customers if one.crowd and one.bank and one.bank.fields.get("balance_band") == "A")
    assert rich.bank is not None
    rich.bank.fields["balance_band"] = "B"
    assert await what() == {("balance_band differs", rich.id)}
    rich.bank.fields["balance_band"] = "D"
    assert {("segment au-wealthy differs", rich.id), ("balance_band differs", rich.id)} <= await what()
    rich.bank.fields["balance_band"] = "A"
    member = await bank.db["segment_members"].find_one({"segment": "au-wealthy", "left": None})
    assert member is not None
    await bank.db["segment_members"].delete({"_id": member["_id"]})
    ((said, _),) = await what()
    assert said == "not everybody was told of au-wealthy"
    await bank.db["segment_members"].insert_new([{**member, "announced": member["turn"] - 1}])
    assert {said for said, _ in await what()} == {"not everybody was told of au-wealthy"}
    await bank.db["segment_members"].update({"_id": member["_id"]}, {"$set": {"announced": member["turn"]}})
    assert await what() == set()


@pytest.mark.soak
async def test_members_of_twenty_thousand_are_whom_the_truth_says(
    demo: Services, sandbox: Sandbox, stack: Stack, tmp_path: Path
) -> None:
    await judged(demo, sandbox, stack, tmp_path, Play(crowd=20_000, customers=60, patience=3600.0))
