"""The bank's customers: they open accounts, sign in, pay, and change; the core tells each as events
and as values of fields that the demonstration bank declares."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sandbox.core.bank_records import Account, BankCustomer, By, Happened, Item, Told, Value
from sandbox.core.bank_system import Request, Sent
from sandbox.core.errors import Impossible
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person

EVENTS, CUSTOMERS = "/open/v1/events", "/open/v1/customers"
PRODUCTS = ("活期储蓄", "定期存款", "信用卡", "基金账户")
BANDS = ((100_000_000, "A"), (20_000_000, "B"), (5_000_000, "C"))
"""From so many fen on; below all of them it is D."""
STAGES = ("lead", "opened", "active", "dormant", "closed")
BYS: tuple[By, ...] = ("number", "phone", "unionid", "openid", "external_userid")
_EPOCH = datetime(1940, 1, 1, tzinfo=UTC)
_BIRTHDAYS = 70 * 365


def band_of(balance: int) -> str:
    return next((band for least, band in BANDS if balance >= least), "D")


def now() -> str:
    """The present moment as events and values carry it."""
    return datetime.now(UTC).isoformat()


class Core:
    """What the core does for one person. What it has to tell is gathered, and sent by `tell`. Raises
    Impossible in a world without a core system."""

    def __init__(self, box: Sandbox, person: Person) -> None:
        if box.world.bank_system is None:
            raise Impossible("the world has no bank_system")
        self.box = box
        self.person = person
        self.happened: list[Happened] = []
        self.fields: dict[str, Value] = {}
        self.at = ""
        """When it happens (ISO 8601), if it is not now."""

    @property
    def customer(self) -> BankCustomer:
        """Raises Impossible for somebody who is no customer of the bank's."""
        found = self.box.state.bank.get(self.person.id)
        if found is None:
            raise Impossible(f"{self.person.name} is no customer of the bank's yet")
        return found

    def become(self, by: By, number: str = "") -> None:
        """He becomes the bank's customer, under a number that nobody has, with a birthday, a gender
        and a branch that follow from who he is."""
        if self.person.id in self.box.state.bank:
            raise Impossible(f"{self.person.name} is the bank's customer already")
        number = number or _free_number({one.number for one in self.box.state.bank.values()})
        self.box.state.bank[self.person.id] = BankCustomer(number=number, by=by)
        chance = Random(f"{self.person.name}:{self.person.phone}")  # noqa: S311
        branches = [one.code for one in self.box.world.corp.departments if one.code]
        self.change(
            {
                "birthday": (_EPOCH + timedelta(chance.randrange(_BIRTHDAYS))).date().isoformat(),
                "gender": chance.choice("FM"),
                **({"home_branch": chance.choice(branches)} if branches else {}),
            }
        )

    def change(self, fields: dict[str, Value]) -> None:
        """Values of his change; null takes one back."""
        self.customer.fields.update(fields)
        self.fields.update(fields)

    def open_account(self, product: str, balance: int) -> None:
        customer = self.customer
        digits = "".join(secrets.choice("0123456789") for _ in range(16))
        customer.accounts.append(
            Account(
                number=f"62{digits}",
                product=product,
                opened=self.at or now(),
                balance=balance,
                card=digits[-4:],
            )
        )
        self._happens("account.opened", product=product)
        if customer.fields.get("stage") in (None, "lead"):
            self.change({"stage": "opened"})
        self.change({"holdings": len(customer.accounts)})
        self._weigh()

    def log_in(self) -> None:
        self.customer.logins += 1
        self._happens("app.login")

    def activate(self) -> None:
        """The first card that he has not activated yet."""
        card = next((one for one in self.customer.accounts if not one.active), None)
        if card is None:
            raise Impossible("no card is left to activate")
        card.active = True
        self._happens("card.activated", product=card.product)

    def pay(self, amount: int, channel: str) -> None:
        """Out of the account that has enough."""
        account = next((one for one in self.customer.accounts if one.balance >= amount), None)
        if account is None:
            raise Impossible("no account has so much money")
        account.balance -= amount
        self._happens("payment.made", amount=amount, channel=channel)
        if self.customer.fields.get("stage") in ("opened", "dormant"):
            self.change({"stage": "active"})
        self._weigh()

    def balance(self, amount: int) -> None:
        """He has so much altogether from now on; what is more was a deposit."""
        customer = self.customer
        if not customer.accounts:
            raise Impossible("there is no account")
        grown = amount - customer.balance
        for account in customer.accounts:
            account.balance = 0
        customer.accounts[0].balance = amount
        if grown > 0:
            self._happens("deposit.made", amount=grown)
        self._weigh()

    def _weigh(self) -> None:
        band = band_of(self.customer.balance)
        if self.customer.fields.get("balance_band") != band:
            self.change({"balance_band": band})

    def _happens(self, name: str, **data: Any) -> None:
        event = Happened(id=secrets.token_hex(10), name=name, at=self.at or now(), data=data)
        self.happened.append(event)

    def named(self) -> dict[str, str]:
        """How the product is told whom it is about."""
        by = self.customer.by
        if by == "openid":
            appid = self.box.world.mini_programs[0].appid
            return {"openid": self.person.openids[appid], "appid": appid}
        return {by: self.customer.number if by == "number" else getattr(self.person, by)}

    def tell(self) -> list[Sent]:
        """Sends what happened, and what changed; nothing when nothing did."""
        sent = []
        if self.happened:
            sent.append(tell_events(self.box, [self]))
        if self.fields:
            sent.append(self._tell_fields())
        self.happened, self.fields = [], {}
        self.box.changed()
        return sent

    def events(self) -> list[dict[str, Any]]:
        """What happened, as the product takes it; it is in his book from now on."""
        self.customer.events += self.happened
        customer = self.named()
        keys = {"id", "name", "at", "data"}
        return [
            {**{k: v for k, v in one.model_dump(include=keys).items() if v}, "customer": customer}
            for one in self.happened
        ]

    def _tell_fields(self) -> Sent:
        customer = self.customer
        told = Told(at=now(), fields=dict(self.fields))
        customer.told.append(told)
        item = {"fields": told.fields, "at": told.at}
        if customer.by == "number":
            request = Request(self.person.id, "PUT", f"{CUSTOMERS}/{customer.number}", item)
        else:
            body = {"customers": [{"customer": self.named(), **item}]}
            request = Request(self.person.id, "POST", CUSTOMERS, body)
        return self.box.bank.send(request, lambda ended: _learn(self.box, ended, [told]))


def tell_events(box: Sandbox, cores: list[Core]) -> Sent:
    """Sends what happened to these customers, in one request."""
    happened = [one for core in cores for one in core.happened]
    body = {"events": [event for core in cores for event in core.events()]}
    person = cores[0].person.id if len(cores) == 1 else ""
    request = Request(person, "POST", EVENTS, body)
    return box.bank.send(request, lambda ended: _learn(box, ended, happened))


def tell_fields(box: Sandbox, cores: Sequence[Core]) -> Sent:
    """Sends what changed of these customers, in one request."""
    told, items = [], []
    for core in cores:
        one = Told(at=now(), fields=dict(core.fields))
        core.customer.told.append(one)
        told.append(one)
        items.append({"customer": core.named(), "fields": one.fields, "at": one.at})
    request = Request("", "POST", CUSTOMERS, {"customers": items})
    return box.bank.send(request, lambda ended: _learn(box, ended, told))


def _learn(box: Sandbox, sent: Sent, told: Sequence[Item]) -> None:
    """Writes down what became of each item; of a request without an answer nobody knows."""
    items = sent.items
    for place, one in enumerate(told):
        if items:
            one.state = "accepted" if items[place]["status"] == "accepted" else "refused"
            one.code = items[place].get("code", "")
        else:
            one.state = "refused" if sent.state == "refused" else "unanswered"
            one.code = _code(sent.answer)
    box.changed()


def _code(answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return str(error.get("code", "")) if isinstance(error, dict) else ""


def send_again(box: Sandbox, sent: Sent) -> Sent:
    """The same request once more, as a core does that does not know whether it arrived."""
    return box.bank.send(replace(sent.request, again=sent.id))


def forge(box: Sandbox, person: Person) -> Sent:
    """A stranger tells of a login of the person, and signs it with a key of his own."""
    event = {
        "id": secrets.token_hex(10),
        "name": "app.login",
        "at": now(),
        "customer": {"unionid": person.unionid},
    }
    return box.bank.send(Request(person.id, "POST", EVENTS, {"events": [event]}, forged=True))


def _free_number(taken: set[str]) -> str:
    while True:
        number = f"C{secrets.randbelow(10**10):010d}"
        if number not in taken:
            return number
