"""The console's pages of points: the programme and its versions, a customer's account, and what the
bank owes. A change of the programme, and a correction, take two clerks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import override

from config.bounds import GivenReason, LongText, RowId, ShortText, Word
from customers.identity import resolution
from handlers.console.base import REFUSALS, Console, Decision, RejectForm
from handlers.http.pages import Form
from rewards.points import accounts, corrections, document, liability, program, statement
from rewards.points.document import ProgramError
from rewards.points.occasions import of_bank
from rewards.points.rows import VersionRow
from services.documents.problems import Place
from services.errors import YinqiaoError
from services.store.mongo import Doc

_NUMBER = re.compile(r"-?[0-9]{1,15}", re.ASCII)


def _whole(text: str) -> Any:
    """The number that a field says; the text where it says none, for the document to refuse, and
    nothing where it is empty."""
    plain = text.strip()
    return int(plain) if _NUMBER.fullmatch(plain) else plain or None


def _field_at(place: Place) -> str:
    """The form's field that is meant by a place of the document; a wrong name of a rule is `rules`."""
    if place[-1:] == ("[key]",):
        return str(place[0])
    return next((part for part in reversed(place) if isinstance(part, str)), "")


def _without_nothing(fields: Mapping[str, Any]) -> Doc:
    return {name: value for name, value in fields.items() if value is not None}


class LinesAsked(Form):
    """`before` is the cursor of the lines that were shown last."""

    before: Word = ""


class CorrectionForm(Form):
    """`points` more for the customer, or fewer with a minus; or `transfer` is given back."""

    points: Word = ""
    transfer: RowId = ""
    reason: GivenReason


class NamesForm(Form):
    """Which rule is to be changed; none for a new one."""

    rule: Word = ""


class ProgramForm(Form):
    """`base` is the version that is changed; `fields` of the notice stand one a line, `thing1:
    program`."""

    base: Word = "0"
    id: Word = "points"
    name_zh: ShortText = ""
    name_en: ShortText = ""
    cost: Word = ""
    lifetime: Word = ""
    notice_days: Word = ""
    notice_appid: Word = ""
    notice_template: Word = ""
    notice_fields: LongText = ""

    @classmethod
    def of(cls, version: int, holds: Doc | None) -> ProgramForm:
        """The form with what holds."""
        told = holds or {}
        notice = told.get("notice") or {}
        lines = "\n".join(f"{key}: {value}" for key, value in notice.get("fields", {}).items())
        return cls(
            base=str(version),
            id=told.get("id", "points"),
            name_zh=told.get("name", {}).get("zh", ""),
            name_en=told.get("name", {}).get("en", ""),
            cost=str(told.get("cost", "")),
            lifetime=str(told.get("lifetime", "")),
            notice_days=str(notice.get("days", "")),
            notice_appid=notice.get("appid", ""),
            notice_template=notice.get("template", ""),
            notice_fields=lines,
        )

    def over(self, holds: Doc | None) -> Doc:
        """The document that is meant: what holds, with what the form says."""
        changed: Doc = {
            "kind": "points/v1",
            "id": self.id.strip(),
            "name": {"zh": self.name_zh.strip(), "en": self.name_en.strip()},
            "cost": _whole(self.cost),
            "lifetime": _whole(self.lifetime),
            "notice": self._notice(),
            "rules": (holds or {}).get("rules", {}),
        }
        return _without_nothing(changed)

    def _notice(self) -> Doc | None:
        if not (self.notice_appid.strip() or self.notice_template.strip()):
            return None
        pairs = [line.partition(":") for line in self.notice_fields.replace("：", ":").splitlines()]
        return _without_nothing(
            {
                "days": _whole(self.notice_days),
                "appid": self.notice_appid.strip(),
                "template": self.notice_template.strip(),
                "fields": {key.strip(): value.strip() for key, _, value in pairs if key.strip()},
            }
        )


class RuleForm(Form):
    """`base` is the version that is changed, `key` the rule's name in it."""

    base: Word = "0"
    key: Word = ""
    title_zh: ShortText = ""
    title_en: ShortText = ""
    event: Word = ""
    points: Word = ""
    per_day: Word = ""
    per_month: Word = ""
    ever: Word = ""
    lifetime: Word = ""
    begin: Word = ""
    end: Word = ""
    state: Word = "live"

    @classmethod
    def of(cls, version: int, key: str, rule: Mapping[str, Any]) -> RuleForm:
        """The form with what holds."""
        numbers = ("points", "per_day", "per_month", "ever", "lifetime")
        return cls(
            base=str(version),
            key=key,
            title_zh=rule.get("title", {}).get("zh", ""),
            title_en=rule.get("title", {}).get("en", ""),
            event=rule.get("event", ""),
            begin=rule.get("from", ""),
            end=rule.get("to", ""),
            state=rule.get("state", "live"),
            **{name: str(rule.get(name, "")) for name in numbers},
        )

    def over(self, holds: Doc) -> Doc:
        """What holds, with this rule as the form says."""
        rule: Doc = {
            "title": {"zh": self.title_zh.strip(), "en": self.title_en.strip()},
            "event": self.event,
            "points": _whole(self.points),
            "per_day": _whole(self.per_day),
            "per_month": _whole(self.per_month),
            "ever": _whole(self.ever),
            "lifetime": _whole(self.lifetime),
            "from": self.begin.strip() or None,
            "to": self.end.strip() or None,
            "state": self.state,
        }
        rules = {**holds.get("rules", {}), self.key.strip(): _without_nothing(rule)}
        return {**holds, "rules": rules}


class _PointsPage(Decision):
    """The programme with its rules, and the versions that were submitted."""

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        version, holds = await program.holding(self.bank)
        versions = await program.list_versions(self.bank)
        shown = [(row, self._changes(holds, row)) for row in versions]
        self.render_page("points", error, version=version, holds=holds, versions=shown)

    def _changes(self, holds: Doc | None, row: VersionRow) -> list[tuple[str, str, str]]:
        """What a version that waits changes: where, before and after, as people read it."""
        if row["state"] != program.SUBMITTED:
            return []
        rules = {**(holds or {}).get("rules", {}), **row["document"].get("rules", {})}
        told = []
        for where, before, after in document.changes(holds, row["document"]):
            parts = where.split(".")
            label = self.field_label(parts[-1] if parts[-1] not in ("zh", "en") else parts[-2])
            if parts[-1] in ("zh", "en"):
                label = f"{label} ({self.explain('lang_' + parts[-1])})"
            if parts[0] == "rules":
                label = f"{self.in_language(rules[parts[1]]['title'])} · {label}"
            told.append((label, self._value(parts[-1], before), self._value(parts[-1], after)))
        return told

    def _value(self, field: str, value: Any) -> str:
        if value is None:
            return "–"
        if field in ("event", "state"):
            return self.explain(f"points_{field}_{value}", str(value))
        return f"{value:,}" if isinstance(value, int) else str(value)

    @override
    def address(self) -> str:
        return "/console/points"

    def problems(self, error: YinqiaoError | None) -> list[str]:
        """What is wrong with a form's document, as sentences that name the fields as the page
        does."""
        if not isinstance(error, ProgramError):
            return []
        told = []
        for place, one in zip(error.places, error.problems, strict=False):
            label = self.field_label(_field_at(place))
            told.append(replace(one, data={**one.data, "place": label}).say(self.lang))
        return told

    def field_label(self, name: str) -> str:
        """What a field of the programme is called on the page."""
        return self.explain(f"points_field_{name.rstrip('_')}", name)


class Points(_PointsPage):
    @override
    async def get(self) -> None:
        await self.show()


class Program(_PointsPage):
    """The programme's own fields; POST submits them."""

    @override
    async def get(self) -> None:
        version, holds = await program.holding(self.bank)
        await self.show_form(ProgramForm.of(version, holds))

    async def show_form(self, form: ProgramForm, error: YinqiaoError | None = None) -> None:
        self.render_page(
            "points_program",
            error,
            form=form,
            problems=self.problems(error),
            programs=self.bank.miniprograms.values(),
            fields=document.FIELDS,
        )

    @override
    def form_address(self) -> str:
        return "/console/points/program"

    @override
    async def post(self, **_: str) -> None:
        form = self.form(ProgramForm)
        holds = (await program.holding(self.bank))[1]
        try:
            base = _whole(form.base)
            await program.submit(self.bank, self.actor, base, form.over(holds))
        except REFUSALS as error:
            await self.show_form(form, error)
            return
        self.redirect_to(self.address(), done="points_submitted")


class Rule(_PointsPage):
    """One rule, or a new one; POST submits it."""

    @override
    async def get(self) -> None:
        version, holds = await program.holding(self.bank)
        key = self.asked(NamesForm).rule
        rule = (holds or {}).get("rules", {}).get(key, {})
        await self.show_form(RuleForm.of(version, key if rule else "", rule), known=bool(rule))

    async def show_form(
        self, form: RuleForm, error: YinqiaoError | None = None, *, known: bool = False
    ) -> None:
        """`known`: the rule holds already, and keeps its name."""
        self.render_page(
            "points_rule",
            error,
            form=form,
            known=known,
            problems=self.problems(error),
            occasions=of_bank(self.bank.events),
        )

    @override
    def form_address(self) -> str:
        return "/console/points/rule"

    @override
    async def post(self, **_: str) -> None:
        form = self.form(RuleForm)
        holds = (await program.holding(self.bank))[1]
        try:
            base = _whole(form.base)
            await program.submit(self.bank, self.actor, base, form.over(holds or {}))
        except REFUSALS as error:
            await self.show_form(form, error)
            return
        self.redirect_to(self.address(), done="points_submitted")


class Approve(_PointsPage):
    done = "points_approved"

    @override
    async def decide(self) -> None:
        await program.approve(self.bank, self.actor, int(self.path_kwargs["version"]))


class Reject(_PointsPage):
    done = "points_rejected"

    @override
    async def decide(self) -> None:
        version, reason = int(self.path_kwargs["version"]), self.form(RejectForm).reason
        await program.reject(self.bank, self.actor, version, reason)


class Account(Decision):
    """A customer's points: what he has, his statement, and the corrections of it."""

    @property
    def cid(self) -> str:
        return self.path_kwargs["cid"]

    @override
    def address(self) -> str:
        return f"/console/points/customers/{self.cid}"

    @override
    async def get(self, cid: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        person = await resolution.customer(self.bank, self.cid)
        has = accounts.together(await accounts.read(self.bank, person.cids), self.bank.utc())
        before = self.asked(LinesAsked).before
        told = await statement.read(self.bank, person.cids, before)
        self.render_page(
            "points_account",
            error,
            cid=person.cid,
            name=resolution.mask_name(person.name),
            has=has,
            told=told,
            what=await statement.titles(self.bank, told.lines, self.lang),
            asked=await corrections.newest(self.bank, person.cids),
            address=self.address(),
            before=before,
        )


class AskCorrection(Account):
    done = "points_correction_asked"

    @override
    async def decide(self) -> None:
        form = self.form(CorrectionForm)
        if form.transfer:
            await corrections.ask_back(self.bank, self.actor, self.cid, form.transfer, form.reason)
        else:
            points = _whole(form.points)
            await corrections.ask(self.bank, self.actor, self.cid, points, form.reason)


class Corrections(Decision):
    """What was asked for, the newest first."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        self.render_page("points_corrections", error, asked=await corrections.newest(self.bank))

    @override
    def address(self) -> str:
        return "/console/points/corrections"


class ApproveCorrection(Corrections):
    done = "points_corrected"

    @override
    async def decide(self) -> None:
        await corrections.approve(self.bank, self.actor, self.path_kwargs["correction"])


class RejectCorrection(Corrections):
    done = "points_rejected"

    @override
    async def decide(self) -> None:
        correction, reason = self.path_kwargs["correction"], self.form(RejectForm).reason
        await corrections.reject(self.bank, self.actor, correction, reason)


class Liability(Console):
    """What the bank owes."""

    @override
    async def get(self) -> None:
        try:
            found = await liability.report(self.bank)
        except REFUSALS as error:
            self.render_page("points_liability", error, found=None)
            return
        self.render_page("points_liability", found=found)


class LiabilityCsv(Console):
    """The same as a file for the bank's books."""

    @override
    async def get(self) -> None:
        file = await liability.file(self.bank, self.actor.login)
        self.set_header("Content-Type", "text/csv; charset=UTF-8")
        name = f"points-{self.bank.today():%Y%m%d}.csv"
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.write(file)
