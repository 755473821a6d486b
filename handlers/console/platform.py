"""The console's page of the platforms' limits: what is used, what is closed, and what waits behind
it."""

from __future__ import annotations

from typing_extensions import override

from config.bounds import Reason, ShortText
from handlers.console.base import Decision
from handlers.http.pages import Form
from operations import limits
from services.errors import Unavailable, YinqiaoError
from services.limiter.view import Used

WINDOWS = {60.0: "minute", 3600.0: "hour", 86_400.0: "day", 31 * 86_400.0: "month"}


class LiftForm(Form):
    api: ShortText
    reason: Reason = ""


class Platform(Decision):
    """Every API that was called lately; what is closed stands first."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        apis: list[limits.ApiView] = []
        try:
            apis = await limits.overview(self.bank)
        except Unavailable as away:
            error = error or away
        self.render_page(
            "platform",
            error,
            closed=[api for api in apis if api.is_closed],
            apis=[api for api in apis if not api.is_closed],
            window=self.window,
            name=self.name_of,
            answered=self.answered,
        )

    @override
    def address(self) -> str:
        return "/console/platform"

    def window(self, used: Used) -> str:
        """A window in words."""
        code = WINDOWS.get(used.seconds)
        if code is None:
            return f"{used.seconds:g} {self.explain('window_seconds')}"
        return self.explain(f"window_{code}")

    def name_of(self, api: limits.ApiView) -> str:
        """What people call it."""
        return self.explain(f"api_{api.state.name}", api.state.name)

    def answered(self, answer: str) -> str:
        """An answer of the platform: an errcode, or the name of an error."""
        return self.explain(f"platform_said_{answer}", self.explain(answer, answer))


class LiftApi(Platform):
    done = "api_lifted"

    @override
    async def decide(self) -> None:
        form = self.form(LiftForm)
        await limits.lift_by_clerk(self.bank, self.actor, form.api, form.reason)
