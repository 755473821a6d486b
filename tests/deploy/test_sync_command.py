"""`manage.py sync`: begin, look on, try again, cancel."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest

from config.settings import Settings
from customers.wecom_mirror.sync import Problem, keep_problems
from deploy.parts import Parts, environment
from deploy.processes import ROOT
from operations.sync import run as syncing
from services.container import Services
from tests.conftest import Sandbox
from tests.support import commands
from tests.support.banks import open_bank

Manage = Callable[..., commands.Ended]


@pytest.fixture
def manage(demo: Services) -> Manage:
    return partial(commands.manage, demo.settings, "sync")


async def test_a_sync_is_begun_watched_and_over(manage: Manage, worker: Parts, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "people/bulk", {"count": 120, "seed": 3})
    watched = manage("--watch")
    assert (watched.returncode, watched.stderr) == (0, "")
    assert "demo: sync 1 has begun" in watched.stdout
    assert "sync 1: done" in watched.stdout
    status = manage("status")
    assert "friendships" in status.stdout
    assert "120" in status.stdout


async def test_a_second_one_joins_and_cancelling_ends_it(manage: Manage, demo: Services) -> None:
    assert "sync 1 has begun" in manage("--part", "tags").stdout
    assert "sync 1 is running already" in manage().stdout
    assert manage("cancel").stdout == "demo: sync 1 is cancelled\n"
    again = manage("cancel")
    assert (again.returncode, again.stderr) == (1, "no sync is running\n")
    wrong = manage("--part", "money")
    assert wrong.returncode == 1
    assert "no part money; there is departments" in wrong.stderr


def _hears_ctrl_c() -> None:
    """What a terminal starts does; what a shell starts in the background, such as these tests, need not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def test_ctrl_c_ends_the_looking_on_and_not_the_work(settings: Settings, demo: Services) -> None:
    command = [sys.executable, "-u", "manage.py", "sync", "--watch"]
    looking = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment(demo.settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_hears_ctrl_c,
    )
    assert looking.stdout is not None
    assert b"has begun" in await asyncio.wait_for(looking.stdout.readline(), 60.0)
    looking.send_signal(signal.SIGINT)
    told, _ = await asyncio.wait_for(looking.communicate(), 60.0)
    row = await syncing.latest(await open_bank(demo, "demo"))
    assert row is not None
    assert row["open"] is True
    assert "sync status --watch" in told.decode()


async def test_what_failed_is_tried_again_one_by_one(manage: Manage, demo: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    part = syncing.PARTS["customers"]
    failed = [Problem(person["external_userid"], "internal"), Problem("wmNobody000000000000000000000001", "internal")]
    await keep_problems(await open_bank(demo, "demo"), part, failed)
    status = manage("status").stdout
    assert person["external_userid"] not in status
    tried = manage("retry", "all")
    assert tried.returncode == 1
    assert sorted(line.split(": ")[1] for line in tried.stdout.splitlines()) == ["failed again", "mended"]
    assert await demo.store.tenant("demo")["sync_errors"].count() == 1
    assert "no such error" in manage("retry", "0" * 32).stderr
