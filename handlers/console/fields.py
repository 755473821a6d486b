"""The console's pages of fields: what the bank declares, and what a customer's field holds and held."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from campaigns import uses
from config.bounds import Reason
from customers.fields import viewing
from customers.fields.viewing import FieldView
from customers.rfm import rows as rfm
from handlers.console.base import REFUSALS, Console
from handlers.http.pages import Form
from services.errors import YinqiaoError


class RevealForm(Form):
    reason: Reason = ""


class Fields(Console):
    """Every field that the bank's file declares."""

    @override
    async def get(self) -> None:
        counts = await viewing.counts(self.bank)
        shown: dict[str, Any] = {
            "used": await uses.uses(self.bank),
            "rfm": self.bank.rfm,
            "ranked": await rfm.live(self.bank),
        }
        self.render_page("fields", fields=self.bank.fields.values(), counts=counts, **shown)


class History(Console):
    """One field of a customer, newest first; a sealed one is hidden."""

    @override
    async def get(self, cid: str, field: str) -> None:
        await self.show(cid, field)

    async def show(
        self,
        cid: str,
        field: str,
        error: YinqiaoError | None = None,
        revealed: FieldView | None = None,
    ) -> None:
        told = await viewing.history(self.bank, self.actor, cid, field)
        values: dict[str, Any] = {"cid": cid, "lines": told, "revealed": revealed}
        declared = self.bank.fields[field]
        self.render_page("field", error, declared=declared, **values)


class Reveal(History):
    """What a sealed field holds, in clear."""

    @override
    def form_address(self) -> str:
        return "/console/people/{cid}/fields/{field}".format(**self.path_kwargs)

    @override
    async def post(self, cid: str, field: str) -> None:
        reason = self.form(RevealForm).reason
        try:
            revealed = await viewing.reveal(self.bank, self.actor, cid, field, reason)
        except REFUSALS as error:
            await self.show(cid, field, error)
            return
        self.set_header("Cache-Control", "no-store")
        await self.show(cid, field, revealed=revealed)
