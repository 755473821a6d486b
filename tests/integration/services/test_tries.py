"""Tries under way: whoever is killed in the middle of one shuts the way for nobody, and whoever is slow keeps his place."""

from __future__ import annotations

import asyncio

import pytest

from services.container import Services
from services.errors import NotSignedIn
from services.security import tries
from services.security.tries import Limit, LockedOut, Tries

LIMIT = Limit("a till", 3, 600)


async def _killed_in_the_middle(services: Services, count: int) -> None:
    """So many processes begin a try each and say nothing more."""
    for n in range(count):
        await services.tries._wait_for_leave(tries._Try(f"dead-{n}", [LIMIT]))


async def test_who_was_killed_in_the_middle_of_a_try_shuts_nobody_out(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while somebody alive is at it all the time."""
    assert tries.HOLD_SECONDS < tries.WAIT_SECONDS
    monkeypatch.setattr(tries, "HOLD_SECONDS", 0.5)
    async with services.tries.trying([LIMIT], NotSignedIn):
        await _killed_in_the_middle(services, LIMIT.failures - 1)
        async with asyncio.timeout(5), services.tries.trying([LIMIT], NotSignedIn):
            pass


async def test_while_they_may_still_be_under_way_others_wait(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "WAIT_SECONDS", 0.3)
    await _killed_in_the_middle(services, LIMIT.failures)
    with pytest.raises(LockedOut) as told:
        async with services.tries.trying([LIMIT], NotSignedIn):
            pass
    assert (told.value.retry_after, told.value.first) == (1, False)


@pytest.mark.parametrize("says_so", [True, False], ids=["on", "off"])
async def test_who_says_that_his_try_goes_on_keeps_his_place(
    services: Services, monkeypatch: pytest.MonkeyPatch, says_so: bool
) -> None:
    """Else a judge that is made slow would let more guesses be judged at once than may fail."""
    monkeypatch.setattr(tries, "HOLD_SECONDS", 0.3)
    if not says_so:
        monkeypatch.setattr(Tries, "_go_on", lambda self, this: asyncio.sleep(0))
    one, under_way, most = Limit("a slow judge", 1, 600), 0, 0

    async def trying() -> None:
        nonlocal under_way, most
        async with services.tries.trying([one], NotSignedIn):
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(1.0)
            under_way -= 1

    await asyncio.gather(*(trying() for _ in range(3)))
    assert most == (1 if says_so else 3)
    assert await services.redis.keys("yq:failures:*") == []
