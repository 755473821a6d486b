"""The consent ledger: who agreed to what text, when and where, and who withdrew that (PIPL art. 13
to 17, contract/trust 3.3).

Rows are never changed. A withdrawal is a row of its own; what is agreed to after it is the next
round. What follows from a withdrawal is in customers/access/withdrawal.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.banks.bank import IDS_AT_ONCE, Bank
from services import ids
from services.errors import InvalidInput
from services.store.mongo import Doc
from services.store.rows import Rows

WITHDRAWN = "withdrawn"


class Consent(TypedDict):
    """What a customer agreed to: the purpose, the version of the text and the text's hash; or that
    he withdrew it (`state` says so, version and hash are empty). `round` counts the withdrawals
    before it, missing is 0."""

    _id: str
    cid: str
    purpose: str
    version: str
    channel: str
    text_sha256: str
    at: datetime
    state: NotRequired[str]
    round: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with one purpose: whether the customer agrees now (False too for who was never
    asked), since when, to which version, and whether he has withdrawn what he agreed to before."""

    purpose: str
    agrees: bool
    withdrawn: bool
    version: str = ""
    at: datetime | None = None


CONSENTS = Rows("consents", indexes=((("tenant", 1), ("cid", 1)),))
"""Who agreed to what text, when and where, and who withdrew it."""

TEXTS: dict[tuple[str, str], dict[str, str]] = {
    ("phone", "phone/2026-11"): {
        "zh": "我同意本行收集我的手机号码，用于确认我的客户身份和联系我。我可以随时撤回同意。",
        "en": "I agree that the bank collects my phone number to confirm who I am and to contact me. I can withdraw at any time.",
    },
    ("address", "address/2026-11"): {
        "zh": "我同意本行收集收件人的姓名、电话和地址，交给快递公司，仅用于寄送这份权益，送达后按期删除。我可以随时撤回同意。",
        "en": (
            "I agree that the bank collects the recipient's name, phone and address and passes them to a courier, only "
            "to send this reward, and deletes them some time after it was delivered. I can withdraw at any time."
        ),
    },
}


def text_of(purpose: str, version: str) -> dict[str, str]:
    """The text shown under that version; raises InvalidInput when there was no consent or no such
    text."""
    if not version:
        raise InvalidInput(
            "consent_missing", "the customer has not agreed", fields={"consent": "required"}
        )
    text = TEXTS.get((purpose, version))
    if text is None:
        raise InvalidInput(
            "consent_unknown", "no such consent text", fields={"consent": "unknown version"}
        )
    return text


async def give(
    bank: Bank,
    cid: str,
    purpose: str,
    version: str,
    text: dict[str, str],
    channel: str,
) -> None:
    """Records a consent; giving the same again is no second row, unless it was withdrawn."""
    shown = "|".join(text[language] for language in sorted(text))
    number = _round(await _rows(bank, [cid]), purpose)
    after = (number,) if number else ()
    row: Consent = {
        "_id": ids.tenant_id(bank.id, "consent", cid, purpose, version, *after),
        "cid": cid,
        "purpose": purpose,
        "version": version,
        "channel": channel,
        "text_sha256": ids.fingerprint(shown.encode()),
        "at": bank.utc(),
        "round": number,
    }
    await bank.db[CONSENTS].insert_new([cast("Doc", row)])


async def withdraw(bank: Bank, cid: str, purpose: str, channel: str) -> str:
    """Records that the customer `cid` withdraws what he agreed to for a purpose; the id of that
    row. Nothing stands after it until he agrees again; until then to withdraw again is the same
    row, also for two at once."""
    rows = [row for row in await _rows(bank, [cid]) if row["purpose"] == purpose]
    last = max(rows, key=_in_order, default=None)
    if last is not None and _is_end(last):
        return last["_id"]
    number = _round(rows, purpose)
    row: Consent = {
        "_id": ids.tenant_id(bank.id, "consent", cid, purpose, WITHDRAWN, number),
        "cid": cid,
        "purpose": purpose,
        "version": "",
        "channel": channel,
        "text_sha256": "",
        "at": bank.utc(),
        "state": WITHDRAWN,
        "round": number,
    }
    await bank.db[CONSENTS].insert_new([cast("Doc", row)])
    return row["_id"]


async def standing(bank: Bank, cids: Sequence[str], purpose: str) -> Standing:
    """How it stands with a purpose for the customer of these `cids` (his own id and those merged
    into him), read afresh: the newest word of any of them counts."""
    return _standing(await _rows(bank, cids), purpose)


async def withdrawn(bank: Bank, families: Mapping[str, Sequence[str]], purpose: str) -> set[str]:
    """Those of these customers, each with his own ids as in `standing`, who took back what they had
    agreed to."""
    every = [one for cids in families.values() for one in cids]
    rows: list[Consent] = []
    for start in range(0, len(every), IDS_AT_ONCE):
        rows += await _rows(bank, every[start : start + IDS_AT_ONCE])
    return {
        cid
        for cid, cids in families.items()
        if _standing([row for row in rows if row["cid"] in cids], purpose).withdrawn
    }


def _standing(rows: Sequence[Consent], purpose: str) -> Standing:
    last: dict[str, Consent] = {}
    for row in rows:
        if row["purpose"] == purpose:
            known = last.get(row["cid"])
            last[row["cid"]] = row if known is None else max(known, row, key=_in_order)
    newest = max(last.values(), key=lambda row: (row["at"], _is_end(row)), default=None)
    if newest is None:
        return Standing(purpose, agrees=False, withdrawn=False)
    gone = _is_end(newest)
    return Standing(purpose, not gone, gone, newest["version"], newest["at"])


def _in_order(row: Consent) -> tuple[int, bool]:
    """The order of one customer's rows, whatever the clocks said: a round ends with its
    withdrawal."""
    return row.get("round", 0), _is_end(row)


def _is_end(row: Consent) -> bool:
    return row.get("state") == WITHDRAWN


async def _rows(bank: Bank, cids: Sequence[str]) -> list[Consent]:
    found = await bank.db[CONSENTS].find({"cid": {"$in": list(cids)}}, limit=None)
    return cast("list[Consent]", found)


def _round(rows: Sequence[Consent], purpose: str) -> int:
    """How many withdrawals there were for a purpose."""
    return sum(row["purpose"] == purpose and _is_end(row) for row in rows)
