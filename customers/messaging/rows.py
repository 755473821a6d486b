"""The rows of messaging: allowances of subscribe messages, checks of content, codes on posters."""

from __future__ import annotations

from datetime import datetime
from typing import NotRequired, TypedDict

from services.store.rows import Rows

SUBSCRIPTIONS = Rows(
    "subscriptions",
)
"""The allowance of a customer for a subscribe template."""
CONTENT_CHECKS = Rows(
    "content_checks",
)
"""Texts and pictures that WeChat checks."""
POSTER_CODES = Rows(
    "poster_codes",
)
"""What a code on a poster stands for."""


class Subscription(TypedDict):
    """One customer and one template. `heard` are the answers that were counted, `taken` the effects
    that took from the allowance, both the newest only. `state_at`, `accepted_at` and `off_at` are
    the times of the newest answer, accept in the prompt, and turning off."""

    _id: str
    appid: str
    template_id: str
    long_term: bool
    allowance: int
    state: str
    heard: list[str]
    taken: list[str]
    at: datetime
    state_at: NotRequired[datetime]
    accepted_at: NotRequired[datetime]
    off_at: NotRequired[datetime]


class PosterCode(TypedDict):
    """`picture` is there once WeChat has made it; `inviter` is a cid, or empty."""

    _id: str
    at: datetime
    appid: str
    page: str
    campaign: str
    inviter: str
    picture: NotRequired[bytes]
