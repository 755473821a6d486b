"""Files with all that can be wrong in them, killed in the middle: what is good is in once, and the rest is told by line."""

from __future__ import annotations

import asyncio
import csv
import signal
import sys
from pathlib import Path
from typing import cast

import pytest

from config.settings import Settings
from customers.banks.bank import Bank
from customers.intake import files, lines, receiving
from customers.intake.rows import BANK_EVENTS, EVENTS, INTAKE, INTAKE_FILES, IntakeRow
from customers.intake.splitting import event_id
from deploy.parts import environment
from deploy.processes import ROOT
from services.container import Services
from tests.support import broken_files
from tests.support.bank_systems import split
from tests.support.banks import open_bank
from tests.support.broken_files import Refused, Truth

FLAT_MB = 24
"""So much more memory may a file take in all than until its first lines are in."""


async def process(settings: Settings, path: Path, killed_at: int = 0) -> tuple[int, str]:
    """The command in a process of its own: how it ended, and what it said."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.importer", str(path), str(killed_at),
        cwd=ROOT, env=environment(settings), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said = (await started.communicate())[0].decode()
    return started.returncode or 0, said


async def take(bank: Bank, path: Path) -> files.Result:
    return await files.take(bank, lines.look(path), files.Order(EVENTS, "core", errors_of(path)))


def errors_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.errors.csv")


async def stored(bank: Bank) -> set[str]:
    """The ids of all events that came in."""
    found: set[str] = set()
    async for row in bank.db[INTAKE].scan({"open": True}):
        found.update(one["id"] for one in receiving.items_of(bank, cast("IntakeRow", row)))
    return found


async def events(bank: Bank) -> set[str]:
    """The events that are there when all requests are split."""
    while await bank.db[INTAKE].count({"open": True}):
        await split(bank)
    return {row["_id"] async for row in bank.db[BANK_EVENTS].scan({}, {"_id": 1})}


def refused(path: Path) -> list[Refused]:
    with errors_of(path).open(encoding="utf-8-sig", newline="") as file:
        return [(int(row["line"]), row["code"], row["field"]) for row in csv.DictReader(file)]


async def brought(bank: Bank, path: Path, truth: Truth) -> None:
    """What the file says is in, and adds nothing when it comes again."""
    first = await take(bank, path)
    assert (first.accepted, first.refused) == (truth.accepted, len(truth.refused))
    assert refused(path) == truth.refused
    assert (await take(bank, path)).again
    assert refused(path) == truth.refused


async def broken(settings: Settings, bank: Bank, folder: Path, number: int) -> tuple[set[str], str]:
    """A file that is killed in the middle, and tables of some of its events and of others; the good events' ids, and
    what the command said of the file."""
    path = folder / "events.jsonl"
    truth = broken_files.json_lines(path, number)
    ended, _ = await process(settings, path, killed_at=number * 6 // 10)
    assert ended == -signal.SIGKILL
    half = await bank.db[INTAKE_FILES].find_one({"done": False})
    assert half is not None
    assert 0 < half["accepted"] < truth.accepted
    ended, said = await process(settings, path)
    assert ended == 1
    await brought(bank, path, truth)
    good, beside = set(truth.good), number // 40
    for table, there in broken_files.in_encodings(folder, range(number - beside, number + beside)):
        await brought(bank, table, there)
        good |= there.good
    assert await stored(bank) == good
    return good, said


async def test_what_is_good_in_a_broken_file_is_in_once_and_the_rest_is_told(
    settings: Settings, demo: Services, tmp_path: Path
) -> None:
    bank = await open_bank(demo, "demo")
    good, _ = await broken(settings, bank, tmp_path, 8_100)
    wanted = {event_id("demo", "core", one) for one in good}
    assert await events(bank) == wanted
    other = tmp_path / "other.csv"
    other.write_bytes((tmp_path / "gb18030-False.csv").read_bytes() + b"\r\n")
    assert not (await take(bank, other)).again
    assert await events(bank) == wanted


@pytest.mark.soak
async def test_of_a_million_lines_too_and_memory_stays_flat(settings: Settings, demo: Services, tmp_path: Path) -> None:
    _, said = await broken(settings, await open_bank(demo, "demo"), tmp_path, 1_000_000)
    first, most = map(int, said.split()[-2:])
    assert most - first <= FLAT_MB
