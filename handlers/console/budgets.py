"""The console's pages of budgets: what each campaign has spent, and until when its money lasts."""

from __future__ import annotations

from typing_extensions import override

from handlers.console.base import Console
from rewards import burn
from services.errors import NotFound


def yuan(fen: int) -> str:
    """An amount as people read it."""
    return f"{fen / 100:,.2f}"


class Budgets(Console):
    @override
    async def get(self) -> None:
        self.render_page("budgets", budgets=await burn.of_bank(self.bank), yuan=yuan)


class Budget(Console):
    """How one campaign's budget burns: by day and by reward, and its forecast."""

    @override
    async def get(self, campaign: str) -> None:
        found = await burn.of_campaign(self.bank, campaign)
        if found is None:
            raise NotFound("campaign_unknown", f"no rewards of a campaign {campaign}")
        self.render_page("budget", budget=found, yuan=yuan)
