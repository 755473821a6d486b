"""A customer is reminded before his voucher ends: once, where he allowed it, and not after he used it."""

from __future__ import annotations

from typing import Any

from customers.access import login
from customers.actors import CustomerActor
from customers.messaging import subscriptions
from rewards.vouchers import due, redeem
from services.clock import utc
from services.container import Services
from services.wechat import events
from tests.conftest import Sandbox
from tests.integration.rewards import vouchering, world
from tests.integration.rewards.vouchering import ANN, code, voucher
from tests.support import jobs

TEMPLATE = "tpl-reward"


async def _allows(demo: Services, sandbox: Sandbox, name: str) -> str:
    """The cid of a customer who allows one message."""
    person = await sandbox.person(name)
    bank = await vouchering.bank_of(demo)
    signed_in = await login.login(bank, world.BANK, await sandbox.open(person, world.BANK))
    actor: CustomerActor = await login.read_session(demo, signed_in.token)
    answer = {"appid": world.BANK, "templates": {TEMPLATE: "accept"}}
    await sandbox.control("POST", f"people/{person['id']}/subscribe", answer)
    openid = await subscriptions.openid_of(bank, actor.cid, world.BANK)
    told = events.SubscribeAnswered(
        corp_id=world.BANK, create_time=utc(bank.now()), openid=openid, how="popup", answers=((TEMPLATE, True),)
    )
    row: Any = {"_id": f"demo:event-{name}", "at": utc(bank.now())}
    await subscriptions.answered(bank, row, told)
    return actor.cid


async def test_a_customer_is_reminded_once_and_who_used_his_voucher_is_not(
    demo: Services, sandbox: Sandbox, clock: Any
) -> None:
    bank, _ = await voucher(demo, valid_days=10, remind_days=3)
    ann, ben = [await _allows(demo, sandbox, name) for name in ("安", "本")]
    rows = [await vouchering.granted(bank, cid, key=f"k{n}") for n, cid in enumerate((ann, ben))]
    await redeem.redeem(bank, ANN, code(bank, rows[1]), "k")
    clock.advance(6 * 86_400)
    await due.see_to(bank)
    assert await bank.db["outbox"].count({"kind": "subscribe"}) == 0
    clock.advance(2 * 86_400)
    for _ in range(3):
        await due.see_to(bank)
    await jobs.send_effects(bank)
    (sent,) = await bank.db["outbox"].find({"kind": "subscribe"})
    assert (sent["cid"], sent["state"]) == (ann, "done")
    assert not await subscriptions.is_allowed(bank, ann, world.BANK, TEMPLATE)
    assert await subscriptions.is_allowed(bank, ben, world.BANK, TEMPLATE)
    (told,) = await bank.db["timeline"].find({"kind": "subscribe.sent"})
    assert told["cid"] == ann
