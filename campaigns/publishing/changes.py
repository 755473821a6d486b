"""What a version changes, as lines of a diff: bounded in work and in length."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MOST_LINES = 400
"""of a diff that is shown"""
_MOST_WORK = 500_000
"""pairs of lines that are compared one by one; with more, the old part is taken for replaced"""


def diff(before: str, after: str, old: str, new: str) -> str:
    """The unified diff of two texts under the names `old` and `new`; after MOST_LINES it says how
    many lines there are more."""
    lines = list(_diff(before.splitlines(), after.splitlines(), old, new))
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"@@ … +{len(lines) - MOST_LINES} @@"]
    return "\n".join(lines)


def _diff(before: Sequence[str], after: Sequence[str], old: str, new: str) -> Sequence[str]:
    start = _same(before, after)
    end = _same(before[start:][::-1], after[start:][::-1])
    gone, come = before[start : len(before) - end], after[start : len(after) - end]
    if len(gone) * len(come) <= _MOST_WORK:
        return list(difflib.unified_diff(before, after, old, new, lineterm=""))
    head = f"@@ -{start + 1},{len(gone)} +{start + 1},{len(come)} @@"
    half = MOST_LINES // 2
    return [
        f"--- {old}",
        f"+++ {new}",
        head,
        *(f"-{line}" for line in gone[:half]),
        *(f"+{line}" for line in come),
    ]


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines both begin with."""
    n = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        n += 1
    return n
