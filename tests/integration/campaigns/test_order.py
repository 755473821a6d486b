"""Callbacks come in any order and more than once (contract/wechat C3): the end is that of the right order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers.identity import resolution
from operations.events import dispatch
from services.clock import utc
from services.container import Services
from services.queue.inbox import Arrival, receive
from services.store.mongo import Doc
from services.wechat import events
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until

START = 1_780_000_000
PAIRS = [("rm.chen", "a"), ("rm.chen", "b"), ("rm.wang", "a")]
BOUNDS = settings(
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_worlds = count()


@dataclass(frozen=True)
class Move:
    """Something between a member and a customer, `second` after START."""

    kind: str
    userid: str
    customer: str
    second: int


Story = tuple[list[Move], list[Move]]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """What happened, in its order, and the same as it was delivered: shuffled, some of it twice."""
    second, told = 0, []
    for (userid, customer), kind, later in draw(
        st.lists(
            st.tuples(
                st.sampled_from(PAIRS), st.sampled_from(["add", "half", "lost", "removed"]), st.sampled_from([0, 1, 60])
            ),
            min_size=2,
            max_size=7,
        )
    ):
        second += later
        told.append(Move(kind, userid, customer, second))
    again = draw(st.lists(st.sampled_from(told), max_size=3))
    return told, draw(st.permutations([*told, *again]))


def _event(move: Move, world: int) -> events.ContactEvent:
    head: dict[str, Any] = {
        "corp_id": "ww1",
        "create_time": utc(START + move.second),
        "userid": move.userid,
        "external_userid": _external(world, move.customer),
    }
    if move.kind == "lost":
        return events.FollowUserDeleted(**head)
    if move.kind == "removed":
        return events.ExternalContactDeleted(**head, source=None)
    state = f"s{move.second}"  # of one second, a half add and its completion have one state
    return events.ExternalContactAdded(**head, state=state, welcome_code=None, half=move.kind == "half")


def _external(world: int, customer: str) -> str:
    return f"wm{customer}{world:030d}"


def _row(move: Move, world: int) -> Doc:
    at = utc(START + move.second + 5)
    return {"_id": f"demo:{world}-{move}", "at": at, "owner": f"worker{world}", "tenant": "demo"}


async def _deliver(services: Services, moves: Sequence[Move], *, at_once: bool) -> list[Doc]:
    """The friendships that are known when all was told, in a world of their own."""
    world = next(_worlds)
    at_bank = await open_bank(services, "demo")
    work_ = [dispatch.react(at_bank, _row(move, world), _event(move, world)) for move in moves]
    if at_once:
        await asyncio.gather(*work_)
    else:
        for one in work_:
            await one
    found = []
    for customer in sorted({move.customer for move in moves}):
        facts = resolution.Facts(external_userid=_external(world, customer))
        cid = await resolution.identify(await open_bank(services, "demo"), facts)
        rows = await services.store.tenant("demo")["relationships"].find({"cid": cid}, sort=[("userid", 1)])
        names = ("userid", "active", "at", "since", "state", "add_way")
        found += [{"customer": customer, **{name: row.get(name) for name in names}} for row in rows]
    return found


@BOUNDS
@given(story=stories())
async def test_friendships_end_the_same_in_every_order(demo: Services, story: Story) -> None:
    in_order, as_delivered = story
    expected = await _deliver(demo, in_order, at_once=False)
    assert await _deliver(demo, as_delivered, at_once=False) == expected


@BOUNDS
@given(story=stories())
async def test_friendships_end_the_same_when_all_is_told_at_once(demo: Services, story: Story) -> None:
    in_order, as_delivered = story
    expected = await _deliver(demo, in_order, at_once=False)
    assert await _deliver(demo, as_delivered, at_once=True) == expected


async def test_an_end_that_is_told_late_leaves_the_new_friendships_run_alone(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    (run,) = await tools.runs(demo)
    (friends,) = await demo.store.tenant("demo")["relationships"].find({})
    old = events.FollowUserDeleted(
        corp_id="ww1",
        create_time=utc(friends["at"] - 100),
        userid=scan["userid"],
        external_userid=person["external_userid"],
    )
    row = {"_id": "demo:late", "at": utc(demo.clock()), "owner": "w", "tenant": "demo"}
    assert await dispatch.react(await open_bank(demo, "demo"), row, old) == "handled"
    (after,) = await tools.runs(demo)
    assert (after["status"], after["moves"]) == ("active", run["moves"])
    (follow,) = await demo.store.tenant("demo")["relationships"].find({})
    assert follow["active"] is True


async def test_an_end_ends_the_run_of_the_friendship_before_it(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    await sandbox.control(
        "POST", f"people/{person['id']}/delete", {"userid": scan["userid"]}
    )  # the same second, perhaps
    await tools.all_work(demo)
    (run,) = await tools.runs(demo)
    assert (run["status"], run["reason"]) == ("exited", "lost")


async def test_a_change_before_the_coming_ends_as_in_order(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person = await sandbox.person()
    await sandbox.control("POST", "faults", {"target": "callback", "kind": "reorder", "times": 2})
    scan = await sandbox.scan(person, state=tools.NANSHAN)
    await sandbox.control("POST", f"people/{person['id']}/edited-by", {"userid": scan["userid"], "remark": "贵宾"})
    await until(lambda: _handled(demo, 2))
    (follow,) = await demo.store.tenant("demo")["relationships"].find({})
    assert (follow["active"], follow["state"]) == (True, tools.NANSHAN)
    (run,) = await tools.runs(demo)
    assert run["status"] == "active"
    assert await tools.welcomes(sandbox) == 1


async def _handled(services: Services, number: int) -> bool:
    await tools.all_work(services)
    return await services.store.tenant("demo")["inbox"].count({"state": "handled"}) == number


async def test_a_half_add_is_greeted_with_its_code_and_the_add_after_it_not_again(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person = await sandbox.person()
    half = {"userid": "rm.chen", "state": tools.NANSHAN}
    await sandbox.control("POST", f"people/{person['id']}/half-add", half)
    await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 1
    (follow,) = await demo.store.tenant("demo")["relationships"].find({})
    assert (follow["active"], follow["state"]) == (True, tools.NANSHAN)
    await sandbox.scan(person, state=tools.NANSHAN, userid="rm.chen")
    await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 1
    assert len(await tools.runs(demo)) == 1
    assert await demo.store.tenant("demo")["inbox"].count({"state": "handled"}) == 2
    assert await demo.store.tenant("demo")["outbox"].count({"kind": "enrich"}) == 0


@pytest.mark.parametrize("change", ["edit_external_contact", "del_external_contact"])
async def test_an_event_of_a_customer_who_is_nobodys_friend_is_handled(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, change: str
) -> None:
    """His going may have been delivered first; WeCom then answers 84061."""
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": scan["userid"]})
    message = (
        f"<xml><ToUserName>ww1</ToUserName><CreateTime>{START}</CreateTime><MsgType>event</MsgType>"
        f"<Event>change_external_contact</Event><ChangeType>{change}</ChangeType><UserID>{scan['userid']}</UserID>"
        f"<ExternalUserID>{person['external_userid']}</ExternalUserID></xml>"
    )
    await receive(demo, Arrival("demo", "wecom", message.encode()))
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    states = [row["state"] for row in await demo.store.tenant("demo")["inbox"].find({})]
    assert states == ["handled"] * 3
