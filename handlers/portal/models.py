"""What the JSON routes read and answer. Requests are strict: text is text, never an object that
ends in a query."""

from __future__ import annotations

from datetime import date, datetime
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
    """Empty, or an object, of which `disclosure` is the hash of the disclosure that the customer
    accepts; a repeated Idempotency-Key must come with the same bytes."""


class AcceptBody(_Request):
    disclosure: Word = Field(min_length=1, description="the hash of the version that was shown")


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
    disclosure: str = Field(description="the hash of the terms; empty without any")
    must_accept: bool = Field(description="a claim wants the customer's own word before it")


class DisclosureAnswer(BaseModel):
    reward: str
    disclosure: str = Field(description="the hash of the terms, which names their version")
    terms: dict[str, str]
    required: bool = Field(description="a claim wants the customer's own word before it")
    accepted: bool = Field(description="the customer has accepted this version")


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
    """`code` is empty where there is nothing to show at a counter; the fields below `kind` are
    those of vouchers."""

    id: str
    reward: str
    instead_of: str | None = Field(None, description="the reward that was asked for, if another")
    title: str
    code: str = Field(description="empty for points")
    points: int | None = Field(None, description="what a reward of the kind points brought")
    at: datetime
    state: Literal[
        "granted", "active", "used", "expired", "recalled", "refunded",
        "awaiting_address", "ready", "exported", "shipped", "delivered", "returned", "cancelled",
    ]  # fmt: skip
    kind: str
    delivery: DeliveryView | None = Field(None, description="of what is sent")
    expires: datetime | None = Field(None, description="it may be used before")
    uses: int | None = None
    uses_per: Literal["ever", "day", "week", "month"] | None = None
    uses_left: int | None = Field(None, description="now, in the present period")
    how: str | None = Field(None, description="how it is used")
    where: list[str] | None = Field(None, description="names; empty: everywhere")
    face_value: int | None = Field(None, description="in fen")
    transferable: bool | None = None


class QrView(BaseModel):
    text: str
    svg: str = Field(description="the QR code as an SVG element")
    seconds: int = Field(description="for so long it is good; then ask for the next")


class GiftView(BaseModel):
    code: str = Field(description="who sends it to `gifts` has the voucher")
    until: datetime


class OpenedRedemption(RedemptionView):
    gift: GiftView | None = Field(description="what it is offered to another customer with")
    seconds_left: int | None = Field(description="until it expires, by the server's clock")
    qr: QrView | None = Field(description="good once; nothing where it cannot be used now")


class RedemptionAnswer(BaseModel):
    redemption: OpenedRedemption


class GiftBody(_Request):
    code: ShortText = Field(description="what the giver passed on; however it is typed", repr=False)


class GiftAnswer(BaseModel):
    gift: GiftView


class RedemptionsAnswer(BaseModel):
    redemptions: list[RedemptionView]


class ClaimAnswer(BaseModel):
    redemption: RedemptionView


class PointsAsked(_Request):
    """A page of lines: those behind the cursor `before` (empty: from the newest)."""

    before: Word = ""
    limit: Annotated[int, Field(ge=1, le=100, strict=False)] = 20


class ExpiringView(BaseModel):
    points: int
    until: date = Field(description="the last day on which they can be used")


class WayView(BaseModel):
    title: str
    points: int
    per_day: int | None = Field(description="points at most, by the bank's days; null: no cap")
    per_month: int | None
    ever: int | None


class LineView(BaseModel):
    id: str
    at: datetime
    points: int = Field(description="below zero for what was used or has expired")
    kind: str
    what: str


class PointsAnswer(BaseModel):
    program: str = Field(description="what the bank calls its points; empty where it has none")
    available: int
    held: int = Field(description="set aside for what is under way")
    expiring: list[ExpiringView]
    ways: list[WayView] = Field(description="how points are earned today")
    lines: list[LineView] = Field(description="newest first")
    next: str = Field(description="the cursor of the lines before these; empty: there are none")


class SubscriptionsAnswer(BaseModel):
    counted: dict[str, bool] = Field(
        description="false where WeChat's own event counts, or this key was counted before"
    )


class SceneAnswer(BaseModel):
    page: str
    campaign: str
    invited: bool = Field(description="somebody invites with this code")
