"""The chart of accounts: every kind of account there is, as data (contract/rewards 3).

An account's name is `kind:owner`. What it holds is what was credited to it less what was debited;
all accounts of a currency together hold nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from services.documents.parts import Text
from services.errors import InvalidInput

Currency = Literal["unit", "fen", "points"]
Owner = Literal["reward", "campaign", "customer", "program", "supplier", "staff", "quota", ""]

MOST_AMOUNT = 2**53
"""The highest amount of a leg, and of a guarded account: what every program reads exactly."""
MOST_NAME = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of account. `owner` is whose it is: what its name has behind the colon.

    `guarded`: it never holds less than its floor, whoever takes from it at once
    (rewards/ledger/accounts.py); the floor is 0, or what its owner says where it goes `below`.
    `lots`: what it holds expires, and what expires first is spent first. `in_stock`: its reward's
    own document guards it (rewards/stock.py).
    """

    name: str
    currency: Currency
    owner: Owner
    title: Text
    guarded: bool = False
    lots: bool = False
    in_stock: bool = False
    below: bool = False


def _kind(
    name: str,
    currency: Currency,
    owner: Owner,
    zh: str,
    en: str,
    *,
    guarded: bool = False,
    lots: bool = False,
    in_stock: bool = False,
    below: bool = False,
) -> Kind:
    return Kind(name, currency, owner, Text(zh=zh, en=en), guarded, lots, in_stock, below)


_KINDS = (
    _kind("supply", "unit", "reward", "权益供给", "Supplied", in_stock=True),
    _kind("stock", "unit", "reward", "库存", "Stock", in_stock=True),
    _kind("issued", "unit", "reward", "已发放未使用", "Issued, not used"),
    _kind("used", "unit", "reward", "已核销", "Used"),
    _kind("expired", "unit", "reward", "已过期", "Expired"),
    _kind("delivered", "unit", "reward", "已送达", "Delivered"),
    _kind("returned", "unit", "reward", "寄送退回", "Returned parcels"),
    _kind("recalled", "unit", "reward", "已收回", "Recalled"),
    _kind("refunded", "unit", "reward", "已退回", "Refunded"),
    _kind("made_good", "unit", "reward", "补发", "Made good", below=True),
    _kind("retired", "unit", "reward", "已下架", "Retired", in_stock=True),
    _kind("funds", "fen", "campaign", "预算拨入", "Funds provided"),
    _kind("budget", "fen", "campaign", "活动预算", "Campaign budget", guarded=True),
    _kind("spent", "fen", "campaign", "活动支出", "Campaign spending"),
    _kind("points", "points", "customer", "客户积分", "Customer points", guarded=True, lots=True),
    _kind("points_issued", "points", "program", "积分发放", "Points issued"),
    _kind("points_spent", "points", "program", "积分使用", "Points spent"),
    _kind("points_expired", "points", "program", "积分过期", "Points expired"),
    _kind("points_adjusted", "points", "program", "积分更正", "Points corrected"),
    _kind("supplier", "fen", "supplier", "供应商清算", "Supplier clearing"),
    _kind("fee", "fen", "", "手续费", "Fees"),
    _kind("quota", "unit", "quota", "限额", "Quota", guarded=True, below=True),
    _kind("quota_cost", "fen", "quota", "金额限额", "Quota of cost", guarded=True, below=True),
    _kind("quota_used", "unit", "quota", "限额使用", "Quota used"),
    _kind("quota_cost_used", "fen", "quota", "金额限额使用", "Quota of cost used"),
    _kind(
        "allowance", "unit", "staff", "员工发放额度", "Allowance of a staff member", guarded=True
    ),
    _kind("allowance_used", "unit", "staff", "员工额度使用", "Allowance used"),
)
CHART: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
"""Every kind of account by its name."""


def kind_of(account: str) -> Kind:
    """The kind of the account of that name; raises InvalidInput `account_unknown`."""
    name, _, owner = account.partition(":")
    kind = CHART.get(name)
    if kind is None or bool(owner) != bool(kind.owner) or len(account) > MOST_NAME:
        raise InvalidInput("account_unknown", f"no account {account[:MOST_NAME]}")
    return kind


def owner_of(account: str) -> str:
    """Whose the account is: what its name has behind the colon."""
    return account.partition(":")[2]


@lru_cache(maxsize=4096)
def in_books(account: str) -> str:
    """The account as the books have it: of the customers, the staff and the quotas it is one for
    all, `kind:*`."""
    kind = kind_of(account)
    return f"{kind.name}:*" if kind.owner in ("customer", "staff", "quota") else account
