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

from campaigns.engine import launch
from customers.banks.bank import Bank
from customers.identity import resolution
from operations.events import dispatch, handle
from services.clock import utc
from services.container import Services
from services.queue.inbox import GREETING, Arrival, receive
from services.store.mongo import Doc
from services.wechat import events
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
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
    return {"_id": f"demo:{world}-{move}", "at": at, "owner": f"worker{world}", "tenant": "demo", "attempts": 1}


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
    assert await dispatch.react(await open_bank(demo, "demo"), row, old) == ("handled", None)
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


def told(change: str, scan: Doc, person: Doc, at: int, extra: str = "") -> Arrival:
    message = (
        f"<xml><ToUserName>ww1</ToUserName><CreateTime>{at}</CreateTime><MsgType>event</MsgType>"
        f"<Event>change_external_contact</Event><ChangeType>{change}</ChangeType><UserID>{scan['userid']}</UserID>"
        f"<ExternalUserID>{person['external_userid']}</ExternalUserID>{extra}</xml>"
    )
    return Arrival("demo", "wecom", message.encode(), lane=GREETING if "WelcomeCode" in extra else "")


async def _listed_by_wecom(sandbox: Sandbox) -> tuple[Doc, Doc, str]:
    """Somebody who is a friend by what WeCom lists, and of whom no callback came; and the rest of the add."""
    await sandbox.control("POST", "faults", {"target": "callback", "kind": "drop"})
    person = await sandbox.person()
    scan = await sandbox.scan(person, state=tools.NANSHAN)
    await sandbox.control("DELETE", "faults")
    return person, scan, f"<State>{tools.NANSHAN}</State><WelcomeCode>{scan['welcome_code']}</WelcomeCode>"


async def _createtime(services: Services, person: Doc) -> int:
    bank = await open_bank(services, "demo")
    (friend,) = (await bank.wecom.customers.get(person["external_userid"]))["follow_user"]
    return int(friend["createtime"])


async def _nothing_was_done(services: Services, sandbox: Sandbox, person: Doc) -> None:
    assert await tools.welcomes(sandbox) == 0
    assert [run for run in await tools.runs(services) if not run.get("void")] == []
    outbox = services.store.tenant("demo")["outbox"]
    assert await outbox.count({"state": "done", "kind": {"$ne": "enrich"}, "run": {"$ne": ""}}) == 0
    assert await services.store.tenant("demo")["offers"].count() == 0
    friends = (await sandbox.control("GET", f"people/{person['id']}"))["friends"]
    assert [one["tag_names"] for one in friends] == [[]]


@pytest.mark.parametrize("change", ["del_follow_user", "del_external_contact"])
@pytest.mark.parametrize("add", ["add_external_contact", "add_half_external_contact"])
@pytest.mark.parametrize("later", [0, 5])
async def test_a_coming_whose_going_is_known_does_nothing_though_wecom_lists_it_still(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, change: str, add: str, later: int
) -> None:
    person, scan, rest = await _listed_by_wecom(sandbox)
    at = await _createtime(demo, person)
    await receive(demo, told(change, scan, person, at + later))
    await tools.all_work(demo)
    await receive(demo, told(add, scan, person, at, rest))
    await tools.all_work(demo)
    await _nothing_was_done(demo, sandbox, person)
    assert await tools.runs(demo) == []
    await _returns(demo, sandbox, person, scan)


async def _returns(services: Services, sandbox: Sandbox, person: Doc, scan: Doc) -> None:
    """He comes back later and is greeted."""
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": scan["userid"]})
    await asyncio.sleep(6)  # the platforms' times are whole seconds of their own clock
    await sandbox.scan(person, state=tools.NANSHAN, userid=scan["userid"])
    await tools.all_work(services)
    assert await tools.welcomes(sandbox) == 1
    (run,) = [one for one in await tools.runs(services) if not one.get("void")]
    assert run["status"] == "active"


async def test_a_going_that_comes_while_he_is_let_in_stops_what_is_not_done_yet(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, scan, rest = await _listed_by_wecom(sandbox)
    at = await _createtime(demo, person)
    greet = launch.greet

    async def and_he_goes(bank: Bank, *arguments: Any) -> None:
        await receive(demo, told("del_follow_user", scan, person, at))
        row = (await demo.store.tenant("demo")["inbox"].find({"open": True, "owner": None}))[0]
        await handle.handle_message(bank, "", {**row, "owner": ""})
        await greet(bank, *arguments)

    monkeypatch.setattr(launch, "greet", and_he_goes)
    await receive(demo, told("add_external_contact", scan, person, at, rest))
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    monkeypatch.undo()
    for _ in range(2):  # what was busy in that moment is due again when its lease is over
        clock.advance(7)
        await tools.all_work(demo)
    await _nothing_was_done(demo, sandbox, person)
    ended = await demo.store.tenant("demo")["outbox"].find({"run": {"$ne": ""}})
    assert {(row["open"], row["state"], row["reason"]) for row in ended} == {(False, "failed", "friendship_over")}
    assert [run["void"] for run in await tools.runs(demo)] == [True]
    await _returns(demo, sandbox, person, scan)


async def test_what_waits_for_a_later_try_is_not_sent_to_who_has_gone(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=-1, times=1)
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["open"] is True
    await receive(demo, told("del_follow_user", scan, person, int(demo.clock()) + 1))  # WeCom lists him still
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    clock.advance(60)
    await tools.all_work(demo)
    row = await tools.effect(demo, "tag")
    assert (row["state"], row["reason"]) == ("failed", "friendship_over")
    assert [run["status"] for run in await tools.runs(demo)] == ["exited"]  # he was greeted: his entry is spent


async def test_an_add_of_before_a_going_is_over_also_when_he_is_back(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    """Add, going, add: the first is delivered last, and its code must not be what greets him."""
    person, scan, rest = await _listed_by_wecom(sandbox)
    at = await _createtime(demo, person)
    await receive(demo, told("del_follow_user", scan, person, at - 50))
    await tools.all_work(demo)
    old = rest.replace(str(scan["welcome_code"]), "DEAD")
    await receive(demo, told("add_external_contact", scan, person, at - 100, old))
    await tools.all_work(demo)
    assert await tools.runs(demo) == []
    await receive(demo, told("add_external_contact", scan, person, at, rest))
    await tools.all_work(demo)
    assert (await tools.welcomes(sandbox), len(await tools.runs(demo))) == (1, 1)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("change", ["create_user", "update_user"])
async def test_a_member_who_is_known_to_have_left_is_not_made_staff_by_an_older_word(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, order: tuple[int, int], change: str
) -> None:
    """WeCom may list him still."""
    message = (
        "<xml><ToUserName>ww1</ToUserName><CreateTime>{at}</CreateTime><Event>change_contact</Event>"
        "<ChangeType>{change}</ChangeType><UserID>rm.chen</UserID><Name>x</Name></xml>"
    )
    told = [message.format(at=START, change=change), message.format(at=START + 1, change="delete_user")]
    for place in order:
        await receive(demo, Arrival("demo", "wecom", told[place].encode()))
        await jobs.handle_inbox(await open_bank(demo, "demo"))
    (member,) = await demo.store.tenant("demo")["members"].find({"userid": "rm.chen"})
    assert member["active"] is False


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_department_that_is_known_to_be_gone_stays_gone(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, order: tuple[int, int]
) -> None:
    message = (
        "<xml><ToUserName>ww1</ToUserName><CreateTime>{at}</CreateTime><Event>change_contact</Event>"
        "<ChangeType>{change}</ChangeType><Id>1</Id></xml>"
    )
    told = [message.format(at=START, change="update_party"), message.format(at=START + 1, change="delete_party")]
    for place in order:
        await receive(demo, Arrival("demo", "wecom", told[place].encode()))
        await jobs.handle_inbox(await open_bank(demo, "demo"))
    (department,) = await demo.store.tenant("demo")["departments"].find({"department_id": 1})
    assert department["active"] is False


@pytest.mark.parametrize("going", ["del_follow_user", "del_external_contact"])
@pytest.mark.parametrize("order", ["gfs", "gsf", "sgf", "sfg", "gesfe"])
async def test_who_came_went_and_came_is_greeted_once_by_the_code_of_his_return(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, order: str, going: str
) -> None:
    """First coming, going, second coming, and edits, in every order in which the going is told before the first."""
    person, scan, rest = await _listed_by_wecom(sandbox)
    at = await _createtime(demo, person)
    said = {
        "f": told("add_external_contact", scan, person, at - 100, rest.replace(str(scan["welcome_code"]), "DEAD")),
        "g": told(going, scan, person, at - 50),
        "s": told("add_external_contact", scan, person, at, rest),
        "e": told("edit_external_contact", scan, person, at - 20),
    }
    for one in order:
        await receive(demo, said[one])
        await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 1
    (run,) = [one for one in await tools.runs(demo) if not one.get("void")]
    assert run["status"] == "active"
    (follow,) = await demo.store.tenant("demo")["relationships"].find({})
    assert (follow["active"], follow["at"]) == (True, at)
