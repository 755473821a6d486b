"""Codes on posters: a key that tells nobody who invites, and one picture for each thing it stands for (contract/wechat A5)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from customers.messaging import poster_codes
from customers.messaging.poster_codes import Scene
from services.container import Services
from services.errors import NotFound, Unavailable
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.support.banks import open_bank

PATH = "/wxa/getwxacodeunlimit"
INVITED = Scene(campaign="acq-branch", inviter="demo:" + "a" * 32)


async def _calls(sandbox: Sandbox) -> list[Any]:
    return [call for call in (await sandbox.control("GET", "calls"))["calls"] if call["path"] == PATH]


async def test_a_code_is_a_picture_that_is_asked_for_once(bank: Services, sandbox: Sandbox) -> None:
    first = await poster_codes.code(await open_bank(bank, "demo"), BANK, INVITED)
    assert first[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
    assert await poster_codes.code(await open_bank(bank, "demo"), BANK, INVITED) == first
    (call,) = await _calls(sandbox)
    assert call["body"]["scene"] == poster_codes.key_of("demo", BANK, INVITED)
    assert "page" not in call["body"]


async def test_a_key_fits_a_code_and_differs_for_whatever_differs() -> None:
    others = [
        (BANK, INVITED),
        (LIFE, INVITED),
        (BANK, Scene(campaign="acq-branch", inviter="demo:" + "b" * 32)),
        (BANK, Scene(campaign="flash", inviter=INVITED.inviter)),
        (BANK, Scene(page="pages/gift", campaign="acq-branch", inviter=INVITED.inviter)),
        (BANK, Scene()),
    ]
    keys = [poster_codes.key_of("demo", appid, scene) for appid, scene in others]
    assert len({*keys, poster_codes.key_of("other", BANK, INVITED)}) == 7
    assert all(re.fullmatch("[a-z2-7]{26}", key) for key in keys)
    assert poster_codes.key_of("demo", BANK, INVITED) == keys[0]


async def test_the_mini_program_learns_the_campaign_and_not_who_invites(bank: Services) -> None:
    await poster_codes.code(await open_bank(bank, "demo"), BANK, INVITED)
    await poster_codes.code(await open_bank(bank, "demo"), BANK, Scene(campaign="flash"))
    key = poster_codes.key_of("demo", BANK, INVITED)
    assert await poster_codes.read(await open_bank(bank, "demo"), BANK, key) == {
        "page": "",
        "campaign": "acq-branch",
        "invited": True,
    }
    assert (
        await poster_codes.read(
            await open_bank(bank, "demo"), BANK, poster_codes.key_of("demo", BANK, Scene(campaign="flash"))
        )
    )["invited"] is False
    assert await poster_codes.inviter(await open_bank(bank, "demo"), BANK, key) == INVITED.inviter


async def test_a_key_of_nobody_or_of_another_mini_program_is_unknown(bank: Services) -> None:
    await poster_codes.code(await open_bank(bank, "demo"), BANK, INVITED)
    for appid, key in ((BANK, "a" * 26), (LIFE, poster_codes.key_of("demo", BANK, INVITED))):
        with pytest.raises(NotFound) as refused:
            await poster_codes.read(await open_bank(bank, "demo"), appid, key)
        assert refused.value.code == "scene_unknown"
    with pytest.raises(NotFound) as refused:
        await poster_codes.code(await open_bank(bank, "demo"), "wx0000000000000000", INVITED)
    assert refused.value.code == "miniprogram_unknown"


async def test_ten_who_ask_at_once_get_one_code(bank: Services) -> None:
    at_bank = await open_bank(bank, "demo")
    pictures = await asyncio.gather(*(poster_codes.code(at_bank, BANK, INVITED) for _ in range(10)))
    assert await bank.store.tenant("demo")["poster_codes"].count() == 1
    assert {len(picture) > 100 for picture in pictures} == {True}


async def test_while_wechat_is_away_there_is_no_code_and_later_there_is(bank: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "faults", {"target": "api", "path": PATH, "kind": "errcode", "errcode": 45009})
    with pytest.raises(Unavailable) as refused:
        await poster_codes.code(await open_bank(bank, "demo"), BANK, INVITED)
    assert refused.value.code == "wechat_unavailable"
    assert "picture" not in (await bank.store.tenant("demo")["poster_codes"].find({}))[0]
