"""Files at the platform are uploaded once in their life there, and again when they are gone."""

from __future__ import annotations

import asyncio

import pytest

from services.wechat.core import errors, media
from tests.support.clock import StillClock

POSTER = b"\x89PNG poster"
DAY = 86400.0


@pytest.fixture
def clock():
    return StillClock()


class Uploads:
    """A platform that takes files; its ids are numbered. With `answer` it says that instead, or raises it."""

    def __init__(self, corp: str = "wwcorp") -> None:
        self.appid = corp
        self.files = []
        self.expected = 1
        self.asked = asyncio.Event()
        self.answer = None
        self.go = asyncio.Event()
        self.go.set()

    async def upload(self, kind, name, content):
        self.files.append((kind, name, content))
        number = len(self.files)
        if number == self.expected:
            self.asked.set()
        await self.go.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or {"errcode": 0, "errmsg": "ok", "type": kind, "media_id": f"{self.appid}-md{number}"}


async def rows(services, tenant="bank"):
    return await services.store.tenant(tenant)["media"].find({})


async def test_the_same_content_is_uploaded_once(services, clock):
    client = Uploads()
    first = await media.media_id(services, "bank", client, "image", "a.png", POSTER)
    services.cache.clear()
    assert await media.media_id(services, "bank", client, "image", "renamed.png", POSTER) == first == "wwcorp-md1"
    assert client.files == [("image", "a.png", POSTER)]
    (row,) = await rows(services)
    assert (row["media_id"], row["kind"], row["until"]) == ("wwcorp-md1", "image", clock.now + 3 * DAY - 3600)


async def test_another_content_kind_corp_or_bank_is_another_file(services):
    client = Uploads()
    ids = [
        await media.media_id(services, bank, corp, kind, "a", content)
        for bank, corp, kind, content in [
            ("bank", client, "image", POSTER),
            ("bank", client, "image", POSTER + b"2"),
            ("bank", client, "file", POSTER),
            ("bank", Uploads("wwother"), "image", POSTER),
            ("bank2", client, "image", POSTER),
        ]
    ]
    assert ids == ["wwcorp-md1", "wwcorp-md2", "wwcorp-md3", "wwother-md1", "wwcorp-md4"]
    assert [len(await rows(services, bank)) for bank in ("bank", "bank2")] == [4, 1]


async def test_a_document_under_another_name_is_another_file(services):
    """Its name is shown to the customer."""
    client = Uploads()
    assert await media.media_id(services, "bank", client, "file", "条款.pdf", POSTER) == "wwcorp-md1"
    assert await media.media_id(services, "bank", client, "file", "说明.pdf", POSTER) == "wwcorp-md2"


async def test_fifty_who_ask_at_once_cause_one_upload(services):
    client = Uploads()
    ids = await asyncio.gather(*(media.media_id(services, "bank", client, "image", "a.png", POSTER) for _ in range(50)))
    assert set(ids) == {"wwcorp-md1"}
    assert len(client.files) == 1


async def test_one_who_goes_away_does_not_take_the_upload_from_the_others(services):
    client = Uploads()
    client.go.clear()
    first = asyncio.create_task(media.media_id(services, "bank", client, "image", "a.png", POSTER))
    second = asyncio.create_task(media.media_id(services, "bank", client, "image", "a.png", POSTER))
    await client.asked.wait()
    first.cancel()
    client.go.set()
    assert await second == "wwcorp-md1"
    assert len(client.files) == 1


async def test_a_file_is_uploaded_again_an_hour_before_it_dies(services, clock):
    client = Uploads()
    await media.media_id(services, "bank", client, "image", "a.png", POSTER)
    clock.now += 3 * DAY - 3601
    assert await media.media_id(services, "bank", client, "image", "a.png", POSTER) == "wwcorp-md1"
    clock.now += media.KEPT_SECONDS + 1
    assert await media.media_id(services, "bank", client, "image", "a.png", POSTER) == "wwcorp-md2"
    (row,) = await rows(services)
    assert (row["media_id"], row["until"]) == ("wwcorp-md2", clock.now + 3 * DAY - 3600)


async def test_a_lost_race_between_processes_leaves_both_with_a_good_id_and_one_row(services, second):
    client = Uploads()
    client.expected = 2
    client.go.clear()
    both = [
        asyncio.create_task(media.media_id(process, "bank", client, "image", "a.png", POSTER))
        for process in (services, second)
    ]
    await client.asked.wait()
    client.go.set()
    assert set(await asyncio.gather(*both)) == {"wwcorp-md1", "wwcorp-md2"}
    (row,) = await rows(services)
    services.cache.clear()
    assert await media.media_id(services, "bank", client, "image", "a.png", POSTER) == row["media_id"]
    assert len(client.files) == 2


async def test_a_dead_id_is_forgotten_and_the_file_uploaded_again(services):
    client = Uploads()
    dead = await media.media_id(services, "bank", client, "image", "a.png", POSTER)
    other = await media.media_id(services, "bank", client, "image", "b.png", b"another")
    await media.invalidate(services, "bank", dead)
    await media.invalidate(services, "bank", "never-heard-of")
    assert [row["media_id"] for row in await rows(services)] == [other]
    assert await media.media_id(services, "bank", client, "image", "a.png", POSTER) == "wwcorp-md3"


async def test_an_upload_that_fails_is_told_to_all_who_waited_and_tried_by_the_next(services):
    client = Uploads()
    client.answer = errors.SlowDown(45009, "api freq out of limit", "/cgi-bin/media/upload")
    results = await asyncio.gather(
        *(media.media_id(services, "bank", client, "image", "a.png", POSTER) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [errors.SlowDown] * 3
    assert await rows(services) == []
    client.answer = {"errcode": 0, "errmsg": "ok"}
    with pytest.raises(errors.UnknownOutcome, match="no media_id"):
        await media.media_id(services, "bank", client, "image", "a.png", POSTER)
    client.answer = None
    assert await media.media_id(services, "bank", client, "image", "a.png", POSTER) == "wwcorp-md3"
