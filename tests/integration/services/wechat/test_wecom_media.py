"""Files at WeCom: forms that go up, bytes that come down."""

from __future__ import annotations

import email
import email.policy
from operator import attrgetter
from typing import Any

import pytest
from aiohttp.http_writer import StreamWriter

from services.wechat.core import errors

PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
MEGABYTE = 1024 * 1024
UPLOADED = {"errcode": 0, "errmsg": "ok", "type": "image", "media_id": "md1", "created_at": "1700000000"}


def form(call):
    """The parts of a form by name: (file name, bytes)."""
    head = f"Content-Type: {call.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + call.content, policy=email.policy.HTTP)
    parts = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        parts[name] = (part.get_filename(), part.get_payload(decode=True))
    return parts


@pytest.mark.parametrize(
    ("name", "args", "path", "query"),
    [
        ("files.upload", ("image", "海报.png", PICTURE), "media/upload", {"type": "image"}),
        ("files.upload_image", ("海报.png", PICTURE), "media/uploadimg", {}),
        (
            "files.upload_attachment",
            ("image", "海报.png", PICTURE),
            "media/upload_attachment",
            {"media_type": "image", "attachment_type": "1"},
        ),
    ],
)
async def test_a_file_goes_up_as_the_part_media_of_a_form_with_its_name(rig, name, args, path, query):
    async with rig() as r:
        r.platform.answers[f"/cgi-bin/{path}"] = UPLOADED
        assert await attrgetter(name)(r.wecom)(*args) == UPLOADED
        (call,) = r.platform.of(f"/cgi-bin/{path}")
    assert call.method == "POST"
    assert call.query == {**query, "access_token": "T1"}
    ((part, (filename, content)),) = form(call).items()
    assert (part, filename, content) == ("media", "海报.png", PICTURE)


@pytest.mark.parametrize(
    ("name", "args", "limit"),
    [
        ("files.upload", ("image", "a.png", b"12345"), "6 to 10485760 bytes"),
        ("files.upload", ("image", "a.png", b"1" * (10 * MEGABYTE + 1)), "6 to 10485760 bytes"),
        ("files.upload", ("voice", "a.amr", b"1" * (2 * MEGABYTE + 1)), "6 to 2097152 bytes"),
        ("files.upload", ("file", "a.pdf", b"1" * (20 * MEGABYTE + 1)), "6 to 20971520 bytes"),
        ("files.upload", ("gif", "a.gif", PICTURE), "image, voice, video, file"),
        ("files.upload_image", ("a.png", b"1" * (2 * MEGABYTE + 1)), "6 to 2097152 bytes"),
    ],
)
async def test_a_file_over_a_limit_is_not_sent(rig, name, args, limit):
    async with rig() as r:
        with pytest.raises(errors.BadRequest, match=limit):
            await attrgetter(name)(r.wecom)(*args)
        assert r.platform.calls == []


@pytest.mark.parametrize(
    "content", [b"%PDF" + b"1" * (3 * MEGABYTE), b'{"errcode": 40007}'], ids=["large", "a JSON file"]
)
async def test_a_large_file_and_one_that_looks_like_an_error_come_down_whole(rig, content):
    headers = {"Content-Type": "application/json", "Content-Disposition": 'attachment; filename="a"'}
    async with rig() as r:
        r.platform.answers["/cgi-bin/media/get"] = (200, headers, content)
        assert await r.wecom.files.download("md1") == content


async def test_a_file_comes_down_as_bytes_and_a_dead_id_is_a_state(rig):
    async with rig() as r:
        headers = {"Content-Type": "image/png", "Content-Disposition": 'attachment; filename="a.png"'}
        r.platform.answers["/cgi-bin/media/get"] = [
            (200, headers, PICTURE),
            {"errcode": 40007, "errmsg": "invalid media_id"},
            {"errcode": 0, "errmsg": "ok"},
        ]
        assert await r.wecom.files.download("md1") == PICTURE
        with pytest.raises(errors.SubjectState) as caught:
            await r.wecom.files.download("md2")
        with pytest.raises(errors.UnknownOutcome, match="no file"):
            await r.wecom.files.download("md3")
        assert r.platform.of("/cgi-bin/media/get")[0].query == {"media_id": "md1", "access_token": "T1"}
    assert caught.value.errcode == 40007


async def test_a_file_goes_up_in_pieces_and_whole_again_when_the_token_was_refused(rig, monkeypatch):
    """20 MB at once would hold up the event loop while they are copied and encrypted (promise P10)."""
    pieces, real = [], StreamWriter.write

    async def write(self, chunk, **options: Any):
        pieces.append(len(chunk))
        await real(self, chunk, **options)

    monkeypatch.setattr(StreamWriter, "write", write)
    content = bytes(range(256)) * 4096 * 2
    async with rig() as r:
        r.platform.answers["/cgi-bin/media/upload"] = [{"errcode": 42001, "errmsg": "access_token expired"}, UPLOADED]
        assert await r.wecom.files.upload("file", "a.pdf", content) == UPLOADED
        calls = r.platform.of("/cgi-bin/media/upload")
    assert [form(call) for call in calls] == [{"media": ("a.pdf", content)}] * 2
    assert [call.headers["Content-Length"] for call in calls] == [str(len(call.content)) for call in calls]
    assert max(pieces) <= 256 * 1024
    assert sum(pieces) >= 2 * len(content)
