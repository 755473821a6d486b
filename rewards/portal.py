"""What a customer sees and does in the mini-program: his home, the rewards, claiming, his
vouchers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from config.bounds import MOST_ENTRIES
from customers.actors import CustomerActor
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import budget, catalogue, claims, disclosure, offers, place, stock
from rewards.limits import GONE
from rewards.pools.codes import codes_of
from rewards.rows import TRANSFERS, Grant, Limits, Reward, grant_ids
from rewards.shipping import shipments
from rewards.shipping.rows import Shipment
from rewards.vouchers import gifts, held, issuing
from services import ids
from services.cache import Slot, TtlCache
from services.errors import Conflict, InvalidInput, YinqiaoError

HOME_SECONDS = 1.0
_SHELVES: Slot[dict[tuple[str, str], _Shelf]] = Slot("shelves", dict)
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
    person = await resolution.named(bank, actor.cid)
    profile = {
        "name": resolution.mask_name(person.name),
        "phone": resolution.mask_phone(person.phone),
        "bound": bool(person.phone),
    }
    return {
        "customer": profile,
        "rm": await _manager(bank, person.cids),
        "rewards": await _rewards(bank, person.cids, lang),
    }


async def _manager(bank: Bank, cids: Sequence[str]) -> dict[str, str] | None:
    found = await place.manager(bank, cids)
    if found is None:
        return None
    _, staff = found
    return {"name": staff.name, "branch": bank.branches.get(staff.branch, staff.branch)}


async def list_rewards(bank: Bank, actor: CustomerActor, lang: str) -> dict[str, Any]:
    """The rewards that this customer may see: offered to him or open to anyone."""
    cids = await resolution.cids(bank, actor.cid)
    return {"rewards": await _rewards(bank, cids, lang)}


async def _rewards(bank: Bank, cids: Sequence[str], lang: str) -> list[dict[str, Any]]:
    shelf = _shelf(bank, await catalogue.all_rewards(bank), lang)
    shown = await _visible(bank, shelf.rewards, cids)
    behind = {
        one["reward"]: one for reward in shown for one in catalogue.stand_ins(shelf.rewards, reward)
    }
    pays = await budget.pays_for(bank, [*shown, *behind.values()])
    grants = await _grants(bank, cids, {one["reward"]: one for one in shown} | behind)
    had = Counter(grant.get("instead_of", grant["reward"]) for grant in grants)
    return [_reward_view(shelf, reward, had[reward["reward"]], pays) for reward in shown]


@dataclass(frozen=True)
class _Shelf:
    """All rewards by id as they were read at one time, with what everybody is told of them: the
    `faces` are views without `state` and `left`, `closed` is why nothing is given of a reward."""

    rewards: Mapping[str, Reward]
    faces: Mapping[str, dict[str, Any]]
    closed: Mapping[str, str]


def _shelf(bank: Bank, rewards: Mapping[str, Reward], lang: str) -> _Shelf:
    """The shelf of these rewards, made once each time that they are read."""
    shelves, key = bank.services.cache.of(_SHELVES), (bank.id, lang)
    known = shelves.get(key)
    if known is None or known.rewards is not rewards:
        now, day = bank.utc(), stock.today(bank)
        known = shelves[key] = _Shelf(
            rewards,
            {name: _face(row, lang) for name, row in rewards.items()},
            {name: catalogue.why_closed(row, now, day) for name, row in rewards.items()},
        )
    return known


def _face(reward: Reward, lang: str) -> dict[str, Any]:
    return {
        "id": reward["reward"],
        "title": _text(reward["title"], lang),
        "text": _text(reward["text"], lang),
        "kind": reward["kind"],
        "state": "",
        "left": 0,
        "until": reward["ends"].isoformat(),
        "terms": reward.get("terms", {}),
        "disclosure": disclosure.digest(reward),
        "must_accept": disclosure.must_accept(reward),
    }


async def _visible(bank: Bank, rewards: Mapping[str, Reward], cids: Sequence[str]) -> list[Reward]:
    """The rewards that are open to anyone or offered to the customer, by id."""
    closed = [name for name, reward in rewards.items() if reward["open_to"] != "anyone"]
    offered = await offers.offered(bank, [(name, cid) for name in closed for cid in cids])
    hidden = set(closed) - {name for name, _ in offered}
    return [reward for name, reward in sorted(rewards.items()) if name not in hidden]


def _reward_view(
    shelf: _Shelf, reward: Reward, had: int, pays: Mapping[str, int]
) -> dict[str, Any]:
    """What a customer who was granted `had` of the reward sees of it; `pays` is how many the budget
    pays for of those that draw on one."""
    name, left = reward["reward"], reward["available"]
    taken = had >= reward["per_customer"]
    return shelf.faces[name] | {
        "state": "claimed" if taken else _state(shelf, reward, pays),
        "left": min(left, pays.get(name, left)),
    }


def _state(shelf: _Shelf, reward: Reward, pays: Mapping[str, int]) -> str:
    """Whether it can be claimed: of itself, or since another is given instead."""
    reason = _why_closed(shelf, reward, pays)
    if reason in GONE and any(
        not _why_closed(shelf, one, pays) for one in catalogue.stand_ins(shelf.rewards, reward)
    ):
        return "claimable"
    return {"": "claimable", "quota_day": "sold_out", "budget": "sold_out"}.get(reason, reason)


def _why_closed(shelf: _Shelf, reward: Reward, pays: Mapping[str, int]) -> str:
    name = reward["reward"]
    return shelf.closed[name] or ("" if pays.get(name, 1) else "budget")


def _text(texts: Mapping[str, str], lang: str) -> str:
    return texts.get(lang) or texts.get("zh") or ""


async def _grants(bank: Bank, cids: Sequence[str], rewards: Mapping[str, Reward]) -> list[Grant]:
    """The customer's grants among these rewards: their ids are known, so no index is needed."""
    wanted = [one for reward in rewards.values() for one in grant_ids(bank.id, reward, cids)]
    found = (await bank.read(TRANSFERS, wanted)).values()
    return [cast("Grant", row) for row in found if row["kind"] == "grant"]


async def claim(
    bank: Bank, actor: CustomerActor, reward: str, key: str, body: bytes, lang: str = "zh"
) -> Claimed:
    """Claims `reward` under the idempotency key, bound to the customer and the reward.

    `body` is the request's body: empty or a JSON object, of which `disclosure` is the hash of the
    disclosure that the customer accepts; the same key with another body raises KeyReused. Raises
    Conflict with a reason code, NotFound, InvalidInput, Unavailable.
    """
    if not key:
        raise InvalidInput("idempotency_key_missing", "a claim needs the header Idempotency-Key")
    cids, shared = await resolution.claimant(bank, actor.cid)
    fingerprint = ids.fingerprint(key.encode())
    said = _body(body)
    wanted = await catalogue.find(bank, reward)
    barred, accepted = await _judged(bank, wanted, cids, said)
    granted = await _counted(
        bank,
        claims.Claim(
            reward,
            tuple(cids),
            fingerprint,
            ids.fingerprint(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)),
            tuple(shared),
            barred=barred,
            accepted=accepted,
        ),
        lang,
    )
    invalidate_home(bank, actor)
    grant = granted.grant
    row = await catalogue.find(bank, grant["reward"])
    codes = await codes_of(bank, [grant]) if "code" in grant else {}
    sent = await shipments.of_grants(bank, [grant]) if row["kind"] == shipments.KIND else {}
    view = _granted_view(bank, grant, row, lang, codes, sent)
    return Claimed({"redemption": view}, granted.replayed)


async def _judged(
    bank: Bank, reward: Reward, cids: Sequence[str], said: Mapping[str, Any]
) -> tuple[Conflict | None, bool]:
    """What the claim is refused for as far as the disclosure goes, and whether the customer said
    that he accepts it."""
    word = str(said.get("disclosure") or "")
    barred = await disclosure.missing(bank, reward, cids, word)
    return barred, barred is None and (bool(word) or disclosure.must_accept(reward))


async def accepted(bank: Bank, actor: CustomerActor, rewards: Sequence[str]) -> set[str]:
    """Those of the rewards whose disclosure the customer accepted in the version that is shown."""
    cids, _ = await resolution.claimant(bank, actor.cid)
    known = await catalogue.all_rewards(bank)
    shown = [known[name] for name in rewards if name in known]
    return await disclosure.accepted_among(bank, shown, cids)


async def read_disclosure(bank: Bank, actor: CustomerActor, reward: str) -> dict[str, Any]:
    """What was published about the reward's promotion, for the customer to accept. Raises
    NotFound."""
    cids, _ = await resolution.claimant(bank, actor.cid)
    return await disclosure.view(bank, reward, cids)


async def accept_disclosure(
    bank: Bank, actor: CustomerActor, reward: str, said: str
) -> dict[str, Any]:
    """The customer accepts the version `said`; the disclosure as it stands then. Raises NotFound,
    and Conflict `disclosure_changed` when another version is shown by now."""
    cids, _ = await resolution.claimant(bank, actor.cid)
    row = await catalogue.find(bank, reward)
    await disclosure.accept(bank, row, cids[0], said)
    return await disclosure.view(bank, reward, cids)


async def _counted(bank: Bank, request: claims.Claim, lang: str) -> claims.Granted:
    """The grant; what became of the claim is counted in the metrics."""
    outcomes = bank.services.metrics.claims
    try:
        granted = await claims.claim(bank, request)
    except YinqiaoError as error:
        outcomes.labels(error.code).inc()
        if error.code == "not_eligible" and "rule" in error.data:
            raise await _in_words(bank, request.reward, error, lang) from error
        raise
    outcomes.labels("replayed" if granted.replayed else "granted").inc()
    return granted


async def _in_words(bank: Bank, reward: str, refusal: YinqiaoError, lang: str) -> YinqiaoError:
    """The refusal of somebody who does not meet the reward's rule, in the document's words where it
    has some."""
    limits = (await catalogue.find(bank, reward)).get("limits") or Limits()
    said = _text(limits.get("eligible_text", {}), lang) or refusal.message
    return Conflict(refusal.code, said, fields=dict(refusal.data), data=refusal.data)


def _body(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a claim."""
    try:
        value = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise InvalidInput("body_not_json", "the body is not JSON") from error
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise InvalidInput("body_not_object", "the body is not a JSON object")
    try:
        orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise InvalidInput("body_not_json", "the body is nested too deep") from error
    return value


def _granted_view(
    bank: Bank,
    grant: Grant,
    reward: Reward,
    lang: str,
    codes: Mapping[str, str],
    sent: Mapping[str, Shipment],
) -> dict[str, Any]:
    """What the customer was granted: a voucher as it is made, which happens behind the answer, or
    what it is besides. A repeated answer is the first."""
    if reward["kind"] not in issuing.KINDS:
        return _other_view(bank, grant, reward, lang, sent)
    return held.of_grant(bank, grant, reward, lang, codes)


def _other_view(
    bank: Bank, grant: Grant, reward: Reward, lang: str, sent: Mapping[str, Shipment]
) -> dict[str, Any]:
    """What was granted and is no voucher: points are on his account, a parcel has an address."""
    shipment = sent.get(grant["_id"])
    return {
        "id": grant["_id"].split(":", 1)[1],
        "reward": grant["reward"],
        "instead_of": grant.get("instead_of"),
        "title": _text(reward["title"], lang),
        "code": "",
        "points": grant.get("points"),
        "at": grant["at"].isoformat(),
        "state": "granted" if shipment is None else shipment["state"],
        "kind": reward["kind"],
        "delivery": None if shipment is None else shipments.view(bank, shipment),
    }


async def vouchers(bank: Bank, actor: CustomerActor, lang: str) -> dict[str, Any]:
    """All that the customer was granted or given, newest first, each with the code that he
    shows."""
    cids = await resolution.cids(bank, actor.cid)
    rewards = await catalogue.all_rewards(bank)
    grants = await _grants(bank, cids, rewards)
    rows = await held.of_customer(bank, cids, grants)
    codes = await held.pool_codes(bank, rows)
    views = [held.view(bank, row, rewards[row["reward"]], lang, codes) for row in rows]
    others = [one for one in grants if rewards[one["reward"]]["kind"] not in issuing.KINDS]
    sent = await shipments.of_grants(bank, others)
    views += [_other_view(bank, one, rewards[one["reward"]], lang, sent) for one in others]
    return {"redemptions": sorted(views, key=lambda view: view["at"], reverse=True)}


async def voucher(bank: Bank, actor: CustomerActor, redemption: str, lang: str) -> dict[str, Any]:
    """One of the customer's vouchers, with the QR code of this minute. Raises NotFound
    `voucher_unknown`."""
    cids = await resolution.cids(bank, actor.cid)
    return {"redemption": await held.shown(bank, cids, redemption, lang)}


async def offer(bank: Bank, actor: CustomerActor, redemption: str) -> dict[str, Any]:
    """The code with which another customer takes the voucher. Raises as gifts.offer."""
    cids = await resolution.cids(bank, actor.cid)
    offered = await gifts.offer(bank, cids, f"{bank.id}:{redemption}")
    return {"gift": {"code": offered.code, "until": offered.until.isoformat()}}


async def withdraw_offer(bank: Bank, actor: CustomerActor, redemption: str) -> None:
    """The voucher is offered to nobody any more. Raises NotFound `voucher_unknown`."""
    cids = await resolution.cids(bank, actor.cid)
    await gifts.take_back(bank, cids, f"{bank.id}:{redemption}")


async def take(bank: Bank, actor: CustomerActor, code: str, lang: str) -> dict[str, Any]:
    """The voucher that another customer gave, opened. Raises as gifts.take."""
    cids = await resolution.cids(bank, actor.cid)
    taken = await gifts.take(bank, cids, code)
    number = taken.partition(":")[2]
    return {"redemption": await held.shown(bank, cids, number, lang)}


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
