"""The demo's front page: what this is, what to try first, and where. Not in production."""

from __future__ import annotations

from typing_extensions import override

from customers.banks import bank
from handlers.http.pages import Page


class Front(Page):
    @override
    async def get(self) -> None:
        tenants = await bank.list_banks(self.services)
        self.render_page("front", tenants=tenants, sandbox=self.services.settings.sandbox_url)
