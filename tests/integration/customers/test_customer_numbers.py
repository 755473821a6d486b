"""The bank's customer number: one number to one customer, and what does not fit is a clerk's to decide."""

from __future__ import annotations

import asyncio

import bson
import pytest

from customers.actors import ClerkActor
from customers.identity import customer_numbers, resolution, review, review_tasks
from customers.identity.customer_numbers import ALREADY, CONFLICT, INVALID, LINKED, UNKNOWN, Line
from customers.identity.resolution import Facts, Origin
from services.container import Services
from services.errors import Conflict, InvalidInput, NotFound
from tests.support.banks import open_bank

RIGHTS = frozenset({review.READ, review.DECIDE})
LIN, ZHAO = ClerkActor("demo", "lin", "林晓", RIGHTS), ClerkActor("demo", "zhao", "赵敏", RIGHTS)


async def _link(services: Services, number: str, cid: str, tenant: str = "demo") -> str:
    return await customer_numbers.link(await open_bank(services, tenant), number, cid, source="bank", proof="file:1")


async def _two(services: Services) -> tuple[str, str]:
    one = await resolution.identify(
        await open_bank(services, "demo"), Facts(external_userid="wm1", phone="+8613800138000")
    )
    return one, await resolution.identify(
        await open_bank(services, "demo"), Facts(unionid="u2", phone="+8613900139000")
    )


async def _numbers(services: Services, *cids: str) -> list[str]:
    at_bank = await open_bank(services, "demo")
    return [(await resolution.customer(at_bank, cid)).number for cid in cids]


async def _answer(services: Services, answer: str) -> None:
    (question,) = await review.list_questions(await open_bank(services, "demo"), LIN)
    await review.propose(await open_bank(services, "demo"), LIN, question["id"], answer, "核对柜面系统")
    await review.agree(await open_bank(services, "demo"), ZHAO, question["id"])


async def test_a_number_is_linked_once_and_found(services: Services) -> None:
    one, _ = await _two(services)
    assert [await _link(services, "C-1001", one) for _ in range(2)] == [LINKED, ALREADY]
    assert await _numbers(services, one) == ["C-1001"]
    at_bank = await open_bank(services, "demo")
    assert [row["cid"] for row in await review.search(at_bank, LIN, "C-1001")] == [one]
    shown = await review.explain(await open_bank(services, "demo"), LIN, one)
    (row,) = [each for each in shown["ids"] if each["kind"] == "number"]
    assert (row["shown"], row["source"], row["proof"]) == ("…01", "bank", "file:1")
    db = services.store.tenant("demo")
    rows = [*await db["customers"].find({}), *await db["identities"].find({})]
    stored = b"".join(bson.encode(row) for row in rows)
    assert len(stored) > 500
    assert b"C-1001" not in stored


async def test_a_number_of_somebody_else_changes_nothing_and_is_asked_about(services: Services) -> None:
    one, two = await _two(services)
    await _link(services, "C-1001", one)
    assert [await _link(services, "C-1001", two) for _ in range(2)] == [CONFLICT, CONFLICT]
    assert await _numbers(services, one, two) == ["C-1001", ""]
    (question,) = await review.list_questions(await open_bank(services, "demo"), LIN)
    assert (question["kind"], question["cids"], question["about"]) == ("number_taken", [two, one], "…01")
    assert (await resolution.customer(await open_bank(services, "demo"), two)).cid == two
    (row,) = await services.store.tenant("demo")["review_tasks"].find({})
    assert b"C-1001" not in bson.encode(row)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("move", ["", "C-1001"]), ("leave", ["C-1001", ""]), ("merge", ["C-1001", "C-1001"])],
)
async def test_two_clerks_decide_whose_number_it_is(services: Services, answer: str, expected: list[str]) -> None:
    one, two = await _two(services)
    await _link(services, "C-1001", one)
    await _link(services, "C-1001", two)
    await _answer(services, answer)
    assert await _numbers(services, one, two) == expected
    same = (await resolution.customer(await open_bank(services, "demo"), two)).cid == one
    assert same is (answer == "merge")
    assert await review.list_questions(await open_bank(services, "demo"), LIN) == []
    told = {"merge": ALREADY, "move": ALREADY, "leave": CONFLICT}[answer]
    assert await _link(services, "C-1001", two) == told
    assert await review.list_questions(await open_bank(services, "demo"), LIN) == []


async def test_a_customer_has_one_number_until_two_clerks_give_him_another(services: Services) -> None:
    one, two = await _two(services)
    await _link(services, "C-1001", one)
    assert await _link(services, "C-2002", one) == CONFLICT
    assert await _numbers(services, one) == ["C-1001"]
    await _answer(services, "move")
    assert await _numbers(services, one) == ["C-2002"]
    assert await _link(services, "C-1001", two) == LINKED
    assert await _numbers(services, one, two) == ["C-2002", "C-1001"]


async def test_customers_with_different_numbers_are_not_merged(services: Services) -> None:
    one, two = await _two(services)
    await _link(services, "C-1001", one)
    await _link(services, "C-2002", two)
    assert (
        await resolution.identify(await open_bank(services, "demo"), Facts(external_userid="wm1", unionid="u2")) == one
    )
    at_bank = await open_bank(services, "demo")
    assert [(await resolution.customer(at_bank, cid)).cid for cid in (one, two)] == [one, two]
    (question,) = await review.list_questions(await open_bank(services, "demo"), LIN)
    assert (question["kind"], question["answers"]) == ("numbers_differ", ["leave"])


async def test_a_suggestion_to_merge_customers_with_different_numbers_is_refused(services: Services) -> None:
    one, two = await _two(services)
    await _link(services, "C-1001", one)
    await _link(services, "C-2002", two)
    await review_tasks.ask(await open_bank(services, "demo"), "same_phone", sorted((one, two)), Origin("phone", "p"))
    (question,) = await review.list_questions(await open_bank(services, "demo"), LIN)
    await review.propose(await open_bank(services, "demo"), LIN, question["id"], "merge", "同一手机号")
    with pytest.raises(Conflict) as refused:
        await review.agree(await open_bank(services, "demo"), ZHAO, question["id"])
    assert refused.value.code == "numbers_differ"
    assert await _numbers(services, one, two) == ["C-1001", "C-2002"]


async def test_a_number_goes_with_a_merge_and_comes_back_with_its_undoing(services: Services) -> None:
    one, two = await _two(services)
    await _link(services, "C-2002", two)
    assert (
        await resolution.identify(await open_bank(services, "demo"), Facts(external_userid="wm1", unionid="u2")) == one
    )
    assert await _numbers(services, one) == ["C-2002"]
    (merge,) = await services.store.tenant("demo")["merges"].find({})
    await review.undo(await open_bank(services, "demo"), LIN, merge["_id"], "两个人")
    await review.approve_undo(await open_bank(services, "demo"), ZHAO, merge["_id"])
    assert await _numbers(services, one, two) == ["", "C-2002"]
    assert await _link(services, "C-1001", one) == LINKED


async def test_a_number_told_for_two_at_once_is_one_customers(services: Services, second: Services) -> None:
    for n in range(8):
        one = await resolution.identify(await open_bank(services, "demo"), Facts(unionid=f"a{n}"))
        two = await resolution.identify(await open_bank(services, "demo"), Facts(unionid=f"b{n}"))
        told = await asyncio.gather(_link(services, f"C-{n:04}", one), _link(second, f"C-{n:04}", two))
        assert sorted(told) == [CONFLICT, LINKED]
        assert sorted(await _numbers(services, one, two)) == ["", f"C-{n:04}"]


async def test_two_numbers_told_for_one_at_once_are_one_number(services: Services, second: Services) -> None:
    for n in range(8):
        one = await resolution.identify(await open_bank(services, "demo"), Facts(unionid=f"a{n}"))
        other = await resolution.identify(await open_bank(services, "demo"), Facts(unionid=f"b{n}"))
        pair = (f"C-{n:04}", f"D-{n:04}")
        told = await asyncio.gather(_link(services, pair[0], one), _link(second, pair[1], one))
        assert sorted(told) == [CONFLICT, LINKED]
        kept = (await _numbers(services, one))[0]
        (free,) = {*pair} - {kept}
        assert await _link(services, free, other) == LINKED


async def test_what_is_no_number_or_no_customer_is_refused(services: Services) -> None:
    one, _ = await _two(services)
    for wrong in ("", "12", "6222 0000", "x" * 33, "客户1001"):
        with pytest.raises(InvalidInput) as refused:
            await _link(services, wrong, one)
        assert refused.value.code == "number_invalid"
    with pytest.raises(NotFound):
        await _link(services, "C-1001", "demo:nobody")
    with pytest.raises(NotFound):
        await _link(services, "C-1001", one, tenant="other")
    assert await services.store.tenant("demo")["identities"].count({"kind": "number"}) == 0


async def test_a_file_is_linked_line_by_line_with_a_report(services: Services) -> None:
    one, two = await _two(services)
    await resolution.identify(await open_bank(services, "demo"), Facts(unionid="u3", phone="+8613700137000"))
    await resolution.identify(await open_bank(services, "demo"), Facts(unionid="u4", phone="+8613700137000"))
    text = "\ufeffnumber,phone,external_userid,unionid\n" + "\n".join(
        (
            "C-1001,13800138000,,",
            "C-1001,,wm1,",
            "C-1001,13900139000,,",
            "C-2002,13900139000,,u2",
            "C-3003,13911112222,,",
            "C-3003,13700137000,,",
            "C-3003,13800138000,,u2",
            "no number,13800138000,,",
        )
    )
    lines = await customer_numbers.link_file(await open_bank(services, "demo"), text, "cli:op")
    assert lines == [
        Line(2, LINKED),
        Line(3, ALREADY),
        Line(4, CONFLICT, "a question for a clerk"),
        Line(5, LINKED),
        Line(6, UNKNOWN),
        Line(7, CONFLICT, "several customers"),
        Line(8, UNKNOWN),
        Line(9, INVALID, "4 to 32 letters, digits and hyphens"),
    ]
    assert await _numbers(services, one, two) == ["C-1001", "C-2002"]
    (row,) = await services.store.tenant("demo")["audit"].find({})
    assert (row["action"], row["data"]) == (
        "numbers.linked",
        {"linked": 2, "already": 1, "unknown": 2, "conflict": 2, "invalid": 1},
    )


@pytest.mark.parametrize("text", ["", "number\nC-1001\n", "phone\n13800138000\n", "号码,手机\nC-1001,1\n"])
async def test_a_file_with_a_wrong_heading_links_nothing(services: Services, text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await customer_numbers.link_file(await open_bank(services, "demo"), text, "cli:op")
    assert refused.value.code == "numbers_file"
    assert await services.store.tenant("demo")["audit"].count() == 0


async def test_a_long_file_says_how_far_it_is_and_goes_on_where_it_was_cut_short(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(services, "demo")
    await _two(services)
    monkeypatch.setattr(customer_numbers, "AT_ONCE", 2)
    text = "number,phone\nC-1001,13800138000\nC-9001,13911112222\nC-2002,13900139000\nC-9002,x\nC-9003,13911113333\n"
    heard: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        heard.append((done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await customer_numbers.link_file(bank, text, "cli:op", stop)
    assert await services.store.tenant("demo")["audit_intents"].count({"action": "numbers.linked"}) == 1
    lines = await customer_numbers.link_file(bank, text, "cli:op", lambda *told: heard.append(told))
    assert [line.outcome for line in lines] == [ALREADY, UNKNOWN, LINKED, INVALID, UNKNOWN]
    assert heard == [(2, 5), (2, 5), (4, 5)]
