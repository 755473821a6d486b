"""The jobs of the table, done here and now for one bank."""

from __future__ import annotations

from customers.banks.bank import Bank
from operations.jobs import JOBS


async def run(bank: Bank, name: str) -> None:
    (job,) = [one for one in JOBS if one.name == name]
    await job.run(bank)


async def handle_inbox(bank: Bank) -> None:
    await run(bank, "campaigns.handle_inbox")


async def send_welcomes(bank: Bank) -> None:
    await run(bank, "campaigns.send_welcomes")


async def send_effects(bank: Bank) -> None:
    await run(bank, "campaigns.send_effects")


async def advance_runs(bank: Bank) -> None:
    await run(bank, "campaigns.advance_runs")


async def keep_channels(bank: Bank) -> None:
    await run(bank, "campaigns.channels")


async def sync(bank: Bank) -> None:
    await run(bank, "campaigns.sync")


async def hand_over(bank: Bank) -> None:
    await run(bank, "customers.handover")


async def pull_archive(bank: Bank) -> None:
    await run(bank, "customers.archive")
