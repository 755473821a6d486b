"""Files at WeCom and WeChat, uploaded once and used by many messages while they live there
(contract/wechat B10: 3 days)."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from services import cache, ids
from services.container import Services
from services.store.rows import Rows
from services.wechat.core.errors import UnknownOutcome

MEDIA = Rows(
    "media",
    indexes=((("tenant", 1), ("media_id", 1)),),
)
"""Files uploaded to WeCom, until they expire."""

LIFE_SECONDS = 3 * 86400.0
MARGIN_SECONDS = 3600.0
KEPT_SECONDS = 5.0
SHOWS_ITS_NAME = "file"


class Uploads(Protocol):
    """What the clients of both platforms offer; `appid` is the corp or mini-program whose apps
    share a file."""

    appid: str

    async def media_upload(self, kind: str, name: str, content: bytes) -> Any: ...


async def media_id(
    services: Services, tenant: str, client: Uploads, kind: str, name: str, content: bytes
) -> str:
    """The platform's id of `content` (`kind` image, voice, video or file), good for an hour at
    least; raises PlatformError.

    The same content is uploaded once in its life there, however many ask at once in this process.
    Two processes that ask in the same moment may both upload it; both ids are good. A file's name
    is shown to who gets it, so another name is another file.
    """
    digest = await asyncio.to_thread(ids.fingerprint, content)
    shown = name if kind == SHOWS_ITS_NAME else ""
    row_id = ids.tenant_id(tenant, "media", client.appid, kind, shown, digest)

    async def load() -> str:
        return await _known(services, tenant, row_id) or await _upload(
            services, tenant, row_id, client, kind, name, content
        )

    return await cache.cached(services, _key(row_id), KEPT_SECONDS, load)


async def invalidate(services: Services, tenant: str, dead: str) -> None:
    """For a media_id that the platform no longer knows (40007): the next who wants that file
    uploads it again.

    Other processes may answer the dead one for KEPT_SECONDS more.
    """
    rows = services.store.tenant(tenant)[MEDIA]
    for row in await rows.find({"media_id": dead}):
        await rows.delete({"_id": row["_id"], "media_id": dead})
        cache.invalidate(services, _key(row["_id"]))


async def _known(services: Services, tenant: str, row_id: str) -> str | None:
    row = await services.store.tenant(tenant)[MEDIA].find_one({"_id": row_id})
    return str(row["media_id"]) if row is not None and row["until"] > services.clock() else None


async def _upload(
    services: Services,
    tenant: str,
    row_id: str,
    client: Uploads,
    kind: str,
    name: str,
    content: bytes,
) -> str:
    until = services.clock() + LIFE_SECONDS - MARGIN_SECONDS
    uploaded = (await client.media_upload(kind, name, content)).get("media_id")
    if not isinstance(uploaded, str) or not uploaded:
        raise UnknownOutcome(None, "the answer holds no media_id", "/cgi-bin/media/upload")
    rows = services.store.tenant(tenant)[MEDIA]
    fields = {"kind": kind, "media_id": uploaded, "until": until}
    if await rows.insert_new([{"_id": row_id, **fields}]):
        await rows.update({"_id": row_id}, {"$set": fields})
    return uploaded


def _key(row_id: str) -> str:
    return f"media:{row_id}"
