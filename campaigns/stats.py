"""A campaign's funnel: customers who came this far, counted from the rows (contract/engine 4.1)."""

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


@dataclass(frozen=True)
class Stage:
    """`label` is the code of its name."""

    step: str
    label: str
    customers: int


async def funnel(bank: Bank, actor: ClerkActor, campaign: str) -> list[dict[str, Any]]:
    """The stages in order, each with the number of customers, its share of the first and of the
    stage before (0 to 1).

    At most CACHE_SECONDS old. Raises NotFound.
    """

    async def load() -> list[dict[str, Any]]:
        row = (await live.campaign_rows(bank)).get(campaign)
        if row is None:
            raise NotFound("campaign_unknown", f"no campaign {campaign}")
        document = await live.published(bank, campaign)
        return _shares(await _stages(bank, campaign, document))

    return await cached(bank.services, f"funnel:{bank.id}:{campaign}", CACHE_SECONDS, load)


async def _stages(bank: Bank, campaign: str, document: Campaign | None) -> list[Stage]:
    stages = [Stage("entered", "stage_entered", await runs.customers(bank, campaign))]
    if document is None:
        return stages
    done = await outbox.customers_by_step(bank.db, campaign)
    stages += _steps(document, done)
    if document.rewards:
        names = [catalogue.reward_id(campaign, key) for key in document.rewards]
        stages.append(Stage("claimed", "stage_claimed", await ledger.customers(bank, names)))
    return stages


def _steps(document: Campaign, done: Mapping[str, int]) -> Iterator[Stage]:
    """A stage for each step on the way; those of side branches are none."""
    for step in document.steps:
        label = BY_NAME[step.verb].label
        if label:
            yield Stage(step.id, label, done.get(step.id, 0))


def _shares(stages: list[Stage]) -> list[dict[str, Any]]:
    first = stages[0].customers
    rows: list[dict[str, Any]] = []
    for position, stage in enumerate(stages):
        before = stages[position - 1].customers if position else stage.customers
        rows.append(
            {
                "step": stage.step,
                "label": in_every_language(stage.label),
                "customers": stage.customers,
                "of_first": stage.customers / first if first else 0.0,
                "of_previous": stage.customers / before if before else 0.0,
            }
        )
    return rows
