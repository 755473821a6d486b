"""Applying a tenant file: a bank is created or brought up to it, and who is not in it may not sign in any more."""

from __future__ import annotations

from customers.banks.bank import Bank, open_bank
from customers.banks.clerks import _verify, set_password
from customers.banks.files import ClerkEntry, StaffMember, read_tenant_file
from customers.banks.rows import CLERKS, STAFF, TENANTS
from customers.banks.staff import FROM_WECOM, GONE_STATUS
from customers.wecom_mirror.rows import MEMBERS
from services import ids
from services.cache import invalidate
from services.clock import utc
from services.container import Services
from services.errors import InvalidInput
from services.store.mongo import Doc, TenantStore


async def apply_tenant(services: Services, text: str, source: str) -> list[str]:
    """Creates or updates a bank; returns what was done, as sentences. Who is not in the file any
    more may not sign in any more, and neither may who is in it but has left WeCom. Safe to run
    again."""
    file = read_tenant_file(text, source)
    taken = await services.store.system(TENANTS).find_one(
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
        "secrets": services.vault.seal_json(file.id, TENANTS, "secrets", file.id, secrets),
        "applied_at": utc(services.clock()),
    }
    await services.store.system(TENANTS).update({"_id": file.id}, {"$set": fields}, upsert=True)
    invalidate(services, "tenants")
    db = services.store.tenant(file.id)
    out = [member.userid for member in file.staff if not await _apply_member(db, member)]
    for clerk in file.clerks:
        await _apply_clerk(await open_bank(services, file.id), clerk)
    gone = {
        "userid": {"$nin": [member.userid for member in file.staff]},
        "source": {"$ne": FROM_WECOM},
    }
    await db[STAFF].update_many(gone, {"$set": {"active": False}})
    closed = {"$set": {"roles": [], "password": ""}}
    await db[CLERKS].update_many(
        {"login": {"$nin": [clerk.login for clerk in file.clerks]}}, closed
    )
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
    await db[STAFF].update(
        {"_id": row_id}, {"$set": told, "$setOnInsert": {"active": True}}, upsert=True
    )
    if await db[STAFF].update(
        {"_id": row_id, "$or": [{"active": True}, {"left_at": None}]}, {"$set": {"active": True}}
    ):
        return True
    left = await db[STAFF].find_one({"_id": row_id}, {"left_at": 1})
    there = await db[MEMBERS].find_one({"_id": row_id})
    if left is None or there is None or not there["active"] or there["status"] in GONE_STATUS:
        return False
    back = max(there["at"], there["told"])
    if back < left["left_at"].timestamp():
        return False
    again = {"$set": {"active": True, "changed_at": back}, "$unset": {"left_at": "", "leaving": ""}}
    return await db[STAFF].update({"_id": row_id, "left_at": left["left_at"]}, again)


async def _apply_clerk(bank: Bank, clerk: ClerkEntry) -> None:
    row: Doc = {"login": clerk.login, "name": clerk.name, "roles": list(clerk.roles)}
    clerks = bank.db[CLERKS]
    await clerks.update({"_id": f"{bank.id}:{clerk.login}"}, {"$set": row}, upsert=True)
    if clerk.password is not None:
        known = await clerks.find_one({"_id": f"{bank.id}:{clerk.login}"})
        if (
            known is None
            or not known.get("password")
            or not await _verify(known["password"], clerk.password)
        ):
            await set_password(bank, clerk.login, clerk.password)
