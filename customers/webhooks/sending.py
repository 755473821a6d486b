"""One delivery on the wire: signed, sent once, and what its receiver's answer means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from customers.banks.bank import Bank
from customers.banks.files import Webhook
from customers.identity import resolution
from customers.webhooks import signing
from customers.webhooks.rows import Delivery
from services.errors import NotFound

SECONDS = 10.0
"""So long a receiver may take to answer."""
MOST_READ = 65_536
"""So much of an answer is read, and thrown away, so that the connection may be used again."""
LONGEST_WAIT = 3_600.0
"""Seconds: no receiver puts the next try off for longer."""
GONE, SLOW, UNREACHABLE = "webhook_gone", "webhook_slow", "webhook_unreachable"
REDIRECTED, BROKEN, REFUSED = "webhook_redirected", "webhook_broken", "webhook_refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try: delivered when there is no `reason`. `status` is 0 without an answer;
    `wait` is what the receiver asked for, in seconds."""

    reason: str = ""
    status: int = 0
    wait: float = 0.0

    @property
    def silent(self) -> bool:
        """Whether it speaks against the receiver as a whole, not against this delivery."""
        return self.reason in (SLOW, UNREACHABLE, BROKEN, REDIRECTED) or self.status == 429


def message(bank: Bank, row: Delivery, customer: dict[str, str]) -> bytes:
    """The body of a delivery."""
    return orjson.dumps(
        {
            "id": row["happening"],
            "event": row["event"],
            "at": row["at"].astimezone(bank.tz).isoformat(timespec="milliseconds"),
            "bank": bank.id,
            "customer": customer,
            "data": row["data"],
        }
    )


async def customer_of(bank: Bank, cid: str) -> dict[str, str]:
    """What the bank's systems know the customer by: his `cid` now, and the bank's number and WeCom's
    id, where they are known."""
    try:
        known = await resolution.customer(bank, cid)
    except NotFound:
        return {"cid": cid}
    ids = {"number": known.number, "external_userid": known.external_userid}
    return {"cid": known.cid} | {name: value for name, value in ids.items() if value}


async def send(
    bank: Bank, hook: Webhook, secrets: list[str], row: Delivery, customer: dict[str, str]
) -> Outcome:
    """Sends one delivery and waits for its answer, whose body nobody keeps. Raises nothing of the
    wire's: what it was is in the outcome."""
    body = message(bank, row, customer)
    headers = _headers(secrets, row, body, int(bank.now()))
    http = bank.services.platform.bank_http(bank.id, f"webhook:{hook.id}")
    try:
        async with (
            asyncio.timeout(SECONDS),
            http.stream("POST", hook.url, content=body, headers=headers, timeout=SECONDS) as answer,
        ):
            await _throw_away(answer)
    except (httpx.TimeoutException, TimeoutError):
        return Outcome(SLOW)
    except (httpx.HTTPError, httpx.InvalidURL):
        return Outcome(UNREACHABLE)
    return judged(answer.status_code, answer.headers, bank.now())


def _headers(secrets: list[str], row: Delivery, body: bytes, second: int) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": "Yinqiao-Webhooks",
        "Yinqiao-Event": row["event"],
        "Yinqiao-Delivery": row["happening"],
        "Yinqiao-Attempt": str(row["attempts"] + 1),
        "Yinqiao-Timestamp": str(second),
        "Yinqiao-Signature": signing.signatures(secrets, second, body),
    }


async def _throw_away(answer: httpx.Response) -> None:
    read = 0
    async for some in answer.aiter_raw():
        read += len(some)
        if read > MOST_READ:
            return


def judged(status: int, headers: Any, now: float) -> Outcome:
    """What an answer means."""
    if 200 <= status < 300:
        return Outcome("", status)
    wait = _asked_for(headers.get("Retry-After", ""), now)
    if status == 410:
        return Outcome(GONE, status)
    if 300 <= status < 400:
        return Outcome(REDIRECTED, status, wait)
    return Outcome(BROKEN if status >= 500 else REFUSED, status, wait)


def _asked_for(header: str, now: float) -> float:
    """Seconds that a Retry-After asks for; 0 for what is none."""
    if header.isascii() and header.isdigit():
        return min(LONGEST_WAIT, float(header[:9]))
    try:
        return min(LONGEST_WAIT, max(0.0, parsedate_to_datetime(header).timestamp() - now))
    except (ValueError, OverflowError):
        return 0.0
