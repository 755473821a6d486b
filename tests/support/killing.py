"""A process that is killed at one of its writes, for code that must be able to go on from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.store.mongo import Collection, Store

_WRITES = (
    "insert",
    "insert_new",
    "append",
    "update",
    "update_many",
    "bulk_update",
    "replace_each",
    "update_and_get",
    "delete",
)


class Killed(Exception):
    """The process ends here."""


def before_write(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], bool]:
    """The process is killed before its write of that number (from 0); whether it came so far."""
    count = 0

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > number:
                raise Killed
            return await method(*args, **options)

        return call

    for name in _WRITES:
        monkeypatch.setattr(Collection, name, guarded(getattr(Collection, name)))
    monkeypatch.setattr(Store, "insert_new_across", guarded(Store.insert_new_across))
    return lambda: count > number
