"""`manage.py archive`: how it goes, and reading again what could not be read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from services.container import Services
from tests.conftest import Sandbox
from tests.integration.customers import archived
from tests.support import commands

Manage = Callable[..., commands.Ended]


@pytest.fixture
def manage(demo: Services) -> Manage:
    return partial(commands.manage, demo.settings, "archive")


async def test_a_bank_without_an_archive_is_told_so(manage: Manage) -> None:
    told = manage("status")
    assert (told.returncode, told.stderr) == (1, "this bank has no message archive in its file\n")


async def test_what_a_later_key_opens_is_read_again(manage: Manage, demo: Services, sandbox: Sandbox) -> None:
    await archived.give_key(sandbox, 1)
    await archived.apply(demo, sandbox, private_keys={})
    await archived.say(sandbox, await archived.friend(sandbox), "您好")
    await archived.pull(demo)
    told = manage("status")
    assert (told.returncode, told.stderr) == (0, "")
    assert "newest message: number 1" in told.stdout
    assert "archive_key_unknown" in told.stdout
    still = manage("retry")
    assert (still.returncode, still.stdout) == (1, "0 messages are read now, 1 are still kept unread\n")
    await archived.apply(demo, sandbox)
    again = manage("retry")
    assert (again.returncode, again.stdout) == (0, "1 messages are read now, 0 are still kept unread\n")
    assert await archived.texts(demo) == ["您好"]
