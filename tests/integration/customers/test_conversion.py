"""A mini-program's customer who is no friend yet: WeCom is asked once who he is (contract/wechat B3 95926)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.access import login
from customers.identity import conversion, resolution
from customers.wecom_mirror import details
from services.container import Services
from services.store.mongo import Doc
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import StillClock

PATH = "/cgi-bin/idconvert/unionid_to_external_userid"


@pytest.fixture
async def granted(bank: Services, sandbox: Sandbox) -> None:
    """The bank's app is one of the few that may ask."""
    await sandbox.control("POST", "switches", {"unionid_conversion": True})


async def _sign_in(services: Services, sandbox: Sandbox, person: dict[str, Any], appid: str = BANK) -> str:
    signed_in = await login.login(await open_bank(services, "demo"), appid, await sandbox.open(person, appid))
    return (await login.read_session(services, signed_in.token)).cid


async def _asked(sandbox: Sandbox) -> int:
    return sum(call["path"] == PATH for call in (await sandbox.control("GET", "calls"))["calls"])


async def _ids(services: Services) -> dict[str, Doc]:
    return {row["kind"]: row for row in await services.store.tenant("demo")["identities"].find({})}


@pytest.mark.usefixtures("granted")
async def test_a_stranger_is_asked_about_once_and_his_pending_id_kept(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    cid = await _sign_in(bank, sandbox, person)
    await asyncio.gather(_sign_in(bank, sandbox, person), _sign_in(bank, sandbox, person, LIFE))
    await jobs.send_effects(await open_bank(bank, "demo"))
    assert await _asked(sandbox) == 1
    ids = await _ids(bank)
    assert set(ids) == {"unionid", f"openid.{BANK}", f"openid.{LIFE}", "pending"}
    assert (ids["pending"]["cid"], ids["pending"]["source"]) == (cid, "convert")
    (effect,) = await bank.store.tenant("demo")["outbox"].find({"kind": "convert"})
    assert (effect["state"], ids["pending"]["proof"]) == ("done", effect["_id"])


@pytest.mark.usefixtures("granted")
async def test_a_friend_whom_we_had_not_known_to_be_him_is_one_with_him(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    external = (await sandbox.control("GET", f"people/{person['id']}"))["external_userid"]
    friend = await resolution.identify(
        await open_bank(bank, "demo"), resolution.Facts(external_userid=external, name="刘敏")
    )
    visitor = await _sign_in(bank, sandbox, person)
    assert visitor != friend
    await jobs.send_effects(await open_bank(bank, "demo"))
    one = await resolution.customer(await open_bank(bank, "demo"), visitor)
    assert (one.cid, one.external_userid, one.cids) == (friend, external, [friend, visitor])
    (merge,) = await bank.store.tenant("demo")["merges"].find({})
    assert (merge["merge_origin"]["source"], merge["state"]) == ("convert", "done")


async def test_who_is_a_friend_is_not_asked_about(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    known = resolution.Facts(external_userid="wmKnown", unionid=person["unionid"])
    await resolution.identify(await open_bank(bank, "demo"), known)
    await _sign_in(bank, sandbox, person)
    assert await bank.store.tenant("demo")["outbox"].count({"kind": "convert"}) == 0


@pytest.mark.usefixtures("granted")
async def test_after_the_pending_ids_ninety_days_he_is_asked_about_again(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    person = await sandbox.person("刘敏")
    cid = await _sign_in(bank, sandbox, person)
    await jobs.send_effects(await open_bank(bank, "demo"))
    clock.now += conversion.PENDING_SECONDS + 60
    for _ in range(2):
        assert await _sign_in(bank, sandbox, person) == cid
        await jobs.send_effects(await open_bank(bank, "demo"))
    assert await _asked(sandbox) == 2


async def test_wecoms_refusal_is_kept_and_not_repeated(bank: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "faults", {"target": "api", "path": PATH, "kind": "errcode", "errcode": 610014})
    person = await sandbox.person("刘敏")
    for _ in range(2):
        await _sign_in(bank, sandbox, person)
        await jobs.send_effects(await open_bank(bank, "demo"))
    (effect,) = await bank.store.tenant("demo")["outbox"].find({"kind": "convert"})
    assert (effect["state"], effect["reason"]) == ("failed", "platform_subject_state:610014")


async def test_a_bank_whose_app_may_not_ask_goes_without_for_a_week(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    for name in ("刘敏", "周强"):
        await _sign_in(bank, sandbox, await sandbox.person(name))
        await jobs.send_effects(await open_bank(bank, "demo"))
    (effect,) = await bank.store.tenant("demo")["outbox"].find({"kind": "convert"})
    assert (effect["state"], effect["reason"], effect["attempts"]) == ("done", "not_granted", 1)
    assert await _asked(sandbox) == 1
    stories = [row["kind"] for row in await bank.store.tenant("demo")["timeline"].find({}, limit=None)]
    assert set(stories) == {"customer.login"}
    await sandbox.control("POST", "switches", {"unionid_conversion": True})
    clock.now += conversion.REFUSED_SECONDS + 60
    await _sign_in(bank, sandbox, await sandbox.person("吴芳"))
    await jobs.send_effects(await open_bank(bank, "demo"))
    assert await _asked(sandbox) == 2


async def test_without_the_call_a_friend_is_known_by_the_unionid_that_wecom_tells(
    bank: Services, sandbox: Sandbox
) -> None:
    person = await sandbox.person("刘敏")
    visitor = await _sign_in(bank, sandbox, person)
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    external = (await sandbox.control("GET", f"people/{person['id']}"))["external_userid"]
    found = await details.fetch(await open_bank(bank, "demo"), external)
    one = await resolution.customer(await open_bank(bank, "demo"), visitor)
    assert (one.cid, one.external_userid) == (found.cid, external)
