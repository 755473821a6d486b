"""Reading a campaign file: from text to a checked document, or to a list of problems with their
lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from campaigns.document import checks, items, texts
from campaigns.document.model import Campaign
from rewards.item import Item
from services.documents import yaml12
from services.documents.problems import Fault, Place, Problem, found, in_order
from services.errors import InvalidInput


class DocumentError(InvalidInput):
    """The document cannot be used; nothing was applied."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(
            "campaign_document",
            "\n".join(map(str, problems)),
            fields={str(p.line): p.message for p in problems},
        )
        self.problems = problems


@dataclass(frozen=True)
class Reading:
    """A checked document, what a person must look at before it goes live, and in which versions the
    catalogue's items stand in it."""

    document: Campaign
    notices: list[Problem] = field(default_factory=list)
    items: Mapping[str, int] = field(default_factory=dict)


def read(
    text: str,
    source: str = "campaign",
    branches: Mapping[str, str] | None = None,
    catalogue: Mapping[str, Item] | None = None,
) -> Campaign:
    """The checked document; raises DocumentError with the first problems and the number of the
    others. `branches` are the bank's, `catalogue` its live items (unknown: not checked)."""
    return look(text, source, branches, catalogue).document


def look(
    text: str,
    source: str = "campaign",
    branches: Mapping[str, str] | None = None,
    catalogue: Mapping[str, Item] | None = None,
) -> Reading:
    """The checked document with its notices; raises DocumentError. A tenth of a second for the
    largest text: call it off the loop (`aside`)."""
    parsed = yaml12.parse(text, source)
    document, faults = _document(parsed, branches, catalogue)
    problems = [*parsed.problems, *parsed.unclear.values(), *_located(faults, parsed, source)]
    if document is None or problems:
        raise DocumentError(in_order(problems))
    return Reading(document, in_order(_located(texts.notices(document), parsed, source)))


def _document(
    parsed: yaml12.Document,
    branches: Mapping[str, str] | None,
    catalogue: Mapping[str, Item] | None,
) -> tuple[Campaign | None, list[Fault]]:
    """The document and what is wrong with it, besides what is wrong with its YAML."""
    if not isinstance(parsed.value, dict):
        begin = "kind: campaign/v1"
        return None, [] if parsed.problems else [((), "not_mapping", {"begin": begin})]
    for place in [one for one in parsed.unclear if _is_clock(one)]:
        del parsed.unclear[place]
    value, faults = items.filled_in(parsed.value, catalogue)
    try:
        document = Campaign.model_validate(value)
    except ValidationError as error:
        faults += found(error.errors(include_url=False), Campaign)
        return None, [one for one in faults if not _is_in(one[0], parsed.unclear)]
    if faults or parsed.problems or parsed.unclear:
        return None, faults
    return document, checks.faults(document, branches)


def _is_clock(place: Place) -> bool:
    """Whether a time of day is wanted there, so that 10:00 is one and nothing else."""
    return len(place) == 5 and place[2] == "slots" and place[4] in ("from", "to")


def _is_in(place: Place, unclear: Mapping[Place, Problem]) -> bool:
    """Whether the value that is wrong there could be read in two ways, or holds one that could."""
    inside = any(one[: len(place)] == place for one in unclear)
    return inside or any(place[:n] in unclear for n in range(1, len(place) + 1))


def _located(faults: Iterable[Fault], parsed: yaml12.Document, source: str) -> list[Problem]:
    return [Problem(parsed.line(place), code, data, source) for place, code, data in faults]
