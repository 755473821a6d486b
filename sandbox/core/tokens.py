"""Access tokens of both families and their rules (contract/wechat A1, B1, F2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

from sandbox.core import ids
from sandbox.core.clock import Clock
from sandbox.core.errors import ApiError

LIFE_SECONDS = 7200
OVERLAP_SECONDS = 300
FORCE_GAP_SECONDS = 30
FORCE_PER_DAY = 20
DAY_SECONDS = 86_400
USER_TICKET_SECONDS = 1800
TOKEN_SPACES = {False: frozenset({"classic", "stable"}), True: frozenset({"wecom"})}
"""The kinds of token that open the mini-program API and WeCom's."""


@dataclass(slots=True)
class Token:
    """One issued token. `space` is one of TOKEN_SPACES, or a kind of ticket; `refused` is the
    errcode it now meets."""

    value: str
    space: str
    owner: str
    expires_at: float
    refused: int = 0


Issued = tuple[dict[str, Token], dict[tuple[str, str], Token]]
"""All tokens by their value, and the current one of each space and owner."""


class Tokens:
    """Issues, checks and revokes tokens; each (space, owner) has one current token."""

    def __init__(self, clock: Clock, expired: Callable[[], int] = lambda: 42001) -> None:
        """`expired` says what an expired token meets."""
        self._clock = clock
        self._expired = expired
        self._issued: dict[str, Token] = {}
        self._current: dict[tuple[str, str], Token] = {}
        self._forced: dict[str, list[float]] = {}

    def classic(self, appid: str) -> Token:
        """`GET /cgi-bin/token`: always a new token; the former lives five minutes more."""
        former = self._live("classic", appid)
        if former:
            former.expires_at = min(former.expires_at, self._clock.now() + OVERLAP_SECONDS)
        return self._issue("classic", appid)

    def stable(self, appid: str, *, force: bool) -> Token:
        """`POST /cgi-bin/stable_token`: the same token until its last five minutes.

        `force` voids it at once, at most 20 times a day and 30 s apart; otherwise the current one
        is returned.
        """
        current = self._live("stable", appid)
        if force and current and self._may_force(appid):
            current.refused = 40001
            current = None
        if current and current.expires_at - self._clock.now() > OVERLAP_SECONDS:
            return current
        return self._issue("stable", appid)

    def wecom(self, agent_id: str) -> Token:
        """`gettoken`: the same token for as long as it is valid."""
        return self._live("wecom", agent_id) or self._issue("wecom", agent_id)

    def ticket(self, kind: str, owner: str) -> Token:
        """A JS-SDK ticket, `jsapi` of the corp or `agent_config` of an app: the same one while it
        is valid (B1)."""
        return self._live(kind, owner) or self._issue(kind, owner)

    def live_tickets(self, kind: str, owner: str) -> list[str]:
        """The tickets of that kind with which a page may have been signed."""
        now = self._clock.now()
        mine = (t for t in self._issued.values() if (t.space, t.owner) == (kind, owner))
        return [t.value for t in mine if t.expires_at > now and not t.refused]

    def user_ticket(self, userid: str) -> str:
        """A ticket with which an app reads what the member consented to, for 1800 s (B1)."""
        return self._issue("user_ticket", userid, USER_TICKET_SECONDS).value

    def of_user_ticket(self, value: str) -> str:
        """The member behind a user_ticket. Raises ApiError 40029, or 42003 when it is too old."""
        token = self._issued.get(value)
        if token is None or token.space != "user_ticket":
            raise ApiError(40029)
        if self._clock.now() >= token.expires_at:
            raise ApiError(42003)
        return token.owner

    def seconds_left(self, token: Token) -> int:
        return int(token.expires_at - self._clock.now())

    def owner(self, value: str, *, wecom: bool) -> str:
        """The appid or agent id behind a token.

        Raises ApiError 41001 missing, 40014 unknown or of the other family, 42001 expired, or what
        it was revoked with.
        """
        if not value:
            raise ApiError(41001)
        token = self._issued.get(value)
        if token is None or token.space not in TOKEN_SPACES[wecom]:
            raise ApiError(40014)
        if token.refused:
            raise ApiError(token.refused)
        if self._clock.now() >= token.expires_at:
            raise ApiError(self._expired())
        return token.owner

    def holder(self, value: str) -> str:
        """Whose token it is or was; "" for one that was never issued."""
        token = self._issued.get(value)
        return token.owner if token else ""

    def revoke(self, errcode: int) -> int:
        """Make every live token meet `errcode` from now on; returns how many there were."""
        spaces = TOKEN_SPACES[False] | TOKEN_SPACES[True]
        live = [
            t
            for t in self._issued.values()
            if t.space in spaces and not t.refused and t.expires_at > self._clock.now()
        ]
        for token in live:
            token.refused = errcode
        return len(live)

    def issued(self) -> Issued:
        """A copy of all that were issued."""
        return deepcopy((self._issued, self._current))

    def adopt(self, issued: Issued) -> None:
        """Have issued these and no others."""
        self._issued, self._current = deepcopy(issued)

    def _live(self, space: str, owner: str) -> Token | None:
        token = self._current.get((space, owner))
        return (
            token if token and not token.refused and token.expires_at > self._clock.now() else None
        )

    def _issue(self, space: str, owner: str, life: int = LIFE_SECONDS) -> Token:
        for dead in list(self._outdated()):
            del self._issued[dead]
        token = Token(ids.access_token(), space, owner, self._clock.now() + life)
        self._issued[token.value] = token
        self._current[space, owner] = token
        return token

    def _outdated(self) -> Iterator[str]:
        limit = self._clock.now() - DAY_SECONDS
        return (value for value, token in self._issued.items() if token.expires_at < limit)

    def _may_force(self, appid: str) -> bool:
        now = self._clock.now()
        recent = [at for at in self._forced.get(appid, []) if now - at < DAY_SECONDS]
        self._forced[appid] = recent
        if len(recent) >= FORCE_PER_DAY or (recent and now - recent[-1] < FORCE_GAP_SECONDS):
            return False
        recent.append(now)
        return True
