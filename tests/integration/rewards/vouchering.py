"""Vouchers in hand: a customer who claimed, his code, a counter, and the ledger's balances."""

from __future__ import annotations

from collections import Counter
from typing import Any

from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import claims
from rewards.item import Item
from rewards.ledger.chart import CHART
from rewards.ledger.lines import moved_by
from rewards.rows import TRANSFERS, Grant
from rewards.vouchers import codes, issuing
from rewards.vouchers.redeem import Redeemer
from rewards.vouchers.rows import Voucher, find_voucher
from services.container import Services
from services.documents.parts import Text
from tests.integration.rewards import world
from tests.support.banks import open_bank

ANN = Redeemer("teller", "ann", "安妮", branch="sz-nanshan", place="深圳南山支行")
BEN = Redeemer("merchant", "ben", "本", merchant="cafe", place="海边咖啡")


def item(**changes: Any) -> Item:
    return Item(kind="code", title=Text(zh="咖啡券", en="Coffee"), cost=1500, **changes)


async def bank_of(services: Services, tenant: str = world.TENANT) -> Bank:
    return await open_bank(services, tenant)


async def person(bank: Bank, name: str = "u0") -> str:
    return await resolution.identify(bank, resolution.Facts(unionid=name, openids={world.BANK: f"o{name}"}))


async def granted(bank: Bank, cid: str, reward: str = world.REWARD, key: str = "k") -> Voucher:
    """The voucher of a new claim of the customer's."""
    request = claims.Claim(reward, (cid,), key * 8, "b")
    grant = (await claims.claim(bank, request)).grant
    return (await issuing.ensure(bank, [grant]))[grant["_id"]]


async def voucher(services: Services, name: str = "u0", **changes: Any) -> tuple[Bank, Voucher]:
    """A voucher of a reward whose item is changed so, in the hand of the customer `name`."""
    await world.put(services, 1000, item=item(**changes), per_customer=20)
    bank = await bank_of(services)
    return bank, await granted(bank, await person(bank, name))


def code(bank: Bank, row: Voucher) -> str:
    return codes.shown(codes.code_of(bank.vault, row["_id"], row["nth"]))


async def now(bank: Bank, row: Voucher) -> Voucher:
    found = await find_voucher(bank, row["_id"])
    assert found is not None
    return found


async def balances(bank: Bank, *money: str) -> dict[str, int]:
    """What every account of units holds, by its kind, where it is not nothing; those of money that
    are named too."""
    found: Counter[str] = Counter()
    async for row in bank.db[TRANSFERS].scan():
        for leg in moved_by(row):
            found[leg.debit.partition(":")[0]] -= leg.amount
            found[leg.credit.partition(":")[0]] += leg.amount
    wanted = {kind.name for kind in CHART.values() if kind.currency == "unit"} | {*money}
    return {account: value for account, value in found.items() if value and account in wanted}


async def old_grant(bank: Bank, cid: str) -> Grant:
    """A grant of before there were vouchers."""
    request = claims.Claim(world.REWARD, (cid,), "o" * 8, "b")
    return (await claims.claim(bank, request)).grant
