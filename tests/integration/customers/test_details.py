from __future__ import annotations

from typing import Any

import pytest

from customers import relationships
from customers.identity import resolution
from customers.identity.resolution import Facts
from customers.wecom_mirror import details
from services.container import Services
from services.wechat.core.errors import PlatformError
from tests.conftest import Sandbox
from tests.support.banks import open_bank

GET = "/cgi-bin/externalcontact/get"


async def _friend_of(sandbox: Sandbox, person: dict[str, Any], userid: str) -> dict[str, Any]:
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": userid})
    return dict(await sandbox.control("GET", f"people/{person['id']}"))


async def test_what_wecom_says_of_a_person_is_brought_in(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    await _friend_of(sandbox, person, "rm.chen")
    seen = await _friend_of(sandbox, person, "rm.wang")
    found = await details.fetch(await open_bank(bank, "demo"), seen["external_userid"])
    known = await resolution.customer(await open_bank(bank, "demo"), found.cid)
    assert (found.name, known.name, known.unionid) == ("刘敏", "刘敏", seen["unionid"])
    assert known.external_userid == seen["external_userid"]
    assert sorted(found.follow_users) == ["rm.chen", "rm.wang"]
    rows = await relationships.of_customer(await open_bank(bank, "demo"), [found.cid])
    assert {row["userid"]: row["at"] for row in rows} == {
        userid: float(user["createtime"]) for userid, user in found.follow_users.items()
    }


async def test_asking_twice_changes_nothing(bank: Services, sandbox: Sandbox) -> None:
    seen = await _friend_of(sandbox, await sandbox.person("刘敏"), "rm.chen")
    db, names = bank.store.tenant("demo"), ("customers", "identities", "relationships")
    first = await details.fetch(await open_bank(bank, "demo"), seen["external_userid"])
    before = {name: await db[name].find({}, sort=[("_id", 1)]) for name in names}
    assert await details.fetch(await open_bank(bank, "demo"), seen["external_userid"]) == first
    assert {name: await db[name].find({}, sort=[("_id", 1)]) for name in names} == before


async def test_a_person_who_signed_in_before_is_the_same_customer(bank: Services, sandbox: Sandbox) -> None:
    seen = await _friend_of(sandbox, await sandbox.person("刘敏"), "rm.chen")
    cid = await resolution.identify(
        await open_bank(bank, "demo"), Facts(unionid=seen["unionid"], openids={"wx1": "oO1"})
    )
    assert (await details.fetch(await open_bank(bank, "demo"), seen["external_userid"])).cid == cid


async def test_a_friendship_that_ended_since_is_not_brought_back(bank: Services, sandbox: Sandbox) -> None:
    """WeCom's answer of before the end is slower than the event of the end."""
    seen = await _friend_of(sandbox, await sandbox.person("刘敏"), "rm.chen")
    found = await details.fetch(await open_bank(bank, "demo"), seen["external_userid"])
    since = float(found.follow_users["rm.chen"]["createtime"])
    await relationships.changed(await open_bank(bank, "demo"), "rm.chen", found.cid, at=since + 5, active=False)
    await details.fetch(await open_bank(bank, "demo"), seen["external_userid"])
    assert await relationships.of_staff(await open_bank(bank, "demo"), "rm.chen") == []


async def test_details_that_come_after_the_event_of_the_same_second_complete_the_friendship(
    bank: Services, sandbox: Sandbox
) -> None:
    """When WeCom could not say at once who he is, the event alone told of the friendship, without how it began."""
    seen = await _friend_of(sandbox, await sandbox.person("刘敏"), "rm.chen")
    (friend,) = seen["friends"]
    cid = await resolution.identify(await open_bank(bank, "demo"), Facts(external_userid=seen["external_userid"]))
    at = float(friend["createtime"])
    await relationships.changed(
        await open_bank(bank, "demo"), "rm.chen", cid, at=at, active=True, state="", add_way=None
    )
    found = await details.fetch(await open_bank(bank, "demo"), seen["external_userid"])
    pair = await relationships.between(await open_bank(bank, "demo"), "rm.chen", [cid])
    assert found.follow_users["rm.chen"]["add_way"] is not None
    assert (pair or {})["add_way"] == found.follow_users["rm.chen"]["add_way"]


async def test_what_wecom_cannot_say_changes_nothing(bank: Services, sandbox: Sandbox) -> None:
    seen = await _friend_of(sandbox, await sandbox.person("刘敏"), "rm.chen")
    await sandbox.control("POST", "faults", {"target": "api", "kind": "errcode", "errcode": 84061, "path": GET})
    with pytest.raises(PlatformError):
        await details.fetch(await open_bank(bank, "demo"), seen["external_userid"])
    for name in ("customers", "identities", "relationships"):
        assert await bank.store.tenant("demo")[name].count() == 0
