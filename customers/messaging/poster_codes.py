"""Mini-program codes on posters and cards: a short key in the code, and behind it what the code
stands for (contract/wechat A5).

A code's `scene` holds 32 characters at most, so it holds a key. The key comes from what it stands
for: the same campaign, inviter and page have one code, which is asked for once and kept.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, cast

from customers.banks.bank import Bank
from customers.messaging.rows import POSTER_CODES, PosterCode
from services import ids
from services.errors import NotFound
from services.wechat.core.errors import PlatformError, to_whoever_waits

WIDTH = 430


@dataclass(frozen=True, slots=True)
class Scene:
    """What a code stands for: a page, the campaign it is for, and the customer who invites (a cid;
    empty for nobody)."""

    page: str = ""
    campaign: str = ""
    inviter: str = ""


def key_of(tenant: str, appid: str, scene: Scene) -> str:
    """26 letters and digits, the same for the same scene; nobody can tell from it who invites."""
    told = ids.tenant_id(tenant, "scene", appid, scene.page, scene.campaign, scene.inviter)
    return (
        base64.b32encode(hashlib.sha256(told.encode()).digest()[:16]).decode().rstrip("=").lower()
    )


def _row_id(tenant: str, appid: str, key: str) -> str:
    return ids.tenant_id(tenant, "scene", appid, key)


async def code(bank: Bank, appid: str, scene: Scene) -> bytes:
    """The picture of the code (JPEG or PNG), made by WeChat once. Raises NotFound for an unknown
    mini-program, and Unavailable or PlatformRefused when WeChat makes none."""
    if appid not in bank.miniprograms:
        raise NotFound("miniprogram_unknown", "no such mini-program")
    key = key_of(bank.id, appid, scene)
    row = await _find(bank, appid, key)
    if row is not None and "picture" in row:
        return bytes(row["picture"])
    if row is None:
        await bank.insert(POSTER_CODES, {**_row(bank, appid, key, scene)})
    picture = await _picture(bank, appid, key, scene)
    made = {"_id": _row_id(bank.id, appid, key)}
    await bank.db[POSTER_CODES].update(made, {"$set": {"picture": picture}})
    return picture


async def _find(bank: Bank, appid: str, key: str) -> PosterCode | None:
    row_id = _row_id(bank.id, appid, key)
    row = (await bank.read(POSTER_CODES, [row_id])).get(row_id)
    return cast("PosterCode | None", row)


def _row(bank: Bank, appid: str, key: str, scene: Scene) -> PosterCode:
    return {
        "_id": _row_id(bank.id, appid, key),
        "at": bank.utc(),
        "appid": appid,
        "page": scene.page,
        "campaign": scene.campaign,
        "inviter": scene.inviter,
    }


async def _picture(bank: Bank, appid: str, key: str, scene: Scene) -> bytes:
    try:
        return await bank.miniprogram(appid).get_unlimited(key, page=scene.page, width=WIDTH)
    except PlatformError as error:
        raise to_whoever_waits("wechat", error) from error


async def read(bank: Bank, appid: str, key: str) -> dict[str, Any]:
    """What the mini-program may know of the code that it was opened with: page, campaign, and
    whether somebody invites. Raises NotFound `scene_unknown`."""
    row = await _scene(bank, appid, key)
    return {"page": row["page"], "campaign": row["campaign"], "invited": bool(row["inviter"])}


async def inviter(bank: Bank, appid: str, key: str) -> str:
    """The cid of who invites with this code, or an empty text; for our own use. Raises NotFound
    `scene_unknown`."""
    return (await _scene(bank, appid, key))["inviter"]


async def _scene(bank: Bank, appid: str, key: str) -> PosterCode:
    row = await _find(bank, appid, key)
    if row is None:
        raise NotFound("scene_unknown", "no such code")
    return row
