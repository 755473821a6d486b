"""A host's mirror is made, follows what changes, goes on where it was, and has one writer."""

from __future__ import annotations

import asyncio
import json
import platform
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from customers.alerts import alarms
from customers.banks import apply
from customers.banks.bank import Bank, open_bank
from customers.columnar import folder as folders
from customers.columnar import keeping, reading
from customers.profiles.rows import PROFILES
from customers.rules.tree import Constant, Member
from customers.segments import estimate
from deploy.parts import environment
from deploy.processes import ROOT
from operations import columnar, comparing
from services.container import Services
from services.errors import Unavailable
from tests.conftest import DEMO_BANK
from tests.support.commands import manage
from tests.support.waiting import until

NO_CLERKS = "\n".join(line for line in DEMO_BANK.read_text(encoding="utf-8").splitlines() if "login:" not in line)
BANK = NO_CLERKS.replace("clerks:\n", "").replace("counters:\n", "")
OTHER = BANK.replace("id: demo\n", "id: zzz\n", 1).replace("wx5ab", "wx6ab")
EVERYBODY = Constant(text="", column=1, value=True)


@pytest.fixture
async def bank(services: Services) -> Bank:
    await apply.apply_tenant(services, BANK, "bank.yaml")
    return await open_bank(services, "demo")


@asynccontextmanager
async def _kept(services: Services) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(columnar.run(services, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _put(bank: Bank, *numbers: int, **said: Any) -> None:
    rows = [{"_id": _cid(bank, n), "seq": 1, "fields": {"n": n}, "tags": [], "rms": [], **said} for n in numbers]
    assert not await bank.db[PROFILES].insert_new(rows)


def _cid(bank: Bank, number: int) -> str:
    return f"{bank.id}:{number * 2**120:032x}"


async def _count(bank: Bank, tag: str = "") -> int | None:
    tree = Member(text="", column=1, function="tag", value=tag, titles={}) if tag else EVERYBODY
    found = await reading.count(bank, tree, 0)
    return None if found is None else found.count


async def _until(bank: Bank, wanted: int, tag: str = "") -> None:
    async def holds() -> bool:
        return await _count(bank, tag) == wanted

    await until(holds, 30.0)


def _line(bank: Bank) -> str:
    state = reading.folder_of(bank).read()
    assert state is not None
    return state.line


async def test_it_is_made_follows_what_changes_and_goes_on_where_it_was(bank: Bank, services: Services) -> None:
    await apply.apply_tenant(services, OTHER, "bank.yaml")
    other = await open_bank(services, "zzz")
    await _put(bank, 1, 2, 3)
    async with _kept(services):
        await _until(bank, 3)
        await _put(bank, 4, tags=["vip"])
        await _put(other, 7, 8, tags=["vip"])
        await bank.db[PROFILES].update({"_id": _cid(bank, 1)}, {"$set": {"tags": ["vip"]}})
        await bank.db[PROFILES].delete({"_id": _cid(bank, 2)})
        await _until(bank, 2, "vip")
        await _until(bank, 3)
        await _until(other, 2, "vip")
    line, left = _line(bank), reading.folder_of(bank).path / "block-of-who-was-killed"
    left.write_bytes(b"")
    await _put(bank, 5, 6, tags=["vip"])
    await bank.db[PROFILES].delete({"_id": _cid(bank, 1)})
    async with _kept(services):
        await _until(bank, 4)
        await _until(bank, 3, "vip")
    assert _line(bank) == line
    assert not left.exists()


async def test_where_changes_are_lost_or_a_file_is_damaged_it_is_made_anew(bank: Bank, services: Services) -> None:
    await _put(bank, 1, 2, 3)
    async with _kept(services):
        await _until(bank, 3)
    line, followed = _line(bank), services.settings.mirror_dir / "followed"
    followed.write_text(json.dumps({"line": line, "token": {"_data": "00"}}))
    await bank.db[PROFILES].delete({"_id": _cid(bank, 1)})
    async with _kept(services):
        await _until(bank, 2)
        assert _line(bank) != line
        folder = reading.folder_of(bank)
        (folder.path / folders.CURRENT).write_bytes(b"")
        await until(lambda: _is_whole(bank))
        for file in folder.path.glob("block-*"):
            file.write_bytes(file.read_bytes()[:-8])
        services.cache.clear()
        await _until(bank, 2)


async def _is_whole(bank: Bank) -> bool:
    try:
        return reading.folder_of(bank).read() is not None
    except folders.Damaged:
        return False


async def test_one_of_two_keeps_it_and_the_other_goes_on(bank: Bank, services: Services, second: Services) -> None:
    await _put(bank, 1)
    root = services.settings.mirror_dir
    async with _kept(second):
        async with _kept(services):
            await _until(bank, 1)
            with folders.lock(root) as mine:
                assert not mine
        await _put(bank, 2)
        await _until(bank, 2)
    with folders.lock(root) as mine:
        assert mine


async def test_what_fails_at_one_bank_is_told_and_holds_up_no_other(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply.apply_tenant(services, OTHER, "bank.yaml")
    later, real = await open_bank(services, "zzz"), keeping.rebuild

    def rebuild(at: Bank, *rest: Any) -> Any:
        if at.id == bank.id:
            raise ValueError
        return real(at, *rest)

    monkeypatch.setattr(keeping, "rebuild", rebuild)
    monkeypatch.setattr(columnar, "REST_SECONDS", 0.1)
    await _put(later, 1)
    async with _kept(services):
        await _until(later, 1)
        await until(lambda: bank.db[alarms.ALARMS].count({"kind": "work.failed", "data.work": "mirror"}))
        monkeypatch.setattr(keeping, "rebuild", real)
        await _until(bank, 0)


async def _is_said(bank: Bank) -> bool:
    return (reading.folder_of(bank).path / "right").exists()


async def test_what_failed_is_swept_before_it_is_tried_again(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, path = keeping.apply, reading.folder_of(bank).path
    failing, found = iter(range(3)), list[int]()

    async def apply_changes(*given: Any) -> None:
        for number in failing:
            found.append(len(list(path.glob("block-that-*"))))
            (path / f"block-that-failed-{number}").write_bytes(b"")
            raise OSError
        await real(*given)

    monkeypatch.setattr(columnar, "REST_SECONDS", 0.1)
    monkeypatch.setattr(keeping, "apply", apply_changes)
    async with _kept(services):
        await until(lambda: _is_said(bank), 30.0)
        await _put(bank, 1)
        await _until(bank, 1)
    assert found == [0, 0, 0]
    assert await bank.db[alarms.ALARMS].count({"kind": "work.failed", "data.work": "mirror"}) == 1


async def test_commands_make_it_anew_beside_who_keeps_it_and_compare_it(bank: Bank, services: Services) -> None:
    await _put(bank, *range(1, 40), tags=["vip"], events={"a/b": {"n": 2, "first": 1.0, "days": {"20000": 2}}})
    settings = services.settings
    told = await asyncio.to_thread(manage, settings, "profiles", "mirror", "check")
    assert (told.returncode, "no mirror" in told.stderr) == (1, True)
    told = await asyncio.to_thread(manage, settings, "segment", "estimate", "customer.bound")
    assert "0 customers meet it, counted in the database" in told.stdout
    told = await asyncio.to_thread(manage, settings, "profiles", "mirror", "rebuild")
    assert "demo: 39 customers are in the mirror of this host" in told.stdout
    line = _line(bank)
    async with _kept(services):
        await _put(bank, 40)
        await _until(bank, 40)
        assert _line(bank) == line  # what the command began is gone on with
        told = await asyncio.to_thread(manage, settings, "profiles", "mirror", "rebuild")
        assert "demo: 40 customers" in told.stdout
        await _put(bank, 41)
        await _until(bank, 41)
        assert _line(bank) == line
        told = await asyncio.to_thread(manage, settings, "segment", "estimate", "not customer.bound")
        assert "0 customers meet it, counted in the columnar mirror, " in told.stdout
        told = await asyncio.to_thread(manage, settings, "profiles", "mirror", "check")
        assert (told.returncode, "the mirror is as the database says" in told.stdout) == (0, True)


KILLED = """
import os, signal
from customers.columnar import keeping
from customers.columnar.folder import Folder

keeping.AIM, kept, note = 10, [], Folder.note_made

def killed(folder, making):
    note(folder, making)
    kept.append(making)
    if len(kept) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

Folder.note_made = killed

import manage
manage.app(["profiles", "mirror", "rebuild"])
"""


@pytest.mark.parametrize("followed", [True, False])
async def test_a_command_that_was_killed_goes_on_where_it_was_and_misses_no_change(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch, followed: bool
) -> None:
    """While the changes are followed; else it begins anew."""
    monkeypatch.setattr(keeping, "AIM", 10)
    await _put(bank, *range(0, 240, 6))
    environ = environment(services.settings)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED], env=environ, cwd=ROOT, timeout=60.0, check=False
    )
    assert done.returncode == -signal.SIGKILL
    file = services.settings.mirror_dir / "followed"
    line = json.loads(file.read_text())["line"]
    kept = reading.folder_of(bank).made_so_far(line)
    assert kept is not None
    assert await _count(bank) is None
    await bank.db[PROFILES].update({"_id": _cid(bank, 6)}, {"$set": {"tags": ["vip"]}})
    await bank.db[PROFILES].delete({"_id": _cid(bank, 0)})
    await _put(bank, 1, 239, tags=["vip"])
    if not followed:
        file.write_text(json.dumps({"line": line, "token": {"_data": "00"}}))
    await _rebuilt(bank)
    state = reading.folder_of(bank).read()
    assert state is not None
    assert ({part.name for part in kept.parts} <= {part.name for part in state.parts}) is followed
    assert (state.line == line) is followed
    async with _kept(services):
        await _until(bank, 41)
        await _until(bank, 3, "vip")
    monkeypatch.setattr(comparing, "SETTLE_SECONDS", 0.0)
    assert await _compared(bank) == []


async def test_comparing_finds_what_the_mirror_missed(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "SETTLE_SECONDS", 0.0)
    await _put(bank, *range(1, 10), tags=["vip"])
    await _rebuilt(bank)
    assert await _compared(bank) == []
    await bank.db[PROFILES].update({"_id": _cid(bank, 3)}, {"$set": {"tags": ["gold"], "bound": False}})
    await bank.db[PROFILES].delete({"_id": _cid(bank, 4)})
    assert await _compared(bank) == [
        "all customers: 9 in the mirror, 8 in the database",
        f"{_cid(bank, 3)}: bound flag, tags list",
        f"{_cid(bank, 4)}: fields.n number, tags list",
    ]
    folder = reading.folder_of(bank)
    folder.drop()
    with pytest.raises(Unavailable, match="mirror_stale"):
        await _compared(bank)
    with folder.locked() as mine, pytest.raises(Unavailable, match="mirror_busy"):
        await _rebuilt(bank)
    assert mine
    assert (await estimate.estimate(bank, EVERYBODY)).mirror_age is None


async def test_somebody_is_told_of_a_mirror_that_is_late(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await columnar.health(services) == "none here"
    await _put(bank, 1)
    await _rebuilt(bank)
    assert await columnar.health(services) == "ok"
    await columnar.tell_if_late(bank)
    assert await bank.db[alarms.ALARMS].count({"kind": columnar.LATE}) == 0
    folder = reading.folder_of(bank)
    state = folder.read()
    assert state is not None
    folder.say_right(state, bank.now() - 700.0)
    monkeypatch.setattr(columnar, "WATCH_SECONDS", 0.01)
    watching = asyncio.create_task(columnar.watch(services))
    await until(lambda: bank.db[alarms.ALARMS].count({"kind": columnar.LATE}))
    watching.cancel()
    await columnar.tell_if_late(bank)
    (alarm,) = await bank.db[alarms.ALARMS].find({"kind": columnar.LATE})
    assert (alarm["data"]["host"], 700 <= alarm["data"]["seconds"] < 710) == (platform.node(), True)
    assert (await columnar.health(services)).endswith(" seconds old")
    await columnar.measure(services)
    assert _measured(services) == pytest.approx(700.0, abs=10.0)
    folder.drop()
    await columnar.measure(services)
    assert _measured(services) is None


def _measured(services: Services) -> float | None:
    return services.metrics.registry.get_sample_value("yinqiao_mirror_age_seconds", {"tenant": "demo"})


async def _rebuilt(bank: Bank) -> None:
    async for _ in columnar.rebuild(bank):
        pass


async def _compared(bank: Bank) -> list[str]:
    return [told async for step in comparing.compare(bank) for told in step.told]
