"""What a rule may ask of a customer, and where his profile has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from customers.banks import staff
from customers.banks.bank import Bank
from customers.banks.declarations import FieldEntry, Label
from customers.fields import values
from customers.fields.checks import check, is_findable
from customers.rfm.cuts import FIFTHS
from customers.rules.vocabulary import Function, Kind, Name, Titles, Vocabulary
from customers.wecom_mirror import tags
from services.errors import InvalidInput

Known = Mapping[str, Titles] | None
"""Which texts a function takes, with their titles; None: any."""

BUILT_IN = (
    Name(
        name="customer.bound",
        kind="bool",
        path=("bound",),
        titles={"zh": "已绑定手机号", "en": "phone bound"},
    ),
    Name(
        name="customer.added_at",
        kind="moment",
        path=("added_at",),
        titles={"zh": "首次添加好友时间", "en": "first added as a friend"},
    ),
    Name(
        name="customer.created_at",
        kind="moment",
        path=("created_at",),
        titles={"zh": "成为已知客户时间", "en": "known since"},
    ),
    Name(
        name="rm.since",
        kind="moment",
        path=("rms", "since"),
        titles={"zh": "与客户经理成为好友的时间", "en": "friend of an RM since"},
        earliest=True,
    ),
)
RFM = tuple(
    Name(name=f"rfm.{letter}", kind="number", path=("rfm", letter), titles=said, out_of=FIFTHS)
    for letter, said in (
        ("r", {"zh": "最近一次交易（R）", "en": "recency"}),
        ("f", {"zh": "交易频次（F）", "en": "frequency"}),
        ("m", {"zh": "交易金额（M）", "en": "value"}),
    )
)
"""What there is where the bank declares it."""


async def of_bank(bank: Bank, more: Mapping[Function, Known] | None = None) -> Vocabulary:
    """The bank's vocabulary over profiles; `more` says what the functions take that other rooms know
    of. Fields that no rule can ask for are not in it."""
    fields = [_field(bank, one) for one in bank.fields.values() if is_findable(one)]
    known: dict[Function, Known] = {
        "tag": {name: {} for name in (await tags.known(bank)).values()},
        "rm": {row["userid"]: _alike(row["name"]) for row in await staff.everybody(bank)},
        "branch": {branch: _alike(name) for branch, name in bank.branches.items()},
        "event": {name: titles(event.label) for name, event in bank.events.items()},
    }
    rfm = RFM if bank.rfm is not None else ()
    return Vocabulary(
        names={name.name: name for name in (*BUILT_IN, *rfm, *fields)},
        removed=[f"customer.{key}" for key in sorted(bank.removed_fields)],
        undeclared={name.name: "rule_rfm" for name in RFM if bank.rfm is None},
        known={**known, **(more or {})},
        offset=offset_of(bank),
    )


def titles(label: Label) -> Titles:
    return {"zh": label.zh, "en": label.en}


def _alike(name: str) -> Titles:
    return {"zh": name, "en": name}


def offset_of(bank: Bank) -> int:
    """So many seconds east of UTC is the bank's zone."""
    east = datetime.fromtimestamp(bank.now(), bank.tz).utcoffset()
    return 0 if east is None else int(east.total_seconds())


def _field(bank: Bank, declared: FieldEntry) -> Name:
    name, said = f"customer.{declared.key}", titles(declared.name)
    if declared.sealed:
        path, blind = ("blind", declared.key), _blind(bank, declared)
        return Name(name=name, kind="sealed", path=path, titles=said, secret=True, blind=blind)
    kind: Kind = declared.type
    choices = {one.value: titles(one.label) for one in declared.choices}
    return Name(name=name, kind=kind, path=("fields", declared.key), titles=said, choices=choices)


def _blind(bank: Bank, declared: FieldEntry) -> Callable[[str], str]:
    """Makes the index of what a rule says, which is a text whatever the field's type is; that of
    nothing where the text is no value of the field."""

    def index(text: str) -> str:
        try:
            value = check(declared, _READ.get(declared.type, str)(text))
        except (InvalidInput, ValueError):
            return ""
        return values.blind_index(bank, declared.key, value)

    return index


_READ: Mapping[str, Callable[[str], Any]] = {"number": float, "money": int}
