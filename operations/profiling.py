"""What profiles are made of in all rooms, and bringing a whole bank's up to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from campaigns import live
from campaigns.engine import profile as campaigns
from customers.banks.bank import Bank
from customers.profiles import refreshing
from customers.profiles.source import Source
from customers.profiles.sources import SOURCES as OF_CUSTOMERS
from customers.profiles.vocabulary import of_bank
from customers.rules.vocabulary import Vocabulary
from rewards import catalogue
from rewards.vouchers import profile as vouchers

SOURCES: tuple[Source, ...] = (*OF_CUSTOMERS, campaigns.SOURCE, vouchers.SOURCE)


async def vocabulary(bank: Bank) -> Vocabulary:
    """What a rule over the bank's profiles may ask."""
    campaigns_known = {
        campaign: row["name"] for campaign, row in (await live.campaign_rows(bank)).items()
    }
    rewards = {reward: row["title"] for reward, row in (await catalogue.all_rewards(bank)).items()}
    return await of_bank(bank, {"campaign": campaigns_known, "reward": rewards})


@dataclass(frozen=True)
class Progress:
    """How far a walk over a bank's customers is: `done` of `of` parts, and what was found."""

    done: int
    of: int
    changed: int


async def rebuild(bank: Bank) -> AsyncIterator[Progress]:
    """Makes all of a bank's profiles anew, part by part; harmless beside the audience process and
    beside another one like it."""
    spans, changed = await refreshing.spans_of(bank), 0
    yield Progress(0, len(spans), 0)
    for number, span in enumerate(spans, 1):
        changed += len(await refreshing.refresh_span(bank, span, SOURCES))
        yield Progress(number, len(spans), changed)


async def check(bank: Bank) -> AsyncIterator[tuple[Progress, dict[str, list[str]]]]:
    """Compares each profile with what its sources say, part by part: the differences of the part, by
    cid, with the keys that differ."""
    spans, changed = await refreshing.spans_of(bank), 0
    for number, span in enumerate(spans, 1):
        found = await refreshing.differences(bank, span, SOURCES)
        changed += len(found)
        yield Progress(number, len(spans), changed), found
