"""The secrets of webhooks: made by a command and shown once; while one takes another's place, both
sign."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from customers.banks.bank import Bank
from customers.webhooks.rows import WEBHOOKS, WebhookRow, row_id
from services import ids
from services.clock import utc
from services.errors import NotFound, Unavailable
from services.store.mongo import Doc


def good(bank: Bank, row: WebhookRow) -> list[str]:
    """What is signed with now, the newest first; none before the first was made."""
    now = bank.now()
    return [
        one["secret"] for one in _opened(bank, row) if one["until"] is None or now < one["until"]
    ]


def _opened(bank: Bank, row: WebhookRow) -> list[dict[str, Any]]:
    sealed = row.get("secrets")
    if not sealed:
        return []
    found = bank.vault.open_json(WEBHOOKS, "secrets", row["_id"], sealed)
    return cast("list[dict[str, Any]]", found)


async def set_secret(bank: Bank, webhook: str, *, overlap: timedelta, by: str) -> str:
    """Makes a new secret; the one of before signs too for `overlap`. Raises NotFound
    `webhook_unknown`, and Unavailable while somebody else does the same."""
    found = await bank.db[WEBHOOKS].find_one({"_id": row_id(bank.id, webhook)})
    if found is None or webhook not in {hook.id for hook in bank.webhooks}:
        raise NotFound("webhook_unknown", f"{bank.id} has no webhook {webhook}")
    row, secret = cast("WebhookRow", found), ids.token()
    until = bank.now() + overlap.total_seconds()
    listed: list[dict[str, Any]] = [{"secret": secret, "until": None}]
    for one in _opened(bank, row):
        if one["until"] is None and overlap:
            listed.append({"secret": one["secret"], "until": until})
    days = overlap.total_seconds() / 86_400
    async with bank.audited(by, "webhook.secret_set", webhook, overlap_days=days):
        if not await _keep(bank, row, listed):
            raise Unavailable("busy", "somebody else gives this webhook a secret at this moment")
    return secret


async def _keep(bank: Bank, row: WebhookRow, listed: list[dict[str, Any]]) -> bool:
    """Whether the row was still as it was read."""
    sealed = bank.vault.seal_json(WEBHOOKS, "secrets", row["_id"], listed)
    as_read: Doc = {"_id": row["_id"], "rotated_at": row.get("rotated_at")}
    changed: Doc = {"$set": {"secrets": sealed, "rotated_at": utc(bank.now())}}
    return await bank.db[WEBHOOKS].update(as_read, changed)
