"""Effects that came to nothing: one alarm for all that fail for the same reason, with how many there
were, since when, and its end. No failure that somebody must mend goes by unheard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from customers.alerts import alarms
from customers.banks.bank import Bank
from services.wechat.core.errors import SlowDown

UNGREETED, FAILING = "welcome.unsent", "effect.failing"
"""Customers who got no welcome: the heads of the branches are told too, since somebody should greet
them by hand. And everything else that was to happen outside and did not."""
WELCOME = "welcome"
QUIET_SECONDS = 120.0
"""When nothing has failed for the same reason for so long, it is over."""


@dataclass(frozen=True, slots=True)
class _Failed:
    bank: Bank
    effect: str
    reason: str


async def failed(bank: Bank, effect: str, reason: str) -> None:
    """An effect of that kind ended without success, for that reason."""

    async def flush(items: list[_Failed]) -> Sequence[None]:
        banks = {item.bank.id: item.bank for item in items}
        counts = Counter((item.bank.id, item.effect, item.reason) for item in items)
        for (tenant, kind, why), times in counts.items():
            await _gather(banks[tenant], kind, why, times)
        return [None] * len(items)

    group = bank.services.groups.get("troubles", flush, lanes=1)
    await group.submit(_Failed(bank, effect, _root(reason)))


async def settle(bank: Bank) -> None:
    """Writes the end into the alarms of what is over."""
    until = bank.utc() - timedelta(seconds=QUIET_SECONDS)
    await alarms.end_gathering(bank, (UNGREETED, FAILING), until)


async def _gather(bank: Bank, effect: str, reason: str, times: int) -> None:
    if effect == WELCOME:
        heads = [head for head in bank.heads.values() if head]
        await alarms.gather(bank, UNGREETED, reason, times, userids=heads, reason=reason)
        return
    await alarms.gather(bank, FAILING, reason, times, among={"effects": effect}, reason=reason)


def _root(reason: str) -> str:
    """A reason without how often it was tried, and a limit without who said so, the platform or our
    own limiter while the platform rests: so that alike is alike."""
    code, _, rest = reason.partition(":")
    reason = rest if code.startswith("gave_up_after_") and rest else reason
    return SlowDown.name if reason.startswith(f"{SlowDown.name}:") else reason
