from __future__ import annotations

import asyncio
import time

from services.observe import trace


def test_calls_and_notes_are_collected_in_their_order() -> None:
    before = time.time()
    with trace.collect() as story:
        trace.note("reaction", event="ExternalContactAdded")
        trace.call("/cgi-bin/externalcontact/get", 0, 0.0123)
        trace.call("/cgi-bin/gettoken", "platform_unreachable", 0.5)
        trace.note("skipped", why="older")
    assert [(row["kind"], row.get("why")) for row in story.notes] == [("reaction", None), ("skipped", "older")]
    assert [(call["path"], call["errcode"], call["ms"]) for call in story.calls] == [
        ("/cgi-bin/externalcontact/get", 0, 12.3),
        ("/cgi-bin/gettoken", "platform_unreachable", 500.0),
    ]
    assert before - 0.6 <= story.calls[1]["at"] <= story.calls[0]["at"] <= story.notes[1]["at"] <= time.time()
    assert story.dropped == 0


def test_outside_nothing_is_kept() -> None:
    with trace.collect() as story:
        pass
    trace.note("later")
    trace.call("/x", 0, 0.1)
    assert (story.calls, story.notes) == ([], [])


async def test_tasks_made_inside_write_into_the_same_story_and_others_into_their_own() -> None:
    async def work(name: str) -> None:
        await asyncio.sleep(0)
        trace.note(name)

    async def handle(name: str) -> list[str]:
        with trace.collect() as story:
            await asyncio.gather(work(name), work(name))
        return [row["kind"] for row in story.notes]

    assert await asyncio.gather(handle("a"), handle("b")) == [["a", "a"], ["b", "b"]]


def test_an_inner_collect_takes_its_own_for_itself() -> None:
    with trace.collect() as outer:
        trace.note("before")
        with trace.collect() as inner:
            trace.note("inside")
        trace.note("after")
    assert [row["kind"] for row in outer.notes] == ["before", "after"]
    assert [row["kind"] for row in inner.notes] == ["inside"]


def test_a_story_is_bounded_and_says_what_is_missing() -> None:
    with trace.collect() as story:
        for number in range(trace.MOST + 5):
            trace.note(str(number))
        for _ in range(trace.MOST + 7):
            trace.call("/x", 0, 0.0)
    assert (len(story.notes), len(story.calls), story.dropped) == (trace.MOST, trace.MOST, 12)
    assert story.notes[-1]["kind"] == str(trace.MOST - 1)
