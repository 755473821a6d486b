"""What a call to WeChat or WeCom can end with, and what to do about it (contract/wechat D2).

    PlatformError
    ├── TokenRejected   refresh   the access token; the client has already refreshed it once
    ├── BadConfig       page      a person must act: secret, trusted IP, permission, address
    ├── SlowDown        defer     a frequency limit; not before `retry_after` seconds
    ├── Transient       retry     the platform is busy, or has an error of its own (any code below
    │                             zero); at most 3 times
    ├── SubjectState    give_up   the customer, member, code, file or task is not in a state for this
    │   └── AlreadyDone done      what was asked for is so already, and need not be asked again
    ├── TryLater        defer     the platform is still working on something this call needs
    ├── BadRequest      give_up   a fault in our request
    ├── UnknownCode     give_up   a code above zero that nobody has classified yet: an answer, and
    │                             no outage; recorded, and never asked again for
    ├── UnknownOutcome  defer     sent, and no readable answer: it may have happened
    └── NotSent         retry     no connection: it has not happened

Branch on the class or on `action`, never on the text of `errmsg`: it does not even say which limit
was met ("daily quota" is also said for a minute's).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from services.errors import (
    Forbidden,
    InvalidInput,
    PlatformRefused,
    TooLarge,
    Unavailable,
    YinqiaoError,
)

Action = Literal["retry", "defer", "give_up", "done", "refresh", "page"]
Family = Literal["wechat", "wecom"]


class PlatformError(YinqiaoError):
    """A call that did not succeed: `errcode` (None when the platform gave none), `errmsg` and
    `path` without secrets."""

    status: ClassVar[int] = 502
    name: ClassVar[str] = "platform_error"
    action: ClassVar[Action] = "give_up"

    def __init__(
        self, errcode: int | None, errmsg: str, path: str, *, retry_after: int = 1
    ) -> None:
        super().__init__(self.name, f"{path}: {errcode if errcode is not None else '-'} {errmsg}")
        self.errcode = errcode
        self.errmsg = errmsg
        self.path = path
        self.retry_after = retry_after

    @property
    def is_final(self) -> bool:
        """Whether the platform has answered, and would answer the same again."""
        return self.action in ("give_up", "done", "page")

    @property
    def reason(self) -> str:
        """The code with the platform's number, as an effect keeps it."""
        return f"{self.code}:{self.errcode}" if self.errcode is not None else self.code


class TokenRejected(PlatformError):
    name = "platform_token_rejected"
    action: ClassVar[Action] = "refresh"


class BadConfig(PlatformError):
    name = "platform_bad_config"
    action: ClassVar[Action] = "page"


class SlowDown(PlatformError):
    """`retry_after` is when the next try may be made: services/limiter says it of a 45009, which
    may last for a minute or for a month (contract/wechat D1). `api` is then what has no room, as
    services/limiter/gate.py: Keys.id names it; both platforms have APIs of the same path."""

    api: str = ""

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


class AlreadyDone(SubjectState):
    name = "platform_already_done"
    action: ClassVar[Action] = "done"


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
    """Query before repeating, unless the call is idempotent or its code is good for one use
    only."""

    status: ClassVar[int] = 503
    name = "platform_unknown_outcome"
    action: ClassVar[Action] = "defer"


class NotSent(PlatformError):
    status: ClassVar[int] = 503
    name = "platform_unreachable"
    action: ClassVar[Action] = "retry"


_REFRESH = {"wechat": {40001, 40014, 42001}, "wecom": {40014, 42001}}

_WECHAT: dict[type[PlatformError], set[int]] = {
    BadConfig: {
        40013, 40125, 40164, 40243, 41002, 41004, 48001,
        89501, 89503, 89506, 89507,  # an administrator must confirm our address
        45029,  # no more codes of the counted kind
        85079,  # the mini-program is not published
    },
    SlowDown: {44990, 44991, 45009, 45011, 48006},
    Transient: {-1},
    SubjectState: {
        40003, 40007, 40029, 40163, 40226, 41008, 43101, 43104, 45015, 45047, 45080, 45168, 61010,
        87009, 87014,
    },
    AlreadyDone: {45081},
    TryLater: {43108},
    BadRequest: {
        40002, 40004, 40005, 40006, 40037, 40066, 40097, 40129, 40159, 40165, 40169, 40212, 41001,
        41030, 43002, 43302, 44001, 44002, 45001, 45002, 45072, 47001, 47003, *range(76001, 76004),
        76021, 76022, 85400, 85401,
    },
}  # fmt: skip

_WECOM: dict[type[PlatformError], set[int]] = {
    BadConfig: {
        40001, 40013, 40056, 41002, 41004, 42009, 45031, 48002, 48006, 48008, 48009, 50001, 50002,
        50003, 60011, 60020, 81011, 301002, 301042,
        40126, 41045, 41069, 41095,  # no more tags, ways, rules, links
        # corp not in order, not verified, not bound
        40141, 41057, 43009, 43012, 610015, 610016, 610017,
        90510,  # nobody has used the app for a year
    },
    SlowDown: {45009, 45033},
    Transient: {-1, 6000},
    SubjectState: {
        40003, 40007, 40029, 40031, 40096, *range(40097, 40101), *range(40128, 40133), 40143, 40201,
        40163, 41008, 41048, 41050, 41053, 41054, 41055, 41058, 41061, 41070, 41094, 42003, 42013, 42016,
        42022, 42052, 43004, 46004, 49008, 60003, 60021, 60111, 60123, 60140, 81013, 84061, 84074,
        84083, 84084, *range(90500, 90507), 90509, 90511, 301048, 301052, 301053, 301059, 301061,
        610014, 610018,
    },
    AlreadyDone: {
        41051,  # greeted, or they are talking
        41071, 41093,  # the rule is deleted, the broadcast is cancelled
        90508,  # the group is the new owner's
    },
    TryLater: {41062, 41063, 41078, 41079, 41096, 90507},
    BadRequest: {
        40004, 40005, 40006, 40008, 40032, 40033, 40035, 40058, 40063, 40066, 40068, 40070, 40071,
        40072, 40094, 40123, 40206, 41001, 41005, 41006, 41009, 41011, 41035,
        *range(41037, 41045), 41046, 41047, 41049, 41056, 41059, 41060, 41064, 41065, 41067, 41068,
        41072, 41076, 41077, *range(41080, 41085), *range(41088, 41092), 42014, 42015,
        *range(42017, 42021), *range(42027, 42052), 43001, 43002, 44001, 44004, 45001, 45002, 45007,
        45008, 45029, 47001, 48005, 50100, 81017, 301058, 301060,
    },
}  # fmt: skip

_BY_CODE: dict[Family, dict[int, type[PlatformError]]] = {
    "wechat": {code: kind for kind, codes in _WECHAT.items() for code in codes},
    "wecom": {code: kind for kind, codes in _WECOM.items() for code in codes},
}

MINUTE, MONTH = 60, 30 * 86400
_RETRY_AFTER = {
    45009: MINUTE, 45011: MINUTE, 48006: MONTH, 41062: 10 * MINUTE, 41063: 10, 41078: MINUTE,
    41079: 10, 90507: MINUTE,
}  # fmt: skip
"""Seconds until a repeat can succeed, of those codes for which one at once cannot."""


def platform_error(
    family: Family,
    errcode: int,
    errmsg: str,
    path: str,
    *,
    token_call: bool = False,
) -> PlatformError:
    """The error for a non-zero `errcode`. In the token call itself a refused credential is a wrong
    secret (A1, B1)."""
    if errcode in _REFRESH[family]:
        kind: type[PlatformError] = BadConfig if token_call else TokenRejected
    else:
        kind = _BY_CODE[family].get(errcode, UnknownCode if errcode > 0 else Transient)
    return kind(errcode, errmsg, path, retry_after=_RETRY_AFTER.get(errcode, 1))


def is_known(family: Family, errcode: int) -> bool:
    """Whether somebody has classified the code."""
    return errcode in _BY_CODE[family] or errcode in _REFRESH[family]


ANSWER_SECONDS = 2
"""After so long whoever waits may ask again."""


def to_whoever_waits(family: Family, error: PlatformError) -> Unavailable | PlatformRefused:
    """What somebody hears who waits for what the platform did not give: Unavailable where a repeat
    may succeed, PlatformRefused where the platform has answered for good."""
    ours = family == "wecom"
    name = "WeCom" if ours else "WeChat"
    if error.is_final:
        refused = "wecom_refused" if ours else "wechat_refused"
        return PlatformRefused(refused, f"{name} refuses this; trying again does not help")
    away = "wecom_unavailable" if ours else "wechat_unavailable"
    return Unavailable(away, f"{name} does not answer; try again", retry_after=ANSWER_SECONDS)


def behind(error: BaseException) -> dict[str, str]:
    """What a row keeps that waits because the platform or our own limiter has no room for a call:
    the API's id, under `behind` (services/store/leases.py: wake). Nothing after other errors."""
    if isinstance(error, SlowDown) and error.errcode in (None, 45009):
        return {"behind": error.api or error.path}
    return {}


class CallbackRefused(Forbidden):
    """A callback that is not the platform's: 403. `code` says why; nothing of it may be stored."""


class CallbackUnreadable(InvalidInput):
    """A callback body that is no envelope at all: 400."""


class CallbackTooLarge(TooLarge):
    """A callback body over the limit: 413."""


class EventUnreadable(InvalidInput):
    """A message that carries the platform's signature and still is not an event we can read."""
