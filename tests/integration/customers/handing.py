"""What the tests of hand-overs share: friends at WeCom and here, a batch on its way, and time that passes."""

from __future__ import annotations

from typing import Any

from customers import relationships
from customers.actors import ClerkActor, StaffActor
from customers.handover import batches
from customers.handover.batches import Wanted
from customers.identity import resolution
from services.container import Services
from services.store.mongo import Doc
from tests.conftest import Sandbox
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

RIGHTS = frozenset({"handover.read", "handover.submit", "handover.approve"})
LIN, ZHAO = ClerkActor("demo", "lin", "林晓", RIGHTS), ClerkActor("demo", "zhao", "赵敏", RIGHTS)
CHEN, LI = StaffActor("demo", "rm.chen"), StaffActor("demo", "rm.li")
DAY = 86_400.0
TRANSFER = "externalcontact/transfer_customer"


async def friend(services: Services, sandbox: Sandbox, name: str = "刘敏", userid: str = "rm.chen") -> tuple[str, str]:
    """(cid, external_userid) of a friend of the member, at WeCom and here."""
    person = await sandbox.person(name)
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": userid})
    external = str((await sandbox.control("GET", f"people/{person['id']}"))["external_userid"])
    cid = await resolution.identify(
        await open_bank(services, "demo"), resolution.Facts(external_userid=external, name=name)
    )
    await relationships.changed(await open_bank(services, "demo"), userid, cid, at=services.clock(), active=True)
    return cid, external


def wanted(key: str = "key-1", **fields: Any) -> Wanted:
    return Wanted(**{"mode": "onjob", "handover_userid": "rm.chen", "takeover_userid": "rm.li", "key": key, **fields})


async def approved(services: Services, request: Wanted | None = None) -> str:
    """A batch that one clerk handed in and another approved."""
    batch = await batches.start(await open_bank(services, "demo"), LIN, request or wanted())
    await batches.approve(await open_bank(services, "demo"), ZHAO, batch)
    return batch


async def work(services: Services, clock: MovedClock, seconds: float = 0.0) -> None:
    clock.advance(seconds)
    await jobs.hand_over(await open_bank(services, "demo"))


async def items(services: Services) -> list[tuple[str, str]]:
    rows = await services.store.tenant("demo")["handovers"].find({}, sort=[("_id", 1)], limit=None)
    return [(row["state"], row["reason"]) for row in rows]


async def batch_row(services: Services, batch: str) -> Doc:
    row = await services.store.tenant("demo")["handover_batches"].find_one({"_id": batch})
    assert row is not None
    return row


async def time_passes(services: Services, sandbox: Sandbox, clock: MovedClock, seconds: float) -> None:
    """Time passes at WeCom and here, and workers look again."""
    await sandbox.control("POST", "clock", {"advance": seconds})
    await work(services, clock, seconds)


async def asked(sandbox: Sandbox, path: str = TRANSFER) -> int:
    calls = (await sandbox.control("GET", "calls"))["calls"]
    return sum(call["path"].endswith(path) for call in calls)
