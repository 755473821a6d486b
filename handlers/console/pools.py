"""The console's pages of code pools: what is in them, files of codes on their way in, taking unused
codes back, and finding one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from tornado.web import stream_request_body
from typing_extensions import override

from config.bounds import GivenReason, ShortText, Word
from handlers.console.base import REFUSALS, Decision, RejectForm
from handlers.console.sending import Sending
from handlers.http.pages import Form
from rewards.pools import importing, keeping, reading
from rewards.pools.importing import Receiver
from services import sheets
from services.errors import InvalidInput, TooMany, YinqiaoError

SHOWN = 100
"""So many lines that cannot be taken are on the page."""


class NewPool(Form):
    pool: Word
    name_zh: ShortText = ""
    name_en: ShortText = ""
    supplier: ShortText = ""
    low: Word = ""


class SearchForm(Form):
    code: ShortText = Field(min_length=1)


class LowForm(Form):
    low: Word


class RecallForm(Form):
    what: Word
    reason: GivenReason


def _count(text: str) -> int:
    """The number in a field; raises InvalidInput `not_a_count`."""
    read = sheets.cell(text) or "0"
    if not (read.isascii() and read.isdigit() and len(read) <= 9):
        raise InvalidInput("not_a_count", "a whole number, such as 500", fields={"low": "not one"})
    return int(read)


class Pools(Decision):
    """All pools, and the newest uploads; POST makes a pool."""

    done = "pool_created"

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        await self.show_found(error)

    async def show_found(
        self, error: YinqiaoError | None = None, found: Sequence[dict[str, Any]] | None = None
    ) -> None:
        """`found` is what a search found; None where none was made."""
        self.render_page(
            "pools",
            error,
            pools=await keeping.all_pools(self.bank),
            uploads=await keeping.uploads(self.bank),
            found=found,
            percent=importing.percent,
        )

    @override
    def address(self) -> str:
        return "/console/pools"

    @override
    async def decide(self) -> None:
        form = self.form(NewPool)
        names = {"zh": form.name_zh, "en": form.name_en}
        await keeping.create(
            self.bank,
            self.actor.login,
            form.pool.strip(),
            names,
            supplier=form.supplier,
            low=_count(form.low),
        )


class Search(Pools):
    """What became of a code that somebody has in his hand. The code is in no address and no log."""

    keeps = False

    @override
    async def post(self, **_: str) -> None:
        try:
            code = self.form(SearchForm).code
            found = await keeping.search(self.bank, self.actor.login, code)
        except (*REFUSALS, TooMany) as error:
            await self.show(error)
            return
        await self.show_found(None, found)


class Pool(Decision):
    """One pool."""

    @property
    def pool(self) -> str:
        return self.path_kwargs["pool"]

    @override
    async def get(self, **_: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        view = await keeping.view(self.bank, self.pool)
        self.render_page("pool", error, pool=view, percent=importing.percent)

    @override
    def address(self) -> str:
        return f"/console/pools/{self.pool}"


class SetLow(Pool):
    done = "pool_low_changed"

    @override
    async def decide(self) -> None:
        low = _count(self.form(LowForm).low)
        await keeping.set_low(self.bank, self.actor.login, self.pool, low)


class RecallCodes(Pool):
    done = "pool_recalled"

    @override
    async def decide(self) -> None:
        form = self.form(RecallForm)
        await keeping.recall(self.bank, self.actor.login, self.pool, form.what, form.reason)


class AskExport(Pool):
    done = "export_asked"

    @override
    async def decide(self) -> None:
        await keeping.ask_export(self.bank, self.actor, self.pool, self.path_kwargs["recall"])


class ApproveExport(Pool):
    done = "export_approved"

    @override
    async def decide(self) -> None:
        await keeping.approve_export(self.bank, self.actor, self.pool, self.path_kwargs["recall"])


class RejectExport(Pool):
    done = "export_rejected"

    @override
    async def decide(self) -> None:
        reason = self.form(RejectForm).reason
        recall = self.path_kwargs["recall"]
        await keeping.reject_export(self.bank, self.actor, self.pool, recall, reason)


class Export(Pool):
    """The recalled codes as a file."""

    @override
    async def post(self, **_: str) -> None:
        recall = self.path_kwargs["recall"]
        try:
            data = await keeping.export(self.bank, self.actor.login, self.pool, recall)
        except REFUSALS as error:
            await self.show(error)
            return
        self.answer_file(data, f"{self.pool}-recalled-{recall[:8]}.csv")

    def answer_file(self, data: bytes, name: str) -> None:
        self.set_header("Content-Type", "text/csv; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.write(data)


@stream_request_body
class Send(Sending, Pool):
    """A file of codes comes in: it is kept piece by piece, and a worker imports it."""

    @override
    def receive(self, name: str) -> Receiver:
        return importing.receive(self.bank, name)

    @override
    async def start(self, received: Any) -> None:
        upload, new = await importing.start(self.bank, self.actor.login, self.pool, received)
        place = f"/console/pools/{upload['pool']}/uploads/{upload['upload']}"
        self.redirect_to(place, done="upload_begun" if new else "upload_known")


class OneUpload(Decision):
    """One upload: how far it is, and the lines that cannot be taken."""

    @property
    def upload(self) -> str:
        return self.path_kwargs["upload"]

    @override
    async def get(self, **_: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        upload = await importing.find(self.bank, self.upload)
        problems = await importing.problems_of(self.bank, self.upload)
        self.render_page(
            "pool_upload",
            error,
            upload=upload,
            percent=importing.percent,
            problems=problems[:SHOWN],
            problem=self.problem,
        )

    def problem(self, reason: str, what: str) -> str:
        """What is wrong with a line, as a sentence."""
        if reason == "code_known":
            pool, _, upload = what.partition(":")
            what = f"{self.called(pool)} ({upload[:8]})"
        return self.explain(reason, reason, what=what)

    @override
    def address(self) -> str:
        return f"/console/pools/{self.path_kwargs['pool']}/uploads/{self.upload}"


class UploadProgress(OneUpload):
    """The part of the page that htmx fetches again and again. When it is over, the page is fetched
    whole."""

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        upload = await importing.find(self.bank, self.upload)
        if not upload["open"]:
            self.set_header("HX-Refresh", "true")
        self.render_page("pool_progress", error, upload=upload, percent=importing.percent)


class UploadProblems(OneUpload):
    """The lines that cannot be taken, as a file; no code is in it."""

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        upload = await importing.find(self.bank, self.upload)
        lines: list[tuple[str | int, ...]] = []
        lines.append((self.label("line"), self.label("reason"), self.label("why")))
        part: list[reading.Problem] = await importing.problems_of(self.bank, self.upload)
        number = 0
        while part:
            lines += [(line, why, self.problem(why, what)) for line, why, what in part]
            number += 1
            part = await importing.problems_of(self.bank, self.upload, number)
        name = f"{upload['pool']}-lines-{self.upload[:8]}.csv"
        self.set_header("Content-Type", "text/csv; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.write(sheets.csv_file(lines))


class SkipLines(OneUpload):
    done = "upload_begun"

    @override
    async def decide(self) -> None:
        await importing.skip_bad(self.bank, self.actor.login, self.upload)


class CancelUpload(OneUpload):
    done = "upload_cancelled"

    @override
    async def decide(self) -> None:
        await importing.cancel(self.bank, self.actor.login, self.upload)
