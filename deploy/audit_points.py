"""Points for signing in, compared with how often a played customer signed in: what the bank's programme
says, up to its caps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from customers.banks.bank import Bank
from deploy.audit_bank import Differ
from deploy.truth_file import Customer
from rewards.points import caps, program
from rewards.points.document import Rule

SIGNED_IN = "customer.login"


async def check(
    bank: Bank, page: Iterable[tuple[Customer, list[str]]], differ: Differ, counts: Counter[str]
) -> None:
    """The customers of a page with their cids; nothing in a bank without a programme."""
    live = await program.find_live(bank)
    rules = live.program.rules if live is not None else {}
    giving = {
        name: rule
        for name, rule in rules.items()
        if rule.event == SIGNED_IN and rule.holds(bank.today())
    }
    for one, cids in page:
        for name, rule in giving.items() if cids else ():
            rows = await caps.read(bank, name, cids)
            earned = sum(row["used"].get("ever", 0) for row in rows)
            days = {span for row in rows for span in row["used"] if span.startswith("day-")}
            counts["points for signing in"] += earned
            least = brought(rule, one.logins, 1)
            most = brought(rule, one.login_tries, max(1, len(days)))
            if not least <= earned <= most:
                differ("points for signing in differ", one.id, f"{least} to {most}", earned)


def brought(rule: Rule, times: int, days: int) -> int:
    """What the rule brings for so many times on so many days."""
    of_days = rule.per_day * days if rule.per_day is not None else None
    most = [cap for cap in (of_days, rule.per_month, rule.ever) if cap is not None]
    return min([rule.points * times, *most])
