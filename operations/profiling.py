"""What profiles are made of in all rooms, and bringing a whole bank's up to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

from campaigns import live
from campaigns.engine import profile as campaigns
from customers.banks.bank import Bank
from customers.lists import keeping
from customers.profiles import refreshing
from customers.profiles.source import Source
from customers.profiles.sources import SOURCES as OF_CUSTOMERS
from customers.profiles.vocabulary import of_bank
from customers.rfm import nights
from customers.rfm import profile as rfm
from customers.rfm.rows import NightRow
from customers.rules.vocabulary import Vocabulary
from customers.segments import filling, judging, membership, versions
from customers.segments import profile as segment_profile
from customers.segments import rows as segment_rows
from customers.segments.document import Segment
from customers.segments.judging import Judge
from customers.segments.rows import FillRow
from rewards import catalogue
from rewards.vouchers import profile as vouchers
from services.cache import cached


async def vocabulary(bank: Bank, new: Mapping[str, Segment] | None = None) -> Vocabulary:
    """What a rule over the bank's profiles may ask; `new` are segments that are about to be."""
    campaigns_known = {
        campaign: row["name"] for campaign, row in (await live.campaign_rows(bank)).items()
    }
    rewards = {reward: row["title"] for reward, row in (await catalogue.all_rewards(bank)).items()}
    coming = {key: segment.name.model_dump() for key, segment in (new or {}).items()}
    segments = {**await versions.titles(bank), **coming}
    return await of_bank(
        bank,
        {
            "segment": segments,
            "list": await keeping.titles(bank),
            "campaign": campaigns_known,
            "reward": rewards,
        },
    )


async def judge(bank: Bank) -> Judge:
    """Who says which live segments a customer is in, some seconds old at most."""

    async def load() -> Judge:
        segments = await segment_rows.everything(bank)
        return judging.make(segments, await vocabulary(bank)) if segments else judging.NOBODY

    key = judging.cache_key(bank.id)
    return await cached(bank.services, key, judging.CACHE_SECONDS, load)


SOURCES: tuple[Source, ...] = (
    *OF_CUSTOMERS,
    campaigns.SOURCE,
    vouchers.SOURCE,
    rfm.SOURCE,
    segment_profile.source(judge),
)


async def bring(bank: Bank, cids: Collection[str]) -> None:
    """Brings the profiles of these customers up to their sources, and tells who came into a segment
    or left one."""
    made = await refreshing.refresh_all(bank, cids, SOURCES)
    await membership.settle(bank, made.cids)


async def fill(bank: Bank, owner: str, row: FillRow) -> None:
    """The job that fills segments."""
    await filling.fill(bank, owner, row, filling.Filling(await judge(bank), SOURCES))


async def rank(bank: Bank, owner: str, row: NightRow) -> None:
    """The job that ranks customers by RFM."""
    await nights.move(bank, owner, row, nights.Work(SOURCES, await judge(bank)))


@dataclass(frozen=True)
class Progress:
    """How far a walk over a bank's customers is: `done` of `of` parts, which are all whose ids lie
    before `upto`, and what was found."""

    done: int
    of: int
    changed: int
    upto: str = ""


async def rebuild(bank: Bank, upto: str = "") -> AsyncIterator[Progress]:
    """Makes all of a bank's profiles anew, part by part, those before the id `upto` left out; harmless
    beside the audience process and beside another one like it."""
    spans, changed = await refreshing.spans_of(bank), 0
    yield Progress(0, len(spans), 0, upto)
    for number, span in enumerate(spans, 1):
        if span[1] > upto:
            changed += len(await refreshing.refresh_span(bank, span, SOURCES))
            await membership.settle_span(bank, span)
            yield Progress(number, len(spans), changed, span[1])


async def check(bank: Bank) -> AsyncIterator[tuple[Progress, dict[str, list[str]]]]:
    """Compares each profile with what its sources say, part by part: the differences of the part, by
    cid, with the keys that differ."""
    spans, changed = await refreshing.spans_of(bank), 0
    for number, span in enumerate(spans, 1):
        found = await refreshing.differences(bank, span, SOURCES)
        changed += len(found)
        yield Progress(number, len(spans), changed), found
