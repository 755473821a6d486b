"""What was published about a promotion, by version: shown before the first action, and kept with each
grant under its hash.

A text that was published once stays readable under its hash for good. A customer accepts a version
once, by saying its hash; a claim that says nothing accepts what is shown with the reward, unless the
document asks for more (`accept: required`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, cast

import orjson

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.rows import Limits, Reward
from services import ids
from services.errors import Conflict
from services.store.mongo import Doc
from services.store.rows import Rows

DISCLOSURES = Rows("disclosures")
"""What was published about promotions, each version once."""
DISCLOSURE_ACCEPTANCES = Rows("disclosure_acceptances", shard="cid")
"""Which version of a disclosure a customer accepted."""


class Published(TypedDict):
    """A version of a campaign's `terms`; its hash is in the `_id`."""

    _id: str
    campaign: str
    terms: dict[str, str]
    at: datetime


class Acceptance(TypedDict):
    """The customer `cid` accepted the version `digest` of the campaign's disclosure."""

    _id: str
    cid: str
    campaign: str
    digest: str
    at: datetime


def digest_of(terms: Mapping[str, str]) -> str:
    """The version of these terms, as their hash; empty without any."""
    if not terms:
        return ""
    return ids.fingerprint(orjson.dumps(dict(terms), option=orjson.OPT_SORT_KEYS))[:32]


def digest(reward: Reward) -> str:
    """The version that is shown with the reward."""
    return digest_of(reward.get("terms", {}))


async def publish(bank: Bank, campaign: str, terms: Mapping[str, str]) -> None:
    """Keeps the version for good. Running it again changes nothing."""
    if not terms:
        return
    row: Published = {
        "_id": ids.tenant_id(bank.id, "disclosure", campaign, digest_of(terms)),
        "campaign": campaign,
        "terms": dict(terms),
        "at": bank.utc(),
    }
    await bank.db[DISCLOSURES].insert_new([cast("Doc", row)])


async def version(bank: Bank, campaign: str, wanted: str) -> Mapping[str, str] | None:
    """The terms of a campaign's version, by its hash."""
    row_id = ids.tenant_id(bank.id, "disclosure", campaign, wanted)
    row = (await bank.read(DISCLOSURES, [row_id])).get(row_id)
    return cast("Published", row)["terms"] if row is not None else None


def _acceptance_id(bank: Bank, campaign: str, wanted: str, cid: str) -> str:
    return ids.tenant_id(bank.id, "accepted", campaign, wanted, cid)


async def accepted(bank: Bank, reward: Reward, cids: Sequence[str]) -> bool:
    """Whether the customer, under any of his ids, accepted the version that is shown now."""
    shown, campaign = digest(reward), reward["campaign"]
    wanted = [_acceptance_id(bank, campaign, shown, cid) for cid in cids]
    return bool(shown) and bool(await bank.read(DISCLOSURE_ACCEPTANCES, wanted))


async def accepted_among(bank: Bank, rewards: Sequence[Reward], cids: Sequence[str]) -> set[str]:
    """Those of the rewards, by id, of which the customer accepted the version that is shown now."""
    by_id = {
        _acceptance_id(bank, reward["campaign"], digest(reward), cid): reward["reward"]
        for reward in rewards
        for cid in cids
        if digest(reward)
    }
    rows = await bank.read(DISCLOSURE_ACCEPTANCES, list(by_id))
    campaigns = {(row["campaign"], row["digest"]) for row in rows.values()}
    return {one["reward"] for one in rewards if (one["campaign"], digest(one)) in campaigns}


async def accept(bank: Bank, reward: Reward, cid: str, said: str) -> None:
    """Writes down that the customer accepts the version `said`. Repeating it adds nothing. Raises
    Conflict `disclosure_changed` when another version is shown by now."""
    _check_current(reward, said)
    row: Acceptance = {
        "_id": _acceptance_id(bank, reward["campaign"], said, cid),
        "cid": cid,
        "campaign": reward["campaign"],
        "digest": said,
        "at": bank.utc(),
    }
    await bank.insert(DISCLOSURE_ACCEPTANCES, cast("Doc", row))


def _check_current(reward: Reward, said: str) -> None:
    if said != digest(reward):
        why = "the rules have changed; read them again before you accept"
        raise Conflict("disclosure_changed", why)


def must_accept(reward: Reward) -> bool:
    """Whether the document asks for a customer's own word before he claims."""
    return bool((reward.get("limits") or Limits()).get("must_accept"))


async def missing(bank: Bank, reward: Reward, cids: Sequence[str], said: str) -> Conflict | None:
    """What a claim that accepts the version `said` is refused for, as far as the disclosure goes:
    `disclosure_changed`, or `disclosure_required` where the customer's own word is asked for and was
    not given; None when it may go on. An acceptance that is new is written down."""
    if said:
        try:
            await accept(bank, reward, cids[0], said)
        except Conflict as refusal:
            return refusal
        return None
    if must_accept(reward) and not await accepted(bank, reward, cids):
        return Conflict("disclosure_required", "accept the rules first: say their hash")
    return None


async def view(bank: Bank, reward_id: str, cids: Sequence[str]) -> dict[str, Any]:
    """The disclosure of a reward as the customer is shown it: its hash, the terms, whether his own
    word is asked for, and whether he gave it. Raises NotFound."""
    reward = await catalogue.find(bank, reward_id)
    return {
        "reward": reward["reward"],
        "disclosure": digest(reward),
        "terms": reward.get("terms", {}),
        "required": must_accept(reward),
        "accepted": await accepted(bank, reward, cids),
    }
