"""Commands about the message archive: how it goes, and reading again what could not be read."""

from __future__ import annotations

import getpass

import typer

from customers.banks.bank import open_bank
from deploy.terminal import TenantOption, fail, only_tenant, print_table, run
from services.clock import utc
from services.container import Services
from services.store.mongo import Doc

archive_app = typer.Typer(no_args_is_help=True)


@archive_app.command()
def status(tenant: TenantOption = "") -> None:
    """Say how far the archive is pulled, and what is kept unread."""
    from customers.actors import ClerkActor
    from customers.archive import reading

    async def ask(services: Services) -> Doc | None:
        actor = ClerkActor(await only_tenant(services, tenant), "cli", "", frozenset())
        return await reading.status(await open_bank(services, actor.tenant), actor)

    told = run(ask)
    if told is None:
        fail("this bank has no message archive in its file")
    reason = f" ({told['reason']})" if told["reason"] else ""
    newest = f", written {utc(told['newest']):%Y-%m-%d %H:%M:%S} UTC" if told["newest"] else ""
    print(f"newest message: number {told['seq']}{newest}")
    print(f"behind: {told['lag']:.0f} s{reason}")
    rows = [{"kept unread": reason, "messages": count} for reason, count in told["unread"].items()]
    print_table("kept unread", rows)
    consents = ", ".join(f"{count} {state}" for state, count in told["consents"].items())
    print(f"consents: {consents or 'none'}")


@archive_app.command()
def retry(tenant: TenantOption = "") -> None:
    """Try again to read what was kept unread, for instance with a key that came later."""
    from customers.archive import pull

    async def again(services: Services) -> tuple[int, int]:
        return await pull.retry(
            await open_bank(services, await only_tenant(services, tenant)),
            f"cli:{getpass.getuser()}",
        )

    read, left = run(again)
    print(f"{read} messages are read now, {left} are still kept unread")
    if left:
        raise typer.Exit(1)
