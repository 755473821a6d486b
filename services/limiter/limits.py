"""How often each API may be called (contract/wechat D1), and what each lane may take of that.

A bank that was granted more says so in `YINQIAO_PLATFORM_LIMITS` (config/settings.py:
PlatformLimits).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from config.settings import PlatformLimits

LANES = ("welcome", "normal", "bulk")
KEPT, KEPT_OF_HOURS = (0.0, 0.015, 0.03), (0.0, 0.015, 0.045)
"""What each lane leaves of an allowance to the lanes before it: of windows below an hour, and of
longer ones, in which mass work could otherwise use up what everybody else needs until the end of
the hour."""

PACE_PARTS, PACE_FROM = 10, 200
PACE = (1.0, 0.12, 0.11)
PACE_OF_HOURS = (1.0, 1.0, 0.11)
"""The part of an allowance (of PACE_FROM calls or more) that a lane takes in 1/PACE_PARTS of its
window. Whatever was used is then freed evenly, and the lanes before never wait for most of a
window. Hours are paced for the source address alone: an API's hour allows less than its minutes,
and pacing it would cost what the minutes allow."""

MINUTE, HOUR, DAY, MONTH = 60.0, 3600.0, 86400.0, 31 * 86400.0


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `most[lane]` calls in any `seconds`, counted over all lanes."""

    seconds: float
    most: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Api:
    """What is counted together under `name`; `at_once` calls may be under way (0: any number)."""

    name: str
    rules: tuple[Rule, ...]
    at_once: int


_Windows = tuple[tuple[int, float], ...]

_NAMED: tuple[tuple[str, str, _Windows], ...] = (
    ("wecom/cgi-bin/get_jsapi_ticket", "", ((100, HOUR),)),
    ("wecom/cgi-bin/ticket/get", "", ((100, HOUR),)),
    (
        "wecom/cgi-bin/*/unionid_to_external_userid", "",
        ((10_000, MINUTE), (100_000, HOUR), (480_000, DAY), (7_500_000, MONTH)),
    ),
    ("wecom/cgi-bin/media/uploadimg", "", ((1000, DAY), (3000, MONTH))),
    ("wecom/cgi-bin/externalcontact/add_moment_task", "", ((10, MINUTE), (100_000, MONTH))),
    ("wecom*", "", ((10_000, MINUTE), (150_000, HOUR))),
    ("wechat/cgi-bin/token", "", ((2000, DAY),)),
    ("wechat/cgi-bin/stable_token", "", ((10_000, MINUTE), (500_000, DAY))),
    ("wechat/cgi-bin/message/subscribe/send", "", ((10_000_000, DAY),)),
    ("wechat/cgi-bin/clear_quota*", "clear_quota", ((10, MONTH),)),
    ("wechat/wxa/getwxacodeunlimit", "", ((5000, MINUTE),)),
    ("wechat/wxa/msg_sec_check", "", ((4000, MINUTE), (2_000_000, DAY))),
    ("wechat/wxa/media_check_async", "", ((2000, MINUTE), (200_000, DAY))),
    ("wechat/wxa/generate*", "links", ((500_000, DAY),)),
)  # fmt: skip
"""Paths, the common name of those that share an allowance, calls and seconds. The first that fits
holds; what fits none has no limit that is known. 100 JS tickets an hour are an app's, and less than
a corp's."""


class Limits:
    """The table with the bank's own figures put before it."""

    def __init__(self, own: PlatformLimits) -> None:
        self._own = own

    def api(self, family: str, path: str) -> Api | None:
        """What holds for calls of `path`; None when no limit is known. Concurrency is WeCom's
        affair alone."""
        found = self._find(family, path)
        if found is None:
            return None
        name, windows, scale = found
        return Api(name, _rules(windows, scale), self._own.concurrency if family == "wecom" else 0)

    def published(self, family: str, name: str) -> list[tuple[float, int]]:
        """The windows of what is counted under `name`, shortest first: seconds and calls."""
        path = next((pattern for pattern, named, _ in _NAMED if name and named == name), "")
        found = self._find(family, path.removeprefix(family) if path else name)
        if found is None:
            return []
        _, windows, scale = found
        return sorted((seconds, max(1, int(calls * scale))) for calls, seconds in windows)

    def _find(
        self, family: str, path: str
    ) -> tuple[str, Iterable[tuple[int, float]], float] | None:
        """The common name, the windows, and the factor for them."""
        full = f"{family}{path}"
        for pattern, windows in self._own.apis.items():
            if fnmatchcase(full, pattern):
                return path, windows, 1.0
        for pattern, name, known in _NAMED:
            if fnmatchcase(full, pattern):
                return name or path, known, self._own.scale
        return None

    def address(self, family: str) -> tuple[Rule, ...]:
        """What holds for all WeCom calls from one source address."""
        return (
            _rules(self._own.address, self._own.scale, pace_hours=True) if family == "wecom" else ()
        )


def _rules(
    windows: Iterable[tuple[int, float]], scale: float, *, pace_hours: bool = False
) -> tuple[Rule, ...]:
    rules = []
    for seconds, calls in sorted(
        (seconds, max(1, int(calls * scale))) for calls, seconds in windows
    ):
        is_long = seconds >= HOUR
        if calls >= PACE_FROM and (pace_hours or not is_long):
            rules.append(
                Rule(seconds / PACE_PARTS, _parts(calls, PACE_OF_HOURS if is_long else PACE))
            )
        rules.append(
            Rule(
                seconds, _parts(calls, [1 - kept for kept in (KEPT_OF_HOURS if is_long else KEPT)])
            )
        )
    return tuple(rules)


def _parts(calls: int, parts: Iterable[float]) -> tuple[int, int, int]:
    welcome, normal, bulk = (max(1, math.ceil(round(calls * part, 6))) for part in parts)
    return welcome, normal, bulk
