"""A physical reward: the customer's address, batches of two clerks, the shipper's numbers, and the end."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from typing import Any

import pytest

from customers import consent
from customers.access import withdrawal
from customers.actors import ClerkActor, CustomerActor
from customers.banks import clerks
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue, claims, portal
from rewards.item import Item
from rewards.ledger.check import check
from rewards.shipping import addresses, batches, rows, shipments, tracking
from services import ids, workbook
from services.container import Services
from services.documents.parts import Text
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.store.mongo import Doc
from tests.integration.rewards import world
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.waiting import until

MAY = clerks.PERMISSIONS["operations"]
LIN = ClerkActor("demo", "lin", "林晓", MAY)
ZHAO = ClerkActor("demo", "zhao", "赵敏", MAY)
TOWEL = Item(kind="physical", title=Text(zh="毛巾", en="Towel"), cost=1800)
ADDRESS = {
    "name": "张三丰", "phone": "138 0013 8000", "region": "广东省深圳市南山区", "detail": "科技园 1 号 2 楼", "postcode": "",
}  # fmt: skip
VERSION = addresses.consent_text()[0]


async def at(services: Services) -> Bank:
    return await open_bank(services, "demo")


async def granted(services: Services, count: int = 1) -> list[CustomerActor]:
    """So many customers with a towel each."""
    await world.put(services, 100, item=TOWEL)
    actors: list[CustomerActor] = []
    for _ in range(count):
        bank = await at(services)
        facts = resolution.Facts(unionid=ids.token(), openids={world.BANK: ids.token()})
        cid = await resolution.identify(bank, facts)
        assert await world.answer(services, world.request(cid)) == "granted"
        actors.append(CustomerActor("demo", cid, world.BANK))
    return actors


async def mine(services: Services, actor: CustomerActor) -> dict[str, Any]:
    """The customer's one redemption."""
    (found,) = (await portal.vouchers(await at(services), actor, "zh"))["redemptions"]
    assert isinstance(found, dict)
    return found


async def ready(services: Services, count: int = 1) -> list[CustomerActor]:
    """The same, each with an address."""
    actors = await granted(services, count)
    for actor in actors:
        await address(services, actor)
    return actors


async def address(services: Services, actor: CustomerActor, **changes: str) -> dict[str, Any]:
    redemption = (await mine(services, actor))["id"]
    return await portal.put_address(await at(services), actor, redemption, {**ADDRESS, **changes}, VERSION)


async def out(services: Services, key: str = "k") -> str:
    """A batch of all that is ready, agreed to by two."""
    batch = await batches.submit(await at(services), LIN, key)
    await batches.approve(await at(services), ZHAO, batch)
    return batch


async def all_shipments(services: Services) -> list[Doc]:
    return await services.store.tenant("demo")["shipments"].find({}, sort=[("order", 1)])


async def accounts(services: Services) -> dict[str, int]:
    """What the reward's accounts hold, by kind."""
    found: dict[str, int] = {}
    lines = await services.store.tenant("demo")["transfers"].find({}, limit=None)
    for line in (one for one in lines if world.REWARD in one["debit"]):
        for account, sign in ((line["debit"], -1), (line["credit"], 1)):
            found[account.split(":")[0]] = found.get(account.split(":")[0], 0) + sign * line["amount"]
    return found


async def trail(services: Services, action: str) -> list[Doc]:
    return await services.store.tenant("demo")["audit"].find({"action": action}, sort=[("seq", 1)])


def numbers(shipped: Sequence[Doc], *extra: str) -> str:
    lines = [f"{one['order']},顺丰,SF{place:010d}" for place, one in enumerate(shipped)]
    return "\n".join(["订单号,快递公司,运单号", *lines, *extra])


async def test_a_reward_goes_all_the_way_to_its_customer(demo: Services) -> None:
    (actor,) = await granted(demo)
    first = await mine(demo, actor)
    assert (first["state"], first["kind"], first["code"]) == ("awaiting_address", "physical", "")
    assert first["delivery"]["may_change"] is True
    seen = await address(demo, actor)
    assert seen["address"] == {"name": "张**", "phone": "138****8000", "region": "广东省深圳市南山区"}
    batch = await out(demo)
    assert (await mine(demo, actor))["state"] == "exported"
    report = await tracking.take(await at(demo), LIN, batch, numbers(await all_shipments(demo)))
    assert (report.shipped, report.already, report.problems) == (1, 0, [])
    shipped = await mine(demo, actor)
    assert (shipped["state"], shipped["delivery"]["carrier"], shipped["delivery"]["number"]) == (
        "shipped", "顺丰", "SF0000000000",
    )  # fmt: skip
    (row,) = await all_shipments(demo)
    await shipments.mark(await at(demo), LIN, row["_id"], "delivered")
    assert (await mine(demo, actor))["state"] == "delivered"
    assert await accounts(demo) == {"supply": -100, "stock": 99, "issued": 0, "delivered": 1}
    story = await demo.store.tenant("demo")["timeline"].find({"cid": actor.cid}, sort=[("at", 1)])
    assert [one["kind"] for one in story if one["kind"].startswith("shipment.")] == [
        "shipment.address_given", "shipment.exported", "shipment.shipped", "shipment.delivered",
    ]  # fmt: skip


async def test_the_address_is_sealed_and_shown_in_clear_for_a_reason_alone(demo: Services) -> None:
    await ready(demo)
    (row,) = await all_shipments(demo)
    assert "张三丰" not in str(row)
    assert b"13800138000" not in bytes(row["address"])
    view = await batches.shipment(await at(demo), LIN, row["_id"])
    assert (view["shown"].name, view["shown"].phone) == ("张**", "138****8000")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await shipments.reveal(await at(demo), LIN, row["_id"], " ")
    with pytest.raises(Forbidden, match="not_permitted"):
        await shipments.reveal(await at(demo), ClerkActor("demo", "x", "x", frozenset()), row["_id"], "why")
    assert await trail(demo, "shipment.address_shown") == []
    shown = await shipments.reveal(await at(demo), LIN, row["_id"], "客户来电核对")
    assert (shown.name, shown.phone) == ("张三丰", "+8613800138000")
    (said,) = await trail(demo, "shipment.address_shown")
    assert (said["actor"], said["data"]["reason"]) == ("lin", "客户来电核对")
    assert "张三丰" not in str(said)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 51}, "name"),
        ({"name": "　 "}, "name"),
        ({"name": "张\x00三"}, "name"),
        ({"detail": "科技园\uffff"}, "detail"),
        ({"phone": "12"}, "phone"),
        ({"phone": "1.38E+10"}, "phone"),
        ({"region": ""}, "region"),
        ({"detail": "x" * 201}, "detail"),
        ({"postcode": "五一八"}, "postcode"),
    ],
)
async def test_a_wrong_address_is_refused_at_its_field_and_keeps_nothing(
    demo: Services, changes: dict[str, str], field: str
) -> None:
    (actor,) = await granted(demo)
    with pytest.raises(InvalidInput, match="address_invalid") as refused:
        await address(demo, actor, **changes)
    assert list(refused.value.fields) == [field]
    (row,) = await all_shipments(demo)
    assert (row["state"], "address" in row) == ("awaiting_address", False)
    assert not (await consent.standing(await at(demo), [actor.cid], "address")).agrees


async def test_nobody_reaches_what_is_anothers_and_without_consent_nothing_is_kept(demo: Services) -> None:
    one, other = await granted(demo, 2)
    redemption = (await mine(demo, one))["id"]
    with pytest.raises(NotFound, match="shipment_unknown"):
        await portal.put_address(await at(demo), other, redemption, ADDRESS, VERSION)
    with pytest.raises(InvalidInput, match="consent_missing"):
        await portal.put_address(await at(demo), one, redemption, ADDRESS, "")
    with pytest.raises(InvalidInput, match="consent_unknown"):
        await portal.put_address(await at(demo), one, redemption, ADDRESS, "phone/2026-11")
    assert {row["state"] for row in await all_shipments(demo)} == {"awaiting_address"}


async def test_the_address_may_change_until_it_is_exported(demo: Services) -> None:
    (actor,) = await ready(demo)
    batch = await batches.submit(await at(demo), LIN, "k")
    await address(demo, actor, region="浙江省杭州市西湖区")
    await batches.approve(await at(demo), ZHAO, batch)
    data, _ = await batches.file(await at(demo), LIN, batch, "csv")
    assert "西湖区" in data.decode()
    with pytest.raises(Conflict, match="shipment_exported"):
        await address(demo, actor, region="北京市")


async def test_a_batch_takes_two_clerks_and_every_download_is_counted(demo: Services) -> None:
    await ready(demo, 2)
    batch = await batches.submit(await at(demo), LIN, "k")
    assert await batches.submit(await at(demo), LIN, "k") == batch
    with pytest.raises(Forbidden, match="approver_is_author"):
        await batches.approve(await at(demo), LIN, batch)
    with pytest.raises(Conflict, match="shipping_not_out"):
        await batches.file(await at(demo), LIN, batch, "csv")
    assert {row["state"] for row in await all_shipments(demo)} == {"ready"}
    assert await batches.approve(await at(demo), ZHAO, batch) == 2
    with pytest.raises(InvalidInput, match="file_kind"):
        await batches.file(await at(demo), LIN, batch, "pdf")
    for form in ("csv", "xlsx"):
        data, _ = await batches.file(await at(demo), LIN, batch, form)
        assert data
    assert [row["data"]["number"] for row in await trail(demo, "shipping.downloaded")] == [1, 2]
    assert (await batches.get(await at(demo), LIN, batch))["downloads"] == 2
    with pytest.raises(Conflict, match="nothing_ready"):
        await batches.submit(await at(demo), LIN, "again")


async def test_what_a_customer_writes_is_no_formula_in_the_file(demo: Services) -> None:
    (actor,) = await granted(demo)
    await address(demo, actor, name="=1+1", detail="@SUM(A1) 号", phone="+49 1512 3456789")
    batch = await out(demo)
    data, _ = await batches.file(await at(demo), LIN, batch, "csv")
    _, line = csv.reader(io.StringIO(data.decode("utf-8-sig")))
    assert line[1:3] == ["'=1+1", "004915123456789"]
    assert line[4] == "'@SUM(A1) 号"
    book, _ = await batches.file(await at(demo), LIN, batch, "xlsx")
    read = await asyncio.to_thread(lambda: list(workbook.rows(book)))
    assert [str(one or "") for one in read[1]] == line


async def test_a_rejected_batch_frees_its_parcels_and_what_is_cancelled_stays_behind(demo: Services) -> None:
    await ready(demo, 2)
    batch = await batches.submit(await at(demo), LIN, "k")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await batches.reject(await at(demo), ZHAO, batch, " ")
    await batches.reject(await at(demo), ZHAO, batch, "等库存")
    with pytest.raises(Conflict, match="shipping_decided"):
        await batches.approve(await at(demo), ZHAO, batch)
    again = await batches.submit(await at(demo), LIN, "k2")
    first, _ = await all_shipments(demo)
    await shipments.mark(await at(demo), LIN, first["_id"], "cancelled", "客户不要了")
    assert await batches.approve(await at(demo), ZHAO, again) == 1
    data, _ = await batches.file(await at(demo), LIN, again, "csv")
    assert len(data.decode().splitlines()) == 2
    assert await accounts(demo) == {"supply": -100, "stock": 98, "issued": 1, "returned": 1}


@pytest.mark.parametrize("guard", [False, True])
async def test_no_parcel_is_in_two_batches(demo: Services, monkeypatch: pytest.MonkeyPatch, guard: bool) -> None:
    await ready(demo, 3)
    bank, met = await at(demo), asyncio.Barrier(2)
    marked = batches._mark

    async def together(of: Bank, batch: str, found: Sequence[str], free: Doc) -> None:
        await met.wait()  # both have looked at what is free
        await marked(of, batch, found, free if guard else {})
        await met.wait()

    monkeypatch.setattr(batches, "_mark", together)
    found: list[list[str]] = []
    submitted = batches.approvals.submit

    async def noted(of: Bank, actor: Any, kind: Any, subject: str, content: Any, **more: Any) -> bool:
        found.append(list(content["list"][1:]))
        return await submitted(of, actor, kind, subject, content, **more)

    monkeypatch.setattr(batches.approvals, "submit", noted)
    if not guard:  # a list of what was found free, as a program without the guard makes it

        async def blind(of: Bank, batch: str, reward: str) -> None:
            listed = [one["_id"] for one in await rows.shipments(of, {"state": "ready", "batch": ""})]
            await met.wait()
            found.append(listed)

        monkeypatch.setattr(batches, "_take", blind)
    done = await asyncio.gather(batches.submit(bank, LIN, "a"), batches.submit(bank, ZHAO, "b"), return_exceptions=True)
    listed = [one for each in found for one in each]
    assert len(listed) == (3 if guard else 6), done
    assert len(set(listed)) == 3


async def test_approving_goes_on_where_it_was_cut_short(demo: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    await ready(demo, 2)
    batch = await batches.submit(await at(demo), LIN, "k")

    async def dies(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as dying:
        dying.setattr(batches, "_release", dies)
        with pytest.raises(RuntimeError):
            await batches.approve(await at(demo), ZHAO, batch)
    assert await batches.approve(await at(demo), ZHAO, batch) == 2
    assert (await batches.get(await at(demo), LIN, batch))["exported"] == 2


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def test_a_batch_that_was_never_submitted_is_given_up(
    demo: Services, monkeypatch: pytest.MonkeyPatch, clock: MovedClock
) -> None:
    await ready(demo, 2)

    async def dies(*_: Any, **__: Any) -> bool:
        raise RuntimeError("killed")

    with monkeypatch.context() as dying:
        dying.setattr(batches.approvals, "submit", dies)
        with pytest.raises(RuntimeError):
            await batches.submit(await at(demo), LIN, "k")
    with pytest.raises(Conflict, match="nothing_ready"):
        await batches.submit(await at(demo), ZHAO, "k2")
    clock.advance(61)
    await jobs.run(await at(demo), "rewards.drop_batches")
    await out(demo, "k3")
    assert {row["state"] for row in await all_shipments(demo)} == {"exported"}
    with pytest.raises(Conflict, match="nothing_ready"):
        await batches.submit(await at(demo), LIN, "k")


async def test_numbers_are_taken_line_by_line_and_the_same_file_twice_is_harmless(demo: Services) -> None:
    await ready(demo, 3)
    first = await out(demo)
    (later,) = await ready(demo)
    second = await out(demo, "k2")
    listed = await all_shipments(demo)
    ours = [one for one in listed if one["batch"] == first]
    (theirs,) = [one for one in listed if one["batch"] == second]
    wrong = [
        "YQ-0000-0000-0000,顺丰,SF9",
        "YQ-0000-0000-0001,顺丰,SF9999999",
        f"{theirs['order']},顺丰,SF8888888",
        f"{ours[0]['order']},顺丰,SF7777777",
        ",顺丰,SF6666666",
        f"{ours[1]['order']},顺丰,",
        "x,顺丰,1.23E+17",
        '"x,顺丰,y',
    ]
    text = numbers(ours[:2], *wrong)
    report = await tracking.take(await at(demo), LIN, first, text)
    assert (report.shipped, report.already) == (2, 0)
    assert [(one.line, one.code) for one in report.problems] == [
        (4, "number_wrong"),
        (5, "number_order_unknown"),
        (6, "number_other_batch"),
        (7, "number_order_twice"),
        (8, "number_order_missing"),
        (9, "number_missing"),
        (10, "digits_lost"),
        (11, "number_line"),
    ]
    again = await tracking.take(await at(demo), LIN, first, text)
    assert (again.shipped, again.already, len(again.problems)) == (0, 2, 8)
    other = f"order,carrier,number\n{ours[0]['order']},顺丰,SF7777777\n{ours[2]['order']},顺丰,SF0000000000"
    changed = await tracking.take(await at(demo), LIN, first, other)
    assert [(one.line, one.code) for one in changed.problems] == [(2, "number_shipped"), (3, "number_taken")]
    with pytest.raises(InvalidInput, match="numbers_unreadable"):
        await tracking.take(await at(demo), LIN, first, "a,b\n1,2")
    assert (await mine(demo, later))["state"] == "exported"
    said = await trail(demo, "shipping.numbers")
    assert (said[0]["data"]["shipped"], said[0]["data"]["refused"]) == (2, 8)


async def test_a_file_that_was_cut_short_is_taken_up(demo: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    await ready(demo, 3)
    batch, ship = await out(demo), tracking._ship
    text, done = numbers(await all_shipments(demo)), []

    async def dies(bank: Bank, row: Any, line: Any) -> str:
        if done:
            raise RuntimeError("killed")
        done.append(line)
        return await ship(bank, row, line)

    with monkeypatch.context() as dying:
        dying.setattr(tracking, "_ship", dies)
        with pytest.raises(RuntimeError):
            await tracking.take(await at(demo), LIN, batch, text)
    report = await tracking.take(await at(demo), LIN, batch, text)
    assert (report.shipped, report.already) == (2, 1)


async def test_two_who_bring_in_the_same_file_ship_once(demo: Services) -> None:
    await ready(demo, 5)
    bank, batch = await at(demo), await out(demo)
    text = numbers(await all_shipments(demo))
    reports = await asyncio.gather(*[tracking.take(bank, who, batch, text) for who in (LIN, ZHAO)])
    assert sum(one.shipped for one in reports) == 5
    assert sum(one.already for one in reports) == 5
    assert [one.problems for one in reports] == [[], []]


async def test_what_comes_back_is_in_the_ledger_once_and_not_for_sale(demo: Services) -> None:
    await ready(demo)
    batch = await out(demo)
    await tracking.take(await at(demo), LIN, batch, numbers(await all_shipments(demo)))
    (row,) = await all_shipments(demo)
    with pytest.raises(Conflict, match="shipment_state"):
        await shipments.mark(await at(demo), LIN, row["_id"], "cancelled", "late")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await shipments.mark(await at(demo), LIN, row["_id"], "returned")
    await shipments.mark(await at(demo), LIN, row["_id"], "delivered")
    await shipments.mark(await at(demo), LIN, row["_id"], "returned", "拒收")
    with pytest.raises(Conflict, match="shipment_state"):
        await shipments.mark(await at(demo), LIN, row["_id"], "returned", "again")
    assert await accounts(demo) == {"supply": -100, "stock": 99, "issued": 0, "delivered": 0, "returned": 1}
    assert (await world.stock(demo))["available"] == 99


async def test_a_step_that_was_not_told_is_told_by_the_sweep(
    demo: Services, monkeypatch: pytest.MonkeyPatch, clock: MovedClock
) -> None:
    await ready(demo)
    (row,) = await all_shipments(demo)

    async def dies(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as dying:
        dying.setattr(shipments, "tell", dies)
        with pytest.raises(RuntimeError):
            await shipments.mark(await at(demo), LIN, row["_id"], "cancelled", "why")
    assert "returned" not in await accounts(demo)
    clock.advance(6)
    await jobs.run(await at(demo), "rewards.tell_shipments")
    await jobs.run(await at(demo), "rewards.tell_shipments")
    assert (await accounts(demo))["returned"] == 1
    assert (await all_shipments(demo))[0]["untold"] == []


async def _told(demo: Services) -> bool:
    await jobs.handle_inbox(await at(demo))
    return bool(await all_shipments(demo))


async def test_a_worker_makes_the_shipment_when_it_is_told_of_the_claim(demo: Services) -> None:
    await granted(demo)
    assert await all_shipments(demo) == []
    await until(lambda: _told(demo), 5.0)
    (row,) = await all_shipments(demo)
    assert (row["state"], row["campaign"]) == ("awaiting_address", world.CAMPAIGN)


async def test_addresses_go_some_days_after_the_end(demo: Services, clock: MovedClock) -> None:
    await ready(demo, 2)
    batch = await out(demo)
    await tracking.take(await at(demo), LIN, batch, numbers(await all_shipments(demo)))
    first, second = await all_shipments(demo)
    await shipments.mark(await at(demo), LIN, first["_id"], "delivered")
    clock.advance(29 * 86_400)
    await jobs.run(await at(demo), "rewards.forget_addresses")
    assert all("address" in row for row in await all_shipments(demo))
    clock.advance(2 * 86_400)
    await jobs.run(await at(demo), "rewards.forget_addresses")
    assert ["address" in row for row in await all_shipments(demo)] == [False, True]
    (said,) = await trail(demo, "shipment.addresses_deleted")
    assert said["data"]["count"] == 1
    with pytest.raises(NotFound, match="address_gone"):
        await shipments.reveal(await at(demo), LIN, first["_id"], "why")
    data, _ = await batches.file(await at(demo), LIN, batch, "csv")
    assert second["order"] in data.decode()
    assert first["order"] not in data.decode()


async def test_who_withdraws_his_consent_has_no_address_any_more(demo: Services) -> None:
    waiting, away = await ready(demo, 2)
    (row,) = [one for one in await all_shipments(demo) if one["cid"] == away.cid]
    await demo.store.tenant("demo")["shipments"].update({"_id": row["_id"]}, {"$set": {"state": "shipped"}})
    for actor in (waiting, away):
        await withdrawal.withdraw(await at(demo), actor, "address")
        await withdrawal.withdraw(await at(demo), actor, "address")
    await jobs.send_effects(await at(demo))
    seen = {one["cid"]: one for one in await all_shipments(demo)}
    assert (seen[waiting.cid]["state"], "address" in seen[waiting.cid]) == ("awaiting_address", False)
    assert "address" in seen[away.cid]
    await shipments.mark(await at(demo), LIN, row["_id"], "delivered")
    assert all("address" not in one for one in await all_shipments(demo))
    assert (await address(demo, waiting))["state"] == "ready"  # he may agree again


async def test_who_withdraws_while_he_gives_an_address_leaves_none(
    demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (actor,) = await granted(demo)
    change = rows.change

    async def meanwhile(bank: Bank, *args: Any, **more: Any) -> bool:
        done = await change(bank, *args, **more)
        if not (await consent.standing(bank, [actor.cid], "address")).withdrawn:
            await withdrawal.withdraw(bank, actor, "address")
        return done

    monkeypatch.setattr(rows, "change", meanwhile)
    with pytest.raises(Conflict, match="consent_withdrawn"):
        await address(demo, actor)
    (row,) = await all_shipments(demo)
    assert (row["state"], "address" in row) == ("awaiting_address", False)


async def test_a_voucher_is_sent_nowhere(demo: Services) -> None:
    await world.put(demo, 5)
    bank = await at(demo)
    cid = await resolution.identify(bank, resolution.Facts(unionid="u"))
    actor = CustomerActor("demo", cid, world.BANK)
    await claims.claim(bank, world.request(cid))
    with pytest.raises(NotFound, match="shipment_unknown"):
        await portal.put_address(bank, actor, (await mine(demo, actor))["id"], ADDRESS, VERSION)
    assert await catalogue.of_item(bank, "towel") == []


async def test_the_ledger_holds_whatever_became_of_the_parcels(demo: Services) -> None:
    await ready(demo, 4)
    first, *_ = await all_shipments(demo)
    await shipments.mark(await at(demo), LIN, first["_id"], "cancelled", "why")
    batch = await out(demo)
    sent = [one for one in await all_shipments(demo) if one["batch"] == batch]
    await tracking.take(await at(demo), LIN, batch, numbers(sent))
    await shipments.mark(await at(demo), LIN, sent[0]["_id"], "delivered")
    await shipments.mark(await at(demo), LIN, sent[1]["_id"], "returned", "拒收")
    assert await check(await at(demo)) == []
