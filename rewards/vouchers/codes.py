"""The codes of vouchers: twelve characters that a person reads out, types and mistypes.

Crockford's base 32 (no I, L, O, U), shown as 4-4-4. Eleven characters come from an HMAC of the
voucher's id, so no row has them; the twelfth is a check character. It is a weighted sum over
GF(32), with weights and a constant of the bank's own: one wrong character is always found, and so
are two that changed places, wherever they stand; of another bank's codes, 31 in 32.

Until this form there was another, twelve hexadecimal digits without a check; such a code goes on
leading to its voucher.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

from services.security.vault import TenantVault

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 12
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}
_MEANT = str.maketrans("OIL", "011")
_DASHES = re.compile(r"[\s\-‐‑‒–—―−_.·•]+")
_OLD = re.compile(r"[0-9A-F]{12}")
_POLYNOMIAL = 0b100101
"""x^5 + x^2 + 1."""


def _times(one: int, other: int) -> int:
    """The product in GF(32)."""
    product = 0
    while other:
        if other & 1:
            product ^= one
        one <<= 1
        if one & 32:
            one ^= _POLYNOMIAL
        other >>= 1
    return product


@lru_cache(maxsize=1024)
def _weights(key: str) -> tuple[tuple[int, ...], int]:
    """The weights of the eleven characters, different from each other and from the check's 1, and
    the constant."""

    def drawn(value: int) -> bytes:
        return hashlib.sha256(f"{key}|{value}".encode()).digest()

    return tuple(sorted(range(2, 32), key=drawn)[: LENGTH - 1]), drawn(0)[0] & 31


@lru_cache(maxsize=1024)
def _products(vault: TenantVault) -> tuple[tuple[tuple[int, ...], ...], int]:
    """What each character's value counts at each of the eleven places, and the constant."""
    weights, constant = _weights(vault.mac("voucher.check", b""))
    return tuple(tuple(_times(one, value) for value in range(32)) for one in weights), constant


def _check(vault: TenantVault, values: list[int]) -> int:
    products, total = _products(vault)
    for of_place, value in zip(products, values, strict=True):
        total ^= of_place[value]
    return total


def code_of(vault: TenantVault, voucher: str, nth: int) -> str:
    """The `nth` code of the voucher, without dashes."""
    number = int(vault.mac("voucher.code", f"{voucher}|{nth}".encode())[:16], 16)
    values = [number >> (5 * place) & 31 for place in range(LENGTH - 1)]
    values.append(_check(vault, values))
    return "".join([ALPHABET[value] for value in values])


def old_code_of(vault: TenantVault, voucher: str) -> str:
    """The code that a voucher had before there were check characters."""
    return vault.mac("voucher", voucher.encode())[:LENGTH].upper()


def shown(code: str) -> str:
    """The code as a person reads it: 4-4-4."""
    return "-".join((code[:4], code[4:8], code[8:]))


def plain(typed: str) -> str:
    """What was typed without spaces and dashes, in capitals, of whichever width."""
    return _DASHES.sub("", unicodedata.normalize("NFKC", typed)).upper()


def meant(typed: str) -> str:
    """The code that was meant by what is `plain`: O is 0, I and L are 1."""
    return typed.translate(_MEANT)


def is_code(vault: TenantVault, code: str) -> bool:
    """Whether it could be a code of this bank: twelve characters, of which the last fits."""
    values = [_VALUES.get(letter, -1) for letter in code]
    if len(values) != LENGTH or min(values) < 0:
        return False
    return values[-1] == _check(vault, values[:-1])


def is_old(code: str) -> bool:
    """Whether it could be a code of before."""
    return _OLD.fullmatch(code) is not None


def index_of(vault: TenantVault, code: str) -> str:
    """The blind index by which a code, of whichever form, leads to its voucher."""
    return vault.blind("vouchers.code", code)


def pool_index_of(vault: TenantVault, code: str) -> str:
    """The blind index of a code that came out of a pool, however it is typed."""
    return vault.blind("vouchers.pool_code", plain(code))
