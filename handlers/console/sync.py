"""The console's page of the sync with WeCom: progress, errors with a retry each, and what the last
night found."""

from __future__ import annotations

from typing_extensions import override

from handlers.console.base import Console, Decision
from operations.sync import run, view
from services.errors import YinqiaoError


class Sync(Decision):
    """The newest sync; POST begins one, or joins the one that runs."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        number, differences = await view.differences(self.bank)
        self.render_page(
            "sync",
            error,
            sync=await view.progress(self.bank),
            errors=await view.errors(self.bank),
            compared=number,
            differences=differences,
        )

    @override
    def address(self) -> str:
        return "/console/sync"

    @override
    async def decide(self) -> str | None:
        _, begun = await run.start(self.bank, self.actor.login)
        return "sync_started" if begun else "sync_joined"


class SyncProgress(Console):
    """The part of the page that htmx fetches again and again."""

    @override
    async def get(self) -> None:
        self.render_page("sync_progress", sync=await view.progress(self.bank))


class CancelSync(Sync):
    done = "sync_cancelled"

    @override
    async def decide(self) -> str | None:
        await run.cancel(self.bank, self.actor.login)
        return None


class RetrySync(Sync):
    """One object that could not be brought in is tried once more."""

    @override
    async def decide(self) -> str | None:
        worked = await run.retry(self.bank, self.actor.login, self.path_kwargs["error"])
        return "sync_mended" if worked else "sync_failed_again"
