"""What a customer sees and does in the mini-program: his home, the rewards, claiming, his
vouchers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from config.bounds import MOST_ENTRIES
from customers import relationships
from customers.actors import CustomerActor
from customers.banks.bank import Bank
from customers.banks.staff import staff_member
from customers.identity import resolution
from rewards import catalogue, claims, offers, stock
from rewards.rows import TRANSFERS, Grant, Reward, grant_ids
from rewards.shipping import shipments
from rewards.shipping.rows import Shipment
from services import ids
from services.cache import Slot, TtlCache
from services.errors import InvalidInput, NotFound, YinqiaoError

HOME_SECONDS = 1.0
_HOMES: Slot[TtlCache[tuple[str, str, str], bytes]] = Slot("homes", lambda: TtlCache(20_000))


@dataclass(frozen=True)
class Claimed:
    """The answer to a claim; `replayed` when an earlier answer to the same key is given again."""

    view: dict[str, Any]
    replayed: bool


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


def invalidate_home(bank: Bank, actor: CustomerActor) -> None:
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
    """The first of the customer's friends who works here."""
    for friend in await relationships.of_customer(bank, person.cids):
        try:
            staff = await staff_member(bank, friend["userid"])
        except NotFound:
            continue
        return {"name": staff.name, "branch": bank.branches.get(staff.branch, staff.branch)}
    return None


async def list_rewards(bank: Bank, actor: CustomerActor, lang: str) -> dict[str, Any]:
    """The rewards that this customer may see: offered to him or open to anyone."""
    person = await resolution.customer(bank, actor.cid)
    return {"rewards": await _rewards(bank, person, lang)}


async def _rewards(bank: Bank, person: resolution.Customer, lang: str) -> list[dict[str, Any]]:
    shown = await _visible(bank, person)
    grants = await _grants(bank, person, shown)
    had = Counter(grant["reward"] for grant in grants)
    return [_reward_view(bank, reward, lang, had[reward["reward"]]) for reward in shown]


async def _visible(bank: Bank, person: resolution.Customer) -> list[Reward]:
    """The rewards that are open to anyone or offered to the customer, by id."""
    rewards = await catalogue.all_rewards(bank)
    closed = [name for name, reward in rewards.items() if reward["open_to"] != "anyone"]
    offered = await offers.offered(bank, [(name, cid) for name in closed for cid in person.cids])
    hidden = set(closed) - {name for name, _ in offered}
    return [reward for name, reward in sorted(rewards.items()) if name not in hidden]


def _reward_view(bank: Bank, reward: Reward, lang: str, had: int) -> dict[str, Any]:
    return {
        "id": reward["reward"],
        "title": _text(reward["title"], lang),
        "text": _text(reward["text"], lang),
        "kind": reward["kind"],
        "state": "claimed" if had >= reward["per_customer"] else _state(bank, reward),
        "left": reward["available"],
        "until": reward["ends"].isoformat(),
        "terms": reward.get("terms", {}),
    }


def _state(bank: Bank, reward: Reward) -> str:
    reason = catalogue.why_closed(reward, bank.utc(), stock.today(bank))
    return {"": "claimable", "quota_day": "sold_out"}.get(reason, reason)


def _text(texts: Mapping[str, str], lang: str) -> str:
    return texts.get(lang) or texts.get("zh") or ""


async def _grants(
    bank: Bank, person: resolution.Customer, rewards: Iterable[Reward]
) -> list[Grant]:
    """The customer's grants among these rewards: their ids are known, so no index is needed."""
    wanted = [one for reward in rewards for one in grant_ids(bank.id, reward, person.cids)]
    found = (await bank.read(TRANSFERS, wanted)).values()
    return [cast("Grant", row) for row in found if row["kind"] == "grant"]


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
    fingerprint = ids.fingerprint(key.encode())
    request = claims.Claim(reward, tuple(cids), fingerprint, _body_hash(body), tuple(shared))
    granted = await _counted(bank, request)
    invalidate_home(bank, actor)
    row = await catalogue.find(bank, reward)
    sent = await shipments.of_grants(bank, [granted.grant])
    voucher = _voucher_view(bank, granted.grant, row, lang, sent)
    return Claimed({"redemption": voucher}, granted.replayed)


async def _counted(bank: Bank, request: claims.Claim) -> claims.Granted:
    """The grant; what became of the claim is counted in the metrics."""
    outcomes = bank.services.metrics.claims
    try:
        granted = await claims.claim(bank, request)
    except YinqiaoError as error:
        outcomes.labels(error.code).inc()
        raise
    outcomes.labels("replayed" if granted.replayed else "granted").inc()
    return granted


def _body_hash(body: bytes) -> str:
    try:
        value = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise InvalidInput("body_not_json", "the body is not JSON") from error
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise InvalidInput("body_not_object", "the body is not a JSON object")
    try:
        return ids.fingerprint(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    except orjson.JSONEncodeError as error:
        raise InvalidInput("body_not_json", "the body is nested too deep") from error


async def vouchers(bank: Bank, actor: CustomerActor, lang: str) -> dict[str, Any]:
    """All that the customer was granted, newest first, each with the code that he shows."""
    person = await resolution.customer(bank, actor.cid)
    rewards = await catalogue.all_rewards(bank)
    grants = await _grants(bank, person, rewards.values())
    grants.sort(key=lambda grant: grant["at"], reverse=True)
    sent = await shipments.of_grants(bank, grants)
    views = [_voucher_view(bank, grant, rewards[grant["reward"]], lang, sent) for grant in grants]
    return {"redemptions": views}


def _voucher_view(
    bank: Bank, grant: Grant, reward: Reward, lang: str, sent: Mapping[str, Shipment]
) -> dict[str, Any]:
    code = bank.services.vault.mac(bank.id, "voucher", grant["_id"].encode())[:12].upper()
    shipment = sent.get(grant["_id"])
    return {
        "id": grant["_id"].split(":", 1)[1],
        "reward": grant["reward"],
        "title": _text(reward["title"], lang),
        "code": "" if shipment is not None else "-".join((code[:4], code[4:8], code[8:])),
        "at": grant["at"].isoformat(),
        "state": "granted" if shipment is None else shipment["state"],
        "kind": reward["kind"],
        "delivery": None if shipment is None else shipments.view(bank, shipment),
    }


async def delivery(bank: Bank, actor: CustomerActor, redemption: str, lang: str) -> dict[str, Any]:
    """One of the customer's physical rewards: its title, and where it is. Raises NotFound
    `shipment_unknown`."""
    row = await shipments.his(bank, actor, redemption)
    return {"id": redemption, "title": _text(row["title"], lang), **shipments.view(bank, row)}


async def put_address(
    bank: Bank, actor: CustomerActor, redemption: str, fields: dict[str, str], version: str
) -> dict[str, Any]:
    """The customer says where his reward goes; what `rewards/shipping/shipments.py:put_address`
    raises."""
    row = await shipments.put_address(bank, actor, redemption, fields, version)
    return shipments.view(bank, row)
