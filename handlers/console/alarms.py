"""The console's page of alarms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from typing_extensions import override

from config.bounds import Word
from customers.alerts import alarms
from handlers.console.base import Decision
from handlers.http.pages import Form
from operations.events.explain import reason_text
from services.errors import YinqiaoError

_TIMES = frozenset({"since", "last", "end"})


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
        words = {"label": self.label, "value": self.value, "sentence": self.sentence}
        self.render_page("alarms", error, rows=rows, state=state, **words)

    @override
    def address(self) -> str:
        return "/console/alarms"

    def label(self, name: str) -> str:
        """A field of an alarm in the clerk's language."""
        return self.locale.translate(f"data:{name}").removeprefix("data:")

    def sentence(self, row: Mapping[str, Any]) -> str:
        """What happened, with how often and why where the sentence says so."""
        data = {name: str(value) for name, value in row["data"].items()}
        data["why"] = reason_text(data.get("reason", ""), self.explain)
        return self.explain(f"alarm_{row['kind']}", row["kind"], **data)

    def value(self, name: str, value: Any) -> str:
        """What a field says, in words where there are any."""
        if name == "api":
            return self.explain(f"api_{value}", str(value))
        if name == "reason":
            return reason_text(str(value), self.explain)
        if name == "effect":
            return self.explain(f"effect_{value}", str(value))
        if name in _TIMES and value:
            return self.format_time(datetime.fromisoformat(str(value)))
        return str(value)


class HandleAlarm(Alarms):
    done = "alarm_handled"

    @override
    async def decide(self) -> None:
        await alarms.handle_by_clerk(self.bank, self.actor, self.path_kwargs["alarm"])
