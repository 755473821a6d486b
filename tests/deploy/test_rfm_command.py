"""`manage.py rfm`: ranking now, and where the fifths end, run in this process."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from config.settings import Settings
from customers.rfm import asking
from manage import app
from services.container import Services
from tests.integration.customers.test_rfm import fifths, happened, person
from tests.support.banks import open_bank


async def test_customers_are_ranked_by_the_command_without_a_worker(
    demo: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.terminal.settings", lambda: settings)
    monkeypatch.setattr(asking, "SETTLE_SECONDS", 0.0)
    bank = await open_bank(demo, "demo")
    cids = [await person(bank, number) for number in range(6)]
    for place, cid in enumerate(cids[:5]):
        await happened(bank, cid, "payment.made", {0: (1, 100 * place)})

    async def command(*said: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["rfm", *said], env={"COLUMNS": "200"})
        return done.exit_code, done.output

    status, said = await command("rank")
    assert (status, said.splitlines()[-1]) == (0, "demo: 5 customers are ranked; 5 of them moved")
    assert await fifths(bank) == {cid: (1, 1, place + 1) for place, cid in enumerate(cids[:5])}
    status, said = await command("show")
    assert status == 0
    assert "5 customers, ranked at " in said
    row = next(line for line in said.splitlines() if "value: yuan" in line)
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["0.00", "1.00", "2.00", "3.00"]
