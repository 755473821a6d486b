"""What the JSON routes read and answer. Requests are strict: text is text, never an object that
ends in a query."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from config.bounds import LoginCode, ShortText, TemplateId, Whole, Word


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class LoginBody(_Request):
    code: LoginCode = Field(description="from wx.login; works once, for five minutes")


class PhoneBody(_Request):
    code: LoginCode = Field(description="from the getPhoneNumber button; works once")
    consent: Word = Field("", description="the version of the consent text that was agreed to")


class SubscriptionsBody(_Request):
    """What `wx.requestSubscribeMessage` answered: template id → `accept` or `reject`."""

    answers: dict[TemplateId, Literal["accept", "reject"]] = Field(min_length=1, max_length=3)


Facts = Annotated[dict[Word, ShortText | Whole | bool | None], Field(max_length=20)]


class ClaimBody(RootModel[Facts]):
    """Empty, or an object; a repeated Idempotency-Key must come with the same bytes."""


class AddressBody(_Request):
    """Where a physical reward goes."""

    name: Annotated[str, Field(max_length=50)] = Field(description="of who receives it")
    phone: Word
    region: Annotated[str, Field(max_length=100)] = Field(description="province, city, district")
    detail: ShortText = Field(description="street, house, door")
    postcode: Annotated[str, Field(max_length=10)] = ""
    consent: Word = Field("", description="the version of the consent text that was agreed to")


class CustomerView(BaseModel):
    name: str
    phone: str = Field(description="masked, or empty")
    bound: bool


class ConsentView(BaseModel):
    purpose: str
    agrees: bool
    withdrawn: bool
    version: str = Field(description="of the text; empty after a withdrawal")
    at: datetime


class ConsentsAnswer(BaseModel):
    consents: list[ConsentView]


class LoginAnswer(BaseModel):
    token: str
    expires_in: int = Field(description="seconds")
    customer: CustomerView


class TicketAnswer(BaseModel):
    ticket: str
    expires_in: int = Field(description="seconds; it works once")
    url: str = Field(description="for the web-view; `&to=vouchers` leads to a page of it")


class RmView(BaseModel):
    name: str
    branch: str


class RewardView(BaseModel):
    id: str
    title: str
    text: str
    kind: str
    state: Literal["claimable", "claimed", "sold_out", "not_started", "paused", "ended"]
    left: int | None
    until: datetime
    terms: dict[str, str]


class HomeAnswer(BaseModel):
    customer: CustomerView
    rm: RmView | None
    rewards: list[RewardView]


class RewardsAnswer(BaseModel):
    rewards: list[RewardView]


class AddressView(BaseModel):
    name: str = Field(description="masked")
    phone: str = Field(description="masked")
    region: str


class DeliveryView(BaseModel):
    """Of a reward that is sent: where it is."""

    state: Literal[
        "awaiting_address", "ready", "exported", "shipped", "delivered", "returned", "cancelled"
    ]
    address: AddressView | None
    may_change: bool
    carrier: str
    number: str = Field(description="the parcel's, empty until it is shipped")


class RedemptionView(BaseModel):
    id: str
    reward: str
    title: str
    code: str
    at: datetime
    state: str
    kind: str
    delivery: DeliveryView | None = Field(description="of what is sent; null for a voucher")


class RedemptionsAnswer(BaseModel):
    redemptions: list[RedemptionView]


class ClaimAnswer(BaseModel):
    redemption: RedemptionView


class SubscriptionsAnswer(BaseModel):
    counted: dict[str, bool] = Field(
        description="false where WeChat's own event counts, or this key was counted before"
    )


class SceneAnswer(BaseModel):
    page: str
    campaign: str
    invited: bool = Field(description="somebody invites with this code")
