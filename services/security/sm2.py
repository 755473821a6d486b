"""Verifying SM2 signatures over SM3 (GB/T 32918.2 on the curve of GB/T 32918.5; the signer's id is
the usual one of GB/T 35276 and RFC 8998).

`cryptography` has SM3 and SM4 and no SM2. Nothing here is secret, a public key and what was signed
with it, so that how long a step takes tells nobody anything. Of G, and of each key that was read, the
multiples by every hexadecimal digit at every place are made once; a signature is then checked by
adding up one point a digit.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache

from cryptography.hazmat.primitives import hashes

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
USER_ID = b"1234567812345678"
"""The id that signer and verifier take, where none was agreed on."""
KEYS_KEPT = 256
"""Keys whose multiples are kept, some 200 KiB each."""

_PLACES, _DIGITS = 64, 15
_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
"""What a public key of this curve begins with in DER; its point follows."""
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----")

Affine = tuple[int, int]
Jacobian = tuple[int, int, int]
"""x·z⁻², y·z⁻³; z is 0 for the point at infinity."""
INFINITY: Jacobian = (1, 1, 0)
Table = Sequence[Sequence[Affine]]


def sm3(*parts: bytes) -> bytes:
    """The SM3 digest of the parts after each other."""
    digest = hashes.Hash(hashes.SM3())
    for part in parts:
        digest.update(part)
    return digest.finalize()


@dataclass(frozen=True)
class PublicKey:
    """A point of the curve. `verify` says whether a signature over a message is of its private
    key."""

    point: Affine = field(repr=False)

    @cached_property
    def _za(self) -> bytes:
        """The hash that binds id, curve and key to what is signed."""
        numbers = b"".join(one.to_bytes(32) for one in (A, B, *G, *self.point))
        return sm3((8 * len(USER_ID)).to_bytes(2), USER_ID, numbers)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """`signature` is r and s, in DER or as 32 bytes each."""
        numbers = read_signature(signature)
        if numbers is None:
            return False
        r, s = numbers
        t = (r + s) % N
        if not (0 < r < N and 0 < s < N and t):
            return False
        e = int.from_bytes(sm3(self._za, message))
        summed = _times(_multiples(self.point), t, _times(_generator(), s, INFINITY))
        if not summed[2]:
            return False
        x = summed[0] * pow(summed[2], -2, P) % P
        return (e + x) % N == r


@lru_cache(KEYS_KEPT)
def read_key(text: str) -> PublicKey:
    """The public key in `text`: PEM, or hexadecimal digits of its two coordinates with or without
    04 before them. Raises ValueError for what is none, or lies on another curve."""
    data = _point(text.strip())
    if len(data) == 65 and data[0] == 4:
        data = data[1:]
    if len(data) != 64:
        raise ValueError("expected an SM2 public key: PEM, or 04 and 128 hex digits")
    x, y = int.from_bytes(data[:32]), int.from_bytes(data[32:])
    if x >= P or y >= P or (y * y - (x * x * x + A * x + B)) % P:
        raise ValueError("the key is no point of the SM2 curve")
    return PublicKey((x, y))


def _point(text: str) -> bytes:
    """The bytes of the point that PEM or hexadecimal digits say; raises ValueError."""
    found = _PEM.fullmatch(text)
    try:
        if found is None:
            return bytes.fromhex(text)
        data = base64.b64decode("".join(found[1].split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("expected an SM2 public key: PEM, or 04 and 128 hex digits") from None
    if not data.startswith(_SPKI):
        raise ValueError("the key is none of the SM2 curve")
    return data.removeprefix(_SPKI)


def split_keys(text: str) -> list[str]:
    """The texts of several keys after each other: PEM blocks, or hexadecimal digits with blanks
    between. While a key is changed for another, both are there."""
    blocks = [found[0] for found in _PEM.finditer(text)]
    return [*blocks, *_PEM.sub(" ", text).split()]


def read_signature(data: bytes) -> tuple[int, int] | None:
    """r and s, in DER or as 32 bytes each; None for neither."""
    if len(data) == 64:
        return int.from_bytes(data[:32]), int.from_bytes(data[32:])
    if len(data) < 8 or data[0] != 0x30 or data[1] != len(data) - 2 or data[1] > 72:
        return None
    first = _der_integer(data[2:])
    second = _der_integer(data[2 + first[1] :]) if first else None
    if first is None or second is None or first[1] + second[1] != data[1]:
        return None
    return first[0], second[0]


def _der_integer(data: bytes) -> tuple[int, int] | None:
    """A positive whole number in its shortest form, and how many bytes it takes."""
    if len(data) < 3 or data[0] != 2 or not 0 < data[1] <= min(33, len(data) - 2):
        return None
    body = data[2 : 2 + data[1]]
    if body[0] & 0x80 or (len(body) > 1 and body[0] == 0 and not body[1] & 0x80):
        return None
    return int.from_bytes(body), 2 + data[1]


# ---- the curve ----


def _times(table: Table, k: int, to: Jacobian) -> Jacobian:
    """`to` and k times the table's point."""
    for row in table:
        digit = k & 15
        if digit:
            to = _add(to, row[digit - 1])
        k >>= 4
    return to


def _add(one: Jacobian, two: Affine) -> Jacobian:
    x1, y1, z1 = one
    x2, y2 = two
    if not z1:
        return x2, y2, 1
    zz = z1 * z1 % P
    h = (x2 * zz - x1) % P
    r = (y2 * zz * z1 - y1) % P
    if not h:
        return INFINITY if r else _double(one)
    hh = h * h % P
    hhh, v = hh * h % P, x1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - y1 * hhh) % P, z1 * h % P


def _double(one: Jacobian) -> Jacobian:
    x, y, z = one
    zz, yy = z * z % P, y * y % P
    beta = x * yy % P
    alpha = 3 * (x - zz) * (x + zz) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return x3, (alpha * (4 * beta - x3) - 8 * yy * yy) % P, 2 * y * z % P


@cache
def _generator() -> Table:
    return _multiples.__wrapped__(G)


@lru_cache(KEYS_KEPT)
def _multiples(point: Affine) -> Table:
    """For every place of a number in hexadecimal digits, the point times each digit there."""
    base, rows = point, []
    for _ in range(_PLACES):
        row: list[Jacobian] = [(*base, 1)]
        for _ in range(_DIGITS):
            row.append(_add(row[-1], base))
        affine = list(_affine(row))
        rows.append(affine[:_DIGITS])
        base = affine[_DIGITS]
    return rows


def _affine(points: Iterable[Jacobian]) -> Iterable[Affine]:
    """The same points with z = 1, by one inversion."""
    listed = list(points)
    products = [1]
    for _, _, z in listed:
        products.append(products[-1] * z % P)
    inverse = pow(products[-1], -1, P)
    made = []
    for (x, y, z), before in zip(reversed(listed), reversed(products[:-1]), strict=True):
        own = inverse * before % P
        inverse = inverse * z % P
        squared = own * own % P
        made.append((x * squared % P, y * squared * own % P))
    return reversed(made)
