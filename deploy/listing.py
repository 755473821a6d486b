"""`manage.py list …`: static lists from the command line, by the code of the console's pages."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from config.bounds import LIST_BYTES
from customers.actors import ClerkActor
from customers.banks.bank import Bank, open_bank
from customers.profiles import downloading
from customers.profiles.downloading import Wanted
from deploy.commands import explain
from deploy.terminal import TenantOption, fail, only_tenant, print_table, run
from services.container import Services

list_app = typer.Typer(no_args_is_help=True)
out = Console(highlight=False, markup=False)
LOOK_SECONDS = 0.3
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
ListArgument = Annotated[str, typer.Argument(metavar="LIST", help="a list's id")]
TargetFile = Annotated[Path, typer.Argument(dir_okay=False, help="where the table goes")]
ClearOption = Annotated[bool, typer.Option("--clear", help="numbers, names and phones not masked")]
ReasonOption = Annotated[str, typer.Option(help="why; it stands in the audit trail")]
Table = Callable[[Bank, ClerkActor, str, Wanted], Awaitable[AsyncGenerator[bytes]]]


def by() -> str:
    return f"cli:{getpass.getuser()}"


@list_app.command("create")
def list_create(
    name: ListArgument,
    zh: Annotated[str, typer.Option(help="what it is called in Chinese")],
    en: Annotated[str, typer.Option(help="what it is called in English")],
    tenant: TenantOption = "",
) -> None:
    """Make a list, on which nobody is yet."""
    from customers.lists import keeping

    async def make(services: Services) -> None:
        bank = await open_bank(services, await only_tenant(services, tenant))
        await keeping.create(bank, by(), name, {"zh": zh, "en": en})

    run(make)
    out.print(f"the list {name} is made")


@list_app.command("show")
def list_show(
    name: Annotated[str, typer.Argument(metavar="LIST", help="a list's id; all without it")] = "",
    tenant: TenantOption = "",
) -> None:
    """Say how many are on a list, which segments use it, and which files it was made of."""
    from customers.lists import keeping, uploading

    async def look(services: Services) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        rows = [await keeping.find(bank, name)] if name else await keeping.everything(bank)
        shown = [
            {
                "list": row["list"],
                "name": row["name"]["zh"],
                "state": "archived" if row.get("archived") else "in use",
                "customers": f"{await keeping.count(bank, row['list']):,}",
                "used by": ", ".join(
                    one["segment"] for one in await keeping.used_by(bank, row["list"])
                ),
            }
            for row in rows
        ]
        return shown, [_upload(row) for row in await uploading.uploads(bank, name)] if name else []

    lists, uploads = run(look)
    print_table("lists", lists)
    if uploads:
        print_table("uploads", uploads)


def _upload(row: Any) -> dict[str, Any]:
    return {
        "file": row["name"],
        "sent": f"{row['at']:%Y-%m-%d %H:%M}",
        "mode": row["mode"],
        "state": row["state"],
        "customers": f"{row['good']:,}",
        "other lines": f"{sum(row['bad'].values()):,}",
    }


@list_app.command("import")
def list_import(
    name: ListArgument,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV, a spreadsheet")
    ],
    mode: Annotated[str, typer.Option(help="add, replace or remove")] = "add",
    errors: Annotated[
        Path | None, typer.Option(dir_okay=False, help="where lines that name nobody go")
    ] = None,
    tenant: TenantOption = "",
) -> None:
    """Bring a file of customers into a list; exit status 1 when a line named nobody."""
    from customers.lists import uploading

    if file.stat().st_size > LIST_BYTES:
        fail(f"{file}: larger than {LIST_BYTES // 1024 // 1024} MB")

    async def bring(services: Services) -> Any:
        bank = await open_bank(services, await only_tenant(services, tenant))
        received = uploading.Receiver(file.name, bytearray(file.read_bytes()))
        upload = await uploading.start(bank, by(), name, mode, received)
        return await _look_on(bank, name, upload)

    try:
        row = run(bring)
    except KeyboardInterrupt:
        fail("interrupted; a worker goes on with the file")
    _tell(file, row, errors or file.with_name(f"{file.name}.errors.csv"))


def _tell(file: Path, row: Any, errors: Path) -> None:
    """What became of the file; the lines that name nobody go into one of their own."""
    from customers.lists import reading, uploading

    if row["state"] != uploading.DONE:
        fail(f"{file}: {explain(row['reason'] or row['state'])}")
    out.print(f"{row['good']:,} customers were named")
    if row["bad"]:
        said = {one: explain(one) for one in reading.REASONS}
        errors.write_bytes(uploading.problems_file(row, said))
        out.print(f"{errors} has the {sum(row['bad'].values()):,} other lines", soft_wrap=True)
        raise typer.Exit(1)


async def _look_on(bank: Bank, name: str, upload: str) -> Any:
    """Reads the file here, or looks on while a worker does, with a bar."""
    from customers.lists import uploading

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("lines", total=None)
        while True:
            working = asyncio.create_task(uploading.work_here(bank, upload))
            row = await uploading.upload(bank, name, upload)
            while not working.done():
                row = await uploading.upload(bank, name, upload)
                bar.update(shown, completed=row["done"], total=row["total"] or None)
                await asyncio.wait([working], timeout=LOOK_SECONDS)
            await working
            row = await uploading.upload(bank, name, upload)
            if not row["open"]:
                return row
            await asyncio.sleep(LOOK_SECONDS)


@list_app.command("export")
def list_export(
    name: ListArgument,
    file: TargetFile,
    clear: ClearOption = False,
    reason: ReasonOption = "",
    tenant: TenantOption = "",
) -> None:
    """Write a table of who is on a list, masked, or in clear for a reason."""
    from customers.lists import keeping

    export(keeping.download, name, file, Wanted(clear, reason), tenant)


def export(table: Table, name: str, file: Path, wanted: Wanted, tenant: str) -> None:
    """Writes a table of customers to a file that nobody else may read."""

    async def write(services: Services) -> None:
        bank = await open_bank(services, await only_tenant(services, tenant))
        may = frozenset({downloading.EXPORT, downloading.REVEAL})
        pieces = await table(bank, ClerkActor(bank.id, by(), by(), may), name, wanted)
        with os.fdopen(os.open(file, _NEW, 0o600), "wb") as target:
            os.fchmod(target.fileno(), 0o600)
            async with aclosing(pieces) as all_pieces:
                async for piece in all_pieces:
                    target.write(piece)

    run(write)
    out.print(f"{file} is written", soft_wrap=True)


@list_app.command("archive")
def list_archive(name: ListArgument, reason: ReasonOption, tenant: TenantOption = "") -> None:
    """Archive a list that no segment's rule names."""
    from customers.lists import keeping

    async def end(services: Services) -> None:
        bank = await open_bank(services, await only_tenant(services, tenant))
        await keeping.archive(bank, by(), name, reason)

    run(end)
    out.print(f"the list {name} is archived")
