"""`manage.py customers link FILE`, run as an operator runs it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from config.settings import Settings
from customers.banks import apply
from customers.identity import resolution
from customers.identity.resolution import Facts
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.support import commands
from tests.support.banks import open_bank


async def test_a_file_of_numbers_is_linked_and_what_was_not_is_named(
    settings: Settings, services: Services, tmp_path: Path
) -> None:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    cid = await resolution.identify(await open_bank(services, "demo"), Facts(external_userid="wm1"))
    file = tmp_path / "numbers.csv"
    file.write_text("number,external_userid\nC-1001,wm1\nC-2002,wm2\n", encoding="utf-8")
    done = await asyncio.to_thread(commands.manage, settings, "customers", "link", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{file}:3: unknown"
    assert (await resolution.customer(await open_bank(services, "demo"), cid)).number == "C-1001"
