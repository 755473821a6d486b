"""The secrets of webhooks: made by a command and shown once; while one takes another's place, both
sign."""

from __future__ import annotations

from datetime import timedelta

from customers.banks import secrets
from customers.banks.bank import Bank
from customers.banks.secrets import Holders
from customers.webhooks.rows import WEBHOOKS, WebhookRow
from services.errors import NotFound

WEBHOOK = Holders(noun="webhook", rows=WEBHOOKS, secret_set="webhook.secret_set")


def good(bank: Bank, row: WebhookRow) -> list[str]:
    """What is signed with now, the newest first; none before the first was made."""
    return secrets.present(secrets.good(bank, WEBHOOK, row), bank.now())


async def set_secret(bank: Bank, webhook: str, *, overlap: timedelta, by: str) -> str:
    """Makes a new secret, as secrets.give does; the one of before signs too for `overlap`. Raises
    NotFound `webhook_unknown`."""
    if webhook not in {hook.id for hook in bank.webhooks}:
        raise NotFound("webhook_unknown", f"{bank.id} has no webhook {webhook}")
    return await secrets.give(bank, WEBHOOK, webhook, overlap=overlap, by=by)
