"""The console's pages about events: what came in, and why something was done or not. Customers' ids
are masked."""

from __future__ import annotations

from typing_extensions import override

from config.bounds import Word
from handlers.console.base import Console
from handlers.http.base import Base, Refusal
from handlers.http.pages import Form
from operations.events import explain
from services.errors import NotSignedIn


class Wanted(Form):
    state: Word = ""


class Events(Console):
    """The newest events, or those that wait, are dead letters or unknown."""

    @override
    async def get(self) -> None:
        state = self.asked(Wanted).state
        rows = await explain.newest(self.bank, state)
        self.render_page("events", rows=rows, state=state, states=explain.STATES)


class Event(Console):
    @override
    async def get(self, event: str) -> None:
        answer = await explain.explain_event(self.bank, event, self.explain)
        self.render_page("event", answer=answer)


class EventApi(Console):
    """The same for programs, within a clerk's session: JSON, also where it is refused."""

    @override
    async def redirect_to_sign_in(self) -> None:
        raise NotSignedIn("not_signed_in", "sign in to the console")

    @override
    async def get(self, event: str) -> None:
        self.answer(await explain.explain_event(self.bank, event, self.explain))

    @override
    def answer_refusal(self, refusal: Refusal) -> None:
        Base.answer_refusal(self, refusal)
