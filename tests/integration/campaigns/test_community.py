"""Group codes and group greetings: made once, kept in step, told when they lead nowhere."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from campaigns.channels import group_codes as community
from campaigns.community import greetings
from campaigns.publishing import versions
from customers.banks import bank as banks_bank
from services.container import Services
from services.errors import Conflict, PlatformRefused
from services.store.mongo import Doc
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import WELCOME

ADD_WAY = "groupchat/add_join_way"
UPDATE_WAY = "groupchat/update_join_way"
HEAD = WELCOME.replace("steps:\n", "").replace(
    "  hi:", '  all: {zh: "%NICKNAME%您好，欢迎来到{{bank.name}}"}\n  hi:', 1
)


def text(*chats: str, greeting: str = "all", **more: Any) -> str:
    settings = {"groups": "[" + ", ".join(chats) + "]", **more}
    code = "{" + ", ".join(f"{name}: {value}" for name, value in settings.items()) + "}"
    group_codes = f"group_codes: {{talk: {code}}}\n" if chats else ""
    welcome = f"group_welcome: {{hello: {{template: {greeting}, notify: false}}}}\n" if greeting else ""
    return HEAD + group_codes + welcome


async def chat(sandbox: Sandbox, name: str = "南山理财交流群", people: int = 0) -> str:
    """A group of rm.chen and so many customers; its chat id."""
    inside = [(await sandbox.person(f"客户{number}"))["id"] for number in range(people)]
    body = {"owner": "rm.chen", "name": name, "people": inside}
    return str((await sandbox.control("POST", "groups", body))["chat_id"])


async def way(sandbox: Sandbox) -> dict[str, Any]:
    (found,) = (await sandbox.control("GET", "groups"))["join_ways"]
    return dict(found)


async def channel(services: Services) -> Doc:
    row = await services.store.tenant("demo")["channels"].find_one({"state": "talk"})
    assert row is not None
    return row


async def raised(services: Services) -> list[tuple[str, str]]:
    rows = await services.store.tenant("demo")["alarms"].find({"state": "open"})
    return sorted((row["kind"], row["data"].get("state", "")) for row in rows if row["kind"].startswith("group_code"))


async def look(services: Services) -> None:
    """Everything that events caused, and then the channels that are due."""
    await tools.all_work(services)
    await jobs.keep_channels(await open_bank(services, "demo"))


async def test_a_group_code_is_made_once_over_its_groups(demo: Services, sandbox: Sandbox) -> None:
    chats = [await chat(sandbox), await chat(sandbox, "二群")]
    document = text(*chats, room_base_name="南山理财", room_base_id=3, auto_create_room="false")
    await tools.go_live(demo, document)
    said = await versions.apply(await open_bank(demo, "demo"), document, "t.yaml", "cli")
    assert said == ["campaign hello: version 1 is this document already"]
    made = await way(sandbox)
    names = ("chat_id_list", "room_base_name", "room_base_id", "auto_create_room", "state", "scene")
    assert [made[name] for name in names] == [chats, "南山理财", 3, 0, "talk", 2]
    row = await channel(demo)
    assert (row["config_id"], row["qr_code"]) == (made["config_id"], made["qr_code"])


async def test_a_group_that_ends_leaves_the_code(demo: Services, http: httpx.AsyncClient, sandbox: Sandbox) -> None:
    chats = [await chat(sandbox), await chat(sandbox, "二群")]
    await tools.go_live(demo, text(*chats))
    await look(demo)
    await sandbox.control("DELETE", f"groups/{chats[0]}")
    await look(demo)
    assert (await way(sandbox))["chat_id_list"] == (await channel(demo))["groups"] == [chats[1]]
    await sandbox.control("DELETE", f"groups/{chats[1]}")
    await look(demo)
    assert await raised(demo) == [("group_code.nowhere", "talk")]


async def test_a_group_that_wecom_made_stays_behind_the_code(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox, clock: MovedClock
) -> None:
    """All groups are full, so WeCom makes another; changing the code loses neither it nor the count of names."""
    await sandbox.control("POST", "switches", {"group_size": 3})
    first, other = await chat(sandbox, people=2), await chat(sandbox, "二群")
    await tools.go_live(demo, text(first, room_base_name="南山理财", full_at=3))
    person = await sandbox.person("周强")
    joined = await sandbox.control("POST", f"people/{person['id']}/join", {"state": "talk"})
    assert joined["chat_id"] not in (first, other)
    clock.advance(community.LOOK_SECONDS + 1)
    await look(demo)
    clock.advance(1)
    await tools.go_live(demo, text(first, other, room_base_name="南山理财", full_at=3))
    await look(demo)
    made = await way(sandbox)
    assert sorted(made["chat_id_list"]) == sorted([first, other, joined["chat_id"]])
    assert made["chat_id_list"][-1] == first
    assert made["room_base_id"] == 2
    assert await raised(demo) == []
    clock.advance(1)
    await tools.go_live(demo, text(other, room_base_name="南山理财", full_at=3))
    await look(demo)
    assert sorted((await way(sandbox))["chat_id_list"]) == sorted([other, joined["chat_id"]])


async def test_when_all_groups_are_full_the_heads_are_told_once(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox, clock: MovedClock
) -> None:
    first = await chat(sandbox, people=1)
    await tools.go_live(demo, text(first, auto_create_room="false", full_at=3))
    await look(demo)
    assert await raised(demo) == []
    person = await sandbox.person("周强")
    await sandbox.control("POST", f"people/{person['id']}/join", {"state": "talk"})
    await look(demo)
    clock.advance(community.LOOK_SECONDS + 1)
    await look(demo)
    (alarm,) = await demo.store.tenant("demo")["alarms"].find({"kind": "group_code.full"})
    assert alarm["userids"] == ["rm.chen", "rm.liu", "rm.wang"]


async def test_who_joins_by_the_code_is_told_with_its_state(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    await tools.go_live(demo, text(await chat(sandbox)))
    person = await sandbox.person("周强")
    joined = await sandbox.control("POST", f"people/{person['id']}/join", {"state": "talk"})
    await tools.all_work(demo)
    (row,) = await demo.store.tenant("demo")["timeline"].find({"kind": "group.joined"})
    assert row["data"] == {"chat_id": joined["chat_id"], "state": "talk"}


async def test_a_code_that_wecom_refuses_stops_the_publication(demo: Services, sandbox: Sandbox) -> None:
    with pytest.raises(PlatformRefused, match="publish_refused"):
        await versions.apply(await open_bank(demo, "demo"), text("wrNoSuchGroup"), "t.yaml", "cli")
    assert (await sandbox.control("GET", "groups"))["join_ways"] == []
    assert (await channel(demo))["at_wecom"] == "wanted"
    row = await demo.store.tenant("demo")["campaigns"].find_one({"campaign": "hello"})
    assert row is not None
    assert row["live_version"] is None


async def test_greetings_follow_the_published_version(demo: Services, sandbox: Sandbox) -> None:
    await tools.go_live(demo, text())
    first = "%NICKNAME%您好，欢迎来到银桥示范银行"
    (row,) = await demo.store.tenant("demo")["group_greetings"].find({})
    assert (row["name"], row["content"], row["at_wecom"]) == ("hello", first, "present")
    assert await told(demo, row) == first
    await tools.go_live(demo, text().replace("欢迎来到", "你已来到"))
    (changed,) = await demo.store.tenant("demo")["group_greetings"].find({})
    assert changed["template_id"] == row["template_id"]
    assert await told(demo, changed) == first.replace("欢迎来到", "你已来到")
    await tools.go_live(demo, text(greeting=""))
    assert await demo.store.tenant("demo")["group_greetings"].count() == 0
    with pytest.raises(Exception, match="40058"):
        await told(demo, changed)


async def told(services: Services, row: Doc) -> str:
    bank = await banks_bank.open_bank(services, "demo")
    answer = await bank.wecom.welcome.get_template(row["template_id"])
    return str((answer.get("text") or {}).get("content"))


async def test_a_greeting_that_somebody_deleted_is_made_again(demo: Services, sandbox: Sandbox) -> None:
    await tools.go_live(demo, text())
    (row,) = await demo.store.tenant("demo")["group_greetings"].find({})
    bank = await banks_bank.open_bank(demo, "demo")
    await bank.wecom.welcome.delete_template(row["template_id"])
    said = await versions.apply(await open_bank(demo, "demo"), text(), "t.yaml", "cli")
    assert said[1:] == ["group greeting hello: made"]
    (again,) = await demo.store.tenant("demo")["group_greetings"].find({})
    assert await told(demo, again) == row["content"]


async def test_the_hundred_and_first_greeting_is_refused_before_wecom_is_asked(
    demo: Services, sandbox: Sandbox
) -> None:
    rows = [
        {
            "_id": f"demo:old:g{number}",
            "campaign": "old",
            "name": f"g{number}",
            "at_wecom": "present",
            "template_id": "t",
        }
        for number in range(greetings.MOST_GREETINGS)
    ]
    await demo.store.tenant("demo")["group_greetings"].insert_new(rows)
    with pytest.raises(Conflict, match="greetings_full"):
        await versions.apply(await open_bank(demo, "demo"), text(), "t.yaml", "cli")
    assert await demo.store.tenant("demo")["group_greetings"].count() == greetings.MOST_GREETINGS
