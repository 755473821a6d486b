"""How often the platforms let themselves be called (contract/wechat D1, F5): O(1) a call.

WeCom counts per corp and API, and per source address; a mini-program is counted per appid and API.
What oversteps a window is refused with 45009 and blocks the API (or the address) for as long as the
window is: a minute's rule for 60 s, an hour's for 60 min. Refused calls count nowhere. More than
`concurrency` calls of one WeCom API at once meet 45033.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.core.clock import Clock
from sandbox.core.errors import ApiError

MINUTE, HOUR, DAY, MONTH = 60, 3600, 86_400, 30 * 86_400
WRONG_TOKENS_AN_HOUR = 2000
USER_A_MINUTE = 100
USERS_KEPT = 10_000


class IpRule(BaseModel):
    """At most `limit` calls in any `seconds`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(ge=1)
    seconds: float = Field(gt=0)


class Rule(IpRule):
    """The same for each API that `path` names: `*`, or a path with or without what comes before it.

    `by` is whose calls are counted together: the corp's or appid's (`owner`), or one app's of the
    corp.
    """

    path: str = "*"
    by: Literal["owner", "app"] = "owner"

    def matches(self, path: str) -> bool:
        return self.path == "*" or path == self.path or path.endswith("/" + self.path.lstrip("/"))


def _rules(*rows: tuple[str, int, int]) -> tuple[Rule, ...]:
    return tuple(Rule(path=path, limit=limit, seconds=seconds) for path, limit, seconds in rows)


EVERY_WECOM_API = _rules(("*", 10_000, MINUTE), ("*", 150_000, HOUR))
UNCOUNTED = frozenset({"/cgi-bin/message/send", "/cgi-bin/auth/getuserinfo"})
"""APIs outside the base frequency: app messages have limits of their own, sign-ins have none."""
WECOM = (
    *_rules(
        ("idconvert/unionid_to_external_userid", 100_000, HOUR),
        ("idconvert/unionid_to_external_userid", 480_000, DAY),
        ("idconvert/unionid_to_external_userid", 7_500_000, MONTH),
        ("externalcontact/add_moment_task", 10, MINUTE),
        ("externalcontact/add_moment_task", 100_000, MONTH),
        ("media/uploadimg", 1000, DAY),
        ("media/uploadimg", 3000, MONTH),
        ("get_jsapi_ticket", 400, HOUR),
    ),
    Rule(path="get_jsapi_ticket", limit=100, seconds=HOUR, by="app"),
    Rule(path="ticket/get", limit=100, seconds=HOUR, by="app"),
)
IP = (IpRule(limit=20_000, seconds=MINUTE), IpRule(limit=600_000, seconds=HOUR))
WECHAT = _rules(
    ("cgi-bin/token", 2000, DAY),
    ("cgi-bin/stable_token", 10_000, MINUTE),
    ("cgi-bin/stable_token", 500_000, DAY),
    ("wxa/getwxacodeunlimit", 5000, MINUTE),
    ("wxa/msg_sec_check", 4000, MINUTE),
    ("wxa/msg_sec_check", 2_000_000, DAY),
    ("wxa/media_check_async", 2000, MINUTE),
    ("wxa/media_check_async", 200_000, DAY),
    ("wxa/generatescheme", 500_000, DAY),
    ("wxa/generate_urllink", 500_000, DAY),
    ("message/subscribe/send", 10_000_000, DAY),
)


class Plan(BaseModel):
    """What `POST /control/limits` sets; what it leaves out is the real figure.

    `rules` and `ip` replace the figures of WeCom; `scale` multiplies every count; `block` is how
    many seconds an overrun blocks, or the length of the window overrun; `kind` is how a window
    counts: any stretch of its length, fixed stretches of the clock, or a bucket of `limit` that
    fills again within its length. `concurrency` 0 is no limit.
    """

    model_config = ConfigDict(extra="forbid")

    scale: float = Field(default=1.0, gt=0, le=1000)
    rules: list[Rule] | None = None
    ip: list[IpRule] | None = None
    concurrency: int = Field(default=10, ge=0)
    block: Literal["window"] | float = "window"
    kind: Literal["sliding", "fixed", "bucket"] = "sliding"

    def of(self, family: str, path: str) -> list[Rule]:
        """The rules that count a call of this path."""
        if family == "wechat":
            return [r for r in WECHAT if r.matches(path)]
        if self.rules is not None:
            return [r for r in self.rules if r.matches(path)]
        own = [r for r in WECOM if r.matches(path)]
        return own if path in UNCOUNTED else [*EVERY_WECOM_API, *own]


class Window:
    """One rule's count."""

    def __init__(self, rule: IpRule, plan: Plan) -> None:
        self.limit = max(1, round(rule.limit * plan.scale))
        self.seconds = rule.seconds
        self._kind = plan.kind
        self._calls: deque[float] = deque()
        self._count = 0.0
        self._since = 0.0

    def used(self, now: float) -> float:
        """How much of the limit is taken."""
        if self._kind == "sliding":
            while self._calls and self._calls[0] <= now - self.seconds:
                self._calls.popleft()
            return len(self._calls)
        if self._kind == "fixed":
            stretch = now // self.seconds
            if stretch != self._since:
                self._since = stretch
                self._count = 0.0
            return self._count
        if now > self._since:
            filled = (now - self._since) * self.limit / self.seconds
            self._count = max(0.0, self._count - filled)
            self._since = now
        return self._count

    def take(self, now: float) -> None:
        """Count one call; `used(now)` has been asked before."""
        if self._kind == "sliding":
            self._calls.append(now)
        else:
            self._count += 1


@dataclass(slots=True)
class Gate:
    """The windows of one owner and API, or of one address, and what became of the calls."""

    windows: list[Window]
    blocked_until: float = 0.0
    inside: int = 0
    peak: int = 0
    allowed: int = 0
    refused: int = 0
    blocks: int = 0
    crowded: int = 0
    first: float = 0.0
    last: float = 0.0

    def closed(self, now: float, block: float | str) -> bool:
        """Whether it lets no call through now; an overrun blocks from here on."""
        if now < self.blocked_until:
            return True
        full = next((w for w in self.windows if w.used(now) + 1 > w.limit), None)
        if full is None:
            return False
        self.blocks += 1
        self.blocked_until = now + (full.seconds if isinstance(block, str) else block)
        return True

    def let_in(self, now: float) -> None:
        for window in self.windows:
            window.take(now)
        self.allowed += 1
        self.first = self.first or now
        self.last = now

    def row(self) -> dict[str, Any]:
        """What the control plane shows.

        `share` is the allowed calls in what the tightest rule allows between the first and the last
        of them, one full window after the other.
        """
        lasted = self.last - self.first
        allowance = min((w.limit * (lasted // w.seconds + 1) for w in self.windows), default=0.0)
        return {
            "allowed": self.allowed,
            "refused": self.refused,
            "blocks": self.blocks,
            "crowded": self.crowded,
            "peak": self.peak,
            "share": round(self.allowed / allowance, 4) if allowance else None,
        }


@dataclass(slots=True)
class Limits:
    """Lets calls in or refuses them."""

    clock: Clock
    plan: Plan = field(default_factory=Plan)
    _gates: dict[tuple[str, str], Gate] = field(default_factory=dict)
    _app_gates: dict[tuple[str, str], Gate] = field(default_factory=dict)
    _ips: dict[str, Gate] = field(default_factory=dict)
    _users: dict[tuple[str, str], Window] = field(default_factory=dict)
    _wrong_tokens: dict[str, Gate] = field(default_factory=dict)

    def enter(self, family: str, owner: str, app: str, path: str, ip: str) -> Gate:
        """Count one call and hold its place until `leave`. Raises ApiError 45009 or 45033."""
        gate = self._gate(family, owner, path)
        gates = [gate, *self._others(family, app, path, ip)]
        crowd = self.plan.concurrency if family == "wecom" else 0
        if crowd and gate.inside >= crowd:
            gate.crowded += 1
            raise ApiError(45033)
        now = self.clock.now()
        for one in gates:
            if one.closed(now, self.plan.block):
                gate.refused += 1
                one.refused += one is not gate
                raise ApiError(45009)
        for one in gates:
            one.let_in(now)
        gate.inside += 1
        gate.peak = max(gate.peak, gate.inside)
        return gate

    def leave(self, gate: Gate) -> None:
        """The call has been answered."""
        gate.inside -= 1

    def _gate(self, family: str, owner: str, path: str) -> Gate:
        key = (owner, path)
        if key not in self._gates:
            rules = [rule for rule in self.plan.of(family, path) if rule.by == "owner"]
            self._gates[key] = self._new_gate(rules)
        return self._gates[key]

    def _others(self, family: str, app: str, path: str, ip: str) -> list[Gate]:
        """The gates beside the API's own: the calling app's, and its address's."""
        if family != "wecom":
            return []
        by_app = self._app_gates.get((app, path))
        if by_app is None:
            rules = [rule for rule in self.plan.of(family, path) if rule.by == "app"]
            by_app = self._app_gates[app, path] = self._new_gate(rules)
        by_ip = self._ips.get(ip)
        if by_ip is None:
            by_ip = self._ips[ip] = self._new_gate(IP if self.plan.ip is None else self.plan.ip)
        return [by_app, by_ip]

    def _new_gate(self, rules: Iterable[IpRule]) -> Gate:
        return Gate([Window(rule, self.plan) for rule in rules])

    def user(self, path: str, openid: str) -> None:
        """Count a call made for one user of a mini-program. Raises ApiError 45011 over 100 a minute
        (A2)."""
        now = self.clock.now()
        if len(self._users) >= USERS_KEPT:
            self._users = {key: w for key, w in self._users.items() if w.used(now)}
        rule = IpRule(limit=USER_A_MINUTE, seconds=MINUTE)
        window = self._users.setdefault((path, openid), Window(rule, self.plan))
        if window.used(now) + 1 > window.limit:
            raise ApiError(45011)
        window.take(now)

    def token_block(self, ip: str) -> None:
        """Raises ApiError 45009 while too many wrong secrets have the address blocked, for every
        app behind it (A1, B1)."""
        gate = self._wrong_tokens.get(ip)
        if gate and self.clock.now() < gate.blocked_until:
            raise ApiError(45009)

    def wrong_token(self, ip: str) -> None:
        """Count a token call with a wrong secret; the 2000th within an hour blocks the address for
        an hour."""
        now = self.clock.now()
        gate = self._wrong_tokens.get(ip)
        if gate is None:
            rule = IpRule(limit=WRONG_TOKENS_AN_HOUR, seconds=HOUR)
            gate = self._wrong_tokens[ip] = Gate([Window(rule, self.plan)])
        gate.let_in(now)
        gate.closed(now, "window")

    def quota(self, appid: str, path: str) -> tuple[int, int] | None:
        """The day's limit of a mini-program API and how much of it is used; None without such a
        limit (A1)."""
        gate = self._gate("wechat", appid, path)
        day = next((w for w in gate.windows if w.seconds == DAY), None)
        return (day.limit, round(day.used(self.clock.now()))) if day else None

    def clear(self, appid: str) -> None:
        """A mini-program's counts begin anew (A1)."""
        for key in [k for k in self._gates if k[0] == appid]:
            del self._gates[key]

    def shown(self) -> dict[str, Any]:
        """The plan in force and what became of the calls, by path and by address."""
        paths = [
            {"owner": owner, "path": path, **gate.row()}
            for (owner, path), gate in self._gates.items()
        ]
        ips = [{"ip": ip, **gate.row()} for ip, gate in self._ips.items()]
        now = self.clock.now()
        blocked = [p for (_, p), gate in self._gates.items() if now < gate.blocked_until]
        return {"plan": self.plan.model_dump(), "paths": paths, "ips": ips, "blocked": blocked}
