"""Asking WeCom who a mini-program's customer is: unionid to external_userid (contract/wechat B3
95926).

A customer who signs in and is no friend of anybody yet is asked about once. WeCom tells his
external_userid, or a pending_id that stands for it for 90 days: we keep it, and ask again at a
sign-in after they are over. WeCom grants the call to few apps: a bank whose app may not ask goes
without for a week, since `externalcontact/get` and the sync tell the unionid of every customer.
"""

from __future__ import annotations

from typing import cast

from customers.banks.bank import Bank
from customers.banks.tasks import SEND_EFFECTS
from customers.identity import resolution
from customers.identity.facts import Customer, Facts
from customers.identity.rows import CONVERSIONS, Conversion
from customers.identity.sealing import identity_id
from services import ids
from services.queue import outbox
from services.queue.effects import EffectKind, Outcome
from services.queue.outbox import Effect
from services.store.mongo import Doc
from services.wechat.core.errors import BadConfig

PENDING_SECONDS = 90 * 86400.0
REFUSED_SECONDS = 7 * 86400.0
MAY_NOT_ASK = 48002


async def ask(bank: Bank, customer: Customer, appid: str) -> None:
    """Puts the question into the outbox, if it is to be asked; safe to repeat."""
    openid = customer.openids.get(appid, "")
    if customer.external_userid or not customer.unionid or not openid:
        return
    refused = await _find(bank, _refused_id(bank))
    if refused is not None and refused["until"] >= bank.now():
        return
    conversion = identity_id(bank, "conversion", customer.unionid)
    row = await _find(bank, conversion)
    if row is not None and row["until"] >= bank.now():
        return
    nth = row["nth"] + 1 if row else 1
    effect = Effect(
        id=ids.tenant_id(bank.id, "convert", conversion, nth),
        tenant=bank.id,
        kind=CONVERT.name,
        cid=customer.cid,
        args={"unionid": customer.unionid, "openid": openid, "appid": appid},
    )
    await outbox.put(bank.services, effect, due=bank.now())
    await _remember(bank, conversion, nth)
    bank.signal(SEND_EFFECTS)


async def _find(bank: Bank, conversion: str) -> Conversion | None:
    found = (await bank.read(CONVERSIONS, [conversion])).get(conversion)
    return cast("Conversion | None", found)


async def _remember(bank: Bank, conversion: str, nth: int) -> None:
    """He was asked about for the n-th time, and is not again before the answer is old."""
    asked: Doc = {"nth": nth, "until": bank.now() + PENDING_SECONDS}
    if not await bank.insert(CONVERSIONS, {"_id": conversion, **asked}):
        before = {"_id": conversion, "nth": nth - 1}
        await bank.db[CONVERSIONS].update(before, {"$set": asked})


def _refused_id(bank: Bank) -> str:
    """The row that says until when the bank's app is not to ask."""
    return ids.tenant_id(bank.id, "conversion", "refused")


async def _not_granted(bank: Bank) -> Outcome:
    refused: Doc = {"nth": 0, "until": bank.now() + REFUSED_SECONDS}
    await bank.db[CONVERSIONS].update({"_id": _refused_id(bank)}, {"$set": refused}, upsert=True)
    return Outcome("done", "not_granted")


async def convert(bank: Bank, effect: Effect) -> Outcome | None:
    """Asks WeCom and keeps what it tells with the customer; raises PlatformError, but not for an
    app that may not ask."""
    args = effect.args
    try:
        answer = await bank.wecom.customers.idconvert_unionid(args["unionid"], args["openid"])
    except BadConfig as error:
        if error.errcode != MAY_NOT_ASK:
            raise
        return await _not_granted(bank)
    facts = Facts(
        external_userid=answer.get("external_userid", ""),
        unionid=args["unionid"],
        openids={args["appid"]: args["openid"]},
        pending_id=answer.get("pending_id", ""),
    )
    await resolution.identify(bank, facts, source="convert", proof=effect.id)
    return None


CONVERT: EffectKind[Bank] = EffectKind(name="convert", execute=convert)
"""Who a mini-program's customer is at WeCom."""
