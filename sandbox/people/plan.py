"""What a population decides to do: who acts when, and how. The same seed decides the same things in
the same order.

Decisions come from a generator of each customer's own and from the order of a virtual clock, never
from what is answered or when.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator
from random import Random

from pydantic import BaseModel, ConfigDict, Field

GAP = 8.0
"""The mean time between two steps of one customer; one customer arrives each unit of time."""
RING = 100
"""The hunters among so many customers who arrive one after another are one ring, with one phone
between them."""
CLAIMS = ("once", "repeat", "double", "double_keys", "impatient", "again")
TRICKS = (
    "replayed_code",
    "replayed_phone",
    "ended_session",
    "made_up_session",
    "for_another",
    "other_body",
)
FORGERIES = ("wrong_signature", "own_key", "plain", "push")
BYS = ("phone", "phone", "unionid", "external_userid", "openid", "number")
PRODUCTS = ("活期储蓄", "定期存款", "信用卡", "基金账户")
TEMPLATES = ("template-of-rewards", "template-of-appointments", "template-of-notices")
SURNAMES, GIVEN = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗",
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉萍红梅兰",
)


class Stage(BaseModel):
    """What there is to decide between: live codes by state, members, mini-programs; groups and
    links are named by position.

    `groups` are chat ids, or `code:STATE` for a group's code; `links` are ids of acquisition links;
    `bank` is whether the world has a core system of the bank's.
    """

    model_config = ConfigDict(frozen=True)

    states: tuple[str, ...]
    userids: tuple[str, ...]
    appids: tuple[str, ...]
    groups: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    bank: bool = False


class Step(BaseModel):
    """One thing that a customer does. `which` names the code, member, mini-program, style or trick,
    by its kind."""

    model_config = ConfigDict(frozen=True)

    customer: int
    number: int
    kind: str
    which: str = ""
    also: tuple[str, ...] = Field(default=())

    def line(self) -> bytes:
        return json.dumps(
            [self.customer, self.number, self.kind, self.which, *self.also], ensure_ascii=False
        ).encode()


class Digest:
    """The SHA-256 of the steps so far: two runs that decided the same have the same."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, step: Step) -> None:
        self._sha.update(step.line() + b"\n")

    def hex(self) -> str:
        return self._sha.hexdigest()


def name_of(seed: int, customer: int) -> str:
    """The customer's name."""
    chance = Random(f"{seed}:name:{customer}")  # noqa: S311 -- decisions, not secrets
    return chance.choice(SURNAMES) + "".join(chance.choices(GIVEN, k=chance.choice((1, 2))))


def is_hunter(seed: int, customer: int, share: float) -> bool:
    return Random(f"{seed}:hunter:{customer}").random() < share  # noqa: S311


def ring_of(customer: int) -> int:
    return customer // RING


def schedule(seed: int, customers: int, hunters: float, stage: Stage) -> Iterator[Step]:
    """Every step of everybody, in the order in which they are begun. `hunters` is their share of
    the customers."""
    waiting: list[tuple[float, int, int]] = []
    plans: dict[int, list[tuple[float, Step]]] = {}
    for customer in range(customers):
        yield from _due(waiting, plans, float(customer))
        plans[customer] = plan_of(seed, customer, hunters, stage)
        heapq.heappush(waiting, (customer + plans[customer][0][0], customer, 0))
    yield from _due(waiting, plans, float("inf"))


def _due(
    waiting: list[tuple[float, int, int]], plans: dict[int, list[tuple[float, Step]]], until: float
) -> Iterator[Step]:
    """The steps that are begun before `until`."""
    while waiting and waiting[0][0] <= until:
        at, customer, number = heapq.heappop(waiting)
        plan = plans[customer]
        yield plan[number][1]
        if number + 1 < len(plan):
            heapq.heappush(waiting, (at + plan[number + 1][0], customer, number + 1))
        else:
            del plans[customer]


def plan_of(seed: int, customer: int, hunters: float, stage: Stage) -> list[tuple[float, Step]]:
    """One customer's steps, each with the time that passes before it."""
    chance = Random(f"{seed}:{customer}")  # noqa: S311
    hunts = is_hunter(seed, customer, hunters)
    decided = (_hunt if hunts else _live)(chance, stage)
    if stage.bank and not hunts:
        decided = _at_the_bank(Random(f"{seed}:bank:{customer}"), decided)  # noqa: S311
    steps = []
    for number, (kind, which, *also) in enumerate(decided):
        step = Step(customer=customer, number=number, kind=kind, which=which, also=tuple(also))
        steps.append((chance.expovariate(1 / GAP) if number else 0.0, step))
    return steps


_Decisions = list[tuple[str, ...]]


def _live(chance: Random, stage: Stage) -> _Decisions:
    """An honest customer: he comes, looks round, takes what he is offered, and stays or goes."""
    appid = chance.choice(stage.appids)
    came = _arrival(chance, stage)
    decided: _Decisions = [came]
    met = came[0] != "open"
    if met and chance.random() < 0.2:
        decided.append(("write", chance.choice(("您好", "请问几点开门", "谢谢"))))
    if chance.random() < 0.85:
        decided += [("open", appid), ("claim", chance.choice(CLAIMS), appid)]
        decided += _inside(chance, stage, appid)
    if stage.groups and chance.random() < 0.3:
        decided += _in_a_group(chance, stage)
    if stage.states and chance.random() < 0.1:
        decided.append(("invite", chance.choice(stage.states)))
    if met:
        decided += _parting(chance, came, appid)
    return decided


def _in_a_group(chance: Random, stage: Stage) -> _Decisions:
    """He joins a group, and stays or not."""
    group = str(chance.randrange(len(stage.groups)))
    if chance.random() < 0.3:
        return [("join", group), ("quit", group)]
    return [("join", group)]


def _parting(chance: Random, came: tuple[str, ...], appid: str) -> _Decisions:
    """He deletes the member and perhaps comes back, is deleted himself, or mostly neither."""
    if chance.random() < 0.2:
        if chance.random() < 0.5:
            return [("leave", ""), came, ("claim", "once", appid)]
        return [("leave", "")]
    if chance.random() < 0.08:
        return [("dismissed", "")]
    return []


def _arrival(chance: Random, stage: Stage) -> tuple[str, ...]:
    """How he comes: by a live code, by an acquisition link, by searching the member, or to the
    mini-program only."""
    lot = chance.random()
    if lot < 0.08:
        return ("open", chance.choice(stage.appids))
    if lot < 0.16 or not stage.states:
        return ("add", chance.choice(stage.userids))
    if stage.links and lot < 0.26:
        return ("click", str(chance.randrange(len(stage.links))))
    return ("scan", chance.choice(stage.states))


def _inside(chance: Random, stage: Stage, appid: str) -> _Decisions:
    """What he does in the mini-program besides; another claim comes when the offer has had time to
    arrive."""
    decided: _Decisions = []
    if chance.random() < 0.6:
        decided.append(("phone", appid))
    if chance.random() < 0.5:
        choices = [f"{template}={chance.choice(('accept', 'reject'))}" for template in TEMPLATES]
        decided.append(("subscribe", appid, *choices[: chance.randint(1, 3)]))
    if len(stage.appids) > 1 and chance.random() < 0.3:
        others = [other for other in stage.appids if other != appid]
        decided.append(("open", chance.choice(others)))
    decided.append(("claim", chance.choice(CLAIMS), appid))
    chance.shuffle(decided)
    return decided


def _hunt(chance: Random, stage: Stage) -> _Decisions:
    """A bonus hunter: claims what nobody offered him, comes back to claim again, replays, claims
    for others, forges."""
    appid = chance.choice(stage.appids)
    if stage.states:
        came = ("scan", chance.choice(stage.states))
    else:
        came = ("add", chance.choice(stage.userids))
    greedy = ("claim", "double_keys", appid)
    decided: _Decisions = [("open", appid), greedy, came, greedy]
    for _ in range(chance.randint(1, 2)):
        decided += [("leave", ""), came, ("claim", "again", appid)]
    for trick in chance.sample(TRICKS, chance.randint(2, len(TRICKS))):
        decided.append(("trick", trick, appid))
    for forgery in chance.sample(FORGERIES, chance.randint(1, len(FORGERIES))):
        decided.append(("forge", forgery, appid))
    decided.append(("claim", "double", appid))
    return decided


def _at_the_bank(chance: Random, decided: _Decisions) -> _Decisions:
    """What he does at the bank, among the rest: half of the bank's customers are that before WeChat
    knows them."""
    if chance.random() < 0.4:
        return decided
    mixed = list(decided)
    place = 0 if chance.random() < 0.5 else chance.randint(0, len(mixed))
    for act in _acts(chance):
        mixed.insert(place, ("bank", *act))
        place = chance.randint(place + 1, len(mixed))
    return mixed


def _acts(chance: Random) -> _Decisions:
    """He becomes a customer, opens an account mostly at once, and then this and that."""
    acts: _Decisions = [("become", chance.choice(BYS))]
    if chance.random() < 0.8:
        acts.append(_opening(chance))
    others: _Decisions = [
        ("login",),
        ("login",),
        ("pay", str(chance.randint(100, 90_000))),
        ("balance", str(chance.randint(0, 200_000_000))),
        (
            "birthday",
            f"{chance.randint(1940, 2005)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
        ),
        ("activate",),
        _opening(chance),
        ("again",),
        ("forge",),
    ]
    return acts + chance.sample(others, chance.randint(1, 5))


def _opening(chance: Random) -> tuple[str, ...]:
    return ("open", chance.choice(PRODUCTS), str(chance.randint(0, 150_000_000)))
