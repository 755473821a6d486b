"""Structured logs: one JSON object a line, with the request id, and with every person's data
masked.

Masking works on every text of the finished line, so it also covers what a library logs: phone
numbers, identity card numbers, bank cards, tokens in addresses, and platform ids. `bind(...)` adds
fields to every line of the present task.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)

_SECRETS = "access_token|secret|corpsecret|js_code|code|suite_token|token|password|session_key|welcome_code|phone|phoneNumber"
_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(rf"(?<![\w.-])((?:{_SECRETS})=)[^&\s\"']+"), r"\1***"),
    (re.compile(rf"([\"'](?:{_SECRETS})[\"']\s*:\s*[\"'])[^\"']*"), r"\1***"),
    (re.compile(r"(\+(?!861[3-9])\d{1,3}[ -]?\d{2})[\d() -]{2,12}(\d{2})(?!\d)"), r"\1****\2"),
    (re.compile(r"(?<!\d)((?:(?:00)?86)?1[3-9]\d)\d{4}(\d{4})(?!\d)"), r"\1****\2"),
    (re.compile(r"(?<!\d)(1[3-9]\d)[ -]\d{4}[ -](\d{4})(?!\d)"), r"\1****\2"),
    (re.compile(r"(?<!\d)(\d{4})\d{10}(\d{3}[\dXx])(?![\dA-Za-z])"), r"\1**********\2"),
    (re.compile(r"(?<![\d.])(\d{4})\d{8,11}(\d{4})(?!\d)"), r"\1********\2"),
    (re.compile(r"\b(w[mo][A-Za-z0-9_-]{4})[A-Za-z0-9_-]{20,}"), r"\1***"),
    (re.compile(r"(?<![A-Za-z0-9_-])(o[A-Za-z0-9_-]{3})[A-Za-z0-9_-]{24,}"), r"\1***"),
]


_SECRET_NAME = re.compile(
    r"(?:access_token|secret|corpsecret|session_key|password|token|welcome_code|phone\w*)$"
)


def mask(text: str) -> str:
    """`text` without what must not be in a log."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def bind_task(**fields: Any) -> None:
    """Adds `fields` to every line logged by the present task from now on."""
    _context.set({**(_context.get() or {}), **fields})


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Adds `fields` (request_id, tenant, event …) to every line logged inside."""
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def _masked(value: Any) -> Any:
    """`value` with every text in it masked, and numbers that look like a person's as masked
    text."""
    if isinstance(value, dict):
        return {
            str(name): "***" if _SECRET_NAME.match(str(name)) else _masked(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(each) for each in value]
    if value is None or isinstance(value, bool | float):
        return value
    text = str(value)
    hidden = mask(text)
    return value if isinstance(value, int) and hidden == text and abs(value) < 2**53 else hidden


class JsonFormatter(logging.Formatter):
    """One masked JSON object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(_context.get() or {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return (
            json.dumps(_masked(line), ensure_ascii=False)
            .encode("utf-8", "backslashreplace")
            .decode()
        )


def keep_files_private() -> None:
    """What this process and its children write from now on is for its owner's eyes: logs,
    checkpoints, stores."""
    os.umask(0o077)


def setup_logging(level: str) -> None:
    """Sends every logger of the process through the formatter, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in (
        "httpx",
        "httpcore",
        "pymongo",
        "kombu",
        "amqp",
        "celery.worker.strategy",
        "celery.app.trace",
    ):
        logging.getLogger(chatty).setLevel("WARNING")
