"""Single-use codes with a lifetime: login, phone button, OAuth, welcome (contract/wechat A2, A3,
B1, B8, F4)."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.core import ids
from sandbox.core.clock import Clock
from sandbox.core.errors import ApiError

CODE_SECONDS = 300
WELCOME_SECONDS = 20
KEEP_SECONDS = 86_400
PREFIXES = {
    "login": "0",
    "phone": "p",
    "oauth": "OA",
    "privateinfo": "OP",
    "visitor": "OV",
    "member_login": "M",
    "welcome": "WC",
}
OAUTH = frozenset({"oauth", "privateinfo", "visitor"})
"""Sign-ins inside WeCom: of a member, of one who consents to more, of somebody who is no member
(B1)."""


@dataclass(slots=True)
class Code:
    """One code: whose it is, where it may be used, and until when."""

    kind: str
    subject: str
    scope: str
    expires_at: float
    used: bool = False


class Codes:
    """Issues and redeems codes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._codes: dict[str, Code] = {}

    def issue(self, kind: str, subject: str, scope: str) -> str:
        """A new code of `kind` for `subject`, valid in `scope` (an appid, or the member of a
        welcome code)."""
        self._prune()
        value = ids.code(PREFIXES[kind])
        life = WELCOME_SECONDS if kind == "welcome" else CODE_SECONDS
        self._codes[value] = Code(kind, subject, scope, self._clock.now() + life)
        return value

    def redeem(self, kind: str, value: str, scope: str) -> str:
        """Use up a code and return its subject.

        Raises ApiError 40029 when it is unknown, used (a login code: 40163), of another kind or
        scope, or too old (OAuth: 42003).
        """
        code = self._codes.get(value)
        if code is None or code.kind != kind or code.scope != scope:
            raise ApiError(40029)
        if code.used:
            raise ApiError(40163 if kind == "login" else 40029)
        if self._clock.now() >= code.expires_at:
            raise ApiError(42003 if kind in OAUTH else 40029)
        code.used = True
        return code.subject

    def kind(self, value: str) -> str:
        """The kind of a code, "" for an unknown one."""
        code = self._codes.get(value)
        return code.kind if code else ""

    def redeem_welcome(self, value: str) -> Code:
        """Use up a welcome code. Raises ApiError 41051 when it was used, 41050 when unknown or 20 s
        old."""
        code = self._codes.get(value)
        if code is None or code.kind != "welcome":
            raise ApiError(41050)
        if code.used:
            raise ApiError(41051)
        if self._clock.now() >= code.expires_at:
            raise ApiError(41050)
        code.used = True
        return code

    def fresh(self, value: str) -> bool:
        """Whether a code can still be used."""
        code = self._codes.get(value)
        return code is not None and not code.used and self._clock.now() < code.expires_at

    def chat_started(self, person: str, userid: str) -> None:
        """A person wrote to the member first: the welcome codes of that pair are spent (41051)."""
        for code in self._codes.values():
            if code.kind == "welcome" and code.subject == person and code.scope == userid:
                code.used = True

    def _prune(self) -> None:
        """Forget the oldest codes a day after they died; insertion order is age."""
        limit = self._clock.now() - KEEP_SECONDS
        while self._codes:
            oldest = next(iter(self._codes))
            if self._codes[oldest].expires_at > limit:
                return
            del self._codes[oldest]
