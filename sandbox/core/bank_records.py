"""The bank's own books: which people are its customers, what they have there, and what its core system
told the product of them. Part of the saved state."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

By = Literal["number", "phone", "unionid", "openid", "external_userid"]
State = Literal["under way", "accepted", "refused", "unanswered"]
"""What became of something told; `unanswered` may have been taken, or not."""
Value = str | int | bool | None


class Account(BaseModel):
    """An account; `balance` in fen, `card` the last digits of its card."""

    number: str
    product: str
    opened: str
    balance: int = 0
    card: str = ""
    active: bool = False


class Item(BaseModel):
    """Something told at a moment (ISO 8601), and what became of it."""

    at: str
    state: State = "under way"
    code: str = ""


class Told(Item):
    """What was told of the customer's fields."""

    fields: dict[str, Value]


class Happened(Item):
    """An event."""

    id: str
    name: str
    data: dict[str, Any] = Field(default_factory=dict)


class BankCustomer(BaseModel):
    """A person as the bank's core knows him; `by` is by which of his ids it names him to the
    product, an openid by that of the world's first mini-program. One of a `crowd` came with others,
    from among the people who were there."""

    number: str
    crowd: bool = False
    by: By
    fields: dict[str, Value] = Field(default_factory=dict)
    """What the core holds, as it would tell it."""
    accounts: list[Account] = Field(default_factory=list)
    logins: int = 0
    events: list[Happened] = Field(default_factory=list)
    told: list[Told] = Field(default_factory=list)

    @property
    def balance(self) -> int:
        """All that he has, in fen."""
        return sum(account.balance for account in self.accounts)
