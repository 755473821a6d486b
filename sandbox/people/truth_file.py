"""What a population did and was answered, and the file in which it is kept: JSON lines, one a
customer.

The first line says how it was played, the lines of kind `customer` what must be true of each,
`forged` what must have been refused, and the last has the totals. `python manage.py audit truth
FILE` compares the product with it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from sandbox.people.plan import Stage


class BadTruth(ValueError):
    """The file is not a truth file, or not a whole one."""


class Begun(BaseModel):
    """A friendship that began: `at` in Unix seconds, `told` whether the product took the event at
    the first attempt."""

    userid: str
    state: str
    at: int
    welcome: bool
    told: bool


class Ended(BaseModel):
    userid: str
    by: str
    told: bool


class Friend(BaseModel):
    """A friendship that there is at the end, as the sandbox knows it, with the names of its tags."""

    userid: str
    state: str
    since: int
    tags: list[str] = Field(default_factory=list)


class Granted(BaseModel):
    """A claim that was acknowledged under one Idempotency-Key, `times` it was."""

    reward: str
    key: str
    redemption: str
    times: int = 1


class Answer(BaseModel):
    """What a person said to a subscribe template; `told` whether the product took WeChat's
    event."""

    appid: str
    template_id: str
    accepted: bool
    told: bool


class Trick(BaseModel):
    """Something that must be refused, and what was answered."""

    trick: str
    status: int
    code: str
    refused: bool


class BankEvent(BaseModel):
    """An event that the bank's core told, and what it was answered: accepted, refused, or
    `unanswered`, which may be stored or not."""

    id: str
    name: str
    at: str
    state: str


class BankKept(BaseModel):
    """Him as the bank's core told of him, named `by` one of his ids. `fields` are the values that
    were accepted last; of those `unsure` the last word had no answer; `told` counts how often values
    were told, by what became of it."""

    number: str
    by: str
    events: list[BankEvent] = Field(default_factory=list)
    fields: dict[str, str | int | bool | None] = Field(default_factory=dict)
    unsure: list[str] = Field(default_factory=list)
    told: dict[str, int] = Field(default_factory=dict)


class Customer(BaseModel):
    """One customer: who he is, what he did, and what he was told."""

    kind: str = "customer"
    id: str
    ring: str = ""
    crowd: bool = False
    """he was there before, became the bank's customer with others, and did nothing else: the product
    knows him from WeCom's own lists"""
    person: str = ""
    name: str = ""
    external_userid: str = ""
    unionid: str = ""
    openids: dict[str, str] = Field(default_factory=dict)
    phone: str = ""
    bound: bool | None = False
    """None: he was never answered, and may be or not"""
    signed_in: list[str] = Field(default_factory=list)
    logins: int = 0
    login_tries: int = 0
    """how often he signed in, and how often he tried: some tries count though he never had an answer"""
    begun: list[Begun] = Field(default_factory=list)
    ended: list[Ended] = Field(default_factory=list)
    friends: list[Friend] = Field(default_factory=list)
    wrote: list[str] = Field(default_factory=list)
    groups: list[str] = Field(default_factory=list)
    granted: list[Granted] = Field(default_factory=list)
    refused: dict[str, dict[str, int]] = Field(default_factory=dict)
    """reward → reason → how often"""
    unanswered: list[str] = Field(default_factory=list)
    """rewards for which a claim never had an answer: each may have been granted, or not"""
    subscribed: list[Answer] = Field(default_factory=list)
    tricks: list[Trick] = Field(default_factory=list)
    bank: BankKept | None = None

    def acknowledge(self, reward: str, key: str, redemption: str) -> None:
        """He read that he has been granted `reward`."""
        for known in self.granted:
            if (known.reward, known.key, known.redemption) == (reward, key, redemption):
                known.times += 1
                return
        self.granted.append(Granted(reward=reward, key=key, redemption=redemption))

    def refuse(self, reward: str, code: str) -> None:
        reasons = self.refused.setdefault(reward, {})
        reasons[code] = reasons.get(code, 0) + 1


class Forged(BaseModel):
    """Callbacks that the platforms never sent: how many, by the status that they met, and of whom
    they told."""

    kind: str = "forged"
    sent: int = 0
    accepted: int = 0
    statuses: dict[str, int] = Field(default_factory=dict)
    external_userids: list[str] = Field(default_factory=list)


class Head(BaseModel):
    """How it was played. `done` steps were begun and came to their end; `plan` is the SHA-256 of
    them."""

    kind: str = "people"
    version: int = 1
    seed: int
    customers: int
    hunters: float
    stage: Stage
    done: int = 0
    finished: bool = False
    plan: str = ""


class Truth(BaseModel):
    """Everything that the file says."""

    head: Head
    customers: dict[str, Customer] = Field(default_factory=dict)
    forged: Forged = Field(default_factory=Forged)
    troubles: dict[str, int] = Field(default_factory=dict)
    """what went wrong on the way and was tried again, by kind"""

    def trouble(self, kind: str) -> None:
        self.troubles[kind] = self.troubles.get(kind, 0) + 1

    def totals(self) -> dict[str, Any]:
        """The last line of the file: how much there is of everything."""
        people = list(self.customers.values())
        granted = [one for person in people for one in person.granted]
        return {
            "kind": "totals",
            "customers": len(people),
            "invited": sum("." in person.id for person in people),
            "hunters": sum(bool(person.ring) for person in people),
            "friendships": sum(len(person.friends) for person in people),
            "begun": sum(len(person.begun) for person in people),
            "ended": sum(len(person.ended) for person in people),
            "granted": len({one.redemption for one in granted}),
            "acknowledged": sum(one.times for one in granted),
            "refused": self._refused(),
            "unanswered": sum(len(person.unanswered) for person in people),
            "groups": sum(len(person.groups) for person in people),
            "tricks": sum(len(person.tricks) for person in people),
            "bank_customers": sum(person.bank is not None for person in people),
            "bank_events": sum(len(person.bank.events) for person in people if person.bank),
            "forged": self.forged.sent,
            "troubles": dict(sorted(self.troubles.items())),
        }

    def _refused(self) -> dict[str, int]:
        """How often each reason was given."""
        reasons: Counter[str] = Counter()
        for person in self.customers.values():
            for codes in person.refused.values():
                reasons.update(codes)
        return dict(sorted(reasons.items()))


def write(path: Path, truth: Truth) -> None:
    """Replaces the file, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    rows: Iterable[BaseModel] = [truth.head, *truth.customers.values(), truth.forged]
    with draft.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")
        file.write(json.dumps(truth.totals(), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read(path: Path) -> Truth:
    """What a run wrote, so that it can be gone on with. Raises BadTruth that names the line."""
    truth: Truth | None = None
    whole = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            if row["kind"] == "people":
                truth = Truth(head=Head.model_validate(row))
            elif truth is None:
                raise BadTruth(f"{path}:{number}: the first line is not of kind people")
            else:
                whole = _take(truth, row) or whole
        except (json.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
            raise BadTruth(f"{path}:{number}: not a line of a truth file") from error
    if truth is None or not whole:
        raise BadTruth(f"{path}: the last line, with the totals, is missing")
    return truth


def _take(truth: Truth, row: dict[str, Any]) -> bool:
    """Take a line after the first into `truth`; True for the totals, which come last."""
    if row["kind"] == "customer":
        truth.customers[row["id"]] = Customer.model_validate(row)
    elif row["kind"] == "forged":
        truth.forged = Forged.model_validate(row)
    else:
        truth.troubles = row["troubles"]
        return True
    return False
