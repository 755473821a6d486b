"""Which live segments could not be read any more if the bank declared something else."""

from __future__ import annotations

from customers.approvals.versioned import LIVE
from customers.banks.bank import Bank
from customers.profiles.vocabulary import of_bank
from customers.rules.errors import RuleError
from customers.rules.reading import read_rule
from customers.rules.vocabulary import Vocabulary
from customers.segments import rows


async def broken_by(before: Bank, after: Bank) -> dict[str, RuleError]:
    """The live segments whose rules can be read by what the bank declares `before` and no more by
    what it declares `after`, with why; one that is broken already is left alone."""
    in_force = [row for row in await rows.everything(before) if row["state"] == LIVE]
    if not in_force:
        return {}
    known, wanted = await _words(before), await _words(after)
    found: dict[str, RuleError] = {}
    for row in in_force:
        error = _wrong(row["rule"], wanted)
        if error is not None and _wrong(row["rule"], known) is None:
            found[row["segment"]] = error
    return found


async def _words(bank: Bank) -> Vocabulary:
    """What the bank's file has a say in; whatever else there is, is."""
    return await of_bank(bank, {"segment": None, "list": None, "campaign": None, "reward": None})


def _wrong(rule: str, words: Vocabulary) -> RuleError | None:
    try:
        read_rule(rule, words)
    except RuleError as error:
        return error
    return None
