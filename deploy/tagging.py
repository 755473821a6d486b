"""`manage.py tags …`: corp tags from the command line."""

from __future__ import annotations

from typing import Any

import typer

from customers.banks.bank import open_bank
from deploy.terminal import TenantOption, only_tenant, print_table, run
from services.container import Services

tags_app = typer.Typer(no_args_is_help=True)


@tags_app.callback()
def tags() -> None:
    """Corp tags and tags of rule groups."""


@tags_app.command("list")
def listed(tenant: TenantOption = "") -> None:
    """Every tag, with how many customers have it and who uses it."""
    from campaigns.corp_tags import desk

    async def read(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        shown = await desk.overview(bank)
        return [
            {
                "group": group.name,
                "tag": tag.tag,
                "rule group": str(group.strategy or ""),
                "customers": tag.customers,
                "used by": ", ".join(sorted({use.by for use in tag.uses})),
            }
            for group in (*shown.groups, *shown.strategies)
            for tag in group.tags
        ]

    rows = run(read)
    print_table(f"{len(rows)} tags", rows)
