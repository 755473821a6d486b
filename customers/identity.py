"""Who is who: unionid, openids, external_userid and phone of one person lead to one customer.

Each known id is a row of `identities`, whose `_id` is the id's blind index: one id can point to one customer only. The
customer's own row keeps the ids sealed. When two customers turn out to be one person, the younger is merged into the
elder: its ids point to the elder from then on, its history stays where it is and is read along (`aliases`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from customers import follows
from services import grouped, ids
from services.clock import utc
from services.container import Services
from services.errors import NotFound, Unavailable
from services.mongo import Doc

log = logging.getLogger(__name__)

_HOPS = 8
SEALED = ("name", "phone", "unionid", "external_userid")


@dataclass(frozen=True)
class Facts:
    """What one source knows of a person; empty means unknown. `openids` by appid."""

    external_userid: str = ""
    unionid: str = ""
    openids: Mapping[str, str] = field(default_factory=dict)
    phone: str = ""
    name: str = ""

    def ids(self) -> dict[str, str]:
        """kind → value, strongest first."""
        known = {"unionid": self.unionid, "external_userid": self.external_userid}
        known |= {f"openid.{appid}": openid for appid, openid in self.openids.items()}
        return {kind: value for kind, value in known.items() if value}


@dataclass(frozen=True)
class Customer:
    """A customer with his ids opened. `cids` are his own id and those of customers merged into him."""

    cid: str
    tenant: str
    aliases: tuple[str, ...]
    name: str
    phone: str
    unionid: str
    external_userid: str
    openids: Mapping[str, str]
    tags: tuple[str, ...]

    @property
    def cids(self) -> list[str]:
        return [self.cid, *self.aliases]


def _row_id(services: Services, tenant: str, kind: str, value: str) -> str:
    return f"{tenant}:{kind}:{services.vault.blind(tenant, f'identities.{kind}', value)}"


async def identify(services: Services, tenant: str, facts: Facts) -> str:
    """The cid of the person that `facts` speak of, created, completed or merged as needed. Safe to repeat and to race."""
    rows = {_row_id(services, tenant, kind, value): kind for kind, value in facts.ids().items()}
    if not rows:
        raise ValueError("nobody can be identified by nothing")
    known = await grouped.read(services, tenant, "identities", list(rows))
    owners = sorted({doc["cid"] for doc in known.values()})
    cid = owners[0] if owners else ids.tenant_id(tenant, "customer", next(iter(rows)))
    missing = [row_id for row_id in rows if row_id not in known]
    fresh = [await _claim_id(services, tenant, row_id, rows[row_id], cid) for row_id in missing]
    if not all(fresh):  # somebody else was told of the same person in this moment
        known = await grouped.read(services, tenant, "identities", list(rows))
        owners = sorted({doc["cid"] for doc in known.values()})
    if len(owners) > 1:
        found = await _merge(services, tenant, owners, facts)
    else:
        found = await _keep_facts(services, tenant, owners[0] if owners else cid, facts)
    if found != cid or len(owners) > 1:
        strays = {"_id": {"$in": list(rows)}, "cid": {"$ne": found}}
        await services.store.tenant(tenant)["identities"].update_many(strays, {"$set": {"cid": found}})
    return found


async def _claim_id(services: Services, tenant: str, row_id: str, kind: str, cid: str) -> bool:
    row = {"_id": row_id, "kind": kind, "cid": cid, "at": utc(services.clock())}
    return await grouped.insert(services, tenant, "identities", row)


async def _keep_facts(services: Services, tenant: str, cid: str, facts: Facts) -> str:
    """Writes what is new of the person to his row, or to that of whom he was merged into; whose row it was."""
    for _ in range(_HOPS):
        known = (await grouped.read(services, tenant, "customers", [cid])).get(cid)
        if known is None:
            fields = _nested(_sealed(services, tenant, cid, facts))
            if await grouped.insert(services, tenant, "customers", {**_empty(services, cid), **fields}):
                return cid
        elif known.get("merged_into"):
            if known.get("carrying"):
                await _carry(services, tenant, known)
            cid = known["merged_into"]
        else:
            fresh = _sealed(services, tenant, cid, _news(_opened(services, tenant, known), facts))
            if not fresh or await services.store.tenant(tenant)["customers"].update(_unmerged(cid), {"$set": fresh}):
                return cid
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


def _unmerged(cid: str) -> Doc:
    return {"_id": cid, "merged_into": {"$exists": False}}


def _empty(services: Services, cid: str) -> Doc:
    return {"_id": cid, "created_at": utc(services.clock()), "tags": [], "aliases": [], "openids": {}}


def _news(person: Customer, facts: Facts) -> Facts:
    """What `facts` say that is not known of the person yet."""
    fresh = {name: "" if getattr(facts, name) == getattr(person, name) else getattr(facts, name) for name in SEALED}
    openids = {appid: openid for appid, openid in facts.openids.items() if person.openids.get(appid) != openid}
    return Facts(openids=openids, **fresh)


def _sealed(services: Services, tenant: str, cid: str, facts: Facts) -> Doc:
    def seal(name: str, value: str) -> bytes:
        return services.vault.seal_text(tenant, "customers", name, cid, value)

    fields: Doc = {name: seal(name, getattr(facts, name)) for name in SEALED if getattr(facts, name)}
    if facts.phone:
        fields["phone_index"] = services.vault.blind(tenant, "customers.phone", facts.phone)
    for appid, openid in facts.openids.items():
        fields[f"openids.{appid}"] = seal(f"openids.{appid}", openid)
    return fields


def _nested(fields: Doc) -> Doc:
    row = {name: value for name, value in fields.items() if not name.startswith("openids.")}
    openids = {name.split(".", 1)[1]: value for name, value in fields.items() if name.startswith("openids.")}
    return {**row, "openids": openids}


async def _merge(services: Services, tenant: str, owners: list[str], facts: Facts) -> str:
    """Makes the customers one: the younger are closed and carried over to the eldest. Everybody sees the same order, so two
    merges at once never go round in a circle."""
    customers = services.store.tenant(tenant)["customers"]
    for cid in owners:  # ids may have been claimed by somebody who did not live to write the customer
        await grouped.insert(services, tenant, "customers", _empty(services, cid))
    for row in await customers.find({"_id": {"$in": owners}}):
        if row.get("carrying"):  # a merge that was cut short
            await _carry(services, tenant, row)
    roots = {row["_id"]: row for row in [await _root(services, tenant, cid) for cid in owners]}
    eldest, *younger = sorted(roots.values(), key=lambda row: (row["created_at"], row["_id"]))
    for row in younger:
        closing = {"merged_into": eldest["_id"], "carrying": True}
        closed = await customers.update_and_get(_unmerged(row["_id"]), {"$set": closing})
        if closed is not None:
            await _carry(services, tenant, closed)
    return await _keep_facts(services, tenant, eldest["_id"], facts)


async def _root(services: Services, tenant: str, cid: str) -> Doc:
    """The row of whom the customer is now."""
    for _ in range(_HOPS):
        row = await services.store.tenant(tenant)["customers"].find_one({"_id": cid})
        if row is None:
            break
        if not row.get("merged_into"):
            return row
        cid = row["merged_into"]
    raise NotFound("customer_unknown", "no such customer")


async def _carry(services: Services, tenant: str, row: Doc) -> None:
    """Gives what leads to a closed customer, and what only he knew, to whom he was merged into; safe to repeat. His history
    stays under his own id."""
    db = services.store.tenant(tenant)
    loser = _opened(services, tenant, row)
    carried = {"aliases": {"$each": loser.cids}, "tags": {"$each": list(loser.tags)}}
    winner = await _root(services, tenant, row["merged_into"])
    while not await db["customers"].update(_unmerged(winner["_id"]), {"$addToSet": carried}):
        winner = await _root(services, tenant, winner["_id"])
    known = _opened(services, tenant, winner)
    lacking = {name: getattr(loser, name) for name in SEALED if not getattr(known, name)}
    openids = {appid: openid for appid, openid in loser.openids.items() if appid not in known.openids}
    await _keep_facts(services, tenant, winner["_id"], Facts(openids=openids, **lacking))
    await follows.move(services, tenant, loser.cid, winner["_id"])
    mine = Facts(loser.external_userid, loser.unionid, loser.openids)
    rows = [_row_id(services, tenant, kind, value) for kind, value in mine.ids().items()]
    await db["identities"].update_many({"_id": {"$in": rows}}, {"$set": {"cid": winner["_id"]}})
    await db["customers"].update({"_id": loser.cid}, {"$unset": {"carrying": ""}})
    log.info("customers merged", extra={"fields": {"tenant": tenant, "winner": winner["_id"], "loser": loser.cid}})


async def customer(services: Services, tenant: str, cid: str, *, follow: bool = True) -> Customer:
    """The customer (or whom he was merged into), ids opened; raises NotFound. For the product's own use: a person who asks
    goes through `access_customer` of customers/staff.py or his own session."""
    for _ in range(_HOPS):
        row = (await grouped.read(services, tenant, "customers", [cid])).get(cid)
        if row is None:
            raise NotFound("customer_unknown", "no such customer")
        if not follow or not row.get("merged_into"):
            return _opened(services, tenant, row)
        cid = row["merged_into"]
    raise NotFound("customer_unknown", "the customer was merged in a circle")


async def cids(services: Services, tenant: str, cid: str) -> list[str]:
    """The customer's own id and those merged into him, without opening anything; raises NotFound."""
    row = (await grouped.read(services, tenant, "customers", [cid])).get(cid)
    if row is None or row.get("merged_into"):
        return (await customer(services, tenant, cid)).cids
    return [cid, *row.get("aliases", [])]


def _opened(services: Services, tenant: str, row: Doc) -> Customer:
    cid = row["_id"]

    def text(name: str, sealed: bytes | None) -> str:
        return services.vault.open_text(tenant, "customers", name, cid, sealed) if sealed else ""

    openids = {appid: text(f"openids.{appid}", sealed) for appid, sealed in row.get("openids", {}).items()}
    opened = {name: text(name, row.get(name)) for name in SEALED}
    return Customer(
        cid=cid,
        tenant=tenant,
        aliases=tuple(row.get("aliases", [])),
        openids=openids,
        tags=tuple(row["tags"]),
        **opened,
    )


def mask_phone(phone: str) -> str:
    """138****8000; shorter numbers show their last two digits."""
    if len(phone) >= 7:
        return f"{phone[:3]}****{phone[-4:]}"
    return f"****{phone[-2:]}" if phone else ""


def mask_name(name: str) -> str:
    """The family name and a star for every other character."""
    return name[:1] + "*" * (len(name) - 1)
