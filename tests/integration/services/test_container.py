from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services import ids
from services.clock import utc
from services.container import Services, open_services
from services.errors import Unavailable


async def test_closing_finishes_what_was_taken_and_what_runs_behind_answers(settings: Settings) -> None:
    services = await open_services(settings, COLLECTIONS, QUEUES)
    done: list[str] = []
    gate = asyncio.Event()

    async def flush(items: list[str]) -> Sequence[str]:
        await gate.wait()
        return items

    async def behind() -> None:
        await gate.wait()
        done.append("behind")
        services.groups.spawn(further())

    async def further() -> None:
        await asyncio.sleep(0)
        done.append("further")

    asked = asyncio.create_task(services.groups.get("mine", flush).submit("item"))
    services.groups.spawn(behind())
    await asyncio.sleep(0)
    closing = asyncio.create_task(services.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.set()
    async with asyncio.timeout(20):
        await closing
    assert (await asked, done) == ("item", ["behind", "further"])


async def test_work_behind_an_answer_that_fails_does_not_stop_the_end(settings: Settings) -> None:
    services = await open_services(settings, COLLECTIONS, QUEUES)

    async def fail() -> None:
        raise Unavailable("store_unavailable")

    services.groups.spawn(fail())
    async with asyncio.timeout(20):
        await services.close()


async def test_a_group_is_made_once_for_its_name(services: Services) -> None:
    async def flush(items: list[str]) -> Sequence[str]:
        return items

    assert services.groups.get("x:a", flush) is services.groups.get("x:a", flush)
    assert services.groups.get("x:a", flush) is not services.groups.get("x:b", flush)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_two_lists_of_parts_never_run_together(one: list[str], two: list[str]) -> None:
    assert (ids.tenant_id("a", *one) == ids.tenant_id("a", *two)) == (one == two)
    assert ids.tenant_id("a", *one) != ids.tenant_id("b", *one)


def test_an_id_is_the_same_on_every_machine() -> None:
    assert (
        ids.tenant_id("demo", "run", 1) == ids.tenant_id("demo", "run", "1") == "demo:cf726710a54c78a07a29f48add28cd15"
    )


@pytest.mark.parametrize("seconds", [0.0, 1_800_000_000.0, 1_763_808_495.422_517])
def test_a_time_is_kept_to_the_millisecond(seconds: float) -> None:
    assert utc(seconds).timestamp() == int(seconds * 1000) / 1000
    assert utc(seconds).utcoffset() is not None
