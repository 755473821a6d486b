"""`manage.py list`: a file of customers goes in, the other lines into a file, and who is on the list comes out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config.settings import Settings
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.identity.facts import Facts
from customers.lists import keeping
from operations import profiling
from services.container import Services
from tests.support import commands
from tests.support.banks import open_bank
from tests.support.commands import Ended


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


async def test_a_list_is_made_filled_shown_written_out_and_archived(
    settings: Settings, bank: Bank, tmp_path: Path
) -> None:
    async def done(*words: str) -> Ended:
        return await asyncio.to_thread(commands.manage, settings, "list", *words)

    facts = Facts(external_userid="wm1", unionid="u1", name="欧阳娜娜")
    cid = await resolution.identify(bank, facts, source="callback", proof="e1")
    file, out = tmp_path / "event.csv", tmp_path / "out.csv"
    file.write_text("unionid\nu1\nu2\n", encoding="utf-8")
    named = ("--zh", "活动", "--en", "Event")
    assert (await done("create", "event", *named)).returncode == 0
    twice = await done("create", "event", *named)
    assert (twice.returncode, "there is a list event" in twice.stderr) == (1, True)
    half = await done("import", "event", str(file))
    assert (half.returncode, "1 customers were named" in half.stdout) == (1, True)
    lines = (tmp_path / "event.csv.errors.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines == ["line,why", "3,nobody is known by this"]
    file.write_text("unionid\nu1\n", encoding="utf-8")
    whole = await done("import", "event", str(file), "--mode", "replace")
    assert (whole.returncode, await keeping.count(bank, "event")) == (0, 1)
    shown = await done("show", "event")
    assert "replace" in shown.stdout
    await profiling.bring(bank, [cid])
    assert (await done("export", "event", str(out))).returncode == 0
    assert out.read_text(encoding="utf-8-sig").splitlines()[1:] == [f"{cid},,欧***,"]
    assert out.stat().st_mode & 0o077 == 0
    refused = await done("export", "event", str(out), "--clear")
    assert (refused.returncode, "say why" in refused.stderr) == (1, True)
    assert (await done("archive", "event", "--reason", "over")).returncode == 0
    again = await done("import", "event", str(file))
    assert (again.returncode, "archived" in again.stderr) == (1, True)
