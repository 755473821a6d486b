"""In which fifths of the bank's customers he is, in his profile."""

from __future__ import annotations

from collections.abc import Mapping

from customers.banks.bank import Bank
from customers.intake.profile import SOURCE as COUNTED
from customers.profiles.source import Batch, Part, Source
from customers.rfm import measuring, rows


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    ranked = await measuring.ranks(bank, batch, await rows.live(bank))
    return {cid: {"rfm": fifths} for cid, fifths in ranked.items()}


SOURCE = Source("rfm", COUNTED.watched, _read, part=("rfm",))
