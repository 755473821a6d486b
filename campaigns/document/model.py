"""The campaign document, `campaign/v1` (contract/engine 2): what a clerk writes, as types.

This version runs the verbs send, tag, grant, wait and exit, entry by scan, exit rules on events,
and rewards that are offered or open to anyone. A key that it cannot run is refused, never ignored.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
EVENTS = ("reward.claimed", "customer.blocked")
VERBS = ("send", "tag", "grant", "wait", "exit")
MOST_VALUABLE = 5_000_000
"""fen: no prize may be worth more (Anti-Unfair Competition Law)."""

_DURATION = re.compile(r"^(\d{1,6})(s|m|h|d)$")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: str) -> int:
    """Seconds of `90s`, `15m`, `2h`, `7d`; raises ValueError."""
    match = _DURATION.match(duration)
    if match is None:
        raise ValueError("expected a duration such as 90s, 15m, 2h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def _check_duration(value: str) -> str:
    seconds_of(value)
    return value


Duration = Annotated[str, AfterValidator(_check_duration)]


def _from_yaml(value: Any) -> Any:
    """YAML reads an unquoted 18:00 as the number of its minutes."""
    return (
        f"{value // 60:02d}:{value % 60:02d}"
        if isinstance(value, int) and 0 <= value < 1440
        else value
    )


DayTime = Annotated[
    str, BeforeValidator(_from_yaml), Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Userid = Annotated[str, Field(min_length=1, max_length=64)]


class Part(BaseModel):
    """Every part of the document: no unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Text(Part):
    zh: str = Field(min_length=1)
    en: str = ""


class Window(Part):
    """Days in the bank's time zone; `to` is the last day."""

    from_: date = Field(alias="from")
    to: date
    tz: str = "Asia/Shanghai"

    @model_validator(mode="after")
    def _usable(self) -> Window:
        try:
            ordered = 0 < self.starts.timestamp() < self.ends.timestamp()
        except (KeyError, ValueError, OverflowError, OSError):
            raise ValueError(
                "expected a time zone such as Asia/Shanghai, and days between 1970 and 9998"
            ) from None
        if not ordered:
            raise ValueError("the window ends before it begins")
        return self

    @property
    def starts(self) -> datetime:
        return datetime.combine(self.from_, time(), ZoneInfo(self.tz)).astimezone(UTC)

    @property
    def ends(self) -> datetime:
        return (
            datetime.combine(self.to, time(), ZoneInfo(self.tz)) + timedelta(days=1)
        ).astimezone(UTC)


class Cap(Part):
    total: int | None = Field(None, gt=0)
    per_day: int | None = Field(None, gt=0)


class Entry(Part):
    """`key` tells two entries of one customer apart: the same key enters once (`again: never`)."""

    by: Literal["scan"]
    when: str | None = None
    key: str = "{{customer.id}}"
    again: Literal["never"] = "never"
    cap: Cap = Cap()


class Exit(Part):
    event: Literal["reward.claimed", "customer.blocked"]
    as_: str = Field("left", alias="as")


class Slot(Part):
    """When `staff` take new customers, in the window's time zone; a `to` that is not after `from`
    is on the next day."""

    days: list[Day] = Field(list(DAYS), min_length=1)
    from_: DayTime = Field(alias="from")
    to: DayTime
    staff: list[Userid] = Field(min_length=1, max_length=100)


class Codes(Part):
    """Live codes (WeCom contact ways): one for each branch, shared by its staff
    (campaigns/channels/rosters.py says who is behind it)."""

    per: Literal["branch"] = "branch"
    branches: list[str] | Literal["all"] = "all"
    skip_verify: bool = True
    slots: list[Slot] = []
    daily_cap: int | None = Field(None, gt=0)
    backup: list[Userid] = Field([], max_length=100)


class Links(Part):
    """Acquisition links: one for each branch, or one of some members."""

    branches: list[str] | Literal["all"] | None = None
    staff: list[Userid] = Field([], max_length=500)
    skip_verify: bool = True

    @model_validator(mode="after")
    def _somebody(self) -> Links:
        if (self.branches is None) == (not self.staff):
            raise ValueError("expected either branches or staff")
        return self


class GroupCode(Part):
    """A code into customer groups, named by WeCom's chat ids; `full_at` is how many people make a
    group full."""

    groups: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        min_length=1, max_length=5
    )
    auto_create_room: bool = True
    room_base_name: str = Field("", max_length=40)
    room_base_id: int = Field(1, ge=1)
    full_at: int = Field(500, ge=2, le=500)


class GroupWelcome(Part):
    """A greeting that group owners may choose; `notify` tells them of it."""

    template: str
    notify: bool = True


class Template(Part):
    """A message text; {{customer.name}}, {{staff.name}}, {{branch.name}} and {{bank.name}} are
    filled in. A group's greeting knows {{bank.name}} only, and WeCom fills in %NICKNAME%."""

    zh: str = Field(min_length=1)
    en: str = ""


class Limits(Part):
    category: Literal["service", "transaction"] = "service"


class Money(Part):
    """`budget` in fen."""

    budget: int = Field(gt=0)
    cost_center: str = ""


class Disclosure(Part):
    """What the law wants published before a promotion with prizes begins (contract/rewards 5)."""

    rules_zh: str = Field(min_length=1)
    odds_or_quantity: str = Field(min_length=1)
    claim_by: date
    host: str = Field(min_length=1)
    contact: str = Field(min_length=1)
    price: str = ""
    draw_at: str = ""
    delivery: str = ""
    abandon: str = ""


class Reward(Part):
    """`cost` in fen a piece; `claim: offered` needs a grant step, `anyone` is open to every
    signed-in customer."""

    kind: Literal["code"]
    title: Text
    text: Text = Text(zh="到店出示兑换码")
    cost: int = Field(ge=0, le=MOST_VALUABLE)
    stock: int = Field(ge=0, le=10_000_000)
    per_customer: int = Field(1, ge=1, le=20)
    per_day: int | None = Field(None, gt=0)
    claim: Literal["offered", "anyone"] = "offered"


class Send(Part):
    """`wecom.welcome` greets within 20 s of adding; `staff` tells the RM. `fallback: [staff]` when
    the welcome cannot go out."""

    via: Literal["wecom.welcome", "staff"]
    template: str
    fallback: list[Literal["staff"]] = []


class Tag(Part):
    """Corp tags by name, as `group:tag`; placeholders are filled in."""

    add: list[str] = []
    del_: list[str] = Field([], alias="del")

    @model_validator(mode="after")
    def _not_empty(self) -> Tag:
        if not self.add and not self.del_:
            raise ValueError("expected add or del")
        return self


class Grant(Part):
    """Offers a reward of this campaign; `key` says what is offered once."""

    reward: str
    key: Literal["{{customer.id}}"] = "{{customer.id}}"


class Wait(Part):
    """One of `for`, `until`, `event`; an event needs a timeout, and `else` runs when it comes
    first."""

    for_: Duration | None = Field(None, alias="for")
    until: datetime | None = None
    event: Literal["reward.claimed", "customer.blocked"] | None = None
    timeout: Duration | None = None
    else_: list[Step] = Field([], alias="else")

    @model_validator(mode="after")
    def _one_kind(self) -> Wait:
        if sum(value is not None for value in (self.for_, self.until, self.event)) != 1:
            raise ValueError("expected exactly one of for, until, event")
        if (self.event is None) != (self.timeout is None):
            raise ValueError("a wait for an event needs a timeout, and no other wait has one")
        if self.else_ and self.event is None:
            raise ValueError("only a wait for an event has an else")
        if self.until is not None and self.until.tzinfo is None:
            raise ValueError("expected until with a time zone, such as 2027-02-01T10:00:00+08:00")
        return self


class Step(Part):
    """One verb, with an id that stays the same for ever: it is the step's identity in runs, effects
    and statistics."""

    id: Key
    when: str | None = None
    note: str = ""
    send: Send | None = None
    tag: Tag | None = None
    grant: Grant | None = None
    wait: Wait | None = None
    exit: str | None = None

    @model_validator(mode="after")
    def _one_verb(self) -> Step:
        if len(self.verbs()) != 1:
            raise ValueError(
                f"expected exactly one verb of {', '.join(VERBS)}, found {', '.join(self.verbs()) or 'none'}"
            )
        return self

    def verbs(self) -> list[str]:
        return [verb for verb in VERBS if getattr(self, verb) is not None]

    @property
    def verb(self) -> str:
        return self.verbs()[0]


class Campaign(Part):
    """The whole document."""

    kind: Literal["campaign/v1"]
    id: Key
    name: Text
    owner: str = ""
    subject: Literal["customer"] = "customer"
    window: Window
    labels: list[str] = []
    entry: Entry | None = None
    exit: list[Exit] = []
    limits: Limits = Limits()
    money: Money | None = None
    disclosure: Disclosure | None = None
    codes: dict[Key, Codes] = {}
    links: dict[Key, Links] = {}
    group_codes: dict[Key, GroupCode] = {}
    group_welcome: dict[Key, GroupWelcome] = Field({}, max_length=100)
    templates: dict[Key, Template] = {}
    rewards: dict[Key, Reward] = {}
    steps: list[Step] = []

    def all_steps(self) -> list[tuple[tuple[Any, ...], Step]]:
        """Every step, nested ones too, with its place in the document."""
        return _walk(self.steps, ("steps",))


def _walk(steps: list[Step], place: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], Step]]:
    found: list[tuple[tuple[Any, ...], Step]] = []
    for index, step in enumerate(steps):
        found.append(((*place, index), step))
        if step.wait is not None:
            found += _walk(step.wait.else_, (*place, index, "wait", "else"))
    return found
