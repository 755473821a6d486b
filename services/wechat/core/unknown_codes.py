"""Answer codes that somebody must look at (contract/wechat D2): those that nobody has classified
yet, and those that refuse how we are set up."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

from services import ids
from services.clock import Clock, utc
from services.errors import Unavailable
from services.store.mongo import Doc, Store, TenantStore
from services.store.rows import Rows
from services.wechat.core.errors import BadConfig, Family, PlatformError

PLATFORM_CODES = Rows("platform_codes", indexes=((("tenant", 1), ("unseen", 1)),))
"""A code that nobody has classified, by path; or one that refuses how we are set up, whatever the
path: `unseen` until the bank has its alarm (customers/alerts/refusals.py)."""
UNSEEN: Doc = {"unseen": True}
"""Refusals that are no alarm yet."""

COLLECTION = "platform_codes"
REFUSAL_SECONDS = 30.0
"""A process writes the same refusal down once in this time."""
MOST = 500
"""So many different ones are kept by a process; more would be nonsense from something that is not
the platform."""

_TAIL = re.compile(r",?(?<!\s)\s*+\b(?:hint|from ip|rid|more info)\b.*", re.IGNORECASE | re.DOTALL)
_ID = re.compile(
    r"[A-Za-z0-9_@.-]{16,}|\d{6,}|\b(?:\d{1,3}\.){3}\d{1,3}\b|\bw[mo][A-Za-z0-9_-]{6,}"
)

log = logging.getLogger(__name__)


class UnknownCodes:
    """Counts each tenant's unknown codes by platform, path and code, and its refusals by platform
    and code; `spawn` runs a write behind
    the call that drew it."""

    def __init__(
        self, store: Store, clock: Clock, spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._seen: set[str] = set()
        self._refused: dict[str, float] = {}

    def heard(self, tenant: str, family: Family, error: PlatformError) -> None:
        """Writes the code down soon; never raises for the call's sake."""
        if isinstance(error, BadConfig):
            self._heard_refusal(tenant, family, error)
            return
        key = ids.tenant_id(tenant, "platform_code", family, error.path, error.errcode)
        if key in self._seen or len(self._seen) < MOST:
            self._seen.add(key)
            self._spawn(self._write(tenant, key, family, error))

    def _heard_refusal(self, tenant: str, family: Family, error: BadConfig) -> None:
        key = ids.tenant_id(tenant, "platform_refusal", family, error.errcode)
        now = self._clock()
        if now - self._refused.get(key, 0.0) >= REFUSAL_SECONDS:
            self._refused[key] = now
            self._spawn(self._write(tenant, key, family, error, UNSEEN))

    async def _write(
        self, tenant: str, key: str, family: Family, error: PlatformError, more: Doc | None = None
    ) -> None:
        now = utc(self._clock())
        first = {"family": family, "errcode": error.errcode, "first": now}
        change = {
            "$setOnInsert": first,
            "$set": {
                "path": error.path,
                "last": now,
                "errmsg": without_ids(error.errmsg),
                **(more or {}),
            },
            "$inc": {"count": 1},
        }
        try:
            await self._store.tenant(tenant)[COLLECTION].update({"_id": key}, change, upsert=True)
        except Unavailable:
            log.warning("the unknown code %s of %s could not be kept", error.errcode, error.path)


async def unseen(db: TenantStore) -> list[Doc]:
    """The refusals that are no alarm yet, with `family`, `errcode`, `path`, `errmsg`."""
    return await db[PLATFORM_CODES].find(dict(UNSEEN), limit=None)


async def seen(db: TenantStore, refusal: Doc) -> None:
    """It is an alarm; one that was drawn meanwhile stays unseen."""
    this = {"_id": refusal["_id"], "last": refusal["last"]}
    await db[PLATFORM_CODES].update(this, {"$set": {"unseen": False}})


def without_ids(errmsg: str) -> str:
    """The platform's text without what may name a person, an address or a secret, at most 200
    characters."""
    return _ID.sub("…", _TAIL.sub("", errmsg))[:200]
