"""Where a physical reward goes: the address that the customer gives, how it is kept and how it is
shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from config.bounds import clean
from customers import consent
from customers.banks.bank import Bank
from customers.identity.facts import mask_name
from rewards.shipping.rows import SHIPMENTS, Shipment
from services import phones
from services.errors import InvalidInput

PURPOSE = "address"
"""The purpose of the consent."""


def _line(text: str) -> str:
    """One line without blanks around it."""
    return clean(" ".join(text.split()))


_Clean = AfterValidator(_line)


class Address(BaseModel):
    """As the customer writes it; `phone` is kept in E.164, `region` is province, city and
    district."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=50), _Clean]
    phone: Annotated[str, Field(min_length=1, max_length=40), _Clean]
    region: Annotated[str, Field(min_length=2, max_length=100), _Clean]
    detail: Annotated[str, Field(min_length=2, max_length=200), _Clean]
    postcode: Annotated[str, Field(max_length=10, pattern=r"^[0-9A-Za-z -]*$")] = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """An address as it may be shown: the name and the phone masked, and of the place the region
    alone."""

    name: str
    phone: str
    region: str


def read(bank: Bank, fields: dict[str, str]) -> Address:
    """The address that these fields say; raises InvalidInput `address_invalid` that names each field
    that is wrong, and never what was written."""
    wrong: dict[str, str] = {}
    try:
        address = Address.model_validate(fields)
    except ValidationError as error:
        wrong = {str(one["loc"][0]): one["type"] for one in error.errors(include_url=False)}
        raise InvalidInput("address_invalid", "look at the address", fields=wrong) from None
    blank = [
        name for name in ("name", "region", "detail") if not getattr(address, name).strip(" .-")
    ]
    wrong = dict.fromkeys(blank, "missing")
    try:
        phone = phones.read(address.phone, bank.region)
    except InvalidInput:
        wrong["phone"] = "phone_invalid"
    if wrong:
        raise InvalidInput("address_invalid", "look at the address", fields=wrong)
    return address.model_copy(update={"phone": phone})


def sealed(bank: Bank, shipment: str, address: Address) -> bytes:
    return bank.vault.seal_json(SHIPMENTS, "address", shipment, address.model_dump())


def opened(bank: Bank, row: Shipment) -> Address | None:
    """The address of a shipment; None where there is none, or none any more."""
    kept = row.get("address")
    if kept is None:
        return None
    value = bank.vault.open_json(SHIPMENTS, "address", row["_id"], kept)
    return Address.model_validate_json(orjson.dumps(value))


def masked(bank: Bank, row: Shipment) -> Shown | None:
    address = opened(bank, row)
    if address is None:
        return None
    return Shown(mask_name(address.name), phones.mask_phone(address.phone), address.region)


def consent_text() -> tuple[str, dict[str, str]]:
    """The version and the texts of the consent that is asked for now."""
    version = max(version for purpose, version in consent.TEXTS if purpose == PURPOSE)
    return version, consent.TEXTS[PURPOSE, version]
