"""The console's pages about events: what came in, and why something was done or not. Customers' ids
are masked."""

from __future__ import annotations

from typing_extensions import override

from config.bounds import ShortText, Word
from handlers.console.base import REFUSALS, Console, Decision
from handlers.http.base import Base, Refusal
from handlers.http.pages import Form
from operations.events import dead_letters, explain
from services.errors import NotSignedIn, YinqiaoError

PAGE_MOST = 500
"""Dead letters that one press of the button makes due."""


class DownloadForm(Form):
    reason: ShortText = ""


class StateForm(Form):
    state: Word = ""


class Events(Decision):
    """The newest events, or those that wait, failed, are dead letters or unknown; POST has the
    dead letters of a list handled again."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        state = self._state()
        rows = await explain.newest(self.bank, state, texts=self.explain)
        self.render_page("events", error, rows=rows, state=state, states=explain.STATES)

    @override
    async def decide(self) -> str:
        state = self._state()
        again = await dead_letters.retry_some(self.bank, self.actor.login, state, PAGE_MOST)
        left = again and await dead_letters.count(self.bank, state)
        return "events_retried_some" if left else "events_retried"

    @override
    def address(self) -> str:
        return "/console/events"

    def _state(self) -> str:
        if self.request.method == "POST":
            return self.form(StateForm).state
        return self.asked(StateForm).state


class Event(Decision):
    """One event, and why; POST has it, or what failed of it, tried again."""

    done = "event_retried"

    @override
    async def get(self, event: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        answer = await explain.explain_event(self.bank, self.path_kwargs["event"], self.explain)
        self.render_page("event", error, answer=answer)

    @override
    async def decide(self) -> None:
        row = await explain.find(self.bank, self.path_kwargs["event"])
        await dead_letters.retry(self.bank, self.actor.login, row["_id"])

    @override
    def address(self) -> str:
        return f"/console/events/{self.path_kwargs['event']}"


class EventMessage(Event):
    """The bytes of a message as they came, for a reason that stands in the audit trail."""

    @override
    async def post(self, **_: str) -> None:
        try:
            row = await explain.find(self.bank, self.path_kwargs["event"])
            reason = self.form(DownloadForm).reason
            message = await dead_letters.download(self.bank, self.actor.login, row, reason)
        except REFUSALS as error:
            await self.show(error)
            return
        name = row["_id"].partition(":")[2][:12]
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="event-{name}.bin"')
        self.write(message)


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
