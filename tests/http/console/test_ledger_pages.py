"""The console's ledger: balances, lines, stories, files, and entries by hand."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import httpx
import pytest

from campaigns import live
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue
from rewards.ledger import accounts, book
from rewards.ledger.book import Entry, Leg
from services.container import Services
from services.store.mongo import Doc
from tests.http.conftest import Clerk, post_form
from tests.integration.rewards import points_world
from tests.integration.rewards.test_book import quiet
from tests.support.banks import open_bank

HOME = "/console/ledger"
ADJUST = {"debit": "funds:flash", "credit": "budget:flash", "amount": "12.50", "reason": "拨款"}


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


@pytest.fixture
async def posted(bank: Bank) -> dict[str, str]:
    """A funded budget, a hold that was confirmed and given back in part, and a customer's points."""
    who = resolution.Facts(unionid="u-ledger", name="王小明")
    cid = await resolution.identify(bank, who)
    await book.post(bank, Entry("fund", "fund", [Leg("funds:flash", "budget:flash", 100_00)]))
    spend = Entry("spend", "spend", [Leg("budget:flash", "spent:flash", 80_00)], {"cid": cid})
    held = await book.hold(bank, spend, bank.utc() + timedelta(hours=1))
    done = await book.confirm(bank, held.id, 50_00)
    back = await book.refund(bank, done.id, 20_00, reason="=1+1 returned", maker="li")
    points = Leg("points_issued:main", f"points:{cid}", 70)
    await book.post(bank, Entry("earn", "earn", [points], {"cid": cid}))
    await quiet(bank)
    return {"cid": cid, "hold": held.id, "done": done.id, "back": back.id}


async def audited(bank: Bank, action: str) -> list[Doc]:
    return [row["data"] for row in await bank.db["audit"].find({"action": action})]


async def test_the_trial_balance_names_accounts_and_ties(clerk: Clerk, posted: dict[str, str]) -> None:
    lin = await clerk("lin")
    page = (await lin.get(f"{HOME}?lang=en")).text
    for text in ("Campaign budget", "¥70.00", "Customer points · all", "Points issued", "Trial balance · Money"):
        assert text in page
    assert posted["cid"] not in page
    assert "王小明" not in page
    page = (await lin.get(f"{HOME}?lang=zh&at=2020-01-01")).text
    assert "截至当日没有账目。" in page
    wrong = await lin.get(f"{HOME}?at=2020-02-30")
    assert (wrong.status_code, "2026-11-30" in wrong.text) == (400, True)


async def test_accounts_of_the_points_programme_have_its_name(clerk: Clerk, bank: Bank) -> None:
    await points_world.begin(bank)
    await points_world.give(bank, await points_world.person(bank, "ann"), 70, None)
    await quiet(bank)
    lin = await clerk("lin")
    for language, name in {"zh": "积分发放 · 银桥积分", "en": "Points issued · Yinqiao Points"}.items():
        page = (await lin.get(f"{HOME}?lang={language}")).text
        assert f">{name}</a>" in page
        assert name in (await lin.get(f"{HOME}/accounts/points_issued:points?lang={language}")).text
        month = f"month.csv?month={bank.today():%Y-%m}&lang={language}"
        assert ["points_issued:points", name] in [row[:2] for row in table(await lin.get(f"{HOME}/{month}"))]


@pytest.mark.parametrize(
    ("account", "zh", "en"),
    [
        (
            "quota:flash.voucher:branch:sz-nanshan:202611",
            "限额 · {voucher} · 深圳南山支行 · 2026-11",
            "Quota · {voucher} · 深圳南山支行 · 2026-11",
        ),
        ("quota_cost:flash:branch:-:20261130", "金额限额 · {flash} · 归属未知 · 2026-11-30", ""),
        ("quota:flash.voucher:customer:demo:c1:ever", "限额 · {voucher} · 客户", "Quota · {voucher} · a customer"),
        ("quota_used:flash", "限额使用 · {flash}", ""),
    ],
)
async def test_a_quotas_account_has_names(clerk: Clerk, bank: Bank, account: str, zh: str, en: str) -> None:
    lin = await clerk("lin")
    rewards, campaigns = await catalogue.all_rewards(bank), await live.campaign_rows(bank)
    for language, wanted in {"zh": zh, "en": en}.items():
        names = {"voucher": rewards["flash.voucher"]["title"], "flash": campaigns["flash"]["name"]}
        said = wanted.format(**{key: each.get(language) or each["zh"] for key, each in names.items()})
        page = (await lin.get(f"{HOME}/accounts/{account}?lang={language}")).text
        assert f'<h1 class="h3 mb-1">{said}' in page


async def test_an_accounts_lines_lead_to_their_stories(clerk: Clerk, posted: dict[str, str]) -> None:
    lin = await clerk("lin")
    page = (await lin.get(f"{HOME}/accounts/budget:flash?lang=en")).text
    assert page.count('href="/console/ledger/transfers/') == 3
    assert "¥100.00" in page
    told = (await lin.get(f"{HOME}/transfers/{posted['done']}?lang=en")).text
    for text in ("Hold confirmed", "Refund", "Held until", "¥50.00", "¥20.00", "王", "returned"):
        assert text in told
    assert "王小明" not in told
    points = (await lin.get(f"{HOME}/accounts/points:{posted['cid']}?lang=zh")).text
    assert ("客户积分 · 王" in points, "王小明" in points) == (True, False)
    assert (await lin.get(f"{HOME}/accounts/nothing:x")).status_code == 400
    assert (await lin.get(f"{HOME}/accounts/budget:flash?before=-1")).status_code == 400
    assert (await lin.get(f"{HOME}/transfers/demo:nothing")).status_code == 404


def table(answer: httpx.Response) -> list[list[str]]:
    assert answer.content.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_a_months_file_ties_and_its_download_is_kept(clerk: Clerk, bank: Bank, posted: dict[str, str]) -> None:
    lin = await clerk("lin")
    month = f"{bank.today():%Y-%m}"
    books = table(await lin.get(f"{HOME}/month.csv?month={month}&lang=en"))
    assert books[0] == ["Account", "Name", "Currency", "Opening balance", "Debits", "Credits", "Closing balance"]
    fen = next(row for row in books if row[1:3] == ["Total", "Money"])
    assert fen[3:] == ["0", str(fen[5]), str(fen[5]), "0"]
    lines = table(await lin.get(f"{HOME}/accounts/budget:flash/month.csv?month={month}&lang=en"))
    assert lines[1][2:] == ["Opening balance", "", "", "0"]
    assert lines[-1][2:] == ["Total", "5000", "12000", "7000"]
    assert [row["month"] for row in await audited(bank, "ledger.downloaded")] == [month, month]
    assert (await lin.get(f"{HOME}/month.csv?month=2026-13")).status_code == 400


async def test_an_entry_by_hand_takes_two_clerks(clerk: Clerk, bank: Bank, posted: dict[str, str]) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    asked = await post_form(lin, HOME, HOME, **ADJUST, of=posted["done"], key="k1")
    assert asked.status_code == 200
    (row,) = await bank.db["ledger_adjustments"].find({})
    address = f"{HOME}/adjustments/{row['_id']}"
    assert (await post_form(lin, HOME, f"{address}/approve")).status_code == 403
    assert (await accounts.balance(bank, "budget:flash")).posted == 70_00
    assert (await post_form(zhao, HOME, f"{address}/approve")).status_code == 200
    await quiet(bank)
    assert (await accounts.balance(bank, "budget:flash")).posted == 82_50
    assert (await post_form(zhao, HOME, f"{address}/approve")).status_code == 409
    assert (await accounts.balance(bank, "budget:flash")).posted == 82_50
    told = (await zhao.get(f"{HOME}/transfers/{posted['done']}?lang=en")).text
    assert ("Correction" in told, "posted" in told) == (True, True)
    for action in ("submitted", "refused", "approved"):
        assert len(await audited(bank, f"ledger.adjustment_{action}")) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"amount": "-1"}, 400),
        ({"amount": "0"}, 400),
        ({"amount": "1.234"}, 400),
        ({"amount": "1e5"}, 400),
        ({"amount": "99999999999999999999"}, 400),
        ({"amount": "１２"}, 400),
        ({"debit": "nothing:x"}, 400),
        ({"debit": "budget:flash"}, 400),
        ({"debit": "points_issued:main"}, 400),
        ({"debit": "points:*", "credit": "points_spent:main", "amount": "1"}, 400),
        ({"credit": "stock:flash.voucher"}, 400),
        ({"reason": " "}, 400),
        ({"of": "demo:nothing"}, 404),
    ],
)
async def test_an_entry_that_cannot_be_is_refused_and_kept_in_the_trail(
    clerk: Clerk, bank: Bank, changes: dict[str, str], status: int
) -> None:
    lin = await clerk("lin")
    assert (await post_form(lin, HOME, HOME, **{**ADJUST, **changes})).status_code == status
    assert await bank.db["ledger_adjustments"].count() == 0
    assert await bank.db["approvals"].count({"kind": "ledger"}) == 0
    assert len(await audited(bank, "ledger.adjustment_invalid")) == 1


async def test_an_entry_is_turned_down(clerk: Clerk, bank: Bank) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    await post_form(lin, HOME, HOME, **ADJUST)
    (row,) = await bank.db["ledger_adjustments"].find({})
    address = f"{HOME}/adjustments/{row['_id']}/reject"
    assert (await post_form(zhao, HOME, address, reason=" ")).status_code == 400
    await post_form(zhao, HOME, address, reason="不对")
    assert (await bank.db["ledger_adjustments"].find({}))[0]["state"] == "rejected"
    assert (await post_form(zhao, HOME, f"{HOME}/adjustments/{row['_id']}/approve")).status_code == 409
    assert await bank.db["transfers"].count({"kind": "adjust"}) == 0


@pytest.mark.parametrize("decision", ["approve", "reject"])
async def test_an_entry_whose_author_was_cut_short_is_decided_all_the_same(
    clerk: Clerk, bank: Bank, decision: str
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    await post_form(lin, HOME, HOME, **ADJUST)
    await bank.db["approvals"].delete({"kind": "ledger"})
    (row,) = await bank.db["ledger_adjustments"].find({})
    address = f"{HOME}/adjustments/{row['_id']}/{decision}"
    assert (await post_form(lin, HOME, f"{HOME}/adjustments/{row['_id']}/approve")).status_code == 403
    await post_form(zhao, HOME, address, reason="不对")
    ended = {"approve": "applied", "reject": "rejected"}[decision]
    assert (await bank.db["ledger_adjustments"].find({}))[0]["state"] == ended


async def test_who_may_not_see_the_ledger_does_not(clerk: Clerk, http: httpx.AsyncClient) -> None:
    assert (await http.get(HOME)).status_code in (302, 303)
