"""The operator's command line: `python manage.py --help`.

Wrong input ends with exit status 1 and sentences that name the file, the line and what was
expected; nothing is applied. While `make demo` runs on the same data folder, the commands talk to
that demo.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from redis.exceptions import RedisError

from config.logging import keep_files_private, setup_logging
from customers.banks.bank import open_bank
from deploy import (
    archiving,
    audit_truth,
    commands,
    hooking,
    items,
    ledgering,
    limiting,
    listing,
    numbers,
    points,
    pooling,
    profiling,
    segmenting,
    syncing,
    tagging,
)
from deploy import demo as demonstration
from deploy.terminal import (
    OUT_OF_REACH,
    File,
    TenantOption,
    fail,
    finish,
    only_tenant,
    out_of_reach,
    read,
    run,
    settings,
)
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services
from services.documents.problems import Problem
from services.errors import YinqiaoError

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tenant_app = typer.Typer(no_args_is_help=True)
campaign_app = typer.Typer(no_args_is_help=True)
audit_app = typer.Typer(no_args_is_help=True)
checkpoint_app = typer.Typer(no_args_is_help=True)
clerk_app = typer.Typer(no_args_is_help=True)
counter_app = typer.Typer(no_args_is_help=True)
partner_app = typer.Typer(no_args_is_help=True)
app.add_typer(tenant_app, name="tenant", help="Banks")
app.add_typer(campaign_app, name="campaign", help="Campaigns, from YAML files")
app.add_typer(ledgering.ledger_app, name="ledger", help="The rewards ledger")
app.add_typer(items.reward_app, name="reward", help="The bank's catalogue of rewards")
app.add_typer(audit_app, name="audit", help="The audit trail")
audit_app.add_typer(checkpoint_app, name="checkpoint", help="Its checkpoints, outside the database")
app.add_typer(clerk_app, name="clerk", help="The console's clerks")
app.add_typer(counter_app, name="counter", help="Who writes vouchers off at a counter")
app.add_typer(partner_app, name="partner", help="Programs that write vouchers off")
app.add_typer(hooking.webhook_app, name="webhook", help="What the bank's own systems are told")
app.add_typer(numbers.customers_app, name="customers", help="The bank's customers")
app.add_typer(profiling.fields_app, name="fields", help="What is known of customers")
app.add_typer(profiling.profiles_app, name="profiles", help="Customers as rules see them")
app.add_typer(profiling.audience_app, name="audience", help="Keeping profiles up to date")
app.add_typer(segmenting.segment_app, name="segment", help="Segments of customers")
app.add_typer(listing.list_app, name="list", help="Static lists of customers")
app.add_typer(points.points_app, name="points", help="Points")
app.add_typer(pooling.pool_app, name="pool", help="Pools of imported codes")
app.add_typer(syncing.sync_app, name="sync", help="The sync with WeCom")
app.add_typer(tagging.tags_app, name="tags", help="Corp tags and tags of rule groups")
app.add_typer(archiving.archive_app, name="archive", help="The message archive")
app.add_typer(limiting.limits_app, name="limits", help="The platforms' limits")
app.add_typer(commands.events_app, name="events", help="What WeCom and WeChat told us")
app.add_typer(commands.work_app, name="work", help="What workers do, and what failed of it")
app.command("why")(commands.why)
audit_app.command("truth")(audit_truth.audit_truth)


@app.callback()
def main(context: typer.Context) -> None:
    """Yinqiao: banks, campaigns and rewards from the command line."""
    keep_files_private()
    if context.invoked_subcommand is None:
        print(context.get_help())


@tenant_app.command("apply")
def tenant_apply(file: File) -> None:
    """Create or update a bank."""
    from customers.banks import apply

    text = read(file)
    by = f"cli:{getpass.getuser()}"
    for sentence in run(lambda services: apply.apply_tenant(services, text, str(file), by)):
        print(sentence)


@campaign_app.command("validate")
def campaign_validate(file: File) -> None:
    """Check a campaign file; needs no server."""
    from campaigns.publishing import versions

    report(file, asyncio.run(versions.validate_text(None, None, read(file), str(file))))
    print(f"{file} is a valid campaign")


@campaign_app.command("plan")
def campaign_plan(file: File, tenant: TenantOption = "") -> None:
    """Say what applying a campaign file would change."""
    from campaigns.publishing import versions

    text = read(file)

    async def plan(services: Services) -> list[str]:
        bank = await checked(services, file, text, tenant)
        return await versions.plan(await open_bank(services, bank), text, str(file))

    for sentence in run(plan):
        print(sentence)


@campaign_app.command("apply")
def campaign_apply(file: File, tenant: TenantOption = "") -> None:
    """Create or change a campaign and put it live."""
    from campaigns.publishing import versions

    text = read(file)

    async def apply(services: Services) -> list[str]:
        bank = await checked(services, file, text, tenant)
        return await versions.apply(
            await open_bank(services, bank), text, str(file), f"cli:{getpass.getuser()}"
        )

    for sentence in run(apply):
        print(sentence)


async def checked(services: Services, file: Path, text: str, named: str) -> str:
    """The bank that the file is for; ends the command when the file is wrong."""
    from campaigns.publishing import versions

    bank = await only_tenant(services, named)
    report(file, await versions.validate_text(services, bank, text, str(file)))
    return bank


def report(file: Path, problems: Sequence[Problem]) -> None:
    """Ends the command when there are problems, each with its file and line."""
    if problems:
        fail(
            *(f"{file}:{problem.line}: {problem.message}" for problem in problems),
            "nothing was applied",
        )


@audit_app.command("verify")
def audit_verify(
    tenant: TenantOption = "",
    copy: Annotated[
        Path | None,
        typer.Option(
            "--copy", exists=True, dir_okay=False, help="checkpoints that were shipped away"
        ),
    ] = None,
) -> None:
    """Prove that no row of the audit trail was changed or taken out."""

    async def verify(services: Services) -> tuple[str, list[str]]:
        bank = await only_tenant(services, tenant)
        return bank, await services.audit.verify(services.store.tenant(bank), copy)

    bank, problems = run(verify)
    if problems:
        fail(*(f"{bank}: {problem}" for problem in problems))
    print(f"{bank}: the audit trail holds")


@checkpoint_app.command("export")
def audit_checkpoint_export(to: Path, tenant: TenantOption = "") -> None:
    """Copy the audit trail's checkpoints, to be kept elsewhere."""

    async def export(services: Services) -> tuple[str, int]:
        bank = await only_tenant(services, tenant)
        return bank, services.audit.checkpoints.export(bank, to)

    bank, last = run(export)
    print(
        f"{to}: the checkpoints of {bank} up to row {last}; audit verify --copy compares with them"
    )


@checkpoint_app.command("begin")
def audit_checkpoint_begin(
    reason: Annotated[
        str, typer.Option("--reason", help="why the file is not there, for the trail")
    ],
    tenant: TenantOption = "",
) -> None:
    """Begin the checkpoints anew where they were lost: the trail stands as it is."""

    from customers.access import history

    async def begin(services: Services) -> tuple[str, int]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return bank.id, await history.begin_checkpoints(bank, f"cli:{getpass.getuser()}", reason)

    bank, row = run(begin)
    print(f"the checkpoints of {bank} begin at row {row}; what is before it stands as it is")


@clerk_app.command("password")
def clerk_password(login: str, tenant: TenantOption = "") -> None:
    """Set a clerk's password, asked for twice."""
    from customers.banks import clerks

    password = typer.prompt("New password", hide_input=True, confirmation_prompt=True)

    async def change(services: Services) -> bool:
        bank = await open_bank(services, await only_tenant(services, tenant))
        once, by = services.settings.env == "production", f"cli:{getpass.getuser()}"
        await clerks.set_password(bank, login, password, by=by, must_change=once)
        return once

    once = run(change)
    print(f"the password of {login} is set" + ("; he changes it when he signs in" if once else ""))


@partner_app.command("secret")
def partner_secret(
    name: str,
    tenant: TenantOption = "",
    overlap_days: Annotated[
        float, typer.Option(min=0, max=90, help="how long the secret of before stays good")
    ] = 7,
) -> None:
    """Give a partner, or a system of the bank's, a new secret, shown this once; the one before it
    stays good for some days."""
    from customers.banks import counters, systems

    async def rotate(services: Services) -> str:
        bank = await open_bank(services, await only_tenant(services, tenant))
        overlap, by = timedelta(days=overlap_days), f"cli:{getpass.getuser()}"
        give = systems.set_secret if name in bank.systems else counters.set_secret
        return await give(bank, name, overlap=overlap, by=by)

    secret = run(rotate)
    print(secret)
    typer.echo(
        f"this is shown once; the secret before it is good for {overlap_days:g} days", err=True
    )


@counter_app.command("password")
def counter_password(login: str, tenant: TenantOption = "") -> None:
    """Set the password of somebody at a counter, asked for twice."""
    from customers.banks import accounts, counters

    password = typer.prompt("New password", hide_input=True, confirmation_prompt=True)

    async def change(services: Services) -> bool:
        bank = await open_bank(services, await only_tenant(services, tenant))
        once, by = services.settings.env == "production", f"cli:{getpass.getuser()}"
        await accounts.set_password(
            bank, counters.COUNTER, login, password, by=by, must_change=once
        )
        return once

    once = run(change)
    print(f"the password of {login} is set" + ("; he changes it when he signs in" if once else ""))


@app.command()
def scheduler() -> None:
    """Wake the workers for whatever is due; runs until SIGTERM. Two of them do no harm."""
    from operations import scheduler as ticking

    chosen = settings()

    async def tick() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        services = await open_services(chosen, COLLECTIONS, QUEUES)
        logging.getLogger("yinqiao.scheduler").info("scheduler started")
        try:
            await ticking.run(services, stop)
        finally:
            await services.close()

    setup_logging(chosen.log_level)
    try:
        asyncio.run(tick())
    except OUT_OF_REACH as error:
        fail(*out_of_reach(chosen, error))
    except YinqiaoError as error:
        fail(error.message)


@app.command()
def wait(seconds: Annotated[float, typer.Option(help="give up after this long")] = 60.0) -> None:
    """Return when the stores answer; exit status 1 when they do not in time."""
    chosen = settings()

    async def ping() -> None:
        services = await open_services(chosen, COLLECTIONS, QUEUES)
        try:
            await services.store.ping()
            await services.redis.ping()
        finally:
            await services.close()

    deadline = time.monotonic() + seconds
    while True:
        try:
            return asyncio.run(ping())
        except (YinqiaoError, RedisError) as error:
            if time.monotonic() > deadline:
                fail(f"the stores do not answer: {'; '.join(out_of_reach(chosen, error))}")
            time.sleep(0.2)


@app.command()
def demo(
    with_parent: Annotated[
        bool, typer.Option(hidden=True, help="stop when the process that started us dies")
    ] = False,
) -> None:
    """Run everything in the foreground with the demonstration bank; Ctrl-C stops it."""
    finish(lambda: demonstration.run(with_parent=with_parent))


@app.command()
def tour() -> None:
    """Play one customer from the scan to the redeemed reward, through real HTTP."""
    from deploy import tour as playing

    finish(playing.run)


if __name__ == "__main__":
    app()
