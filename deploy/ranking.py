"""`manage.py rfm …`: customers ranked by how recently, how often and for how much."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from customers.banks.bank import Bank, open_bank
from customers.rfm.rows import Ranking
from customers.rules.days import iso
from deploy.terminal import TenantOption, only_tenant, print_table, run
from services.container import Services

rfm_app = typer.Typer(no_args_is_help=True)
out = Console(highlight=False)
LOOK_SECONDS = 0.2
STEPS = {"measure": "measuring", "move": "moving"}


@rfm_app.command("rank")
def rank(tenant: TenantOption = "") -> None:
    """Rank a bank's customers now, beside the workers or without them. Cut short, a worker or the
    same command goes on."""

    async def work(services: Services) -> tuple[str, int, int]:
        from customers.rfm import asking, rows

        bank = await open_bank(services, await only_tenant(services, tenant))
        await asking.ask(bank)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[found]}"),
        )
        with Progress(*columns, console=out) as bar:
            await _until_over(bank, bar)
        row = await rows.find(bank)
        if row is None or (live := row.get("live")) is None:
            return bank.id, 0, 0
        return bank.id, live["ranked"], row["changed"]

    bank, ranked, changed = run(work)
    out.print(f"{bank}: {ranked:,} customers are ranked; {changed:,} of them moved")


@rfm_app.command("show")
def show(tenant: TenantOption = "") -> None:
    """Say by what a bank's customers are ranked, when they were, and where the fifths end."""

    async def found(services: Services) -> tuple[str, list[dict[str, Any]]]:
        from customers.rfm import rows

        bank = await open_bank(services, await only_tenant(services, tenant))
        live = await rows.live(bank)
        if live is None:
            return (
                "nobody is ranked: the bank's file declares no rfm, or its first night is to come",
                [],
            )
        at = datetime.fromtimestamp(live["at"], bank.tz).strftime("%Y-%m-%d %H:%M:%S")
        said = f"{live['ranked']:,} customers, ranked at {at} by {', '.join(live['events'])}"
        return said, _ends(live) if live["ranked"] else []

    said, ends = run(found)
    out.print(said)
    print_table("up to and with", ends)


def _ends(live: Ranking) -> list[dict[str, Any]]:
    """The values that end the lower fifths, as people write them."""
    written: dict[str, Callable[[int], str]] = {
        "r": iso,
        "f": lambda n: f"{n:,}",
        "m": lambda fen: f"{fen / 100:,.2f}",
    }
    called = {"r": "recency: last day", "f": "frequency: times", "m": "value: yuan"}
    return [
        {
            "": called[name],
            **{str(nth): written[name](end) for nth, end in enumerate(live["cuts"][name], 1)},
        }
        for name in "rfm"
    ]


async def _until_over(bank: Bank, bar: Progress) -> None:
    """Works at the night, or waits while somebody else does, until it is over."""
    from customers.rfm import asking, nights, rows
    from operations import profiling
    from services.store import leases

    task = bar.add_task(STEPS["measure"], total=None, found="")
    while (row := await rows.find(bank)) is not None and row["state"] == asking.RANKING:
        step, done, of = nights.progress(row)
        found = f"{row['changed']:,} moved"
        bar.update(task, description=STEPS[step], completed=done, total=of, found=found)
        nights_rows = bank.db[rows.RFM_NIGHTS]
        owner, mine = await leases.claim(
            nights_rows, bank.now(), limit=1, seconds=nights.LEASE_SECONDS
        )
        for one in mine:
            await profiling.rank(await bank.current(), owner, one)  # type: ignore[arg-type]
        if not mine:
            await asyncio.sleep(LOOK_SECONDS)
