from __future__ import annotations

from typing import Any

import pytest

from customers import relationships
from customers.access import rm
from customers.handover import batches, departures
from customers.handover import work as handover_work
from customers.identity import resolution
from services.clock import utc
from services.container import Services
from services.errors import NotFound
from services.wechat.wecom.groups import Groups as WeComGroups
from services.wechat.wecom.handover import Handover
from tests.conftest import Sandbox
from tests.integration.customers.dump import everything
from tests.integration.customers.handing import (
    CHEN,
    DAY,
    LI,
    LIN,
    TRANSFER,
    approved,
    asked,
    batch_row,
    friend,
    items,
    time_passes,
    wanted,
    work,
)
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


class Groups:
    """Customer groups at WeCom, by owner; `failing` says which cannot go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.owners = {"wrA": "rm.chen", "wrB": "rm.chen", "wrC": "rm.chen"}
        self.failing: dict[str, int] = {}
        self.asked: list[list[str]] = []
        self.lose_answer = False
        groups = self

        async def transfer(_: Any, chats: list[str], owner: str) -> dict[str, Any]:
            groups.asked.append(chats)
            failed = [
                {"chat_id": chat, "errcode": groups.failing[chat], "errmsg": ""}
                for chat in chats
                if chat in groups.failing
            ]
            groups.owners |= {chat: owner for chat in chats if chat not in groups.failing}
            if groups.lose_answer:
                groups.lose_answer = False
                raise ConnectionResetError
            return {"failed_chat_list": failed}

        async def get(_: Any, chat_id: str, **__: Any) -> dict[str, Any]:
            return {"group_chat": {"chat_id": chat_id, "owner": groups.owners[chat_id]}}

        async def listed(_: Any, *, owner_userids: list[str], **__: Any) -> dict[str, Any]:
            mine = [chat for chat, owner in groups.owners.items() if owner in owner_userids]
            return {"group_chat_list": [{"chat_id": chat, "status": 0} for chat in mine], "next_cursor": ""}

        monkeypatch.setattr(Handover, "transfer_groups", transfer)
        monkeypatch.setattr(WeComGroups, "get", get)
        monkeypatch.setattr(WeComGroups, "list", listed)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    return Groups(monkeypatch)


async def test_a_customer_goes_over_after_a_day_with_his_history(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    cid, _ = await friend(bank, sandbox)
    batch = await approved(bank, wanted(message="您好，今后由李嘉宁为您服务"))
    await work(bank, clock)
    assert await items(bank) == [("waiting", "")]
    await work(bank, clock, 60.0)
    assert await items(bank) == [("waiting", "")]
    assert (await rm.access_customer(await open_bank(bank, "demo"), CHEN, cid))[0].cid == cid
    await time_passes(bank, sandbox, clock, DAY + 1000.0)
    assert await items(bank) == [("done", "")]
    assert (await batch_row(bank, batch))["state"] == "done"
    with pytest.raises(NotFound):
        await rm.access_customer(await open_bank(bank, "demo"), CHEN, cid)
    card = await rm.customer_card(await open_bank(bank, "demo"), LI, cid)
    told = [row["data"] for row in card["timeline"] if row["kind"] == "handover.done"]
    assert told == [{"from": "rm.chen", "to": "rm.li", "mode": "onjob"}]
    assert card["people"] == {"rm.chen": "陈思远", "rm.li": "李嘉宁"}


async def test_what_wecom_tells_besides_changes_nothing_in_any_order(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    cid, external = await friend(bank, sandbox)
    await approved(bank)
    await work(bank, clock)
    await time_passes(bank, sandbox, clock, DAY + 1000.0)
    (row,) = await bank.store.tenant("demo")["relationships"].find({"userid": "rm.li"})
    for userid, active in (("rm.chen", False), ("rm.li", True)) * 2:
        await relationships.changed(await open_bank(bank, "demo"), userid, cid, at=row["at"], active=active)
    assert await relationships.between(await open_bank(bank, "demo"), "rm.li", [cid]) is not None
    assert await relationships.between(await open_bank(bank, "demo"), "rm.chen", [cid]) is None
    assert external.encode() not in await everything(bank)


async def test_an_answer_of_wecom_that_was_lost_asks_nobody_twice(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    """Killed or cut off between WeCom's answer and our write: WeCom's own results are looked at before it is asked again."""
    for name in ("刘敏", "张伟"):
        await friend(bank, sandbox, name)
    fault = {"target": "api", "kind": "timeout_after_success", "path": f"/cgi-bin/{TRANSFER}", "times": 1}
    await sandbox.control("POST", "faults", fault)
    await approved(bank)
    await work(bank, clock)
    assert await items(bank) == [("asking", "")] * 2
    await work(bank, clock, 120.0)
    assert await items(bank) == [("waiting", "")] * 2
    assert await asked(sandbox) == 1


@pytest.mark.parametrize(
    ("guarded", "calls", "ended"), [(True, 1, ("done", "")), (False, 2, ("failed", "handover_no_friend"))]
)
async def test_without_asking_written_first_a_lost_answer_is_asked_again_and_a_success_called_a_failure(
    bank: Services, sandbox: Sandbox, clock: MovedClock, monkeypatch: pytest.MonkeyPatch,
    guarded: bool, calls: int, ended: tuple[str, str],
) -> None:  # fmt: skip
    """The answer is lost, and the customer has gone over before anybody looks again."""
    write = handover_work._Step._set

    async def unguarded(self: handover_work._Step, rows: list[Any], before: str, state: str, **fields: Any) -> None:
        if state != "asking":
            await write(self, rows, "requested" if before == "asking" else before, state, **fields)

    if not guarded:
        monkeypatch.setattr(handover_work._Step, "_set", unguarded)
    await friend(bank, sandbox)
    fault = {"target": "api", "kind": "timeout_after_success", "path": f"/cgi-bin/{TRANSFER}", "times": 1}
    await sandbox.control("POST", "faults", fault)
    await approved(bank)
    await work(bank, clock)
    await time_passes(bank, sandbox, clock, DAY + 1000.0)
    await work(bank, clock, 60.0)
    assert await items(bank) == [ended]
    assert await asked(sandbox) == calls


async def test_who_died_before_he_asked_is_followed_by_one_who_asks(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await friend(bank, sandbox)
    await approved(bank)
    asking = {"state": "asking", "asked_at": utc(bank.clock())}
    await bank.store.tenant("demo")["handovers"].update_many({}, {"$set": asking})
    await work(bank, clock)
    assert await items(bank) == [("waiting", "")]
    assert await asked(sandbox) == 1


async def test_in_transfer_already_was_accepted_earlier(bank: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    """Without the look at the results the repeated call is refused with 40129; that is no failure."""
    _, external = await friend(bank, sandbox)
    client = (await open_bank(bank, "demo")).wecom
    await client.handover.transfer_customers("rm.chen", "rm.li", [external])
    await approved(bank)
    await work(bank, clock)
    assert await items(bank) == [("waiting", "")]


async def test_a_transfer_to_somebody_else_that_is_under_way_leaves_no_record_of_ours(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    _, external = await friend(bank, sandbox)
    client = (await open_bank(bank, "demo")).wecom
    await client.handover.transfer_customers("rm.chen", "rm.wang", [external])
    await approved(bank)
    await work(bank, clock)
    for _ in range(3):
        await work(bank, clock, 900.0)
    assert await items(bank) == [("failed", "handover_no_record")]


async def test_many_are_asked_for_in_calls_of_a_hundred(
    bank: Services, sandbox: Sandbox, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    async def transfer(_: Any, _from: str, _to: str, customers: list[str], **__: Any) -> dict[str, Any]:
        sizes.append(len(customers))
        refused = {"errcode": 40128}
        return {
            "customer": [
                {"external_userid": one, "errcode": 0} | (refused if one.endswith("7") else {}) for one in customers
            ]
        }

    monkeypatch.setattr(Handover, "transfer_customers", transfer)
    for number in range(230):
        cid = await resolution.identify(
            await open_bank(bank, "demo"), resolution.Facts(external_userid=f"wmBulk{number}")
        )
        await relationships.changed(await open_bank(bank, "demo"), "rm.chen", cid, at=bank.clock(), active=True)
    await approved(bank)
    await work(bank, clock)
    assert sizes == [100, 100, 30]
    ended = await items(bank)
    assert ended.count(("limit", "handover_too_often")) == 23
    assert ended.count(("waiting", "")) == 207


async def test_a_limit_of_wecom_waits_and_loses_nobody(bank: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await friend(bank, sandbox)
    fault = {"target": "api", "kind": "errcode", "errcode": 45033, "path": f"/cgi-bin/{TRANSFER}", "times": 1}
    await sandbox.control("POST", "faults", fault)
    batch = await approved(bank)
    await work(bank, clock)
    assert await items(bank) == [("requested", "")]
    assert (await batch_row(bank, batch))["due"] > bank.clock()
    await work(bank, clock, 120.0)
    assert await items(bank) == [("waiting", "")]


async def test_who_never_gets_an_answer_is_given_up_with_a_reason(
    bank: Services, sandbox: Sandbox, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, external = await friend(bank, sandbox)
    batch = await approved(bank)
    await work(bank, clock)

    async def waits(*_: object, **__: object) -> dict[str, Any]:
        return {"customer": [{"external_userid": external, "status": 2}], "next_cursor": ""}

    monkeypatch.setattr(Handover, "get_result", waits)
    await work(bank, clock, DAY + 3600.0)
    assert await items(bank) == [("waiting", "")]
    await work(bank, clock, 3 * 3600.0)
    assert await items(bank) == [("failed", "handover_overdue")]
    assert (await batch_row(bank, batch))["state"] == "done"


async def test_what_a_leaver_left_behind_goes_to_a_colleague(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    cid, _ = await friend(bank, sandbox)
    await sandbox.control("DELETE", "members/rm.chen")
    await departures.left(await open_bank(bank, "demo"), "rm.chen", bank.clock())
    assert await batches.unassigned(await open_bank(bank, "demo"), LIN) == {"rm.chen": 1}
    batch = await approved(bank, wanted(mode="resigned"))
    await work(bank, clock)
    await time_passes(bank, sandbox, clock, DAY + 1000.0)
    assert await items(bank) == [("done", "")]
    assert (await batch_row(bank, batch))["state"] == "done"
    assert (await rm.access_customer(await open_bank(bank, "demo"), LI, cid))[0].cid == cid
    bank.cache.clear()
    assert await batches.unassigned(await open_bank(bank, "demo"), LIN) == {}


async def test_groups_go_over_as_far_as_wecom_lets_them(bank: Services, clock: MovedClock, groups: Groups) -> None:
    groups.failing = {"wrB": 90501, "wrC": 90507}
    batch = await approved(bank, wanted(cids=(), chat_ids=None))
    await work(bank, clock)
    assert sorted(await items(bank)) == [("done", ""), ("failed", "handover_no_customer_group"), ("requested", "")]
    groups.failing = {"wrC": 90508}
    await work(bank, clock, 61.0)
    assert sorted(await items(bank)) == [("done", ""), ("done", ""), ("failed", "handover_no_customer_group")]
    assert (await batch_row(bank, batch))["state"] == "done"
    assert groups.asked[1:] == [["wrC"]]


async def test_a_group_whose_answer_was_lost_is_not_asked_for_twice(
    bank: Services, clock: MovedClock, groups: Groups
) -> None:
    groups.lose_answer = True
    await approved(bank, wanted(cids=(), chat_ids=("wrA",)))
    await work(bank, clock)
    assert await items(bank) == [("asking", "")]
    await work(bank, clock, handover_work.LEASE_SECONDS + 1.0)
    assert await items(bank) == [("done", "")]
    assert groups.asked == [["wrA"]]


async def test_a_batch_that_cannot_go_on_holds_up_no_other(
    bank: Services, clock: MovedClock, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = Handover.transfer_groups

    async def poisoned(client: Any, chats: list[str], owner: str) -> Any:
        if chats == ["wrA"]:
            raise KeyError("failed_chat_list")
        return await transfer(client, chats, owner)

    monkeypatch.setattr(Handover, "transfer_groups", poisoned)
    for number, chat in enumerate(("wrA", "wrB", "wrC")):
        await approved(bank, wanted(f"key-{number}", cids=(), chat_ids=(chat,)))
    await work(bank, clock)
    assert sorted(await items(bank)) == [("asking", ""), ("done", ""), ("done", "")]
    clock.advance(handover_work.OVERDUE_SECONDS)
    await work(bank, clock)
    assert sorted(await items(bank)) == [("done", ""), ("done", ""), ("failed", "handover_overdue")]


async def test_a_customer_who_refuses_is_told_by_wecoms_callback(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    """The result that is polled says the same as the event, and whichever comes first ends it."""
    person = await sandbox.person("刘敏")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    external = (await sandbox.control("GET", f"people/{person['id']}"))["external_userid"]
    cid = await resolution.identify(
        await open_bank(bank, "demo"), resolution.Facts(external_userid=external, name="刘敏")
    )
    await relationships.changed(await open_bank(bank, "demo"), "rm.chen", cid, at=bank.clock(), active=True)
    batch = await approved(bank)
    await work(bank, clock)
    await sandbox.control("POST", f"people/{person['id']}/transfers/refuse")
    await work(bank, clock, 10.0)
    assert await items(bank) == [("refused", "customer_refused")]
    assert (await batch_row(bank, batch))["state"] == "done"
    assert (await rm.access_customer(await open_bank(bank, "demo"), CHEN, cid))[0].cid == cid
