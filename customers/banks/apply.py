"""Applying a tenant file: a bank is created or brought up to it, and who is not in it may not sign
in any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from config import gate
from config.settings import ProductionRefused
from customers.access import counter_rights, roles
from customers.banks import accounts, clerks, staff, systems
from customers.banks.bank import Bank, list_banks, open_bank
from customers.banks.declarations import FieldEntry
from customers.banks.files import (
    Archive,
    ClerkEntry,
    CounterEntry,
    MiniProgram,
    TenantFile,
    WeCom,
    read_tenant_file,
)
from customers.banks.rows import TENANTS, TenantRow
from customers.banks.staff import Staff
from customers.fields import rows as field_rows
from customers.handover import departures
from customers.rfm import asking
from customers.segments import declared
from customers.webhooks import keeping as webhooks
from customers.wecom_mirror import members
from services import ids
from services.cache import invalidate
from services.clock import utc
from services.container import Services
from services.errors import InvalidInput, Unavailable, YinqiaoError
from services.wechat.core.errors import PlatformError

ROLL_CALL_SECONDS = 20.0
"""How long WeCom may take to say who the members of a file are."""
log = logging.getLogger(__name__)


async def apply_tenant(services: Services, text: str, source: str, by: str = "cli") -> list[str]:
    """Creates or updates a bank; returns what was done, as sentences. Who is not in the file any
    more may not sign in any more, and neither may who is in it but has left WeCom. Safe to run
    again."""
    file = read_tenant_file(text, source)
    await _check(services, file, source)
    digest = ids.fingerprint(text.encode())
    async with Bank(services, file.id).audited(by, "tenant.applied", file.id, sha256=digest):
        bank = await _put(services, file)
        spelling, faults = await _roll_call(bank, file)
        left = await _apply_staff(bank, file, spelling)
        waiting = await _apply_rights(bank, file, by)
    stays_out = "stays out: WeCom says that this member has left"
    return [_summary(file), *(f"{userid} {stays_out}" for userid in left), *faults, *waiting]


async def _check(services: Services, file: TenantFile, source: str) -> None:
    """Before anything is written: raises InvalidInput for what cannot be applied."""
    _check_secrets(services, file, source)
    await _check_appids(services, file, source)
    await _check_fields(services, file, source)
    await _check_segments(services, file, source)
    await roles.check(Bank(services, file.id), file.clerks)


async def _put(services: Services, file: TenantFile) -> Bank:
    """The bank as the file says it is from now on, without the values of fields that are removed."""
    row = _row(services, file)
    fields = {name: value for name, value in row.items() if name != "_id"}
    await services.store.system(TENANTS).update({"_id": file.id}, {"$set": fields}, upsert=True)
    invalidate(services, "tenants")
    bank = await open_bank(services, file.id)
    for key in bank.removed_fields:
        await field_rows.drop(bank, key)
    for app in bank.secrets:  # those of the file are tried, even if they were refused before
        await services.platform.tokens.retry_secret(bank.id, app)
    return bank


async def _apply_rights(bank: Bank, file: TenantFile, by: str) -> list[str]:
    """Clerks, counters, webhooks and systems as the file says; what waits for another clerk's word,
    as sentences."""
    production = bank.services.settings.env == "production"
    decided_by_two = production and await clerks.everybody(bank) != []
    waiting = await roles.apply(bank, file.clerks, by)
    waiting += await counter_rights.apply(bank, file, by, waits=decided_by_two)
    waiting += await webhooks.apply(bank)
    await asking.declare(bank)
    await systems.apply(bank, file.systems, by)
    return waiting


def _check_secrets(services: Services, file: TenantFile, source: str) -> None:
    """Before anything is written: raises InvalidInput with all that a password, and in
    production a secret, must not be."""
    problems = []
    bank = Bank(services, file.id, name=cast("dict[str, str]", file.name))
    people: list[tuple[str, ClerkEntry | CounterEntry]] = [
        *((f"clerks.{place}", entry) for place, entry in enumerate(file.clerks)),
        *((f"counters.{place}", entry) for place, entry in enumerate(file.counters)),
    ]
    for place, entry in people:
        try:
            if entry.password is not None:
                accounts.check_password(bank, entry.login, entry.name, entry.password)
        except InvalidInput as error:
            problems.append(f"{place}.password: {error.message}")
    if services.settings.env == "production":
        problems += _of_production(file)
    if problems:
        raise InvalidInput("tenant_file", f"{source}: " + "; ".join(problems))


def _of_production(file: TenantFile) -> list[str]:
    """What of a file's secrets everybody knows, and what it sends in clear, as sentences."""
    return [
        *_published(file.wecom, file.miniprograms, file.archive),
        *(
            f"partners.{place}.secret: published with the demonstration bank"
            for place, partner in enumerate(file.partners)
            if partner.secret is not None and gate.is_published(partner.secret)
        ),
        *(
            f"webhooks.{place}.url: expected an https address"
            for place, hook in enumerate(file.webhooks)
            if not hook.url.startswith("https://")
        ),
        *(
            f"systems.{place}.secret: published with the demonstration bank"
            for place, system in enumerate(file.systems)
            if system.secret is not None and gate.is_published(system.secret)
        ),
    ]


async def _check_fields(services: Services, file: TenantFile, source: str) -> None:
    """A field with values goes, or changes its type, only when the file says that it is removed, and
    one that was removed stays so until its values are gone; raises InvalidInput."""
    bank = await Bank(services, file.id).current()
    wanted = {one.key: one for one in file.fields}
    problems = []
    for key in (*bank.fields, *sorted(bank.removed_fields)):
        now = wanted.get(key)
        if now is not None and (now.removed or _goes_on(bank.fields.get(key), now)):
            continue
        if await field_rows.is_used(bank, key):
            what = "of another type" if key in bank.fields else "declared anew"
            problems.append(
                f"fields: {key} has values and is {what if now else 'gone'}; declare it with"
                " `removed: true` first, which deletes them"
            )
    if problems:
        raise InvalidInput("tenant_file", f"{source}: " + "; ".join(problems))


def _goes_on(known: FieldEntry | None, now: FieldEntry) -> bool:
    """Whether values of the field that is known can be the ones of this."""
    return known is not None and (now.type, now.sealed) == (known.type, known.sealed)


async def _check_segments(services: Services, file: TenantFile, source: str) -> None:
    """What rules of live segments ask for stays; raises InvalidInput with each segment and what to do
    about its rule."""
    bank = await Bank(services, file.id).current()
    wanted = replace(
        bank,
        branches={branch.id: branch.name for branch in file.branches},
        fields={one.key: one for one in file.fields if not one.removed},
        removed_fields=frozenset(one.key for one in file.fields if one.removed),
        events={one.name: one for one in file.events},
        rfm=file.rfm,
    )
    broken = await declared.broken_by(bank, wanted)
    if broken:
        problems = [f"segment {key} is live: its rule, {error}" for key, error in broken.items()]
        what = "what rules ask for is gone; change these segments or archive them first"
        raise InvalidInput("tenant_file", f"{source}: {what}: " + "; ".join(problems))


def _published(
    wecom: WeCom, miniprograms: Iterable[MiniProgram], archive: Archive | None
) -> list[str]:
    """What of a bank's secrets everybody knows, and what it sends over http, as sentences."""
    apps: list[tuple[str, WeCom | MiniProgram]] = [("wecom", wecom)]
    apps += [(f"miniprograms.{place}", app) for place, app in enumerate(miniprograms)]
    problems = [
        f"{where}.{name}: published with the demonstration bank"
        for where, app in apps
        for name in ("secret", "token", "aes_key")
        if gate.is_published(getattr(app, name))
    ]
    if archive is not None and not archive.url.startswith("https://"):
        problems.append("archive.url: expected an https address")
    return problems


async def check_banks(services: Services) -> None:
    """Raises ProductionRefused when production would serve a bank with secrets that everybody
    knows."""
    if services.settings.env != "production":
        return
    problems = [
        f"bank {bank.id}: {problem}"
        for bank in await list_banks(services)
        for problem in _published(bank.wecom_app, bank.miniprograms.values(), bank.archive)
    ]
    if problems:
        raise ProductionRefused(problems)


async def _roll_call(bank: Bank, file: TenantFile) -> tuple[Mapping[str, str], list[str]]:
    """What WeCom says of the members of the file: the spelling of each userid there, which the
    heads of branches have from now on, and sentences on whoever is unknown or may have no
    customers."""
    heads = [branch.head for branch in file.branches if branch.head]
    asked = list(dict.fromkeys([*(one.userid for one in file.staff), *heads]))
    try:
        async with asyncio.timeout(ROLL_CALL_SECONDS):
            called = await members.roll_call(bank, asked)
    except (PlatformError, Unavailable, TimeoutError) as error:
        why = error.message if isinstance(error, YinqiaoError) else "it takes too long"
        return {}, [f"the members were not checked with WeCom: {why}"]
    told = {one.id: called.spelling[one.head] for one in file.branches if one.head}
    await bank.services.store.system(TENANTS).update({"_id": bank.id}, {"$set": {"heads": told}})
    invalidate(bank.services, "tenants")
    branches = {one.userid: f" of {one.branch}" for one in file.staff}
    return called.spelling, [
        f"{userid}{branches.get(userid, '')}: {fault}" for userid, fault in called.faults.items()
    ]


async def _check_appids(services: Services, file: TenantFile, source: str) -> None:
    """A mini-program belongs to one bank; raises InvalidInput."""
    others = {"_id": {"$ne": file.id}, "appids": {"$in": [one.appid for one in file.miniprograms]}}
    taken = await services.store.system(TENANTS).find_one(others)
    if taken is not None:
        raise InvalidInput(
            "tenant_file", f"{source}: a mini-program of this file belongs to tenant {taken['_id']}"
        )


def _row(services: Services, file: TenantFile) -> TenantRow:
    secrets = {
        "wecom": file.wecom.model_dump(),
        "miniprograms": [program.model_dump() for program in file.miniprograms],
        "archive": file.archive and file.archive.model_dump(mode="json"),
        "webhooks": [hook.model_dump() for hook in file.webhooks],
    }
    branches = file.branches
    return {
        "_id": file.id,
        "name": cast("dict[str, str]", dict(file.name)),
        "corp_id": file.wecom.corp_id,
        "appids": [program.appid for program in file.miniprograms],
        "branches": {branch.id: branch.name for branch in branches},
        "heads": {branch.id: branch.head for branch in branches if branch.head},
        "departments": {str(one): branch.id for branch in branches for one in branch.departments},
        "merchants": {merchant.id: merchant.name for merchant in file.merchants},
        "region": file.region,
        "fields": [one.model_dump() for one in file.fields],
        "events": [one.model_dump() for one in file.events],
        "systems": [one.model_dump(exclude={"secret"}) for one in file.systems],
        "rfm": None if file.rfm is None else file.rfm.model_dump(),
        "secrets": services.vault.seal_json(file.id, TENANTS, "secrets", file.id, secrets),
        "applied_at": utc(services.clock()),
    }


async def _apply_staff(bank: Bank, file: TenantFile, spelling: Mapping[str, str]) -> list[str]:
    """Makes the file's RMs staff and ends all others of a file; the userids of those who left by
    WeCom's word and stay out."""
    left = []
    for one in file.staff:
        userid = spelling.get(one.userid, one.userid)
        if not await _apply_member(bank, Staff(userid, one.name, one.branch)):
            left.append(one.userid)
    for userid in await staff.end_all_but(bank, [one.userid for one in file.staff]):
        await _end_sessions(bank, userid)
    return left


async def _end_sessions(bank: Bank, userid: str) -> None:
    """Takes out of Redis what his row has ended already."""
    try:
        await bank.services.sessions.end_all("staff", departures.subject(bank.id, userid))
    except Unavailable:
        log.warning("sessions of an RM end by his row alone: Redis does not answer")


async def _apply_member(bank: Bank, one: Staff) -> bool:
    """Makes a member of the file staff; False for one who left by WeCom's word and is not back by
    it."""
    if await staff.take_from_file(bank, one):
        return True
    row = await staff.find(bank, one.userid)
    back_at = await members.present_at(bank, one.userid)
    if row is None or back_at is None or back_at < row["left_at"].timestamp():
        return False
    return await staff.take_back(bank, one.userid, row["left_at"], back_at)


def _summary(file: TenantFile) -> str:
    has = (
        f"{len(file.miniprograms)} mini-programs, {len(file.branches)} branches, "
        f"{len(file.staff)} RMs, {len(file.clerks)} clerks, {len(file.counters)} counters, "
        f"{len(file.partners)} partners, {len(file.fields)} fields, {len(file.events)} events, "
        f"{len(file.systems)} systems, {len(file.webhooks)} webhooks"
    )
    return f"tenant {file.id} ({file.name.get('zh', file.id)}): {has}"
