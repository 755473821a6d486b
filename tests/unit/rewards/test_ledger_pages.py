"""The pages of a batch: what the transfers say of each account, whether its lines share a sheet or not."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rewards.ledger import lines
from rewards.ledger.chart import in_books

AT = datetime(2026, 3, 1, tzinfo=UTC)
STOCK, ISSUED, FUNDS, SPENT = "stock:camp.r", "issued:camp.r", "funds:camp", "spent:camp"
LEG = {"debit": FUNDS, "credit": SPENT, "amount": 100, "currency": "fen"}


def grant(n: int, **fields: Any) -> dict[str, Any]:
    row = {"_id": f"demo:{n}", "kind": "grant", "debit": STOCK, "credit": ISSUED, "amount": 1, "at": AT}
    return {**row, "legs": [LEG], **fields}


def quota(cid: str) -> dict[str, Any]:
    return {"debit": f"quota:camp:customer:{cid}:ever", "credit": "quota_used:camp", "amount": 1, "currency": "unit"}


def told(pages: list[lines.Page]) -> dict[str, list[tuple[str, datetime, str, int]]]:
    """Every account's lines, as readers see them; their totals are those of the page."""
    found: dict[str, list[tuple[str, datetime, str, int]]] = {}
    for page in pages:
        for account, debits, credits_ in lines.totals_in(page):
            its = [(one["id"], one["at"], one["kind"], one["amount"]) for one in lines.lines_in(page, account)]
            assert account not in found
            assert debits == -sum(n for *_, n in its if n < 0)
            assert credits_ == sum(n for *_, n in its if n > 0)
            found[account] = its
    return found


def test_grants_that_are_alike_share_one_sheet() -> None:
    (sheet,) = lines.pages_of("demo", "b", [grant(n) for n in (2, 1, 3)])
    assert lines.accounts_in(sheet) == [FUNDS, ISSUED, SPENT, STOCK]
    assert list(lines.totals_in(sheet)) == [(FUNDS, 300, 0), (ISSUED, 0, 3), (SPENT, 0, 300), (STOCK, 3, 0)]
    assert lines.lines_in(sheet, FUNDS) == [
        {"id": f"demo:{n}", "at": AT, "kind": "grant", "amount": -100} for n in (1, 2, 3)
    ]


def test_what_is_one_grants_alone_has_a_page_beside_the_sheet() -> None:
    pages = lines.pages_of("demo", "b", [grant(n, legs=[quota(f"c{n}"), LEG]) for n in (1, 2)])
    assert [lines.accounts_in(page) for page in pages] == [
        [FUNDS, ISSUED, "quota:*", "quota_used:*", "quota_used:camp", SPENT, STOCK],
        ["quota:camp:customer:c1:ever"],
        ["quota:camp:customer:c2:ever"],
    ]


def test_a_moment_or_a_kind_of_its_own_makes_pages() -> None:
    for other in (grant(2, at=AT + timedelta(seconds=1)), grant(2, what="reissue")):
        pages = lines.pages_of("demo", "b", [grant(1), other])
        assert [lines.accounts_in(page) for page in pages] == [[STOCK], [ISSUED], [FUNDS], [SPENT]]


def test_a_sheet_has_the_name_of_its_first_accounts_page() -> None:
    """A batch whose pages are there already has no sheet besides."""
    (sheet,) = lines.pages_of("demo", "b", [grant(1), grant(2)])
    pages = lines.pages_of("demo", "b", [grant(1), grant(2, at=AT + timedelta(seconds=1))])
    assert [page["_id"] for page in pages if lines.accounts_in(page) == [FUNDS]] == [sheet["_id"]]


def test_no_transfers_have_no_pages() -> None:
    assert lines.pages_of("demo", "b", []) == []
    assert lines.pages_of("demo", "b", [grant(1)], frozenset()) == []


LEGS = st.lists(st.sampled_from([LEG, quota("c1"), quota("c2"), {**LEG, "amount": 7}]), max_size=3)
KINDS = st.sampled_from(["grant", "refund", "hold"])
ROWS = st.lists(st.tuples(LEGS, KINDS, st.integers(0, 1), st.integers(0, 2)), max_size=6)


@given(rows=ROWS)
def test_each_accounts_lines_are_what_the_transfers_moved(rows: list[tuple[Any, str, int, int]]) -> None:
    transfers = [
        grant(n, legs=legs, kind=kind, at=AT + timedelta(seconds=late), amount=amount)
        for n, (legs, kind, late, amount) in enumerate(rows)
    ]
    wanted: defaultdict[str, list[tuple[str, datetime, str, int]]] = defaultdict(list)
    for row in transfers:
        for account, amount in lines.changes_of(row).items():
            for name in dict.fromkeys((account, in_books(account))):
                wanted[name].append((row["_id"], row["at"], row["kind"], amount))
    pages = lines.pages_of("demo", "b", transfers)
    found = told(pages)
    assert {name: sorted(its) for name, its in found.items()} == {name: sorted(its) for name, its in wanted.items()}
    assert len({page["_id"] for page in pages}) == len(pages)
    some = {STOCK, "quota:*"}
    assert told(lines.pages_of("demo", "b", transfers, some)) == {
        name: its for name, its in found.items() if name in some
    }
