"""`manage.py tags`: every tag with who has and who uses it, run in this process."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from campaigns.corp_tags import desk
from config.settings import Settings
from customers.actors import ClerkActor
from manage import app
from services.container import Services
from tests.conftest import Sandbox
from tests.support.banks import open_bank

LIN = ClerkActor("demo", "lin", "林晓", frozenset())


async def test_every_tag_is_listed_with_who_uses_it(
    demo: Services, settings: Settings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.terminal.settings", lambda: settings)
    bank = await open_bank(demo, "demo")
    await sandbox.control("POST", "strategies", {"strategy_id": 7})
    await desk.create(bank, LIN, "来源", ["一线"])
    await desk.create(bank, LIN, "南山", ["新客"], 7)
    done = await asyncio.to_thread(CliRunner().invoke, app, ["tags", "list"], env={"COLUMNS": "200"})
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.output.splitlines() if "│" in line]
    assert (done.exit_code, done.output.splitlines()[0].strip()) == (0, "2 tags")
    assert lines == [["来源", "一线", "", "0", "acq-branch"], ["南山", "新客", "7", "0", ""]]
