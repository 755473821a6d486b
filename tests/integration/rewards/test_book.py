"""The book: posted once, held once, ended once, given back once, and never below nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards.ledger import accounts, book, check, sweep
from rewards.ledger.book import Entry, Leg
from services.container import Services
from services.errors import Conflict, InvalidInput, KeyReused, NotFound, YinqiaoError
from services.ids import new_id
from services.store.mongo import Collection
from tests.integration.rewards import world
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.waiting import until

BUDGET, POINTS = "budget:camp", "points:demo:c1"


@pytest.fixture
async def bank(services: Services) -> Bank:
    return await open_bank(services, "demo")


def fund(amount: int, key: str = "fund") -> Entry:
    return Entry(key, "fund", [Leg("funds:camp", BUDGET, amount)])


def spend(amount: int, key: str = "spend", **about: Any) -> Entry:
    return Entry(key, "spend", [Leg(BUDGET, "spent:camp", amount)], about)


def earn(amount: int, key: str, days: int | None = None, *, bank: Bank) -> Entry:
    expires = None if days is None else bank.utc() + timedelta(days=days)
    return Entry(key, "earn", [Leg("points_issued:main", POINTS, amount)], expires=expires)


def burn(amount: int, key: str) -> Entry:
    return Entry(key, "burn", [Leg(POINTS, "points_spent:main", amount)])


async def code(posting: Any) -> str:
    try:
        posted = await posting
    except YinqiaoError as error:
        return error.code
    return "replayed" if posted.replayed else "posted"


async def has(bank: Bank, account: str = BUDGET) -> tuple[int, int, int]:
    found = await accounts.balance(bank, account)
    return found.posted, found.held, found.available


async def kept(bank: Bank) -> list[str]:
    """The reasons of the refusals that the audit trail has, in their order."""
    rows = await bank.db["audit"].find({"action": "ledger.refused"}, sort=[("seq", 1)])
    return [row["data"]["reason"] for row in rows]


async def quiet(bank: Bank) -> None:
    """Until nothing is under way."""
    await until(lambda: nothing_under_way(bank))


async def nothing_under_way(bank: Bank) -> bool:
    return not await bank.db["ledger_batches"].find({}, limit=1)


async def test_an_entry_moves_whole_and_once(bank: Bank) -> None:
    assert await code(book.post(bank, fund(100))) == "posted"
    assert await code(book.post(bank, fund(100))) == "replayed"
    assert await code(book.post(bank, spend(70))) == "posted"
    assert await code(book.post(bank, spend(31, "more"))) == "insufficient"
    await quiet(bank)
    assert await has(bank) == (30, 0, 30)
    assert await bank.db["transfers"].count() == 2


async def test_the_same_key_with_another_content_is_refused(bank: Bank) -> None:
    await book.post(bank, fund(100))
    with pytest.raises(KeyReused):
        await book.post(bank, fund(101))
    await quiet(bank)
    assert await has(bank) == (100, 0, 100)


async def test_a_spent_key_is_answered_again_when_nothing_is_left(bank: Bank) -> None:
    await book.post(bank, fund(10))
    assert await code(book.post(bank, spend(10))) == "posted"
    assert await code(book.post(bank, spend(10))) == "replayed"


async def test_sixty_four_at_once_spend_exactly_what_there_is(bank: Bank, second: Services) -> None:
    await book.post(bank, fund(100))
    other = await open_bank(second, "demo")
    found = await asyncio.gather(
        *(code(book.post(one, spend(7, f"s{n}-{one is bank}"))) for n in range(32) for one in (bank, other))
    )
    assert found.count("posted") <= 14
    for n in range(20):  # who was told to try again does
        await code(book.post(bank, spend(7, f"again{n}")))
    await quiet(bank)
    assert await has(bank) == (2, 0, 2)


async def test_what_a_process_remembers_of_an_account_refuses_nobody(bank: Bank, second: Services) -> None:
    other = await open_bank(second, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    await book.post(other, fund(50, "more"))
    await quiet(bank)
    assert await code(book.post(bank, spend(150))) == "posted"
    await quiet(bank)
    assert await code(book.post(other, spend(1, "one"))) == "insufficient"
    assert await has(bank) == (0, 0, 0)


async def test_what_a_process_remembers_of_an_account_is_not_written_over_anothers_change(
    bank: Bank, second: Services
) -> None:
    other = await open_bank(second, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    for n in range(3):
        assert await code(book.post(other, spend(20, f"o{n}"))) == "posted"
        assert await code(book.post(bank, spend(10, f"m{n}"))) == "posted"
    await quiet(bank)
    assert await has(bank) == (10, 0, 10)
    assert await check(bank, lined=True) == []


async def test_many_cold_accounts_share_their_statements(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 64 customers has two changes of his account for an entry; the store makes each statement durable."""
    entries = [Entry(f"e{n}", "earn", [Leg("points_issued:main", f"points:demo:{n}", 10)]) for n in range(64)]
    assert all(not one.replayed for one in await asyncio.gather(*(book.post(bank, one) for one in entries)))
    await quiet(bank)
    written: list[int] = []
    replace_each = Collection.replace_each

    async def counted(rows: Collection, docs: Any, guard: str) -> int:
        written.append(len(docs))
        return await replace_each(rows, docs, guard)

    monkeypatch.setattr(Collection, "replace_each", counted)
    again = [Entry(f"again{n}", "earn", entries[n].legs) for n in range(64)]
    await asyncio.gather(*(book.post(bank, one) for one in again))
    await quiet(bank)
    assert sum(written) == 128
    assert len(written) <= 8
    assert await check(bank, lined=True) == []


async def test_twins_at_once_are_one(bank: Bank) -> None:
    await book.post(bank, fund(100))
    found = await asyncio.gather(*(code(book.post(bank, spend(60))) for _ in range(20)))
    assert sorted(found) == ["posted", *["replayed"] * 19]
    await quiet(bank)
    assert await has(bank) == (40, 0, 40)


async def test_an_entry_of_several_legs_happens_whole_or_not_at_all(bank: Bank) -> None:
    await book.post(bank, fund(100))
    await book.post(bank, earn(5, "e", bank=bank))
    both = [Leg(BUDGET, "spent:camp", 50), Leg(POINTS, "points_spent:main", 6)]
    assert await code(book.post(bank, Entry("both", "x", both))) == "insufficient"
    await quiet(bank)
    assert (await has(bank), await has(bank, POINTS)) == ((100, 0, 100), (5, 0, 5))
    both[1] = Leg(POINTS, "points_spent:main", 5)
    assert await code(book.post(bank, Entry("both2", "x", both))) == "posted"
    await quiet(bank)
    assert (await has(bank), await has(bank, POINTS)) == ((50, 0, 50), (0, 0, 0))


async def test_a_hold_is_set_aside_and_confirmed_in_part(bank: Bank) -> None:
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80), bank.utc() + timedelta(hours=1))
    assert await code(book.post(bank, spend(21, "other"))) == "insufficient"
    await quiet(bank)
    assert await has(bank) == (100, 80, 20)
    assert (await book.confirm(bank, held.id, 30)).amount == 30
    await quiet(bank)
    assert await has(bank) == (70, 0, 70)


async def test_a_hold_has_one_end_and_the_second_call_gets_the_first_answer(bank: Bank) -> None:
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80), bank.utc() + timedelta(hours=1))
    assert await code(book.cancel(bank, held.id)) == "posted"
    assert await code(book.cancel(bank, held.id)) == "replayed"
    assert await code(book.confirm(bank, held.id)) == "hold_ended"
    await quiet(bank)
    assert await has(bank) == (100, 0, 100)


async def test_many_ends_at_once_are_one(bank: Bank, second: Services) -> None:
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80), bank.utc() + timedelta(hours=1))
    other = await open_bank(second, "demo")
    found = await asyncio.gather(
        *(code(end(one, held.id)) for end in (book.confirm, book.cancel) for one in (bank, other) for _ in range(5))
    )
    assert found.count("posted") == 1
    await quiet(bank)
    assert await has(bank) in ((20, 0, 20), (100, 0, 100))


@pytest.mark.parametrize(
    ("amount", "customer", "wanted"),
    [(81, "", "hold_exceeded"), (0, "", "amount_invalid"), (-1, "", "amount_invalid"), (5, "c2", "not_yours")],
)
async def test_a_hold_is_not_confirmed_wrongly(bank: Bank, amount: int, customer: str, wanted: str) -> None:
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80, cid="c1"), bank.utc() + timedelta(hours=1))
    await quiet(bank)
    assert await code(book.confirm(bank, held.id, amount, customer=customer)) == wanted
    assert await has(bank) == (100, 80, 20)
    (kept,) = await bank.db["audit"].find({"action": "ledger.refused"})
    assert (kept["object"], kept["data"]) == (held.id, {"reason": wanted})


async def test_a_hold_ends_by_itself(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80), bank.utc() + timedelta(hours=1))
    await quiet(bank)
    clock.advance(3601)
    with pytest.raises(Conflict, match="expired"):
        await book.confirm(bank, held.id)
    await quiet(bank)
    assert (await has(bank), await kept(bank)) == ((100, 0, 100), ["hold_ended"])
    assert await code(book.post(bank, spend(100, "all of it"))) == "posted"


async def test_a_hold_that_is_confirmed_twice_moves_once(bank: Bank) -> None:
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80), bank.utc() + timedelta(hours=1))
    assert await code(book.confirm(bank, held.id, 30)) == "posted"
    assert await code(book.confirm(bank, held.id, 30)) == "replayed"
    assert await code(book.confirm(bank, held.id, 31)) == "hold_ended"
    assert await code(book.confirm(bank, held.id, 81)) == "hold_exceeded"
    await quiet(bank)
    assert (await has(bank), await kept(bank)) == ((70, 0, 70), ["hold_ended", "hold_exceeded"])


@pytest.mark.parametrize("amount", [0, -1, 1.5, True, "7", None, 2**53 + 1, 10**400])
async def test_an_amount_that_is_none_is_refused_and_named(bank: Bank, amount: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        await book.post(bank, Entry("k", "x", [Leg("funds:camp", BUDGET, amount)]))
    assert (refused.value.code, list(refused.value.fields)) == ("amount_invalid", ["legs.0.amount"])
    assert (await bank.db["transfers"].count(), await kept(bank)) == (0, ["amount_invalid"])


@pytest.mark.parametrize("amount", [0, -1, 1.5, True, "7", 2**53 + 1])
async def test_no_part_of_a_hold_or_of_a_transfer_is_such_an_amount(bank: Bank, amount: Any) -> None:
    await book.post(bank, fund(100))
    spent = await book.post(bank, spend(50))
    held = await book.hold(bank, spend(30, "h"), bank.utc() + timedelta(hours=1))
    await quiet(bank)
    for asked in (
        book.confirm(bank, held.id, amount),
        book.refund(bank, spent.id, amount, reason="r", maker="li"),
        book.hold(bank, Entry("k", "x", [Leg(BUDGET, "spent:camp", amount)]), bank.utc() + timedelta(hours=1)),
    ):
        with pytest.raises(InvalidInput) as refused:
            await asked
        assert (refused.value.code, len(refused.value.fields)) == ("amount_invalid", 1)
    assert (await has(bank), await kept(bank)) == ((50, 30, 20), ["amount_invalid"] * 3)


@pytest.mark.parametrize(
    ("debit", "credit", "wanted"),
    [
        ("funds:camp", "points:c", "entry_invalid"),
        ("funds:camp", "funds:camp", "entry_invalid"),
        ("stock:camp.r", "issued:camp.r", "entry_invalid"),
        ("nothing:camp", "budget:camp", "account_unknown"),
        ("funds:", "budget:camp", "account_unknown"),
        ("fee:camp", "budget:camp", "account_unknown"),
    ],
)
async def test_accounts_that_do_not_fit_are_refused(bank: Bank, debit: str, credit: str, wanted: str) -> None:
    assert await code(book.post(bank, Entry("k", "x", [Leg(debit, credit, 1)]))) == wanted
    assert (await bank.db["transfers"].count(), await kept(bank)) == (0, [wanted])


async def test_what_expires_first_is_spent_first_and_comes_back_there(bank: Bank) -> None:
    await book.post(bank, earn(10, "late", 90, bank=bank))
    await book.post(bank, earn(10, "never", bank=bank))
    await book.post(bank, earn(10, "soon", 30, bank=bank))
    spent = await book.post(bank, burn(25, "b"))
    assert [lot["n"] for lot in spent.row["lots"]] == [-10, -10, -5]
    days = [(lot["expires"] - bank.utc()).days if lot["expires"] else None for lot in spent.row["lots"]]
    assert days == [29, 89, None]
    back = await book.refund(bank, spent.id, 8, reason="returned", maker="li", key="1")
    assert [(lot["expires"] is None, lot["n"]) for lot in back.row["lots"]] == [(True, 5), (False, 3)]
    await quiet(bank)
    (row,) = (await accounts.read(bank, [POINTS])).values()
    assert sorted(lot["left"] for lot in row["lots"]) == [3, 10]
    assert await has(bank, POINTS) == (13, 0, 13)


async def test_what_has_expired_is_not_spent(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, earn(10, "soon", 30, bank=bank))
    await book.post(bank, earn(10, "late", 90, bank=bank))
    clock.advance(31 * 86400)
    assert await code(book.post(bank, burn(11, "b"))) == "insufficient"
    assert await code(book.post(bank, burn(10, "b2"))) == "posted"
    await quiet(bank)
    assert await has(bank, POINTS) == (10, 0, 0)
    away = Entry("away", "expire", [Leg(POINTS, "points_expired:main", 10)], of_expired=True)
    assert await code(book.post(bank, away)) == "posted"
    await quiet(bank)
    assert await has(bank, POINTS) == (0, 0, 0)


async def test_a_transfer_is_given_back_in_parts_and_never_more(bank: Bank) -> None:
    await book.post(bank, fund(100))
    spent = await book.post(bank, spend(50))

    def back(amount: int | None, key: str) -> Any:
        return book.refund(bank, spent.id, amount, reason="r", maker="li", key=key)

    assert await code(back(20, "a")) == "posted"
    assert await code(back(20, "a")) == "replayed"
    assert await code(back(21, "a")) == "idempotency_key_reused"
    assert await code(back(31, "b")) == "refund_exceeded"
    assert sorted(await asyncio.gather(*(code(back(10, key)) for key in "cdefg"))) == [
        *["posted"] * 3,
        *["refund_exceeded"] * 2,
    ]
    assert await code(back(None, "z")) == "refund_exceeded"
    await quiet(bank)
    assert await has(bank) == (100, 0, 100)


async def test_a_hold_that_moved_nothing_is_not_given_back(bank: Bank) -> None:
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80), bank.utc() + timedelta(hours=1))
    assert await code(book.refund(bank, held.id, reason="r", maker="li")) == "not_refundable"
    await book.confirm(bank, held.id)
    assert await code(book.refund(bank, held.id, reason="r", maker="li")) == "posted"
    await quiet(bank)
    assert await has(bank) == (100, 0, 100)
    with pytest.raises(NotFound):
        await book.refund(bank, new_id("demo"), reason="r", maker="li")


async def test_who_dies_before_his_rows_are_in_takes_nothing(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    async with world.process(services, before=world.die) as dying:
        with pytest.raises(world.Killed):
            await book.post(await open_bank(dying, "demo"), spend(70))
    assert await code(book.post(bank, spend(70, "b"))) == "balance_in_doubt"
    assert await has(bank) == (100, 70, 30)
    clock.advance(6)
    assert await sweep.settle_stale(bank) >= 1
    assert await has(bank) == (100, 0, 100)
    assert await code(book.post(bank, spend(70))) == "posted"


async def test_who_dies_after_his_rows_are_in_has_spent(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    async with world.process(services, after=world.die) as dying:
        with pytest.raises(world.Killed):
            await book.post(await open_bank(dying, "demo"), spend(70))
    assert await code(book.post(bank, spend(70))) == "replayed"
    clock.advance(6)
    assert await sweep.settle_stale(bank) >= 1
    assert await has(bank) == (30, 0, 30)


async def test_a_lease_that_comes_while_its_batch_is_settled_is_not_ended_undecided(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow process takes it after the sweep has looked; what it then writes must be counted."""
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    await accounts.begin(bank, "b1", [BUDGET], bank.utc(), one=BUDGET)
    clock.advance(6)
    decide = sweep._decide

    async def meanwhile(*arguments: Any) -> Any:
        assert await accounts.take(bank, BUDGET, "b1", ["demo:1"], 40) == 1
        return await decide(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "_decide", meanwhile)
        await sweep.settle_stale(bank)
    row = {"_id": "demo:1", "kind": "spend", "batch": "b1", "debit": BUDGET, "credit": "spent:camp", "amount": 40}
    assert await bank.db["transfers"].insert_new([row]) == set()
    assert await has(bank) == (100, 40, 60)
    clock.advance(6)
    await sweep.settle_stale(bank)
    assert await has(bank) == (60, 0, 60)
    assert await nothing_under_way(bank)


async def _stalled_and_killed(services: Services, clock: MovedClock) -> str:
    """A process stalls between writing down its batch and taking its lease, is settled by the sweep
    meanwhile, goes on, and dies before its row is in; what it was told until then."""
    stall, begin = world.Stall(), accounts.begin
    bank = await open_bank(services, "demo")
    async with world.process(services, before=world.die) as slow:

        async def stalling(at: Bank, *arguments: Any, **options: Any) -> None:
            await begin(at, *arguments, **options)
            if at.services is slow:
                await stall()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accounts, "begin", stalling)
            late = asyncio.create_task(code(book.post(await open_bank(slow, "demo"), spend(70))))
            await stall.reached.wait()
            clock.advance(6)
            assert await sweep.settle_stale(bank) == 1
            stall.release()
            try:
                said = await late
            except world.Killed:
                said = "killed"
    clock.advance(6)
    await sweep.settle_stale(bank)
    assert await nothing_under_way(bank)
    return said


async def _naive_end(bank: Bank, account: str, batch: str, decided: Any, arrived: Any) -> bool:
    """Ends a lease where there is one, and shuts nobody out."""
    row = (await accounts.read(bank, [account]))[account]
    if batch in row["leases"]:
        accounts.end(row, batch, arrived)
        await accounts.write(bank, [row], batch)
    return True


async def test_without_shutting_it_out_a_settled_batch_takes_a_lease_that_nobody_ends(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    monkeypatch.setattr(sweep, "_end", _naive_end)
    assert await _stalled_and_killed(services, clock) == "killed"
    assert await has(bank) == (100, 70, 30)


async def test_a_settled_batch_takes_no_lease_any_more(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    assert await _stalled_and_killed(services, clock) == "posting_unknown"
    assert await has(bank) == (100, 0, 100)
    assert await code(book.post(bank, spend(70))) == "posted"
    await quiet(bank)
    assert await check(bank) == []
    await accounts.begin(bank, "b1", ["quota:new"], bank.utc(), one="quota:new")
    clock.advance(6)
    assert await sweep.settle_stale(bank) == 1
    assert await code(accounts.take(bank, "quota:new", "b1", ["demo:1"], 1, floor=-5)) == "posting_unknown"
    assert await accounts.take(bank, "quota:new", "b2", ["demo:1"], 1, floor=-5) == 1


async def test_a_credit_that_another_process_has_not_counted_yet_is_there(services: Services) -> None:
    bank = await open_bank(services, "demo")
    async with world.process(services, after=world.die) as dying:
        with pytest.raises(world.Killed):
            await book.post(await open_bank(dying, "demo"), fund(100))
    assert await code(book.post(bank, spend(100))) == "posted"


async def test_units_are_taken_for_as_many_rows_as_there_are(bank: Bank) -> None:
    await book.post(bank, fund(100))
    await quiet(bank)
    assert await accounts.take(bank, BUDGET, "b1", ["demo:1", "demo:2", "demo:3"], 40) == 2
    assert await accounts.take(bank, BUDGET, "b1", ["demo:1", "demo:2", "demo:3"], 40) == 2
    assert await accounts.take(bank, BUDGET, "b2", ["demo:4"], 40) == 0
    assert await has(bank) == (100, 80, 20)
    assert await accounts.settle(bank, BUDGET, "b1", 1)
    assert not await accounts.settle(bank, BUDGET, "b1", 1)
    assert await has(bank) == (60, 0, 60)
    assert await accounts.take(bank, "quota:x", "b3", ["demo:1", "demo:2"], 1, floor=-1) == 1
    assert await accounts.settle(bank, "quota:x", "b3", 1)
    assert await accounts.take(bank, "quota:x", "b4", ["demo:2"], 1, floor=-1) == 0


async def test_what_a_dead_process_took_goes_back(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(100))
    await quiet(bank)
    assert await accounts.take(bank, BUDGET, "b1", ["demo:1", "demo:2"], 40) == 2
    row = {"_id": "demo:1", "kind": "grant", "batch": "b1", "debit": "x", "credit": "y", "amount": 1}
    await bank.db["transfers"].insert_new([row])
    clock.advance(6)
    assert await sweep.settle_stale(bank) == 1
    assert await has(bank) == (60, 0, 60)
    assert await nothing_under_way(bank)
