"""Customers by the hundred (contract/wechat B3 92994, 92113): who is wholly unknown is inserted,
who is unchanged costs a read, and whoever is neither goes through `identity.identify` one by
one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import orjson

from customers import relationships, timeline
from customers.banks.bank import Bank
from customers.identity import awaited, resolution
from customers.identity.facts import Facts, Origin, unknown_facts
from customers.identity.rows import (
    CustomerRow,
    IdentityRow,
    customers_by_id,
    identities_by_id,
    insert_customers,
    insert_identities,
)
from customers.identity.sealing import (
    identities_of_facts,
    identity_row,
    new_customer,
    open_customer,
)
from customers.relationships import FollowInfo, Relationship
from customers.wecom_mirror import details, tags
from customers.wecom_mirror.sync import (
    Batch,
    Difference,
    Job,
    Outcome,
    Part,
    Problem,
    code_of,
    follow_users,
    note,
)
from services import ids
from services.errors import Unavailable, YinqiaoError
from services.wechat.core.errors import BadConfig, BadRequest, PlatformError, SubjectState
from services.wechat.core.lists import OF_ONE_MEMBER

USERS_AT_ONCE = 100
CUSTOMERS_AT_ONCE = 100
AT_ONCE = 500
ANEW = 3
"""So often the RMs of a page are begun anew when WeCom refuses the cursor."""
NOT_FRIENDS = 84061
GONE_USER = OF_ONE_MEMBER - {NOT_FRIENDS}
"""A userid that WeCom does not know any more, or that may have no customers."""


@dataclass
class Told:
    """A customer of a page: who he is, and what WeCom says of him and each of the page's RMs."""

    facts: Facts
    follow_infos: list[FollowInfo] = field(default_factory=list)
    cid: str = ""
    known: bool = False
    """He was a customer before this page, or somebody else told of him while it was written."""

    @property
    def external_userid(self) -> str:
        return self.facts.external_userid


async def _read(job: Job, cursor: str) -> Batch:
    """A page of the customers of at most 100 RMs. The cursor carries these RMs, so that it means
    the same after a kill."""
    at: dict[str, Any] = {"after": "", "users": [], "next": "", "anew": 0}
    at |= orjson.loads(cursor) if cursor else {}
    everyone = await follow_users(job)
    if not at["users"]:
        at["users"] = [userid for userid in everyone if userid > at["after"]][:USERS_AT_ONCE]
    asked = job.bank.now()
    if not at["users"]:
        return Batch([], "", asked, total=0)
    try:
        answer = await job.client.customers.batch_get_by_user(
            at["users"], cursor=at["next"], limit=CUSTOMERS_AT_ONCE
        )
    except (SubjectState, BadConfig, BadRequest) as error:
        return _refused(error, at, everyone, asked)
    return _page(answer, at, everyone, asked)


def _page(
    answer: Mapping[str, Any], at: Mapping[str, Any], everyone: Sequence[str], asked: float
) -> Batch:
    following = str(answer.get("next_cursor") or "")
    if following:
        after = _cursor({**at, "next": following})
    else:
        after = _after(at["users"][-1], everyone)
    unlicensed = (answer.get("fail_info") or {}).get("unlicensed_userid_list") or []
    problems = [Problem(str(userid), "unlicensed") for userid in unlicensed]
    return Batch(list(answer.get("external_contact_list") or []), after, asked, problems=problems)


def _cursor(at: Mapping[str, Any]) -> str:
    return orjson.dumps(at).decode()


def _after(userid: str, everyone: Sequence[str]) -> str:
    """The cursor of the RMs after this one, empty when he is the last."""
    return _cursor({"after": userid}) if any(each > userid for each in everyone) else ""


def _refused(
    error: PlatformError, at: Mapping[str, Any], everyone: Sequence[str], asked: float
) -> Batch:
    """What to read instead. One RM who left refuses all that are asked for with him: half of them
    are tried, until he is alone and is passed over. A cursor that is too old begins its RMs anew.
    Neither changes anything twice."""
    users: list[str] = at["users"]
    beyond = _after(users[-1], everyone)
    if error.errcode == NOT_FRIENDS:
        return Batch([], beyond, asked)
    if error.errcode in GONE_USER and len(users) > 1:
        return Batch([], _cursor({"users": users[: len(users) // 2]}), asked)
    if error.errcode in GONE_USER:
        return Batch([], beyond, asked, problems=[Problem(users[0], code_of(error))])
    if at["next"] and at["anew"] < ANEW and isinstance(error, BadRequest):
        return Batch([], _cursor({"users": users, "anew": at["anew"] + 1}), asked)
    raise error


def _told(items: Sequence[Mapping[str, Any]]) -> list[Told]:
    """The customers of a page; one may be several RMs'."""
    found: dict[str, Told] = {}
    for item in items:
        contact = item.get("external_contact") or {}
        external_userid = str(contact.get("external_userid") or "")
        unionid, name = str(contact.get("unionid") or ""), str(contact.get("name") or "")
        facts = Facts(external_userid=external_userid, unionid=unionid, name=name)
        if external_userid:
            one = found.setdefault(external_userid, Told(facts))
            one.follow_infos.append(relationships.read_follow_info(item.get("follow_info") or {}))
    return list(found.values())


async def _write(job: Job, batch: Batch) -> Outcome:
    told = _told(batch.items)
    outcome = Outcome(done=len(batch.items), problems=list(batch.problems))
    identities = await _identities(job.bank, told)
    if job.mend:
        outcome.problems += await identify_many(job.bank, told, identities)
    strangers = [
        _difference("missing", one, info)
        for one in told
        if not one.cid
        for info in one.follow_infos
    ]
    await note(job, strangers)
    outcome.new += len(strangers)
    await _bring_relationships(job, [one for one in told if one.cid], batch.asked, outcome)
    return outcome


async def _identities(bank: Bank, told: Sequence[Told]) -> dict[str, IdentityRow]:
    """The identity rows that there are for the page, by `_id`; says of each customer whether he is
    known."""
    wanted = {row_id: one for one in told for row_id in identities_of_facts(bank, one.facts)}
    rows = await identities_by_id(bank, list(wanted))
    for row_id, row in rows.items():
        wanted[row_id].known = True
        wanted[row_id].cid = row["cid"]
    return rows


async def identify_many(
    bank: Bank, told: Sequence[Told], identities: Mapping[str, IdentityRow]
) -> list[Problem]:
    """Gives each customer his `cid`; `identities` are the rows known before. Whom it failed for has
    none, and is returned with the reason. Safe to repeat and to race."""
    fresh, others = [], []
    cids = {row["cid"] for row in identities.values()}
    customers = await customers_by_id(bank, list(cids))
    for one in told:
        his_ids = identities_of_facts(bank, one.facts)
        owners = {identities[row_id]["cid"] for row_id in his_ids if row_id in identities}
        if not owners:
            fresh.append(one)
        elif not _says_nothing_new(bank, one, owners, identities, customers):
            others.append(one)
    others += await _insert(bank, fresh)
    return await _identify_each(bank, others)


def _says_nothing_new(
    bank: Bank,
    one: Told,
    owners: Set[str],
    identities: Mapping[str, IdentityRow],
    customers: Mapping[str, CustomerRow],
) -> bool:
    """Whether all that was told is known of one customer; `owners` are those whom his ids lead
    to."""
    row = customers.get(next(iter(owners)))
    if len(owners) > 1 or row is None or row.get("merged_into"):
        return False
    if any(row_id not in identities for row_id in identities_of_facts(bank, one.facts)):
        return False
    return unknown_facts(open_customer(bank, row), one.facts) == Facts()


async def _identify_each(bank: Bank, told: Sequence[Told]) -> list[Problem]:
    problems = []
    for one in told:
        try:
            one.cid = await resolution.identify(bank, one.facts, source="sync")
        except Unavailable:
            raise
        except YinqiaoError as error:
            one.cid = ""
            problems.append(Problem(one.external_userid, code_of(error)))
    return problems


async def _insert(bank: Bank, told: Sequence[Told]) -> list[Told]:
    """Inserts wholly unknown customers; returns those whom somebody else told of in this moment.
    The ids come first: a kill between the two leaves ids whose customer the next telling makes."""
    whose: list[Told] = []
    identities: list[IdentityRow] = []
    for one in told:
        rows = _new_identities(bank, one.facts)
        one.cid = rows[0]["cid"]
        whose += [one] * len(rows)
        identities += rows
    for position in await insert_identities(bank, identities):
        whose[position].known = True
    fresh = [one for one in told if not one.known]
    customers = [await _new_customer(bank, one) for one in fresh]
    for position in await insert_customers(bank, customers):
        fresh[position].known = True
    awaited.known(bank, [row["_id"] for row in identities])
    return [one for one in told if one.known]


def _new_identities(bank: Bank, facts: Facts) -> list[IdentityRow]:
    """The rows of all the ids of a customer whom nobody knows, the strongest first; they lead to a
    cid that is made of it."""
    his_ids = identities_of_facts(bank, facts)
    lead = next(iter(his_ids))
    cid = ids.tenant_id(bank.id, "customer", lead)
    return [
        identity_row(bank, kind, value, cid, Origin("sync"), "" if row_id == lead else lead)
        for row_id, (kind, value) in his_ids.items()
    ]


async def _new_customer(bank: Bank, one: Told) -> CustomerRow:
    lead = next(iter(identities_of_facts(bank, one.facts)))
    row = new_customer(bank, one.cid, one.facts, Origin("sync"), lead)
    row["tags"] = await tags.names(bank, {tag for info in one.follow_infos for tag in info.tags})
    return row


@dataclass(frozen=True)
class _Pair:
    """A customer of a page and what WeCom says of him and one RM, beside our row of the two, and
    what in it differs."""

    row_id: str
    told: Told
    info: FollowInfo
    row: Relationship | None
    differs: list[str]

    def differences(self) -> list[Difference]:
        kinds = self.differs if self.row else ["missing"]
        return [_difference(kind, self.told, self.info) for kind in kinds]


async def _bring_relationships(
    job: Job, told: Sequence[Told], asked: float, outcome: Outcome
) -> None:
    """Brings the relationships of the page up to what it says."""
    pairs = await _pairs(job.bank, told)
    added = [pair for pair in pairs if pair.row is None]
    changed = [pair for pair in pairs if pair.differs]
    outcome.new += len(added)
    outcome.changed = len(changed)
    await note(job, [one for pair in changed + added for one in pair.differences()])
    if job.mend:
        await _carry_tags(job.bank, changed + added)
        await _write_pairs(job.bank, added, changed, asked)


async def _pairs(bank: Bank, told: Sequence[Told]) -> list[_Pair]:
    said = {
        relationships.relationship_id(bank.id, info.userid, one.cid): (one, info)
        for one in told
        for info in one.follow_infos
    }
    known = await relationships.by_id(bank, list(said))
    pairs = []
    for row_id, (one, info) in said.items():
        row = known.get(row_id)
        differs = relationships.differences(bank, row, info) if row else []
        pairs.append(_Pair(row_id, one, info, row, differs))
    return pairs


async def _carry_tags(bank: Bank, pairs: Sequence[_Pair]) -> None:
    """Customers follow the tags of their relationships; before these are written, so that a kill in
    between loses nothing."""
    for pair in pairs:
        if pair.told.known or pair.row is not None:
            await tags.follow(bank, pair.told.cid, pair.info, pair.row)


async def _write_pairs(bank: Bank, added: list[_Pair], changed: list[_Pair], asked: float) -> None:
    """Writes the relationships by the hundred; one by one those that began or ended otherwise than
    we know, and those that somebody else told of in this moment."""
    fresh = [
        relationships.new_relationship(bank, pair.told.cid, pair.info, asked) for pair in added
    ]
    alone = await relationships.insert_new(bank, fresh)
    alone |= {pair.row_id for pair in changed if "state" in pair.differs}
    for pair in added + changed:
        if pair.row_id in alone:
            await relationships.bring(bank, pair.told.cid, pair.info, asked)
    described = [(pair.row_id, pair.info) for pair in changed if pair.row_id not in alone]
    await relationships.describe(bank, described, asked)


def _difference(kind: str, one: Told, info: FollowInfo) -> Difference:
    return Difference(kind, one.external_userid, info.userid, one.cid)


async def _again(job: Job, external_userid: str) -> None:
    await details.fetch(job.bank, external_userid)


async def _read_list(job: Job, cursor: str) -> Batch:
    """All customers of one RM, by external_userid; the cursor is the RM before him."""
    everyone = await follow_users(job)
    left = [userid for userid in everyone if userid > cursor]
    asked = job.bank.now()
    if not left:
        return Batch([], "", asked, total=0)
    userid = left[0]
    following = userid if len(left) > 1 else ""
    try:
        told = (await job.client.customers.list(userid)).get("external_userid") or []
    except PlatformError as error:
        if error.action != "give_up":
            raise
        # one RM's trouble is not everybody's: nothing of his is ended
        problems = [Problem(userid, code_of(error))]
        return Batch([], following, asked, total=len(everyone), problems=problems)
    return Batch([(userid, list(told))], following, asked, total=len(everyone))


async def _write_list(job: Job, batch: Batch) -> Outcome:
    outcome = Outcome(problems=list(batch.problems))
    for userid, external_userids in batch.items:
        outcome.done += 1
        present = await _present(job.bank, userid)
        listed, missing = await _compared(job.bank, userid, external_userids, present.keys())
        gone = [
            row
            for row_id, row in present.items()
            if row_id not in listed and row["at"] < int(job.started)
        ]
        outcome.gone += len(gone)
        await _end(job, userid, gone)
        outcome.new += len(missing)
        await note(job, [Difference("missing", one, userid) for one in missing])
        outcome.problems += await _bring_one_by_one(job, missing)
    return outcome


async def _present(bank: Bank, userid: str) -> dict[str, Relationship]:
    """The RM's present relationships by `_id`; read in pages, since there may be tens of
    thousands."""
    found: dict[str, Relationship] = {}
    async for page in relationships.pages_of_staff(bank, userid, AT_ONCE):
        found |= {row["_id"]: row for row in page}
    return found


async def _compared(
    bank: Bank, userid: str, external_userids: Sequence[str], present: Set[str]
) -> tuple[set[str], list[str]]:
    """The `_id`s of the relationships that WeCom's list tells of, as far as these are customers
    here, and who of the list is no friend of this RM here."""
    listed: set[str] = set()
    missing: list[str] = []
    for start in range(0, len(external_userids), AT_ONCE):
        some = external_userids[start : start + AT_ONCE]
        cids = await resolution.known_by_external_userid(bank, some)
        row_ids = {
            one: relationships.relationship_id(bank.id, userid, cid) for one, cid in cids.items()
        }
        listed |= {*row_ids.values()}
        settled = await _settled(bank, row_ids.values(), present)
        missing += [one for one in some if row_ids.get(one, "") not in settled]
    return listed, missing


async def _settled(bank: Bank, row_ids: Iterable[str], present: Set[str]) -> set[str]:
    """Of these relationships, those that are present or that an event ended: who deleted the RM may
    stay in the RM's list."""
    absent = [row_id for row_id in row_ids if row_id not in present]
    rows = await relationships.by_id(bank, absent)
    ended = {
        row_id for row_id, row in rows.items() if row.get("ended_by") != relationships.ENDED_BY_SYNC
    }
    return {row_id for row_id in row_ids if row_id in present} | ended


async def _end(job: Job, userid: str, gone: Sequence[Relationship]) -> None:
    """Ends what WeCom no longer knows, and tells it in the customer's story."""
    await note(job, [Difference("gone", row["cid"], userid, row["cid"]) for row in gone])
    if not job.mend:
        return
    key, data = f"{job.number}:{userid}", {"userid": userid}
    for start in range(0, len(gone), AT_ONCE):
        rows = gone[start : start + AT_ONCE]
        await relationships.end_unseen(job.bank, rows, float(int(job.started)))
        stories = [
            timeline.entry(job.bank, row["cid"], "sync.ended", key, data, job.started)
            for row in rows
        ]
        await timeline.record_many(job.bank, stories)


async def _bring_one_by_one(job: Job, external_userids: Sequence[str]) -> list[Problem]:
    """Those whom the pages did not tell of, or who came since. Who is nobody's friend by now is no
    problem; a platform that answers later raises PlatformError, and the next try goes on with
    whoever is missing then."""
    problems = []
    for external_userid in external_userids if job.mend else []:
        try:
            await details.fetch(job.bank, external_userid)
        except PlatformError as error:
            if error.action != "give_up":
                raise
            if error.errcode != NOT_FRIENDS:
                problems.append(Problem(external_userid, code_of(error)))
    return problems


CUSTOMERS_PART = Part("customers", _read, _write, _again, private=True)
FRIENDSHIPS_PART = Part("friendships", _read_list, _write_list, _again, private=True)
