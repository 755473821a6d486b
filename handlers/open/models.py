"""Bodies and answers of the partners' API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from config.bounds import BranchId, GivenReason, RowId


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
