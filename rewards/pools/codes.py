"""The codes themselves: sealed in blocks, opened for whoever was granted one, and found again by
their fingerprints."""

from __future__ import annotations

import hmac
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from customers.banks.bank import Bank
from rewards.pools.rows import BLOCK, CODE_BLOCKS, CODE_PRINTS, SHARDS, block_id
from rewards.rows import Code, Grant
from services.store.mongo import Doc

_DIVIDER = "\n"
PRINT_BYTES = 8


async def codes_of(bank: Bank, grants: Iterable[Grant]) -> dict[str, str]:
    """The codes of those of the grants that were given one out of a pool, by the grants' ids. The
    same grant has the same code at every time."""
    wanted = {row["_id"]: row["code"] for row in grants if "code" in row}
    found = await opened(bank, list(wanted.values()))
    return {grant: found[code["lot"], code["n"]] for grant, code in wanted.items()}


async def opened(bank: Bank, codes: Sequence[Code]) -> dict[tuple[str, int], str]:
    """These codes in clear, by lot and number."""
    blocks = await _blocks(bank, {(one["lot"], one["n"] // BLOCK) for one in codes})
    return {
        (one["lot"], one["n"]): blocks[one["lot"], one["n"] // BLOCK][one["n"] % BLOCK]
        for one in codes
    }


async def _blocks(
    bank: Bank, wanted: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], list[str]]:
    by_id = {block_id(bank.id, lot, number): (lot, number) for lot, number in wanted}
    rows = await bank.by_id(CODE_BLOCKS, list(by_id))
    return {by_id[row_id]: open_block(bank, row) for row_id, row in rows.items()}


def sealed_block(bank: Bank, lot: str, number: int, codes: Sequence[str]) -> Doc:
    """The row of the codes from `number` times BLOCK on."""
    row_id = block_id(bank.id, lot, number)
    text = _DIVIDER.join(codes)
    return {"_id": row_id, "codes": bank.vault.seal_text(CODE_BLOCKS, "codes", row_id, text)}


def open_block(bank: Bank, row: Mapping[str, object]) -> list[str]:
    sealed = cast("bytes", row["codes"])
    return bank.vault.open_text(CODE_BLOCKS, "codes", str(row["_id"]), sealed).split(_DIVIDER)


def printer(bank: Bank) -> Callable[[str], int]:
    """What makes the fingerprint of a code: the first 64 bits of an HMAC-SHA256 under a key of the
    bank's own. Two of a hundred million codes have the same by chance once in 3,600 times; the
    second would be refused as known."""
    key = bytes.fromhex(bank.vault.mac("code_prints", b"key"))
    digest = hmac.digest

    def fingerprint(code: str) -> int:
        return int.from_bytes(digest(key, code.encode(), "sha256")[:PRINT_BYTES])

    return fingerprint


def shard_of(fingerprint: int) -> int:
    """Which of the SHARDS rows a fingerprint is in."""
    return fingerprint >> (8 * PRINT_BYTES - (SHARDS - 1).bit_length())


def packed(values: Iterable[int], kind: str) -> bytes:
    """Whole numbers as bytes, eight each (`Q`) or four (`I`), the same on every machine."""
    numbers = array(kind, values)
    return _swapped(numbers).tobytes()


def unpacked(data: bytes, kind: str) -> array[int]:
    numbers = array(kind)
    numbers.frombytes(data)
    return _swapped(numbers)


def _swapped(numbers: array[int]) -> array[int]:
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers


async def look_up(bank: Bank, code: str) -> list[tuple[str, int]]:
    """(upload's lot, number) of every code with this one's fingerprint, in uploads that are in or
    were on their way."""
    wanted = printer(bank)(code)
    found: list[tuple[str, int]] = []
    async for row in bank.db[CODE_PRINTS].scan({"shard": shard_of(wanted)}):
        prints = unpacked(row["prints"], "Q")
        at = bisect_left(prints, wanted)
        if at < len(prints) and prints[at] == wanted:
            found.append((row["lot"], unpacked(row["numbers"], "I")[at]))
    return found
