"""Any words about any people, in any order, with merges undone in between: one customer for each person, no id lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers.actors import ClerkActor
from customers.identity import merging, resolution, review
from customers.identity.resolution import Facts
from rewards import ledger
from services.container import Services
from tests.support.banks import open_bank

BANK, LIFE = "wx1", "wx2"
RIGHTS = frozenset({review.READ, review.DECIDE})
TENANTS = count()
KINDS = ("external_userid", "unionid", BANK, LIFE)


def _facts(person: int, kinds: frozenset[str]) -> Facts:
    openids = {kind: f"o-{kind}-{person}" for kind in (BANK, LIFE) if kind in kinds}
    return Facts(
        external_userid=f"wm{person}" if "external_userid" in kinds else "",
        unionid=f"u{person}" if "unionid" in kinds else "",
        openids=openids,
        name=f"name{person}" if "external_userid" in kinds else "",
        phone=f"+861380000{person:04}" if BANK in kinds else "",
    )


TELLING = st.tuples(st.integers(0, 2), st.sets(st.sampled_from(KINDS), min_size=1).map(frozenset))
TELLINGS = st.lists(TELLING, min_size=1, max_size=12)


@dataclass
class _Groups:
    """Which kinds of a person's ids are known to be one's, as a reference: sets that grow together."""

    groups: list[frozenset[tuple[int, str]]] = field(default_factory=list)

    def tell(self, person: int, kinds: frozenset[str]) -> None:
        new = frozenset((person, kind) for kind in kinds)
        touching = [group for group in self.groups if group & new]
        self.groups = [group for group in self.groups if not group & new] + [new.union(*touching)]


async def _lead(services: Services, tenant: str, group: frozenset[tuple[int, str]]) -> set[str]:
    at_bank = await open_bank(services, tenant)
    return {await resolution.identify(at_bank, _facts(person, frozenset({kind}))) for person, kind in group}


async def _holds(services: Services, tenant: str, reference: _Groups) -> None:
    """Each group of the reference is one customer, who has exactly its ids; there is no other customer."""
    cids = [await _lead(services, tenant, group) for group in reference.groups]
    assert [len(found) for found in cids] == [1] * len(reference.groups)
    assert len({next(iter(found)) for found in cids}) == len(reference.groups)
    for group, found in zip(reference.groups, cids, strict=True):
        one = await resolution.customer(await open_bank(services, tenant), next(iter(found)))
        kinds = {kind for _, kind in group}
        assert {kind for kind in ("external_userid", "unionid") if getattr(one, kind)} | {*one.openids} == kinds
    rows = await services.store.tenant(tenant)["customers"].find({"merged_into": None})
    assert len(rows) == len(reference.groups)
    assert await ledger.check(await open_bank(services, tenant)) == []


bounded = settings(
    max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@bounded
@given(tellings=TELLINGS)
async def test_any_tellings_in_any_order_give_one_customer_for_each_person(
    services: Services, tellings: list[tuple[int, frozenset[str]]]
) -> None:
    tenant, reference = f"any{next(TENANTS)}", _Groups()
    for person, kinds in tellings:
        await resolution.identify(await open_bank(services, tenant), _facts(person, kinds))
        reference.tell(person, kinds)
    await _holds(services, tenant, reference)


@bounded
@given(tellings=TELLINGS)
async def test_a_merge_that_is_undone_leaves_what_was_before_and_stays_undone(
    services: Services, tellings: list[tuple[int, frozenset[str]]]
) -> None:
    tenant, reference = f"any{next(TENANTS)}", _Groups()
    lin, zhao = [ClerkActor(tenant, login, login, RIGHTS) for login in ("lin", "zhao")]
    merges = services.store.tenant(tenant)["merges"]
    for person, kinds in tellings:
        groups, had = list(reference.groups), await merges.count()
        await resolution.identify(await open_bank(services, tenant), _facts(person, kinds))
        reference.tell(person, kinds)
        if await merges.count() == had + 1:
            (merge,) = await merges.find({"state": merging.DONE}, sort=[("at", -1)], limit=1)
            await review.undo(await open_bank(services, tenant), lin, merge["_id"], "two persons")
            await review.approve_undo(await open_bank(services, tenant), zhao, merge["_id"])
            cids = [await _lead(services, tenant, group) for group in groups]
            assert [len(found) for found in cids] == [1] * len(cids)
            assert len({next(iter(found)) for found in cids}) == len(cids)
            await resolution.identify(await open_bank(services, tenant), _facts(person, kinds))
            assert [await _lead(services, tenant, group) for group in groups] == cids
            assert len(await review.list_questions(await open_bank(services, tenant), lin)) == 1
            assert await ledger.check(await open_bank(services, tenant)) == []
            return
