"""The rows of code pools: the pools, the files that filled them, and their codes, sealed.

A code has no row of its own. The codes of a file lie in sealed blocks of BLOCK, numbered in the
order in which they are given: soonest to expire first. A pool keeps which numbers are still there,
as spans, and a grant's row names the number that it was given.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict

from services.store.rows import Rows

BLOCK = 1_000
SHARDS = 256


class Span(TypedDict):
    """The codes `first` until before `end` of an upload (its `lot`), good until before `expires`."""

    lot: str
    first: int
    end: int
    expires: datetime | None


class PoolLease(TypedDict):
    """Codes that one batch of claims on `reward` holds since `at`: the first of `spans` for the
    first of the grants `ids`, and so on."""

    at: datetime
    reward: str
    ids: list[str]
    spans: list[Span]


class Recall(TypedDict):
    """Codes that a clerk took back before anybody had them: `what` is `all`, `expired` or an
    upload's lot."""

    id: str
    at: datetime
    by: str
    reason: str
    what: str
    n: int
    spans: list[Span]


class Pool(TypedDict):
    """A pool; imported = left + held + granted + expired + recalled codes.

    `spans` are those that can be given, `gone` those that expired before anybody had them, and
    `lots` the uploads that are in. `low`: below so many somebody is told; `short` says how far that
    went (`unsaid`, `said`, and `over` when there are enough again), and `dips` counts how often.
    """

    _id: str
    pool: str
    name: dict[str, str]
    supplier: str
    low: int
    lots: list[str]
    spans: list[Span]
    gone: list[Span]
    recalls: list[Recall]
    leases: dict[str, PoolLease]
    imported: int
    left: int
    held: int
    granted: int
    expired: int
    recalled: int
    soonest: datetime | None
    short: Literal["", "unsaid", "said", "over"]
    dips: int
    moves: int
    created_by: str
    created_at: datetime


class Upload(TypedDict):
    """A file of codes on its way into a pool: a waiting row (services/store/leases.py).

    `_id` is made of the file's hash, so the same file is one upload. `chunks` are the pieces in
    which `file` is kept until it is in or given up; `size` in bytes. `skip`: lines that cannot be
    taken are left out, and the others imported. `round` counts the tries, `lot` names the codes of
    the last one. `good` codes are taken; `bad` counts the other lines by reason, of which `listed` are
    kept one by one. `first` and `last` are when the first and the last of the codes end.
    """

    _id: str
    upload: str
    file: str
    pool: str
    name: str
    by: str
    at: datetime
    size: int
    chunks: int
    sha256: str
    skip: bool
    state: str
    reason: str
    data: dict[str, str]
    phase: str
    done: int
    total: int
    good: int
    bad: dict[str, int]
    listed: int
    first: datetime | None
    last: datetime | None
    round: int
    lot: str
    finished_at: datetime | None
    open: bool
    due: float
    owner: str | None
    attempts: int


CODE_POOLS = Rows("code_pools")
"""Pools of imported codes."""
CODE_UPLOADS = Rows(
    "code_uploads",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("pool", 1), ("at", -1)),
    ),
)
"""Files of codes, and how far each is."""
CODE_FILES = Rows("code_files", sealed=("data",))
"""The pieces of such a file, while it waits."""
CODE_BLOCKS = Rows("code_blocks", sealed=("codes",))
"""The codes of an upload, a thousand a row."""
CODE_PRINTS = Rows("code_prints", indexes=((("tenant", 1), ("shard", 1)),))
"""The fingerprints of an upload's codes, in SHARDS rows by their first byte: `prints` are sorted,
eight bytes each, and `numbers` the code of each, four bytes each."""
CODE_LOTS = Rows("code_lots", unique="lot")
"""The uploads that are in, numbered: an upload's row here is what makes it count. A lot that must
never count any more has a row without a number."""
CODE_PROBLEMS = Rows("code_problems", indexes=((("tenant", 1), ("upload", 1), ("part", 1)),))
"""The lines of a file that cannot be taken, each with its reason."""
CODE_POPS = Rows("code_pops", indexes=((("tenant", 1), ("lot", 1), ("first", 1)),))
"""Which grants the codes `first` until before `end` of a lot were taken for."""


def pool_id(tenant: str, pool: str) -> str:
    return f"{tenant}:{pool}"


def block_id(tenant: str, lot: str, block: int) -> str:
    return f"{tenant}:{lot}:{block}"
