"""Temporary pictures of a mini-program, for customer-service messages (contract/wechat H)."""

from __future__ import annotations

from typing import Any

from sandbox.core.api import Call, Endpoint, Raw
from sandbox.core.media import checked_file, serve_file


def upload(call: Call) -> dict[str, Any]:
    """A mini-program's temporary picture, for customer-service messages."""
    kind = call.query.get("type", "")
    file = checked_file(call, kind, {"image": 10})
    media_id, media = call.box.files.add(call.app, kind, file.name, file.content)
    return {"type": kind, "media_id": media_id, "created_at": media.created}


def download(call: Call) -> Raw:
    """A mini-program's temporary picture."""
    return serve_file(call, call.app)


ENDPOINTS = (
    Endpoint("POST", "/cgi-bin/media/upload", upload, upload=True),
    Endpoint("GET", "/cgi-bin/media/get", download),
)
