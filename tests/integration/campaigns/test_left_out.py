"""One member whom WeCom does not take holds up nobody else: he is left out and named, and the code lives."""

from __future__ import annotations

import pytest

from campaigns.channels import left_out
from campaigns.publishing import versions
from customers.banks import apply
from services.container import Services
from services.wechat.core import lists
from services.wechat.core.errors import PlatformError, platform_error
from tests.conftest import DEMO_BANK, Sandbox
from tests.integration.campaigns import tools
from tests.integration.campaigns.test_acquisition import TEXT as LINKS
from tests.integration.campaigns.test_community import text as group_text
from tests.integration.campaigns.test_rosters import channel, text, way
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

C10_STAFF = """
  - {userid: rm.new, name: 新人, branch: sz-futian}
  - {userid: rm.typo, name: 写错, branch: gz-tianhe}
clerks:"""
"""rm.new is at WeCom without the right to customer contact (84074); rm.typo does not exist (60111)."""
FUTIAN, TIANHE = "c.sz-futian", "c.gz-tianhe"


async def _apply(demo: Services, more: str = C10_STAFF) -> None:
    file = DEMO_BANK.read_text(encoding="utf-8").replace("\nclerks:", more, 1)
    await apply.apply_tenant(demo, file, "tenant.yaml")
    demo.cache.clear()


async def with_bad_staff(demo: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "新人", "department": 1, "contact": False})
    await _apply(demo)


async def _updates(sandbox: Sandbox) -> int:
    calls = (await sandbox.control("GET", "calls?limit=1000"))["calls"]
    return sum(one["path"].endswith("update_contact_way") for one in calls)


async def _alarms(demo: Services) -> list[tuple[str, str, str, str, list[str]]]:
    rows = await demo.store.tenant("demo")["alarms"].find({"kind": "channel.left_out"}, sort=[("data.userid", 1)])
    return [(*(row["data"][name] for name in ("userid", "member", "branch", "why")), row["userids"]) for row in rows]


async def test_a_member_without_the_right_and_one_who_does_not_exist_hold_up_no_code(
    demo: Services, sandbox: Sandbox
) -> None:
    await with_bad_staff(demo, sandbox)
    said = await versions.apply(await open_bank(demo, "demo"), text(), "t.yaml", "cli")
    demo.cache.clear()
    assert [(await way(sandbox, state))["user"] for state in (tools.CODE, FUTIAN, TIANHE)] == [
        ["rm.chen", "rm.li"], ["rm.wang", "rm.zhao"], ["rm.liu", "rm.sun"],
    ]  # fmt: skip
    told = "\n".join(map(str, said))
    assert "live code c.sz-futian: WeCom does not take rm.new (platform_subject_state:84074)" in told
    assert await _alarms(demo) == [
        ("rm.new", "新人", "深圳福田支行", "platform_subject_state:84074", ["rm.wang"]),
        ("rm.typo", "写错", "广州天河支行", "platform_subject_state:60111", ["rm.liu"]),
    ]


async def test_later_updates_of_the_branchs_code_are_made_and_a_leaver_is_taken_out(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await with_bad_staff(demo, sandbox)
    await tools.go_live(demo, text())
    bank = await open_bank(demo, "demo")
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.zhao"}, {"$set": {"active": False}})
    clock.advance(61)
    await jobs.keep_channels(bank)
    assert (await way(sandbox, FUTIAN))["user"] == (await channel(demo, FUTIAN))["users"] == ["rm.wang"]
    assert await demo.store.tenant("demo")["alarms"].count({"kind": "channel.refused"}) == 0


async def test_who_is_left_out_is_not_asked_about_at_every_look_and_comes_in_when_he_may(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await with_bad_staff(demo, sandbox)
    await tools.go_live(demo, text())
    bank = await open_bank(demo, "demo")
    clock.advance(61)
    await jobs.keep_channels(bank)  # the demo's own codes meet them too
    clock.advance(61)
    before = await _updates(sandbox)
    await jobs.keep_channels(bank)
    assert await _updates(sandbox) == before
    await sandbox.control("POST", "members/rm.new", {"contact": True})
    clock.advance(left_out.AGAIN_SECONDS)
    await jobs.keep_channels(bank)
    row = await channel(demo, FUTIAN)
    assert sorted((await way(sandbox, FUTIAN))["user"]) == sorted(row["users"]) == ["rm.new", "rm.wang", "rm.zhao"]
    assert row["left_out"] == []
    assert [each["one"] for each in (await channel(demo, TIANHE))["left_out"]] == ["rm.typo"]


async def test_a_branch_of_which_wecom_takes_nobody_holds_up_no_other(demo: Services, sandbox: Sandbox) -> None:
    for userid in ("rm.wang", "rm.zhao"):
        await sandbox.control("POST", f"members/{userid}", {"contact": False})
    await tools.go_live(demo, text())
    assert (await way(sandbox, TIANHE))["user"] == ["rm.liu", "rm.sun"]
    row = await channel(demo, FUTIAN)
    assert (row["at_wecom"], [each["one"] for each in row["left_out"]]) == ("wanted", ["rm.wang", "rm.zhao"])
    assert [userid for userid, *_ in await _alarms(demo)] == ["rm.wang", "rm.zhao"]


async def test_a_link_goes_on_without_who_may_not(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await sandbox.control("POST", "members/rm.li", {"contact": False})
    await tools.go_live(demo, LINKS)
    found = {one["link_name"]: one for one in (await sandbox.control("GET", "links"))["links"]}
    assert found["ads.sz-nanshan"]["user_list"] == ["rm.chen"]
    assert [userid for userid, *_ in await _alarms(demo)] == ["rm.li"]


async def test_a_group_code_goes_on_without_a_group_that_is_none(demo: Services, sandbox: Sandbox) -> None:
    chat = (await sandbox.control("POST", "groups", {"owner": "rm.chen", "name": "群", "people": []}))["chat_id"]
    await tools.go_live(demo, group_text(chat, "wrNoSuchGroup"))
    (made,) = (await sandbox.control("GET", "groups"))["join_ways"]
    assert made["chat_id_list"] == [chat]
    (alarm,) = await demo.store.tenant("demo")["alarms"].find({"kind": "channel.group_left_out"})
    assert alarm["data"]["chat_id"] == "wrNoSuchGroup"


class Refusing:
    """A platform that takes a list only without these."""

    def __init__(self, bad: dict[str, int]) -> None:
        self.bad, self.calls, self.list = bad, 0, [""]

    async def put(self, some: list[str]) -> None:
        self.calls += 1
        for one in some:
            if one in self.bad:
                raise platform_error("wecom", self.bad[one], "no", "path")
        self.list = list(some)


@pytest.mark.parametrize("code", [84074, 60111, 40003, 40031, 60011, 41054, 84061, 40058])
async def test_of_a_hundred_the_bad_ones_are_found_in_few_calls(code: int) -> None:
    everybody = [f"rm.{n}" for n in range(100)]
    platform = Refusing({"rm.3": code, "rm.77": code})
    taken, refused = await lists.put_all_but(everybody, platform.put)  # type: ignore[arg-type]
    assert taken == platform.list == [one for one in everybody if one not in platform.bad]
    assert {one: error.errcode for one, error in refused.items()} == platform.bad
    assert platform.calls < 35


async def test_what_is_no_word_about_one_of_them_is_not_searched_for() -> None:
    platform = Refusing({"b": 45009})
    with pytest.raises(PlatformError, match="45009"):
        await lists.put_all_but(["a", "b"], platform.put)  # type: ignore[arg-type]
    assert platform.calls == 1
