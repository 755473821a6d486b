"""The file that `python -m sandbox.people` writes, as the audit reads it: JSON lines, one a
customer (sandbox/README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import orjson
from pydantic import BaseModel, ValidationError

from deploy.errors import DeployError


class Begun(BaseModel):
    userid: str
    told: bool


class Friend(BaseModel):
    userid: str
    state: str
    since: int
    tags: list[str] = []


class Granted(BaseModel):
    reward: str
    key: str
    redemption: str


class Answer(BaseModel):
    template_id: str
    accepted: bool
    told: bool


class Trick(BaseModel):
    trick: str
    status: int
    refused: bool


class BankEvent(BaseModel):
    id: str
    name: str
    at: datetime
    state: str


class BankKept(BaseModel):
    number: str
    by: str
    events: list[BankEvent]
    fields: dict[str, str | int | bool | None]
    unsure: list[str]
    told: dict[str, int]


class Customer(BaseModel):
    id: str
    crowd: bool = False
    person: str
    external_userid: str
    unionid: str
    openids: dict[str, str]
    phone: str
    bound: bool | None
    signed_in: list[str]
    logins: int = 0
    login_tries: int = 0
    begun: list[Begun]
    ended: list[Begun]
    friends: list[Friend]
    groups: list[str]
    granted: list[Granted]
    unanswered: list[str]
    subscribed: list[Answer]
    tricks: list[Trick]
    bank: BankKept | None = None

    def ids(self) -> dict[str, str]:
        """kind → value of the ids by which the product may know him."""
        named = {f"openid.{appid}": openid for appid, openid in self.openids.items()}
        return {"external_userid": self.external_userid, "unionid": self.unionid} | named

    def must_be_known(self) -> bool:
        return self.crowd or bool(self.signed_in) or any(one.told for one in self.begun)

    def named(self, kept: BankKept, appid: str) -> dict[str, str]:
        """How the bank's core names him: by his openid of that mini-program, or by another id."""
        if kept.by == "openid":
            return {"openid": self.openids[appid], "appid": appid}
        ids = {"number": kept.number, "phone": self.phone, **self.ids()}
        return {kept.by: ids[kept.by]}

    def must_be_found(self, by: str, appid: str) -> bool:
        """Whether the product must know him by this kind of id."""
        return {
            "number": False,
            "phone": bool(self.bound),
            "unionid": self.crowd or bool(self.signed_in),
            "openid": appid in self.signed_in,
            "external_userid": self.crowd or any(one.told for one in self.begun),
        }[by]

    def untold(self) -> bool:
        """Whether WeCom could not deliver something about his friendships at its first try."""
        return not all(one.told for one in (*self.begun, *self.ended))


class Forged(BaseModel):
    accepted: int
    external_userids: list[str]


@dataclass
class Truth:
    """What the file says."""

    customers: list[Customer] = field(default_factory=list)
    forged: Forged = field(default_factory=lambda: Forged(accepted=0, external_userids=[]))


def read(path: Path) -> Truth:
    """Raises DeployError that names the line."""
    truth, last = Truth(), ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = orjson.loads(line)
            last = row["kind"]
            if last == "customer":
                truth.customers.append(Customer.model_validate(row))
            elif last == "forged":
                truth.forged = Forged.model_validate(row)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
            raise DeployError(f"{path}:{number}: not a line of a truth file") from error
    if last != "totals":
        raise DeployError(
            f"{path}: the last line, with the totals, is missing: the file was cut short"
        )
    return truth
