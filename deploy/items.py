"""`manage.py reward`: the bank's catalogue from a file, and as a list."""

from __future__ import annotations

import getpass
from typing import Any

import typer

from customers.banks.bank import open_bank
from deploy.terminal import File, TenantOption, only_tenant, print_table, read, run
from services.container import Services

reward_app = typer.Typer(no_args_is_help=True)


@reward_app.command("apply")
def reward_apply(file: File, tenant: TenantOption = "") -> None:
    """Create or change items of the catalogue; in production another clerk agrees."""
    from rewards.items import files, versions

    text = read(file)

    async def apply(services: Services) -> list[str]:
        wanted = files.read(text, str(file))
        bank = await open_bank(services, await only_tenant(services, tenant))
        return await versions.apply(bank, wanted, f"cli:{getpass.getuser()}")

    for sentence in run(apply):
        print(sentence)


@reward_app.command("list")
def reward_list(tenant: TenantOption = "") -> None:
    """List the catalogue: state, live version, what waits, and the rewards that are made of it."""
    from customers.actors import ClerkActor
    from rewards.items import versions

    async def listed(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return await versions.list_items(bank, ClerkActor(bank.id, "cli", "cli", frozenset()))

    rows = [
        {
            "item": row["id"],
            "title": row["title"]["zh"],
            "kind": row["kind"],
            "state": row["state"],
            "live": row["live_version"] or "",
            "waits": row["pending_version"] or "",
            "rewards": " ".join(sorted(one["reward"] for one in row["rewards"])),
        }
        for row in run(listed)
    ]
    print_table("the catalogue", rows)
