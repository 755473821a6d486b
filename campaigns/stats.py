"""A campaign's funnel: customers who came this far, counted from the rows (contract/engine 4.1).

A stage counts the customers who passed it and every stage before it, so that no stage has more than
the one before. Passed is who has what the step does, or whom the step's own rule left out. What did
not come about is counted beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from campaigns import live
from campaigns.document.model import Campaign
from campaigns.engine import rows as runs
from campaigns.engine.verbs import BY_NAME
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from rewards import catalogue
from rewards import rows as ledger
from services.cache import cached
from services.errors import NotFound
from services.queue import outbox
from services.texts import in_every_language

CACHE_SECONDS = 1.0
Counts = Mapping[frozenset[str], int]
"""Which steps customers came through, and how many came through just these."""


@dataclass(frozen=True)
class Stage:
    """`step` is a step's id, or ENTERED or CLAIMED, which no id can be; `label` is the code of its
    name."""

    step: str
    label: str


async def funnel(bank: Bank, actor: ClerkActor, campaign: str) -> list[dict[str, Any]]:
    """The stages in order. Each has the number of customers, its share of the first and of the stage
    before (0 to 1); for how many customers it failed; and how many have what it gives without having
    passed all before.

    At most CACHE_SECONDS old. Raises NotFound.
    """

    async def load() -> list[dict[str, Any]]:
        row = (await live.campaign_rows(bank)).get(campaign)
        if row is None:
            raise NotFound("campaign_unknown", f"no campaign {campaign}")
        document = await live.published(bank, campaign)
        counts = await runs.customers_by_steps(bank, campaign, _sources(bank, campaign, document))
        return _shares(list(_stages(document)), counts)

    return await cached(bank.services, f"funnel:{bank.id}:{campaign}", CACHE_SECONDS, load)


def _sources(bank: Bank, campaign: str, document: Campaign | None) -> list[dict[str, Any]]:
    rewards = [catalogue.reward_id(campaign, key) for key in document.rewards] if document else []
    return [outbox.steps_of(bank.id, campaign), ledger.claims_of(bank.id, rewards)]


def _stages(document: Campaign | None) -> Iterator[Stage]:
    """A stage for each step on the way; those of side branches are none. Who cannot enter, does
    not."""
    if document is None or document.entry is not None:
        yield Stage(runs.ENTERED, "stage_entered")
    for step in document.steps if document else []:
        label = BY_NAME[step.verb].label
        if label:
            yield Stage(step.id, label)
    if document is not None and document.rewards:
        yield Stage(ledger.CLAIMED, "stage_claimed")


def _shares(stages: list[Stage], counts: Counts) -> list[dict[str, Any]]:
    passed = _passed(stages, counts)
    rows: list[dict[str, Any]] = []
    for position, stage in enumerate(stages):
        customers, before = passed[position], passed[max(position - 1, 0)]
        have = sum(n for steps, n in counts.items() if _has(steps, stage))
        failed = outbox.NOT_DONE + stage.step
        rows.append(
            {
                "step": stage.step.removeprefix("+"),
                "label": in_every_language(stage.label),
                "customers": customers,
                "of_first": customers / passed[0] if passed[0] else 0.0,
                "of_previous": customers / before if before else 0.0,
                "failed": sum(n for steps, n in counts.items() if failed in steps),
                "besides": have - customers,
            }
        )
    return rows


def _passed(stages: list[Stage], counts: Counts) -> list[int]:
    """For each stage, how many passed it and all before."""
    passed = [0] * len(stages)
    for steps, customers in counts.items():
        for position, stage in enumerate(stages):
            if not _has(steps, stage):
                break
            passed[position] += customers
    return passed


def _has(steps: frozenset[str], stage: Stage) -> bool:
    return stage.step in steps or runs.SKIPPED + stage.step in steps
