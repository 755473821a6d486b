"""Whose it is: the customers whom ids lead to, for many at once, one read for each kind of id."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from customers.banks.bank import Bank
from customers.identity import awaited
from customers.identity.rows import cids_by_phone, closed_among, owners_of, root
from services import phones
from services.errors import NotFound

PHONE_SHARED = "phone_shared"
"""Why somebody waits whose phone two customers have: a clerk says which of them is meant."""


@dataclass(frozen=True, slots=True)
class Found:
    """The customer (`cid`), or why it is none although the id is known; `among` are those whom it
    could mean."""

    cid: str = ""
    reason: str = ""
    among: tuple[str, ...] = ()


def kind_of(customer: Mapping[str, Any]) -> str:
    """By what an item names its customer."""
    return "openid" if "openid" in customer else next(iter(customer))


def wait_id(bank: Bank, customer: Mapping[str, Any]) -> str:
    """The row that waits for whom an accepted item names."""
    kind = kind_of(customer)
    value = customer[kind]
    if kind == "openid":
        return awaited.wait_id(bank, f"openid.{customer['appid']}", value)
    if kind == awaited.PHONE:
        value = phones.read(value, bank.region)
    return awaited.wait_id(bank, kind, value)


async def find(bank: Bank, wanted: Collection[str]) -> dict[str, Found]:
    """Those of the `wanted` rows (wait_id) whose customers are known, or are two."""
    phone_start = f"{bank.id}:{awaited.PHONE}:"
    by_phone = [one for one in wanted if one.startswith(phone_start)]
    by_id = [one for one in wanted if not one.startswith(phone_start)]
    found = await _by_ids(bank, by_id)
    return found | await _by_phones(bank, {one.removeprefix(phone_start): one for one in by_phone})


async def _by_ids(bank: Bank, wanted: list[str]) -> dict[str, Found]:
    if not wanted:
        return {}
    owners = await owners_of(bank, wanted)
    roots = await _roots(bank, set(owners.values()))
    return {one: Found(roots[cid]) for one, cid in owners.items() if cid in roots}


async def _roots(bank: Bank, cids: set[str]) -> dict[str, str]:
    """Who each is now; not those whose own row is not written yet."""
    roots = {}
    for cid, closed in (await closed_among(bank, sorted(cids))).items():
        try:
            roots[cid] = (await root(bank, cid))["_id"] if closed else cid
        except NotFound:
            continue
    return roots


async def _by_phones(bank: Bank, wanted: Mapping[str, str]) -> dict[str, Found]:
    """`wanted` are rows by the blind index of their phone."""
    holders = await cids_by_phone(bank, list(wanted))
    shared = {wanted[index]: cids for index, cids in holders.items() if len(cids) > 1}
    chosen = await _chosen(bank, shared)
    return {
        wanted[index]: Found(cids[0]) if len(cids) == 1 else chosen[wanted[index]]
        for index, cids in holders.items()
    }


async def _chosen(bank: Bank, shared: Mapping[str, list[str]]) -> dict[str, Found]:
    """Of customers with the same phone the one whom a clerk chose."""
    rows = await awaited.find(bank, sorted(shared))
    found = {}
    for one, cids in shared.items():
        cid = rows[one].get("cid", "") if one in rows else ""
        among = tuple(sorted(cids))
        found[one] = Found(cid) if cid in cids else Found(reason=PHONE_SHARED, among=among)
    return found
