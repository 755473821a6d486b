"""Lists in pages: every page once, in its order, and no page before it is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from services.wechat.core.errors import SlowDown
from services.wechat.core.paging import pages


class Listing:
    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    async def ask(self, cursor: str) -> dict[str, Any]:
        self.asked.append(cursor)
        return self.answers[len(self.asked) - 1]


@pytest.mark.parametrize(
    "last", [{}, {"next_cursor": ""}, {"next_cursor": None}, {"next_cursor": "c3", "is_last": True}]
)
async def test_every_page_comes_once_until_the_last(last: dict[str, Any]) -> None:
    listing = Listing({"items": [1], "next_cursor": "c1"}, {"items": [], "next_cursor": "c2"}, {"items": [2], **last})
    assert [item async for page in pages(listing.ask) for item in page["items"]] == [1, 2]
    assert listing.asked == ["", "c1", "c2"]


async def test_a_page_that_is_not_wanted_is_not_asked_for() -> None:
    listing = Listing({"items": [1], "next_cursor": "c1"}, {"items": [2]})
    async for page in pages(listing.ask):
        assert page["items"] == [1]
        break
    assert listing.asked == [""]


async def test_a_refusal_is_raised_in_its_place() -> None:
    async def ask(cursor: str) -> dict[str, Any]:
        if cursor:
            raise SlowDown(None, "later", "/list")
        return {"items": [1], "next_cursor": "c1"}

    listed = pages(ask)
    assert (await anext(listed))["items"] == [1]
    with pytest.raises(SlowDown):
        await anext(listed)
