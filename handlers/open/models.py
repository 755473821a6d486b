"""Bodies and answers of the API for partners and for the bank's own systems.

What the bank's systems send is described here and read by customers/intake/checking.py, item by item,
against what the bank's file declares.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from config.bounds import (
    Appid,
    BranchId,
    ExternalUserid,
    GivenReason,
    Name,
    RowId,
    ShortText,
    Whole,
    Word,
)


class Body(BaseModel):
    """What a partner sends: no unknown keys, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PlaceQuery(Body):
    """Where it is: one of the partner's own places; may be left out by who has one only."""

    branch: BranchId | None = None
    merchant: BranchId | None = None


class RedeemBody(PlaceQuery):
    uses: int = Field(1, ge=1, le=1_000)


class UndoBody(Body):
    use: RowId = Field(description="the `use` of the receipt")
    reason: GivenReason


class Who(Body):
    """Whom an item is about: by one id, an openid with its mini-program."""

    number: Word | None = Field(None, description="the bank's customer number")
    phone: Word | None = Field(None, description="with the country code, or the bank's country's")
    unionid: Word | None = None
    openid: Word | None = Field(None, description="with `appid`")
    appid: Appid | None = None
    external_userid: ExternalUserid | None = None


Number = Annotated[float, Field(ge=-(2.0**53), le=2.0**53)]
Value = ShortText | Whole | Number | bool | None
Values = Annotated[dict[Name, Value], Field(max_length=100)]


class EventItem(Body):
    id: Name = Field(description="of the system's own: an event that is sent again adds nothing")
    name: ShortText = Field(description="as the bank's file declares it")
    at: Name = Field(description="when it happened, with its offset")
    customer: Who
    data: Values = {}


class EventsBody(Body):
    events: Annotated[list[EventItem], Field(min_length=1, max_length=500)]


class CustomerBody(Body):
    fields: Values = Field(description="by the keys of the bank's file; null takes a value back")
    at: Name | None = Field(None, description="when it was true; now, if it is left out")


class CustomerItem(CustomerBody):
    customer: Who


class CustomersBody(Body):
    customers: Annotated[list[CustomerItem], Field(min_length=1, max_length=500)]


class ItemAnswer(BaseModel):
    """In the order of the request; `id` of events."""

    id: str | None = None
    status: Literal["accepted", "refused"]
    code: str | None = None
    field: str | None = None


class IntakeAnswer(BaseModel):
    accepted: int
    refused: int
    items: list[ItemAnswer]


class VoucherAnswer(BaseModel):
    voucher: str
    kind: str
    title: str
    how: str
    face_value: int = Field(description="in fen")
    state: str
    uses: int
    uses_per: str
    left: int
    expires: str | None
    customer: str = Field(description="masked")
    may: bool
    why: str = Field(description="the reason code when it may not be used here and now")
    shown: str = Field(description="may be redeemed in place of a QR code, for five minutes")


class ReceiptAnswer(BaseModel):
    use: str
    voucher: str
    title: str
    face_value: int = Field(description="in fen")
    uses: int
    left: int
    at: str
    place: str
    undo_until: str
    undone: bool
