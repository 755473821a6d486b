"""The console's page of what the bank's own systems sent."""

from __future__ import annotations

from typing_extensions import override

from config.bounds import RowId, ShortText
from customers.intake import view
from handlers.console.base import Decision
from handlers.http.pages import Form
from services.errors import YinqiaoError


class Wanted(Form):
    name: ShortText = ""


class Chosen(Form):
    cid: RowId


class Intake(Decision):
    """Requests, events by name, and who waits for a clerk."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        wanted = self.asked(Wanted).name if self.request.method == "GET" else ""
        name = wanted if wanted in self.bank.events else ""
        self.render_page(
            "intake",
            error,
            name=name,
            events=await view.events(self.bank, name),
            requests=await view.requests(self.bank),
            shared=await view.shared(self.bank),
            refused_later=await view.refused_later(self.bank),
            waiting=await view.waiting(self.bank),
            failed=await view.failed(self.bank),
        )

    @override
    def address(self) -> str:
        return "/console/intake"

    def system(self, name: str) -> str:
        """What a system is called."""
        known = self.bank.systems.get(name)
        return known.name if known is not None else name

    @override
    def get_template_namespace(self) -> dict[str, object]:
        return {**super().get_template_namespace(), "system": self.system}


class Join(Intake):
    """Says which customer is meant."""

    done = "intake_joined"

    @override
    async def decide(self) -> None:
        cid = self.form(Chosen).cid
        await view.join(self.bank, self.actor, self.path_kwargs["wait"], cid)
