"""A campaign's funnel: customers who came this far, counted from the rows (contract/engine 4.1)."""

from __future__ import annotations

from typing import Any

from campaigns import live
from campaigns.document.model import Campaign
from campaigns.engine.rows import RUNS
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from rewards import catalogue
from rewards.rows import TRANSFERS
from services.cache import cached
from services.errors import NotFound
from services.queue.outbox import OUTBOX
from services.texts import in_every_language

CACHE_SECONDS = 1.0


async def funnel(bank: Bank, actor: ClerkActor, campaign: str) -> list[dict[str, Any]]:
    """The stages in order, each with the number of customers, its share of the first and of the
    stage before (0 to 1).

    At most CACHE_SECONDS old. Raises NotFound.
    """

    async def load() -> list[dict[str, Any]]:
        row = (await live.campaign_rows(bank)).get(campaign)
        if row is None:
            raise NotFound("campaign_unknown", f"no campaign {campaign}")
        version = row["live_version"]
        document = (await live.program(bank, campaign, version)).campaign if version else None
        return await _count(bank, campaign, document)

    return await cached(bank.services, f"funnel:{bank.id}:{campaign}", CACHE_SECONDS, load)


async def _count(bank: Bank, campaign: str, document: Campaign | None) -> list[dict[str, Any]]:
    db = bank.db
    entered = await db[RUNS].aggregate([{"$match": {"campaign": campaign}}, *_distinct("entered")])
    done = await db[OUTBOX].aggregate(
        [{"$match": {"campaign": campaign, "state": "done"}}, *_distinct("$step")]
    )
    counts = {row["_id"]: row["customers"] for row in [*entered, *done]}
    stages = [("entered", in_every_language("stage_entered"), counts.get("entered", 0))]
    for step in document.steps if document is not None else []:  # side branches are not on the way
        if step.verb in ("send", "tag", "grant"):
            stages.append(
                (step.id, in_every_language(f"stage_{step.verb}"), counts.get(step.id, 0))
            )
    if document is not None and document.rewards:
        names = [catalogue.reward_id(campaign, key) for key in document.rewards]
        claimed = await db[TRANSFERS].aggregate(
            [{"$match": {"kind": "grant", "reward": {"$in": names}}}, *_distinct("claimed")]
        )
        customers = claimed[0]["customers"] if claimed else 0
        stages.append(("claimed", in_every_language("stage_claimed"), customers))
    return _shares(stages)


def _distinct(group: str) -> list[dict[str, Any]]:
    """The stages that count customers, each once, by `group`."""
    return [
        {"$group": {"_id": {"group": group, "cid": "$cid"}}},
        {"$group": {"_id": "$_id.group", "customers": {"$sum": 1}}},
    ]


def _shares(stages: list[tuple[str, dict[str, str], int]]) -> list[dict[str, Any]]:
    first = stages[0][2]
    rows: list[dict[str, Any]] = []
    for position, (step, label, customers) in enumerate(stages):
        before = stages[position - 1][2] if position else customers
        rows.append(
            {
                "step": step,
                "label": label,
                "customers": customers,
                "of_first": customers / first if first else 0.0,
                "of_previous": customers / before if before else 0.0,
            }
        )
    return rows
