"""One running sandbox: its world, its people, and the machinery around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandbox.callbacks import Sender
from sandbox.clock import Clock
from sandbox.codes import Codes
from sandbox.faults import Faults
from sandbox.journal import Journal
from sandbox.state import State
from sandbox.storage import Storage
from sandbox.tokens import Tokens
from sandbox.world import World


@dataclass(frozen=True, slots=True)
class Options:
    """How a sandbox is wired to the product beside it.

    `callback_url` replaces the callback address of every app; `portal_url` may contain `{appid}`; `sidebar_url` may
    contain `{userid}` and `{external_userid}`; `retry_delay` is seconds between two attempts of a callback.
    """

    state_file: Path | None = None
    callback_url: str | None = None
    portal_url: str | None = None
    sidebar_url: str | None = None
    retry_delay: float = 1.0


class Sandbox:
    """Everything that the handlers share."""

    def __init__(self, world: World, options: Options | None = None, clock: Clock | None = None) -> None:
        self.world = world
        self.options = options or Options()
        self.clock = clock or Clock()
        self._storage = Storage(self.options.state_file)
        self.state = self._storage.load()
        self.state.adopt(world)
        self.faults = Faults()
        self.journal = Journal()
        self.tokens = Tokens(self.clock)
        self.codes = Codes(self.clock)
        self.sender = Sender(
            world,
            self.clock,
            self.faults,
            self.journal,
            url=self.options.callback_url,
            retry_delay=self.options.retry_delay,
        )

    def seconds(self) -> int:
        """The sandbox's time in whole Unix seconds."""
        return int(self.clock.now())

    def changed(self) -> None:
        """Say that the state changed, so that it is saved."""
        self._storage.changed(self.state)

    async def reset(self) -> None:
        """Back to an empty world: no people, ways, tags, tokens, codes, faults, logs or callbacks under way."""
        await self.sender.abandon()
        self.state = State()
        self.tokens = Tokens(self.clock)
        self.codes = Codes(self.clock)
        self.faults.clear()
        self.journal.calls.clear()
        self.journal.counts.clear()
        self.journal.deliveries.clear()
        self.journal.welcomes.clear()
        self.clock.offset = 0.0
        self.changed()

    async def close(self) -> None:
        """Stop the sender and write the state."""
        await self.sender.close()
        self._storage.flush()
