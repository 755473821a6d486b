"""`manage.py limits`: what is used and closed from the command line, and the lifting of it."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from config.settings import Settings
from manage import app
from services.container import Services
from services.errors import YinqiaoError
from services.wechat.core.errors import SlowDown
from tests.support.banks import open_bank

TAG = "/cgi-bin/externalcontact/mark_tag"


async def _closed(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    with pytest.raises(YinqiaoError):
        async with demo.platform.limiter.passing("wecom", bank.wecom_app.corp_id, TAG, 1.0):
            raise SlowDown(45009, "reach max api daily quota limit, hint: [1_2_3], from ip: 1.2.3.4", TAG)


async def test_the_command_lists_and_lifts(demo: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.terminal.settings", lambda: settings)
    await _closed(demo)

    def manage(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["limits", *words], env={"COLUMNS": "160"})
        return done.exit_code, " ".join(done.output.split())

    status, said = await asyncio.to_thread(manage)
    assert status == 0
    assert "Tagging of customers is closed since" in said
    assert "45009 reach max api daily quota limit refused 1 times, no probe yet" in said
    assert f"limits lift wecom:{TAG}" in said
    assert "/ 10,000 a minute" in said
    assert (await asyncio.to_thread(manage, "lift", f"wecom:{TAG}"))[0] == 2
    status, said = await asyncio.to_thread(manage, "lift", f"wecom:{TAG}", "--reason", "a mistake of theirs")
    assert (status, "is open again" in said) == (0, True)
    assert (await asyncio.to_thread(manage, "lift", TAG, "--reason", "again"))[0] == 1
    (row,) = await demo.store.tenant("demo")["audit"].find({"action": "platform.lifted"})
    assert row["actor"].startswith("cli:")
