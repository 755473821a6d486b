"""`manage.py limits …`: what the platforms allow and what they have closed, and the lifting of it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.console import Console

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
    for api in apis:
        if api.is_closed:
            out.print(f"{_name(api)} is {_state(api)}")
            out.print(f"  waiting behind it: {_waiting(api) or 'nothing'}")
            out.print(f"  python manage.py limits lift {api.id} --reason …\n")
    out.print(f"what {bank} has used of the platforms' limits:")
    for api in apis:
        out.print(f"{_name(api)}  {api.id}", soft_wrap=True)
        waiting = f"; waiting: {_waiting(api)}" if _waiting(api) else ""
        out.print(
            f"  {'closed' if api.is_closed else 'open'}; {_used(api)}{waiting}", soft_wrap=True
        )


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


def _name(api: ApiView) -> str:
    return explain(f"api_{api.state.name}").removeprefix("api_")


def _used(api: ApiView) -> str:
    windows = [
        f"{used.used:,} / {used.most:,} {_length(used.seconds)}" for used in api.state.windows
    ]
    return ", ".join(windows) or "no known limit"


def _length(seconds: float) -> str:
    names = {60.0: "a minute", 3600.0: "an hour", 86_400.0: "a day", 31 * 86_400.0: "a month"}
    return names.get(seconds, f"in {seconds:g} s")


def _state(api: ApiView) -> str:
    block, refused = api.state.block, api.refused
    if refused is not None:
        return f"closed since its secret was refused: {refused.errcode} {api.answer}"
    if block is None:
        return "open"
    probe = (
        f"last probe {block.probed:%H:%M:%S} UTC: {block.answer}"
        if block.probed
        else "no probe yet"
    )
    return (
        f"closed since {block.since:%Y-%m-%d %H:%M:%S} UTC, until {block.until:%Y-%m-%d %H:%M:%S} UTC"
        f" at the latest\n  {block.errcode} {api.answer}\n"
        f"  refused {block.refusals} times, {probe}"
    )


def _waiting(api: ApiView) -> str:
    return ", ".join(
        f"{count} {explain(f'waits_{where}').removeprefix('waits_')}"
        for where, count in sorted(api.waiting.items())
    )
