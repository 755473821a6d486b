"""What a reward is: the thing itself, whichever campaign gives it, and however many there are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.documents.parts import Part, Text

Kind = Literal["code", "physical", "right"]
"""`code`: a voucher of the bank's own. `physical`: a thing that is sent to an address that the
customer gives. `right`: one that is used so often in a period, such as a lounge or a place at the
front of a queue."""

MOST_VALUABLE = 5_000_000
"""fen: no prize may be worth more (Anti-Unfair Competition Law)."""

Value = Annotated[int, Field(ge=0, le=MOST_VALUABLE)]


class Item(Part):
    """`cost` in fen a piece, as the bank's budget has it."""

    kind: Kind
    title: Text
    text: Text = Text(zh="到店出示兑换码")
    cost: Value
