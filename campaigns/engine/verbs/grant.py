"""grant: the right to claim a reward of this campaign."""

from __future__ import annotations

from typing import Literal

from campaigns.engine.verbs.verb import Asked, Cause, Reference, Verb
from config import bounds
from rewards import catalogue
from rewards.offers import OFFER
from services.documents.parts import Part


class Grant(Part):
    """Offers a reward of this campaign; `key` says what is offered once."""

    reward: bounds.Word
    key: Literal["{{customer.id}}"] = "{{customer.id}}"


def _references(grant: Grant) -> tuple[Reference]:
    return (Reference("reward", "rewards", grant.reward),)


def _prepare(grant: Grant, cause: Cause) -> Asked:
    reward = catalogue.reward_id(cause.campaign, grant.reward)
    came = {"channel": cause.facts.get("channel.code"), "branch": cause.facts.get("channel.branch")}
    known = {name: value for name, value in came.items() if value}
    return Asked(OFFER, {"userid": cause.context["userid"], "reward": reward, **known})


GRANT = Verb(
    name="grant",
    model=Grant,
    label="stage_grant",
    references=_references,
    prepare=_prepare,
    kinds=(OFFER,),
)
