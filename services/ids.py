"""Deterministic ids: the same facts give the same id on every machine and every try (promises P1 to
P3)."""

from __future__ import annotations

import hashlib
import re
import secrets

_ROW_ID = re.compile(r"[a-z0-9-]{1,31}:[0-9a-f]{32}")


def tenant_id(tenant: str, *parts: object) -> str:
    """`tenant:` and a 128-bit hash of the parts; parts are length-prefixed, so no two lists run
    together."""
    digest = hashlib.sha256()
    for part in parts:
        data = str(part).encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return f"{tenant}:{digest.hexdigest()[:32]}"


def new_id(tenant: str) -> str:
    """A fresh random id of the tenant."""
    return f"{tenant}:{secrets.token_hex(16)}"


def is_row_id(text: str) -> bool:
    """Whether it is such an id, which nobody reads."""
    return _ROW_ID.fullmatch(text) is not None


def token() -> str:
    """A secret for a session or a link: 256 bits (ASVS 7.2.3)."""
    return secrets.token_urlsafe(32)


def fingerprint(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
