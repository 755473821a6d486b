"""The rows of rewards: what they are and their stock, the ledger's transfers, and offers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NotRequired, TypedDict, cast

from customers.banks.bank import IDS_AT_ONCE, Bank
from services import ids
from services.store.mongo import Doc
from services.store.rows import Rows


class Lease(TypedDict):
    """`n` units that one batch of claims holds since `at`, counted on the bank's `day`: those of
    the first `n` of the grants `ids`, of which each costs `cost` fen."""

    n: int
    at: datetime
    day: str
    ids: list[str]
    cost: NotRequired[int]


class Move(TypedDict):
    """The `n`-th change of a reward's stock."""

    n: int
    difference: int


class QuotaRow(TypedDict):
    """At most `most` pieces (`unit` count) or fen (`unit` cost) of what `over` names, a reward or a
    campaign, for each of `per` in each `period`."""

    over: str
    per: str
    period: str
    unit: str
    most: int


class Limits(TypedDict, total=False):
    """What a reward's document says of whom it is given to, besides stock and slots. `eligible` is a
    rule in which `codes` tells the states of the campaign's code groups; `most` rewards of the
    bank's that have the same `stack` is what a customer may have; `fallback` is the reward that is
    given instead. `must_accept`: a customer says that he accepts the disclosure before he claims."""

    quotas: list[QuotaRow]
    eligible: str
    eligible_text: dict[str, str]
    codes: dict[str, list[str]]
    stack: str
    most: int
    fallback: str
    must_accept: bool


class Reward(TypedDict):
    """A reward and its stock; `total` = `available` + `held` + `granted` + `retired`.

    `cost` in fen; `item` is all that the reward is (rewards/item.py), and `of_item` the item of the
    catalogue in the version `item_version` that it is made of (empty for none). It may be claimed
    from `starts` until before `ends`, the end of the last day that `terms` promises. `vouchers` is
    there when all its grants have one, `lined` when all its transfers have their lines in the books;
    until then `lining` is how far that is. `slots` is the highest `per_customer` there ever was,
    `declared` the stock of the document, `moves` how often it was changed, and `move` the change
    whose line the ledger may not have yet. `days` are the units taken on each of the bank's days,
    and `spent` the fen of those that were granted. Of one that is `guarded` each grant draws on the
    campaign's budget (rewards/budget.py), which is being opened while it is `opening`; `dearest` is
    the highest `cost` there ever was. `allowance` is how many a month an RM may offer, by role.
    Below `low` left somebody is told; `low_said` that he was, `low_dips` how often it is over.
    """

    _id: str
    reward: str
    campaign: str
    kind: str
    title: dict[str, str]
    text: dict[str, str]
    cost: int
    item: NotRequired[Doc]
    per_customer: int
    per_day: int | None
    open_to: str
    allowance: NotRequired[dict[str, int]]
    starts: datetime
    ends: datetime
    terms: NotRequired[dict[str, str]]
    vouchers: NotRequired[int]
    lined: NotRequired[int]
    lining: NotRequired[str]
    of_item: NotRequired[str]
    item_version: NotRequired[int]
    slots: int
    declared: int
    total: int
    available: int
    held: int
    granted: int
    retired: int
    days: dict[str, int]
    spent: NotRequired[dict[str, int]]
    limits: NotRequired[Limits]
    guarded: NotRequired[bool]
    opening: NotRequired[bool]
    dearest: NotRequired[int]
    moves: int
    move: NotRequired[Move]
    state: str
    created_at: datetime
    low: NotRequired[int]
    low_said: NotRequired[bool]
    low_dips: NotRequired[int]


class RewardRow(Reward):
    """A reward with the leases on its stock, by batch."""

    leases: dict[str, Lease]


class Transfer(TypedDict):
    """A line of the ledger: `amount` units go from account `debit` to account `credit`."""

    _id: str
    reward: str
    debit: str
    credit: str
    amount: int
    at: datetime


class Leg(TypedDict):
    """`amount` of `currency` goes from account `debit` to account `credit`, with the transfer."""

    debit: str
    credit: str
    amount: int
    currency: str


class StockLine(Transfer):
    """Units that were supplied, or taken away again."""

    kind: Literal["stock", "retire"]
    cid: None


class Code(TypedDict):
    """A code of a pool: the `n`-th of an upload (its `lot`), good until before `expires`
    (rewards/pools/rows.py)."""

    pool: str
    lot: str
    n: int
    expires: datetime | None


class Grant(Transfer):
    """A unit that a customer was granted under lease `batch`. `key` and `body` are hashes of his
    request's; `idem` is there where a customer may have several, and where this reward or another
    may be given. It was given `instead_of` a reward of which nothing was left. `place` says whose
    the claim was, `terms` is the version of the disclosure that he was shown, and `accepted` that
    he said so; `points` is there where the reward is so many of them, `code` where it is one out
    of a pool."""

    kind: Literal["grant"]
    tenant: str
    cost: int
    cid: str
    key: str
    body: str
    batch: str
    legs: NotRequired[list[Leg]]
    idem: NotRequired[str]
    instead_of: NotRequired[str]
    place: NotRequired[Place]
    terms: NotRequired[str]
    accepted: NotRequired[bool]
    points: NotRequired[int]
    code: NotRequired[Code]


class MadeGood(Transfer):
    """Which code of a pool the voucher `_id` shows, which takes the place of the voucher
    `instead_of`; decided under lease `batch`. It moves nothing: what it costs and its unit have
    lines of their own."""

    kind: Literal["made_good"]
    tenant: str
    cid: str
    instead_of: str
    code: Code
    batch: str


CODED: Doc = {"kind": {"$in": ["grant", "made_good"]}}
"""The transfers that may have a code of a pool."""


class Void(TypedDict):
    """What stands where a transfer never arrived: no write of its `dead` batches may replace it."""

    _id: str
    kind: Literal["void"]
    tenant: str
    debit: str
    credit: str
    amount: int
    at: datetime
    cid: None
    batch: str
    dead: list[str]


class Place(TypedDict, total=False):
    """Whose a claim is: the state of the code by which the customer came, the RM and the branch; what
    is not known is missing."""

    channel: str
    branch: str
    staff: str


class VoucherLine(Transfer):
    """What became of the unit of `voucher`, because of `why`; a make-good brings a unit of its
    own."""

    kind: Literal["voucher"]
    cid: str
    voucher: str
    why: str


class Offer(TypedDict):
    """The right to claim a reward, made by a step of the run `run`; `place` says whose it is. One of
    an RM's own is the `slot` of his month, for a sealed `reason`; `key` is the hash of his form's."""

    _id: str
    cid: str
    reward: str
    run: str
    at: datetime
    place: NotRequired[Place]
    slot: NotRequired[str]
    key: NotRequired[str]
    reason: NotRequired[bytes]


def doc_id(tenant: str, reward: str) -> str:
    return f"{tenant}:{reward}"


def grant_ids(tenant: str, reward: Reward, cids: Iterable[str]) -> list[str]:
    """The ids of all grants that a customer may have of the reward under these of his ids. No
    other can exist: each is made of tenant, reward, customer and slot, the n-th of
    `per_customer`."""
    name, slots = reward["reward"], reward["slots"]
    return [
        ids.tenant_id(tenant, "grant", name, cid, slot) for cid in cids for slot in range(slots)
    ]


def stock_line_id(tenant: str, reward: str, move: Move) -> str:
    """The `_id` of the ledger's line of a stock change; it comes from the change's number, so
    telling it twice is once."""
    return ids.tenant_id(tenant, "stock", reward, move["n"])


UNSETTLED: Doc = {"$or": [{"held": {"$gt": 0}}, {"move": {"$exists": True}}, {"opening": True}]}
"""Rewards whose claims or changes are not counted or told yet."""
REWARDS = Rows("rewards")
"""A reward and its stock, in one document."""
TRANSFERS = Rows("transfers", unique="idem")
"""The ledger's transfers. By `_id` in a cluster, not by customer: a void must meet the grant whose
id it has."""
OFFERS = Rows("offers", unique="slot", sealed=("reason",))
"""The right of one customer to claim one reward. An RM's own are few, so their slots are under a
unique index of their own (decision 0049)."""


CLAIMED = "+claimed"
"""The step of who was granted a reward."""


def claims_of(tenant: str, rewards: Sequence[str]) -> Doc:
    """A pipeline's stage that adds rows {cid, steps} of who was granted one of these rewards."""
    grants = {"tenant": tenant, "kind": "grant", "reward": {"$in": list(rewards)}}
    pipeline = [{"$match": grants}, {"$project": {"cid": 1, "steps": [CLAIMED]}}]
    return {"$unionWith": {"coll": TRANSFERS, "pipeline": pipeline}}


async def void(bank: Bank, batch: str, row_ids: Sequence[str]) -> None:
    """Puts a void under each of the ids that has no transfer: it moves nothing, and `batch` cannot
    write there any more."""
    at = bank.utc()
    rows = [_void(bank.id, batch, row_id, at) for row_id in row_ids]
    await bank.db[TRANSFERS].insert_new(cast("list[Doc]", rows))
    for start in range(0, len(row_ids), IDS_AT_ONCE):
        voids = {"_id": {"$in": list(row_ids[start : start + IDS_AT_ONCE])}, "kind": "void"}
        await bank.db[TRANSFERS].update_many(voids, {"$addToSet": {"dead": batch}})


def _void(tenant: str, batch: str, row_id: str, at: datetime) -> Void:
    return {
        "_id": row_id,
        "tenant": tenant,
        "kind": "void",
        "batch": batch,
        "cid": None,
        "at": at,
        "dead": [batch],
        "debit": "",
        "credit": "",
        "amount": 0,
    }
