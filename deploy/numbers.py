"""Commands about customers: linking the bank's own numbers to them."""

from __future__ import annotations

import getpass

import typer

from customers.banks.bank import open_bank
from deploy.terminal import File, TenantOption, fail, only_tenant, print_table, read, run
from services.container import Services

customers_app = typer.Typer(no_args_is_help=True)


@customers_app.callback()
def customers() -> None:
    """A group, though it has one command."""


@customers_app.command("link")
def link(file: File, tenant: TenantOption = "") -> None:
    """Link the bank's customer numbers from a CSV file: `number` and phone, external_userid,
    unionid or cid.

    Phones may be written as people and Excel write them. Lines that cannot be taken are named with
    what to do, the others are linked; the exit status is 1 when a line was invalid or in conflict.
    Cut short, the same command goes on: what is linked already stays.
    """
    from customers.identity import customer_numbers

    text = read(file)

    async def linked(services: Services) -> list[customer_numbers.Line]:
        return await customer_numbers.link_file(
            await open_bank(services, await only_tenant(services, tenant)),
            text,
            f"cli:{getpass.getuser()}",
            progress,
        )

    def progress(done: int, total: int) -> None:
        print(f"{done} of {total} lines", flush=True)

    try:
        lines = run(linked)
    except KeyboardInterrupt:
        fail("interrupted; the lines until here are done, and the same command goes on")
    print_table("Lines", [customer_numbers.count(lines)])
    for line in lines:
        if line.outcome not in (customer_numbers.LINKED, customer_numbers.ALREADY):
            print(f"{file}:{line.line}: {line.outcome}" + (f" ({line.why})" if line.why else ""))
    refused = (customer_numbers.INVALID, customer_numbers.CONFLICT)
    if any(line.outcome in refused for line in lines):
        raise typer.Exit(1)
