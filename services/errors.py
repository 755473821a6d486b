"""The one error tree. Each error has a machine code; `handlers/http/base.py` maps a class to its
HTTP status.

YinqiaoError
├── InvalidInput     400  the request cannot be read as what it should be
├── NotSignedIn      401  no session, or a login that the platform refused
├── Forbidden        403  signed in (or signed), and still not allowed
├── NotFound         404  not there, or not this caller's to know of
├── Conflict         409  understood, and refused by the state of things: `reason` says why (P9)
├── TooLarge         413
├── KeyReused        422  the same idempotency key with another body
├── TooMany          429  the caller should slow down; `retry_after` in seconds
├── PlatformRefused  502  WeChat or WeCom refuses this for good: trying again does not help
└── Unavailable      503  try again; `retry_after` in seconds
    └── UnknownOutcome    the write may or may not have happened: re-read before answering
"""

from __future__ import annotations

from typing import ClassVar


class YinqiaoError(Exception):
    """An error that a caller may see: `code` for programs, `message` for people, `fields` for
    forms, `data` for the {places} in the code's sentence."""

    status: ClassVar[int] = 500

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        fields: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message or code.replace("_", " ")
        self.fields = fields or {}
        self.data = data or {}


class InvalidInput(YinqiaoError):
    status = 400


class NotSignedIn(YinqiaoError):
    status = 401


class Forbidden(YinqiaoError):
    status = 403


class NotFound(YinqiaoError):
    status = 404


class Conflict(YinqiaoError):
    """Refused by the state of things; `code` is the reason code of contract/rewards 2."""

    status = 409


class TooLarge(YinqiaoError):
    status = 413


class KeyReused(YinqiaoError):
    status = 422


class PlatformRefused(YinqiaoError):
    """The platform answered, and would answer the same again: no outage, and nothing to repeat."""

    status = 502


class _Later(YinqiaoError):
    def __init__(self, code: str, message: str = "", *, retry_after: int = 1) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after


class TooMany(_Later):
    status = 429


class Unavailable(_Later):
    status = 503


class UnknownOutcome(Unavailable):
    """A write's answer was lost. Never read as "failed": look again first (contract/trust
    1.1 f)."""
