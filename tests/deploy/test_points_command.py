"""`manage.py points`: the programme from a file, and what the bank owes, run in this process."""

from __future__ import annotations

import asyncio
import csv
import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.settings import Settings
from customers.banks import apply
from manage import app
from rewards.points import program
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.integration.rewards import points_world
from tests.support.banks import open_bank
from tests.support.waiting import until


async def test_a_programme_is_applied_once_and_its_liability_is_told(
    services: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("deploy.terminal.settings", lambda: settings)
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)

    async def points(*words: str) -> tuple[int, str]:
        def run() -> tuple[int, str]:
            done = CliRunner().invoke(app, ["points", *words], env={"COLUMNS": "200"})
            return done.exit_code, " ".join(done.output.split())

        return await asyncio.to_thread(run)

    bank = await open_bank(services, "demo")
    assert await points("liability") == (1, "this bank has no points programme")
    file = tmp_path / "points.yaml"
    file.write_text(json.dumps(points_world.document(lifetime="soon")), encoding="utf-8")
    status, said = await points("apply", str(file))
    assert (status, f"{file}:" in said.replace(" ", ""), await program.holding(bank)) == (1, True, (0, None))
    file.write_text(json.dumps(points_world.document()), encoding="utf-8")
    assert await points("apply", str(file)) == (0, "points programme points: version 1 is live")
    assert await points("apply", str(file)) == (0, "points programme points: version 1 is this programme already")
    assert (await bank.db["audit"].find({"action": "points.approved"}))[0]["actor"].startswith("cli:")

    expires = bank.utc() + timedelta(days=40)
    await points_world.give(bank, await points_world.person(bank, "ann"), 70, expires)
    await points_world.give(bank, await points_world.person(bank, "bo"), 1_430, None)
    await until(lambda: points_world.settled(bank))
    to = tmp_path / "liability.csv"
    status, said = await points("liability", "--csv", str(to))
    assert (status, f"written to {to}" in said, "Yinqiao Points" in said) == (0, True, True)
    rows = list(csv.reader(to.read_text(encoding="utf-8-sig").splitlines()))
    month = f"{(expires.astimezone(bank.tz) - timedelta(seconds=1)):%Y-%m}"
    assert rows[:4] == [
        ["month", "points", "accounts", "cost_fen"],
        [month, "70", "1", "56"],
        ["later", "1430", "1", "1144"],
        ["total", "1500", "2", "1200"],
    ]
