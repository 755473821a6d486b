"""Vocabularies, rules and documents made at random, near each other's edges: what is missing, of another
type, or on the last day of a window comes up often."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from customers.rules import days
from customers.rules.vocabulary import CHINA, Kind, Name, Vocabulary

KINDS: tuple[Kind, ...] = ("text", "choice", "sealed", "number", "money", "bool", "date")
WORDS = ["A", "B", "C", "金卡", "a.b", "x*y", "50%", "it's", "$", "é", "𠮷"]
SPANS = ["1d", "7d", "30d", "1mo", "3mo", "1y"]
SIZES = ["==", "!=", "<", "<=", ">", ">="]
NUMBERS = [0, 1, 2, 18, 60, 0.1, 2.5, -3, -0.5, 10**14, 2**53 + 1]
TODAYS = [
    days.number_of(days.date.fromisoformat(day)) for day in ("2026-11-30", "2027-02-28", "2028-02-29", "2027-01-01")
]
KNOWN = {
    "tag": ["vip", "金卡:年费"],
    "segment": ["s1", "s2"],
    "list": ["l1"],
    "rm": ["rm.li", "rm.wang"],
    "branch": ["sz", "gz"],
    "event": ["app.login", "account.opened"],
    "campaign": ["acq-branch", "flash"],
    "reward": ["coffee"],
}


@dataclass
class World:
    """A vocabulary with rules over it and documents for them, on a day; `of` makes the same of a number."""

    vocabulary: Vocabulary
    rules: list[str]
    documents: list[dict[str, Any]]
    today: int

    @classmethod
    def of(cls, seed: int, rules: int, documents: int) -> World:
        maker = _Maker(random.Random(seed))
        return cls(
            maker.vocabulary,
            [maker.rule(3) for _ in range(rules)],
            [maker.document(number) for number in range(documents)],
            maker.today,
        )


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.today = chance.choice(TODAYS)
        self._fields = [self._field(number) for number in range(chance.randint(3, 9))]
        others = [
            Name(name="customer.bound", kind="bool", path=("bound",)),
            Name(name="customer.added_at", kind="moment", path=("added_at",)),
            Name(name="rm.since", kind="moment", path=("rms", "since"), earliest=True),
            Name(name="customer.labels", kind="texts", path=("labels",)),
            Name(name="rfm.r", kind="number", path=("rfm", "r")),
        ]
        known: dict[Any, Any] = {function: {one: {} for one in names} for function, names in KNOWN.items()}
        names = {name.name: name for name in [*self._fields, *others]}
        self.vocabulary = Vocabulary(names=names, known=known)

    def _field(self, number: int) -> Name:
        kind, key = self._chance.choice(KINDS), f"f{number}"
        choices: dict[str, Any] = {word: {} for word in WORDS[:4]} if kind == "choice" else {}
        place = "blind" if kind == "sealed" else "fields"
        blind: Callable[[str], str] | None = (lambda text: f"ix:{text}") if kind == "sealed" else None
        return Name(name=f"customer.{key}", kind=kind, path=(place, key), choices=choices, blind=blind)

    # rules

    def rule(self, depth: int) -> str:
        chance = self._chance
        if depth == 0 or chance.random() < 0.35:
            leaf = self._leaf()
            return f"not {leaf}" if chance.random() < 0.25 else leaf
        parts = [self.rule(depth - 1) for _ in range(chance.randint(2, 6))]
        joined = "(" + chance.choice([" and ", " or "]).join(parts) + ")"
        return f"not {joined}" if chance.random() < 0.25 else joined

    def _leaf(self) -> str:
        chance = self._chance
        if chance.random() < 0.6:
            name = chance.choice(list(self.vocabulary.names.values()))
            return self._of_name(name)
        return self._of_function(chance.choice(list(KNOWN)))

    def _of_name(self, name: Name) -> str:
        if name.kind != "texts" and self._chance.random() < 0.1:
            return f"known({name.name})"
        make: dict[str, Callable[[str], str]] = {
            "number": self._of_number,
            "money": self._of_number,
            "bool": self._of_bool,
            "date": self._of_date,
            "moment": self._of_moment,
            "texts": lambda of: f"{self._text()} in {of}",
        }
        return make.get(name.kind, self._of_text)(name.name) if name.kind != "choice" else self._of_choice(name)

    def _text(self) -> str:
        return _quoted(self._chance.choice(WORDS))

    def _of_text(self, name: str) -> str:
        chance, sealed = self._chance, name not in self.vocabulary.names or self.vocabulary.names[name].kind == "sealed"
        some = ", ".join(self._text() for _ in range(chance.randint(1, 3)))
        forms = [
            f"{name} {chance.choice(['==', '!='])} {self._text()}",
            f"{name} in [{some}]",
            f"{name} not in [{some}]",
        ]
        return chance.choice(forms if sealed else [*forms, f"{name} contains {self._text()}"])

    def _of_choice(self, name: Name) -> str:
        some = self._chance.sample(list(name.choices), 2)
        operator = self._chance.choice(["in", "not in"])
        return f"{name.name} {operator} [{', '.join(map(_quoted, some))}]"

    def _of_number(self, name: str) -> str:
        chance = self._chance
        low, high = sorted(chance.sample([number for number in NUMBERS if number < 10**15], 2))
        return chance.choice(
            [
                f"{name} {chance.choice(SIZES)} {low}",
                f"{high} {chance.choice(SIZES)} {name}",
                f"{name} between {low} and {high}",
                f"{name} {chance.choice(['in', 'not in'])} [{low}, {high}]",
            ]
        )

    def _of_bool(self, name: str) -> str:
        return self._chance.choice([name, f"{name} == true", f"{name} != true", f"{name} == false"])

    def _day(self) -> str:
        chance = self._chance
        if chance.random() < 0.4:
            return chance.choice(["today", "today - 7d", "today - 1mo", "today + 1y"])
        return f"'{days.iso(self.today + chance.choice([-30, -7, -1, 0, 1, 365]))}'"

    def _of_moment(self, name: str) -> str:
        chance = self._chance
        low, high = sorted(days.iso(self.today + chance.choice([-30, -7, 0, 1])) for _ in range(2))
        return chance.choice(
            [
                f"{name} {chance.choice(SIZES)} {self._day()}",
                f"{name} between '{low}' and '{high}'",
                f"{name} {chance.choice(['older', 'newer'])} than {chance.choice(SPANS)}",
            ]
        )

    def _of_date(self, name: str) -> str:
        chance = self._chance
        days_of = f"'{days.iso(self.today)}', '{days.iso(self.today - 7)}'"
        return chance.choice(
            [
                self._of_moment(name),
                f"{name} {chance.choice(['in', 'not in'])} [{days_of}]",
                f"anniversary({name}) in {chance.choice(['next', 'last'])} {chance.choice(SPANS)}",
            ]
        )

    def _of_function(self, function: str) -> str:
        chance = self._chance
        of = f"{function}({_quoted(chance.choice(KNOWN[function]))}"
        if function == "campaign" and chance.random() < 0.5:
            return f"{of}, {chance.choice(SPANS)})"
        if function != "event":
            return f"{of})"
        window = chance.choice(["", *(f", {span}" for span in SPANS)])
        count = f"count({of}){window})"
        return chance.choice(
            [
                f"{of}{window})",
                f"{count} {chance.choice(SIZES)} {chance.choice([0, 1, 2, 2.5, 3])}",
                f"{count} between 1 and 3",
                self._of_moment(f"{chance.choice(['first', 'last'])}({of}))"),
                f"known(last({of})))",
            ]
        )

    # documents

    def document(self, number: int) -> dict[str, Any]:
        chance, found = self._chance, dict[str, Any](_id=number)
        for name in self._fields:
            if chance.random() < 0.75:
                found.setdefault(name.path[0], {})[name.path[1]] = self._value(name)
        others = {
            "bound": lambda: chance.random() < 0.5,
            "added_at": self._moment,
            "labels": lambda: chance.sample(WORDS, 2),
            "rfm": lambda: {"r": chance.randint(1, 5)},
            "tags": lambda: chance.sample(KNOWN["tag"], chance.randint(0, 2)),
            "segments": lambda: chance.sample(KNOWN["segment"], 1),
            "lists": lambda: KNOWN["list"],
            "rms": lambda: [self._friend() for _ in range(chance.randint(0, 2))],
            "campaigns": lambda: {"acq-branch": self._moment()},
            "rewards": lambda: {"coffee": {"n": chance.randint(0, 2), "last": self._moment()}},
            "events": lambda: {event.replace(".", "/"): self._tally() for event in chance.sample(KNOWN["event"], 1)},
        }
        return found | {part: make() for part, make in others.items() if chance.random() < 0.75}

    def _value(self, name: Name) -> Any:
        chance = self._chance
        if chance.random() < 0.1:
            return chance.choice([None, "zzz" if name.kind != "date" else 5, 1, True, 0])
        match name.kind:
            case "number" | "money":
                return chance.choice(NUMBERS)
            case "bool":
                return chance.random() < 0.5
            case "date":
                return days.iso(self.today + chance.choice([-365, -30, -8, -7, -6, -1, 0, 1, 6, 7, -10_000, -9_863]))
            case "sealed":
                return f"ix:{chance.choice(WORDS)}"
        return chance.choice(WORDS) + (chance.choice(WORDS) if name.kind == "text" and chance.random() < 0.3 else "")

    def _moment(self) -> int:
        day = self.today + self._chance.choice([-400, -31, -30, -29, -8, -7, -6, -1, 0, 1])
        return days.begin(day, CHINA) + self._chance.choice([0, 1, 43_200, 86_399])

    def _friend(self) -> dict[str, Any]:
        chance = self._chance
        return {"userid": chance.choice(KNOWN["rm"]), "branch": chance.choice(KNOWN["branch"]), "since": self._moment()}

    def _tally(self) -> dict[str, Any]:
        chance = self._chance
        counts = {
            str(self.today + day): chance.randint(1, 2) for day in chance.sample([-365, -31, -30, -29, -7, -6, 0, 1], 3)
        }
        return {"n": sum(counts.values()), "first": self._moment(), "last": self._moment(), "days": counts}


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
