"""The console's pages of webhooks: how each goes, what waits for it and what failed, and to have it sent
again."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from config.bounds import Word
from customers.webhooks import keeping
from customers.webhooks.rows import DELIVERED, FAILED, WAITING
from handlers.console.base import Decision
from handlers.http.pages import Form
from services.errors import YinqiaoError


class StateForm(Form):
    state: Word = ""


class ReplayForm(Form):
    delivery: Word


class Webhooks(Decision):
    """All webhooks of the bank's file."""

    @override
    async def get(self) -> None:
        self.render_page("webhooks", None, hooks=await keeping.overview(self.bank))


class Webhook(Decision):
    """One webhook with its newest deliveries, or those in one state."""

    done: ClassVar[str] = "webhook_replayed"

    @property
    def webhook(self) -> str:
        return self.path_kwargs["webhook"]

    @override
    async def get(self, webhook: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        keeping.known(self.bank, self.webhook)
        state = self.asked(StateForm).state if self.request.method == "GET" else ""
        self.render_page(
            "webhook",
            error,
            hook=next(one for one in await keeping.overview(self.bank) if one.id == self.webhook),
            rows=await keeping.newest(self.bank, self.webhook, state),
            state=state,
            states=(WAITING, FAILED, DELIVERED),
        )

    @override
    def address(self) -> str:
        return f"/console/webhooks/{self.webhook}"

    @override
    async def decide(self) -> None:
        """Sends one delivery again."""
        await keeping.replay(self.bank, self.actor.login, self.form(ReplayForm).delivery)


class ReplayFailed(Webhook):
    @override
    async def decide(self) -> None:
        await keeping.replay_failed(self.bank, self.actor.login, self.webhook)


class TurnOn(Webhook):
    done: ClassVar[str] = "webhook_turned_on"

    @override
    async def decide(self) -> None:
        await keeping.turn_on(self.bank, self.actor.login, self.webhook)
