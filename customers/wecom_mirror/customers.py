"""Customers by the hundred (contract/wechat B3 92994, 92113): who is wholly unknown is inserted,
who is unchanged costs a read, and whoever is neither goes through `identity.identify` one by
one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import orjson

from customers import relationships, timeline
from customers.banks.bank import Bank, open_bank
from customers.identity import resolution
from customers.identity import rows as person
from customers.identity.collections import CUSTOMERS, IDENTITIES
from customers.identity.rows import Facts, Origin
from customers.relationships import RELATIONSHIPS, Relation
from customers.timeline import TIMELINE
from customers.wecom_mirror import details, tags
from customers.wecom_mirror.sync import (
    Batch,
    Difference,
    Job,
    Outcome,
    Part,
    Problem,
    by_id,
    code_of,
    follow_users,
    note,
)
from services import ids
from services.errors import Unavailable, YinqiaoError
from services.store.mongo import Doc
from services.wechat.core.errors import BadRequest, PlatformError, SubjectState

USERS_AT_ONCE = 100
CUSTOMERS_AT_ONCE = 100
AT_ONCE = 500
ANEW = 3
"""So often the RMs of a page are begun anew when WeCom refuses the cursor."""
NOT_FRIENDS = 84061
GONE_USER = frozenset({60111, 84074})
"""A userid that WeCom does not know any more, or that may have no customers."""


@dataclass
class Told:
    """A customer of a page: who he is, and his friendships with the page's RMs."""

    facts: Facts
    relations: list[Relation] = field(default_factory=list)
    cid: str = ""
    known: bool = False
    """He was a customer before this page, or somebody else told of him while it was written."""


def _row_ids(bank: Bank, facts: Facts) -> dict[str, tuple[str, str]]:
    """The rows of `identities` that the facts' ids have: `_id` → kind and value, strongest
    first."""
    return {person.row_id(bank, kind, value): (kind, value) for kind, value in facts.ids().items()}


async def _read(job: Job, cursor: str) -> Batch:
    """A page of the customers of at most 100 RMs. The cursor carries these RMs, so that it means
    the same after a kill."""
    at: dict[str, Any] = {"after": "", "users": [], "next": "", "anew": 0} | (
        orjson.loads(cursor) if cursor else {}
    )
    users: list[str] = at["users"]
    everyone = await follow_users(job)
    if not users:
        users = [userid for userid in everyone if userid > at["after"]][:USERS_AT_ONCE]
    if not users:
        return Batch([], "", job.bank.now(), total=0)
    asked = job.bank.now()
    try:
        answer = await job.client.batch_get_by_user(
            users, cursor=at["next"], limit=CUSTOMERS_AT_ONCE
        )
    except (SubjectState, BadRequest) as error:
        return _refused(error, at, users, everyone, asked)
    following = str(answer.get("next_cursor") or "")
    after = (
        _cursor({**at, "users": users, "next": following})
        if following
        else _after(users[-1], everyone)
    )
    unlicensed = (answer.get("fail_info") or {}).get("unlicensed_userid_list") or []
    problems = [Problem(str(userid), "unlicensed") for userid in unlicensed]
    return Batch(list(answer.get("external_contact_list") or []), after, asked, problems=problems)


def _cursor(at: Mapping[str, Any]) -> str:
    return orjson.dumps(at).decode()


def _after(userid: str, everyone: Sequence[str]) -> str:
    """The cursor of the RMs after this one, empty when he is the last."""
    return _cursor({"after": userid}) if any(each > userid for each in everyone) else ""


def _refused(
    error: PlatformError,
    at: Mapping[str, Any],
    users: Sequence[str],
    everyone: Sequence[str],
    asked: float,
) -> Batch:
    """What to read instead. One RM who left refuses all that are asked for with him: half of them
    are tried, until he is alone and is passed over. A cursor that is too old begins its RMs anew.
    Neither changes anything twice."""
    if error.errcode == NOT_FRIENDS:
        return Batch([], _after(users[-1], everyone), asked)
    if error.errcode in GONE_USER and len(users) > 1:
        return Batch([], _cursor({"users": users[: len(users) // 2]}), asked)
    if error.errcode in GONE_USER:
        return Batch(
            [], _after(users[-1], everyone), asked, problems=[Problem(users[0], code_of(error))]
        )
    if at["next"] and at["anew"] < ANEW and isinstance(error, BadRequest):
        return Batch([], _cursor({"users": users, "anew": at["anew"] + 1}), asked)
    raise error


def _people(items: Sequence[Mapping[str, Any]]) -> dict[str, Told]:
    """The page by external_userid; one customer may be several RMs'."""
    people: dict[str, Told] = {}
    for item in items:
        contact = item.get("external_contact") or {}
        external_userid = str(contact.get("external_userid") or "")
        unionid, name = str(contact.get("unionid") or ""), str(contact.get("name") or "")
        facts = Facts(external_userid=external_userid, unionid=unionid, name=name)
        if external_userid:
            one = people.setdefault(external_userid, Told(facts))
            one.relations.append(relationships.read_relation(item.get("follow_info") or {}))
    return people


async def _write(job: Job, batch: Batch) -> Outcome:
    people = _people(batch.items)
    outcome = Outcome(done=len(batch.items), problems=list(batch.problems))
    rows = await _identities(job, list(people.values()))
    if job.mend:
        outcome.problems += await identify_many(job.bank, list(people.values()), rows)
    strangers = [
        _difference("missing", one, each)
        for one in people.values()
        if not one.cid
        for each in one.relations
    ]
    await note(job, strangers)
    await _bring_follows(job, [one for one in people.values() if one.cid], batch.asked, outcome)
    outcome.new += len(strangers)
    return outcome


async def _identities(job: Job, people: Sequence[Told]) -> dict[str, Doc]:
    """The identity rows that there are for the page, by `_id`; says of each person whether he is
    known."""
    wanted = {row_id: one for one in people for row_id in _row_ids(job.bank, one.facts)}
    rows = await by_id(job.bank.services, IDENTITIES, list(wanted))
    for row_id, row in rows.items():
        wanted[row_id].known = True
        wanted[row_id].cid = row["cid"]
    return rows


async def identify_many(
    bank: Bank, people: Sequence[Told], rows: Mapping[str, Doc]
) -> list[Problem]:
    """Gives each person his `cid`; `rows` are the identity rows known before. Whom it failed for
    has none, and is returned with the reason. Safe to repeat and to race."""
    fresh, others = [], []
    customers = await by_id(bank.services, CUSTOMERS, list({row["cid"] for row in rows.values()}))
    for one in people:
        wanted = _row_ids(bank, one.facts)
        owners = {rows[row_id]["cid"] for row_id in wanted if row_id in rows}
        if not owners:
            fresh.append(one)
        elif len(owners) > 1 or not _says_nothing_new(bank, customers.get(owners.pop()), one, rows):
            others.append(one)
    others += await _insert(bank, fresh)
    problems = []
    for one in others:
        try:
            one.cid = await resolution.identify(bank, one.facts, source="sync")
        except Unavailable:
            raise
        except YinqiaoError as error:
            one.cid = ""
            problems.append(Problem(one.facts.external_userid, code_of(error)))
    return problems


def _says_nothing_new(bank: Bank, row: Doc | None, one: Told, rows: Mapping[str, Doc]) -> bool:
    if row is None or row.get("merged_into"):
        return False
    if any(row_id not in rows for row_id in _row_ids(bank, one.facts)):
        return False
    return person.news(person.opened(bank, row), one.facts) == Facts()


async def _insert(bank: Bank, people: Sequence[Told]) -> list[Told]:
    """Inserts wholly unknown people; returns those whom somebody else told of in this moment. The
    ids come first: a kill between the two leaves ids whose customer the next telling makes."""
    db, origin = bank.db, Origin("sync")
    docs: list[tuple[Told, Doc]] = []
    for one in people:
        lead, *_ = row_ids = list(_row_ids(bank, one.facts))
        one.cid = ids.tenant_id(bank.id, "customer", lead)
        for row_id, (kind, value) in zip(row_ids, one.facts.ids().items(), strict=True):
            by = "" if row_id == lead else lead
            docs.append((one, person.id_row(bank, kind, value, one.cid, origin, by)))
    for position in await db[IDENTITIES].insert_new([row for _, row in docs]):
        docs[position][0].known = True
    fresh, customers = [one for one in people if not one.known], []
    for one in fresh:
        held = await tags.names(bank, {tag for relation in one.relations for tag in relation.tags})
        lead = next(iter(_row_ids(bank, one.facts)))
        row = person.fresh(bank, one.cid, one.facts, origin, lead)
        customers.append({**row, "tags": held})
    for position in await db[CUSTOMERS].insert_new(customers):
        fresh[position].known = True
    return [one for one in people if one.known]


async def _bring_follows(job: Job, people: Sequence[Told], asked: float, outcome: Outcome) -> None:
    """Brings the friendships of the page up to what it says."""
    services, tenant = job.bank.services, job.bank.id
    told = {
        relationships.follow_id(tenant, relation.userid, one.cid): (one, relation)
        for one in people
        for relation in one.relations
    }
    there = await by_id(services, RELATIONSHIPS, list(told))
    news = {
        row_id: relationships.news(await open_bank(services, tenant), row, told[row_id][1])
        for row_id, row in there.items()
    }
    changed = [row_id for row_id, kinds in news.items() if kinds]
    added = [row_id for row_id in told if row_id not in there]
    outcome.new, outcome.changed = len(added), len(changed)
    await note(
        job, [_difference(kind, *told[row_id]) for row_id in changed for kind in news[row_id]]
    )
    await note(job, [_difference("missing", *told[row_id]) for row_id in added])
    if not job.mend:
        return
    await _carry_tags(job, [(*told[row_id], there.get(row_id)) for row_id in changed + added])
    fresh = [
        relationships.new_row(
            await open_bank(services, tenant), told[row_id][0].cid, told[row_id][1], asked
        )
        for row_id in added
    ]
    refused = {fresh[at]["_id"] for at in await job.db[RELATIONSHIPS].insert_new(fresh)}
    alone = refused | {row_id for row_id in changed if "state" in news[row_id]}
    for row_id in alone:
        await relationships.bring(
            await open_bank(services, tenant), told[row_id][0].cid, told[row_id][1], asked
        )
    await relationships.describe(
        await open_bank(services, tenant),
        [(one, told[one][1]) for one in changed if one not in alone],
        asked,
    )


async def _carry_tags(job: Job, friendships: Sequence[tuple[Told, Relation, Doc | None]]) -> None:
    """Customers follow the tags of their friendships; before these are written, so that a kill in
    between loses nothing."""
    for one, relation, there in friendships:
        had = sorted((there or {}).get("tags") or [])
        if had != list(relation.tags) and (one.known or there is not None):
            await tags.carry(
                job.bank,
                one.cid,
                relation.userid,
                had,
                relation.tags,
            )


def _difference(kind: str, one: Told, relation: Relation) -> Difference:
    return Difference(kind, one.facts.external_userid, relation.userid, one.cid)


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
    try:
        told = (await job.client.externalcontact_list(userid)).get("external_userid") or []
    except PlatformError as error:
        if (
            error.action == "give_up"
        ):  # one RM's trouble is not everybody's: nothing of his is ended
            problem = Problem(userid, code_of(error))
            return Batch(
                [], userid if len(left) > 1 else "", asked, total=len(everyone), problems=[problem]
            )
        raise
    return Batch(
        [(userid, list(told))], userid if len(left) > 1 else "", asked, total=len(everyone)
    )


async def _write_list(job: Job, batch: Batch) -> Outcome:
    outcome = Outcome(problems=list(batch.problems))
    for userid, external_userids in batch.items:
        outcome.done += 1
        present = await _present(job, userid)
        told, missing = await _compared(
            job, userid, external_userids, {row["_id"] for row in present}
        )
        gone = [row for row in present if row["_id"] not in told and row["at"] < int(job.started)]
        outcome.gone += len(gone)
        await _end(job, userid, gone)
        outcome.new += len(missing)
        await note(job, [Difference("missing", one, userid) for one in missing])
        outcome.problems += await _bring_one_by_one(job, missing)
    return outcome


async def _present(job: Job, userid: str) -> list[Doc]:
    """The RM's present friendships; in pages, since there may be tens of thousands."""
    query, fields = {"userid": userid, "active": True}, {"cid": 1, "at": 1}
    found: list[Doc] = []
    while True:
        after = {"cid": {"$gt": found[-1]["cid"]}} if found else {}
        rows = await job.db[RELATIONSHIPS].find(
            {**query, **after}, fields=fields, sort=[("cid", 1)], limit=AT_ONCE
        )
        found += rows
        if len(rows) < AT_ONCE:
            return found


async def _compared(
    job: Job, userid: str, external_userids: Sequence[str], present: Set[str]
) -> tuple[set[str], list[str]]:
    """The `_id`s of the friendships that the list tells of, as far as these are customers here, and
    who of the list is no friend of this RM here. An end that an event told is believed: who deleted
    the RM may stay in the RM's list."""
    services, tenant = job.bank.services, job.bank.id
    told: set[str] = set()
    missing: list[str] = []
    for start in range(0, len(external_userids), AT_ONCE):
        some = external_userids[start : start + AT_ONCE]
        by_row = {
            person.row_id(await open_bank(services, tenant), "external_userid", one): one
            for one in some
        }
        known = await by_id(services, IDENTITIES, list(by_row), {"cid": 1})
        pairs = {
            by_row[each]: relationships.follow_id(tenant, userid, row["cid"])
            for each, row in known.items()
        }
        told |= set(pairs.values())
        there = await by_id(
            services,
            RELATIONSHIPS,
            [one for one in pairs.values() if one not in present],
            {"ended_by": 1},
        )
        for one in some:
            row_id = pairs.get(one, "")
            row = there.get(row_id)
            if row_id not in present and (
                row is None or row.get("ended_by") == relationships.ENDED_BY_SYNC
            ):
                missing.append(one)
    return told, missing


async def _end(job: Job, userid: str, gone: Sequence[Doc]) -> None:
    """Ends what WeCom no longer knows, and tells it in the customer's story."""
    await note(job, [Difference("gone", row["cid"], userid, row["cid"]) for row in gone])
    if not job.mend:
        return
    services, tenant, at = job.bank.services, job.bank.id, float(int(job.started))
    key, data = f"{job.number}:{userid}", {"userid": userid}
    for start in range(0, len(gone), AT_ONCE):
        rows = gone[start : start + AT_ONCE]
        await relationships.end_unseen(await open_bank(services, tenant), rows, at)
        stories = [
            timeline.entry(
                await open_bank(services, tenant), row["cid"], "sync.ended", key, data, job.started
            )
            for row in rows
        ]
        await job.db[TIMELINE].insert_new(stories)


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
