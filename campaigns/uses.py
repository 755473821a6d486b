"""Where fields, events, segments and whatever else rules name are used: the rules of live segments and
of published campaigns, and the placeholders of their texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from campaigns import live
from campaigns.document.model import Campaign
from customers.approvals.versioned import LIVE
from customers.banks.bank import Bank
from customers.rules.tokens import names_of
from customers.segments import rows as segments
from services.documents.placeholders import PLACEHOLDER

Named = tuple[str, str]
"""A kind and a name, as a rule's `mentions` are."""


@dataclass(frozen=True, order=True)
class Use:
    """A live segment or a published campaign, live or paused, by its id."""

    where: Literal["campaign", "segment"]
    by: str


async def uses(bank: Bank) -> Mapping[Named, list[Use]]:
    """Who uses what; what nobody uses is left out."""
    found: defaultdict[Named, set[Use]] = defaultdict(set)
    for row in await segments.everything(bank):
        if row["state"] == LIVE:
            _add(found, names_of(row["rule"]), Use("segment", row["segment"]))
    for campaign in await live.campaign_rows(bank):
        document = await live.published(bank, campaign)
        if document is not None:
            _add(found, names_in(document), Use("campaign", campaign))
    return {named: sorted(by) for named, by in found.items()}


def names_in(document: Campaign) -> set[Named]:
    """What a campaign's rules and texts name."""
    in_rules = (names_of(rule) for _, rule in document.every_rule())
    texts = (text for one in document.templates.values() for text in (one.zh, one.en) if text)
    in_texts = {("field", name) for text in texts for name in PLACEHOLDER.findall(text)}
    return in_texts.union(*in_rules)


def _add(found: Mapping[Named, set[Use]], names: Iterable[Named], use: Use) -> None:
    for named in names:
        found[named].add(use)
