"""Asking WeCom who a mini-program's customer is: unionid to external_userid (wechat-contract B3
95926).

A customer who signs in and is no friend of anybody yet is asked about once. WeCom tells his
external_userid, or a pending_id that stands for it for 90 days: we keep it, and ask again at a
sign-in after they are over.
"""

from __future__ import annotations

from customers.banks.directory import get_tenant, wecom_client
from customers.identity import resolution
from customers.identity.resolution import Customer, Facts
from customers.identity.rows import row_id
from services import ids
from services.container import Services
from services.queue import outbox
from services.queue.outbox import Effect
from services.store import batching
from services.store.mongo import Doc

PENDING_SECONDS = 90 * 86400.0


async def ask(services: Services, person: Customer, appid: str) -> None:
    """Puts the question into the outbox, if it is to be asked; safe to repeat."""
    openid = person.openids.get(appid, "")
    if person.external_userid or not person.unionid or not openid:
        return
    tenant, now = person.tenant, services.clock()
    conversion = row_id(services, tenant, "conversion", person.unionid)
    row = (await batching.read(services, tenant, "conversions", [conversion])).get(conversion)
    if row is not None and row["until"] >= now:
        return
    nth = row["nth"] + 1 if row else 1
    effect = Effect(
        id=ids.tenant_id(tenant, "convert", conversion, nth),
        tenant=tenant,
        kind="convert",
        cid=person.cid,
        args={"unionid": person.unionid, "openid": openid, "appid": appid},
    )
    await batching.insert(
        services, tenant, "outbox", outbox.row_of(services, effect, due=now, owner=None)
    )
    asked: Doc = {"nth": nth, "until": now + PENDING_SECONDS}
    if not await batching.insert(services, tenant, "conversions", {"_id": conversion, **asked}):
        before = {"_id": conversion, "nth": nth - 1}
        await services.store.tenant(tenant)["conversions"].update(before, {"$set": asked})
    services.wakeups.signal("campaigns.send_effects", tenant)


async def convert(services: Services, effect: Effect) -> None:
    """Asks WeCom and keeps what it tells with the customer; raises PlatformError."""
    args = effect.args
    client = wecom_client(services, await get_tenant(services, effect.tenant))
    answer = await client.idconvert_unionid_to_external_userid(args["unionid"], args["openid"])
    facts = Facts(
        external_userid=answer.get("external_userid", ""),
        unionid=args["unionid"],
        openids={args["appid"]: args["openid"]},
        pending_id=answer.get("pending_id", ""),
    )
    await resolution.identify(services, effect.tenant, facts, source="convert", proof=effect.id)
