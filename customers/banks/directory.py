"""The banks and their people: tenants, mini-programs, branches, staff, clerks; applied from one
YAML file."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import yaml
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services import ids
from services.cache import cached, invalidate
from services.clock import utc
from services.container import Services
from services.errors import InvalidInput, NotFound, NotSignedIn
from services.store.mongo import Doc, TenantStore
from services.wechat.core.archive import ArchiveSource, private_key
from services.wechat.miniprogram import MiniProgramClient
from services.wechat.wecom import WeComClient

CACHE_SECONDS = 2.0
GONE_STATUS = frozenset({2, 5})
"""A member's `status` at WeCom: disabled, or left the corp."""
FROM_WECOM = "wecom"
"""The `source` of staff who are in no file: members of a department that belongs to a branch."""
PERMISSIONS: dict[str, frozenset[str]] = {
    "operations": frozenset(
        {
            "campaigns.read",
            "campaigns.submit",
            "campaigns.approve",
            "campaigns.pause",
            "audit.read",
            "events.read",
            "handover.read",
            "handover.submit",
            "handover.approve",
            "alarms.read",
            "alarms.handle",
            "customers.read",
            "customers.unmerge",
            "sync.read",
            "sync.run",
            "archive.see",
            "intercepts.read",
            "intercepts.submit",
            "intercepts.approve",
        }
    ),
    "viewer": frozenset({"campaigns.read"}),
    "auditor": frozenset(
        {
            "campaigns.read",
            "audit.read",
            "events.read",
            "customers.read",
            "alarms.read",
            "handover.read",
            "sync.read",
            "archive.see",
            "archive.read",
            "intercepts.read",
        }
    ),
}
"""What a role may do. Maker and checker may both be `operations`: they must be two people, which
the server checks."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeCom(_Strict):
    """A bank's self-built WeCom app that may call the customer-contact API (wechat-contract B)."""

    corp_id: str = Field(min_length=1)
    agent_id: int
    secret: str = Field(min_length=1, repr=False)
    token: str = Field(pattern=r"^[A-Za-z0-9]{1,32}$", repr=False)
    aes_key: str = Field(pattern=r"^[A-Za-z0-9]{43}$", repr=False)


class MiniProgram(_Strict):
    appid: str = Field(min_length=1)
    name: str
    secret: str = Field(min_length=1, repr=False)
    token: str = Field("", repr=False)
    aes_key: str = Field("", repr=False)
    long_term_templates: list[str] = []
    """Subscribe templates that are allowed until the customer turns them off; all others are for
    one message (A4)."""


class Branch(_Strict):
    """`head` is the userid of whoever is told of lost customers and of leavers."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,18}$")
    name: str
    head: str | None = Field(None, min_length=1, max_length=64)
    departments: list[int] = []
    """WeCom's departments whose members, and those of the departments below, become staff of the
    branch by themselves."""


class Archive(_Strict):
    """The message archive, if the bank has bought it: its app's secret, the gateway's address, and
    the private key of every version of the public key that WeCom ever had. Without `retention_days`
    messages are kept for good."""

    agent_id: int = 2000004
    secret: str = Field(min_length=1, repr=False)
    url: str = Field(pattern=r"^https?://[^\s]+$")
    private_keys: dict[int, str] = Field({}, repr=False)
    retention_days: int | None = Field(None, ge=1)

    @field_validator("private_keys")
    @classmethod
    def _readable(cls, keys: dict[int, str]) -> dict[int, str]:
        for pem in keys.values():
            private_key(pem)
        return keys


class StaffMember(_Strict):
    userid: str = Field(min_length=1, max_length=64)
    name: str
    branch: str


class ClerkEntry(_Strict):
    login: str = Field(pattern=r"^[a-z0-9._-]{1,32}$")
    name: str
    roles: list[Literal["operations", "viewer", "auditor"]]
    password: str | None = Field(None, min_length=8, repr=False)


class TenantFile(_Strict):
    """The document that `manage.py tenant apply` reads."""

    kind: Literal["tenant/v1"]
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    name: dict[Literal["zh", "en"], str]
    wecom: WeCom
    miniprograms: list[MiniProgram] = Field(min_length=1)
    branches: list[Branch] = Field(min_length=1)
    staff: list[StaffMember] = Field(min_length=1)
    clerks: list[ClerkEntry] = []
    archive: Archive | None = None


@dataclass(frozen=True)
class Tenant:
    """A bank as the product uses it, secrets opened."""

    id: str
    name: dict[str, str]
    wecom: WeCom
    miniprograms: dict[str, MiniProgram]
    branches: dict[str, str]
    heads: dict[str, str] = field(default_factory=dict)
    departments: dict[int, str] = field(default_factory=dict)
    archive: Archive | None = None


@dataclass(frozen=True)
class Staff:
    userid: str
    name: str
    branch: str


@dataclass(frozen=True)
class Clerk:
    login: str
    name: str
    permissions: frozenset[str]


def read_tenant_file(text: str, source: str) -> TenantFile:
    """The tenant in `text`, or InvalidInput that names `source`, the place and what was
    expected."""
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise InvalidInput(
            "tenant_file", f"{source}{place}: not YAML: {getattr(error, 'problem', error)}"
        ) from error
    try:
        file = TenantFile.model_validate(raw)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
            for e in error.errors(include_input=False)
        ]
        raise InvalidInput("tenant_file", f"{source}: " + "; ".join(problems)) from None
    branches = {branch.id for branch in file.branches}
    strangers = sorted({member.branch for member in file.staff} - branches)
    if strangers:
        expected = f"expected one of {sorted(branches)}"
        raise InvalidInput(
            "tenant_file", f"{source}: staff: unknown branch {', '.join(strangers)}; {expected}"
        )

    return file


async def apply_tenant(services: Services, text: str, source: str) -> list[str]:
    """Creates or updates a bank; returns what was done, as sentences. Who is not in the file any
    more may not sign in any more, and neither may who is in it but has left WeCom. Safe to run
    again."""
    file = read_tenant_file(text, source)
    taken = await services.store.system("tenants").find_one(
        {
            "_id": {"$ne": file.id},
            "appids": {"$in": [program.appid for program in file.miniprograms]},
        }
    )
    if taken is not None:
        raise InvalidInput(
            "tenant_file", f"{source}: a mini-program of this file belongs to tenant {taken['_id']}"
        )
    secrets = {
        "wecom": file.wecom.model_dump(),
        "miniprograms": [program.model_dump() for program in file.miniprograms],
        "archive": file.archive and file.archive.model_dump(mode="json"),
    }
    fields = {
        "name": dict(file.name),
        "corp_id": file.wecom.corp_id,
        "appids": [program.appid for program in file.miniprograms],
        "branches": {branch.id: branch.name for branch in file.branches},
        "heads": {branch.id: branch.head for branch in file.branches if branch.head},
        "departments": {
            str(one): branch.id for branch in file.branches for one in branch.departments
        },
        "secrets": services.vault.seal_json(file.id, "tenants", "secrets", file.id, secrets),
        "applied_at": utc(services.clock()),
    }
    await services.store.system("tenants").update({"_id": file.id}, {"$set": fields}, upsert=True)
    db = services.store.tenant(file.id)
    out = [member.userid for member in file.staff if not await _apply_member(db, member)]
    for clerk in file.clerks:
        await _apply_clerk(services, file.id, clerk)
    gone = {
        "userid": {"$nin": [member.userid for member in file.staff]},
        "source": {"$ne": FROM_WECOM},
    }
    await db["staff"].update_many(gone, {"$set": {"active": False}})
    closed = {"$set": {"roles": [], "password": ""}}
    await db["clerks"].update_many(
        {"login": {"$nin": [clerk.login for clerk in file.clerks]}}, closed
    )
    invalidate(services, "tenants")
    invalidate(services, f"staff:{file.id}")
    digest = ids.fingerprint(text.encode())
    await services.audit.record(db, "cli", "tenant.applied", file.id, sha256=digest)
    counts = f"{len(file.miniprograms)} mini-programs, {len(file.branches)} branches, {len(file.staff)} RMs"
    said = [
        f"tenant {file.id} ({file.name.get('zh', file.id)}): {counts}, {len(file.clerks)} clerks"
    ]
    return said + [f"{userid} stays out: WeCom says that this member has left" for userid in out]


async def _apply_member(db: TenantStore, member: StaffMember) -> bool:
    """Makes a member of the file staff; False for one who left by WeCom's word
    (customers/handover/departures.py) and is not back by it."""
    row_id = f"{db.tenant}:{member.userid}"
    told = {"userid": member.userid, "name": member.name, "branch": member.branch, "source": "file"}
    await db["staff"].update(
        {"_id": row_id}, {"$set": told, "$setOnInsert": {"active": True}}, upsert=True
    )
    if await db["staff"].update(
        {"_id": row_id, "$or": [{"active": True}, {"left_at": None}]}, {"$set": {"active": True}}
    ):
        return True
    left = await db["staff"].find_one({"_id": row_id}, {"left_at": 1})
    there = await db["members"].find_one({"_id": row_id})
    if left is None or there is None or not there["active"] or there["status"] in GONE_STATUS:
        return False
    back = max(there["at"], there["told"])
    if back < left["left_at"].timestamp():
        return False
    again = {"$set": {"active": True, "changed_at": back}, "$unset": {"left_at": "", "leaving": ""}}
    return await db["staff"].update({"_id": row_id, "left_at": left["left_at"]}, again)


async def _apply_clerk(services: Services, tenant: str, clerk: ClerkEntry) -> None:
    row: Doc = {"login": clerk.login, "name": clerk.name, "roles": list(clerk.roles)}
    clerks = services.store.tenant(tenant)["clerks"]
    await clerks.update({"_id": f"{tenant}:{clerk.login}"}, {"$set": row}, upsert=True)
    if clerk.password is not None:
        known = await clerks.find_one({"_id": f"{tenant}:{clerk.login}"})
        if (
            known is None
            or not known.get("password")
            or not await _verify(known["password"], clerk.password)
        ):
            await set_password(services, tenant, clerk.login, clerk.password)


async def set_password(services: Services, tenant: str, login: str, password: str) -> None:
    """Stores the argon2id hash of a clerk's new password; raises NotFound for an unknown clerk."""
    hashed = await asyncio.to_thread(PasswordHasher().hash, password)
    db = services.store.tenant(tenant)
    if not await db["clerks"].update({"_id": f"{tenant}:{login}"}, {"$set": {"password": hashed}}):
        raise NotFound("clerk_unknown", f"{tenant} has no clerk {login}")
    await services.audit.record(db, "cli", "clerk.password_set", login)


async def _verify(hashed: str, password: str) -> bool:
    try:
        return await asyncio.to_thread(PasswordHasher().verify, hashed, password)
    except VerificationError:
        return False


async def check_clerk(services: Services, tenant_id: str, login: str, password: str) -> Clerk:
    """The clerk, or NotSignedIn without saying which part was wrong; TooMany after 10 tries in 15
    minutes."""
    await services.sessions.count_attempt(f"clerk|{tenant_id}|{login}", limit=10, seconds=900)
    row = await services.store.tenant(tenant_id or "-")["clerks"].find_one(
        {"_id": f"{tenant_id}:{login}"}
    )
    hashed = row["password"] if row and row.get("password") else _NOBODY
    if not await _verify(hashed, password) or row is None:
        raise NotSignedIn("login_refused", "bank, name or password is wrong")
    granted: frozenset[str] = frozenset().union(*(PERMISSIONS[role] for role in row["roles"]))
    return Clerk(row["login"], row["name"], granted)


_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$SmvqjP8tXXgjKgAMEjh9PGzLZzIB0l3JYqWj0wMkVwM"
"""Verified for names that do not exist, so that an answer's time tells nothing."""


async def list_tenants(services: Services) -> list[Tenant]:
    """Every bank; kept in the process for CACHE_SECONDS."""

    async def load() -> list[Tenant]:
        rows = await services.store.system("tenants").find({}, sort=[("_id", 1)], limit=None)
        return [_tenant(services, row) for row in rows]

    return await cached(services, "tenants", CACHE_SECONDS, load)


def _tenant(services: Services, row: Doc) -> Tenant:
    opened = cast(
        "dict[str, Any]",
        services.vault.open_json(row["_id"], "tenants", "secrets", row["_id"], row["secrets"]),
    )
    programs = [MiniProgram(**program) for program in opened["miniprograms"]]
    by_appid = {program.appid: program for program in programs}
    departments = {int(one): branch for one, branch in row.get("departments", {}).items()}
    heads = row.get("heads", {})
    wecom, archive = WeCom(**opened["wecom"]), opened.get("archive")
    bought = Archive(**archive) if archive else None
    return Tenant(
        row["_id"], row["name"], wecom, by_appid, row["branches"], heads, departments, bought
    )


async def get_tenant(services: Services, tenant_id: str) -> Tenant:
    """Raises NotFound."""
    for tenant in await list_tenants(services):
        if tenant.id == tenant_id:
            return tenant
    raise NotFound("tenant_unknown", "no such bank")


async def tenant_of_appid(services: Services, appid: str) -> Tenant:
    """The bank whose mini-program this is; raises NotFound."""
    for tenant in await list_tenants(services):
        if appid in tenant.miniprograms:
            return tenant
    raise NotFound("miniprogram_unknown", "no such mini-program")


def wecom_client(services: Services, tenant: Tenant) -> WeComClient:
    """The bank's WeCom client."""
    app = tenant.wecom
    return services.platform.wecom(tenant.id, app.corp_id, app.agent_id, app.secret)


def archive_source(services: Services, tenant: Tenant, archive: Archive) -> ArchiveSource:
    """Where the bank's archived messages come from."""
    return services.platform.archive(archive.url, tenant.wecom.corp_id, archive.secret)


def archive_client(services: Services, tenant: Tenant, archive: Archive) -> WeComClient:
    """WeCom's client of the archive's own app, for msgaudit/*."""
    return services.platform.wecom(
        tenant.id, tenant.wecom.corp_id, archive.agent_id, archive.secret
    )


def miniprogram_client(services: Services, tenant: Tenant, appid: str) -> MiniProgramClient:
    """The client of one of the bank's mini-programs."""
    return services.platform.miniprogram(tenant.id, appid, tenant.miniprograms[appid].secret)


async def staff_member(services: Services, tenant_id: str, userid: str) -> Staff:
    """The active staff member, as of CACHE_SECONDS ago at most; raises NotFound."""

    async def load() -> dict[str, Staff]:
        rows = await services.store.tenant(tenant_id)["staff"].find({"active": True}, limit=None)
        return {row["userid"]: Staff(row["userid"], row["name"], row["branch"]) for row in rows}

    staff = (await cached(services, f"staff:{tenant_id}", CACHE_SECONDS, load)).get(userid)
    if staff is None:
        raise NotFound("staff_unknown", "not a member of this bank's staff")
    return staff


async def staff_of_branches(services: Services, tenant_id: str) -> dict[str, list[str]]:
    """The userids of each branch, in order."""
    rows = await services.store.tenant(tenant_id)["staff"].find(
        {"active": True}, sort=[("userid", 1)], limit=None
    )
    branches: dict[str, list[str]] = {}
    for row in rows:
        branches.setdefault(row["branch"], []).append(row["userid"])
    return branches
