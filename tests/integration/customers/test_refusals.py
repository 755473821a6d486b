"""What WeChat and WeCom refuse because of how the bank is set up is told to a person (contract/wechat D2)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.alerts import refusals
from services.container import Services
from services.store.mongo import Doc
from services.wechat.core import errors
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import StillClock

FOLLOWERS = "/cgi-bin/externalcontact/get_follow_user_list"
RISK = "/wxa/getuserriskrank"


async def _refuse(sandbox: Sandbox, path: str, errcode: int) -> None:
    fault = {"target": "api", "kind": "errcode", "errcode": errcode, "path": path}
    await sandbox.control("POST", "faults", fault)


async def _told(services: Services) -> list[Doc]:
    while services.groups._background:
        await asyncio.gather(*services.groups._background)
    await jobs.run(await open_bank(services, "demo"), refusals.TASK)
    rows = await services.store.tenant("demo")["alarms"].find({"kind": {"$regex": "^platform"}}, limit=None)
    return sorted(rows, key=lambda row: row["_id"])


@pytest.mark.parametrize(
    ("errcode", "kind"),
    [
        (40013, "platform.secret"),
        (60020, "platform.address"),
        (301042, "platform.address"),
        (301002, "platform.agent"),
        (48006, "platform.unused"),
        (90510, "platform.unused"),
        (48002, "platform.rights"),
        (60011, "platform.rights"),
        (41045, "platform.full"),
    ],
)
async def test_wecoms_refusal_of_our_configuration_is_an_alarm_once_a_day(
    bank: Services, sandbox: Sandbox, clock: StillClock, errcode: int, kind: str
) -> None:
    await _refuse(sandbox, FOLLOWERS, errcode)
    for day in range(2):
        for _ in range(3):
            with pytest.raises(errors.BadConfig):
                await (await open_bank(bank, "demo")).wecom.customers.list_followers()
            clock.now += 60
            rows = await _told(bank)
        assert [row["kind"] for row in rows] == [kind] * (day + 1)
        clock.now += 86400
    assert (rows[0]["data"]["platform"], rows[0]["data"]["errcode"], rows[0]["data"]["path"]) == (
        "WeCom",
        errcode,
        FOLLOWERS,
    )


@pytest.mark.parametrize("errcode", [40164, 40243, 89501, 89503, 89506, 89507])
async def test_wechats_refusal_of_our_configuration_is_an_alarm(bank: Services, sandbox: Sandbox, errcode: int) -> None:
    await _refuse(sandbox, RISK, errcode)
    client = (await open_bank(bank, "demo")).miniprogram(BANK)
    with pytest.raises(errors.BadConfig):
        await client.get_user_risk_rank("o1", scene=1, client_ip="203.0.113.7")
    (row,) = await _told(bank)
    assert (row["data"]["platform"], row["data"]["errcode"]) == ("WeChat", errcode)
    assert row["kind"] == ("platform.secret" if errcode == 40243 else "platform.address")


@pytest.mark.parametrize(
    ("path", "errcode", "call"),
    [
        ("/cgi-bin/gettoken", 40001, "wecom"),
        ("/cgi-bin/stable_token", 40001, "mini"),
        ("/cgi-bin/stable_token", 40125, "mini"),
    ],
)
async def test_a_wrong_secret_is_an_alarm_and_not_tried_again_by_itself(
    bank: Services, sandbox: Sandbox, clock: StillClock, path: str, errcode: int, call: str
) -> None:
    await sandbox.control("POST", "tokens/revoke", {"errcode": 42001})
    before = await _fetched(sandbox, path)
    await _refuse(sandbox, path, errcode)

    async def ask() -> Any:
        at_bank = await open_bank(bank, "demo")
        if call == "wecom":
            return await at_bank.wecom.customers.list_followers()
        return await at_bank.miniprogram(BANK).quota_get("/wxa/getwxacode")

    for _ in range(5):
        with pytest.raises(errors.BadConfig) as refused:
            await ask()
        assert refused.value.errcode == errcode
        clock.now += 120
    assert await _fetched(sandbox, path) - before == 1
    (row,) = await _told(bank)
    assert (row["kind"], row["data"]["errcode"]) == ("platform.secret", errcode)
    await sandbox.control("DELETE", "faults")
    clock.now += 86_400
    with pytest.raises(errors.BadConfig):
        await ask()
    at_bank = await open_bank(bank, "demo")
    for app in at_bank.secrets:  # as `tenant apply` does, and an operator
        await bank.platform.tokens.retry_secret(at_bank.id, app)
    await ask()


async def _fetched(sandbox: Sandbox, path: str) -> int:
    counts = (await sandbox.control("GET", "calls"))["counts"]
    return sum(n for called, n in counts.items() if called.endswith(path))


async def test_a_call_that_wecom_grants_to_few_apps_is_no_alarm(bank: Services, sandbox: Sandbox) -> None:
    with pytest.raises(errors.BadConfig):
        await (await open_bank(bank, "demo")).wecom.customers.idconvert_unionid("u", "o")
    assert await _told(bank) == []


def test_every_code_of_the_configuration_class_has_a_kind() -> None:
    known = {
        "platform.secret",
        "platform.address",
        "platform.agent",
        "platform.unused",
        "platform.full",
        refusals.RIGHTS,
    }
    for table in (errors._WECHAT, errors._WECOM):
        assert {refusals.kind_of(code) for code in table[errors.BadConfig]} <= known
