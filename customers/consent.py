"""The consent ledger: who agreed to what text, when and where (PIPL art. 13 to 17,
contract/trust 3.3).
Rows are never changed."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, cast

from customers.banks.bank import Bank
from services import ids
from services.errors import InvalidInput
from services.store.mongo import Doc
from services.store.rows import Rows


class Consent(TypedDict):
    """What a customer agreed to: the purpose, the version of the text and the text's hash."""

    _id: str
    cid: str
    purpose: str
    version: str
    channel: str
    text_sha256: str
    at: datetime


CONSENTS = Rows("consents")
"""Who agreed to what text, when and where."""

TEXTS: dict[tuple[str, str], dict[str, str]] = {
    ("phone", "phone/2026-11"): {
        "zh": "我同意本行收集我的手机号码，用于确认我的客户身份和联系我。我可以随时撤回同意。",
        "en": "I agree that the bank collects my phone number to confirm who I am and to contact me. I can withdraw at any time.",
    }
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
    """Records a consent; giving the same again is no second row."""
    shown = "|".join(text[language] for language in sorted(text))
    row: Consent = {
        "_id": ids.tenant_id(bank.id, "consent", cid, purpose, version),
        "cid": cid,
        "purpose": purpose,
        "version": version,
        "channel": channel,
        "text_sha256": ids.fingerprint(shown.encode()),
        "at": bank.utc(),
    }
    await bank.db[CONSENTS].insert_new([cast("Doc", row)])
