"""Why a customer meets a segment's rule or does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from customers.banks.bank import Bank
from customers.identity import review
from customers.profiles import refreshing
from customers.rules import days
from customers.rules.explaining import Explanation, explain
from customers.rules.vocabulary import Vocabulary
from customers.segments import document, rows, versions
from services.errors import NotFound
from services.texts import Language


@dataclass(frozen=True, slots=True)
class Line:
    """A part of the rule at its depth in the tree, and what is said of it."""

    depth: int
    met: bool
    rule: str
    said: str


def lines(found: Explanation, language: Language, depth: int = 0) -> Iterator[Line]:
    """The tree from its root, each part before the parts that it is made of."""
    said = "" if found.parts or found.leaf is None else found.leaf(language)
    yield Line(depth, found.truth, found.rule, said)
    for part in found.parts:
        yield from lines(part, language, depth + 1)


async def explained(bank: Bank, segment: str, wanted: str, words: Vocabulary) -> Explanation:
    """The explanation of a segment's rule for the customer with this id, phone or number.

    Raises NotFound `segment_unknown`, `customer_unknown`, or `profile_unknown` while nothing was
    made of what is known of him; Conflict; SegmentRefused for a rule that cannot be read any more.
    """
    row = await rows.find(bank, segment)
    if row is None:
        raise NotFound("segment_unknown", f"there is no segment {segment}")
    cid = (await review.the_one(bank, wanted))["_id"]
    profile = await refreshing.find(bank, cid)
    if profile is None:
        raise NotFound("profile_unknown", "his profile is not made yet; `profiles rebuild` does it")
    tree = document.checked(segment, versions.segment_of(row), words, {})
    return explain(tree, profile, days.number_of(bank.today()))
