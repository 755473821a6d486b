"""The other half of services/security/sm2.py, which the product has no use for: a signer, as a system
of the bank's would have. Written from GB/T 32918.2 with plain affine points, and slow."""

from __future__ import annotations

import secrets

from services.security.sm2 import USER_ID, A, B, G, N, P, sm3

Point = tuple[int, int] | None


def plus(one: Point, two: Point) -> Point:
    if one is None or two is None:
        return one or two
    if one[0] == two[0]:
        if (one[1] + two[1]) % P == 0:
            return None
        slope = (3 * one[0] * one[0] + A) * pow(2 * one[1], -1, P) % P
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, P) % P
    x = (slope * slope - one[0] - two[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def times(k: int, point: Point) -> Point:
    total: Point = None
    while k:
        total = plus(total, point) if k & 1 else total
        point, k = plus(point, point), k >> 1
    return total


class Signer:
    """A key pair; `public` is the point as the bank's file has it."""

    def __init__(self, private: int = 0) -> None:
        self._private = private or secrets.randbelow(N - 2) + 1
        point = times(self._private, G)
        assert point is not None
        self._point = point
        self.public = f"04{point[0]:064x}{point[1]:064x}"

    def sign(self, message: bytes, k: int = 0) -> str:
        """r and s in hex; `k` is the random number, for vectors that say it."""
        numbers = b"".join(one.to_bytes(32) for one in (A, B, *G, *self._point))
        za = sm3((8 * len(USER_ID)).to_bytes(2), USER_ID, numbers)
        e = int.from_bytes(sm3(za, message))
        while True:
            k = k or secrets.randbelow(N - 1) + 1
            point = times(k, G)
            assert point is not None
            r = (e + point[0]) % N
            s = (k - r * self._private) * pow(1 + self._private, -1, N) % N
            if r and s and r + k != N:
                return f"{r:064x}{s:064x}"
            k = 0
