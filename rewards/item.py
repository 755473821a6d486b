"""What a reward is: the thing itself, whichever campaign gives it, and however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from services.documents.parts import Part, Text, wrong

Kind = Literal["code", "points"]
"""`code`: a voucher of the bank's own; `points` of its programme (rewards/points)."""

MOST_VALUABLE = 5_000_000
"""fen: no prize may be worth more (Anti-Unfair Competition Law)."""

MOST_POINTS = 100_000_000
Value = Annotated[int, Field(ge=0, le=MOST_VALUABLE)]


class Item(Part):
    """`cost` in fen a piece, as the bank's budget has it; `points` are what a piece of the kind
    `points` brings."""

    kind: Kind
    title: Text
    text: Text = Text(zh="到店出示兑换码")
    cost: Value
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _how_points_come(cls, value: Any) -> Any:
        """There is no code to show."""
        if isinstance(value, Mapping) and value.get("kind") == "points":
            return {
                "text": {"zh": "领取后积分立即到账", "en": "The points are yours at once"},
                **value,
            }
        return value

    @model_validator(mode="after")
    def _points_of_its_kind(self) -> Item:
        if (self.kind == "points") != (self.points is not None):
            raise wrong("points_of_reward")
        return self
