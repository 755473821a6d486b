"""`manage.py why` and `manage.py events`, run as an operator runs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from services.container import Services
from services.queue.inbox import Arrival, receive
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import commands, jobs
from tests.support.banks import open_bank

Manage = Callable[..., commands.Ended]


@pytest.fixture
def manage(demo: Services) -> Manage:
    return partial(commands.manage, demo.settings)


async def test_why_says_what_was_decided_called_and_answered(
    manage: Manage, demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person, _ = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    short = row["_id"].removeprefix("demo:")[:8]
    shown = manage("why", short)
    assert (shown.returncode, shown.stderr) == (0, "")
    for text in (
        "customer added: handled", row["_id"], "welcome   sent: done", "came through a live code of ours",
        "called /cgi-bin/externalcontact/get: 0", "campaign acq-branch, version 1: under way",
        "/cgi-bin/externalcontact/send_welcome_msg: 0",
    ):  # fmt: skip
        assert text in shown.stdout
    assert person["external_userid"] not in shown.stdout
    wrong = manage("why", "1234567")
    assert (wrong.returncode, wrong.stderr) == (1, "an event's id is at least 8 characters of 0-9 and a-f\n")
    nobody = manage("why", "0" * 64)
    assert (nobody.returncode, nobody.stderr) == (1, "no such event\n")


async def test_unknown_events_are_counted_and_those_set_aside_are_handled_again(manage: Manage, demo: Services) -> None:
    assert manage("events", "unknown").stdout == "every event so far is known\n"
    for n in range(3):
        message = f"<xml><ToUserName>ww1</ToUserName><Event>brand_new</Event><CreateTime>{n}</CreateTime></xml>"
        await receive(demo, Arrival("demo", "wecom", message.encode()))
    broken = Arrival("demo", "wecom", b"<xml><Event>enter_agent</Event></xml>")
    await receive(demo, broken)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    listed = manage("events", "unknown").stdout.splitlines()
    (line,) = [line for line in listed if "brand_new" in line]
    assert line.split("│")[1:3] == [" brand_new ", "      3 "]
    again = manage("events", "retry", broken.id)
    assert (again.returncode, again.stdout) == (0, f"{broken.id} is due again\n")
    twice = manage("events", "retry", broken.id)
    assert (twice.returncode, twice.stderr) == (1, "this event waits already, or was handled\n")
    row = await demo.store.tenant("demo")["inbox"].find_one({"_id": broken.id})
    assert row is not None
    assert (row["open"], row["attempts"]) == (True, 0)


async def test_events_are_listed_shown_and_tried_again_from_the_command_line(
    manage: Manage, demo: Services, tmp_path: Path
) -> None:
    messages = [b"not a word of markup, %d" % n for n in range(3)]
    for message in messages:
        await receive(demo, Arrival("demo", "wecom", message))
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    listed = manage("events", "list", "--state", "dead")
    assert (listed.returncode, listed.stdout.count("set aside")) == (0, 3)
    wrong = manage("events", "list", "--state", "everything")
    assert (wrong.returncode, wrong.stderr) == (1, "there is no such list of events\n")
    event = Arrival("demo", "wecom", messages[0]).id
    shown = manage("events", "show", event)
    assert "as it came, 23 bytes, masked:\n  n… a w… o… m…, 0" in shown.stdout
    saved = tmp_path / "message.bin"
    refused = manage("events", "show", event, "--save", str(saved))
    assert (refused.returncode, refused.stderr) == (1, "say what the message is needed for\n")
    manage("events", "show", event, "--save", str(saved), "--reason", "to mend the reader")
    assert (saved.read_bytes(), saved.stat().st_mode & 0o777) == (messages[0], 0o600)
    assert manage("events", "retry").returncode == 1
    again = manage("events", "retry", "--all")
    assert (again.returncode, again.stdout) == (0, "3 of 3 are due again\n")
    assert await demo.store.tenant("demo")["inbox"].count({"open": True, "attempts": 0}) == 3
    assert manage("events", "retry", "--all").stdout == "there is none\n"
    audited = await demo.store.tenant("demo")["audit"].find({"action": "event.retried"})
    assert [(row["object"], row["data"]["events"]) for row in audited] == [("dead", 3)]
