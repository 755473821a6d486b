"""Commands about webhooks: a secret, how each goes, and sending again."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import typer

from customers.banks.bank import Bank, open_bank
from deploy.commands import explain
from deploy.terminal import TenantOption, fail, only_tenant, print_table, run
from services.container import Services

webhook_app = typer.Typer(no_args_is_help=True)
Answer = TypeVar("Answer")


def _at(tenant: str, ask: Callable[[Bank], Awaitable[Answer]]) -> Answer:
    async def asked(services: Services) -> Answer:
        return await ask(await open_bank(services, await only_tenant(services, tenant)))

    return run(asked)


def _by() -> str:
    return f"cli:{getpass.getuser()}"


@webhook_app.command("secret")
def webhook_secret(
    name: str,
    tenant: TenantOption = "",
    overlap_days: Annotated[
        float, typer.Option(min=0, max=90, help="how long the secret of before signs too")
    ] = 7,
) -> None:
    """Give a webhook a new secret, shown this once; the one before it signs too for some days."""
    from customers.webhooks import secrets

    overlap = timedelta(days=overlap_days)
    print(_at(tenant, lambda bank: secrets.set_secret(bank, name, overlap=overlap, by=_by())))
    said = f"this is shown once; the secret before it signs too for {overlap_days:g} days"
    typer.echo(said, err=True)


@webhook_app.command("list")
def webhook_list(tenant: TenantOption = "") -> None:
    """List the bank's webhooks: how each goes, what waits and what failed."""
    from customers.webhooks import keeping

    found = _at(tenant, keeping.overview)
    print_table("Webhooks", [_hook(one) for one in found])
    if not found:
        print("the bank's file names no webhook")


def _hook(one: Any) -> dict[str, str]:
    state = "turned off" if one.off else "does not answer" if one.pause else "in order"
    return {
        "webhook": one.id,
        "state": state if one.secrets else "no secret yet",
        "waiting": str(one.waiting),
        "failed": str(one.failed),
        "waiting since": one.oldest.isoformat(" ", "seconds") if one.oldest else "-",
    }


@webhook_app.command("show")
def webhook_show(
    name: str,
    tenant: TenantOption = "",
    state: Annotated[str, typer.Option(help="waiting, delivered or failed")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="at most so many")] = 50,
) -> None:
    """Show a webhook's newest deliveries with what became of them."""
    from customers.webhooks import keeping

    async def ask(bank: Bank) -> list[Any]:
        keeping.known(bank, name)
        return [*await keeping.newest(bank, name, state, limit)]

    rows = _at(tenant, ask)
    print_table("Deliveries", [_delivery(row) for row in rows])
    if not rows:
        print("no delivery")


def _delivery(row: Any) -> dict[str, str]:
    return {
        "delivery": row["_id"].partition(":")[2][:12],
        "happened": row["at"].isoformat(" ", "seconds"),
        "event": row["event"],
        "state": row["state"],
        "why": f"{explain(row['reason'])} {row['status'] or ''}".strip() if row["reason"] else "-",
        "tries": str(row["attempts"]),
    }


@webhook_app.command("replay")
def webhook_replay(
    delivery: Annotated[
        str, typer.Argument(help="its id, or the first 8 characters of it or more")
    ] = "",
    tenant: TenantOption = "",
    failed: Annotated[str, typer.Option(help="all that failed at this webhook")] = "",
) -> None:
    """Send a delivery again under its id of before, or all that failed at a webhook."""
    from customers.webhooks import keeping

    if bool(delivery) == bool(failed):
        fail("name a delivery, or a webhook with --failed")
    if delivery:
        _at(tenant, lambda bank: keeping.replay(bank, _by(), delivery))
        print("it is sent again")
    else:
        print(
            _at(tenant, lambda bank: keeping.replay_failed(bank, _by(), failed)), "are sent again"
        )


@webhook_app.command("on")
def webhook_on(name: str, tenant: TenantOption = "") -> None:
    """Send to a webhook again that its receiver turned off."""
    from customers.webhooks import keeping

    _at(tenant, lambda bank: keeping.turn_on(bank, _by(), name))
    print(f"{name} is sent to again")
