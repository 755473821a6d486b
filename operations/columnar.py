"""The columnar mirror of this host, kept up to what changes in the profiles of all its banks.

One process a host keeps it, by a lock in its folder; it may be any of the audience processes, also
one that does not lead. It begins a `line` when it opens the stream of changes: a mirror of another
line is made anew, since nobody knows what it missed. The place in the stream is stored when all
mirrors are up to it, so that the next process goes on there.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customers.alerts import alarms
from customers.banks.bank import Bank, list_banks
from customers.columnar import folder as folders
from customers.columnar import keeping
from customers.columnar.arrays import Damaged
from customers.columnar.folder import Folder
from customers.columnar.keeping import Progress
from customers.columnar.reading import FRESH_SECONDS, age, folder_of
from customers.profiles import copying
from services import ids
from services.container import Services
from services.errors import Unavailable, YinqiaoError
from services.store.mongo import Change, Changes, Doc, StreamLost, known_until

GATHER_SECONDS = 1.0
MOST_CHANGES = 2_000
WAIT_SECONDS = 0.5
SAY_SECONDS = 1.0
"""So often a mirror in which nothing changes is said to be right still."""
REST_SECONDS = 30.0
WATCH_SECONDS = 30.0
LATE_SECONDS = 600.0
"""So old, somebody must be told; it takes a few minutes to make a large bank's anew."""
LATE = "mirror.late"
_FOLLOWED = "followed"
log = logging.getLogger("yinqiao.columnar")


@dataclass
class _Kept:
    """A bank's mirror as its keeper has it: when it was `said` to be right last (0: it has to be swept
    first), and until when one that failed `rests`, by the loop's clock, which nobody sets."""

    folder: Folder
    said: float = 0.0
    making: asyncio.Task[None] | None = None
    rests: float = 0.0


async def run(services: Services, stop: asyncio.Event) -> None:
    """Keeps this host's mirror until `stop`, whenever nobody else here does. Raises nothing: whoever
    works beside it goes on when it cannot."""
    while not stop.is_set():
        pause = WAIT_SECONDS
        try:
            await _follow(services, services.settings.mirror_dir, stop)
        except Unavailable:
            log.warning("the database is away; the mirror waits")
        except Exception:
            log.exception("the mirror of this host is not kept")
            pause = REST_SECONDS
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)


async def _follow(services: Services, root: Path, stop: asyncio.Event) -> None:
    with folders.lock(root) as mine:
        if not mine:
            return
        try:
            await _Keeper(services, root).follow(stop)
        except StreamLost as lost:
            log.warning("the changes are lost; the mirror is made anew: %s", lost.code)
            (root / _FOLLOWED).unlink(missing_ok=True)


class _Keeper:
    """Who keeps the mirror, for as long as his stream of changes holds."""

    def __init__(self, services: Services, root: Path) -> None:
        self._services, self._root = services, root
        self._kept: dict[str, _Kept] = {}
        self._pending: defaultdict[str, set[str]] = defaultdict(set)
        self._line, self._token = "", dict[str, Any]()

    async def follow(self, stop: asyncio.Event) -> None:
        """Raises StreamLost and Unavailable."""
        stream = await self._begin()
        try:
            while not stop.is_set():
                begun = self._services.clock()
                changes = await stream.gather(GATHER_SECONDS, MOST_CHANGES)
                self._note(changes)
                right = known_until(begun, changes)
                banks = await list_banks(self._services)
                for bank in banks:
                    await self._bring(bank, right)
                if stream.token != self._token and not self._is_behind(banks):
                    self._store(stream.token)
        finally:
            await self._end()
            await stream.close()

    async def _begin(self) -> Changes:
        """Opens the stream where the last one was left, or now."""
        told = _followed(self._root)
        stream = copying.follow(self._services, told and told["token"])
        self._note(await stream.gather(0.0, 1))
        self._line = told["line"] if told else ids.token()
        if told is None:
            self._store(stream.token)
        return stream

    def _note(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._pending[str(change.id).partition(":")[0]].add(str(change.id))

    def _store(self, token: Doc | None) -> None:
        if token is not None:
            self._token = token
            said = {"line": self._line, "token": token}
            folders.replace_file(self._root / _FOLLOWED, said)

    def _is_behind(self, banks: Iterable[Bank]) -> bool:
        return any(self._pending[bank.id] or self._kept[bank.id].making for bank in banks)

    async def _bring(self, bank: Bank, right: float) -> None:
        """Brings a bank's mirror up to its changes. What fails at one bank is no other's business:
        somebody is told, and it is tried again."""
        kept = self._kept.setdefault(bank.id, _Kept(folder_of(bank)))
        if _elapsed() < kept.rests:
            return
        try:
            await self._keep(bank, kept, right)
        except Unavailable:
            raise
        except (Damaged, FileNotFoundError) as error:
            log.warning("the mirror is damaged and made anew: %s", error)
            kept.folder.drop()
        except Exception as error:
            log.exception("the mirror was not kept", extra={"fields": {"tenant": bank.id}})
            kept.rests, kept.said = _elapsed() + REST_SECONDS, 0.0
            reason = error.code if isinstance(error, YinqiaoError) else "internal"
            await alarms.work_failed(bank, "mirror", reason)

    async def _keep(self, bank: Bank, kept: _Kept, right: float) -> None:
        """A mirror that is none, or not of this line, is made anew beside the others."""
        if kept.making is not None:
            if not kept.making.done():
                return
            made, kept.making = kept.making, None
            made.result()
        state = kept.folder.read()
        if state is None or state.line != self._line or keeping.is_scattered(state):
            kept.making = asyncio.create_task(_make(bank, kept.folder, self._line))
            return
        with kept.folder.locked() as mine:
            if mine:
                await self._take_in(bank, kept, right)

    async def _take_in(self, bank: Bank, kept: _Kept, right: float) -> None:
        """Takes a bank's changes in, and one piece of what is to be put in order."""
        if not kept.said:
            kept.folder.sweep(self._line)
        cids = self._pending[bank.id]
        if cids:
            await keeping.apply(bank, kept.folder, cids, right)
            cids.clear()
        await keeping.mend(bank, kept.folder)
        now, state = _elapsed(), kept.folder.read()
        if state is None or now < kept.said + SAY_SECONDS:
            return
        kept.folder.say_right(state, right)
        kept.said = now

    async def _end(self) -> None:
        for kept in self._kept.values():
            if kept.making is not None:
                kept.making.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await kept.making


def _elapsed() -> float:
    return asyncio.get_running_loop().time()


def _followed(root: Path) -> Doc | None:
    """The line of changes that is followed here, and up to where."""
    told = folders.read_file(root / _FOLLOWED)
    return told if told is not None and told.get("line") and told.get("token") else None


async def _make(bank: Bank, folder: Folder, line: str) -> None:
    with folder.locked() as mine:
        if mine:
            log.info("the mirror is made anew", extra={"fields": {"tenant": bank.id}})
            async for _ in keeping.rebuild(bank, folder, line):
                pass


async def rebuild(bank: Bank) -> AsyncIterator[Progress]:
    """Makes a bank's mirror on this host anew, for a person; whoever keeps the mirror goes on from
    it. Raises Unavailable `mirror_busy` while somebody else writes it."""
    root = bank.services.settings.mirror_dir
    with folders.lock(root) as alone:
        line = await _line(bank.services, root, alone)
        folder = folder_of(bank)
        with folder.locked() as mine:
            if not mine:
                raise Unavailable("mirror_busy", "this mirror is being written; try again")
            async for step in keeping.rebuild(bank, folder, line):
                yield step


async def _line(services: Services, root: Path, alone: bool) -> str:
    """The line of who keeps the mirror; where nobody does, the one that was followed here last, if
    the database still has what changed since, else one that begins now."""
    told = _followed(root)
    if told is not None and (not alone or await _opened(services, told["token"])):
        return str(told["line"])
    said = {"line": ids.token(), "token": await _opened(services, None)}
    folders.replace_file(root / _FOLLOWED, said)
    return str(said["line"])


async def _opened(services: Services, token: Doc | None) -> Doc | None:
    """The place in the stream of changes when it is opened there, or now; None where changes were
    lost."""
    stream = copying.follow(services, token)
    try:
        await stream.gather(0.0, 1)
        return stream.token
    except StreamLost:
        return None
    finally:
        await stream.close()


async def measure(services: Services) -> None:
    """Brings the metric of the age up to the present."""
    ages = {bank.id: await age(bank) for bank in await list_banks(services)}
    services.metrics.mirror_age.clear()
    for tenant, seconds in ages.items():
        if seconds is not None:
            services.metrics.mirror_age.labels(tenant).set(seconds)


async def health(services: Services) -> str:
    """How this host's mirrors are, in a word or two."""
    ages = [await age(bank) for bank in await list_banks(services)]
    oldest = max((seconds for seconds in ages if seconds is not None), default=None)
    if oldest is None:
        return "none here"
    return f"{oldest:.0f} seconds old" if oldest > FRESH_SECONDS else "ok"


async def watch(services: Services) -> None:
    """Tells somebody of this host's mirrors that are late, until it is cancelled: for who reads
    them, since who should keep them may have died."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            for bank in await list_banks(services):
                await tell_if_late(bank)
        except Unavailable:
            log.warning("the database is away; nobody is told of a late mirror")
        except Exception:
            log.exception("the age of this host's mirrors is not watched")


async def tell_if_late(bank: Bank) -> None:
    """Tells somebody when this host's mirror of the bank is late, once a day."""
    seconds = await age(bank)
    if seconds is not None and seconds > LATE_SECONDS:
        host = platform.node()
        await alarms.raise_daily(bank, LATE, host, host=host, seconds=int(seconds))
