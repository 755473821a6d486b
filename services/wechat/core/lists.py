"""Lists that WeCom refuses as a whole because of one in them: the one is found and left out.

WeCom does not say of whom it speaks when it answers 84074 to a code of a hundred members. So the
list is put in halves, down to whoever is refused alone; the others are taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from services.wechat.core.errors import PlatformError

OF_ONE_MEMBER = frozenset({40003, 40031, 40098, 41054, 46004, 60011, 60111, 84061, 84074, 84083})
"""What WeCom answers because of one member: his userid is wrong or unknown, he is not activated,
not real-name, not in the app's range, or may have no customers or no licence."""
OF_ONE_DEPARTMENT = frozenset({60003, 60011, 60123})
OF_ONE_GROUP = frozenset({49008, 90500, 90501, 90502, 90509, 90511})
"""What WeCom answers because of one group: it is none, is dismissed, or is not a customer group."""
UNCLEAR = 40058
"""A bad parameter: perhaps one of the list, perhaps the rest of the call."""
MOST_CALLS = 100
T = TypeVar("T")


class Put(NamedTuple, Generic[T]):
    """What the platform took of a list, in order, and why it did not take the others."""

    taken: list[T]
    refused: dict[T, PlatformError]


async def put_all_but(
    items: Sequence[T],
    put: Callable[[Sequence[T]], Awaitable[object]],
    codes: frozenset[int] = OF_ONE_MEMBER,
) -> Put[T]:
    """Has the platform take `items` without those whom it refuses with one of `codes`.

    `put` makes the platform's list be the items that it is given, so it may be called again and
    again, each time with those that were taken before. Raises PlatformError when none is taken, and
    for whatever is no answer about one of them.
    """
    search = _Search(put, codes | {UNCLEAR})
    await search.add(list(items))
    if items and not search.taken:
        raise next(iter(search.refused.values()))
    taken = {*search.taken}
    return Put([one for one in items if one in taken], search.refused)


class _Search(Generic[T]):
    def __init__(
        self, put: Callable[[Sequence[T]], Awaitable[object]], codes: frozenset[int]
    ) -> None:
        self._put = put
        self._codes = codes
        self._calls = 0
        self.taken: list[T] = []
        self.refused: dict[T, PlatformError] = {}

    async def add(self, some: list[T]) -> None:
        if not some:
            return
        self._calls += 1
        try:
            await self._put([*self.taken, *some])
        except PlatformError as error:
            if error.errcode not in self._codes:
                raise
            if len(some) == 1 or self._calls >= MOST_CALLS:
                self.refused |= dict.fromkeys(some, error)
                return
            half = len(some) // 2
            await self.add(some[:half])
            await self.add(some[half:])
        else:
            self.taken += some
