"""The words in which the URL table is written: a Route is a path, the class that serves it, and one
Op a method."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from config.bounds import BODY_BYTES, FORM_FIELDS
from handlers.http.auth import require
from services.security.throttle import Rate

if TYPE_CHECKING:
    from handlers.http.api import Api
    from handlers.http.base import Base

_SEGMENT = "[A-Za-z0-9_.:@-]{1,128}"
_PATTERNS = {"version": "[0-9]{1,9}", "lang": "zh|en"}
_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Op:
    """One method of a path. `answers` is the model of a JSON answer; None where the answer is a
    page, text or nothing. `most` is how many bytes its body may have, `fields` how many fields its
    form; `file`: that form has a file, and is read as it comes in (handlers/http/files.py). `rate`
    is how often one who is signed in may ask, if it is not the usual (handlers/http/rates.py)."""

    permission: str
    summary: str
    body: type[BaseModel] | None = None
    answers: type[BaseModel] | None = None
    status: int = 200
    headers: tuple[str, ...] = ()
    most: int = BODY_BYTES
    fields: int = FORM_FIELDS
    file: bool = False
    rate: Rate | None = None


def op(permission: str, summary: str, **more: object) -> Op:
    """An Op whose permission is known to the catalogue; raises UnknownPermission at import
    otherwise."""
    return Op(require(permission), summary, **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` with `{parameters}`; `json` routes appear in `/openapi.json`, `dev` routes are 404 in
    production.

    A path that ends in a slash also answers without it.
    """

    path: str
    handler: type[Base] | type[Api] | None
    ops: dict[str, Op]
    json: bool = False
    dev: bool = False

    @property
    def parameters(self) -> list[str]:
        """The names in the path, in order."""
        return _PARAMETER.findall(self.path)

    def pattern(self) -> re.Pattern[str]:
        """What a whole path must match; its groups are the path's parameters."""
        pattern = "".join(
            f"(?P<{piece}>{_PATTERNS.get(piece, _SEGMENT)})" if odd else re.escape(piece)
            for odd, piece in _odd_even(_PARAMETER.split(self.path))
        )
        if pattern.endswith("/") and self.path != "/":
            pattern += "?"
        return re.compile(pattern)


UNKNOWN = Route("(unknown)", None, {})
"""Every path that is in no table."""


def json_route(path: str, handler: type[Api], **ops: Op) -> Route:
    """A JSON route: its methods as keywords, such as `get=op(…)`."""
    return Route(path, handler, _by_method(ops), json=True)


def page_route(path: str, handler: type[Base], **ops: Op) -> Route:
    """A browser's route."""
    return Route(path, handler, _by_method(ops))


def dev_page_route(path: str, handler: type[Base], **ops: Op) -> Route:
    """A browser's route that is 404 in production."""
    return Route(path, handler, _by_method(ops), dev=True)


def _by_method(ops: dict[str, Op]) -> dict[str, Op]:
    return {method.upper(): each for method, each in ops.items()}


def _odd_even(pieces: list[str]) -> list[tuple[bool, str]]:
    return [(bool(index % 2), piece) for index, piece in enumerate(pieces)]
