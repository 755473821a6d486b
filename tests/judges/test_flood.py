"""Callbacks repeated, reordered, forged in part, with worker and server killed on the way: each genuine one counts once (P3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import httpx
import pytest

from bench import differences, flood
from bench.forgeries import FORGERIES
from bench.stories import Crowd, Friend, Teller, Truth
from bench.sync import SyncStage
from config.settings import Settings
from services.container import Services
from services.wechat import events
from tests.conftest import Sandbox, Stack

CALLBACKS = 3_000
TENANT = "demo"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A killed worker's calls are taken for ended sooner than in a bank."""
    return settings.model_copy(update={"platform_timeout": 2.0})


@pytest.fixture
async def stage(demo: Services, stack: Stack, sandbox: Sandbox) -> AsyncIterator[SyncStage]:
    async with httpx.AsyncClient(base_url=sandbox.url, trust_env=False, timeout=60.0) as control:
        yield SyncStage(demo, stack.parts, control)


@pytest.mark.alone
async def test_each_genuine_callback_counts_once_and_each_forged_one_is_refused(
    stage: SyncStage, demo: Services
) -> None:
    figures, truth, wrong = await flood.flooded(stage, CALLBACKS)
    assert wrong == []
    assert figures["forged"] == sum(figures["forgeries"].values()) == round(CALLBACKS * flood.FORGED)
    assert figures["forgeries"].keys() == FORGERIES.keys()
    assert figures["callbacks"] > figures["genuine"] * 1.9
    assert figures["delivered_again"] > 0
    await _the_judge_sees(demo, truth)


async def _the_judge_sees(demo: Services, truth: Truth) -> None:
    """The control: what is lost or doubled is found."""
    db = demo.store.tenant(TENANT)
    added = await db["timeline"].find({"kind": "customer.added"}, limit=2)
    await db["timeline"].insert({**added[0], "_id": f"{added[0]['_id']}:again"})
    lost = {"timeline": added[1]}
    for name, query in (("inbox", {}), ("relationships", {}), ("group_members", {"type": 2})):
        lost[name] = (await db[name].find(query, limit=1))[0]
    for name, row in lost.items():
        await db[name].delete({"_id": row["_id"]})
    told = await differences.found(demo, truth)
    assert [one.split(", such")[0] for one in told] == [
        "inbox: 1 missing",
        "relationships: 1 missing",
        "timeline: 1 missing",
        "timeline: 1 otherwise",
        "groups: 1 otherwise",
    ]


def test_the_judge_sees_a_forgery_that_is_let_in_or_refused_for_another_reason() -> None:
    sender = flood.Sender(0, [], Random(1))
    sender.answered(flood.Delivery(forgery="another corp"), "", 200, b"")
    sender.answered(flood.Delivery(forgery="another corp"), "", 403, b'{"error": {"code": "callback_stale"}}')
    sender.answered(flood.Delivery(forgery="another corp"), "", 403, b'{"error": {"code": "callback_bad_receiveid"}}')
    sender.answered(flood.Delivery(b"<xml/>"), "1", 403, b"refused")
    assert sender.sent.wrong == [
        "another corp was answered 200 ",
        "another corp was answered 403 callback_stale",
        "a genuine callback was answered 403 b'refused'",
    ]


def test_the_truth_follows_from_the_messages_in_the_order_in_which_they_happened() -> None:
    """A control of the judge: the last word of each friendship, read from the messages alone, is what the truth says."""
    friends = tuple(Friend("rm.chen", f"wm{number}", 1_700_000_000 + number) for number in range(200))
    names = {friend.external_userid: "刘敏" for friend in friends}
    crowd = Crowd(("rm.chen", "rm.li"), friends, ("wmgone",), names, {})
    truth = Teller(crowd, 1).tell(1_000)
    assert len(truth.messages) == 1_000
    last: dict[tuple[str, str], tuple[int, bool]] = {}
    for event in map(events.parse_event, truth.messages):
        if isinstance(event, events.ExternalContactAdded | events.ExternalContactDeleted | events.FollowUserDeleted):
            assert event.create_time is not None
            told = (int(event.create_time.timestamp()), not isinstance(event, events.ExternalContactAdded))
            pair = (event.userid, event.external_userid)
            last[pair] = max(told, last.get(pair, told))
    assert {pair: (not ended, at) for pair, (at, ended) in last.items()} == {
        pair: (active, at) for pair, (active, at, _) in truth.friendships.items()
    }
