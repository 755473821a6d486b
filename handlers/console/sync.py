"""The console's page of the sync with WeCom: progress, errors with a retry each, and what the last
night found."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from handlers.console.pages import Console
from operations.sync import run, view
from services.errors import Conflict, NotFound, Unavailable, YinqiaoError
from services.wechat.core.errors import PlatformError

REFUSALS = (Conflict, NotFound, Unavailable, PlatformError)


class _SyncPage(Console):
    async def found(self) -> dict[str, Any]:
        number, differences = await view.differences(self.bank)
        return {
            "sync": await view.progress(self.bank),
            "errors": await view.errors(self.bank),
            "compared": number,
            "differences": differences,
        }

    async def show(self, error: YinqiaoError) -> None:
        self.refused(error, "sync", **await self.found())


class Sync(_SyncPage):
    """The newest sync; POST begins one, or joins the one that runs."""

    @override
    async def get(self) -> None:
        self.page("sync", **await self.found())

    @override
    async def post(self) -> None:
        try:
            _, begun = await run.start(self.bank, self.actor.login)
        except REFUSALS as error:
            await self.show(error)
            return
        self.see("/console/sync", done="sync_started" if begun else "sync_joined")


class SyncProgress(Console):
    """The part of the page that htmx fetches again and again."""

    @override
    async def get(self) -> None:
        self.page(
            "sync_progress",
            sync=await view.progress(self.bank),
        )


class CancelSync(_SyncPage):
    @override
    async def post(self) -> None:
        try:
            await run.cancel(self.bank, self.actor.login)
        except REFUSALS as error:
            await self.show(error)
            return
        self.see("/console/sync", done="sync_cancelled")


class RetrySync(_SyncPage):
    @override
    async def post(self, error: str) -> None:
        try:
            worked = await run.retry(self.bank, self.actor.login, error)
        except REFUSALS as refusal:
            await self.show(refusal)
            return
        self.see("/console/sync", done="sync_mended" if worked else "sync_failed_again")
