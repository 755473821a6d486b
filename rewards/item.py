"""What a reward is: the thing itself, whichever campaign gives it, and however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from config import bounds
from services.documents.parts import Date, Key, Part, Text, wrong

Kind = Literal["code", "code_pool", "points", "physical", "right"]
"""`code`: a voucher of the bank's own; `code_pool`: somebody else's code, out of a pool of imported
ones (rewards/pools); `points` of its programme (rewards/points); `physical`: a thing that is sent to
an address that the customer gives; `right`: one that is used so often in a period, such as a
lounge or a place at the front of a queue."""

MOST_VALUABLE = 5_000_000
"""fen: no prize may be worth more (Anti-Unfair Competition Law)."""

MOST_POINTS = 100_000_000
Value = Annotated[int, Field(ge=0, le=MOST_VALUABLE)]


class UseAt(Part):
    """Where a voucher may be used: at these branches and merchants, by their ids."""

    branches: Literal["all"] | bounds.Several[bounds.Word] = []
    merchants: Literal["all"] | bounds.Several[bounds.Word] = []


class Item(Part):
    """`cost` in fen a piece, as the bank's budget has it; `face_value` in fen is what the customer
    is told, `points` what a piece of the kind `points` brings, `pool`
    where the codes of a `code_pool` come from.

    A voucher may be used `uses` times (in each day, week or month, when `uses_per` says so), at
    `use_at` or else everywhere, as `how` says; until the end of the day `valid_until` or of the
    `valid_days`-th day after the grant, else until the reward ends. Its customer may give it away
    when it is `transferable`, and is reminded `remind_days` before its end.
    """

    kind: Kind
    title: Text
    text: Text = Text(zh="到店出示兑换码")
    how: Text | None = None
    cost: Value
    face_value: Value | None = None
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] | None = None
    pool: Key | None = None
    uses: int = Field(1, ge=1, le=1_000)
    uses_per: Literal["ever", "day", "week", "month"] = "ever"
    valid_days: int | None = Field(None, ge=1, le=3_650)
    valid_until: Date | None = None
    transferable: bool = False
    use_at: UseAt | None = None
    remind_days: int = Field(3, ge=0, le=90)

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

    @model_validator(mode="after")
    def _pool_of_its_kind(self) -> Item:
        if (self.kind == "code_pool") != (self.pool is not None):
            raise wrong("pool_of_reward")
        return self
