"""A bank with a points programme, and customers who earn."""

from __future__ import annotations

from typing import Any

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards.ledger import book
from rewards.points import accounts, earning, program
from rewards.points.accounts import Points
from rewards.points.occasions import Happening
from services.store.mongo import Doc

APPID = "wx5ab0000000000001"
LIN = ClerkActor("demo", "lin", "林晓", frozenset())
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset())
LOGIN = {"title": {"zh": "每日登录", "en": "Signing in"}, "event": "customer.login", "points": 10, "per_day": 50}
ISSUED = "points_issued:points"


def document(*, rules: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "kind": "points/v1",
        "id": "points",
        "name": {"zh": "银桥积分", "en": "Yinqiao Points"},
        "cost": 800,
        "lifetime": 365,
        "rules": {"login": LOGIN} if rules is None else rules,
    }
    return base | changes


async def begin(bank: Bank, **changes: Any) -> None:
    """The programme of `document` holds."""
    version, _ = await program.holding(bank)
    number = await program.submit(bank, LIN, version, document(**changes))
    await program.approve(bank, ZHAO, number)


async def person(bank: Bank, name: str) -> str:
    """A customer of the mini-program; his cid."""
    return await resolution.identify(bank, resolution.Facts(unionid=name, openids={APPID: f"o{name}"}))


def login(cid: str, key: str, at: float) -> Happening:
    return Happening("customer.login", cid, key, at)


async def points(bank: Bank, cid: str) -> Points:
    """What the customer has, under all of his ids."""
    rows = await accounts.read(bank, await resolution.cids(bank, cid))
    return accounts.together(rows, bank.utc())


async def give(bank: Bank, cid: str, n: int, expires: Any, key: str = "given") -> str:
    """So many points that expire then; the transfer's id."""
    legs = [book.Leg(ISSUED, accounts.of(cid), n)]
    entry = book.Entry(f"{key}:{cid}:{expires}", earning.EARN, legs, {"program": "points", "rule": "login"}, expires)
    return (await book.post(bank, entry)).id


async def transfers(bank: Bank, **wanted: Any) -> list[Doc]:
    return await bank.db["transfers"].find(wanted, sort=[("at", 1), ("_id", 1)])


async def settled(bank: Bank) -> bool:
    """Whether nothing is under way in the ledger."""
    return not await bank.db["ledger_batches"].find({}, limit=1)
