"""The console's pages of segments: whom a rule describes. A change takes two clerks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import override

from config.bounds import GivenReason, LongRule, RowId, ShortText, Word
from customers.segments import document, estimate, explaining, filling, members, versions
from customers.segments.document import SegmentRefused
from customers.segments.estimate import Estimate
from customers.segments.members import Shown
from handlers.console.base import REFUSALS, Console, Decision, RejectForm
from handlers.console.downloads import DownloadForm, Downloading
from handlers.http.pages import Form
from operations import profiling
from services.documents.problems import Problem
from services.errors import YinqiaoError

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class SegmentForm(Form):
    """`segment` is the id; `edited` says that it is there already, `base` its newest version when
    the clerk began."""

    segment: Word = ""
    name_zh: Word = ""
    name_en: Word = ""
    rule: LongRule = ""
    kind: Word = "live"
    edited: RowId | Literal[""] = ""
    base: Word = ""

    @property
    def key(self) -> str:
        return self.edited or self.segment.strip()

    def said(self) -> dict[str, Any]:
        """The segment's fields, as its model reads them."""
        name = {"zh": self.name_zh.strip(), "en": self.name_en.strip()}
        return {"name": name, "rule": self.rule.replace("\r\n", "\n").strip(), "kind": self.kind}


@dataclass(frozen=True, slots=True)
class Counted:
    """Those who meet a rule, and some of them, masked."""

    found: Estimate
    sample: list[Shown]


class ArchiveForm(Form):
    reason: GivenReason


class WhyForm(Form):
    customer: ShortText


class Segments(Console):
    """All segments; POST submits one."""

    @override
    async def get(self) -> None:
        self.render_page("segments", rows=await versions.list_segments(self.bank))

    @override
    def form_address(self) -> str:
        edited = self.form(SegmentForm).edited
        if _KEY.fullmatch(edited):
            return f"/console/segments/{edited}/edit"
        return "/console/segments/new"

    @override
    async def post(self) -> None:
        form = self.form(SegmentForm)
        base = int(form.base) if re.fullmatch("[0-9]{1,9}", form.base) else 0
        try:
            segment = document.read(form.key, form.said())
            words = await profiling.vocabulary(self.bank)
            await versions.submit(self.bank, self.actor, form.key, segment, words, base=base)
        except REFUSALS as error:
            self.show_form(form, error)
            return
        self.redirect_to(f"/console/segments/{form.key}", done="segment_submitted")

    def show_form(
        self,
        form: SegmentForm,
        error: YinqiaoError | None = None,
        counted: Counted | None = None,
    ) -> None:
        """The form, with what is wrong at each field, and the rule with the place of its mistake."""
        faults = error.faults if isinstance(error, SegmentRefused) else []
        wrong: dict[str, list[str]] = {}
        column = 0
        for place, code, data in faults:
            name = "_".join(str(part) for part in place)
            wrong.setdefault(name, []).append(Problem(1, code, data).say(self.lang))
            column = column or int(data.get("column", 0))
        marked = versions.rule_marked(form.said()["rule"], column)
        shown = {"form": form, "wrong": wrong, "marked": marked, "counted": counted}
        self.render_page("segment_edit", error, **shown)


class EstimateRule(Segments):
    """How many customers meet the rule of the form; nothing is kept."""

    keeps = False

    @override
    async def post(self) -> None:
        form = self.form(SegmentForm)
        try:
            segment = document.read(form.key or "new", form.said())
            words = await profiling.vocabulary(self.bank)
            uses = await versions.uses(self.bank)
            tree = document.checked(form.key, segment, words, uses)
            found = await estimate.estimate(self.bank, tree)
        except REFUSALS as error:
            self.show_form(form, error)
            return
        sample = await members.masked(self.bank, found.sample)
        self.show_form(form, counted=Counted(found, sample))


class NewSegment(Segments):
    @override
    async def get(self) -> None:
        self.show_form(SegmentForm())


class EditSegment(Segments):
    @override
    async def get(self, segment: str) -> None:  # type: ignore[override]
        words = await profiling.vocabulary(self.bank)
        view = await versions.view(self.bank, segment, words)
        now = view.newest
        self.show_form(
            SegmentForm(
                segment=segment,
                name_zh=now.name.zh,
                name_en=now.name.en,
                rule=now.rule,
                kind=now.kind,
                edited=segment,
                base=str(view.base),
            )
        )


@dataclass(frozen=True, slots=True)
class Told:
    """Why a customer meets the rule or not: a sentence, and the tree line by line."""

    said: str
    lines: list[explaining.Line]


class SegmentPage(Decision):
    """One segment: its rule, its versions, and the one that waits."""

    @property
    def segment(self) -> str:
        return self.path_kwargs["segment"]

    @override
    async def get(self, **_: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None, told: Told | None = None) -> None:
        words = await profiling.vocabulary(self.bank)
        view = await versions.view(self.bank, self.segment, words)
        column = 0 if view.broken is None else view.broken.column
        self.render_page(
            "segment",
            error,
            view=view,
            marked=versions.rule_marked(view.row["rule"], column),
            broken=view.broken_in(self.lang),
            told=told,
        )

    @override
    def address(self) -> str:
        return f"/console/segments/{self.segment}"


class Members(Console):
    """Who is in a segment."""

    @override
    async def get(self, segment: str) -> None:
        await self.show(segment)

    async def show(self, segment: str, error: YinqiaoError | None = None) -> None:
        found = await members.members(self.bank, segment)
        row = await versions.named(self.bank, segment)
        done = None if found.fill is None else filling.progress(found.fill)
        self.render_page("segment_members", error, row=row, members=found, progress=done)


class Download(Downloading, Members):
    """Its members, as a file."""

    @override
    async def post(self, segment: str) -> None:
        wanted = self.form(DownloadForm).wanted
        try:
            pieces = await members.download(self.bank, self.actor, segment, wanted)
        except REFUSALS as error:
            await self.show(segment, error)
            return
        await self.send_table(f"{segment}-{self.bank.today():%Y%m%d}", pieces)

    @override
    def form_address(self) -> str:
        return f"/console/segments/{self.path_kwargs['segment']}/members"


class Why(SegmentPage):
    """Why a customer is in it. Who he is stands in no address and no log."""

    keeps = False

    @override
    async def post(self, **_: str) -> None:
        try:
            wanted = self.form(WhyForm).customer
            words = await profiling.vocabulary(self.bank)
            found = await explaining.explained(self.bank, self.segment, wanted, words)
        except REFUSALS as error:
            await self.show(error)
            return
        said = list(explaining.lines(found, self.lang))
        await self.show(told=Told(found.say(self.lang), said))


class Approve(SegmentPage):
    done = "approved"

    @override
    async def decide(self) -> None:
        words = await profiling.vocabulary(self.bank)
        version = int(self.path_kwargs["version"])
        await versions.approve(self.bank, self.actor, self.segment, version, words)


class Reject(SegmentPage):
    done = "rejected"

    @override
    async def decide(self) -> None:
        version, reason = int(self.path_kwargs["version"]), self.form(RejectForm).reason
        await versions.reject(self.bank, self.actor, self.segment, version, reason)


class Archive(SegmentPage):
    done = "segment_archive_submitted"

    @override
    async def decide(self) -> None:
        reason = self.form(ArchiveForm).reason
        await versions.archive(self.bank, self.actor, self.segment, reason)
