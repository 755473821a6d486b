"""What a voucher's QR code says: good for a minute, at clocks that are half a minute off, and for one
use. It does not say the code: who photographs it has nothing to type afterwards.

`YQ`, then in base 32: 16 bytes of the voucher's id, 4 of the second at which it was made, 3 of
chance, and 10 of an HMAC under the bank's key, which also covers `nth`: a voucher that has another
code since has other QR codes as well. Nothing but capitals, digits: a QR code packs them densely.

What a counter looked at it may redeem for some minutes, though the QR code is over by then: it gets
a ticket of the same form, which only it can use, and which uses up the same stamp.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass

from customers.banks.bank import Bank
from rewards.vouchers.rows import Voucher

SECONDS = 60
CLOCK_OFF = 30
"""So far the clocks of those who make and read a QR code may be apart, in seconds."""
TICKET_SECONDS = 300
PREFIX, TICKET = "YQ", "YQT"
REMEMBERED_SECONDS = SECONDS + CLOCK_OFF + TICKET_SECONDS + 2 * CLOCK_OFF
"""So long a stamp is remembered after its second: longer than anything with it is good."""
_PACKED = 33
_TICKET_PACKED = 37


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody showed: which voucher's, the second at which the QR code was made, and the
    stamp that is used up with it. `mac` and `signed` are for `is_genuine`."""

    voucher: str
    made: int
    stamp: str
    signed: bytes
    mac: bytes
    ticket_at: int | None = None


def text(bank: Bank, row: Voucher) -> str:
    """A new QR code's text."""
    made = int(bank.now())
    packed = _id_bytes(row["_id"]) + made.to_bytes(4) + secrets.token_bytes(3)
    return PREFIX + _armoured(packed + _mac(bank, packed, row["nth"], ""))


def ticket(bank: Bank, row: Voucher, seen: Shown, counter: str) -> str:
    """What `counter` may redeem in place of the QR code that it looked at."""
    packed = seen.signed[:23] + int(bank.now()).to_bytes(4)
    return TICKET + _armoured(packed + _mac(bank, packed, row["nth"], counter))


def read(bank: Bank, shown: str) -> Shown | None:
    """What a text of this form says, not proved yet; None for any other text."""
    text = shown.strip().upper()
    if text.startswith(TICKET):
        data, size = _unarmoured(text[len(TICKET) :]), _TICKET_PACKED
    elif text.startswith(PREFIX):
        data, size = _unarmoured(text[len(PREFIX) :]), _PACKED
    else:
        return None
    if len(data) != size:
        return None
    signed, mac = data[:-10], data[-10:]
    voucher = f"{bank.id}:{signed[:16].hex()}"
    at = int.from_bytes(signed[23:27]) if size == _TICKET_PACKED else None
    return Shown(voucher, int.from_bytes(signed[16:20]), signed[16:23].hex(), signed, mac, at)


def is_genuine(bank: Bank, row: Voucher, shown: Shown, counter: str) -> bool:
    """Whether the bank made it, for this voucher and, where it is a ticket, this counter."""
    by = "" if shown.ticket_at is None else counter
    return hmac.compare_digest(shown.mac, _mac(bank, shown.signed, row["nth"], by))


def is_stale(bank: Bank, shown: Shown) -> bool:
    """Whether its minute is over, or has not come, at any clock that is less than CLOCK_OFF away."""
    now = bank.now()
    if shown.ticket_at is not None:
        return not shown.ticket_at - CLOCK_OFF <= now <= shown.ticket_at + TICKET_SECONDS
    return not shown.made - CLOCK_OFF <= now <= shown.made + SECONDS + CLOCK_OFF


def remembered(bank: Bank, row: Voucher, stamp: str) -> list[str]:
    """The stamps that the row keeps when `stamp` is used up: those that could still be good."""
    oldest = int(bank.now()) - REMEMBERED_SECONDS
    return [*(one for one in row["seen"] if int(one[:8], 16) >= oldest), stamp]


def _id_bytes(voucher: str) -> bytes:
    return bytes.fromhex(voucher.partition(":")[2])


def _mac(bank: Bank, packed: bytes, nth: int, counter: str) -> bytes:
    data = packed + f"|{nth}|{counter}".encode()
    return bytes.fromhex(bank.vault.mac("voucher.qr", data))[:10]


def _armoured(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _unarmoured(text: str) -> bytes:
    try:
        return base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        return b""
