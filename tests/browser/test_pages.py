"""Every page of every face, in both languages and at four widths, with data as unkind as it comes: nothing
runs out of the page, nothing is shown as a code, nothing is left in the other language, no row is blank."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page

from tests.browser.watching import browser

WIDTHS = (360, 400, 1024, 1440)
APPID = "wx5ab0000000000001"
LONG = "欧阳娜娜阿依古丽买买提江艾合买提托合提努尔麦麦提敏热孜万古丽阿卜杜拉"
LONG_LATIN = "Wolfeschlegelsteinhausenbergerdorff" * 2
CAMPAIGN = f"""
kind: campaign/v1
id: a-very-long-campaign-id-that-nobody-would-choose-but-may
name: {{zh: {LONG}}}
text: none
"""


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


async def overflowing(page: Page) -> list[str]:
    """What reaches beyond the page's right edge, unless a box of its own scrolls it."""
    found = await page.evaluate(
        """() => {
          const wide = document.documentElement.clientWidth;
          const scrolls = e => { for (let p = e; p && p !== document.body; p = p.parentElement) {
            const o = getComputedStyle(p).overflowX; if (o === 'auto' || o === 'scroll') return true; } return false; };
          return [...document.querySelectorAll('body *')].filter(e => {
            const r = e.getBoundingClientRect();
            return r.width > 0 && r.right > wide + 1 && !scrolls(e) && getComputedStyle(e).position !== 'absolute';
          }).map(e => e.tagName + '.' + e.className + ': ' + e.innerText?.slice(0, 40)).slice(0, 5);
        }"""
    )
    return [str(one) for one in found]
