"""`manage.py pool …`: code pools from the command line."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from config.bounds import CODES_BYTES
from customers.banks.bank import Bank, open_bank
from deploy.commands import explain
from deploy.terminal import TenantOption, fail, only_tenant, print_table, run
from services.container import Services

pool_app = typer.Typer(no_args_is_help=True)
out = Console(highlight=False)
PIECE = 256 * 1024
LOOK_SECONDS = 0.3
SHOWN = 20
PoolArgument = Annotated[str, typer.Argument(help="the pool's id")]
CodesFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV or a spreadsheet")
]


@pool_app.command("create")
def create(
    pool: PoolArgument,
    name: Annotated[str, typer.Argument(help="its name in Chinese")],
    name_en: Annotated[str, typer.Option(help="its name in English")] = "",
    supplier: Annotated[str, typer.Option(help="whose codes they are")] = "",
    low: Annotated[int, typer.Option(min=0, help="warn below so many codes")] = 0,
    tenant: TenantOption = "",
) -> None:
    """Make an empty code pool."""
    from rewards.pools import keeping

    async def make(services: Services) -> None:
        bank = await open_bank(services, await only_tenant(services, tenant))
        names = {"zh": name, "en": name_en}
        await keeping.create(bank, _by(), pool, names, supplier=supplier, low=low)

    run(make)
    out.print(f"pool {pool} is there")


@pool_app.command("import")
def import_codes(
    file: CodesFile,
    pool: Annotated[str, typer.Option("--pool", help="the pool's id")],
    tenant: TenantOption = "",
    skip: Annotated[
        bool, typer.Option("--skip-bad-lines", help="leave out lines that cannot be taken")
    ] = False,
) -> None:
    """Bring the codes of a CSV file or a spreadsheet into a pool.

    Nothing is imported while a line cannot be taken, unless --skip-bad-lines says so; such lines are
    named, and the exit status is 1. The same file twice is harmless. Cut short, the same command goes
    on, or a worker does.
    """
    from rewards.pools import importing

    if file.stat().st_size > CODES_BYTES:
        fail(f"{file}: larger than {CODES_BYTES // 1024 // 1024} MB")

    async def bring(services: Services) -> tuple[Any, list[tuple[int, str, str]]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        received = importing.receive(bank, file.name)
        with file.open("rb") as data:
            while piece := data.read(PIECE):
                await received.write(piece)
        upload, new = await importing.start(bank, _by(), pool, received, skip=skip)
        if not new:
            out.print(
                f"this file was sent before: {upload['at']:%Y-%m-%d %H:%M} UTC, by {upload['by']}"
            )
            if skip and upload["state"] == importing.REFUSED:
                await importing.skip_bad(bank, _by(), upload["upload"])
        await _look_on(bank, upload["upload"])
        found = await importing.find(bank, upload["upload"])
        return found, await importing.problems_of(bank, found["upload"])

    try:
        upload, problems = run(bring)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on, or a worker does")
    _tell(file, upload, problems)


def _tell(file: Path, upload: Any, problems: list[tuple[int, str, str]]) -> None:
    """What became of the file."""
    for line, reason, what in problems[:SHOWN]:
        out.print(f"{file}:{line}: {explain(reason).replace('{what}', what)}", markup=False)
    more = sum(upload["bad"].values()) - min(SHOWN, len(problems))
    if more > 0:
        out.print(f"and {more:,} more")
    if upload["state"] != "done":
        said = explain(upload["reason"] or f"upload_is_{upload['state']}")
        fail(f"{file}: {said.format_map(upload['data']) if upload['data'] else said}")
    out.print(f"{upload['good']:,} codes are in pool {upload['pool']}")
    if upload["bad"]:
        raise typer.Exit(1)


async def _look_on(bank: Bank, upload: str) -> None:
    """Imports the file here, or looks on while a worker does, with a bar."""
    from rewards.pools import importing

    columns = (
        TextColumn("{task.description:10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=out) as bar:
        shown = bar.add_task("waiting", total=100)
        working = asyncio.create_task(importing.work_here(bank, upload))
        while True:
            row = await importing.find(bank, upload)
            bar.update(
                shown, description=row["phase"] or "waiting", completed=importing.percent(row)
            )
            if not row["open"]:
                break
            if working.done():
                working.result()
                working = asyncio.create_task(importing.work_here(bank, upload))
            await asyncio.sleep(LOOK_SECONDS)
        await working


@pool_app.command("show")
def show(
    pool: Annotated[str, typer.Argument(help="the pool's id; all without it")] = "",
    tenant: TenantOption = "",
) -> None:
    """Say how many codes are in the pools, and which files brought them."""
    from rewards.pools import keeping

    async def look(services: Services) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        if pool:
            view = await keeping.view(bank, pool)
            return [view], view["uploads"]
        return await keeping.all_pools(bank), []

    rows, uploads = run(look)
    names = ("pool", "imported", "left", "granted", "expiring", "expired", "recalled", "low")
    print_table("Code pools", [{name: row[name] for name in names} for row in rows])
    if uploads:
        print_table(
            "Uploads",
            [
                {
                    "upload": row["upload"][:8],
                    "file": row["name"],
                    "sent": f"{row['at']:%Y-%m-%d %H:%M}",
                    "state": row["state"],
                    "codes": row["good"],
                    "unused": row["unused"],
                    "bad lines": sum(row["bad"].values()),
                }
                for row in uploads
            ],
        )


@pool_app.command("recall")
def recall(
    pool: PoolArgument,
    reason: Annotated[str, typer.Option(help="why; it stands in the audit trail")],
    what: Annotated[
        str, typer.Option(help="all, expired, or an upload by the first characters of its id")
    ] = "expired",
    tenant: TenantOption = "",
) -> None:
    """Take back codes that nobody has yet."""
    from rewards.pools import keeping

    async def take(services: Services) -> int:
        bank = await open_bank(services, await only_tenant(services, tenant))
        meant = what
        if what not in (keeping.ALL, keeping.EXPIRED):
            uploads = (await keeping.view(bank, pool))["uploads"]
            lots = [row["lot"] for row in uploads if row["upload"].startswith(what)]
            if len(lots) != 1:
                fail(f"{what} names {len(lots)} uploads of pool {pool}")
            meant = lots[0]
        return (await keeping.recall(bank, _by(), pool, meant, reason))["n"]

    out.print(f"{run(take):,} codes were taken back from pool {pool}")


def _by() -> str:
    return f"cli:{getpass.getuser()}"
