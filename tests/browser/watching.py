"""A page that is watched: whatever goes wrong in it fails the test, and every page is read by axe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Request, Response, async_playwright

from tests.browser import chromium

AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
ABANDONED = "net::ERR_ABORTED"
"""A poll that was under way when its page was left."""
REPORT_POLICY = (
    "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
)


class Watched:
    """One page of a browser of a given size; `wrong` holds what must not have happened."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", self._failed)

    def _failed(self, request: Request) -> None:
        if request.failure != ABANDONED:
            self.wrong.append(f"{request.url}: {request.failure}")

    async def go(self, url: str) -> Response:
        """Opens `url`; the answer."""
        answer = await self.page.goto(url)
        assert answer is not None
        return answer

    async def look(self) -> str:
        """The page's text, after axe found nothing and nothing has to be scrolled sideways."""
        await self.page.evaluate(AXE)
        found = await self.page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
        faults = [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]]
        assert faults == [], (self.page.url, faults)
        width = await self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.page.viewport_size["width"], self.page.url
        assert self.wrong == [], self.wrong
        return str(await self.page.inner_text("body"))

    @asynccontextmanager
    async def refusal(self, status: int) -> AsyncIterator[None]:
        """Inside, one answer with that status is meant; browsers report it as an error."""
        text = f"status of {status}"
        async with self.page.expect_console_message(lambda message: text in message.text) as reported:
            yield
        self.wrong.remove((await reported.value).text)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium; fails where there is none."""
    path = chromium.find()
    assert path is not None, "no Chromium: apt-get install chromium fonts-noto-cjk"
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=path, args=chromium.ARGUMENTS)
        try:
            yield launched
        finally:
            await launched.close()


@asynccontextmanager
async def watched(launched: Browser, width: int, height: int, **options: Any) -> AsyncIterator[Watched]:
    """A fresh visitor."""
    context = await launched.new_context(viewport={"width": width, "height": height}, **options)
    await context.add_init_script(REPORT_POLICY)
    page = Watched(await context.new_page())
    try:
        yield page
        assert page.wrong == [], page.wrong
    finally:
        await context.close()
