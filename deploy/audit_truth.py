"""`manage.py audit truth FILE`: the product compared with what a played population knows to be true
(sandbox/README.md).

Every acknowledged claim is in the ledger exactly once, and nobody was granted what he was not told
of; one person is one customer; friendships, groups, phones and answers to subscribe messages are
the same; nobody was greeted twice; what the bank's core told is there; who should be in a segment
is; what was forged is nowhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import httpx
import typer

from customers.banks import staff
from customers.banks.bank import Bank, open_bank
from customers.identity.awaited import AWAITED
from customers.identity.rows import CUSTOMERS, IDENTITIES, CustomerRow, cids_of, root
from customers.identity.sealing import identity_id, open_customer
from customers.intake.rows import INTAKE
from customers.relationships import RELATIONSHIPS
from customers.timeline import TIMELINE
from customers.wecom_mirror import groups
from customers.wecom_mirror.rows import GROUP_MEMBERS
from deploy import audit_bank, audit_points, audit_segments
from deploy.errors import DeployError
from deploy.terminal import TenantOption, fail, only_tenant, print_table, run, settings
from deploy.truth_file import Answer, Customer, Truth, read
from rewards import catalogue, ledger
from rewards.rows import REWARDS, TRANSFERS, grant_ids
from services.container import Services
from services.phones import read as read_phone
from services.queue.outbox import OUTBOX

PAGE = 200
"""So many customers are compared at a time."""
AT_ONCE = 16
LOOK_SECONDS = 0.2
UNLEDGERED = "an acknowledged claim is not in the ledger"


@dataclass(frozen=True)
class Difference:
    """What is otherwise than it should be; `whose` is the customer's id in the file."""

    what: str
    whose: str
    expected: str
    found: str


@dataclass
class _Known:
    """A customer of the file with his row in the store."""

    told: Customer
    row: CustomerRow

    @property
    def cids(self) -> list[str]:
        return cids_of(self.row)


async def drained(services: Services, tenant: str, seconds: float) -> list[Difference]:
    """Waits until nothing is under way; what still is after `seconds`."""
    db, deadline = services.store.tenant(tenant), time.monotonic() + seconds
    while True:
        left = {name: await db[name].count({"open": True}) for name in ("inbox", "outbox", INTAKE)}
        left["rewards"] = await db[REWARDS].count({"held": {"$gt": 0}})
        if not any(left.values()):
            left[AWAITED] = await audit_bank.count_joining(await open_bank(services, tenant))
        if not any(left.values()):
            return []
        if time.monotonic() > deadline:
            waiting = [
                (name, await _why(services, tenant, name)) for name, count in left.items() if count
            ]
            return [Difference(f"{name} still has work", "", "none", why) for name, why in waiting]
        await asyncio.sleep(LOOK_SECONDS)


async def _why(services: Services, tenant: str, name: str) -> str:
    """What waits there, by kind and reason."""
    if name == AWAITED:
        return "customers who are known"
    query = {"held": {"$gt": 0}} if name == "rewards" else {"open": True}
    rows = await services.store.tenant(tenant)[name].find(
        query, fields={"kind": 1, "reason": 1, "reward": 1}
    )
    told = (
        " ".join(str(row[part]) for part in ("kind", "reward", "reason") if row.get(part))
        for row in rows
    )
    return ", ".join(f"{count} {what or 'new'}" for what, count in Counter(told).most_common())


class Comparison:
    """The truth against one bank's store; `sandbox` is the address of the sandbox in which it was
    played."""

    def __init__(self, bank: Bank, truth: Truth, sandbox: str) -> None:
        self._bank = bank
        self._db = bank.db
        self._truth = truth
        self._sandbox = sandbox
        self._owners: dict[str, str] = {}
        self._sent: Counter[str] = Counter()
        """Welcomes that the product counts as sent, by cid."""
        self._chats = sorted({chat for one in truth.customers for chat in one.groups})
        self.differences: list[Difference] = []
        self.counts: Counter[str] = Counter()

    async def run(self) -> list[Difference]:
        """Every difference, in the order of the file."""
        checks = (
            self._phones,
            self._friends,
            self._grants,
            self._groups,
            self._answers,
            self._welcomes,
        )
        told = audit_bank.BankComparison(self._bank, self._differ, self.counts)
        segments = await self._segments()
        async for row in self._db[OUTBOX].scan(
            {"kind": "welcome", "state": "done", "reason": ""}, {"cid": 1}
        ):
            self._sent[row["cid"]] += 1
        for start in range(0, len(self._truth.customers), PAGE):
            page = self._truth.customers[start : start + PAGE]
            known = await self._people(page)
            for check in checks:
                await check(known)
            cids = {one.told.id: one.cids for one in known}
            with_cids = [(one, cids.get(one.id, [])) for one in page]
            await told.check(with_cids)
            await audit_points.check(self._bank, with_cids, self._differ, self.counts)
            await segments.check(with_cids)
            self._tricks(page)
        await segments.strangers()
        self.counts.update({f"in {key}": n for key, n in segments.members.items()})
        self._redemptions()
        await self._forged()
        problems = await ledger.check(self._bank)
        self._differ_all(("the ledger does not hold", "", "", problem) for problem in problems)
        return self.differences

    async def _segments(self) -> audit_segments.SegmentComparison:
        branches = {row["userid"]: row["branch"] for row in await staff.everybody(self._bank)}
        keys = await audit_segments.live(self._bank)
        return audit_segments.SegmentComparison(self._bank, keys, branches, self._differ)

    def _differ(self, what: str, whose: str, expected: object, found: object) -> None:
        self.differences.append(Difference(what, whose, str(expected), str(found)))

    def _differ_all(self, rows: Iterable[tuple[str, str, object, object]]) -> None:
        for row in rows:
            self._differ(*row)

    async def _rows_of(self, page: list[Customer]) -> tuple[dict[str, str], dict[str, CustomerRow]]:
        """identity row → cid, and cid → the row of whom he is now."""
        wanted = [
            self._row_id(kind, value) for one in page for kind, value in one.ids().items() if value
        ]
        found = await self._db[IDENTITIES].find(
            {"_id": {"$in": wanted}}, fields={"cid": 1}, limit=None
        )
        owners = {row["_id"]: row["cid"] for row in found}
        cids = list(set(owners.values()))
        there = await self._db[CUSTOMERS].find({"_id": {"$in": cids}}, limit=None)
        rows = {row["_id"]: cast("CustomerRow", row) for row in there}
        merged = [cid for cid, row in rows.items() if row.get("merged_into")]
        rows |= {cid: await root(self._bank, cid) for cid in merged}
        return owners, rows

    def _row_id(self, kind: str, value: str) -> str:
        return identity_id(self._bank, kind, value)

    async def _people(self, page: list[Customer]) -> list[_Known]:
        """Who is known, and whether one person is one customer."""
        owners, rows = await self._rows_of(page)
        known = []
        for one in page:
            ids = [self._row_id(kind, value) for kind, value in one.ids().items() if value]
            his = {
                rows[owners[row_id]]["_id"]: rows[owners[row_id]]
                for row_id in ids
                if row_id in owners
            }
            if len(his) > 1:
                self._differ("one person is several customers", one.id, 1, len(his))
            elif not his:
                self._unknown(one)
            for cid, row in his.items():
                if self._owners.setdefault(cid, one.id) != one.id:
                    self._differ(
                        "two persons are one customer", one.id, "his own", self._owners[cid]
                    )
                known.append(_Known(one, row))
        self.counts["customers"] += len(page)
        return known

    def _unknown(self, one: Customer) -> None:
        """Nobody knows him: then he must not have been there, nor been granted anything."""
        if one.must_be_known():
            self._differ("a customer is unknown", one.id, "known", "nobody")
        for had in one.granted:
            self._differ(UNLEDGERED, one.id, f"{had.reward} {had.redemption}", "nothing")

    async def _phones(self, known: list[_Known]) -> None:
        for one in known:
            if one.told.bound and open_customer(self._bank, one.row).phone != read_phone(
                one.told.phone
            ):
                self._differ(
                    "the bound phone is not the customer's", one.told.id, "bound", "another or none"
                )

    async def _friends(self, known: list[_Known]) -> None:
        cids = [cid for one in known for cid in one.cids]
        query = {"active": True, "cid": {"$in": cids}}
        found: dict[str, set[tuple[str, str, int]]] = {}
        for row in await self._db[RELATIONSHIPS].find(query, limit=None):
            since = int(row.get("since") or row["at"])
            found.setdefault(row["cid"], set()).add((row["userid"], row.get("state") or "", since))
        for one in known:
            expected = {(friend.userid, friend.state, friend.since) for friend in one.told.friends}
            there = {pair for cid in one.cids for pair in found.get(cid, ())}
            self.counts["friendships"] += len(expected)
            if expected != there:
                hint = " (WeCom could not tell us: `manage.py sync`)" if one.told.untold() else ""
                self._differ(
                    f"friendships differ{hint}",
                    one.told.id,
                    _short(expected - there),
                    _short(there - expected),
                )

    async def _grants(self, known: list[_Known]) -> None:
        rewards = await catalogue.all_rewards(self._bank)
        slots: dict[str, _Known] = {}
        for one in known:
            for reward_row in rewards.values():
                slots |= dict.fromkeys(grant_ids(self._bank.id, reward_row, one.cids), one)
        query = {"_id": {"$in": list(slots)}}
        found: dict[str, set[tuple[str, str]]] = {}
        for row in await self._db[TRANSFERS].find(
            query, fields={"kind": 1, "reward": 1}, limit=None
        ):
            if row["kind"] == "grant":
                his = found.setdefault(slots[row["_id"]].told.id, set())
                his.add((row["reward"], row["_id"].split(":", 1)[1]))
        for told in {one.told.id: one.told for one in known}.values():
            expected = {(one.reward, one.redemption) for one in told.granted}
            there = found.get(told.id, set())
            self.counts["grants"] += len(expected)
            for reward, redemption in expected - there:
                self._differ(UNLEDGERED, told.id, f"{reward} {redemption}", "nothing")
            for reward, redemption in there - expected:
                if reward not in told.unanswered:
                    self._differ(
                        "granted, and never acknowledged",
                        told.id,
                        "nothing",
                        f"{reward} {redemption}",
                    )

    def _redemptions(self) -> None:
        """One redemption is one customer's, and one key has one redemption."""
        owner: dict[str, str] = {}
        keys: dict[tuple[str, str, str], str] = {}
        for one in self._truth.customers:
            for had in one.granted:
                if owner.setdefault(had.redemption, one.id) != one.id:
                    self._differ(
                        "one redemption was told to two", one.id, "his own", owner[had.redemption]
                    )
                first = keys.setdefault((one.id, had.reward, had.key), had.redemption)
                if first != had.redemption:
                    self._differ(
                        "one key was answered with two redemptions", one.id, first, had.redemption
                    )

    async def _groups(self, known: list[_Known]) -> None:
        ids = {
            groups.member_id(self._bank, chat, one.told.external_userid): (
                one.told.id,
                chat,
            )
            for one in known
            for chat in self._chats
        }
        query = {"_id": {"$in": list(ids)}, "active": True}
        rows = await self._db[GROUP_MEMBERS].find(query, fields={"_id": 1}, limit=None)
        there = {ids[row["_id"]] for row in rows}
        for one in known:
            expected, found = (
                set(one.told.groups),
                {chat for whose, chat in there if whose == one.told.id},
            )
            self.counts["group members"] += len(expected)
            if expected != found:
                self._differ(
                    "groups differ", one.told.id, _short(expected - found), _short(found - expected)
                )

    async def _answers(self, known: list[_Known]) -> None:
        """What a customer answered to subscribe messages stands in his story once, if WeChat could
        tell us."""
        kinds = ("subscribe.accepted", "subscribe.refused")
        query = {"cid": {"$in": [cid for one in known if one.told.subscribed for cid in one.cids]}}
        found: dict[str, Counter[str]] = {}
        for row in await self._db[TIMELINE].find(
            query, fields={"cid": 1, "kind": 1, "data": 1}, limit=None
        ):
            if row["kind"] in kinds:
                found.setdefault(row["cid"], Counter())[
                    f"{row['kind']} {row['data']['template']}"
                ] += 1
        for one in known:
            told = sum((found.get(cid, Counter()) for cid in one.cids), Counter[str]())
            least = Counter(_answer(each) for each in one.told.subscribed if each.told)
            most = Counter(_answer(each) for each in one.told.subscribed)
            self.counts["answers to subscribe messages"] += least.total()
            if not least <= told <= most:
                self._differ(
                    "answers to subscribe messages differ", one.told.id, dict(least), dict(told)
                )

    async def _welcomes(self, known: list[_Known]) -> None:
        """Nobody was greeted more often than he became a friend, and a welcome that counts as sent
        has arrived."""
        phones = {one.told.id: one for one in known if one.told.begun}
        greeted = await self._greeted([one.told for one in phones.values()])
        for whose, one in phones.items():
            got = greeted[whose]
            begun = Counter(each.userid for each in one.told.begun)
            self.counts["welcomes"] += got.total()
            if not got <= begun:
                self._differ("greeted more than once", whose, dict(begun), dict(got))
            sent = sum(self._sent[cid] for cid in one.cids)
            if sent > got.total():
                self._differ("a welcome that was sent has not arrived", whose, sent, got.total())

    async def _greeted(self, people: list[Customer]) -> dict[str, Counter[str]]:
        """By customer: how many welcomes of each member are on his phone."""
        slots = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(
            base_url=self._sandbox, trust_env=False, timeout=30.0
        ) as client:

            async def one(told: Customer) -> Counter[str]:
                async with slots:
                    answer = await client.get(f"/control/people/{told.person}")
                answer.raise_for_status()
                inbox: list[dict[str, Any]] = answer.json()["inbox"]
                return Counter(
                    message["sender"] for message in inbox if message["kind"] == "welcome"
                )

            counted = await asyncio.gather(*(one(told) for told in people))
        return {told.id: greeted for told, greeted in zip(people, counted, strict=True)}

    def _tricks(self, page: list[Customer]) -> None:
        for one in page:
            self.counts["tricks refused"] += len(one.tricks)
            for each in one.tricks:
                if not each.refused:
                    self._differ(f"a trick worked: {each.trick}", one.id, "refused", each.status)

    async def _forged(self) -> None:
        forged = self._truth.forged
        self.counts["forged callbacks refused"] = len(forged.external_userids)
        if forged.accepted:
            self._differ("forged callbacks were accepted", "", 0, forged.accepted)
        wanted = {self._row_id("external_userid", each): each for each in forged.external_userids}
        found = await self._db[IDENTITIES].find(
            {"_id": {"$in": list(wanted)}}, fields={"_id": 1}, limit=None
        )
        self._differ_all(
            ("a forged customer is known", "", "nobody", wanted[row["_id"]]) for row in found
        )


def _answer(each: Answer) -> str:
    return f"subscribe.{'accepted' if each.accepted else 'refused'} {each.template_id}"


def _short(things: Iterable[object]) -> str:
    return ", ".join(sorted(str(thing) for thing in things)) or "–"


async def compare(
    services: Services, tenant: str, truth: Truth, sandbox: str, *, patience: float
) -> tuple[list[Difference], Counter[str]]:
    """Waits up to `patience` seconds until nothing is under way, then compares: the differences,
    and how much was compared.

    Raises DeployError when the sandbox does not answer, or was reset since.
    """
    waiting = await drained(services, tenant, patience)
    bank = await open_bank(services, tenant)
    if await audit_segments.live(bank) and not await audit_segments.followed(bank, patience):
        waiting.append(Difference("profiles are late", "", "followed", "not yet"))
    comparison = Comparison(bank, truth, sandbox)
    try:
        found = await comparison.run()
    except httpx.HTTPError as error:
        raise DeployError(
            f"the sandbox at {sandbox} does not know these people: {error}"
        ) from error
    return waiting + found, comparison.counts


def audit_truth(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="what python -m sandbox.people wrote"),
    ],
    tenant: TenantOption = "",
    sandbox: Annotated[
        str, typer.Option(help="the sandbox's address; default YINQIAO_SANDBOX_URL")
    ] = "",
    patience: Annotated[
        float, typer.Option(help="seconds to wait until nothing is under way")
    ] = 120.0,
) -> None:
    """Compare the bank with what a played population knows to be true."""
    address = sandbox or settings().sandbox_url
    if not address:
        fail("say where the sandbox is: --sandbox http://127.0.0.1:8001")

    async def audited(services: Services) -> tuple[list[Difference], Counter[str]]:
        return await compare(
            services, await only_tenant(services, tenant), truth, address, patience=patience
        )

    try:
        truth = read(file)
        found, counts = run(audited)
    except DeployError as error:
        fail(str(error))
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    print_table("Differences", [asdict(one) for one in found])
    print("everything is as it should be" if not found else f"{len(found)} differences")
    if found:
        raise typer.Exit(1)
