"""The console's pages of the message archive: how it goes, and messages for a case.

Each opened message is in the audit trail.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from config.bounds import Word
from customers.archive import reading
from customers.handover import batches
from handlers.console.base import REFUSALS, Console
from handlers.http.pages import Form


class SearchForm(Form):
    case: Word = ""
    userid: Word = ""
    day: Word = ""


class CaseForm(Form):
    case: Word = ""


class _ArchivePage(Console):
    @override
    def form_address(self) -> str:
        return "/console/archive"

    async def found(self) -> dict[str, Any]:
        people = await batches.people(self.bank, self.actor)
        return {
            "status": await reading.status(self.bank, self.actor),
            "people": people,
        }


class Archive(_ArchivePage):
    """How the archive goes; POST looks for a member's messages of a day, for a case, and is answered
    by the address of what was found, so that going back shows it again."""

    @override
    async def get(self) -> None:
        self.render_page("archive", **await self.found(), wanted=SearchForm(), messages=None)

    @override
    async def post(self) -> None:
        wanted = self.form(SearchForm)
        try:
            messages = await reading.search(
                self.bank,
                self.actor,
                wanted.case.strip(),
                wanted.userid,
                wanted.day,
            )
        except REFUSALS as error:
            self.render_page("archive", error, **await self.found(), wanted=wanted, messages=None)
            return
        found = reading.Found(wanted.case.strip(), wanted.userid, wanted.day, messages)
        search = await reading.keep_search(self.bank, self.actor, found)
        self.redirect_to(f"/console/archive/search/{search}")


class Search(_ArchivePage):
    """What a search of this clerk's found."""

    @override
    async def get(self, search: str) -> None:
        try:
            kept = await reading.kept_search(self.bank, self.actor, search)
        except REFUSALS as error:
            nothing = {"wanted": SearchForm(), "messages": None}
            self.render_page("archive", error, **await self.found(), **nothing)
            return
        wanted = SearchForm(case=kept.case, userid=kept.userid, day=kept.day)
        self.render_page("archive", **await self.found(), wanted=wanted, messages=kept.messages)


class Message(_ArchivePage):
    """Opens one message for a case."""

    @override
    async def post(self, message: str) -> None:
        case = self.form(CaseForm).case.strip()
        try:
            opened = await reading.open_message(self.bank, self.actor, case, message)
        except REFUSALS as error:
            wanted = SearchForm(case=case)
            self.render_page("archive", error, **await self.found(), wanted=wanted, messages=None)
            return
        self.redirect_to(f"/console/archive/opened/{opened}")


class Opened(_ArchivePage):
    """A message that this clerk opened."""

    @override
    async def get(self, opened: str) -> None:
        try:
            case, message = await reading.opened(self.bank, self.actor, opened)
        except REFUSALS as error:
            nothing = {"wanted": SearchForm(), "messages": None}
            self.render_page("archive", error, **await self.found(), **nothing)
            return
        self.render_page("archive_message", message=message, case=case)
