"""Checks made before a call (contract/wechat D3): what is over a platform's limit is refused here,
as it would be there.

The error is BadRequest; it names field and limit, never the value. "Characters" are code points;
"bytes" are those of UTF-8, where a han character has three. `path` is the call's; one without a
leading "/" is below /cgi-bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.wechat.core.errors import BadRequest

DAY = 86400

WELCOME_BYTES = 4000
"""of the text of a welcome or a broadcast"""
GROUP_WELCOME_BYTES = 3000
"""of a greeting that group owners may choose"""
APP_TEXT_BYTES = 2048
"""of an app's text message to a member"""
TAG_CHARS = 30
"""of the name of a tag, or of a tag group"""


def refuse(path: str, sentence: str) -> BadRequest:
    """The error for a request that is not sent because of what `sentence` says."""
    return BadRequest(None, sentence, path if path.startswith("/") else f"/cgi-bin/{path}")


def need(path: str, sentence: str, *values: Any) -> None:
    """Refuses a request in which none of `values` is given."""
    if not any(values):
        raise refuse(path, sentence)


def at_most(path: str, what: str, count: int, most: int) -> None:
    """Refuses more than `most` of something."""
    if count > most:
        raise refuse(path, f"{what}: at most {most} at once")


def between(path: str, what: str, value: int, least: int, most: int) -> None:
    """Refuses a number outside `least` to `most`."""
    if not least <= value <= most:
        raise refuse(path, f"{what} is {least} to {most}")


def page_of(limit: int, most: int) -> int:
    """How many a page is asked to hold. More than `most` is no error at the platform, which gives
    what it likes instead: so the most is asked for, and at least one."""
    return max(1, min(limit, most))


def chars(path: str, most: int, **texts: str | None) -> None:
    """Refuses a text of more than `most` characters."""
    for name, text in texts.items():
        if text is not None and len(text) > most:
            raise refuse(path, f"{name} has at most {most} characters")


def utf8(path: str, most: int, **texts: str | None) -> None:
    """Refuses a text of more than `most` bytes."""
    for name, text in texts.items():
        if text is not None and len(text.encode("utf-8", "replace")) > most:
            raise refuse(path, f"{name} has at most {most} bytes")


def span(path: str, start: int, end: int, days: int) -> None:
    """Refuses a time span (seconds UTC) that ends before it starts or is longer than `days`."""
    if not 0 <= end - start <= days * DAY:
        raise refuse(path, f"a time span has at most {days} days and does not end before it starts")


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def some(values: Sequence[Any]) -> list[Any] | None:
    """The values as a list, or None where there are none: the platforms read an empty list
    differently from none."""
    return list(values) or None
