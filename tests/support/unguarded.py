"""The store without what guards it, so that a test sees the race that the guard is for."""

from __future__ import annotations

from typing import Any

import pytest

from services.store.mongo import Collection


def replaces_whatever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """`replace_each` without its look at the value that was read."""

    async def replace_each(collection: Collection, docs: Any, guard: str) -> int:
        for doc, _ in docs:
            fields = {name: value for name, value in doc.items() if name != "_id"}
            await collection.update({"_id": doc["_id"]}, {"$set": fields})
        return len(docs)

    monkeypatch.setattr(Collection, "replace_each", replace_each)
