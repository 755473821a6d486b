"""Corp tags as clerks keep them: made once, renamed at every customer, merged and deleted by two."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from campaigns.corp_tags import acts, desk, walking
from campaigns.corp_tags.rows import TAG_ACTS
from customers import relationships
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.segments import document, versions
from customers.wecom_mirror import details, tags
from operations import profiling
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.conftest import DEMO_CAMPAIGNS, Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs, killing
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

LIN = ClerkActor("demo", "lin", "林晓", frozenset())
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset())
MARK = "/cgi-bin/externalcontact/mark_tag"


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


async def ids_of(bank: Bank) -> dict[str, str]:
    """name → id of the corp tags in the mirror."""
    return {row["name"]: row["tag_id"] for row in await tags.listed(bank)}


async def friends(bank: Bank, sandbox: Sandbox, count: int, tag_id: str) -> list[str]:
    """New customers of rm.chen who have the tag: their cids."""
    cids = []
    for number in range(count):
        person = await sandbox.person(f"客户{number}")
        await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
        await bank.wecom.tags.mark("rm.chen", person["external_userid"], add=[tag_id])
        cids.append((await details.fetch(bank, person["external_userid"])).cid)
    return cids


async def held(bank: Bank, cids: Sequence[str]) -> list[list[str]]:
    return [sorted((await resolution.customer(bank, cid)).tags) for cid in cids]


async def act(bank: Bank, act_id: str = "") -> dict[str, Any]:
    """The act of that id, else the only one."""
    (row,) = await bank.db[TAG_ACTS].find({"_id": act_id} if act_id else {})
    return row


async def marks(sandbox: Sandbox, tag_id: str) -> int:
    """How often WeCom was asked to put the tag on."""
    calls = (await sandbox.control("GET", "calls", limit=1000))["calls"]
    return sum(tag_id in str(call) for call in calls if call["path"] == MARK)


async def test_tags_are_made_once_by_name(bank: Bank, sandbox: Sandbox) -> None:
    assert await desk.create(bank, LIN, "等级", ["金卡", " 银卡 ", "金卡"]) == 2
    assert await desk.create(bank, ZHAO, "等级", ["银卡", "白金"]) == 1
    await sandbox.control("POST", "tags", {"group_name": "等级", "names": ["黑卡"]})
    assert await desk.create(bank, LIN, "等级", ["黑卡"]) == 0
    shown = await desk.overview(bank)
    (group,) = [one for one in shown.groups if one.name == "等级"]
    assert sorted(tag.tag for tag in group.tags) == ["白金", "金卡", "银卡", "黑卡"]
    await desk.reorder(bank, LIN, (await ids_of(bank))["等级:金卡"], 9)
    (group,) = [one for one in (await desk.overview(bank)).groups if one.name == "等级"]
    assert [(tag.tag, tag.order) for tag in group.tags][0] == ("金卡", 9)


async def test_what_an_administrator_made_is_refused_in_words(bank: Bank, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "tags", {"group_name": "等级", "names": ["黑卡"]})
    await desk.create(bank, LIN, "等级", ["金卡"])
    known = await ids_of(bank)
    with pytest.raises(Conflict, match="tag_not_ours"):
        await acts.rename(bank, LIN, known["等级:黑卡"], "黑金")
    with pytest.raises(Conflict, match="tag_taken"):
        await acts.rename(bank, LIN, known["等级:金卡"], "黑卡")
    with pytest.raises(InvalidInput, match="tag_name"):
        await acts.rename(bank, LIN, known["等级:金卡"], "字" * 31)
    with pytest.raises(NotFound, match="corp_tag_unknown"):
        await acts.rename(bank, LIN, "etNone", "x")
    assert await ids_of(bank) == known


async def test_a_new_name_reaches_every_customer_although_the_worker_is_killed(
    bank: Bank, sandbox: Sandbox, clock: MovedClock
) -> None:
    await desk.create(bank, LIN, "等级", ["金卡"])
    tag_id = (await ids_of(bank))["等级:金卡"]
    cids = await friends(bank, sandbox, 3, tag_id)
    await acts.rename(bank, LIN, tag_id, "金牌")
    assert (await ids_of(bank))["等级:金牌"] == tag_id
    with pytest.raises(Conflict, match="tag_act_waits"):
        await desk.create(bank, ZHAO, "等级", ["金卡"])
    for number in range(4):
        with pytest.MonkeyPatch.context() as patch:
            killing.before_write(patch, number)
            with pytest.raises(killing.Killed):
                await jobs.run(bank, acts.TASK)
        clock.advance(acts.LEASE_SECONDS + 1)
    for _ in range(3):
        await jobs.run(bank, acts.TASK)
        clock.advance(tags.CACHE_SECONDS + 1)
    assert await held(bank, cids) == [["等级:金牌"]] * 3
    row = await act(bank)
    assert (row["state"], row["total"], row["done"]) == ("done", 3, 3)
    assert await desk.create(bank, ZHAO, "等级", ["金卡"]) == 1


async def merge(bank: Bank, sandbox: Sandbox, count: int) -> tuple[str, str, str, list[str]]:
    """An approved merge of 金卡 into 银卡: its id, the two tags' ids, and who has 金卡."""
    await desk.create(bank, LIN, "等级", ["金卡", "银卡"])
    known = await ids_of(bank)
    gold, silver = known["等级:金卡"], known["等级:银卡"]
    cids = await friends(bank, sandbox, count, gold)
    act_id = await acts.ask(bank, LIN, gold, "两个是一个", into=silver)
    with pytest.raises(Forbidden, match="approver_is_author"):
        await acts.approve(bank, LIN, act_id)
    assert (await act(bank, act_id))["state"] == "submitted"
    await acts.approve(bank, ZHAO, act_id)
    return act_id, gold, silver, cids


@pytest.mark.parametrize("number", range(1, 12, 3))
async def test_a_merge_that_is_killed_midway_gives_everybody_the_tag_once(
    bank: Bank, sandbox: Sandbox, clock: MovedClock, number: int
) -> None:
    act_id, gold, silver, cids = await merge(bank, sandbox, 3)
    with pytest.MonkeyPatch.context() as patch:
        killed = killing.before_write(patch, number)
        with pytest.raises(killing.Killed):
            await jobs.run(bank, acts.TASK)
        assert killed()
    clock.advance(acts.LEASE_SECONDS + 1)
    await jobs.run(bank, acts.TASK)
    assert await held(bank, cids) == [["等级:银卡"]] * 3
    row = await act(bank, act_id)
    assert (row["state"], row["total"], row["done"], row["left_out"]) == ("done", 3, 3, 0)
    assert sorted(await ids_of(bank)) == ["等级:银卡"]
    listed = (await sandbox.control("GET", "tags"))["tag_groups"]
    assert [tag["id"] for group in listed for tag in group["tag"]] == [silver]
    for cid in cids:
        (pair,) = await relationships.of_customer(bank, [cid])
        assert pair["tags"] == [silver]
    assert 3 <= await marks(sandbox, silver) <= 4


async def test_a_merge_that_is_stopped_deletes_nothing(bank: Bank, sandbox: Sandbox) -> None:
    act_id, gold, silver, cids = await merge(bank, sandbox, 2)
    await acts.cancel(bank, ZHAO, act_id)
    await jobs.run(bank, acts.TASK)
    assert (await act(bank, act_id))["state"] == "cancelled"
    assert await held(bank, cids) == [["等级:金卡"]] * 2
    assert sorted((await ids_of(bank)).values()) == sorted([gold, silver])
    with pytest.raises(Conflict, match="tag_act_decided"):
        await acts.cancel(bank, ZHAO, act_id)


async def crossed(bank: Bank, sandbox: Sandbox) -> list[str]:
    """Two merges of the same two tags, the one into the other and the other way round, when both are
    about to delete; the tags' ids. The guard at asking lets nobody come so far."""
    act_id, gold, silver, _ = await merge(bank, sandbox, 0)
    with pytest.raises(Conflict, match="tag_act_waits"):
        await acts.ask(bank, ZHAO, silver, "反过来", into=gold)
    await bank.db[TAG_ACTS].update({"_id": act_id}, {"$set": {"state": "deleting"}})
    other = {**await act(bank, act_id), "_id": f"{bank.id}:crossed", "subject": silver, "tags": [silver], "into": gold}
    await bank.db[TAG_ACTS].insert(other)
    return [gold, silver]


async def test_two_merges_that_would_delete_each_others_tag_never_delete_both(bank: Bank, sandbox: Sandbox) -> None:
    both = await crossed(bank, sandbox)
    await jobs.run(bank, acts.TASK)
    states = sorted([row["state"] for row in await bank.db[TAG_ACTS].find({})])
    left = set((await ids_of(bank)).values())
    assert (states, len(left)) in [(["failed", "failed"], 2), (["done", "failed"], 1)]
    assert left <= set(both)


async def test_without_the_guard_both_tags_would_be_gone(
    bank: Bank, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crossed(bank, sandbox)
    both_came = asyncio.Barrier(2)

    async def no_guard(*_: object) -> None:
        await both_came.wait()

    monkeypatch.setattr(walking, "check_free", no_guard)
    await jobs.run(bank, acts.TASK)
    assert await ids_of(bank) == {}


async def test_what_a_campaign_uses_goes_only_when_two_say_so_in_view_of_that(bank: Bank) -> None:
    used = "来源:一线"
    await desk.create(bank, LIN, "来源", ["一线"])
    tag_id = (await ids_of(bank))[used]
    with pytest.raises(Conflict, match="tag_used") as refused:
        await acts.ask(bank, LIN, tag_id, "没人用")
    assert refused.value.data == {"by": "acq-branch"}
    with pytest.raises(Conflict, match="tag_used"):
        await acts.rename(bank, LIN, tag_id, "二线")
    act_id = await acts.ask(bank, LIN, tag_id, "没人用", force=True)
    assert (await act(bank, act_id))["used"] == ["acq-branch"]
    await acts.approve(bank, ZHAO, act_id)
    await jobs.run(bank, acts.TASK)
    assert (await act(bank, act_id))["state"] == "done"
    assert used not in await ids_of(bank)


async def test_what_a_live_segment_asks_for_is_used_until_it_asks_no_more(bank: Bank) -> None:
    await desk.create(bank, LIN, "等级", ["金卡", "银卡"])
    bank.services.cache.clear()
    known = await ids_of(bank)
    gold, silver = known["等级:金卡"], known["等级:银卡"]
    said = {"name": {"zh": "金卡客户", "en": "Gold"}, "rule": "customer.bound and not tag( '等级:金卡')"}
    asked = await acts.ask(bank, LIN, gold, "没人用")
    words = await profiling.vocabulary(bank)
    number = await versions.submit(bank, LIN, "gold", document.read("gold", said), words)
    assert (await desk.find(bank, gold)).used_by == []
    await versions.approve(bank, ZHAO, "gold", number, words)
    with pytest.raises(Conflict, match="tag_used") as began:
        await acts.approve(bank, ZHAO, asked)
    assert (began.value.data, (await act(bank, asked))["state"]) == ({"by": "segment:gold"}, "failed")
    with pytest.raises(Conflict, match="tag_used"):
        await acts.rename(bank, LIN, gold, "金牌")
    with pytest.raises(Conflict, match="tag_used"):
        await acts.ask(bank, LIN, gold, "两个是一个", into=silver)
    assert (await desk.find(bank, silver)).used_by == []
    await versions.approve(bank, ZHAO, "gold", await versions.archive(bank, LIN, "gold", "x"), words)
    await acts.rename(bank, LIN, gold, "金牌")
    assert (await ids_of(bank))["等级:金牌"] == gold


async def test_a_use_that_began_after_the_asking_stops_the_approval(bank: Bank) -> None:
    await desk.create(bank, LIN, "渠道", ["一线"])
    tag_id = (await ids_of(bank))["渠道:一线"]
    act_id = await acts.ask(bank, LIN, tag_id, "没人用")
    text = (DEMO_CAMPAIGNS / "branch-acquisition.yaml").read_text(encoding="utf-8")
    await tools.go_live(bank.services, text.replace("来源:{{channel.branch}}", "渠道:一线"))
    with pytest.raises(Conflict, match="tag_used"):
        await acts.approve(bank, ZHAO, act_id)
    assert (await act(bank, act_id))["state"] == "failed"
    assert "渠道:一线" in await ids_of(bank)


async def test_a_group_goes_with_all_its_tags_and_a_turned_down_deletion_deletes_nothing(bank: Bank) -> None:
    await desk.create(bank, LIN, "等级", ["金卡", "银卡"])
    (group,) = [one for one in (await desk.overview(bank)).groups if one.name == "等级"]
    act_id = await acts.ask(bank, LIN, group.id, "换一套")
    await acts.reject(bank, ZHAO, act_id, "还在用")
    await jobs.run(bank, acts.TASK)
    assert len(await ids_of(bank)) == 2
    again = await acts.ask(bank, LIN, group.id, "换一套")
    await acts.approve(bank, ZHAO, again)
    await jobs.run(bank, acts.TASK)
    assert await ids_of(bank) == {}
    assert [(await act(bank, one))["state"] for one in (act_id, again)] == ["rejected", "done"]


async def test_tags_of_a_rule_group_are_made_renamed_and_deleted(bank: Bank, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "strategies", {"strategy_id": 7})
    assert await desk.create(bank, LIN, "南山", ["新客", "老客"], 7) == 2
    assert await desk.create(bank, LIN, "南山", ["新客"], 7) == 0
    (group,) = (await desk.overview(bank)).strategies
    assert (group.strategy, [tag.tag for tag in group.tags]) == (7, ["新客", "老客"])
    with pytest.raises(InvalidInput, match="tag_merge"):
        await acts.ask(bank, LIN, group.tags[0].id, "合并", into=group.tags[1].id)
    await acts.rename(bank, LIN, group.tags[0].id, "新")
    act_id = await acts.ask(bank, LIN, group.tags[1].id, "没人用")
    await acts.approve(bank, ZHAO, act_id)
    await jobs.run(bank, acts.TASK)
    (group,) = (await desk.overview(bank)).strategies
    assert [tag.tag for tag in group.tags] == ["新"]


@pytest.mark.parametrize(
    ("errcode", "state", "why", "left_out", "left"),
    [
        (84061, "done", "", 2, ["等级:银卡"]),
        (40058, "failed", "platform_bad_request:40058", 0, ["等级:金卡", "等级:银卡"]),
    ],
)
async def test_who_is_no_friend_any_more_is_left_out_and_all_else_that_wecom_refuses_stops_the_merge(
    bank: Bank, sandbox: Sandbox, errcode: int, state: str, why: str, left_out: int, left: list[str]
) -> None:
    act_id, *_ = await merge(bank, sandbox, 2)
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=errcode)
    await jobs.run(bank, acts.TASK)
    row = await act(bank, act_id)
    assert (row["state"], row["why"], row["done"], row["left_out"]) == (state, why, 0, left_out)
    assert sorted(await ids_of(bank)) == left
