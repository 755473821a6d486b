"""What is fixed about a collection: its name, indexes, uniqueness, shard key, and sealed fields.

Each collection has one owner, the module that declares its Rows; everybody else goes through that
module's functions. `operations/schema.py` lists all of them for whoever opens the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

Index = tuple[tuple[str, int], ...]


class Rows(str):
    """A collection's name, and what is fixed about its rows.

    `indexes` besides that of `_id`, each beginning with `tenant` and fitting its query whole:
    equalities first, then one range. `unique` names a field that no two rows of a tenant may share;
    rows without it do not count. `shard` is the shard key of a sharded cluster. `sealed` are the
    fields that hold nothing but what the vault sealed. `of_bank` is False for the few collections
    that belong to no bank.
    """

    indexes: tuple[Index, ...]
    unique: str
    shard: str
    sealed: frozenset[str]
    of_bank: bool

    def __new__(
        cls,
        name: str,
        *,
        indexes: Iterable[Index] = (),
        unique: str = "",
        shard: str = "_id",
        sealed: Iterable[str] = (),
        of_bank: bool = True,
    ) -> Self:
        rows = super().__new__(cls, name)
        rows.indexes = tuple(indexes)
        rows.unique = unique
        rows.shard = shard
        rows.sealed = frozenset(sealed)
        rows.of_bank = of_bank
        return rows
