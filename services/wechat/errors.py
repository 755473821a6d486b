"""What a call to WeChat or WeCom can end with, and what to do about it (wechat-contract D2).

    PlatformError
    ├── TokenRejected   refresh   the access token; the client has already refreshed it once
    ├── BadConfig       page      a person must act: secret, trusted IP, permission, address
    ├── SlowDown        defer     a frequency limit; not before `retry_after` seconds
    ├── Transient       retry     the platform is busy; at most 3 times
    ├── SubjectState    give_up   the customer, member, code or task is not in a state for this; record it
    ├── TryLater        defer     the platform is still working on something this call needs
    ├── BadRequest      give_up   a fault in our request
    ├── UnknownCode     give_up   a code that nobody has classified yet; record it
    ├── UnknownOutcome  defer     sent, and no readable answer: it may have happened
    └── NotSent         retry     no connection: it has not happened

Branch on the class or on `action`, never on the text of `errmsg`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from services.errors import Forbidden, InvalidInput, TooLarge, YinqiaoError

Action = Literal["retry", "defer", "give_up", "refresh", "page"]
Family = Literal["wechat", "wecom"]


class PlatformError(YinqiaoError):
    """A call that did not succeed: `errcode` (None when the platform gave none), `errmsg` and `path` without secrets."""

    status: ClassVar[int] = 502
    name: ClassVar[str] = "platform_error"
    action: ClassVar[Action] = "give_up"

    def __init__(self, errcode: int | None, errmsg: str, path: str, *, retry_after: int = 1) -> None:
        super().__init__(self.name, f"{path}: {errcode if errcode is not None else '-'} {errmsg}")
        self.errcode = errcode
        self.errmsg = errmsg
        self.path = path
        self.retry_after = retry_after


class TokenRejected(PlatformError):
    name = "platform_token_rejected"
    action: ClassVar[Action] = "refresh"


class BadConfig(PlatformError):
    name = "platform_bad_config"
    action: ClassVar[Action] = "page"


class SlowDown(PlatformError):
    """`retry_after` is the block of wechat-contract D1 for a minute's limit; longer limits answer the same again."""

    status: ClassVar[int] = 503
    name = "platform_slow_down"
    action: ClassVar[Action] = "defer"


class Transient(PlatformError):
    status: ClassVar[int] = 503
    name = "platform_busy"
    action: ClassVar[Action] = "retry"


class SubjectState(PlatformError):
    name = "platform_subject_state"
    action: ClassVar[Action] = "give_up"


class TryLater(PlatformError):
    status: ClassVar[int] = 503
    name = "platform_try_later"
    action: ClassVar[Action] = "defer"


class BadRequest(PlatformError):
    name = "platform_bad_request"
    action: ClassVar[Action] = "give_up"


class UnknownCode(PlatformError):
    name = "platform_unknown_code"
    action: ClassVar[Action] = "give_up"


class UnknownOutcome(PlatformError):
    """Query before repeating, unless the call is idempotent or its code is good for one use only."""

    status: ClassVar[int] = 503
    name = "platform_unknown_outcome"
    action: ClassVar[Action] = "defer"


class NotSent(PlatformError):
    status: ClassVar[int] = 503
    name = "platform_unreachable"
    action: ClassVar[Action] = "retry"


_REFRESH = {"wechat": {40001, 40014, 42001}, "wecom": {40014, 42001}}

_WECHAT: dict[type[PlatformError], set[int]] = {
    BadConfig: {40013, 40125, 40164, 41002, 41004, 48001},
    SlowDown: {45009, 45011},
    Transient: {-1},
    SubjectState: {43101, 40003, 45015, 45047, 61010, 87009, 40029, 40226},
    BadRequest: {40002, 40037, 40097, 40129, 40169, 41001, 41030, 44002, 47001, 47003},
}

_WECOM: dict[type[PlatformError], set[int]] = {
    BadConfig: {
        40001, 40013, 40056, 41002, 41004, 48002, 50001, 50003, 60011, 60020, 81011, 301002, 301042,
    },
    SlowDown: {45009, 45033},
    Transient: {-1, 6000},
    SubjectState: {
        40003, 40029, 40096, 42003, 41050, 41051, 41053, 60111, 81013, 84061, 84074, 84083, 84084,
        *range(40128, 40132), *range(90500, 90512), *range(610014, 610019),
    },
    TryLater: {41063, 41079, 41096},
    BadRequest: {
        40035, 40058, 40063, 40068, 40071, 40072, 40206, 41001, *range(41037, 41045), 41064, 41065,
        44001, 44004, 45029, 47001,
    },
}  # fmt: skip

_BY_CODE: dict[Family, dict[int, type[PlatformError]]] = {
    "wechat": {code: kind for kind, codes in _WECHAT.items() for code in codes},
    "wecom": {code: kind for kind, codes in _WECOM.items() for code in codes},
}

_RETRY_AFTER = {45009: 60, 45011: 60, 41063: 10, 41079: 10}


def platform_error(family: Family, errcode: int, errmsg: str, path: str, *, token_call: bool = False) -> PlatformError:
    """The error for a non-zero `errcode`. In the token call itself a refused credential is a wrong secret (A1, B1)."""
    if errcode in _REFRESH[family]:
        kind: type[PlatformError] = BadConfig if token_call else TokenRejected
    else:
        kind = _BY_CODE[family].get(errcode, UnknownCode)
    return kind(errcode, errmsg, path, retry_after=_RETRY_AFTER.get(errcode, 1))


class CallbackRefused(Forbidden):
    """A callback that is not the platform's: 403. `code` says why; nothing of it may be stored."""


class CallbackUnreadable(InvalidInput):
    """A callback body that is no envelope at all: 400."""


class CallbackTooLarge(TooLarge):
    """A callback body over the limit: 413."""


class EventUnreadable(InvalidInput):
    """A message that carries the platform's signature and still is not an event we can read."""
