"""Phone numbers, as E.164 says them, from the first touch: `+8613800000001`, `+4915123456700`.

The same digits are different phones in different countries, so no number is kept, looked for or
compared without its country code. What people write is read by libphonenumber's rules, a number
without a country code as one of the bank's region; what could be read in two ways is not guessed.
"""

from __future__ import annotations

import re
from typing import NewType

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from services import sheets
from services.errors import InvalidInput

Phone = NewType("Phone", str)
"""A number in E.164: a plus sign, the country code, the number; at most 15 digits."""

MAINLAND = "CN"
_E164 = re.compile(r"\+[1-9]\d{5,14}")
_MAINLAND_MOBILE = re.compile(r"(?:86)?(1[3-9]\d{9})")
"""The whole range that mainland China's numbering plan gives to mobiles, virtual operators among
them, whether or not a block is given out yet."""
_MAINLAND_E164 = re.compile(r"\+861[3-9]\d{9}")
_PUNCTUATION = re.compile(r"[\s().\-/\u2010-\u2015\u2212\u00b7~_]")
_EXTENSION = re.compile(
    r"[\d)\s](?:ext?\.?|x|#|\*|,|;|转接?|分机|轉)\s*\.?:?\d{1,7}$", re.IGNORECASE
)
_TWO_NUMBERS = re.compile(r"\d{7,}\D+\d{7,}")


def is_phone(text: str) -> bool:
    """Whether the text is a number in E.164."""
    return _E164.fullmatch(text) is not None


def is_region(region: str) -> bool:
    """Whether these two letters (ISO 3166) are a region with phone numbers of its own."""
    return region in phonenumbers.SUPPORTED_REGIONS


def read(text: str, region: str = MAINLAND) -> Phone:
    """The phone that somebody wrote: `138 0000 0001`, `0086-138…`, `１３８…`, a cell of Excel's. A
    number without a country code is one of `region` (two letters, ISO 3166).

    Raises InvalidInput `digits_lost` for a number that a spreadsheet rounded, `phone_invalid` for
    what is no phone, or might be two; the message says what to write, and never the number.
    """
    written = sheets.digits(text)
    if _EXTENSION.search(written):
        raise _invalid("a number with an extension belongs to no one person; write his own number")
    if _TWO_NUMBERS.search(written):
        raise _invalid("this is more than one number; write one")
    number = _PUNCTUATION.sub("", written.lower().removeprefix("tel:"))
    if not re.fullmatch(r"\+?\d{3,24}", number, re.ASCII):
        raise _invalid("not a phone number")
    if number.startswith("00"):
        number = "+" + number.removeprefix("00")
    return _mainland(number) if region == MAINLAND else _checked(number, region)


def _mainland(number: str) -> Phone:
    """A number that was written in mainland China."""
    mobile = _MAINLAND_MOBILE.fullmatch(number.removeprefix("+86"))
    if mobile:
        return Phone(f"+86{mobile[1]}")
    if number.startswith(("+", "0")) or re.fullmatch(r"[48]00\d{7}", number):
        return _checked(number, MAINLAND)
    # 852 is Hong Kong and Zunyi's area code, 853 Macau and Anshun's
    raise _invalid(
        "not a mobile of mainland China; write + and the country code, or 0 and the area code"
    )


def _checked(number: str, region: str) -> Phone:
    try:
        parsed = phonenumbers.parse(number, region)
    except NumberParseException:
        raise _invalid("not a phone number") from None
    if not phonenumbers.is_valid_number(parsed):
        raise _invalid("no such number in its country; write + and the country code")
    return Phone(phonenumbers.format_number(parsed, PhoneNumberFormat.E164))


def of_wechat(number: str, pure_number: str, country_code: str) -> Phone:
    """The phone that WeChat tells of a customer (contract/wechat A3): `country_code` and
    `pure_number`; without a code, `number` carries it when it is a foreign one.

    WeChat has sent a code to it, so a number of a block that no list knows yet is taken as well.
    Raises InvalidInput `phone_invalid` for what cannot be a phone.
    """
    code = re.sub(r"\D", "", country_code).lstrip("0")
    told = _PUNCTUATION.sub("", sheets.cell(number))
    pure = _PUNCTUATION.sub("", sheets.cell(pure_number)) or told
    if not code and told.startswith("+"):
        pure = told
    elif not code and told != pure and told.endswith(pure):
        code = told.removesuffix(pure).lstrip("0")
    full = pure if pure.startswith("+") else f"+{code or '86'}{pure}"
    try:
        parsed = phonenumbers.parse(full)
    except NumberParseException:
        raise _invalid("WeChat told no phone number") from None
    phone = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
    if phonenumbers.is_possible_number(parsed) or is_phone(full):
        return Phone(phone)
    raise _invalid("WeChat told no phone number")


def mask_phone(phone: str) -> str:
    """A phone as it may be shown: 138****0001 of mainland China, +852 51****67 of elsewhere; empty
    for none. At least four digits are hidden, the country code is not."""
    if _MAINLAND_E164.fullmatch(phone):
        return f"{phone[3:6]}****{phone[-4:]}"
    if not is_phone(phone):
        return f"****{phone[-2:]}" if phone else ""
    code = str(phonenumbers.parse(phone).country_code)
    national = phone.removeprefix(f"+{code}")
    first, last = next((first, last) for least, first, last in _SHOWN if len(national) >= least)
    return f"+{code} {national[:first]}****{national[-last:]}"


_SHOWN = ((11, 3, 4), (10, 3, 3), (9, 2, 3), (8, 2, 2), (7, 1, 2), (0, 0, 2))
"""Of a number of that many digits at least, so many are shown at its beginning and at its end."""


def _invalid(why: str) -> InvalidInput:
    return InvalidInput("phone_invalid", why, fields={"phone": "not a phone number"})
