from __future__ import annotations

from typing import Any

import pytest

from customers import consent, timeline
from customers.access import login
from customers.actors import CustomerActor
from customers.identity import resolution
from services import ids
from services.container import Services
from services.errors import InvalidInput, NotFound, NotSignedIn, PlatformRefused, Unavailable
from services.wechat.miniprogram import LoginSession, MiniProgramClient
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.integration.customers.dump import everything
from tests.support.banks import open_bank

PHONE_TEXT = "phone/2026-11"
JSCODE2SESSION = "/sns/jscode2session"


async def _sign_in(services: Services, sandbox: Sandbox, person: dict[str, Any], appid: str = BANK) -> CustomerActor:
    signed_in = await login.login(await open_bank(services, "demo"), appid, await sandbox.open(person, appid))
    return await login.read_session(services, signed_in.token)


async def _counts(services: Services) -> dict[str, int]:
    names = ("customers", "identities", "timeline", "consents")
    rows = {name: await services.store.tenant("demo")[name].count() for name in names}
    return rows | {"sessions": len(await services.redis.keys("yq:session:*"))}


NOTHING = {"customers": 0, "identities": 0, "timeline": 0, "consents": 0, "sessions": 0}


async def test_a_code_becomes_a_session_of_the_person_who_opened_it(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏", phone="13800138000")
    signed_in = await login.login(await open_bank(bank, "demo"), BANK, await sandbox.open(person, BANK))
    actor = await login.read_session(bank, signed_in.token)
    known = await resolution.customer(await open_bank(bank, "demo"), actor.cid)
    assert (actor.tenant, actor.appid, signed_in.expires_in) == ("demo", BANK, bank.sessions.seconds)
    assert (known.unionid, known.openids) == (
        person["unionid"],
        {BANK: (await _seen(sandbox, person))["openids"][BANK]},
    )
    assert signed_in.customer == {"name": "", "phone": "", "bound": False}
    at_bank = await open_bank(bank, "demo")
    at_bank = await open_bank(bank, "demo")
    assert [row["kind"] for row in await timeline.story(at_bank, await resolution.cids(at_bank, actor.cid))] == [
        "customer.login"
    ]


async def _seen(sandbox: Sandbox, person: dict[str, Any]) -> dict[str, Any]:
    return dict(await sandbox.control("GET", f"people/{person['id']}"))


async def test_one_person_is_the_same_customer_in_both_mini_programs(bank: Services, sandbox: Sandbox) -> None:
    person, stranger = await sandbox.person(), await sandbox.person("张三")
    first, second = await _sign_in(bank, sandbox, person, BANK), await _sign_in(bank, sandbox, person, LIFE)
    assert first.cid == second.cid
    assert (first.appid, second.appid) == (BANK, LIFE)
    assert (await _sign_in(bank, sandbox, stranger)).cid != first.cid


async def test_a_code_is_good_once(bank: Services, sandbox: Sandbox) -> None:
    code = await sandbox.open(await sandbox.person(), BANK)
    await login.login(await open_bank(bank, "demo"), BANK, code)
    before = await _counts(bank)
    with pytest.raises(NotSignedIn) as refused:
        await login.login(await open_bank(bank, "demo"), BANK, code)
    assert (refused.value.code, refused.value.status) == ("login_code_invalid", 401)
    assert await _counts(bank) == before


@pytest.mark.parametrize("errcode", [40029, 40163, 41008])
async def test_a_dead_code_is_asked_of_wechat_once_and_the_customer_is_told_to_open_the_page_again(
    bank: Services, sandbox: Sandbox, errcode: int
) -> None:
    code = await sandbox.open(await sandbox.person(), BANK)
    await sandbox.control(
        "POST", "faults", {"target": "api", "kind": "errcode", "errcode": errcode, "path": JSCODE2SESSION}
    )
    with pytest.raises(NotSignedIn) as refused:
        await login.login(await open_bank(bank, "demo"), BANK, code)
    assert refused.value.code == "login_code_invalid"
    assert (await sandbox.control("GET", "calls"))["counts"]["/wechat" + JSCODE2SESSION] == 1


@pytest.mark.parametrize("errcode", [40013, 40125, 40164, 40243, 41002, 41004, 89503, 40002, 40998, 87999])
async def test_what_wechat_refuses_for_good_is_no_outage(bank: Services, sandbox: Sandbox, errcode: int) -> None:
    code = await sandbox.open(await sandbox.person(), BANK)
    await sandbox.control(
        "POST", "faults", {"target": "api", "kind": "errcode", "errcode": errcode, "path": JSCODE2SESSION}
    )
    with pytest.raises(PlatformRefused) as refused:
        await login.login(await open_bank(bank, "demo"), BANK, code)
    assert (refused.value.code, refused.value.status) == ("wechat_refused", 502)
    assert (await sandbox.control("GET", "calls"))["counts"]["/wechat" + JSCODE2SESSION] == 1
    await bank.groups.close()
    rows = await bank.store.tenant("demo")["platform_codes"].find({"unseen": {"$exists": False}})
    assert [row["errcode"] for row in rows] == ([errcode] if errcode in (40998, 87999) else [])


async def test_a_code_of_another_mini_program_or_of_nobody_is_refused(bank: Services, sandbox: Sandbox) -> None:
    for code in (await sandbox.open(await sandbox.person(), LIFE), "0" + "x" * 28):
        with pytest.raises(NotSignedIn) as refused:
            await login.login(await open_bank(bank, "demo"), BANK, code)
        assert refused.value.code == "login_code_invalid"
    assert await _counts(bank) == NOTHING


async def test_an_unknown_mini_program_is_not_found_and_wechat_is_not_asked(bank: Services, sandbox: Sandbox) -> None:
    code = await sandbox.open(await sandbox.person(), BANK)
    with pytest.raises(NotFound) as refused:
        await login.login(await open_bank(bank, "demo"), "wx0000000000000000", code)
    assert refused.value.code == "miniprogram_unknown"
    assert JSCODE2SESSION not in str((await sandbox.control("GET", "calls"))["counts"])
    assert await _counts(bank) == NOTHING


async def test_whom_wechat_blocks_is_refused(bank: Services, sandbox: Sandbox) -> None:
    code = await sandbox.open(await sandbox.person(), BANK)
    await sandbox.control(
        "POST", "faults", {"target": "api", "kind": "errcode", "errcode": 40226, "path": JSCODE2SESSION}
    )
    with pytest.raises(NotSignedIn) as refused:
        await login.login(await open_bank(bank, "demo"), BANK, code)
    assert refused.value.code == "login_refused"
    assert await _counts(bank) == NOTHING


@pytest.mark.parametrize(
    "fault",
    [{"kind": "http", "status": 502}, {"kind": "close"}, {"kind": "errcode", "errcode": 45011}],
    ids=["502", "closed", "too often"],
)
async def test_while_wechat_is_away_people_are_asked_to_try_again(
    bank: Services, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    person = await sandbox.person()
    await sandbox.control("POST", "faults", {"target": "api", "path": JSCODE2SESSION, **fault})
    with pytest.raises(Unavailable) as refused:
        await login.login(await open_bank(bank, "demo"), BANK, await sandbox.open(person, BANK))
    assert (refused.value.code, refused.value.status, refused.value.retry_after) == ("wechat_unavailable", 503, 2)
    assert await _counts(bank) == NOTHING
    await sandbox.control("DELETE", "faults")
    assert (await _sign_in(bank, sandbox, person)).tenant == "demo"


@pytest.mark.parametrize("token", ["", "x", "customer:x"])
async def test_without_a_session_nobody_is_signed_in(bank: Services, token: str) -> None:
    with pytest.raises(NotSignedIn) as refused:
        await login.read_session(bank, token)
    assert refused.value.code == "session_invalid"


async def test_a_staff_session_is_no_customers(bank: Services) -> None:
    token = await bank.sessions.open("staff", {"tenant": "demo", "cid": "demo:1", "appid": BANK, "userid": "rm.chen"})
    with pytest.raises(NotSignedIn):
        await login.read_session(bank, token)


async def test_the_session_key_is_kept_nowhere(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[LoginSession] = []
    ask = MiniProgramClient.code_to_session

    async def overheard(self: MiniProgramClient, code: str) -> LoginSession:
        kept.append(await ask(self, code))
        return kept[-1]

    monkeypatch.setattr(MiniProgramClient, "code_to_session", overheard)
    code = await sandbox.open(await sandbox.person(), BANK)
    signed_in = await login.login(await open_bank(bank, "demo"), BANK, code)
    key = kept[0].session_key
    assert len(key) == 24
    stored = await everything(bank)
    assert len(stored) > 1000
    for said in (stored, repr(signed_in).encode(), repr(kept[0]).encode(), repr(bank.cache).encode()):
        assert key.encode() not in said
        assert code.encode() not in said


async def test_a_phone_is_bound_with_the_consent_that_was_shown(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏", phone="13800138000")
    actor = await _sign_in(bank, sandbox, person)
    profile = await login.bind_phone(
        await open_bank(bank, actor.tenant), actor, await sandbox.phone_code(person, BANK), PHONE_TEXT
    )
    assert (
        profile
        == {"name": "", "phone": "138****8000", "bound": True}
        == await login.profile(await open_bank(bank, actor.tenant), actor)
    )
    assert (await resolution.customer(await open_bank(bank, "demo"), actor.cid)).phone == "+8613800138000"
    (row,) = await bank.store.tenant("demo")["consents"].find({})
    shown = consent.TEXTS["phone", PHONE_TEXT]
    assert (row["cid"], row["channel"]) == (actor.cid, f"mp:{BANK}")
    assert row["text_sha256"] == ids.fingerprint(f"{shown['en']}|{shown['zh']}".encode())
    at_bank = await open_bank(bank, "demo")
    at_bank = await open_bank(bank, "demo")
    kinds = [row["kind"] for row in await timeline.story(at_bank, await resolution.cids(at_bank, actor.cid))]
    assert kinds == ["phone.bound", "customer.login"]


@pytest.mark.parametrize(("version", "code"), [("", "consent_missing"), ("phone/1999-01", "consent_unknown")])
async def test_without_consent_wechat_is_not_asked_and_the_code_stays_good(
    bank: Services, sandbox: Sandbox, version: str, code: str
) -> None:
    person = await sandbox.person("刘敏", phone="13800138000")
    actor = await _sign_in(bank, sandbox, person)
    before, phone_code = await _counts(bank), await sandbox.phone_code(person, BANK)
    with pytest.raises(InvalidInput) as refused:
        await login.bind_phone(await open_bank(bank, actor.tenant), actor, phone_code, version)
    assert refused.value.code == code
    assert await _counts(bank) == before
    assert (await login.profile(await open_bank(bank, actor.tenant), actor))["bound"] is False
    assert (await login.bind_phone(await open_bank(bank, actor.tenant), actor, phone_code, PHONE_TEXT))["bound"] is True


async def test_a_phone_code_that_is_not_good_binds_nothing(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏", phone="13800138000")
    actor = await _sign_in(bank, sandbox, person)
    before = await _counts(bank)
    for code in (await sandbox.phone_code(person, LIFE), await sandbox.open(person, BANK), "p" + "x" * 28):
        with pytest.raises(InvalidInput) as refused:
            await login.bind_phone(await open_bank(bank, actor.tenant), actor, code, PHONE_TEXT)
        assert refused.value.code == "phone_code_invalid"
    assert await _counts(bank) == before
    assert (await login.profile(await open_bank(bank, actor.tenant), actor))["bound"] is False


async def test_a_session_from_before_a_merge_still_finds_its_person(bank: Services, sandbox: Sandbox) -> None:
    elder = await resolution.identify(
        await open_bank(bank, "demo"), resolution.Facts(external_userid="wmE", name="刘敏")
    )
    person = await sandbox.person()
    actor = await _sign_in(bank, sandbox, person)
    assert actor.cid != elder
    facts = resolution.Facts(external_userid="wmE", unionid=person["unionid"])
    assert await resolution.identify(await open_bank(bank, "demo"), facts) == elder
    assert (await login.profile(await open_bank(bank, actor.tenant), actor))["name"] == "刘*"
    assert (await _sign_in(bank, sandbox, person)).cid == elder


@pytest.mark.parametrize(
    ("errcode", "code"),
    [
        (40029, "phone_code_invalid"),
        (40163, "phone_code_invalid"),
        (40013, "wechat_refused"),
        (40998, "wechat_refused"),
    ],
)
async def test_a_phone_code_that_wechat_refuses_is_no_outage(
    bank: Services, sandbox: Sandbox, errcode: int, code: str
) -> None:
    actor = await _sign_in(bank, sandbox, await sandbox.person())
    path = "/wxa/business/getuserphonenumber"
    await sandbox.control("POST", "faults", {"target": "api", "kind": "errcode", "errcode": errcode, "path": path})
    with pytest.raises((InvalidInput, PlatformRefused)) as refused:
        await login.bind_phone(await open_bank(bank, "demo"), actor, "p1", PHONE_TEXT)
    assert refused.value.code == code
    assert (await sandbox.control("GET", "calls"))["counts"]["/wechat" + path] == 1
