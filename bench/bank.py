"""The bank that is measured: the demonstration bank, two rewards of ours, and as many signed-in
customers as are needed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import yaml
from redis.asyncio import Redis

from customers.actors import CustomerActor
from customers.banks import apply
from customers.banks.bank import open_bank
from customers.identity.rows import CUSTOMERS
from customers.relationships import RELATIONSHIPS
from deploy.processes import ROOT
from rewards import catalogue, portal
from rewards.item import Item
from services import ids
from services.clock import utc
from services.container import Services
from services.documents.parts import Text
from services.store.mongo import Doc

TENANT_FILE = ROOT / "config" / "demo" / "tenant.yaml"
_FILE: dict[str, Any] = yaml.safe_load(TENANT_FILE.read_text(encoding="utf-8"))
TENANT: str = _FILE["id"]
WECOM: dict[str, Any] = _FILE["wecom"]
APPID: str = _FILE["miniprograms"][0]["appid"]
STAFF: list[str] = [member["userid"] for member in _FILE["staff"]]
SYSTEM: str = _FILE["systems"][0]["id"]
SYSTEM_SECRET: str = _FILE["systems"][0]["secret"]
CAMPAIGN = "bench"
HOT, GONE = f"{CAMPAIGN}.hot", f"{CAMPAIGN}.gone"
PLENTY = 1_000_000
AT_ONCE = 500
SIGN_INS_AT_ONCE = 32


@dataclass(frozen=True)
class Person:
    """A signed-in customer."""

    cid: str
    token: str


def session_key(token: str) -> str:
    """Where the naive server keeps a session."""
    return f"session:{token}"


async def found(services: Services) -> None:
    """The bank and its two rewards: one with plenty, one sold out."""
    await apply.apply_tenant(services, TENANT_FILE.read_text(encoding="utf-8"), TENANT_FILE.name)
    now = utc(services.clock())
    for key, stock in (("hot", PLENTY), ("gone", 0)):
        definition = catalogue.Definition(
            key=key,
            item=Item(kind="code", title=Text(zh="咖啡券一份", en="One coffee"), cost=1000),
            stock=stock,
            per_customer=1,
            per_day=None,
            open_to="anyone",
            starts=now - timedelta(days=1),
            ends=now + timedelta(days=30),
        )
        bank = await open_bank(services, TENANT)
        await catalogue.put(bank, CAMPAIGN, definition)
    await catalogue.set_state(bank, CAMPAIGN, "live")


async def sign_in(services: Services, count: int) -> list[Person]:
    """`count` new customers, each with an RM and a session at the product and at the naive
    server."""
    people: list[Person] = []
    for start in range(0, count, AT_ONCE):
        people += await _some(services, min(AT_ONCE, count - start))
    return people


async def _some(services: Services, count: int) -> list[Person]:
    cids = [ids.new_id(TENANT) for _ in range(count)]
    await services.store.insert_new_across(CUSTOMERS, [_customer(services, cid) for cid in cids])
    await services.store.insert_new_across(
        RELATIONSHIPS, [_follow(cid, STAFF[index % len(STAFF)]) for index, cid in enumerate(cids)]
    )
    sessions = [{"tenant": TENANT, "cid": cid, "appid": APPID} for cid in cids]
    tokens: list[str] = []
    for start in range(0, count, SIGN_INS_AT_ONCE):
        some = sessions[start : start + SIGN_INS_AT_ONCE]
        tokens += await asyncio.gather(
            *(services.sessions.open("customer", session) for session in some)
        )
    await _sessions_of_the_naive(services.redis, cids, tokens)
    return [Person(cid, token) for cid, token in zip(cids, tokens, strict=True)]


async def _sessions_of_the_naive(redis: Redis, cids: list[str], tokens: list[str]) -> None:
    pipe: Any = redis.pipeline(transaction=False)
    for cid, token in zip(cids, tokens, strict=True):
        pipe.set(session_key(token), cid)
    await pipe.execute()


def _customer(services: Services, cid: str) -> Doc:
    """A customer's row as customers/identity/resolution.py keeps it."""
    plain = {
        "name": "刘敏",
        "phone": "+8613800138000",
        "unionid": f"u{cid}",
        "external_userid": f"wm{cid}",
    }
    sealed = {
        name: services.vault.seal_text(TENANT, CUSTOMERS, name, cid, text)
        for name, text in plain.items()
    }
    return {
        "_id": cid,
        "tenant": TENANT,
        "created_at": datetime.now(UTC),
        "tags": [],
        "aliases": [],
        "openids": {},
        **sealed,
    }


def _follow(cid: str, userid: str) -> Doc:
    """A friendship as customers/relationships.py keeps it."""
    row_id = ids.tenant_id(TENANT, "follow", userid, cid)
    at = datetime.now(UTC).timestamp()
    return {
        "_id": row_id,
        "tenant": TENANT,
        "userid": userid,
        "cid": cid,
        "active": True,
        "at": at,
        "state": "",
        "add_way": 1,
    }


async def homes_of_the_naive(services: Services, db: Any, people: list[Person]) -> None:
    """For each customer one document: the home as the product answers it."""
    actor = CustomerActor(TENANT, people[0].cid, APPID)
    home = orjson.loads(await portal.home(await open_bank(services, actor.tenant), actor, "zh"))
    for start in range(0, len(people), AT_ONCE):
        await db.homes.insert_many(
            [{"_id": person.cid, **home} for person in people[start : start + AT_ONCE]]
        )
