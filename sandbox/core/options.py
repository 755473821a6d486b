"""How a sandbox is wired to the product beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How a sandbox is wired to the product beside it.

    `callback_url` replaces the callback address of every app, `push_url` (may contain `{appid}`)
    the push address of every mini-program; `portal_url` may contain `{appid}`; `sidebar_url` may
    contain `{userid}` and `{external_userid}`; `event_url` contains `{event}`, the id under which
    the product keeps an event that it took, and may contain nothing else; `bank_url` is where the
    bank's core system finds the product, and where callbacks go unless it is given; `retry_delay`
    is seconds between two attempts of a callback, and before the core's second attempt.
    """

    state_file: Path | None = None
    callback_url: str | None = None
    push_url: str | None = None
    portal_url: str | None = None
    sidebar_url: str | None = None
    event_url: str | None = None
    bank_url: str | None = None
    retry_delay: float = 1.0
