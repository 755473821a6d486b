"""Rules and customers made here, and judged by foreign_rules.py, which knows the language from its page alone:
predicate, filter in the real store and masks say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from customers.columnar import block
from customers.columnar.block import Block
from customers.columnar.building import Builder
from customers.profiles.vocabulary import BUILT_IN, RFM
from customers.rules.columns import Columns
from customers.rules.days import number_of
from customers.rules.filters import to_filter
from customers.rules.masks import mask
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from customers.rules.vocabulary import Kind, Name, Vocabulary
from tests.judges.foreign_rules import Customer, Moment, is_met
from tests.support.rule_columns import DocumentColumns


def _mirrored(profiles: Sequence[Mapping[str, Any]], offset: int) -> Columns:
    """The profiles as a block of the columnar mirror, whose file is gone when it is open."""
    builder = Builder()
    builder.take([{**one, "_id": f"demo:{place:032x}"} for place, one in enumerate(profiles)])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "block"
        block.write(path, "demo", builder)
        return Block(path, "demo", offset)


COLUMNS: Mapping[str, Callable[[Sequence[Mapping[str, Any]], int], Columns]] = {
    "documents": DocumentColumns,
    "mirror": _mirrored,
}
"""Whoever keeps columns: made of profiles, and the seconds that the bank's zone is east."""
ZONES = (8 * 3600, -5 * 3600, 5 * 3600 + 45 * 60, 0)
TODAYS = [date.fromisoformat(day) for day in ("2026-12-31", "2027-01-01", "2028-02-29", "2027-03-01", "2027-03-31")] + [
    date(2028, 3, 1),
    date(2027, 2, 28),
    date(2026, 11, 30),
]
FIELDS: Mapping[str, Kind] = {
    "age": "number", "score": "number", "worth": "money", "note": "text", "band": "choice", "birthday": "date",
    "opened": "date", "vip": "bool", "passport": "sealed",
}  # fmt: skip
TEXTS = ["", "王", "vip.*", "$ne", "a\\b", "it's", 'say "x"', "^a", "é", "E\u0301", "𠮷野家", "VIP", "vip", " ", "b|c"]
BANDS = ["A", "B+", "金"]
NUMBERS = [0, 1, 17, 18, 18.5, -3, -0.25, 0.1, 999_999_999_999_999, 2**53, 2**53 - 1]
NAMES = {
    "tag": ["等级:金卡", "a.b", "it's"], "segment": ["rich", "young"], "list": ["gala"], "rm": ["li", "wang.wu"],
    "branch": ["sz", "gz"], "event": ["app.login", "payment.made"], "campaign": ["flash", "acq-branch"],
    "reward": ["acq-branch.coffee", "flash.tea"],
}  # fmt: skip
SPANS = ["1d", "7d", "30d", "400d", "1mo", "2mo", "12mo", "1y"]
SIGNS = ["==", "!=", "<", "<=", ">", ">="]
STRANGE: list[Any] = ["18", 7, True, None, 3.5]


class World:
    """A bank's words, its customers on a day, and what their profiles say, made of a number."""

    def __init__(self, seed: int, customers: int) -> None:
        self.chance = Random(seed)  # noqa: S311
        self.offset, self.today = ZONES[seed % len(ZONES)], TODAYS[seed % len(TODAYS)]
        self.zone = timezone(timedelta(seconds=self.offset))
        self.people = [self._customer() for _ in range(customers)]
        self.profiles = [self._profile(place, who) for place, who in enumerate(self.people)]
        names = [*BUILT_IN, *RFM, *(_name(key, kind) for key, kind in FIELDS.items())]
        known: Any = {function: dict.fromkeys(some, {}) for function, some in NAMES.items()}
        self.vocabulary = Vocabulary(names={one.name: one for one in names}, known=known, offset=self.offset)

    # customers

    def _customer(self) -> Customer:
        chance, who = self.chance, Customer()
        for key, kind in FIELDS.items():
            if chance.random() < 0.75:
                who.fields[f"customer.{key}"] = self._value(kind)
        who.fields["customer.bound"] = chance.random() < 0.5
        who.fields["customer.created_at"] = self._moment()
        if chance.random() < 0.6:
            who.fields["customer.added_at"] = self._moment()
        who.fields |= {f"rfm.{key}": chance.randint(1, 5) for key in "rfm" if chance.random() < 0.7}
        for held, function in zip((who.tags, who.segments, who.lists, who.rewards), _HELD, strict=True):
            held.update(one for one in NAMES[function] if chance.random() < 0.4)
        who.rms = [
            (one, chance.choice(NAMES["branch"]), self._moment()) for one in NAMES["rm"] if chance.random() < 0.4
        ]
        who.events = {one: self._moments() for one in NAMES["event"] if chance.random() < 0.7}
        entered = {one: [at for at in self._moments() if at.date() <= self.today] for one in NAMES["campaign"]}
        who.campaigns = {one: some for one, some in entered.items() if some and chance.random() < 0.7}
        return who

    def _value(self, kind: str) -> Any:
        chance = self.chance
        made: dict[str, Callable[[], Any]] = {
            "number": lambda: chance.choice(NUMBERS),
            "money": lambda: int(chance.choice(NUMBERS)),
            "choice": lambda: chance.choice(BANDS),
            "bool": lambda: chance.random() < 0.5,
            "date": lambda: self._moment().date() if chance.random() < 0.6 else _birthday(chance),
        }
        return made.get(kind, lambda: "".join(chance.choices(TEXTS, k=chance.randint(1, 2))))()

    def _moment(self) -> datetime:
        """Often a second from a midnight of the bank's, near the end of a window; a day too late at the most."""
        chance = self.chance
        day = self.today - timedelta(chance.choice([0, 0, 1, 6, 7, 29, 30, 31, 59, 60, 365, 366, 399, 400, -1]))
        seconds = chance.choice([0, 86_399, chance.randrange(86_400)])
        return datetime(day.year, day.month, day.day, tzinfo=self.zone) + timedelta(seconds=seconds)

    def _moments(self) -> list[datetime]:
        return [self._moment() for _ in range(self.chance.randint(1, 5))]

    def _profile(self, place: int, who: Customer) -> dict[str, Any]:
        """As customers/profiles/rows.py has it, sometimes with a value of another type where one is missing."""
        said = {key: who.fields.get(f"customer.{key}") for key in FIELDS}
        fields = {key: _stored(value) for key, value in said.items() if value is not None and FIELDS[key] != "sealed"}
        fields |= {
            key: strange
            for key, kind in FIELDS.items()
            if said[key] is None
            and self.chance.random() < 0.3
            and _is_strange(strange := self.chance.choice(STRANGE), kind)
        }
        profile: dict[str, Any] = {
            "_id": place, "fields": fields, "blind": {key: _blind(said[key]) for key in ("passport",) if said[key] is not None},
            "tags": sorted(who.tags), "segments": sorted(who.segments), "lists": sorted(who.lists),
            "rms": [{"userid": rm, "branch": branch, "since": since.timestamp()} for rm, branch, since in who.rms],
            "events": {_key(name): self._tally(some) for name, some in who.events.items()},
            "campaigns": {_key(name): max(some).timestamp() for name, some in who.campaigns.items()},
            "rewards": {_key(name): {"n": 1, "last": 1.0} for name in who.rewards},
            "bound": who.fields["customer.bound"], "rfm": {},
        }  # fmt: skip
        for name in ("added_at", "created_at"):
            if f"customer.{name}" in who.fields:
                profile[name] = who.fields[f"customer.{name}"].timestamp()
        profile["rfm"] = {key: who.fields[f"rfm.{key}"] for key in "rfm" if f"rfm.{key}" in who.fields}
        return profile

    def _tally(self, moments: Sequence[datetime]) -> dict[str, Any]:
        stamps = [one.timestamp() for one in moments]
        days = Counter(str(number_of(one.astimezone(self.zone).date())) for one in moments)
        return {"n": len(moments), "first": min(stamps), "last": max(stamps), "days": dict(days)}

    # rules

    def rule(self, depth: int = 3) -> str:
        chance = self.chance
        if depth == 0 or chance.random() < 0.3:
            return f"{chance.choice(['', '', 'not '])}{self._leaf()}"
        written = self.rule(depth - 1)
        for _ in range(chance.randint(1, 3)):
            written += f" {chance.choice(['and', 'or'])} {self.rule(depth - 1)}"
        return f"{chance.choice(['', 'not '])}({written})" if chance.random() < 0.6 else written

    def _leaf(self) -> str:
        chance = self.chance
        kinds: dict[str, str] = {f"customer.{key}": kind for key, kind in FIELDS.items()}
        kinds |= {"customer.bound": "bool", "customer.added_at": "moment", "customer.created_at": "moment"}
        kinds |= {"rm.since": "moment", "rfm.f": "number"}
        kinds |= {
            f"{way}(event({_quoted(chance, name)}))": "moment" for way in ("first", "last") for name in NAMES["event"]
        }
        asked, kind = chance.choice(list(kinds.items()))
        if chance.random() < 0.4:
            return self._function()
        if chance.random() < 0.08:
            return f"known({asked})"
        return getattr(self, f"_of_{kind}", self._of_text)(asked)  # type: ignore[no-any-return]

    def _function(self) -> str:
        chance = self.chance
        function = chance.choice([*NAMES, "count"])
        name = _quoted(chance, chance.choice(NAMES["event" if function == "count" else function]))
        window = f", {chance.choice(SPANS)}" if chance.random() < 0.6 else ""
        if function == "count":
            counted = f"count(event({name}){window})"
            times = chance.randint(0, 3)
            forms = [f"{counted} {chance.choice(SIGNS)} {times}", f"{counted} between {times} and {times + 1}"]
            return chance.choice([*forms, f"{times} {chance.choice(SIGNS)} {counted}"])
        return f"{function}({name}{window})" if function in ("event", "campaign") else f"{function}({name})"

    def _of_text(self, asked: str) -> str:
        chance, texts = self.chance, [one for one in TEXTS if one]
        some = [_quoted(chance, one) for one in chance.sample(texts, 3)]
        forms = [f"{asked} {chance.choice(SIGNS[:2])} {some[0]}", f"{asked} {_among(chance)} [{', '.join(some)}]"]
        if asked != "customer.passport":
            forms += [f"{asked} contains {some[0]}", f"{some[1]} in {asked}"]
        return chance.choice(forms)

    def _of_choice(self, asked: str) -> str:
        chance = self.chance
        some = [_quoted(chance, one) for one in chance.sample(BANDS, 2)]
        return chance.choice(
            [f"{asked} {chance.choice(SIGNS[:2])} {some[0]}", f"{asked} {_among(chance)} ({', '.join(some)})"]
        )

    def _of_number(self, asked: str) -> str:
        chance = self.chance
        low, high = sorted(chance.sample([one for one in NUMBERS if one < 10**15], 2))
        forms = [f"{asked} {chance.choice(SIGNS)} {low}", f"{high} {chance.choice(SIGNS)} {asked}"]
        return chance.choice([*forms, f"{asked} between {low} and {high}", f"{asked} {_among(chance)} [{low}, {high}]"])

    _of_money = _of_number

    def _of_bool(self, asked: str) -> str:
        chance = self.chance
        return chance.choice([asked, f"{asked} {chance.choice(SIGNS[:2])} {chance.choice(['true', 'False'])}"])

    def _day(self) -> str:
        chance = self.chance
        if chance.random() < 0.4:
            return chance.choice(["today", f"today - {chance.choice(SPANS)}"])
        return f"'{self._moment().date().isoformat()}'"

    def _of_moment(self, asked: str) -> str:
        chance = self.chance
        low, high = sorted([self._moment().date(), self._moment().date()])
        forms = [f"{asked} {chance.choice(SIGNS)} {self._day()}", f"{self._day()} {chance.choice(SIGNS)} {asked}"]
        forms += [f"{asked} {way} than {chance.choice(SPANS)}" for way in ("older", "newer")]
        return chance.choice([*forms, f"{asked} between '{low}' and '{high}'"])

    def _of_date(self, asked: str) -> str:
        chance = self.chance
        some = f"['{self._moment().date()}', '{self._moment().date()}']"
        span = chance.choice([one for one in SPANS if one not in ("400d", "12mo")])
        own = [f"{asked} {_among(chance)} {some}", f"anniversary({asked}) in {chance.choice(['next', 'last'])} {span}"]
        return chance.choice([self._of_moment(asked), self._of_moment(asked), *own])


_HELD = ("tag", "segment", "list", "reward")


def _name(key: str, kind: Kind) -> Name:
    blind = _blind if kind == "sealed" else None
    choices: dict[str, dict[str, str]] = {one: {} for one in BANDS} if kind == "choice" else {}
    place = "blind" if blind else "fields"
    return Name(name=f"customer.{key}", kind=kind, path=(place, key), choices=choices, blind=blind)


def _blind(text: str) -> str:
    return f"index of {text}"


def _birthday(chance: Random) -> date:
    return chance.choice([date(2000, 2, 29), date(1960, 2, 28), date(1988, 3, 1), date(1969, 12, 31), date(1999, 1, 1)])


def _stored(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _is_strange(value: Any, kind: str) -> bool:
    """Whether a value is of another type than the field's."""
    if kind in ("number", "money"):
        return isinstance(value, bool) or not isinstance(value, int | float)
    return not isinstance(value, bool if kind == "bool" else str) and kind != "sealed"


def _key(name: str) -> str:
    return name.replace(".", "/")


def _among(chance: Random) -> str:
    return chance.choice(["in", "not in"])


def _quoted(chance: Random, text: str) -> str:
    mark = chance.choice("'\"")
    return mark + text.replace("\\", "\\\\").replace(mark, f"\\{mark}") + mark


@contextmanager
def stored(uri: str, profiles: Sequence[dict[str, Any]]) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](uri) as client:
        database = client[f"foreign_{uuid4().hex[:8]}"]
        database["profiles"].insert_many(profiles)
        try:
            yield database["profiles"]
        finally:
            client.drop_database(database.name)


def judge(uri: str, seed: int, rules: int, customers: int) -> Counter[bool]:
    """How often a rule was met, and how often not. Fails at the first that two answer differently."""
    world, met = World(seed, customers), Counter[bool]()
    today, day = world.today, number_of(world.today)
    columns = {keeper: made(world.profiles, world.offset) for keeper, made in COLUMNS.items()}
    with stored(uri, world.profiles) as collection:
        for _ in range(rules):
            rule = world.rule()
            wanted = {place for place, who in enumerate(world.people) if is_met(rule, who, Moment(today, world.zone))}
            tree = read_rule(rule, world.vocabulary)
            holds = predicate(tree)
            said = {
                "predicate": {place for place, profile in enumerate(world.profiles) if holds(profile, day)},
                "filter": {row["_id"] for row in collection.find(to_filter(tree, day), {"_id": 1})},
                **{keeper: set(mask(tree, each, day).nonzero()[0].tolist()) for keeper, each in columns.items()},
            }
            for who, found in said.items():
                unlike = sorted(found ^ wanted)
                assert not unlike, (
                    f"{who}, seed {seed}: {rule!r} on {today}: {world.people[unlike[0]]}, {len(unlike)} in all"
                )
            met.update({True: len(wanted), False: customers - len(wanted)})
    return met


def test_predicate_filter_and_masks_say_what_the_page_of_the_language_says(mongodb_uri: str) -> None:
    met = sum((judge(mongodb_uri, seed, rules=24, customers=60) for seed in range(8)), Counter[bool]())
    assert min(met.values()) > 8 * 24 * 60 / 10


@pytest.mark.soak
def test_the_same_of_thousands_of_rules(mongodb_uri: str) -> None:
    met = sum((judge(mongodb_uri, seed, rules=120, customers=120) for seed in range(100, 124)), Counter[bool]())
    assert min(met.values()) > 24 * 120 * 120 / 10


@pytest.mark.parametrize(
    ("rule", "today", "answer"),
    [
        ("customer.age < 30", "2027-01-31", False),
        ("not customer.age < 30", "2027-01-31", False),
        ("not (customer.age < 30 and customer.bound)", "2027-01-31", True),
        ("known(customer.age) or count(event('app.login')) == 0", "2027-01-31", True),
        ("customer.birthday == '1996-02-29' and anniversary(customer.birthday) in next 1d", "2027-02-28", True),
        ("anniversary(customer.birthday) in next 1d", "2028-02-28", False),
        ("anniversary(customer.birthday) in last 7d", "2027-03-07", False),
        ("customer.added_at == today", "2027-01-31", True),
        ("customer.added_at newer than 1mo", "2027-02-28", True),
        ("customer.added_at newer than 1mo", "2027-03-01", False),
        ("customer.added_at older than 7d", "2027-02-07", False),
        ("customer.added_at older than 7d", "2027-02-08", True),
    ],
)
def test_the_judge_reads_the_page_as_a_person_does(rule: str, today: str, answer: bool) -> None:
    zone = timezone(timedelta(hours=8))
    added = datetime(2027, 1, 31, 0, 30, tzinfo=zone)
    fields = {"customer.bound": False, "customer.birthday": date(1996, 2, 29), "customer.added_at": added}
    assert is_met(rule, Customer(fields), Moment(date.fromisoformat(today), zone)) is answer
