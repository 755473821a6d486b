"""`python -m bench.rebuild [TRANSFERS]`: how long `manage.py ledger rebuild` takes, and how much memory
it needs at the most, for grants of before there were lines. It has no reference, and no row in
`make bench`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from bench.bank import HOT, TENANT
from bench.stage import FULL, open_stage
from customers.banks.bank import Bank, open_bank
from deploy.parts import environment
from deploy.processes import ROOT
from rewards.rows import REWARDS, TRANSFERS
from services import ids
from services.store.mongo import Doc

AT_ONCE = 5_000
BATCH = 64
"""Grants of one group of claims."""


def _grants(bank: Bank, first: int, n: int) -> Iterator[Doc]:
    at = bank.utc()
    for number in range(first, first + n):
        yield {
            "_id": ids.tenant_id(bank.id, "grant", HOT, number, 0),
            "kind": "grant",
            "reward": HOT,
            "debit": f"stock:{HOT}",
            "credit": f"issued:{HOT}",
            "amount": 1,
            "cost": 1000,
            "cid": f"{bank.id}:{number}",
            "key": "",
            "body": "",
            "batch": f"{number // BATCH:016x}",
            "at": at,
        }


def _rebuild(environ: dict[str, str]) -> tuple[float, float, int]:
    """Runs the command; its seconds, those in which its process computed, and the most memory of
    that in MB."""
    command = [sys.executable, "manage.py", "ledger", "rebuild", "--tenant", TENANT]
    begun = time.monotonic()
    pid = os.posix_spawn(sys.executable, command, environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        sys.exit("the command failed")
    computed = used.ru_utime + used.ru_stime
    return time.monotonic() - begun, computed, used.ru_maxrss // 1024


async def measure(transfers: int) -> None:
    async with open_stage(FULL, frozenset()) as stage:
        bank = await open_bank(stage.services, TENANT)
        for first in range(0, transfers, AT_ONCE):
            some = list(_grants(bank, first, min(AT_ONCE, transfers - first)))
            await bank.db[TRANSFERS].insert_new(some)
        before_lines = {"$set": {"granted": transfers}, "$unset": {"lined": ""}}
        await bank.db[REWARDS].update({"reward": HOT}, before_lines)
        load = os.getloadavg()[0]
        environ = environment(stage.settings)
        seconds, computed, most = await asyncio.to_thread(_rebuild, environ)
        said = f"{transfers:,} transfers: {seconds:.0f} s"
        said += f" ({computed:.0f} s of it computing), {most} MB at the most"
        typer.echo(f"{said}; load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")


def main(transfers: Annotated[int, typer.Argument(min=1)] = 1_000_000) -> None:
    """Measure, and print a line."""
    os.chdir(ROOT)
    asyncio.run(measure(transfers))


if __name__ == "__main__":
    typer.run(main)
