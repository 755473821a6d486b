"""What a customer sees and does in the mini-program: his home, the rewards, claiming, his
redemptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from customers import relationships
from customers.actors import CustomerActor
from customers.banks.bank import Bank, list_banks
from customers.banks.staff import staff_member
from customers.identity import resolution
from rewards import catalogue, claims, offers
from rewards.rows import TRANSFERS
from rewards.stock import day_of
from services import ids
from services.cache import Slot, TtlCache
from services.clock import utc
from services.errors import InvalidInput, NotFound, YinqiaoError
from services.store.mongo import Doc

HOME_SECONDS = 1.0
_HOMES: Slot[TtlCache[tuple[str, str, str], bytes]] = Slot("homes", lambda: TtlCache(20_000))


@dataclass(frozen=True)
class Claimed:
    """The answer to a claim; `hit` when an earlier answer to the same key is replayed."""

    view: dict[str, Any]
    hit: bool


async def home(bank: Bank, actor: CustomerActor, lang: str) -> bytes:
    """The home as JSON: who he is, his RM, his rewards. At most HOME_SECONDS old; the customer's
    own claim shows at once."""
    homes = bank.services.cache.of(_HOMES)
    key = (bank.id, actor.cid, lang)
    now = bank.now()
    known = homes.get(key, now)
    if known is not None:
        return known
    body = orjson.dumps(await _home(bank, actor, lang))
    homes.put(key, body, now + HOME_SECONDS)
    return body


def forget_home(bank: Bank, actor: CustomerActor) -> None:
    """The customer changed something: his next home is made anew."""
    for lang in ("zh", "en"):
        bank.services.cache.of(_HOMES).discard((bank.id, actor.cid, lang))


async def _home(bank: Bank, actor: CustomerActor, lang: str) -> dict[str, Any]:
    person = await resolution.customer(bank, actor.cid)
    profile = {
        "name": resolution.mask_name(person.name),
        "phone": resolution.mask_phone(person.phone),
        "bound": bool(person.phone),
    }
    return {
        "customer": profile,
        "rm": await _manager(bank, person),
        "rewards": await _rewards(bank, person, lang),
    }


async def _manager(bank: Bank, person: resolution.Customer) -> dict[str, str] | None:
    friends = await relationships.of_customer(bank, person.cids)
    for friend in friends:
        try:
            staff = await staff_member(bank, friend["userid"])
        except NotFound:
            continue
        branches = next(
            bank.branches for bank in await list_banks(bank.services) if bank.id == bank.id
        )
        return {"name": staff.name, "branch": branches.get(staff.branch, staff.branch)}
    return None


async def list_rewards(bank: Bank, actor: CustomerActor, lang: str) -> dict[str, Any]:
    """The rewards that this customer may see: offered to him or open to anyone."""
    person = await resolution.customer(bank, actor.cid)
    return {"rewards": await _rewards(bank, person, lang)}


async def _rewards(bank: Bank, person: resolution.Customer, lang: str) -> list[dict[str, Any]]:
    catalogue_ = await catalogue.all_rewards(bank)
    closed = [row for row in catalogue_.values() if row["open_to"] != "anyone"]
    offered = await offers.of_customers(
        bank, [(row["reward"], cid) for row in closed for cid in person.cids]
    )
    mine = {reward for reward, _ in offered}
    shown = [
        row
        for name, row in sorted(catalogue_.items())
        if row["open_to"] == "anyone" or name in mine
    ]
    grants = await _grants(bank, person, shown)
    had = Counter(grant["reward"] for grant in grants)
    now = utc(bank.now())
    return [
        _reward_view(
            row, lang, "claimed" if had[row["reward"]] >= row["per_customer"] else _state(row, now)
        )
        for row in shown
    ]


def _state(row: Doc, now: Any) -> str:
    reason = catalogue.why_closed(row, now, day_of(now))
    return {"": "claimable", "quota_day": "sold_out", "paused": "paused"}.get(reason, reason)


def _reward_view(row: Doc, lang: str, state: str) -> dict[str, Any]:
    return {
        "id": row["reward"],
        "title": _text(row["title"], lang),
        "text": _text(row["text"], lang),
        "kind": row["kind"],
        "state": state,
        "left": row["available"],
        "until": row["ends"].isoformat(),
    }


def _text(texts: dict[str, str], lang: str) -> str:
    return texts.get(lang) or texts.get("zh") or ""


async def _grants(bank: Bank, person: resolution.Customer, rewards: Iterable[Doc]) -> list[Doc]:
    """The customer's grants among these rewards: their ids are known, so no index is needed."""
    wanted = [
        claims.Claim(bank.id, row["reward"], (), "", "").slot_id(cid, slot)
        for row in rewards
        for cid in person.cids
        for slot in range(row["slots"])
    ]
    found = await bank.read(TRANSFERS, wanted)
    return [grant for grant in found.values() if grant["kind"] == "grant"]


async def claim(
    bank: Bank, actor: CustomerActor, reward: str, key: str, body: bytes, lang: str = "zh"
) -> Claimed:
    """Claims `reward` under the idempotency key, bound to the customer and the reward.

    `body` is the request's body: empty or a JSON object; the same key with another body raises
    KeyReused. Raises Conflict with a reason code, NotFound, InvalidInput, Unavailable.
    """
    if not key:
        raise InvalidInput("idempotency_key_missing", "a claim needs the header Idempotency-Key")
    cids, shared = await resolution.claimant(bank, actor.cid)
    wish = claims.Claim(
        bank.id,
        reward,
        tuple(cids),
        ids.fingerprint(key.encode()),
        _body_hash(body),
        tuple(shared),
    )
    try:
        granted = await claims.claim(bank, wish)
    except YinqiaoError as error:
        bank.services.metrics.claims.labels(error.code).inc()
        raise
    bank.services.metrics.claims.labels("replayed" if granted.hit else "granted").inc()
    forget_home(bank, actor)
    row = (await catalogue.all_rewards(bank))[reward]
    return Claimed({"redemption": _redemption(bank, granted.grant, row, lang)}, granted.hit)


def _body_hash(body: bytes) -> str:
    try:
        value = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise InvalidInput("body_not_json", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidInput("body_not_object", "the body is not a JSON object")
    return ids.fingerprint(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


async def redemptions(bank: Bank, actor: CustomerActor, lang: str) -> dict[str, Any]:
    """All that the customer was granted, newest first, each with the code that he shows."""
    person = await resolution.customer(bank, actor.cid)
    rewards = await catalogue.all_rewards(bank)
    grants = await _grants(bank, person, rewards.values())
    grants.sort(key=lambda grant: grant["at"], reverse=True)
    return {
        "redemptions": [
            _redemption(bank, grant, rewards[grant["reward"]], lang) for grant in grants
        ]
    }


def _redemption(bank: Bank, grant: Doc, reward: Doc, lang: str) -> dict[str, Any]:
    code = bank.services.vault.mac(grant["tenant"], "voucher", grant["_id"].encode())[:12].upper()
    return {
        "id": grant["_id"].split(":", 1)[1],
        "reward": grant["reward"],
        "title": _text(reward["title"], lang),
        "code": "-".join((code[:4], code[4:8], code[8:])),
        "at": grant["at"].isoformat(),
        "state": "granted",
    }
