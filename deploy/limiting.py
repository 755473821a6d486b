"""`manage.py limits …`: what the platforms allow and what they have closed, and the lifting of it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from customers.banks.bank import open_bank
from deploy.commands import explain
from deploy.terminal import TenantOption, only_tenant, run
from operations.limits import ApiView
from services.container import Services

limits_app = typer.Typer(invoke_without_command=True)
out = Console(highlight=False, markup=False)


@limits_app.callback()
def show(context: typer.Context, tenant: TenantOption = "") -> None:
    """List the APIs that were called lately: how much of each allowance is used, what the platform
    closed, why and until when, and what waits behind it."""
    if context.invoked_subcommand is not None:
        return
    from operations import limits

    async def look(services: Services) -> tuple[str, list[ApiView]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return bank.id, await limits.overview(bank)

    bank, apis = run(look)
    if not apis:
        out.print(f"{bank}: no API was called lately")
        return
    table = Table(title=f"the platforms' limits for {bank}", title_justify="left", box=None)
    for name in ("API", "id", "used", "state", "waiting"):
        table.add_column(name, overflow="fold")
    for api in apis:
        table.add_row(
            explain(f"api_{api.state.name}").removeprefix("api_"),
            api.id,
            _used(api),
            _state(api),
            _waiting(api),
            style="bold" if api.is_closed else "",
        )
    out.print(table)


@limits_app.command()
def lift(
    api: Annotated[str, typer.Argument(help="an API's id or path, as `limits` lists it")],
    reason: Annotated[str, typer.Option(help="why it may be opened; goes into the audit trail")],
    tenant: TenantOption = "",
) -> None:
    """Open an API again that the platform closed, or have a refused secret tried again."""
    from operations import limits

    async def open_again(services: Services) -> None:
        bank = await open_bank(services, await only_tenant(services, tenant))
        await limits.lift(bank, f"cli:{getpass.getuser()}", api, reason)

    run(open_again)
    out.print(f"{api} is open again, and what waited behind it is due now")


def _used(api: ApiView) -> str:
    windows = [
        f"{used.used:,}/{used.most:,} in {_length(used.seconds)}" for used in api.state.windows
    ]
    return "\n".join(windows) or "no known limit"


def _length(seconds: float) -> str:
    names = {60.0: "a minute", 3600.0: "an hour", 86_400.0: "a day", 31 * 86_400.0: "a month"}
    return names.get(seconds, f"{seconds:g} s")


def _state(api: ApiView) -> str:
    block, refused = api.state.block, api.refused
    if refused is not None:
        return f"closed since its secret was refused with {refused.errcode}: {refused.errmsg}"
    if block is None:
        return "open"
    probe = (
        f"last probe {block.probed:%H:%M:%S} UTC: {block.answer}"
        if block.probed
        else "no probe yet"
    )
    return (
        f"closed since {block.since:%Y-%m-%d %H:%M:%S} until {block.until:%Y-%m-%d %H:%M:%S} UTC\n"
        f"{block.errcode} {block.errmsg}\nrefused {block.refusals} times, {probe}"
    )


def _waiting(api: ApiView) -> str:
    return "\n".join(
        f"{count} {explain(f'waits_{where}').removeprefix('waits_')}"
        for where, count in sorted(api.waiting.items())
    )
