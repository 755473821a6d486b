"""`manage.py sync …`: the sync with WeCom from the command line. The work is the workers'; here one
looks on."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from customers.banks.bank import open_bank
from deploy.terminal import TenantOption, only_tenant, run
from operations.sync.view import Progress
from services.container import Services
from services.errors import Conflict, NotFound

LOOK_SECONDS = 0.5


sync_app = typer.Typer(invoke_without_command=True)
out = Console(highlight=False)
Watching = Annotated[bool, typer.Option("--watch", help="look on until it is over")]


def bar(sync: Progress) -> RenderableType:
    """The sync's parts as a table with a bar each."""
    title = f"sync {sync['number']}: {sync['state']}" + (
        f" ({sync['reason']})" if sync["reason"] else ""
    )
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("part", min_width=11)
    table.add_column("", width=16)
    for name in ("done", "a second", "new", "changed", "gone", "errors"):
        table.add_column(name, justify="right")
    for part in sync["parts"]:
        pulsing = part["state"] == "running" and part["total"] is None
        progress = ProgressBar(total=1.0, completed=part["share"], pulse=pulsing, width=16)
        total = f" / {part['total']}" if part["total"] not in (None, part["done"]) else ""
        figures = [part["new"], part["changed"], part["gone"], part["errors"]]
        table.add_row(
            part["name"],
            progress,
            f"{part['done']:,}{total}",
            f"{part['rate']:,.0f}",
            *(f"{figure:,}" for figure in figures),
        )
    return table


async def watch(services: Services, bank: str) -> None:
    """Shows the sync until it is over."""
    from operations.sync import view

    with Live(console=out, refresh_per_second=4) as live:
        while True:
            sync = await view.progress(await open_bank(services, bank))
            if sync is None:
                return
            live.update(bar(sync))
            if not sync["open"]:
                return
            await asyncio.sleep(LOOK_SECONDS)


@sync_app.callback()
def begin(
    context: typer.Context,
    tenant: TenantOption = "",
    watching: Watching = False,
    part: Annotated[
        list[str] | None, typer.Option(help="only this part; may be given again")
    ] = None,
) -> None:
    """Bring in everything that WeCom has: members, customers, tags, live codes, acquisition
    links."""
    if context.invoked_subcommand is not None:
        return
    from operations.sync import run as syncing

    async def start(services: Services) -> None:
        bank = await only_tenant(services, tenant)
        number, begun = await syncing.start(
            await open_bank(services, bank), _by(), parts=part or ()
        )
        out.print(f"{bank}: sync {number} {'has begun' if begun else 'is running already'}")
        if watching:
            await watch(services, bank)

    _look_on(start)


@sync_app.command()
def status(tenant: TenantOption = "", watching: Watching = False) -> None:
    """Say how far the newest sync is, and what could not be brought in."""

    async def show(services: Services) -> None:
        bank = await only_tenant(services, tenant)
        await _show(services, bank)
        if watching:
            await watch(services, bank)

    _look_on(show)


@sync_app.command()
def retry(
    error: Annotated[str, typer.Argument(help="an error's id, or all")], tenant: TenantOption = ""
) -> None:
    """Try one object again, or all that could not be brought in."""
    if run(lambda services: _retry(services, tenant, error)):
        raise typer.Exit(1)


@sync_app.command()
def cancel(tenant: TenantOption = "") -> None:
    """End the sync that runs; what it wrote stays."""
    from operations.sync import run as syncing

    async def end(services: Services) -> tuple[str, int]:
        bank = await only_tenant(services, tenant)
        return bank, await syncing.cancel(await open_bank(services, bank), _by())

    bank, number = run(end)
    out.print(f"{bank}: sync {number} is cancelled")


def _by() -> str:
    return f"cli:{getpass.getuser()}"


def _look_on(use_case: Callable[[Services], Awaitable[None]]) -> None:
    """Ctrl-C ends the looking on and not the work."""
    try:
        run(use_case)
    except KeyboardInterrupt:
        out.print(
            "the workers go on: `python manage.py sync status --watch` looks on again, `sync cancel` ends it"
        )


async def _show(services: Services, bank: str) -> None:
    from operations.sync import view

    sync = await view.progress(await open_bank(services, bank))
    out.print(bar(sync) if sync else f"{bank}: there was no sync yet: python manage.py sync")
    errors = await view.errors(await open_bank(services, bank))
    if errors:
        table = Table(title="could not be brought in", title_justify="left", box=None)
        for name in ("id", "part", "object", "code", "attempts"):
            table.add_column(name, overflow="fold")
        for row in errors:
            table.add_row(row["id"], row["part"], row["object"], row["code"], str(row["attempts"]))
        out.print(table)
    number, differences = await view.differences(await open_bank(services, bank))
    if number is not None:
        more = " or more" if len(differences) == view.MOST_DIFFERENCES else ""
        out.print(
            f"the last nightly comparison, sync {number}, found {len(differences)}{more} differences"
        )


async def _retry(services: Services, tenant: str, error: str) -> int:
    """Tries one error or all again; how many failed."""
    from operations.sync import run as syncing
    from operations.sync import view

    bank = await only_tenant(services, tenant)
    at_bank = await open_bank(services, bank)
    wanted = [row["id"] for row in await view.errors(at_bank)] if error == "all" else [error]
    failed = 0
    for one in wanted:
        try:
            worked = await syncing.retry(await open_bank(services, bank), _by(), one)
        except (Conflict, NotFound) as refusal:
            if error != "all":
                raise
            failed += 1
            out.print(f"{one}: {refusal.message}")
        else:
            failed += not worked
            out.print(f"{one}: {'mended' if worked else 'failed again'}")
    return failed
