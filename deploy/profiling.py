"""`manage.py audience …`, `profiles …` and `fields …`: what is known of customers from the command
line."""

from __future__ import annotations

import asyncio
import logging
import signal
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.logging import setup_logging
from customers.banks.bank import Bank, open_bank
from customers.intake.rows import CUSTOMERS
from deploy.bringing import ErrorsOption, IntakeFile, SystemOption, bring
from deploy.terminal import (
    OUT_OF_REACH,
    TenantOption,
    fail,
    only_tenant,
    out_of_reach,
    print_table,
    run,
    settings,
)
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services, tune_collector
from services.errors import YinqiaoError

SETTLE_SECONDS = 2.0
"""So long after a difference was found is looked again: it may have been on its way."""
MOST_SHOWN = 50
audience_app = typer.Typer(no_args_is_help=True)
profiles_app = typer.Typer(no_args_is_help=True)
mirror_app = typer.Typer(no_args_is_help=True)
profiles_app.add_typer(mirror_app, name="mirror", help="This host's columnar mirror of them")
fields_app = typer.Typer(no_args_is_help=True)
out = Console(highlight=False)
Customer = Annotated[str, typer.Argument(help="a customer's id, phone or number at the bank")]


@audience_app.callback()
def audience() -> None:
    """The process that keeps customers' profiles up to what is known of them."""


@audience_app.command("run")
def audience_run() -> None:
    """Follow what changes until SIGTERM. Of any number of these processes one makes profiles, and one
    a host keeps its mirror."""
    from operations import audience as following
    from operations import columnar

    chosen = settings()

    async def follow() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        services = await open_services(chosen, COLLECTIONS, QUEUES)
        tune_collector()
        logging.getLogger("yinqiao.audience").info("audience started")
        try:
            mirror = asyncio.create_task(columnar.run(services, stop))
            try:
                await following.run(services, stop)
            finally:
                stop.set()
                await mirror
        finally:
            await services.close()

    setup_logging(chosen.log_level)
    try:
        asyncio.run(follow())
    except OUT_OF_REACH as error:
        fail(*out_of_reach(chosen, error))
    except YinqiaoError as error:
        fail(error.message)


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[found]}"),
    )
    return Progress(*columns, console=out)


@profiles_app.command("rebuild")
def rebuild(tenant: TenantOption = "") -> None:
    """Make all profiles of a bank anew; harmless while everything runs."""
    from operations import profiling

    async def work(services: Services) -> tuple[str, int]:
        bank, changed = await open_bank(services, await only_tenant(services, tenant)), 0
        with _bar() as bar:
            task = bar.add_task("profiles", total=None, found="")
            async for step in profiling.rebuild(bank):
                changed = step.changed
                found = f"{changed:,} changed"
                bar.update(task, completed=step.done, total=step.of, found=found)
        return bank.id, changed

    bank, changed = run(work)
    out.print(f"{bank}: {changed} profiles were not as they should be; all are now")


@profiles_app.command("check")
def check(tenant: TenantOption = "") -> None:
    """Compare every profile with what it is made of; exit status 1 for a difference."""
    found = run(lambda services: _check(services, tenant))
    if found:
        shown = [f"{cid}: {', '.join(keys)}" for cid, keys in sorted(found.items())]
        more = [f"and {len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
        fail(*shown[:MOST_SHOWN], *more, "`manage.py profiles rebuild` mends them")
    out.print("every profile is as what is known says")


async def _check(services: Services, tenant: str) -> dict[str, list[str]]:
    """The differences that are still there when one looks again."""
    from customers.profiles import refreshing
    from operations import profiling

    bank = await open_bank(services, await only_tenant(services, tenant))
    found: dict[str, list[str]] = {}
    with _bar() as bar:
        task = bar.add_task("profiles", total=None, found="")
        async for step, some in profiling.check(bank):
            found |= some
            different = f"{step.changed:,} different"
            bar.update(task, completed=step.done, total=step.of, found=different)
    if not found:
        return {}
    await asyncio.sleep(SETTLE_SECONDS)
    return await refreshing.still_different(bank, found, profiling.SOURCES)


@mirror_app.command("rebuild")
def mirror_rebuild(tenant: TenantOption = "") -> None:
    """Make this host's mirror of a bank anew; cut short, what was there stays, and it goes on where it
    was when nothing changed meanwhile."""
    from operations import columnar

    async def work(services: Services) -> tuple[str, int]:
        bank, done = await open_bank(services, await only_tenant(services, tenant)), 0
        with _bar() as bar:
            task = bar.add_task("mirror", total=None, found="")
            async for step in columnar.rebuild(bank):
                done = step.done
                bar.update(task, completed=step.done, total=step.of)
        return bank.id, done

    bank, done = run(work)
    out.print(f"{bank}: {done:,} customers are in the mirror of this host")


@mirror_app.command("check")
def mirror_check(tenant: TenantOption = "") -> None:
    """Compare this host's mirror with the database; exit status 1 for a difference."""
    found = run(lambda services: _compared(services, tenant))
    if found:
        more = [f"and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
        fail(*found[:MOST_SHOWN], *more, "`manage.py profiles mirror rebuild` makes it anew")
    out.print("the mirror is as the database says")


async def _compared(services: Services, tenant: str) -> list[str]:
    from operations import comparing

    bank = await open_bank(services, await only_tenant(services, tenant))
    found: list[str] = []
    with _bar() as bar:
        task = bar.add_task("mirror", total=None, found="")
        async for step in comparing.compare(bank):
            found += step.told
            different = f"{len(found):,} different"
            bar.update(task, completed=step.done, total=step.of, found=different)
    return found


@fields_app.command("list")
def list_fields(tenant: TenantOption = "") -> None:
    """Say which fields the bank declares, and which segments and campaigns use each."""
    from campaigns import uses

    async def declared(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        used = await uses.uses(bank)
        return [
            {
                "field": one.key,
                "name": one.name.zh,
                "type": one.type,
                "class": one.level,
                "sealed": "yes" if one.sealed else "",
                "written by": ", ".join(one.written_by),
                "used by": ", ".join(
                    f"{use.where} {use.by}"
                    for use in used.get(("field", f"customer.{one.key}"), [])
                ),
            }
            for one in bank.fields.values()
        ]

    rows = run(declared)
    print_table("fields", rows)
    if not rows:
        out.print("the bank's file declares no fields")


@fields_app.command("import")
def fields_import(
    file: IntakeFile,
    tenant: TenantOption = "",
    system: SystemOption = "",
    errors: ErrorsOption = None,
) -> None:
    """Bring in a file of what the bank knows of customers, as if a system of the bank's had sent it:
    JSONL or CSV, in UTF-8 or GB 18030. Cut short, the same command goes on."""
    bring(CUSTOMERS, file, tenant, system, errors)


@fields_app.command("show")
def show(customer: Customer, tenant: TenantOption = "") -> None:
    """Say what a customer's fields hold; sealed ones are hidden."""
    from customers.fields import viewing

    async def held(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return [_shown(bank, one) for one in await viewing.held_by(bank, customer)]

    rows = run(held)
    print_table("fields", rows)
    if not rows:
        out.print("nothing is known of this customer's fields")


@fields_app.command("history")
def history(customer: Customer, field: str, tenant: TenantOption = "") -> None:
    """Say what one field of a customer held, newest first."""
    from customers.fields import viewing

    async def told(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return [_shown(bank, one) for one in await viewing.history_of(bank, customer, field)]

    rows = run(told)
    print_table(field, rows)
    if not rows:
        out.print("nothing was ever known")


def _shown(bank: Bank, one: Any) -> dict[str, Any]:
    since = datetime.fromtimestamp(one.since, bank.tz).strftime("%Y-%m-%d %H:%M:%S")
    said = {"field": one.key, "value": one.said["zh"], "since": since, "source": one.source}
    return {**said, "by": one.by}
