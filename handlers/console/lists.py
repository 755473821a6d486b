"""The console's pages of static lists: customers whom a file names."""

from __future__ import annotations

from typing import Any

from tornado.web import stream_request_body
from typing_extensions import override

from config.bounds import GivenReason, Word
from customers.lists import keeping, reading, uploading
from customers.lists.uploading import Receiver
from handlers.console.base import REFUSALS, Decision
from handlers.console.downloads import DownloadForm, Downloading
from handlers.console.sending import Sending
from handlers.http.pages import Form
from services.errors import YinqiaoError

SHOWN = 100
"""So many lines that named nobody are on the page."""


class ListForm(Form):
    list: Word = ""
    name_zh: Word = ""
    name_en: Word = ""


class NamesForm(Form):
    name_zh: Word = ""
    name_en: Word = ""


class ArchiveForm(Form):
    reason: GivenReason


class UploadForm(Form):
    """What stands in the form before the file."""

    mode: Word = ""


class Lists(Decision):
    """All lists; POST makes one."""

    done = "list_created"

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        rows = await keeping.everything(self.bank)
        counts = {row["list"]: await keeping.count(self.bank, row["list"]) for row in rows}
        self.render_page("lists", error, rows=rows, counts=counts)

    @override
    def address(self) -> str:
        return "/console/lists"

    @override
    async def decide(self) -> None:
        form = self.form(ListForm)
        name = {"zh": form.name_zh, "en": form.name_en}
        await keeping.create(self.bank, self.actor.login, form.list.strip(), name)


class ListPage(Decision):
    """One list: how many are on it, and the files that it was made of."""

    @property
    def list(self) -> str:
        return self.path_kwargs["list"]

    @override
    async def get(self, **_: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        row = await keeping.find(self.bank, self.list)
        self.render_page(
            "list",
            error,
            row=row,
            count=await keeping.count(self.bank, self.list),
            used_by=await keeping.used_by(self.bank, self.list),
            uploads=await uploading.uploads(self.bank, self.list),
        )

    @override
    def address(self) -> str:
        return f"/console/lists/{self.list}"


class Rename(ListPage):
    done = "list_renamed"

    @override
    async def decide(self) -> None:
        form = self.form(NamesForm)
        name = {"zh": form.name_zh, "en": form.name_en}
        await keeping.rename(self.bank, self.actor.login, self.list, name)


class Archive(ListPage):
    done = "list_archived"

    @override
    async def decide(self) -> None:
        reason = self.form(ArchiveForm).reason
        await keeping.archive(self.bank, self.actor.login, self.list, reason)


class BringBack(ListPage):
    done = "list_brought_back"

    @override
    async def decide(self) -> None:
        await keeping.bring_back(self.bank, self.actor.login, self.list)


class Download(Downloading, ListPage):
    """Who is on it, as a file."""

    @override
    async def post(self, **_: str) -> None:
        wanted = self.form(DownloadForm).wanted
        try:
            pieces = await keeping.download(self.bank, self.actor, self.list, wanted)
        except REFUSALS as error:
            await self.show(error)
            return
        await self.send_table(f"{self.list}-{self.bank.today():%Y%m%d}", pieces)


@stream_request_body
class Send(Sending, ListPage):
    """A file of customers comes in, and a worker reads it into the list."""

    @override
    def receive(self, name: str) -> Receiver:
        return Receiver(name)

    @override
    async def start(self, received: Any) -> None:
        login, mode = self.actor.login, self.form(UploadForm).mode
        upload = await uploading.start(self.bank, login, self.list, mode, received)
        self.redirect_to(f"{self.address()}/uploads/{upload}", done="list_upload_begun")


class OneUpload(ListPage):
    """One file: how far it is read, and the lines that named nobody."""

    template = "list_upload"

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        upload = await uploading.upload(self.bank, self.list, self.path_kwargs["upload"])
        row = await keeping.find(self.bank, self.list)
        values = {"row": row, "upload": upload, "percent": uploading.percent(upload)}
        self.render_page(self.template, error, shown=SHOWN, **values)


class Progress(OneUpload):
    """The part of the page that htmx fetches again and again. When it is over, the page is fetched
    whole."""

    template = "list_progress"

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        upload = await uploading.upload(self.bank, self.list, self.path_kwargs["upload"])
        if not upload["open"]:
            self.set_header("HX-Refresh", "true")
        await super().show(error)


class Problems(OneUpload):
    """The lines that named nobody, as a file."""

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        upload = await uploading.upload(self.bank, self.list, self.path_kwargs["upload"])
        said = {reason: self.explain(reason) for reason in reading.REASONS}
        self.set_header("Content-Type", "text/csv; charset=UTF-8")
        name = f"{self.list}-{upload['upload'][:8]}-lines.csv"
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.write(uploading.problems_file(upload, said))
