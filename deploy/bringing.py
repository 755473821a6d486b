"""Commands that bring files in as if a system of the bank's had sent them: events, and what the bank
knows of customers."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from customers.banks.bank import Bank, open_bank
from customers.intake import files, lines
from customers.intake.rows import Kind
from deploy.terminal import fail, only_tenant, print_table, run
from services.container import Services

IntakeFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSONL, or CSV")
]
SystemOption = Annotated[
    str, typer.Option("--system", help="whose it is; may be left out when there is only one")
]
ErrorsOption = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="where refused lines go; beside the file if left out"),
]


def bring(kind: Kind, file: Path, tenant: str, system: str, errors: Path | None) -> None:
    """Takes a file in and says what became of it; exit status 1 when lines were refused."""
    refused = errors or file.with_name(f"{file.name}.errors.csv")

    async def taken(services: Services) -> files.Result:
        bank = await open_bank(services, await only_tenant(services, tenant))
        whose, by = system or _only_system(bank, kind), f"cli:{getpass.getuser()}"
        order = files.Order(kind, whose, refused, by)
        with _bar(file.name) as progress:
            return await files.take(bank, lines.look(file), order, progress)

    try:
        done = run(taken)
    except KeyboardInterrupt:
        fail("interrupted; what is in stays, and the same command goes on behind it")
    print_table("Lines", [{"accepted": done.accepted, "refused": done.refused}])
    if done.again:
        print("this file was here before; nothing was added")
    elif done.refused:
        print(f"{refused} has the refused lines with the reasons")
    else:
        refused.unlink(missing_ok=True)
    if done.refused:
        raise typer.Exit(1)


def _only_system(bank: Bank, kind: Kind) -> str:
    known = sorted(name for name, one in bank.systems.items() if kind in one.may)
    if len(known) != 1:
        fail(f"say --system: one of {', '.join(known)}" if known else f"no system may send {kind}")
    return known[0]


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar in a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(name, total=None)
        yield lambda n, total: bar.update(task, completed=n, total=total)
