"""The signature of a delivery (docs/webhooks.md): HMAC-SHA256 in hex over the second, a point and the
body, under each secret that is good now."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence


def signature(secret: str, second: int, body: bytes) -> str:
    """What one secret makes of a body that is sent in that second (UTC, since 1970)."""
    return hmac.new(secret.encode(), f"{second}.".encode() + body, hashlib.sha256).hexdigest()


def signatures(secrets: Sequence[str], second: int, body: bytes) -> str:
    """The header's value: of the newest secret first, with commas between."""
    return ",".join(signature(secret, second, body) for secret in secrets)
