"""What a document may say of how much is given: quotas in pieces and in money, and groups of rewards
of which a customer may have so many."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from config import bounds
from services.documents.parts import Amount, Key, Part, wrong

Period = Literal["ever", "day", "month"]
"""A day and a month are those of the bank's time."""


class _Quota(Part):
    per: bounds.Word
    period: Period = "ever"
    count: Amount | None = None
    cost: Amount | None = None

    @model_validator(mode="after")
    def _something(self) -> _Quota:
        if self.count is None and self.cost is None:
            raise wrong("quota_empty")
        return self


class Quota(_Quota):
    """At most `count` pieces of a reward, or `cost` fen of it, for each of `per` in a `period`."""

    per: Literal["reward", "customer", "channel", "branch", "staff"]


class CampaignQuota(_Quota):
    """The same over all rewards of a campaign."""

    per: Literal["campaign", "customer", "channel", "branch", "staff"]


class Stack(Part):
    """Of the bank's rewards that name the same `group`, a customer may have `most`."""

    group: Key
    most: Annotated[int, Field(ge=1, le=20)] = 1
