"""Commands about customers: linking the bank's own numbers to them."""

from __future__ import annotations

import getpass

import typer

from deploy.terminal import File, TenantOption, only_tenant, print_table, read, run
from services.container import Services

customers_app = typer.Typer(no_args_is_help=True)


@customers_app.callback()
def customers() -> None:
    """A group, though it has one command."""


@customers_app.command("link")
def link(file: File, tenant: TenantOption = "") -> None:
    """Link the bank's customer numbers from a CSV file: `number` and phone, external_userid, unionid or cid."""
    from customers import numbers

    text = read(file)

    async def linked(services: Services) -> list[numbers.Line]:
        return await numbers.link_file(services, await only_tenant(services, tenant), text, f"cli:{getpass.getuser()}")

    lines = run(linked)
    print_table("Lines", [numbers.count(lines)])
    for line in lines:
        if line.outcome not in (numbers.LINKED, numbers.ALREADY):
            print(f"{file}:{line.line}: {line.outcome}" + (f" ({line.why})" if line.why else ""))
