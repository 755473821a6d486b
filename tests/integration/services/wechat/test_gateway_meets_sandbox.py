"""Our clients and the sandbox, written apart from the same contract, meet: every call finds its endpoint there, by the right
method, and gets an answer or a code that both know."""

from __future__ import annotations

import hashlib
from operator import attrgetter

import pytest
import yaml

from deploy.processes import ROOT
from services.wechat.core import errors, media
from tests.integration.services.wechat import test_miniprogram_calls, test_wecom_calls

PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


@pytest.fixture
def clients(services, sandbox):
    """The demo bank's app, its archive and its first mini-program at the sandbox."""
    world = yaml.safe_load((ROOT / "sandbox" / "world.yaml").read_text(encoding="utf-8"))
    corp, program = world["corp"], world["mini_programs"][0]
    app, archive = (
        services.platform.wecom("demo", corp["corp_id"], each["agent_id"], each["secret"]) for each in corp["apps"][:2]
    )
    return app, archive, services.platform.miniprogram("demo", program["appid"], program["secret"])


async def outcome(client, name, args, kwargs):
    try:
        await attrgetter(name)(client)(*args, **kwargs)
    except errors.PlatformError as error:
        return error
    return None


async def test_every_wecom_call_is_understood(clients):
    app, archive, _ = clients
    for _, path, name, args, kwargs, _ in test_wecom_calls.CALLS:
        error = await outcome(archive if path.startswith("msgaudit") else app, name, args, kwargs)
        assert error is None or (error.errcode is not None and not isinstance(error, errors.UnknownCode)), error


async def test_every_mini_program_call_is_understood(clients):
    *_, program = clients
    for _, _, name, args, kwargs, _ in test_miniprogram_calls.CALLS:
        error = await outcome(program, name, args, kwargs)
        assert error is None or (error.errcode is not None and not isinstance(error, errors.UnknownCode)), error


async def test_files_go_there_and_come_back(clients, services):
    app, _, program = clients
    for client in (app.files, program):
        file = await media.media_id(services, "demo", client, "image", "a.png", PICTURE)
        services.cache.clear()
        assert await media.media_id(services, "demo", client, "image", "a.png", PICTURE) == file
        assert await client.download(file) == PICTURE
        with pytest.raises(errors.SubjectState) as caught:
            await client.download("nobody-knows-this")
        assert caught.value.errcode == 40007
    assert (await app.files.upload_image("a.png", PICTURE))["url"].startswith("http")
    assert (await app.files.upload_attachment("image", "a.png", PICTURE))["media_id"]
    digest = hashlib.md5(PICTURE, usedforsecurity=False).hexdigest()
    assert (await app.files.upload_by_url("file", "a.png", "https://bank.example/a.png", md5=digest))["jobid"]


async def test_codes_are_pictures(clients):
    *_, program = clients
    for picture in (await program.get_unlimited("c=1", check_path=False), await program.get_wxacode("pages/home")):
        assert picture.startswith((b"\xff\xd8", b"\x89PNG"))
