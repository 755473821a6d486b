"""SM2 signatures over SM3 (GB/T 32918.2) for a core system that signs so: plain affine points, slow,
and for made-up keys only."""

from __future__ import annotations

import hashlib
import secrets

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
SIGNER = b"1234567812345678"
Point = tuple[int, int]
NOWHERE = (0, 0)
"""The neutral point, which is not on the curve."""


def _add(one: Point, two: Point) -> Point:
    if NOWHERE in (one, two):
        return two if one == NOWHERE else one
    (x1, y1), (x2, y2) = one, two
    if x1 == x2 and (y1 + y2) % P == 0:
        return NOWHERE
    if one == two:
        slope = (3 * x1 * x1 + A) * pow(2 * y1, -1, P) % P
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, P) % P
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def _times_g(factor: int) -> Point:
    total, point = NOWHERE, G
    while factor:
        if factor & 1:
            total = _add(total, point)
        point, factor = _add(point, point), factor >> 1
    return total


def new_key() -> int:
    """A private key."""
    return secrets.randbelow(N - 2) + 1


def public_key(private: int) -> str:
    """`04` and the point, in hex."""
    x, y = _times_g(private)
    return f"04{x:064x}{y:064x}"


def sign(private: int, message: bytes) -> str:
    """r and s of 32 bytes each, in hex."""
    numbers = (A, B, *G, *_times_g(private))
    signer = (8 * len(SIGNER)).to_bytes(2) + SIGNER
    za = hashlib.new("sm3", signer + b"".join(one.to_bytes(32) for one in numbers)).digest()
    e = int.from_bytes(hashlib.new("sm3", za + message).digest())
    while True:
        k = new_key()
        r = (e + _times_g(k)[0]) % N
        s = (k - r * private) * pow(1 + private, -1, N) % N
        if r and s and r + k != N:
            return f"{r:064x}{s:064x}"
