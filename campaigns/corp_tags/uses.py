"""Where corp tags are used: the campaigns that put them on or take them off, and the rules of
campaigns and segments that ask for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from campaigns import live
from campaigns.document.model import Campaign
from campaigns.document.states import states_of_rules
from campaigns.engine import facts
from campaigns.engine.verbs.tag import Tag
from customers.approvals.versioned import LIVE
from customers.banks.bank import Bank
from customers.rules.reading import read_rule
from customers.rules.tokens import texts_of
from customers.rules.tree import Tree, mentions
from customers.segments import rows as segments
from customers.wecom_mirror.tags import OWN_GROUP
from services.documents.placeholders import PLACEHOLDER

SEGMENT = "segment:"


@dataclass(frozen=True, order=True)
class Use:
    """A published campaign, live or paused, uses a tag in a step or in a rule, or a live segment in
    its rule: `by` is the campaign's id, or `segment:` with the segment's."""

    by: str
    where: Literal["step", "rule", "segment"]

    @property
    def segment(self) -> str:
        """The segment's id; empty for a campaign."""
        return self.by.removeprefix(SEGMENT) if self.where == "segment" else ""


async def uses(bank: Bank, names: Collection[str]) -> dict[str, list[Use]]:
    """Who uses which of these tags, by the tag's name; one that nobody uses is left out."""
    found: dict[str, set[Use]] = {}
    for row in await segments.everything(bank):
        if row["state"] == LIVE:
            for name in matching(texts_of(row["rule"], "tag"), names):
                found.setdefault(name, set()).add(Use(f"{SEGMENT}{row['segment']}", "segment"))
    for campaign in await live.campaign_rows(bank):
        document = await live.published(bank, campaign)
        if document is None:
            continue
        for name in matching(in_steps(document), names):
            found.setdefault(name, set()).add(Use(campaign, "step"))
        for name in matching(in_rules(_trees(bank, document)), names):
            found.setdefault(name, set()).add(Use(campaign, "rule"))
    return {name: sorted(by) for name, by in found.items()}


def in_steps(document: Campaign) -> set[str]:
    """The tags that its steps put on or take off, as they are written."""
    bodies = [step.body for _, step in document.all_steps() if isinstance(step.body, Tag)]
    return {name for body in bodies for name in (*body.add, *body.del_)}


def in_rules(trees: Iterable[Tree]) -> set[str]:
    """The tags that rules ask for."""
    asked = (pair for tree in trees for pair in mentions(tree))
    return {name for kind, name in asked if kind == "tag"}


def _trees(bank: Bank, document: Campaign) -> list[Tree]:
    words = facts.vocabulary(states_of_rules(document, bank.branches))
    return [read_rule(rule, words) for _, rule in document.all_rules()]


def matching(written: Iterable[str], names: Collection[str]) -> set[str]:
    """Those of `names` that one of the written tags may mean: a placeholder may be anything, and a
    tag of our own group is written with the group or without."""
    found: set[str] = set()
    for one in written:
        bare = one.removeprefix(f"{OWN_GROUP}:")
        if PLACEHOLDER.search(bare) is None:
            found |= {bare} & set(names)
        else:
            pattern = re.compile(".+".join(map(re.escape, PLACEHOLDER.split(bare)[::2])))
            found |= {name for name in names if pattern.fullmatch(name)}
    return found
