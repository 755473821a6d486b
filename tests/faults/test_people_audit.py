"""A population plays the product while its worker is killed; the audit finds all in order, and finds a planted lie."""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customers.identity import resolution
from customers.identity.sealing import identity_id
from customers.intake.splitting import event_id
from deploy import audit_truth, truth_file
from deploy.errors import DeployError
from deploy.parts import environment
from deploy.processes import ROOT, end, spawn
from rewards.points import program
from sandbox.people import plan, run
from sandbox.people import truth_file as people_truth
from sandbox.people.command import arguments
from services.container import Services
from tests.conftest import Sandbox, Stack
from tests.support.banks import open_bank
from tests.support.waiting import until

_STARTER = ThreadPoolExecutor(1)
"""One thread that stays: processes end with the thread that started them (deploy/processes.py)."""


def asked(sandbox: Sandbox, services: Services, **more: Any) -> argparse.Namespace:
    args = arguments(["--sandbox", sandbox.url, "--portal", services.settings.url])
    return argparse.Namespace(**{**vars(args), "rate": 30.0, "seed": 5, "hunters": 0.1, **more})


async def played(args: argparse.Namespace, file: Path) -> truth_file.Truth:
    people_truth.write(file, await run.play(args, None, watched=False))
    return truth_file.read(file)


async def audited(services: Services, sandbox: Sandbox, truth: truth_file.Truth) -> list[dict[str, str]]:
    found, _ = await audit_truth.compare(services, "demo", truth, sandbox.url, patience=90.0)
    return [asdict(one) for one in found]


async def test_a_population_with_a_killed_worker_leaves_what_it_says(
    demo: Services, sandbox: Sandbox, stack: Stack, tmp_path: Path
) -> None:
    points = (ROOT / "config" / "demo" / "points.yaml").read_text(encoding="utf-8")
    await program.apply(await open_bank(demo, "demo"), points, "points.yaml", "cli:test")
    playing = asyncio.create_task(played(asked(sandbox, demo, customers=40), tmp_path / "truth.jsonl"))
    db = demo.store.tenant("demo")

    async def under_way() -> bool:
        return playing.done() or await db["transfers"].count({"kind": "grant"}) >= 20

    await until(under_way, 60.0)
    assert not playing.done()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(_STARTER, stack.kill9, "worker")
    await loop.run_in_executor(_STARTER, stack.start, "worker")
    truth = await playing
    assert await audited(demo, sandbox, truth) == []
    known = people_truth.read(tmp_path / "truth.jsonl")
    totals = known.totals()
    assert totals["friendships"] > 15
    assert totals["granted"] > 25
    assert totals["refused"].keys() >= {"quota_customer"}
    assert totals["tricks"] == sum(each.refused for one in known.customers.values() for each in one.tricks) > 0
    assert known.forged.accepted == 0 < known.forged.sent
    assert totals["unanswered"] == 0
    _the_bank_was_played(known)
    result = await asyncio.to_thread(command, demo, tmp_path / "truth.jsonl")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "everything is as it should be")
    await _lies_are_found(demo, sandbox, truth, tmp_path / "truth.jsonl")


def _the_bank_was_played(known: people_truth.Truth) -> None:
    """Customers of the bank told of themselves before they were known, and afterwards."""
    people = [one for one in known.customers.values() if one.bank is not None]
    events = [event for one in people if one.bank for event in one.bank.events]
    assert len(people) > 12
    assert len(events) > 30
    assert {event.state for event in events} == {"accepted"}
    assert {one.bank.by for one in people if one.bank} >= {"phone", "number"}
    assert [each for one in people for each in one.tricks if (each.trick, each.status) == ("forged_event", 401)]


def command(services: Services, file: Path) -> Any:
    import manage

    return CliRunner().invoke(manage.app, ["audit", "truth", str(file)], env=environment(services.settings))


async def _lies_are_found(services: Services, sandbox: Sandbox, truth: truth_file.Truth, file: Path) -> None:
    """Each lie that is planted in the store, or in what is said, is a difference; nothing else is."""
    db = services.store.tenant("demo")
    friend = next(one for one in truth.customers if one.friends)
    granted = next(one for one in truth.customers if one.granted)
    row_id = identity_id(await open_bank(services, "demo"), "external_userid", friend.external_userid)
    row = await db["identities"].find_one({"_id": row_id})
    assert row is not None
    follows = await db["relationships"].find({"active": True, "cid": row["cid"]})
    assert len(follows) == len(friend.friends)

    async def what() -> set[tuple[str, str]]:
        return {(one["what"], one["whose"]) for one in await audited(services, sandbox, truth)}

    await db["relationships"].delete({"_id": follows[0]["_id"]})
    assert await what() == {("friendships differ", friend.id)}
    result = await asyncio.to_thread(command, services, file)
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "1 differences")
    await db["relationships"].insert_new(follows)
    assert await what() == set()

    grant_id = f"demo:{granted.granted[0].redemption}"
    grant = await db["transfers"].find_one({"_id": grant_id})
    assert grant is not None
    await db["transfers"].delete({"_id": grant_id})
    found = await what()
    assert ("an acknowledged claim is not in the ledger", granted.id) in found
    assert ("the ledger does not hold", "") in found
    await db["transfers"].insert_new([grant])
    assert await what() == set()

    await _lies_about_the_bank(services, truth, what)

    twice = next(one for one in truth.customers if one.logins > 1)
    twice.logins += 3
    twice.login_tries += 3
    assert await what() == {("points for signing in differ", twice.id)}
    twice.logins -= 3
    twice.login_tries -= 3
    untold = granted.granted.pop()
    assert await what() == {("granted, and never acknowledged", granted.id)}
    granted.granted.append(untold)
    truth.forged.external_userids.append(friend.external_userid)
    assert await what() == {("a forged customer is known", "")}


async def _lies_about_the_bank(services: Services, truth: truth_file.Truth, what: Any) -> None:
    bank = await open_bank(services, "demo")
    customers = [one for one in truth.customers if one.bank is not None and one.bank.events]
    ids = {event_id("demo", "core", event.id): one for one in customers for event in one.bank.events}
    rows = [row for row in (await bank.by_id("bank_events", list(ids))).values() if "cid" in row]
    row, events = rows[0], bank.db["bank_events"]
    whose = ids[row["_id"]]
    tally = {"cid": row["cid"], "name": row["name"]}
    waits = next(one for one in customers if one.bank.by == "number")
    told, birthday = whose.bank.fields, whose.bank.fields["birthday"]
    await events.delete({"_id": row["_id"]})
    told["birthday"] = "1900-01-01"
    waits.bank.told["accepted"] += 10
    assert await what() == {
        ("an accepted event is not there", whose.id),
        ("counts of events differ", whose.id),
        ("birthday differs", whose.id),
        ("values do not wait for him", waits.id),
    }
    told["birthday"] = birthday
    waits.bank.told["accepted"] -= 10
    await events.insert_new([{**row, "cid": "somebody-else"}])
    await bank.db["event_tallies"].update(tally, {"$inc": {f"days.{row['day']}": 1}})
    assert await what() == {("an event is not his", whose.id), ("counts of events differ", whose.id)}
    await events.update({"_id": row["_id"]}, {"$set": {"cid": row["cid"]}})
    await bank.db["event_tallies"].update(tally, {"$inc": {f"days.{row['day']}": -1}})
    assert await what() == set()


async def test_a_population_that_was_stopped_goes_on_where_it_was(
    demo: Services, sandbox: Sandbox, stack: Stack, tmp_path: Path
) -> None:
    file, log = tmp_path / "truth.jsonl", tmp_path / "people.log"
    numbers = ["--customers", "16", "--seed", "5", "--rate", "30", "--hunters", "0.3", "--out", str(file)]
    command = [sys.executable, "-m", "sandbox.people", "--sandbox", sandbox.url, "--portal", stack.url, *numbers]
    loop = asyncio.get_running_loop()

    async def begun() -> subprocess.Popen[bytes]:
        return await loop.run_in_executor(_STARTER, lambda: spawn(command, log=log))

    async def ended(process: subprocess.Popen[bytes]) -> int:
        try:
            return await asyncio.to_thread(process.wait, 90.0)
        finally:
            end(process)

    async def some() -> bool:
        return bool(await demo.store.tenant("demo")["transfers"].count({"kind": "grant"}))

    process = await begun()
    await until(some, 60.0)
    process.send_signal(signal.SIGINT)
    assert await ended(process) == 0, log.read_text(encoding="utf-8")
    half = people_truth.read(file)
    assert not half.head.finished
    assert half.head.done > 0
    assert "stopped; --resume goes on" in log.read_text(encoding="utf-8")
    command.append("--resume")
    assert await ended(await begun()) == 0, log.read_text(encoding="utf-8")
    assert "all is done" in log.read_text(encoding="utf-8")
    head = people_truth.read(file).head
    assert head.finished
    assert (head.done, head.plan) == expected(head)
    truth = truth_file.read(file)
    assert {one.id for one in truth.customers} >= {f"c{number}" for number in range(16)}
    assert await audited(demo, sandbox, truth) == []


def expected(head: people_truth.Head) -> tuple[int, str]:
    """How many steps there are, and their digest, when nobody stops."""
    digest, steps = plan.Digest(), list(plan.schedule(head.seed, head.customers, head.hunters, head.stage))
    for step in steps:
        digest.add(step)
    return len(steps), digest.hex()


def person_of_file(number: str, **known: Any) -> truth_file.Customer:
    blank: dict[str, Any] = dict.fromkeys(("person", "external_userid", "unionid", "phone"), "")
    lists = ("signed_in", "begun", "ended", "friends", "groups", "granted", "unanswered", "subscribed", "tricks")
    blank |= {name: [] for name in lists} | {"openids": {}, "bound": False, "id": number}
    return truth_file.Customer.model_validate({**blank, **known})


async def test_what_is_wrong_with_people_redemptions_tricks_and_forgeries_is_named(
    demo: Services, sandbox: Sandbox
) -> None:
    appid = "wx5ab0000000000001"
    for facts in (
        resolution.Facts(external_userid="wm-one"),
        resolution.Facts(openids={appid: "o-one"}),
        resolution.Facts(external_userid="wm-two", openids={appid: "o-two"}),
    ):
        await resolution.identify(await open_bank(demo, "demo"), facts)
    had = {"reward": "acq-branch.coffee", "key": "k", "redemption": "r"}
    people_ = [
        person_of_file("c0", external_userid="wm-nobody", signed_in=[appid]),
        person_of_file("c1", external_userid="wm-one", openids={appid: "o-one"}),
        person_of_file(
            "c2", external_userid="wm-two", granted=[had, {**had, "redemption": "s"}], bound=True, phone="13800000001"
        ),
        person_of_file("c3", openids={appid: "o-two"}),
        person_of_file("c4", granted=[had], tricks=[{"trick": "replayed_code", "status": 200, "refused": False}]),
    ]
    truth = truth_file.Truth(people_, truth_file.Forged(accepted=1, external_userids=[]))
    found = [(one["what"], one["whose"]) for one in await audited(demo, sandbox, truth)]
    assert sorted(found) == [
        ("a customer is unknown", "c0"),
        ("a trick worked: replayed_code", "c4"),
        ("an acknowledged claim is not in the ledger", "c2"),
        ("an acknowledged claim is not in the ledger", "c2"),
        ("an acknowledged claim is not in the ledger", "c4"),
        ("forged callbacks were accepted", ""),
        ("one key was answered with two redemptions", "c2"),
        ("one person is several customers", "c1"),
        ("one redemption was told to two", "c4"),
        ("the bound phone is not the customer's", "c2"),
        ("two persons are one customer", "c3"),
    ]


async def test_work_that_does_not_end_is_named_by_its_reason(demo: Services, sandbox: Sandbox) -> None:
    rows = demo.store.tenant("demo")["outbox"]
    waiting = {"lane": "effects", "due": 9e9, "kind": "tag", "open": True}
    await rows.insert_new([{**waiting, "_id": f"demo:{n}", "reason": "defer:45009"} for n in range(3)])
    found, _ = await audit_truth.compare(demo, "demo", truth_file.Truth(), sandbox.url, patience=0.0)
    assert found == [audit_truth.Difference("outbox still has work", "", "none", "3 tag defer:45009")]


def test_a_file_that_was_cut_short_is_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    file.write_text('{"kind": "people"}\n{"kind": "forged", "accepted": 0, "external_userids": []}\n', encoding="utf-8")
    with pytest.raises(DeployError, match="totals, is missing"):
        truth_file.read(file)
    file.write_text('{"kind": "people"}\n{"kind": "customer", "id": "c0"}\n', encoding="utf-8")
    with pytest.raises(DeployError, match=r"truth\.jsonl:2: not a line"):
        truth_file.read(file)
