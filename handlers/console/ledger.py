"""The console's pages of the ledger: the trial balance, an account's lines, what became of a transfer,
a month as a file, and what is posted by hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

from typing_extensions import override

from config.bounds import GivenReason, ShortText, Word
from handlers.console.base import Console, Decision, RejectForm
from handlers.http.pages import Form, money
from rewards import limits
from rewards.ledger import adjust, books, statement
from rewards.ledger.chart import CHART, Kind, kind_of
from services.errors import InvalidInput, YinqiaoError


class TrialQuery(Form):
    """`of`: the transfer that an entry by hand is to correct."""

    at: Word = ""
    of: ShortText = ""


class LinesQuery(Form):
    """`before`: the moment in milliseconds before which the lines are."""

    before: Word = ""


class MonthQuery(Form):
    month: Word


class AdjustForm(Form):
    """`amount` is in units, in points, or in yuan with two places; `key` makes a form one."""

    debit: ShortText
    credit: ShortText
    amount: Word
    reason: GivenReason
    of: ShortText = ""
    key: Word = ""


class Ledger(Console):
    """What all pages of the ledger say alike."""

    @override
    def get_template_namespace(self) -> dict[str, Any]:
        more = {"amount": self.amount, "account_name": self.account_name, "CHART": CHART}
        more["customers_named"] = self.customers
        return {**super().get_template_namespace(), **more}

    def amount(self, n: int, currency: str) -> str:
        """An amount as people read it."""
        if currency == "fen":
            return money(n) if n >= 0 else f"-{money(-n)}"
        return f"{n:,}"

    def account_name(self, account: str) -> str:
        """What an account is called: its kind, and whose it is."""
        kind, owner = kind_of(account), account.partition(":")[2]
        title = self.in_language(kind.title.model_dump())
        if owner == "*":
            return f"{title} · {self.explain('ledger_all')}"
        if kind.owner == "program":
            return f"{title} · {self.names.of_program(owner, self.lang)}"
        if kind.owner == "quota":
            return " · ".join([title, *self._of_quota(owner)])
        if kind.owner == "customer":
            owner = self.customers.get(owner) or self.explain("ledger_customer")
        return f"{title} · {self.called(owner)}" if owner else title

    def _of_quota(self, owner: str) -> Iterator[str]:
        """What a quota counts: the reward, campaign or group, whose share, and when."""
        counted, _, share = owner.partition(":")
        yield self.called(counted.partition("@")[0])
        if not share:
            return
        per, _, rest = share.partition(":")
        whose, _, when = rest.rpartition(":")
        if per == "customer":
            yield self.explain("ledger_customer")
        elif whose == limits.UNKNOWN:
            yield self.explain("ledger_unknown")
        elif whose != "all":
            yield self.called(whose)
        if when.isdecimal():
            yield "-".join(filter(None, (when[:4], when[4:6], when[6:])))

    customers: Mapping[str, str] = {}
    """Masked names of the customers whose accounts a page shows, by their ids."""

    async def know(self, *accounts: str) -> None:
        """Looks up whose accounts these are."""
        self.customers = await books.customers_of(self.bank, accounts)


class Trial(Ledger, Decision):
    """The trial balance, now or at the end of a day, and what was asked for by hand; POST asks for an
    entry."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        at = None
        try:
            at = self._at()
        except InvalidInput as wrong:
            error = error or wrong
        lines = await statement.trial(self.bank, at)
        adjustments = await adjust.shown(self.bank)
        await self.know(
            *(
                leg[side]
                for one in adjustments
                for leg in one["legs"]
                for side in ("debit", "credit")
            )
        )
        values = {
            "currencies": _by_currency(lines),
            "adjustments": adjustments,
            "day": (at or self.bank.utc()).astimezone(self.bank.tz).date().isoformat(),
            "key": secrets.token_hex(8),
            "of": self.asked(TrialQuery).of if self.request.method == "GET" else "",
        }
        self.render_page("ledger", error, **values)

    def _at(self) -> datetime | None:
        """The end of the day that was asked for. Raises InvalidInput `day_invalid`."""
        wanted = self.asked(TrialQuery).at if self.request.method == "GET" else ""
        try:
            return statement.end_of(self.bank, date.fromisoformat(wanted)) if wanted else None
        except (ValueError, OverflowError) as error:
            fields = {"at": "day_invalid"}
            raise InvalidInput(
                "day_invalid", "a day is written 2026-11-30", fields=fields
            ) from error

    @override
    def address(self) -> str:
        return "/console/ledger"

    done = "adjustment_submitted"

    @override
    async def decide(self) -> None:
        form = self.form(AdjustForm)
        written = adjust.Written(form.debit.strip(), form.credit.strip(), form.amount.strip())
        key = form.key or secrets.token_hex(8)
        await adjust.ask(self.bank, self.actor, written, form.reason, of=form.of.strip(), key=key)


def _by_currency(lines: list[statement.TrialLine]) -> dict[str, dict[str, Any]]:
    """The lines of each currency with their totals."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        of_it = found.setdefault(line.kind.currency, {"lines": [], "debit": 0, "credit": 0})
        of_it["lines"].append(line)
        of_it["debit"] += line.debit
        of_it["credit"] += line.credit
    return found


class ApproveAdjustment(Trial):
    done = "adjustment_applied"

    @override
    async def decide(self) -> None:
        await adjust.approve(self.bank, self.actor, self.path_kwargs["adjustment"])


class RejectAdjustment(Trial):
    done = "adjustment_rejected"

    @override
    async def decide(self) -> None:
        reason = self.form(RejectForm).reason
        await adjust.reject(self.bank, self.actor, self.path_kwargs["adjustment"], reason)


class AccountLines(Ledger):
    """An account's lines, the newest first, with the balance after each."""

    @override
    async def get(self, account: str) -> None:
        kind, before = self._asked(account)
        await self.know(account)
        until = before or self.bank.utc() + statement.MOMENT
        lines, older = await statement.latest(self.bank, account, until)
        balance = await books.balance(self.bank, account)
        month = self.bank.today().strftime("%Y-%m")
        values: dict[str, Any] = {
            "account": account,
            "kind": kind,
            "lines": lines,
            "balance": balance,
            "month": month,
        }
        self.render_page("ledger_account", older=older, **values)

    def _asked(self, account: str) -> tuple[Kind, datetime | None]:
        before = self.asked(LinesQuery).before
        if not before:
            return kind_of(account), None
        if not (before.isascii() and before.isdigit() and len(before) < 15):
            raise InvalidInput(
                "cursor_invalid", "no such place", fields={"before": "cursor_invalid"}
            )
        return kind_of(account), datetime.fromtimestamp(int(before) / 1000, self.bank.tz)


class Transfer(Ledger):
    """One transfer with all that is linked to it."""

    @override
    async def get(self, transfer: str) -> None:
        found = await statement.story(self.bank, transfer)
        rows = [found.row, *found.linked]
        cids = [f"points:{row['about']['cid']}" for row in rows if row.get("about", {}).get("cid")]
        cids += [f"points:{row['cid']}" for row in rows if row.get("cid")]
        await self.know(
            *cids, *(leg.debit for leg in found.legs), *(leg.credit for leg in found.legs)
        )
        corrected = await adjust.of_transfer(self.bank, transfer)
        self.render_page("ledger_transfer", found=found, corrected=corrected, told=_told)


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a transfer says besides its legs, for people."""
    about = dict(row.get("about", {}))
    more = {name: row[name] for name in ("reason", "maker") if row.get(name)}
    about.pop("cid", None)
    return {
        **{name: value for name, value in about.items() if isinstance(value, str | int)},
        **more,
    }


class MonthFile(Ledger):
    """A month as a file for the bank's books: of all accounts, or the lines of one."""

    @override
    async def get(self, account: str = "") -> None:
        month = self.asked(MonthQuery).month
        if account:
            kind_of(account)
            await self.know(account)
        name = account.replace(":", "-") or "books"
        file = await books.month_file(
            self.bank, self.actor.login, month, account, self.account_name, self._label
        )
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="ledger-{name}-{month}.csv"')
        self.write(file)

    def _label(self, name: str) -> str:
        return self.explain(f"ledger_{name}")
