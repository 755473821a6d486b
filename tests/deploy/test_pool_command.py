"""`manage.py pool …`, run as an operator runs it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from config.settings import Settings
from customers.banks import apply
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.integration.rewards import pool_world
from tests.support import commands
from tests.support.banks import open_bank


async def test_codes_are_imported_shown_and_taken_back(settings: Settings, services: Services, tmp_path: Path) -> None:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)

    async def manage(*words: str) -> tuple[int, str]:
        done = await asyncio.to_thread(commands.manage, settings, "pool", *words)
        return done.returncode, done.stdout + done.stderr

    assert await manage("create", "tea", "茶券", "--low", "2") == (0, "pool tea is there\n")
    file = tmp_path / "codes.csv"
    file.write_bytes(pool_world.file(1_200) + b"\nKOPI000000\n")
    status, said = await manage("import", str(file), "--pool", "tea")
    assert status == 1
    assert f"{file}:1202: the code stands in the file already, on line 2" in said.replace("\n", "").replace("  ", " ")
    status, said = await manage("import", str(file), "--pool", "tea", "--skip-bad-lines")
    assert (status, "1,200 codes are in pool tea" in said) == (1, True)
    status, said = await manage("import", str(file), "--pool", "tea")
    assert "this file was sent before" in said
    status, said = await manage("show", "tea")
    assert status == 0
    assert "1200" in said.replace(",", "")
    status, said = await manage("recall", "tea", "--reason", "returned", "--what", "all")
    assert (status, said) == (0, "1,200 codes were taken back from pool tea\n")
    bank = await open_bank(services, "demo")
    assert await pool_world.counts(bank, "tea") == pool_world.counted(1_200, 0, recalled=1_200)
    status, said = await manage("import", str(file), "--pool", "nowhere")
    assert (status, "no code pool nowhere" in said) == (1, True)
