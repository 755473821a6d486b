"""What the bank's own systems hear of rewards: each once, however often a worker does the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from customers.banks.bank import Bank
from customers.banks.files import Webhook
from rewards.points import earning
from rewards.vouchers import issuing
from services.container import Services
from tests.integration.rewards import points_world, vouchering


def _hooked(bank: Bank, *events: str) -> Bank:
    return replace(bank, webhooks=(Webhook(id="core", url="https://core.bank.example/in", events=[*events]),))


async def _said(bank: Bank) -> list[tuple[str, str, dict[str, Any]]]:
    rows = await bank.db["webhook_deliveries"].find({}, limit=None)
    return [(row["event"], row["cid"], row["data"]) for row in rows]


async def test_a_granted_voucher_is_told_once(services: Services) -> None:
    bank, row = await vouchering.voucher(services)
    for _ in range(2):
        await issuing.of_claims(bank, [row["_id"]])
    assert await _said(bank) == []
    hooked = _hooked(bank, "voucher.granted")
    for _ in range(2):
        await issuing.of_claims(hooked, [row["_id"]])
    about = {"voucher": row["_id"], "reward": row["reward"]}
    assert await _said(bank) == [("voucher.granted", row["cid"], about)]


async def test_earned_points_are_told_once(services: Services) -> None:
    bank = _hooked(await vouchering.bank_of(services), "points.earned")
    await points_world.begin(bank)
    cid = await points_world.person(bank, "u0")
    login = points_world.login(cid, "k", bank.now())
    assert [await earning.earn(bank, login) for _ in range(2)] == [{"login": 10}] * 2
    assert await _said(bank) == [("points.earned", cid, {"points": 10, "rule": "login"})]
    await earning.grant(bank, cid, "a-grant", "five-points", 5)
    assert (await _said(bank))[1:] == [("points.earned", cid, {"points": 5, "reward": "five-points"})]
