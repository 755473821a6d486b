"""Commands about points: the bank's programme from a file, and what the bank owes."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from customers.banks.bank import open_bank
from deploy.terminal import File, TenantOption, only_tenant, print_table, read, run
from services.container import Services

points_app = typer.Typer(no_args_is_help=True)


@points_app.command("apply")
def points_apply(file: File, tenant: TenantOption = "") -> None:
    """Put the points programme of a file live in development, or submit it for approval in
    production."""
    from rewards.points import program

    text = read(file)

    async def apply(services: Services) -> list[str]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return await program.apply(bank, text, str(file), f"cli:{getpass.getuser()}")

    for sentence in run(apply):
        print(sentence)


@points_app.command("liability")
def points_liability(
    tenant: TenantOption = "",
    to: Annotated[Path | None, typer.Option("--csv", help="write the file there as well")] = None,
) -> None:
    """Say how many points are outstanding, what they cost, and in which months they expire."""
    from rewards.points import liability

    async def ask(services: Services) -> liability.Report:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return await liability.report(bank)

    found = run(ask)
    months = [
        {"month": row.month, "points": row.points, "accounts": row.accounts, "fen": row.cost}
        for row in found.months
    ]
    print_table("Outstanding points by the month in which they expire", months)
    rate = "-" if found.breakage is None else f"{found.breakage:.1%}"
    sums = {
        "outstanding": found.outstanding,
        "fen": found.cost,
        "issued": found.issued,
        "spent": found.spent,
        "expired": found.expired,
        "corrected": found.corrected,
        "breakage": rate,
        "fen expected": found.expected_cost,
    }
    print_table(found.program.name.en or found.program.name.zh, [sums])
    if to is not None:
        to.write_bytes(liability.as_csv(found))
        print(f"written to {to}")
