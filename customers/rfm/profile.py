"""In which fifths of the bank's customers he is, in his profile."""

from __future__ import annotations

from collections.abc import Mapping

from customers.banks.bank import Bank
from customers.intake.rows import EVENT_TALLIES
from customers.profiles.source import Batch, Part, Source
from customers.rfm import measuring, rows


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    ranked = await measuring.ranks(bank, batch, await rows.live(bank))
    return {cid: {"rfm": fifths} for cid, fifths in ranked.items()}


SOURCE = Source("rfm", {EVENT_TALLIES: "cid"}, _read, part=("rfm",))
