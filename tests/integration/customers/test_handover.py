from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from customers.access import rm
from customers.actors import ClerkActor
from customers.handover import batches as handover
from services.clock import utc
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.store.mongo import Collection, Doc
from services.wechat.events import HandoverFailed
from tests.conftest import Sandbox
from tests.integration.customers.handing import (
    CHEN,
    LIN,
    RIGHTS,
    ZHAO,
    approved,
    asked,
    batch_row,
    friend,
    items,
    wanted,
    work,
)
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def test_nothing_is_asked_of_wecom_before_a_second_person_agreed(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await friend(bank, sandbox)
    batch = await handover.start(await open_bank(bank, "demo"), LIN, wanted())
    with pytest.raises(Forbidden) as refused:
        await handover.approve(await open_bank(bank, "demo"), LIN, batch)
    assert refused.value.code == "approver_is_author"
    await work(bank, clock)
    assert (await batch_row(bank, batch))["state"] == "submitted"
    assert await asked(sandbox) == 0
    await handover.approve(await open_bank(bank, "demo"), ZHAO, batch)
    await work(bank, clock)
    assert await asked(sandbox) == 1
    actions = [row["action"] for row in await bank.store.tenant("demo")["audit"].find({}, sort=[("seq", 1)])]
    assert actions[-3:] == ["handover.submitted", "handover.approval_refused", "handover.approved"]


async def test_two_who_decide_at_once_decide_once(bank: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await friend(bank, sandbox)
    batch = await handover.start(await open_bank(bank, "demo"), LIN, wanted())
    other = ClerkActor("demo", "wu", "吴", RIGHTS)
    decisions = (
        handover.approve(await open_bank(bank, "demo"), ZHAO, batch),
        handover.approve(await open_bank(bank, "demo"), other, batch),
        handover.reject(await open_bank(bank, "demo"), other, batch, "不需要"),
    )
    ended = await asyncio.gather(*decisions, return_exceptions=True)
    assert sorted(type(end).__name__ for end in ended) == ["Conflict", "Conflict", "NoneType"]
    await work(bank, clock)
    assert await asked(sandbox) == int((await batch_row(bank, batch))["state"] != "rejected")


async def test_what_was_rejected_stays_so(bank: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await friend(bank, sandbox)
    batch = await handover.start(await open_bank(bank, "demo"), LIN, wanted())
    with pytest.raises(InvalidInput):
        await handover.reject(await open_bank(bank, "demo"), ZHAO, batch, "  ")
    await handover.reject(await open_bank(bank, "demo"), ZHAO, batch, "客户在休假")
    with pytest.raises(Conflict) as refused:
        await handover.approve(await open_bank(bank, "demo"), ZHAO, batch)
    assert refused.value.code == "handover_decided"
    await work(bank, clock)
    row = await batch_row(bank, batch)
    assert (row["state"], row["reason"], row["decided_by"]) == ("rejected", "客户在休假", "zhao")
    assert await asked(sandbox) == 0


async def test_the_same_request_twice_is_one_batch(bank: Services, sandbox: Sandbox) -> None:
    await friend(bank, sandbox)
    at_bank = await open_bank(bank, "demo")
    batches = await asyncio.gather(*(handover.start(at_bank, LIN, wanted()) for _ in range(5)))
    assert len(set(batches)) == 1
    assert len(await items(bank)) == 1
    assert await handover.start(await open_bank(bank, "demo"), LIN, wanted("key-2")) not in batches


async def test_only_chosen_customers_of_his_own_go_over(bank: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    mine, _ = await friend(bank, sandbox, "刘敏")
    await friend(bank, sandbox, "张伟")
    theirs, _ = await friend(bank, sandbox, "王芳", "rm.wang")
    with pytest.raises(NotFound) as refused:
        await handover.start(await open_bank(bank, "demo"), LIN, wanted(cids=(mine, theirs)))
    assert refused.value.code == "customer_unknown"
    assert await items(bank) == []
    await approved(bank, wanted(cids=(mine,)))
    await work(bank, clock)
    assert await items(bank) == [("waiting", "")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"takeover_userid": "rm.chen"}, "handover_same"),
        ({"takeover_userid": "nobody"}, "staff_unknown"),
        ({"message": "好" * 201}, "handover_message"),
        ({"mode": "resigned"}, "handover_in_service"),
        ({"handover_userid": "nobody"}, "handover_not_in_service"),
        ({"handover_userid": "rm.sun"}, "handover_nothing"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_is_kept(
    bank: Services, sandbox: Sandbox, fields: dict[str, Any], code: str
) -> None:
    await friend(bank, sandbox)
    with pytest.raises((InvalidInput, NotFound, Conflict)) as refused:
        await handover.start(await open_bank(bank, "demo"), LIN, wanted(**fields))
    assert refused.value.code == code
    assert await items(bank) == []
    assert await handover.list_batches(await open_bank(bank, "demo"), LIN) == []


async def test_another_banks_hand_over_is_unknown(other: Services, sandbox: Sandbox) -> None:
    await friend(other, sandbox)
    batch = await handover.start(await open_bank(other, "demo"), LIN, wanted())
    eve = ClerkActor("other", "eve", "夏", RIGHTS)
    for ask in (
        handover.approve(await open_bank(other, "other"), eve, batch),
        handover.reject(await open_bank(other, "other"), eve, batch, "x"),
        handover.batch_view(await open_bank(other, "other"), eve, batch),
    ):
        with pytest.raises(NotFound) as refused:
            await ask
        assert refused.value.code == "handover_unknown"
    assert (await batch_row(other, batch))["state"] == "submitted"
    assert await handover.list_batches(await open_bank(other, "other"), eve) == []


async def test_a_refusal_ends_the_item_and_leaves_the_friendship(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    cid, external = await friend(bank, sandbox)
    await approved(bank)
    await work(bank, clock)
    refusal = HandoverFailed(
        corp_id="ww1", create_time=utc(bank.clock()), userid="rm.li", external_userid=external,
        fail_reason="customer_refused",
    )  # fmt: skip
    row = {"_id": "demo:1", "tenant": "demo", "at": utc(bank.clock())}
    for _ in range(2):
        await handover.transfer_failed(await open_bank(bank, "demo"), row, refusal)
    assert await items(bank) == [("refused", "customer_refused")]
    assert (await rm.access_customer(await open_bank(bank, "demo"), CHEN, cid))[0].cid == cid
    story = await bank.store.tenant("demo")["timeline"].find({"kind": "handover.failed"})
    assert [entry["data"] for entry in story] == [{"reason": "customer_refused", "from": "rm.chen", "to": "rm.li"}]


async def test_a_refusal_from_before_this_time_says_nothing(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    _, external = await friend(bank, sandbox)
    await approved(bank)
    await work(bank, clock)
    old = HandoverFailed(
        corp_id="ww1", create_time=utc(bank.clock() - 500.0), userid="rm.li", external_userid=external,
        fail_reason="customer_limit_exceed",
    )  # fmt: skip
    await handover.transfer_failed(await open_bank(bank, "demo"), {"_id": "demo:1", "at": utc(bank.clock())}, old)
    assert await items(bank) == [("waiting", "")]


async def test_the_page_of_a_batch_is_masked(bank: Services, sandbox: Sandbox) -> None:
    await friend(bank, sandbox, "欧阳娜娜")
    batch = await handover.start(await open_bank(bank, "demo"), LIN, wanted(message="您好"))
    view = await handover.batch_view(await open_bank(bank, "demo"), LIN, batch)
    assert view["message"] == "您好"
    assert view["items"] == [{"kind": "customer", "name": "欧***", "state": "requested", "reason": ""}]
    (row,) = await handover.list_batches(await open_bank(bank, "demo"), LIN)
    assert (row["states"], row["customers"], row["groups"]) == ({"requested": 1}, 1, 0)


async def test_a_leaver_with_thousands_of_customers_holds_up_nobody_else(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The items are sealed in parts: between them others have their turn."""
    sizes: list[int] = []
    insert_new = Collection.insert_new

    async def insert(self: Collection, docs: Sequence[Doc]) -> set[int]:
        sizes.append(len(docs))
        return await insert_new(self, docs)

    monkeypatch.setattr(Collection, "insert_new", insert)
    chats = tuple(f"wr{number}" for number in range(2 * handover.SEALED_AT_ONCE + 1))
    batch = await handover.start(await open_bank(bank, "demo"), LIN, wanted(cids=(), chat_ids=chats))
    assert sizes == [handover.SEALED_AT_ONCE, handover.SEALED_AT_ONCE, 1]
    assert (await batch_row(bank, batch))["groups"] == len(chats)
