"""Uploads and downloads of both families (contract/wechat B10, F10)."""

from __future__ import annotations

from typing import Any

import pytest

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(40)
UPLOAD = "/cgi-bin/media/upload"


async def fetch(play, media_id, base="/wecom", token="", **headers: Any):
    token = token or (await play.wecom_token())["access_token"]
    query = {"access_token": token, "media_id": media_id}
    return await play.http.get(base + "/cgi-bin/media/get", params=query, headers=headers)


async def test_picture_comes_back_whole_and_in_parts(playing):
    """B10, 90253: created_at is a string; Range is answered with a part."""
    async with playing() as play:
        answer = await play.upload(UPLOAD, "海报.png", PICTURE, type="image")
        assert (answer["errcode"], answer["type"], answer["created_at"]) == (0, "image", str(play.box.seconds()))
        whole = await fetch(play, answer["media_id"])
        assert (whole.content, whole.headers["Content-Type"]) == (PICTURE, "image/png")
        assert "%E6%B5%B7%E6%8A%A5.png" in whole.headers["Content-Disposition"]
        part = await fetch(play, answer["media_id"], Range="bytes=1-3")
        assert (part.status_code, part.content) == (206, b"PNG")
        assert part.headers["Content-Range"] == f"bytes 1-3/{len(PICTURE)}"


async def test_media_dies_after_three_days(playing):
    """B10, F3: 40007."""
    async with playing() as play:
        media_id = await play.picture()
        await play.control("/clock", {"advance": 3 * 86_400 - 1})
        assert (await fetch(play, media_id)).content == PICTURE
        await play.control("/clock", {"advance": 1})
        assert (await fetch(play, media_id)).json()["errcode"] == 40007


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("song", PICTURE, 40004),
        ("image", b"no picture at all", 40005),
        ("video", PICTURE, 40005),
        ("voice", b"#!AMR\n" + bytes(2 << 20), 45001),
        ("image", b"", 44001),
        ("file", b"12345", 40006),
    ],
)
async def test_wrong_file_is_refused(playing, kind, content, errcode):
    """B10: 40004, 40005, 40006, 44001, 45001."""
    async with playing() as play:
        assert (await play.upload(UPLOAD, "a.bin", content, type=kind))["errcode"] == errcode


async def test_upload_without_a_file_is_refused(playing):
    """B10: 41005."""
    async with playing() as play:
        token = (await play.wecom_token())["access_token"]
        answer = await play.http.post("/wecom" + UPLOAD, params={"access_token": token, "type": "image"})
        assert answer.json()["errcode"] == 41005


async def test_switch_makes_pictures_smaller(playing):
    """B10, F11: image_max_mb, 5 in an older text."""
    async with playing() as play:
        big = PICTURE + bytes(6 << 20)
        assert (await play.upload(UPLOAD, "a.png", big, type="image"))["errcode"] == 0
        await play.control("/switches", {"image_max_mb": 5})
        assert (await play.upload(UPLOAD, "a.png", big, type="image"))["errcode"] == 45001


async def test_picture_for_good_has_an_address_and_a_daily_limit(playing):
    """B10, 90256: uploadimg, 40123, 45009 after 1000 a day."""
    async with playing() as play:
        path = "/cgi-bin/media/uploadimg"
        url = (await play.upload(path, "a.png", PICTURE))["url"]
        assert (await play.http.get(url)).content == PICTURE
        assert (await play.upload(path, "a.gif", b"GIF89a" + bytes(9)))["errcode"] == 40123
        play.box.files.uploads = [play.box.seconds()] * 1000
        assert (await play.upload(path, "a.png", PICTURE))["errcode"] == 45009


async def test_attachment_names_its_use(playing):
    """B10, 95098: attachment_type 1 or 2."""
    async with playing() as play:
        path = "/cgi-bin/media/upload_attachment"
        assert (await play.upload(path, "a.png", PICTURE, media_type="image", attachment_type=3))["errcode"] == 40058
        answer = await play.upload(path, "a.png", PICTURE, media_type="image", attachment_type=1)
        assert (answer["errcode"], answer["type"]) == (0, "image")


async def test_upload_by_address_takes_a_while(playing):
    """B10, 96219: a job, under way and then done."""
    async with playing() as play:
        body = {"scene": 1, "type": "file", "filename": "a.pdf", "url": "https://bank.example/a.pdf", "md5": "0" * 32}
        jobid = (await play.wecom("/cgi-bin/media/upload_by_url", body))["jobid"]
        path = "/cgi-bin/media/get_upload_by_url_result"
        assert (await play.wecom(path, {"jobid": jobid}))["status"] == 1
        await play.control("/clock", {"advance": 2})
        done = await play.wecom(path, {"jobid": jobid})
        assert done["status"] == 2
        assert (await fetch(play, done["detail"]["media_id"])).content == b"https://bank.example/a.pdf"


async def test_families_do_not_share_media(playing):
    """F1, F10: both have media/upload and media/get; 40007 for the other's."""
    async with playing() as play:
        ours = await play.picture()
        token = (await play.stable_token())["access_token"]
        query = {"access_token": token, "type": "image"}
        answer = await play.http.post("/wechat/cgi-bin/media/upload", params=query, files={"media": ("a.png", PICTURE)})
        theirs = answer.json()["media_id"]
        assert (await fetch(play, theirs, "/wechat", token)).content == PICTURE
        assert (await fetch(play, ours, "/wechat", token)).json()["errcode"] == 40007
        assert (await fetch(play, theirs)).json()["errcode"] == 40007
