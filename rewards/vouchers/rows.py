"""The rows of vouchers: one of each grant, and one of each use that was asked for at a counter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from rewards.rows import Code
from services import ids
from services.store.mongo import Doc
from services.store.rows import Rows

GRANTED, ACTIVE = "granted", "active"
USED, EXPIRED, RECALLED, REFUNDED = "used", "expired", "recalled", "refunded"
OPEN = (GRANTED, ACTIVE)
"""The states in which a voucher may be used: `granted` until its customer opened it."""
STATES = (GRANTED, ACTIVE, USED, EXPIRED, RECALLED, REFUNDED)

VOUCHERS = Rows(
    "vouchers",
    indexes=(
        (("tenant", 1), ("indexes", 1)),
        (("tenant", 1), ("cid", 1), ("at", 1)),
        (("tenant", 1), ("campaign", 1), ("state", 1), ("at", 1)),
        (("tenant", 1), ("due", 1)),
        (("tenant", 1), ("gift.index", 1)),
    ),
    unique="index",
)
"""Vouchers, each under the `_id` of its grant. The row guards what is done with it: every change
names the `version` that it saw."""

VOUCHER_USES = Rows(
    "voucher_uses",
    indexes=(
        (("tenant", 1), ("counter", 1), ("at", 1)),
        (("tenant", 1), ("voucher", 1), ("at", 1)),
    ),
)
"""What was asked for at counters: a row for each counter and key of a request."""


VOUCHER_ACTS = Rows(
    "voucher_acts",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("state", 1), ("at", 1)),
        (("tenant", 1), ("voucher", 1), ("at", 1)),
    ),
)
"""What two clerks do with vouchers."""


class By(TypedDict):
    """Who did something with a voucher (rewards/vouchers/redeem.py:Redeemer), and where."""

    kind: str
    id: str
    name: str
    branch: str
    merchant: str
    place: str


class Step(TypedDict):
    """The `n`-th happening of a voucher, as long as it is not told everywhere: in the customer's
    timeline as `kind`, in the ledger where the unit went from account `debit` to `credit`, and in
    the row `use` of what was asked for at a counter, of which `data` says what became."""

    n: int
    kind: str
    at: datetime
    cid: str
    debit: str
    credit: str
    use: str
    data: dict[str, Any]


class Used(TypedDict):
    """A use as the voucher's row has it: `use` is its row in `voucher_uses`, `count` how many uses
    at once, `period` the one in which they count, `left` what was left after it."""

    use: str
    count: int
    period: str
    at: datetime
    by: By
    left: int


class Gift(TypedDict):
    """A voucher that its customer gives away: who has the code may take it until `until`."""

    index: str
    sealed: bytes
    until: datetime
    taken: NotRequired[bool]


class Voucher(TypedDict):
    """A voucher.

    `_id` is its grant's; `cid` whose it is now, `held` who had it before. `index` is the blind
    index of its code, which is made from `_id` and `nth` (rewards/vouchers/codes.py); `indexes` are
    those of all codes under which it is found. It may be used `uses` times in each `uses_per`, of
    which `used` were used in `period`, and before `expires`. `recent` are its last uses, `undone`
    those that were taken back or given up, `seen` the stamps of QR codes that were used of late. `steps` are
    those that may not be told yet, `last_step` the number of the newest, and `due` (seconds UTC) is
    when the job looks at it next; it reminds the customer at `remind`. `version` counts its changes.
    `code` is there when the one that is shown came out of a pool, `asked_for` when the customer
    claimed another reward, and `instead_of` names the voucher that this one makes good. `made_good` names the one that took
    this one's place; `making_good` says that it is about to.
    """

    _id: str
    cid: str
    reward: str
    campaign: str
    kind: str
    index: str
    indexes: list[str]
    nth: int
    state: str
    at: datetime
    expires: datetime | None
    uses: int
    uses_per: str
    used: int
    period: str
    recent: list[Used]
    undone: list[str]
    seen: list[str]
    steps: list[Step]
    last_step: int
    due: float | None
    remind: float | None
    version: int
    held: list[dict[str, Any]]
    cost: int
    code: NotRequired[Code]
    gift: NotRequired[Gift | None]
    instead_of: NotRequired[str]
    asked_for: NotRequired[str]
    paid_by: NotRequired[str]
    made_good: NotRequired[str]
    making_good: NotRequired[bool]


class Use(TypedDict):
    """A use of voucher `voucher` at `counter` (kind and id of who asked), under the hash `key` of
    the request's key. `asked` until it is done or refused, `undone` when it was taken back. Without a
    voucher the key was given up before anything was asked for."""

    _id: str
    voucher: str
    reward: str
    campaign: str
    counter: str
    by: By
    key: str
    count: int
    state: Literal["asked", "done", "undone", "refused"]
    at: datetime
    left: int
    why: NotRequired[str]
    undone: NotRequired[dict[str, Any]]


def use_id(tenant: str, counter: str, key: str) -> str:
    """The `_id` of what a counter asked for under the hash of a key: once, whatever it asked."""
    return ids.tenant_id(tenant, "voucher-use", counter, key)


async def find_voucher(bank: Bank, voucher: str) -> Voucher | None:
    """The voucher's row as it is now."""
    return cast("Voucher | None", (await bank.read(VOUCHERS, [voucher])).get(voucher))


async def find_use(bank: Bank, use: str) -> Use | None:
    """What was asked for, as it is now."""
    return cast("Use | None", (await bank.read(VOUCHER_USES, [use])).get(use))


async def find_vouchers(bank: Bank, wanted: Sequence[str]) -> dict[str, Voucher]:
    """The vouchers with these ids, by id."""
    return cast("dict[str, Voucher]", await bank.by_id(VOUCHERS, list(wanted)))


def as_doc(row: Voucher | Use) -> Doc:
    return cast("Doc", row)


class VoucherAct(TypedDict):
    """What a clerk asks another to agree to: `act` on `subject`, which is a voucher, a use or a
    campaign. A waiting row (services/store/leases.py) once it is agreed to and takes a while: `done`
    of `total` vouchers."""

    _id: str
    act: str
    subject: str
    voucher: str
    campaign: str
    reason: str
    author: str
    state: Literal["submitted", "approved", "rejected", "done", "failed"]
    why: str
    at: datetime
    open: bool
    due: float
    owner: str | None
    attempts: int
    total: int
    done: int
    decided_by: NotRequired[str]
    decided_at: NotRequired[datetime]
