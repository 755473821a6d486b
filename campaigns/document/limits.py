"""What can be wrong with what a document says of how much is given to whom: quotas, rules of who may
claim, groups of rewards, and rewards that take another's place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from campaigns.document.model import Campaign
from campaigns.document.states import states_of_rules
from customers.rules.errors import RuleError
from rewards import catalogue, eligibility
from rewards.quota import CampaignQuota, Quota
from rewards.rows import Limits, QuotaRow
from services.documents.problems import Fault, Place, Problem, fault


def faults(document: Campaign, branches: Mapping[str, str]) -> Iterator[Fault]:
    """Every fault of these; a reward that is unknown is told of by whoever looks for names."""
    cheapest = min((one.cost for one in document.rewards.values()), default=0)
    yield from _quota_faults(("limits", "quotas"), document.limits.quotas, cheapest)
    for name, reward in document.rewards.items():
        yield from _quota_faults(("rewards", name, "quotas"), reward.quotas, reward.cost)
    yield from eligible_faults(document, branches)
    yield from _stack_faults(document)
    yield from _fallback_faults(document)


def _quota_faults(
    place: Place, quotas: Sequence[Quota | CampaignQuota], cost: int
) -> Iterator[Fault]:
    """Quotas that stand twice, or that allow for nothing of what costs at least `cost`."""
    seen: set[tuple[str, str, str]] = set()
    for index, quota in enumerate(quotas):
        for unit in _units(quota):
            if (quota.per, quota.period, unit) in seen:
                data = {"per": quota.per, "period": quota.period, "unit": unit}
                yield fault((*place, index), "quota_twice", **data)
            seen.add((quota.per, quota.period, unit))
        if quota.cost is not None and quota.cost < cost:
            yield fault((*place, index, "cost"), "quota_small", most=quota.cost, cost=cost)


def _units(quota: Quota | CampaignQuota) -> list[str]:
    return [unit for unit in ("count", "cost") if getattr(quota, unit) is not None]


def eligible_faults(document: Campaign, branches: Mapping[str, str]) -> Iterator[Fault]:
    groups = states_of_rules(document, branches)
    for name, reward in document.rewards.items():
        if reward.eligible is None:
            if reward.eligible_text is not None:
                yield fault(("rewards", name, "eligible_text"), "eligible_text_alone")
            continue
        try:
            eligibility.check(reward.eligible, groups)
        except RuleError as error:
            place = ("rewards", name, "eligible")
            yield fault(place, error.code, **error.data, column=error.column)


def _stack_faults(document: Campaign) -> Iterator[Fault]:
    """Rewards that say differently how many of a group a customer may have."""
    first: dict[str, int] = {}
    for name, reward in document.rewards.items():
        if reward.stack is None:
            continue
        most = first.setdefault(reward.stack.group, reward.stack.most)
        if most != reward.stack.most:
            data = {"group": reward.stack.group, "most": reward.stack.most, "other": most}
            yield fault(("rewards", name, "stack"), "stack_differs", **data)


def _fallback_faults(document: Campaign) -> Iterator[Fault]:
    for name, reward in document.rewards.items():
        place = ("rewards", name, "fallback")
        if reward.fallback is None:
            continue
        if reward.per_customer > 1:
            yield fault(place, "fallback_several", n=reward.per_customer)
        ring = _ring(document, name)
        if ring and name == min(ring):
            yield fault(place, "fallback_ring", ring=" → ".join([*ring, ring[0]]))


def _ring(document: Campaign, name: str) -> list[str]:
    """The rewards that stand for each other in a ring through `name`, beginning with it; empty when
    it is in none."""
    way = [name]
    while True:
        reward = document.rewards.get(way[-1])
        if reward is None or reward.fallback is None:
            return []
        if reward.fallback == name:
            return way
        if reward.fallback in way:
            return []
        way.append(reward.fallback)


def row_of(document: Campaign, name: str, branches: Mapping[str, str]) -> Limits:
    """The limits of a reward of the document, as its row keeps them."""
    reward = document.rewards[name]
    own = catalogue.reward_id(document.id, name)
    found: Limits = {
        "quotas": [
            *_quota_rows(own, reward.quotas),
            *_quota_rows(document.id, document.limits.quotas),
        ]
    }
    if reward.eligible is not None:
        found |= {"eligible": reward.eligible, "codes": states_of_rules(document, branches)}
    if reward.eligible_text is not None:
        found["eligible_text"] = reward.eligible_text.model_dump()
    if reward.stack is not None:
        found |= {"stack": reward.stack.group, "most": reward.stack.most}
    if reward.fallback is not None:
        found["fallback"] = catalogue.reward_id(document.id, reward.fallback)
    if document.disclosure is not None and document.disclosure.accept == "required":
        found["must_accept"] = True
    return found


def _quota_rows(over: str, quotas: Sequence[Quota | CampaignQuota]) -> Iterator[QuotaRow]:
    for quota in quotas:
        for unit in _units(quota):
            yield {
                "over": over,
                "per": quota.per,
                "period": quota.period,
                "unit": unit,
                "most": getattr(quota, unit),
            }


def is_fallback(document: Campaign, name: str) -> bool:
    """Whether the reward takes the place of another one of the document."""
    return any(reward.fallback == name for reward in document.rewards.values())


def notices(document: Campaign) -> Iterable[Problem]:
    """What a person must look at: a budget that does not pay for everything, and a reward of which
    fewer are given than there are."""
    if document.money is None:
        return
    most = sum(reward.cost * reward.stock for reward in document.rewards.values())
    if most > document.money.budget:
        data = {"most": str(most), "budget": str(document.money.budget)}
        yield Problem(0, "notice_budget_short", data)
