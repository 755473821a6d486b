"""What the tests of campaigns share: live campaigns, work done to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from campaigns.publishing import versions
from services.container import Services
from services.store.mongo import Doc
from services.texts import sentence
from tests.conftest import Sandbox
from tests.support import jobs
from tests.support.banks import open_bank

NANSHAN = "branch-q1.sz-nanshan"
CODE = "c.sz-nanshan"
ADD = "externalcontact/add_contact_way"
DETAILS = "externalcontact/get"
WELCOME_CALL = "externalcontact/send_welcome_msg"


async def go_live(services: Services, text: str) -> None:
    """Publishes a campaign as the command line does, and forgets what was kept of others."""
    await versions.apply(await open_bank(services, "demo"), text, "t.yaml", "cli")
    services.cache.clear()


async def fault(sandbox: Sandbox, kind: str, path: str = "", **fields: Any) -> None:
    await sandbox.control("POST", "faults", {"target": "api", "kind": kind, "path": path, **fields})


async def no_faults(sandbox: Sandbox) -> None:
    await sandbox.control("DELETE", "faults")


async def welcomes(sandbox: Sandbox) -> int:
    return int((await sandbox.control("GET", "welcomes"))["count"])


async def told_staff(sandbox: Sandbox, userid: str) -> list[str]:
    """The texts of the messages that this RM received from us, without the cards of alarms."""
    members = (await sandbox.control("GET", "members"))["members"]
    (member,) = [one for one in members if one["userid"] == userid]
    texts = [str(message["text"]) for message in member["messages"]]
    return [text for text in texts if text != sentence("card_title")]


async def all_work(services: Services) -> None:
    """What workers would do if everything that is due were woken once."""
    await jobs.handle_inbox(await open_bank(services, "demo"))
    await asyncio.gather(
        jobs.send_welcomes(await open_bank(services, "demo")),
        jobs.send_effects(await open_bank(services, "demo")),
        jobs.advance_runs(await open_bank(services, "demo")),
    )


async def runs(services: Services) -> list[Doc]:
    return await services.store.tenant("demo")["runs"].find({}, sort=[("entered_at", 1)])


async def effect(services: Services, kind: str) -> Doc:
    rows = await services.store.tenant("demo")["outbox"].find({"kind": kind})
    assert len(rows) == 1, rows
    return rows[0]


async def story(services: Services) -> list[str]:
    """The kinds in the timelines of all customers, sorted."""
    return sorted(row["kind"] for row in await services.store.tenant("demo")["timeline"].find({}))


def counted(services: Services, outcome: str, tenant: str = "demo") -> float:
    """How many callbacks ended so."""
    labels = {"tenant": tenant, "outcome": outcome}
    return services.metrics.registry.get_sample_value("yinqiao_callbacks_total", labels) or 0.0


async def scanned(
    sandbox: Sandbox, http: httpx.AsyncClient, state: str = NANSHAN, name: str = "刘敏"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A person who has just scanned a code, and what came of it; the callback is stored, nothing is handled."""
    person = await sandbox.person(name)
    scan = await sandbox.scan(person, state=state)
    assert scan["delivered"] is True
    return person, scan
