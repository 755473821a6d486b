"""Answer codes that nobody has classified yet (contract/wechat D2), kept so that somebody does."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

from services import ids
from services.clock import Clock, utc
from services.errors import Unavailable
from services.store.mongo import Store
from services.store.rows import Rows
from services.wechat.core.errors import Family, PlatformError

PLATFORM_CODES = Rows(
    "platform_codes",
)
"""Error codes that nobody has classified."""

COLLECTION = "platform_codes"
MOST = 500
"""So many different ones are kept by a process; more would be nonsense from something that is not
the platform."""

_TAIL = re.compile(r",?\s*\b(?:hint|from ip|rid|more info)\b.*", re.IGNORECASE | re.DOTALL)
_ID = re.compile(
    r"[A-Za-z0-9_@.-]{16,}|\d{6,}|\b(?:\d{1,3}\.){3}\d{1,3}\b|\bw[mo][A-Za-z0-9_-]{6,}"
)

log = logging.getLogger(__name__)


class UnknownCodes:
    """Counts each tenant's unknown codes by platform, path and code; `spawn` runs a write behind
    the call that drew it."""

    def __init__(
        self, store: Store, clock: Clock, spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._seen: set[str] = set()

    def heard(self, tenant: str, family: Family, error: PlatformError) -> None:
        """Writes the code down soon; never raises for the call's sake."""
        key = ids.tenant_id(tenant, "platform_code", family, error.path, error.errcode)
        if key in self._seen or len(self._seen) < MOST:
            self._seen.add(key)
            self._spawn(self._write(tenant, key, family, error))

    async def _write(self, tenant: str, key: str, family: Family, error: PlatformError) -> None:
        now = utc(self._clock())
        first = {"family": family, "path": error.path, "errcode": error.errcode, "first": now}
        change = {
            "$setOnInsert": first,
            "$set": {"last": now, "errmsg": without_ids(error.errmsg)},
            "$inc": {"count": 1},
        }
        try:
            await self._store.tenant(tenant)[COLLECTION].update({"_id": key}, change, upsert=True)
        except Unavailable:
            log.warning("the unknown code %s of %s could not be kept", error.errcode, error.path)


def without_ids(errmsg: str) -> str:
    """The platform's text without what may name a person, an address or a secret, at most 200
    characters."""
    return _ID.sub("…", _TAIL.sub("", errmsg))[:200]
