"""Corp tags both ways: what WeCom says of tags reaches the mirror, the friendships and the customers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from campaigns.delivery import tagging
from customers import relationships
from customers.banks import bank as banks_bank
from customers.identity import resolution
from customers.wecom_mirror import details, tags
from services.container import Services
from services.wechat.events import TagChanged
from tests.conftest import Sandbox
from tests.support.banks import open_bank


def event(change: Literal["create", "update", "delete", "shuffle"], tag_id: str, kind: str = "tag") -> TagChanged:
    return TagChanged(
        corp_id="ww", create_time=datetime.now(UTC), change=change, id=tag_id, tag_type=kind, strategy_id=None
    )


async def tell(
    bank: Services, change: Literal["create", "update", "delete", "shuffle"], tag_id: str, kind: str = "tag"
) -> None:
    await tags.tag_changed(
        await open_bank(bank, "demo"), {"_id": "demo:e", "at": datetime.now(UTC)}, event(change, tag_id, kind)
    )


async def make(bank: Services, *names: str, group: str = "渠道") -> dict[str, str]:
    """Corp tags at WeCom: name → id."""
    client = (await open_bank(bank, "demo")).wecom
    answer = await client.tags.create(list(names), group_name=group)
    return {tag["name"]: tag["id"] for tag in answer["tag_group"]["tag"]}


async def friend(bank: Services, sandbox: Sandbox, *userids: str) -> dict[str, Any]:
    person = await sandbox.person("刘敏")
    for userid in userids:
        await sandbox.control("POST", f"people/{person['id']}/add", {"userid": userid})
    return person


async def mark(bank: Services, person: dict[str, Any], userid: str, **which: list[str]) -> None:
    """Somebody tags the customer in WeCom."""
    client = (await open_bank(bank, "demo")).wecom
    await client.tags.mark(userid, person["external_userid"], **which)


async def held(bank: Services, cid: str) -> list[str]:
    return sorted((await resolution.customer(await open_bank(bank, "demo"), cid)).tags)


async def test_a_tag_put_on_in_wecom_appears_and_one_taken_off_disappears(bank: Services, sandbox: Sandbox) -> None:
    ids = await make(bank, "网点", "线上")
    person = await friend(bank, sandbox, "rm.chen")
    await mark(bank, person, "rm.chen", add=[ids["网点"]])
    cid = (await details.fetch(await open_bank(bank, "demo"), person["external_userid"])).cid
    assert await held(bank, cid) == ["渠道:网点"]
    await mark(bank, person, "rm.chen", add=[ids["线上"]], remove=[ids["网点"]])
    await details.fetch(await open_bank(bank, "demo"), person["external_userid"])
    assert await held(bank, cid) == ["渠道:线上"]
    pair = await relationships.between(await open_bank(bank, "demo"), "rm.chen", [cid])
    assert (pair or {})["tags"] == [ids["线上"]]


async def test_what_another_rm_still_has_stays(bank: Services, sandbox: Sandbox) -> None:
    ids = await make(bank, "网点")
    person = await friend(bank, sandbox, "rm.chen", "rm.wang")
    for userid in ("rm.chen", "rm.wang"):
        await mark(bank, person, userid, add=[ids["网点"]])
    cid = (await details.fetch(await open_bank(bank, "demo"), person["external_userid"])).cid
    await mark(bank, person, "rm.chen", remove=[ids["网点"]])
    await details.fetch(await open_bank(bank, "demo"), person["external_userid"])
    assert await held(bank, cid) == ["渠道:网点"]
    await mark(bank, person, "rm.wang", remove=[ids["网点"]])
    await details.fetch(await open_bank(bank, "demo"), person["external_userid"])
    assert await held(bank, cid) == []


async def test_a_tag_that_we_marked_ourselves_can_be_taken_off_in_wecom(bank: Services, sandbox: Sandbox) -> None:
    person = await friend(bank, sandbox, "rm.chen")
    cid = (await details.fetch(await open_bank(bank, "demo"), person["external_userid"])).cid
    tenant = await banks_bank.open_bank(bank, "demo")
    await tagging.mark(tenant, "rm.chen", person["external_userid"], ["来源:网点"], [])
    await tagging.remember(await open_bank(bank, "demo"), cid, "rm.chen", ["来源:网点"], [])
    assert await held(bank, cid) == ["来源:网点"]
    await mark(bank, person, "rm.chen", remove=[await tagging.tag_id(tenant, "来源:网点")])
    await details.fetch(await open_bank(bank, "demo"), person["external_userid"])
    assert await held(bank, cid) == []


async def test_an_answer_of_before_our_own_mark_does_not_undo_it(bank: Services, sandbox: Sandbox) -> None:
    person = await friend(bank, sandbox, "rm.chen")
    cid = (await details.fetch(await open_bank(bank, "demo"), person["external_userid"])).cid
    asked = bank.clock()
    tenant = await banks_bank.open_bank(bank, "demo")
    await tagging.mark(tenant, "rm.chen", person["external_userid"], ["热"], [])
    await tagging.remember(await open_bank(bank, "demo"), cid, "rm.chen", ["热"], [])
    pair = await relationships.between(await open_bank(bank, "demo"), "rm.chen", [cid])
    assert pair is not None
    await relationships.bring(
        await open_bank(bank, "demo"),
        cid,
        relationships.FollowInfo("rm.chen", pair["at"], add_way=pair["add_way"]),
        asked,
    )
    assert (
        ((await relationships.between(await open_bank(bank, "demo"), "rm.chen", [cid])) or {})["tags"]
        == pair["tags"]
        != []
    )


async def test_a_new_name_of_a_tag_or_a_group_reaches_the_customers(bank: Services, sandbox: Sandbox) -> None:
    ids = await make(bank, "网点")
    person = await friend(bank, sandbox, "rm.chen")
    await mark(bank, person, "rm.chen", add=[ids["网点"]])
    cid = (await details.fetch(await open_bank(bank, "demo"), person["external_userid"])).cid
    await sandbox.control("POST", f"tags/{ids['网点']}", {"name": "支行"})
    await tell(bank, "update", ids["网点"])
    assert await held(bank, cid) == ["渠道:支行"]
    (row,) = await tags.listed(await open_bank(bank, "demo"))
    await sandbox.control("POST", f"tags/{row['group_id']}", {"name": "来源"})
    await tell(bank, "update", row["group_id"], "tag_group")
    assert await held(bank, cid) == ["来源:支行"]


async def test_a_deleted_tag_is_gone_everywhere(bank: Services, sandbox: Sandbox) -> None:
    ids = await make(bank, "网点", "线上")
    person = await friend(bank, sandbox, "rm.chen")
    await mark(bank, person, "rm.chen", add=list(ids.values()))
    cid = (await details.fetch(await open_bank(bank, "demo"), person["external_userid"])).cid
    await sandbox.control("DELETE", f"tags/{ids['网点']}")
    await tell(bank, "delete", ids["网点"])
    assert await held(bank, cid) == ["渠道:线上"]
    assert ((await relationships.between(await open_bank(bank, "demo"), "rm.chen", [cid])) or {})["tags"] == [
        ids["线上"]
    ]
    at_bank = await open_bank(bank, "demo")
    assert [row["tag"] for row in await tags.listed(at_bank)] == ["线上"]


async def test_events_of_a_tag_in_any_order_end_as_in_order(bank: Services, sandbox: Sandbox) -> None:
    ids = await make(bank, "网点")
    (group,) = (await sandbox.control("GET", "tags"))["tag_groups"]
    await tell(bank, "update", ids["网点"])
    await tell(bank, "create", ids["网点"])
    await tell(bank, "create", group["group_id"], "tag_group")
    await tell(bank, "shuffle", "")
    at_bank = await open_bank(bank, "demo")
    assert [row["name"] for row in await tags.listed(at_bank)] == ["渠道:网点"]
    await sandbox.control("DELETE", f"tags/{group['group_id']}")
    await tell(bank, "delete", group["group_id"], "tag_group")
    await tell(bank, "update", ids["网点"])
    assert await tags.listed(await open_bank(bank, "demo")) == []


async def test_an_id_that_wecom_does_not_know_is_asked_for_once_a_minute(bank: Services, sandbox: Sandbox) -> None:
    for _ in range(3):
        assert await tags.names(await open_bank(bank, "demo"), ["etStranger"]) == []
    calls = (await sandbox.control("GET", "calls"))["calls"]
    assert [call["path"] for call in calls].count("/cgi-bin/externalcontact/get_corp_tag_list") == 1
