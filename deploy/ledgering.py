"""The ledger at the command line: its proof, the trial balance, an account's balance and lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from customers.banks import bank as banks
from customers.banks.bank import Bank
from deploy.terminal import TenantOption, fail, only_tenant, print_table, run
from rewards import ledger
from rewards.ledger import rebuild, statement
from rewards.ledger.statement import Line
from rewards.pools import proof
from services.container import Services

ledger_app = typer.Typer(no_args_is_help=True)
Account = Annotated[str, typer.Argument(help="an account's name, as `trial` lists them")]
At = Annotated[
    str, typer.Option("--at", help="a day (its end) or a time, 2026-11-30 or 2026-11-30T12:00")
]
INTERRUPTED = 130
MOST_SHOWN = 1_000
"""So many lines of a statement are printed, the last ones; its totals are of all."""


@contextmanager
def progress_bar(bank: str) -> Iterator[ledger.Progress | None]:
    """A bar in a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(f"{bank}: transfers", total=None)
        yield lambda n, about: bar.update(task, completed=n, total=about)


@ledger_app.command("check")
def ledger_check(
    tenant: TenantOption = "",
    every: Annotated[bool, typer.Option("--all", help="every bank")] = False,
    lined: Annotated[bool, typer.Option("--lines", help="the accounts' lines as well")] = False,
) -> None:
    """Prove that nothing was oversold, spent twice or lost."""

    async def check(services: Services) -> dict[str, tuple[list[str], list[dict[str, Any]]]]:
        known = [bank.id for bank in await banks.list_banks(services)]
        wanted = known if every else [await only_tenant(services, tenant)]
        found = {}
        for name in wanted:
            bank = await banks.open_bank(services, name)
            with progress_bar(name) as progress:
                problems = await ledger.check(bank, progress, lined=lined)
                problems += await proof.check(bank)
                found[name] = (problems, await ledger.summary(bank))
        return found

    try:
        found = run(check)
    except KeyboardInterrupt:
        print("interrupted: nothing was changed, and nothing is proved", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    for bank, (problems, rows) in found.items():
        print_table(f"Rewards of {bank}", rows)
        print(f"{bank}: " + ("the ledger holds" if not problems else f"{len(problems)} violations"))
        for problem in problems:
            print(f"  {problem}")
    if any(problems for problems, _ in found.values()):
        raise typer.Exit(1)


@ledger_app.command("rebuild")
def ledger_rebuild(
    tenant: TenantOption = "",
    every: Annotated[bool, typer.Option("--all", help="every bank")] = False,
) -> None:
    """Write the accounts' lines that transfers do not have, such as those of before there were lines."""

    async def make(services: Services) -> dict[str, int]:
        known = [bank.id for bank in await banks.list_banks(services)]
        wanted = known if every else [await only_tenant(services, tenant)]
        made = {}
        for name in wanted:
            bank = await banks.open_bank(services, name)
            with progress_bar(name) as progress:
                made[name] = await rebuild.rebuild(bank, progress)
        return made

    try:
        made = run(make)
    except KeyboardInterrupt:
        print("interrupted: what was written stays; run it again for the rest", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    for bank, pages in made.items():
        print(f"{bank}: {pages} lines were missing, none is now")


def moment(bank: Bank, at: str) -> datetime:
    """The time that is meant, in the bank's time; the end of a day; now where nothing is said. Ends
    the command when it is neither."""
    try:
        if not at:
            return bank.utc()
        if len(at) == len("2026-11-30"):
            return statement.end_of(bank, date.fromisoformat(at)) - statement.MOMENT
        time = datetime.fromisoformat(at)
        return time if time.tzinfo else time.replace(tzinfo=bank.tz)
    except (ValueError, OverflowError):
        fail(f"{at} is neither a day such as 2026-11-30 nor a time such as 2026-11-30T12:00")


@ledger_app.command("balance")
def ledger_balance(account: Account, at: At = "", tenant: TenantOption = "") -> None:
    """Say what an account held at a time."""

    async def balance(services: Services) -> str:
        bank = await banks.open_bank(services, await only_tenant(services, tenant))
        time = moment(bank, at)
        name = statement.known_account(account)
        held = await statement.balance_at(bank, name, time)
        currency = ledger.kind_of(name).currency
        return f"{name}: {held} {currency} at {time.astimezone(bank.tz):%Y-%m-%d %H:%M:%S}"

    print(run(balance))


@ledger_app.command("trial")
def ledger_trial(at: At = "", tenant: TenantOption = "") -> None:
    """Print the trial balance."""

    async def trial(services: Services) -> list[dict[str, Any]]:
        bank = await banks.open_bank(services, await only_tenant(services, tenant))
        lines = await statement.trial(bank, moment(bank, at))
        rows = [
            _trial_row(line.account, line.kind.currency, line.debit, line.credit) for line in lines
        ]
        for currency in dict.fromkeys(line.kind.currency for line in lines):
            of_it = [line for line in lines if line.kind.currency == currency]
            debit, credit = sum(one.debit for one in of_it), sum(one.credit for one in of_it)
            rows.append(_trial_row("together", currency, debit, credit))
        return rows

    rows = run(trial)
    print_table("Trial balance", rows)
    if not rows:
        print("nothing was posted yet")


def _trial_row(account: str, currency: str, debit: int, credit: int) -> dict[str, Any]:
    return {"account": account, "currency": currency, "debit": debit, "credit": credit}


@ledger_app.command("statement")
def ledger_statement(
    account: Account,
    month: Annotated[str, typer.Option("--month", help="2026-11; else the last 30 days")] = "",
    tenant: TenantOption = "",
) -> None:
    """Print an account's lines with the balance after each."""

    async def lines(services: Services) -> tuple[int, list[Line], Bank]:
        bank = await banks.open_bank(services, await only_tenant(services, tenant))
        name = statement.known_account(account)
        now = bank.utc() + statement.MOMENT
        since, until = statement.month_of(bank, month) if month else (now - timedelta(days=30), now)
        opening = (await statement.turnover(bank, name, since)).balance
        return opening, [one async for one in statement.lines(bank, name, since, until)], bank

    opening, found, bank = run(lines)
    print(f"{account}: {opening} at the beginning")
    rows = [
        {
            "time": f"{line.at.astimezone(bank.tz):%Y-%m-%d %H:%M:%S}",
            "transfer": line.id,
            "kind": line.kind,
            "debit": max(0, -line.amount) or "",
            "credit": max(0, line.amount) or "",
            "balance": line.balance,
        }
        for line in found[-MOST_SHOWN:]
    ]
    print_table("Lines", rows)
    debits = sum(max(0, -line.amount) for line in found)
    credits_ = sum(max(0, line.amount) for line in found)
    print(
        f"{len(found)} lines: {debits} debited, {credits_} credited, {opening + credits_ - debits} at the end"
    )
