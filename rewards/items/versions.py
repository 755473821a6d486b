"""From a form or a file to a live item: versions, maker and checker (promise P7), as campaigns have
them. A version never changes, and customers/approvals decides on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from pydantic import ValidationError

from customers.actors import ClerkActor
from customers.approvals import approvals, versioned
from customers.approvals.versioned import DRAFT, LIVE, PENDING, SUBMITTED, Documents, Wanted
from customers.banks.bank import Bank
from rewards import catalogue
from rewards.item import Item
from rewards.items import live, rows, wordings
from rewards.items.rows import PUT, RETIRE, RETIRED, ItemRow, ItemVersionRow
from rewards.rows import Reward
from services.documents.parts import Key, Part
from services.documents.problems import Fault, fault, found
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc

ITEM = approvals.Kind(
    name="item",
    right="rewards.submit",
    submitted="item.submitted",
    approved="item.approved",
    rejected="item.rejected",
    refused="item.approval_refused",
    decided="item_decided",
    changed="item_changed",
    revocable=True,
    lapses=False,
)
DOCUMENTS = Documents(
    kind=ITEM,
    rows=rows.REWARD_ITEMS,
    versions=rows.REWARD_ITEM_VERSIONS,
    unknown="item_unknown",
    edited="item_edited_meanwhile",
)
MOST_SHOWN = 100
MOST_ITEMS = 2_000


class _Named(Part):
    key: Key


class ItemRefused(InvalidInput):
    """What was handed in is no item; `faults` say where and why."""

    def __init__(self, faults: list[Fault]) -> None:
        places = {".".join(map(str, place)): code for place, code, _ in faults}
        super().__init__("item_wrong", "the item cannot be kept as it is", fields=places)
        self.faults = faults


def read(key: str, fields: Mapping[str, Any]) -> Item:
    """The item that `fields` say. Raises ItemRefused with every fault, each at its field."""
    faults: list[Fault] = []
    try:
        _Named.model_validate({"key": key})
    except ValidationError as error:
        faults += found(error.errors(include_url=False), _Named)
    try:
        item = Item.model_validate(dict(fields))
    except ValidationError as error:
        faults += found(error.errors(include_url=False), Item)
    else:
        faults += wordings.faults(item)
    if faults:
        raise ItemRefused(faults)
    return item


async def submit(
    bank: Bank, actor: ClerkActor, key: str, item: Item, *, base: int | None = None
) -> int:
    """Asks for another clerk's word on a new item, or on what an item is to be from now on; the
    number of its version. `base` is the newest version that the actor has seen, 0 for an item that
    must not be there yet (None: whatever there is).

    Raises ItemRefused for another kind, Conflict `item_exists`, `item_unchanged`,
    `item_edited_meanwhile` or `items_full`.
    """
    row = await rows.item(bank, key)
    if row is None:
        if len(await rows.items(bank)) >= MOST_ITEMS:
            raise Conflict("items_full", f"there are {MOST_ITEMS} items already")
        await rows.add_item(bank, _first(bank, key, item))
    else:
        if base == 0 and await rows.versions(bank, {"item": key}, limit=1):
            raise Conflict("item_exists", f"there is an item {key}", data={"id": key})
        if row["kind"] != item.kind and row["live_version"]:
            raise ItemRefused([fault(("kind",), "item_kind", kind=row["kind"])])
        await _expect_change(bank, row, item)
    wanted = Wanted(action=PUT, content=item.model_dump(mode="json"))
    return await _submit(bank, actor, key, wanted, base)


async def retire(bank: Bank, actor: ClerkActor, key: str, why: str) -> int:
    """Asks for the item to be given to no further campaign; those that have it keep it. The number
    of its version. Raises NotFound `item_unknown`, InvalidInput `reason_missing`, Conflict
    `item_not_live`."""
    if not why.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await _item(bank, key)
    number = row["live_version"]
    current = await rows.version(bank, key, number) if number else None
    if row["state"] != LIVE or current is None:
        raise Conflict("item_not_live", f"{key} is not in the live catalogue")
    item = live.item_of(current["content"])
    content = item.model_dump(mode="json")
    return await _submit(bank, actor, key, Wanted(action=RETIRE, content=content, why=why.strip()))


def _first(bank: Bank, key: str, item: Item) -> ItemRow:
    return {
        "_id": rows.item_id(bank.id, key),
        "item": key,
        "kind": item.kind,
        "title": item.title.model_dump(),
        "state": DRAFT,
        "live_version": None,
        "versions": 0,
        "updated_at": bank.utc(),
    }


async def _expect_change(bank: Bank, row: ItemRow, item: Item) -> None:
    """The same content is no new version, while it is live or waits."""
    newest = await rows.versions(bank, {"item": row["item"], "state": {"$in": PENDING}}, limit=1)
    same = newest[0] if newest else None
    if same is None and row["state"] == LIVE and row["live_version"]:
        same = await rows.version(bank, row["item"], row["live_version"])
    if same is not None and same["action"] == PUT and live.item_of(same["content"]) == item:
        data = {"version": str(same["version"]), "id": row["item"]}
        raise Conflict("item_unchanged", f"version {same['version']} is this already", data=data)


async def _submit(
    bank: Bank, actor: ClerkActor, key: str, wanted: Wanted, base: int | None = None
) -> int:
    touched = sorted({one["campaign"] for one in await catalogue.of_item(bank, key)})
    asked = replace(wanted, said={"campaigns": touched})
    return await versioned.submit(bank, actor, DOCUMENTS, key, asked, base)


async def approve(
    bank: Bank, actor: ClerkActor, key: str, version: int, reason: str = ""
) -> list[str]:
    """Agrees to another clerk's version: it is live, and its words are those of every reward that
    is made of the item; the rewards. `reason` says why words that look like a reward for sharing
    may pass. What was cut short is completed by approving again.

    Raises Forbidden `approver_is_author`, NotFound `item_unknown`, InvalidInput
    `overrule_reason_missing`, Conflict.
    """
    row = await _version_of(bank, key, version)
    soft = _soft(row)
    if soft and not reason.strip() and row["author"] != actor.login:
        why = "say why the wording may pass"
        raise InvalidInput("overrule_reason_missing", why, fields={"reason": "required"})
    content = versioned.content(DOCUMENTS, row)
    async with approvals.approve(bank, actor, ITEM, row["_id"], content) as approval:
        await versioned.follow(bank, DOCUMENTS, row["_id"], approval)
        said: Doc = {"version": version, "approved_by": approval.decided_by}
        if soft:
            said |= {"overruled": [one[2]["words"] for one in soft], "reason": reason.strip()[:500]}
        async with bank.audited(actor.login, "item.published", key, **said):
            return await _go_live(bank, row)


def _soft(row: ItemVersionRow) -> list[Fault]:
    """The wording that a checker has to let pass."""
    return wordings.soft(live.item_of(row["content"])) if row["action"] == PUT else []


async def reject(bank: Bank, actor: ClerkActor, key: str, version: int, reason: str) -> None:
    """Turns a version down. Raises InvalidInput `reason_missing`, NotFound, Conflict
    `item_decided`."""
    await versioned.reject(bank, actor, DOCUMENTS, key, version, reason)


async def _go_live(bank: Bank, row: ItemVersionRow) -> list[str]:
    """The item's row names the version; then its words reach the rewards. A later version that is
    live already stays."""
    key, number = row["item"], row["version"]
    item = live.item_of(row["content"])
    fields: Doc = {"state": RETIRED}
    if row["action"] == PUT:
        title = item.title.model_dump()
        fields = {"state": LIVE, "live_version": number, "kind": item.kind, "title": title}
    await versioned.carry_out(bank, DOCUMENTS, key, number, fields)
    told = await reword(bank, key) if row["action"] == PUT else []
    await versioned.put_live(bank, DOCUMENTS, key, number)
    return told


async def reword(bank: Bank, key: str) -> list[str]:
    """Gives the rewards that are made of an item its live words; the rewards' ids."""
    while True:
        current = (await live.listed(bank)).get(key)
        if current is None:
            return []
        told = await catalogue.reword(bank, key, _words(current.item))
        now = (await live.listed(bank)).get(key)
        if now == current:  # whoever publishes looks as well, after his own write
            return told


def _words(item: Item) -> Doc:
    return item.model_dump(mode="json", include=set(live.WORDS))


async def apply(bank: Bank, wanted: Mapping[str, Item], by: str) -> list[str]:
    """The command line's way: live at once in development, submitted for approval in production.
    Safe to run again."""
    actor = ClerkActor(bank.id, by, by, frozenset({"rewards.submit"}))
    alone = ClerkActor(bank.id, f"{by} (development)", by, frozenset())
    done: list[str] = []
    for key, item in wanted.items():
        try:
            number = await submit(bank, actor, key, item)
        except Conflict as error:
            if error.code != "item_unchanged":
                raise
            number = int(error.data["version"])
        waits = await rows.version(bank, key, number)
        if waits is None or waits["state"] == LIVE:
            done.append(f"item {key}: version {number} is this already")
        elif bank.services.settings.env == "production":
            done.append(f"item {key}: version {number} is pending approval in the console")
        else:
            rewards = await approve(bank, alone, key, number, "development")
            done.append(f"item {key}: version {number} is live")
            done += [f"item {key}: reward {one} has its words" for one in rewards]
    return done


async def _item(bank: Bank, key: str) -> ItemRow:
    row = await rows.item(bank, key)
    if row is None:
        raise NotFound("item_unknown", f"the catalogue has no item {key}")
    return row


async def _version_of(bank: Bank, key: str, number: int) -> ItemVersionRow:
    return cast("ItemVersionRow", await versioned.named(bank, DOCUMENTS, key, number))


async def list_items(bank: Bank, actor: ClerkActor) -> list[dict[str, Any]]:
    """Every item of the actor's bank by key, with what waits for it and what gives it."""
    waiting = {row["item"]: row for row in await rows.versions(bank, {"state": {"$in": PENDING}})}
    rewards = await catalogue.of_items(bank)
    return [_listed(row, waiting.get(row["item"]), rewards) for row in await rows.items(bank)]


def _listed(
    row: ItemRow, waits: ItemVersionRow | None, rewards: Mapping[str, list[Reward]]
) -> dict[str, Any]:
    """One item for a page; a draft that waits for its first approval is `submitted`."""
    state = row["state"]
    return {
        "id": row["item"],
        "kind": row["kind"],
        "title": row["title"],
        "state": SUBMITTED if state == DRAFT and waits else state,
        "live_version": row["live_version"],
        "pending_version": waits["version"] if waits else None,
        "pending_author": waits["author"] if waits else "",
        "pending_action": waits["action"] if waits else "",
        "updated_at": row["updated_at"],
        "rewards": rewards.get(row["item"], []),
    }


async def get_item(bank: Bank, actor: ClerkActor, key: str) -> dict[str, Any]:
    """One item: what it is, its versions, what the one that waits would change, and what it
    touches. Raises NotFound `item_unknown`."""
    row = await _item(bank, key)
    versions = await rows.versions(bank, {"item": key}, limit=MOST_SHOWN)
    waits = next((one for one in versions if one["state"] in PENDING), None)
    rewards = {key: await catalogue.of_item(bank, key)}
    number = row["live_version"]
    current = await rows.version(bank, key, number) if number else None
    newest = current or (versions[0] if versions else None)
    return {
        **_listed(row, waits, rewards),
        "item": live.item_of(newest["content"]) if newest else None,
        "newest": live.item_of(versions[0]["content"]) if versions else None,
        "base": versions[0]["version"] if versions else 0,
        "waits": waits,
        "changes": list(_changes(current, waits)) if waits else [],
        "behind": _behind(current, rewards[key]),
        "soft": _soft(waits) if waits else [],
        "versions": versions,
    }


def _changes(
    current: ItemVersionRow | None, waits: ItemVersionRow
) -> Iterator[tuple[str, Any, Any, bool]]:
    """(field, before, after, whether it reaches rewards at once) of what a version changes."""
    if waits["action"] == RETIRE:
        return
    before = current["content"] if current else {}
    for name, after in waits["content"].items():
        if before.get(name) != after:
            yield name, before.get(name), after, name in live.WORDS


def _behind(current: ItemVersionRow | None, rewards: list[Reward]) -> list[str]:
    """The rewards that are worth something else than the live version."""
    if current is None:
        return []
    now = live.worth(live.item_of(current["content"]))
    return [
        one["reward"]
        for one in rewards
        if "item" in one and live.worth(live.item_of(one["item"])) != now
    ]
