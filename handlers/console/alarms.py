"""The console's page of alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from config.bounds import Word
from customers.alerts import alarms
from handlers.console.base import Decision
from handlers.http.pages import Form
from operations.events.explain import reason_text
from services.errors import YinqiaoError


class Wanted(Form):
    state: Word = ""


class Alarms(Decision):
    """The open ones, or those that somebody resolved."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        wanted = self.asked(Wanted).state
        state = alarms.HANDLED if wanted == alarms.HANDLED else alarms.OPEN
        rows = await alarms.list_alarms(self.bank, self.actor, state)
        self.render_page("alarms", error, rows=rows, state=state, sentence=self.sentence)

    @override
    def address(self) -> str:
        return "/console/alarms"

    def sentence(self, row: Mapping[str, Any]) -> str:
        """What happened, with how often and why where the sentence says so."""
        data = {name: str(value) for name, value in row["data"].items()}
        data["why"] = reason_text(data.get("reason", ""), self.explain)
        return self.explain(f"alarm_{row['kind']}", row["kind"], **data)


class HandleAlarm(Alarms):
    done = "alarm_handled"

    @override
    async def decide(self) -> None:
        await alarms.handle_by_clerk(self.bank, self.actor, self.path_kwargs["alarm"])
