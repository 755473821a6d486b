"""Reading a stored version again: what an earlier release took may be no document, or no rule, to this
one."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from campaigns.document import checks
from campaigns.document.model import Campaign
from campaigns.document.rows import VersionRow
from services.documents import yaml12
from services.documents.problems import Fault, Problem, found, in_order


def read(row: VersionRow, branches: Mapping[str, str]) -> tuple[Campaign | None, list[Problem]]:
    """The document, None where it is none any more, and what keeps it from being carried out, each
    with its line in the text; nothing where all is as it should be."""
    document: Campaign | None = None
    faults: list[Fault]
    try:
        document = Campaign.model_validate(row["document"])
        faults = checks.rule_faults(document, branches)
    except ValidationError as error:
        faults = found(error.errors(include_url=False), Campaign)
    if not faults:
        return document, []
    source = f"version {row['version']}"
    parsed = yaml12.parse(row["text"], source)
    problems = [Problem(parsed.line(place), code, data, source) for place, code, data in faults]
    return document, in_order(problems)
