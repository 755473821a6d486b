"""What the product knows beside what it was told: the differences from the truth of
bench/stories.py, as sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from bench.bank import TENANT
from bench.stories import Happening, Truth
from customers.banks.bank import open_bank
from customers.identity.rows import CUSTOMERS, CustomerRow
from customers.identity.sealing import open_customer
from customers.relationships import RELATIONSHIPS
from customers.timeline import TIMELINE
from customers.wecom_mirror.rows import GROUP_MEMBERS, GROUPS
from operations.events.rows import DEAD_LETTERS
from services.container import Services
from services.queue.inbox import INBOX
from services.store.mongo import Doc

MOST_SHOWN = 5
KINDS = frozenset(
    {"customer.added", "customer.deleted_rm", "rm.deleted_customer", "group.joined", "group.left"}
)


async def found(services: Services, truth: Truth) -> list[str]:
    """Nothing when the product knows exactly the truth."""
    names, whose = await _customers(services)
    told = [
        *_between("inbox", truth.messages, await _messages(services)),
        *_between("customers", truth.customers, names),
        *_between("relationships", truth.friendships, await _friendships(services, whose)),
        *_between("timeline", truth.happened, await _happened(services, whose)),
        *_between("groups", truth.groups, await _groups(services)),
    ]
    unknown = sum(state == "unknown" for state in truth.messages.values())
    aside = await services.store.tenant(TENANT)[DEAD_LETTERS].count()
    return told + ([f"set aside: {aside}, unknown events: {unknown}"] if aside != unknown else [])


def _between(what: str, wanted: Mapping[Any, Any], got: Mapping[Any, Any]) -> list[str]:
    """What is missing, not true, or otherwise; the first few by name."""
    missing = [f"{key} {wanted[key]}" for key in wanted if key not in got]
    extra = [f"{key} {got[key]}" for key in got if key not in wanted]
    other = [
        f"{key} {got[key]}, not {wanted[key]}"
        for key in wanted
        if key in got and got[key] != wanted[key]
    ]
    told = {"missing": missing, "in excess": extra, "otherwise": other}
    return [
        f"{what}: {len(items)} {word}, such as {'; '.join(items[:MOST_SHOWN])}"
        for word, items in told.items()
        if items
    ]


async def _messages(services: Services) -> dict[bytes, str]:
    rows: dict[bytes, str] = {}
    async for row in services.store.tenant(TENANT)[INBOX].scan():
        message = services.vault.open(TENANT, INBOX, "body", row["_id"], bytes(row["body"]))
        rows[message] = (
            "twice"
            if message in rows
            else f"open {row.get('reason')}"
            if row["open"]
            else row["state"]
        )
    return rows


async def _customers(services: Services) -> tuple[dict[str, str], dict[str, str]]:
    """external_userid → name, and cid → external_userid for every cid that a customer has or
    had."""
    names: dict[str, str] = {}
    whose: dict[str, str] = {}
    async for row in services.store.tenant(TENANT)[CUSTOMERS].scan():
        if not row.get("merged_into"):
            one = open_customer(await open_bank(services, TENANT), cast("CustomerRow", row))
            names[one.external_userid] = "twice" if one.external_userid in names else one.name
            whose.update(dict.fromkeys(one.cids, one.external_userid))
    return names, whose


async def _friendships(
    services: Services, whose: Mapping[str, str]
) -> dict[tuple[str, str], tuple[bool, int, str]]:
    rows: dict[tuple[str, str], tuple[bool, int, str]] = {}
    async for row in services.store.tenant(TENANT)[RELATIONSHIPS].scan():
        pair = (row["userid"], whose[row["cid"]])
        rows[pair] = (row["active"], int(row["at"]), "twice" if pair in rows else row["state"])
    return rows


async def _happened(services: Services, whose: Mapping[str, str]) -> Counter[Happening]:
    rows: Counter[Happening] = Counter()
    async for row in services.store.tenant(TENANT)[TIMELINE].scan():
        if row["kind"] in KINDS:
            rows[whose[row["cid"]], row["kind"], int(row["at"].timestamp()), _with(row)] += 1
    return rows


def _with(row: Doc) -> str:
    return str(
        row["data"]["chat_id"] if row["kind"].startswith("group.") else row["data"]["userid"]
    )


async def _groups(services: Services) -> dict[str, frozenset[str]]:
    db = services.store.tenant(TENANT)
    people: dict[str, set[str]] = {}
    async for row in db[GROUP_MEMBERS].scan({"active": True}):
        if row["who"]:
            who = services.vault.open_text(TENANT, GROUP_MEMBERS, "who", row["_id"], row["who"])
            people.setdefault(row["chat_id"], set()).add(who)
    return {
        row["chat_id"]: frozenset(people.get(row["chat_id"], ())) if row["active"] else frozenset()
        async for row in db[GROUPS].scan()
    }
