"""Rewards to claim, customers who claim them, and processes that die or stall on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from customers.identity import resolution
from rewards import catalogue, claims, offers
from rewards.claims import Claim
from rewards.item import Item
from services.cache import ProcessCache
from services.container import Groups, Services
from services.documents.parts import Text
from services.ids import fingerprint
from services.store.mongo import Doc
from tests.support.banks import open_bank

BANK = "wx5ab0000000000001"
TENANT, CAMPAIGN = "demo", "camp"
REWARD = catalogue.reward_id(CAMPAIGN, "r")
STARTS, ENDS = datetime(2026, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


async def put(services: Services, stock: int, tenant: str = TENANT, **changes: Any) -> None:
    """The reward REWARD of `tenant`, open to anyone unless told otherwise; one that was there keeps its state."""
    base = catalogue.Definition(
        key="r",
        item=Item(kind="code", title=Text(zh="券"), cost=100),
        stock=stock,
        per_customer=1,
        per_day=None,
        open_to="anyone",
        starts=STARTS,
        ends=ENDS,
    )
    bank, definition = await open_bank(services, tenant), replace(base, **changes)
    is_new = not await bank.db["rewards"].count({"reward": catalogue.reward_id(CAMPAIGN, definition.key)})
    await catalogue.put(bank, CAMPAIGN, definition)
    if is_new:
        await catalogue.set_state(bank, CAMPAIGN, "live")


def request(cid: str, key: str = "k", *, body: str = "b") -> Claim:
    return Claim(REWARD, (cid,), fingerprint(key.encode()), body)


async def answer(services: Services, claim: Claim, tenant: str = TENANT) -> str:
    """`granted`, `replayed`, or the reason code of the refusal."""
    try:
        granted = await claims.claim(await open_bank(services, tenant), claim)
    except Exception as error:
        return str(getattr(error, "code", type(error).__name__))
    return "replayed" if granted.replayed else "granted"


async def offer(services: Services, cid: str) -> None:
    await offers.make(await open_bank(services, TENANT), cid, REWARD, "run")


async def stock(services: Services, tenant: str = TENANT, reward: str = REWARD) -> dict[str, int]:
    row = await reward_row(services, tenant, reward)
    return {name: row[name] for name in ("total", "available", "held", "granted", "retired")}


async def reward_row(services: Services, tenant: str = TENANT, reward: str = REWARD) -> Doc:
    row = await services.store.tenant(tenant)["rewards"].find_one({"reward": reward})
    assert row is not None
    return row


async def settled(services: Services, tenant: str = TENANT) -> bool:
    return not await services.store.tenant(tenant)["rewards"].find({"held": {"$gt": 0}}, limit=1)


async def grants(services: Services, tenant: str = TENANT) -> int:
    return await services.store.tenant(tenant)["transfers"].count({"kind": "grant"})


async def told(services: Services, tenant: str = TENANT) -> list[str]:
    """The customers of whose grants the inbox was told, once for each telling."""
    rows = await services.store.tenant(tenant)["inbox"].find({"source": "rewards"})
    events = [services.vault.open_json(tenant, "inbox", "body", row["_id"], row["body"]) for row in rows]
    return [cid for event in events for _, cid, _ in event["grants"]]


async def all_rows(services: Services, tenant: str = TENANT) -> dict[str, list[Doc]]:
    """Everything that a refused claim must leave as it was."""
    db = services.store.tenant(tenant)
    names = ("rewards", "transfers", "inbox", "outbox", "offers", "timeline")
    return {name: await db[name].find({}, sort=[("_id", 1)]) for name in names}


async def signed_in(services: Services, count: int, prefix: str = "u") -> list[dict[str, str]]:
    """`count` customers with a session each; their headers."""

    async def one(name: str) -> dict[str, str]:
        cid = await resolution.identify(
            await open_bank(services, TENANT), resolution.Facts(unionid=name, openids={BANK: f"o{name}"})
        )
        token = await services.sessions.open("customer", {"tenant": TENANT, "cid": cid, "appid": BANK})
        return {"Authorization": f"Bearer {token}"}

    return list(await asyncio.gather(*(one(f"{prefix}{n}") for n in range(count))))


class Killed(Exception):
    """Stands for a process that ends here."""


@dataclass
class Gate:
    """A store that stops before or after the grants of a group are inserted."""

    store: Any
    before: Callable[[], Awaitable[None]] | None = None
    after: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def insert_new_across(self, name: str, docs: Sequence[Doc]) -> set[int]:
        if name == "transfers" and self.before is not None:
            await self.before()
        refused: set[int] = await self.store.insert_new_across(name, docs)
        if name == "transfers" and self.after is not None:
            await self.after()
        return refused


async def die() -> None:
    raise Killed


class Stall:
    """Holds a process between taking the stock and writing the grant, until told to go on."""

    def __init__(self) -> None:
        self.reached, self._go = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self._go.wait()

    def release(self) -> None:
        self._go.set()


@asynccontextmanager
async def process(services: Services, **gate: Any) -> AsyncIterator[Services]:
    """A process of its own: own groups and caches over the same stores; drained at the end. A test that fails leaves
    nobody stalled."""
    own = Groups(services.settings.group_window_ms / 1000, services.metrics)
    store: Any = Gate(services.store, **gate) if gate else services.store
    try:
        yield replace(services, groups=own, cache=ProcessCache(services.clock), store=store)
    except BaseException:
        for stall in gate.values():
            if isinstance(stall, Stall):
                stall.release()
        raise
    finally:
        await own.close()


async def claim_and_die(services: Services, claim: Claim, tenant: str = TENANT, **gate: Any) -> str:
    """A claim by a process that ends at the gate."""
    async with process(services, **gate) as dying:
        return await answer(dying, claim, tenant)
