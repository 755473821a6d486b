from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from customers.access import clerk as clerk_access
from customers.banks import apply, clerks, staff
from customers.banks import bank as banks_bank
from customers.banks.clerks import PERMISSIONS
from customers.handover import departures
from services.cache import ProcessCache
from services.clock import utc
from services.container import Services
from services.errors import InvalidInput, NotFound, NotSignedIn, TooMany
from services.security import sessions
from services.security.vault import CannotOpen
from tests.conftest import DEMO_BANK, Sandbox
from tests.integration.customers.conftest import BANK, other_bank
from tests.integration.customers.dump import of_store
from tests.support.banks import open_bank
from tests.support.clock import StillClock

DEMO = DEMO_BANK.read_text(encoding="utf-8")
PASSWORD = "yinqiao-demo"


def _without(text: str, *words: str) -> str:
    return "\n".join(line for line in text.splitlines() if not any(word in line for word in words)) + "\n"


NO_CLERKS = _without(DEMO, "clerks:", "counters:", "login:")
"""Hashing a password takes a while; tests that need no clerk do without."""


async def _apply(services: Services, text: str = DEMO) -> list[str]:
    said = await apply.apply_tenant(services, text, "bank.yaml")
    services.cache.clear()
    return said


async def test_a_bank_is_as_its_file_says(services: Services, sandbox: Sandbox) -> None:
    assert await _apply(services) == [
        "tenant demo (银桥示范银行): 2 mini-programs, 3 branches, 6 RMs, 3 clerks, 2 counters, 1 partners, "
        "12 fields, 7 events, 1 systems, 0 webhooks"
    ]
    bank = await banks_bank.open_bank(services, "demo")
    assert (bank.wecom_app.corp_id, bank.wecom_app.token, sorted(bank.miniprograms)) == (
        "ww0c0ffee000000001", "FakeCallbackTokenSandbox", [BANK, "wx5ab0000000000002"],
    )  # fmt: skip
    assert bank.branches["sz-nanshan"] == "深圳南山支行"
    assert await banks_bank.bank_of_appid(services, BANK) == bank
    assert await staff.staff_of_branches(await open_bank(services, "demo")) == {
        "sz-nanshan": ["rm.chen", "rm.li"], "gz-tianhe": ["rm.liu", "rm.sun"], "sz-futian": ["rm.wang", "rm.zhao"],
    }  # fmt: skip
    assert (await staff.staff_member(await open_bank(services, "demo"), "rm.chen")).branch == "sz-nanshan"
    for ask in (
        banks_bank.open_bank(services, "other"),
        banks_bank.bank_of_appid(services, "wx0"),
        staff.staff_member(await open_bank(services, "demo"), "rm.nobody"),
    ):
        with pytest.raises(NotFound):
            await ask


async def test_a_file_applied_twice_changes_nothing_but_the_trail(services: Services) -> None:
    await _apply(services)
    names = ("staff", "clerks")
    db = services.store.tenant("demo")
    before = {name: await db[name].find({}, sort=[("_id", 1)]) for name in names}
    bank = await banks_bank.open_bank(services, "demo")
    await _apply(services)
    assert {name: await db[name].find({}, sort=[("_id", 1)]) for name in names} == before
    assert await banks_bank.open_bank(services, "demo") == bank
    actions = [row["action"] for row in await db["audit"].find({}, sort=[("seq", 1)])]
    assert actions.count("tenant.applied") == 2
    assert actions.count("clerk.password_set") == 3
    assert await services.audit.verify(db) == []


async def test_a_changed_file_changes_the_bank_and_keeps_other_passwords(services: Services) -> None:
    await _apply(services)
    text = DEMO.replace("陈思远, branch: sz-nanshan", "陈远, branch: gz-tianhe").replace(
        "name: 林晓, roles: [operations], password: yinqiao-demo",
        "name: 林晓, roles: [viewer], password: another-one-of-his",
    )
    await _apply(services, text)
    assert await staff.staff_member(await open_bank(services, "demo"), "rm.chen") == staff.Staff(
        "rm.chen", "陈远", "gz-tianhe"
    )
    assert (await clerk_access.check_clerk(services, "demo", "lin", PASSWORD)).permissions == PERMISSIONS["viewer"]
    with pytest.raises(NotSignedIn):
        await clerk_access.check_clerk(services, "demo", "lin", "another-one-of-his")
    assert (await clerk_access.check_clerk(services, "demo", "zhao", PASSWORD)).login == "zhao"


async def test_who_is_no_longer_in_the_file_may_no_longer_enter(services: Services) -> None:
    await _apply(services)
    await _apply(services, _without(DEMO, "userid: rm.chen", "login: lin"))
    with pytest.raises(NotFound):
        await staff.staff_member(await open_bank(services, "demo"), "rm.chen")
    assert (await staff.staff_of_branches(await open_bank(services, "demo")))["sz-nanshan"] == ["rm.li"]
    with pytest.raises(NotSignedIn):
        await clerk_access.check_clerk(services, "demo", "lin", PASSWORD)
    assert (await clerk_access.check_clerk(services, "demo", "zhao", PASSWORD)).login == "zhao"
    await _apply(services)
    assert (await staff.staff_member(await open_bank(services, "demo"), "rm.chen")).name == "陈思远"
    assert (await clerk_access.check_clerk(services, "demo", "lin", PASSWORD)).name == "林晓"


async def test_a_leaver_whom_the_file_still_lists_stays_out_until_wecom_reports_him_back(services: Services) -> None:
    await _apply(services)
    db, at = services.store.tenant("demo"), services.clock()
    await departures.left(await open_bank(services, "demo"), "rm.chen", at)
    said = await _apply(services)
    assert said[1:] == ["rm.chen stays out: WeCom says that this member has left"]
    with pytest.raises(NotFound):
        await staff.staff_member(await open_bank(services, "demo"), "rm.chen")
    later = utc(at + 10.0)
    member = {"_id": "demo:rm.chen", "userid": "rm.chen", "active": True, "status": 1, "at": 0.0}
    for told in (
        {"fetched_at": utc(at - 10.0)},
        {"fetched_at": later, "status": 5},
        {"fetched_at": later, "active": False},
    ):
        await db["members"].delete({})
        await db["members"].insert({**member, **told})
        assert len(await _apply(services)) == 2
    await db["members"].delete({})
    await db["members"].insert({**member, "fetched_at": later})
    assert len(await _apply(services)) == 1
    assert (await staff.staff_member(await open_bank(services, "demo"), "rm.chen")).name == "陈思远"
    await departures.left(await open_bank(services, "demo"), "rm.chen", at)  # told again, late: he has been back since
    services.cache.clear()
    assert (await staff.staff_member(await open_bank(services, "demo"), "rm.chen")).name == "陈思远"


TOKEN = "token: FakeCallbackTokenSandbox"


def _at(part: str) -> str:
    """The demo's file with the line of `part` in it."""
    return f"bank.yaml:{DEMO[: DEMO.index(part)].count(chr(10)) + 1}: "


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (DEMO.replace("rm.li, name: 李嘉宁, branch: sz-nanshan", "rm.li, name: 李嘉宁, branch: sz-moon"),
         _at("userid: rm.li") + "unknown branch sz-moon; expected one of ['gz-tianhe', 'sz-futian', 'sz-nanshan']"),
        (DEMO.replace("id: demo", "id: Demo Bank", 1), "bank.yaml:3: id: String should match pattern"),
        (DEMO.replace("tenant/v1", "tenant/v9"), "bank.yaml:2: kind: Input should be 'tenant/v1'"),
        (DEMO.replace("agent_id: 1000002", "agent_id: many"), "bank.yaml:7: wecom.agent_id: Input should be a valid integer"),
        (_without(DEMO, "aes_key: FakeEncodingAesKey"), "bank.yaml:5: wecom.aes_key: missing"),
        (DEMO.replace("roles: [auditor]", "roles: [root]"), _at("login: audit") + "clerks.2.roles.0: Input should be"),
        (DEMO + "budget: 1\n", f"bank.yaml:{DEMO.count(chr(10)) + 1}: budget: unknown key; expected one of kind, id"),
        (DEMO.replace(PASSWORD, "short"), _at("login: lin") + "clerks.0.password: String should have at least 8"),
        (DEMO.replace(PASSWORD, "'12345678'"), "bank.yaml: clerks.0.password: a password has at least 12 characters"),
        (DEMO.replace(PASSWORD, "lin-2026-lin-demo"), "clerks.0.password: this password is one of the first that are"),
        ("kind: tenant/v1\nid: [", "bank.yaml:2: not YAML"),
        ("", "bank.yaml:1: document: expected keys and values, such as key: value; found nothing"),
        ("- a\n- b\n", "bank.yaml:1: document: expected keys and values, such as key: value; found a list"),
        (DEMO + "opened: 2026-13-45\n", "bank.yaml"),
        ("[" * 5000, "bank.yaml"),
        (DEMO.replace(TOKEN, "token: 0100200"), "bank.yaml:9: a secret that could be read in two ways"),
        (DEMO.replace(TOKEN, "token: fake-wecom-app-secret?"), "bank.yaml:9: wecom.token: String should match"),
        (DEMO.replace("userid: rm.chen", "userid: 100123", 1),
         _at("userid: rm.chen") + "staff.0.userid: Input should be a valid string; found the number 100123; write \"100123\""),
        (DEMO.replace("departments: [2]", "departments: [0x2]"),
         _at("departments: [2]") + "0x2 could be a number to another base (2) or a text; write 2, or \"0x2\" in quotes"),
    ],
)  # fmt: skip
async def test_a_wrong_file_is_refused_with_the_place_and_what_was_expected(
    services: Services, text: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await _apply(services, text)
    assert refused.value.code == "tenant_file"
    assert refused.value.message.startswith(says) or says in refused.value.message
    assert not any(secret in str(refused.value) for secret in ("fake-wecom-app-secret", "short", PASSWORD))
    assert await services.store.system("tenants").count() == 0
    for name in ("staff", "clerks", "audit"):
        assert await services.store.tenant("demo")[name].count() == 0


async def test_the_first_bank_is_there_for_who_asked_a_moment_ago_when_there_was_none(
    services: Services, second: Services
) -> None:
    assert await banks_bank.list_banks(second) == []
    await _apply(services, NO_CLERKS)
    assert (await banks_bank.open_bank(second, "demo")).id == "demo"


async def test_another_banks_mini_program_is_refused_and_nothing_is_changed(services: Services) -> None:
    await _apply(services, NO_CLERKS)
    before = of_store(services)
    with pytest.raises(InvalidInput) as refused:
        await _apply(services, NO_CLERKS.replace("id: demo", "id: thief", 1))
    assert "a mini-program of this file belongs to tenant demo" in refused.value.message
    assert of_store(services) == before
    assert (await banks_bank.bank_of_appid(services, BANK)).id == "demo"
    await _apply(services, _without(other_bank(), "clerks:", "counters:", "login:"))
    assert [bank.id for bank in await banks_bank.list_banks(services)] == ["demo", "other"]


async def test_a_banks_secrets_are_stored_sealed_and_passwords_hashed(services: Services) -> None:
    await _apply(services)
    stored = b"".join(of_store(services).values())
    assert b"ww0c0ffee000000001" in stored
    file = yaml.safe_load(DEMO)
    secrets = [one[name] for one in (file["wecom"], *file["miniprograms"]) for name in ("secret", "token", "aes_key")]
    assert len(secrets) == 9
    for secret in [*secrets, PASSWORD]:
        assert secret.encode() not in stored
    for row in await services.store.tenant("demo")["clerks"].find({}):
        assert extract_parameters(row["password"]).type.name == "ID"
    bank = await banks_bank.open_bank(services, "demo")
    assert not any(secret in repr(bank) for secret in secrets)
    (row,) = await services.store.system("tenants").find({})
    with pytest.raises(CannotOpen):
        services.vault.open_json("other", "tenants", "secrets", "other", row["secrets"])


async def test_a_clerk_gets_what_his_roles_grant_and_nothing_more(services: Services) -> None:
    await _apply(services)
    lin = await clerk_access.check_clerk(services, "demo", "lin", PASSWORD)
    assert (lin.login, lin.name, lin.permissions) == ("lin", "林晓", PERMISSIONS["operations"])
    audit = await clerk_access.check_clerk(services, "demo", "audit", PASSWORD)
    assert audit.permissions == PERMISSIONS["auditor"]
    assert {permission.rpartition(".")[2] for permission in audit.permissions} <= {"read", "see", "download"}


async def test_a_refusal_does_not_say_what_was_wrong(services: Services) -> None:
    await _apply(services)
    await _apply(services, _without(other_bank(), "login: lin", "login: audit"))
    for tenant, login, password in (
        ("demo", "lin", "wrong-password"),
        ("demo", "lin", ""),
        ("demo", "nobody", PASSWORD),
        ("other", "lin", PASSWORD),
        ("nobank", "lin", PASSWORD),
        ("", "lin", PASSWORD),
    ):
        with pytest.raises(NotSignedIn) as refused:
            await clerk_access.check_clerk(services, tenant, login, password)
        assert (refused.value.code, refused.value.message) == ("login_refused", "bank, name or password is wrong")


async def test_a_name_that_does_not_exist_takes_the_same_work_as_one_that_does(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in hashes verified and what they cost, not in seconds."""
    await _apply(services)
    await services.store.tenant("demo")["clerks"].update({"login": "zhao"}, {"$unset": {"password": 1}})
    verified: list[str] = []
    verify: Callable[[Any, str, str], bool] = PasswordHasher.verify

    def counted(self: PasswordHasher, hashed: str, password: str) -> bool:
        verified.append(hashed)
        with pytest.raises(VerifyMismatchError) as mismatch:
            verify(self, hashed, password)
        raise mismatch.value

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for login in ("lin", "nobody", "zhao"):
        with pytest.raises(NotSignedIn):
            await clerk_access.check_clerk(services, "demo", login, "wrong-password")
    assert len(verified) == 3
    real, *dummies = [extract_parameters(hashed) for hashed in verified]
    assert [replace(dummy, salt_len=real.salt_len) for dummy in dummies] == [real, real]


async def test_too_many_tries_lock_that_name_for_a_while_even_for_the_right_password(services: Services) -> None:
    await _apply(services)
    for _ in range(10):
        with pytest.raises(NotSignedIn):
            await clerk_access.check_clerk(services, "demo", "lin", "wrong-password")
    for password in ("wrong-password", PASSWORD):
        with pytest.raises(TooMany) as refused:
            await clerk_access.check_clerk(services, "demo", "lin", password)
        assert refused.value.retry_after == 900
    assert (await clerk_access.check_clerk(services, "demo", "zhao", PASSWORD)).login == "zhao"
    await services.redis.flushdb()
    assert (await clerk_access.check_clerk(services, "demo", "lin", PASSWORD)).login == "lin"


async def test_a_new_password_counts_at_once_and_leaves_a_trace(services: Services) -> None:
    await _apply(services)
    await clerks.set_password(await open_bank(services, "demo"), "lin", "a-new-password")
    assert (await clerk_access.check_clerk(services, "demo", "lin", "a-new-password")).login == "lin"
    with pytest.raises(NotSignedIn):
        await clerk_access.check_clerk(services, "demo", "lin", PASSWORD)
    told = {"action": "clerk.password_set"}
    rows = await services.store.tenant("demo")["audit"].find(told, sort=[("seq", -1)], limit=1)
    assert [(row["object"], row["data"]) for row in rows] == [("lin", {})]
    with pytest.raises(NotFound):
        await clerks.set_password(await open_bank(services, "demo"), "nobody", "a-new-password")


async def test_a_change_is_seen_by_another_process_within_two_seconds(services: Services, clock: StillClock) -> None:
    await _apply(services, NO_CLERKS)
    assert [bank.id for bank in await banks_bank.list_banks(services)] == ["demo"]
    elsewhere = replace(services, cache=ProcessCache(services.clock))
    await apply.apply_tenant(elsewhere, _without(other_bank(), "clerks:", "counters:", "login:"), "other.yaml")
    clock.now += banks_bank.CACHE_SECONDS
    assert [bank.id for bank in await banks_bank.list_banks(services)] == ["demo", "other"]
    assert max(banks_bank.CACHE_SECONDS, sessions.LOCAL_SECONDS) <= 2.0


async def test_the_same_file_applied_by_two_at_once_is_one_bank(services: Services) -> None:
    await asyncio.gather(_apply(services), _apply(services))
    assert [bank.id for bank in await banks_bank.list_banks(services)] == ["demo"]
    assert await services.store.tenant("demo")["staff"].count() == 6
    assert await services.store.tenant("demo")["clerks"].count() == 3
    assert await services.audit.verify(services.store.tenant("demo")) == []


async def test_a_field_with_values_goes_only_when_the_file_says_so(services: Services) -> None:
    await _apply(services)
    rows = services.store.tenant("demo")["field_values"]
    told = {"at": 1.0, "source": "core", "proof": "p"}
    row = {
        "_id": "demo:1",
        "rev": 1,
        "values": {"payroll": True},
        "sealed": {},
        "blind": {},
        "provenance": {"payroll": told},
    }
    await rows.insert(row)
    gone, other = _without(DEMO, "key: payroll"), DEMO.replace("Payroll customer}, type: bool", "Payroll}, type: text")
    for text in (gone, other):
        with pytest.raises(InvalidInput, match="fields: payroll has values"):
            await _apply(services, text)
    bank = await open_bank(services, "demo")
    assert (bank.fields["payroll"].type, bank.removed_fields) == ("bool", frozenset())
    await _apply(services, DEMO.replace("type: bool, class: C1", "type: bool, class: C1, removed: true"))
    bank = await open_bank(services, "demo")
    assert ("payroll" in bank.fields, bank.removed_fields) == (False, frozenset({"payroll"}))
    assert await rows.find_one({"_id": "demo:1"}) == {
        "_id": "demo:1", "tenant": "demo", "rev": 2, "values": {}, "sealed": {}, "blind": {}, "provenance": {},
    }  # fmt: skip
    await _apply(services, other)
    assert (await open_bank(services, "demo")).fields["payroll"].type == "text"
