"""Acts that are cut short in the middle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from customers.approvals import versioned


async def before_its_version(monkeypatch: pytest.MonkeyPatch, submit: Callable[[], Awaitable[object]]) -> None:
    """A version is submitted up to where its row would be written."""

    async def cut(*_: Any) -> bool:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(versioned, "_added", cut)
        with pytest.raises(RuntimeError):
            await submit()
