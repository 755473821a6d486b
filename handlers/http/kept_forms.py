"""Forms that could not be taken, because their sender's session or anti-forgery token was over: kept
sealed until the same person is back, and put back into the page that they came from.

Nothing of a kept form is done until its person sends it again.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson
from redis.exceptions import RedisError

from services import ids
from services.container import Services
from services.errors import Unavailable
from services.security.vault import CannotOpen

KEPT_SECONDS = 3600
MOST_BYTES = 512 * 1024
MOST_OF_ONE = 50
"""How many forms of one person are kept at once."""
TOKENS = frozenset({"_xsrf", "_for", "password", "old", "new", "again"})
"""What is not kept: what says who sends a form, and passwords."""
_LOOKS, _LOOK_SECONDS = 5, 0.1
_ID = re.compile(r"[A-Za-z0-9_-]{20,64}")
_PLACE = ("forms", "kept", "form")


@dataclass(frozen=True, slots=True)
class Sent:
    """A posted form: where it was sent to, and every value of every field."""

    action: str
    fields: Mapping[str, list[str]]


def owner_token(services: Services, owner: str) -> str:
    """What a page carries to say for whom it was made; `owner` names a person of one face."""
    shown = base64.urlsafe_b64encode(owner.encode()).decode().rstrip("=")
    return f"{shown}.{_sign(services, shown)}"


def owner_of(services: Services, token: str) -> str:
    """For whom a page was made; empty when we did not make the token."""
    shown, _, signature = token.partition(".")
    if not signature or not hmac.compare_digest(
        signature.encode(), _sign(services, shown).encode()
    ):
        return ""
    return base64.urlsafe_b64decode(shown + "=" * (-len(shown) % 4)).decode()


def _sign(services: Services, shown: str) -> str:
    return services.vault.mac("forms", "owner", shown.encode())[:32]


async def put_away(services: Services, owner: str, form: Sent, form_id: str) -> None:
    """Keeps the form for an hour, sealed, under an id that nobody can guess; not when it is too
    large, when its owner has too many, or while Redis is away."""
    body = orjson.dumps({"owner": owner, "action": form.action, "fields": dict(form.fields)})
    if len(body) > MOST_BYTES:
        return
    with suppress(RedisError, Unavailable):
        if await services.sessions.count(f"kept|{owner}", seconds=KEPT_SECONDS) > MOST_OF_ONE:
            return
        sealed = services.vault.seal(*_PLACE, form_id, body)
        await services.redis.set(_key(form_id), sealed, ex=KEPT_SECONDS)


async def find(services: Services, owner: str, form_id: str) -> Sent | None:
    """The form of that id, if it is this person's."""
    if not _ID.fullmatch(form_id):
        return None
    sealed = await _sealed(services, form_id)
    if sealed is None:
        return None
    try:
        kept = orjson.loads(services.vault.open(*_PLACE, form_id, sealed))
    except CannotOpen:
        return None
    return Sent(kept["action"], kept["fields"]) if kept["owner"] == owner else None


async def _sealed(services: Services, form_id: str) -> bytes | None:
    """What is kept under the id. It is put away behind the answer that refused it, so whoever comes
    back at once waits for it."""
    for _ in range(_LOOKS):
        try:
            sealed = await services.redis.get(_key(form_id))
        except RedisError:
            return None
        if isinstance(sealed, bytes):
            return sealed
        await asyncio.sleep(_LOOK_SECONDS)
    return None


def _key(form_id: str) -> str:
    return f"yq:kept_form:{_digest(form_id)}"


def _digest(text: str) -> str:
    return ids.fingerprint(text.encode())[:32]
