"""What is made at WeCom is made once, whoever tries and however often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from campaigns.channels.provisioning import PROVISIONING_SECONDS, provision
from campaigns.channels.rows import CHANNELS
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Doc
from services.wechat.core.errors import BadRequest
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

KINDS = ["code", "link", "group"]
MADE = {"config_id": "c1"}


class WeCom:
    """Makes things, and remembers of each try whether it was told of an earlier one."""

    def __init__(self) -> None:
        self.tries: list[bool] = []

    async def create(self, again: bool) -> Doc:
        self.tries.append(again)
        return dict(MADE)

    async def refuse(self, again: bool) -> Doc:
        self.tries.append(again)
        raise BadRequest(40058, "no", "externalcontact/add_contact_way")

    async def die(self, again: bool) -> Doc:
        self.tries.append(again)
        raise asyncio.CancelledError


async def made(services: Services, create: Callable[[bool], Awaitable[Doc]], kind: str = "code") -> bool:
    bank = await open_bank(services, "demo")
    row = {"_id": "demo:s", "kind": kind, "state": "s"}
    return await provision(bank, bank.db[CHANNELS], row, create)


async def test_the_second_try_finds_it_present(demo: Services) -> None:
    wecom = WeCom()
    assert [await made(demo, wecom.create), await made(demo, wecom.create)] == [True, False]
    assert wecom.tries == [False]
    row = await demo.store.tenant("demo")["channels"].find_one({"state": "s"})
    assert row is not None
    assert (row["at_wecom"], row["config_id"]) == ("present", "c1")


@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_comes_while_it_is_being_made_is_told_so(demo: Services, clock: MovedClock, kind: str) -> None:
    wecom = WeCom()
    with pytest.raises(asyncio.CancelledError):
        await made(demo, wecom.die, kind)
    with pytest.raises(Unavailable, match="channel_busy") as refused:
        await made(demo, wecom.create, kind)
    assert refused.value.retry_after == PROVISIONING_SECONDS
    clock.advance(PROVISIONING_SECONDS + 1)
    assert await made(demo, wecom.create, kind)
    assert wecom.tries == [False, True]


async def test_what_wecom_refused_may_be_tried_at_once(demo: Services) -> None:
    wecom = WeCom()
    with pytest.raises(BadRequest):
        await made(demo, wecom.refuse)
    assert await made(demo, wecom.create)
    assert wecom.tries == [False, True]


async def test_of_many_at_once_one_makes_it(demo: Services, second: Services) -> None:
    wecom = WeCom()
    tries = [made(one, wecom.create) for one in (demo, second) * 10]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert answers.count(True) == 1
    assert {str(getattr(one, "code", one)) for one in answers} <= {"True", "False", "channel_busy"}
    assert wecom.tries == [False]
