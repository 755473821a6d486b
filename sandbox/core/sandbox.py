"""One running sandbox: its world, its people, and the machinery around them."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import httpx

from sandbox.core.bank_system import BankSender
from sandbox.core.callbacks import Sender
from sandbox.core.clock import Clock
from sandbox.core.codes import Codes
from sandbox.core.events import Event
from sandbox.core.faults import Faults
from sandbox.core.files import Files
from sandbox.core.journal import Journal
from sandbox.core.limits import Limits
from sandbox.core.models import Group
from sandbox.core.options import Options
from sandbox.core.recent_messages import RecentMessages
from sandbox.core.state import State
from sandbox.core.storage import Storage
from sandbox.core.switches import Switches
from sandbox.core.tokens import Issued, Tokens
from sandbox.core.world import Department, Member, World


@dataclass(frozen=True, slots=True)
class Kept:
    """What a sandbox goes back to: its state as a restart would read it, its tokens, its logs."""

    state: str
    tokens: Issued
    journal: Journal


class Sandbox:
    """Everything that the handlers share."""

    def __init__(
        self, world: World, options: Options | None = None, clock: Clock | None = None
    ) -> None:
        self._facts = world
        self.options = options or Options()
        self.clock = clock or Clock()
        self._storage = Storage(self.options.state_file)
        self.state = self._storage.load()
        self.state.adopt(world)
        self.world = self._present_world()
        self.faults = Faults()
        self.journal = Journal()
        self._begin_unsaved()
        self._kept: dict[str, Kept] = {}
        self.product = httpx.AsyncClient(trust_env=False, timeout=10.0, follow_redirects=False)
        """The product as clients ask it: a person's mini-program, a member's side panel."""
        self.sender = Sender(world, self.options, self.clock, self.faults, self.journal)
        self.bank = BankSender(
            world.bank_system, _bank_url(world, self.options), self.options.retry_delay
        )

    def _begin_unsaved(self) -> None:
        """Everything that is not saved and no longer known after a restart."""
        self.switches = Switches()
        self.limits = Limits(self.clock)
        self.tokens = Tokens(self.clock, lambda: self.switches.expired_token_code)
        self.codes = Codes(self.clock)
        self.files = Files(self.clock)
        self.recent_messages = RecentMessages()
        self.under_way: set[str] = set()
        """Whom a call is under way for, where there may be one at a time (A4)."""
        self.groups_before: dict[str, list[tuple[float, Group]]] = {}
        """Groups as they were, and until when `groupchat/get` still tells them so (B7)."""
        self.wrong_guesses: list[float] = []
        """When somebody guessed a member's number or address wrong (B2)."""
        self.sign_ins: dict[tuple[str, str], str] = {}
        """The sessions of people's mini-programs with the product, by person and appid."""
        self.camera = ""
        """What a camera sees: the QR code that somebody held out last (contract/jssdk 3.4)."""
        self.notified = float("-inf")
        """When msgaudit_notify was last sent (C4)."""
        self.unnotified = False
        """Whether another msgaudit_notify waits."""

    def seconds(self) -> int:
        """The sandbox's time in whole Unix seconds."""
        return int(self.clock.now())

    def changed(self) -> None:
        """Say that the state changed, so that it is saved."""
        self._storage.changed(self.state)

    def _present_world(self) -> World:
        """The world's corp, with the members and departments that the state has instead."""
        members = self.state.members
        departments = self.state.departments
        corp = self._facts.corp
        if members is None and departments is None:
            return self._facts
        return self._facts.with_people(
            corp.members if members is None else members,
            corp.departments if departments is None else departments,
        )

    def reorganise(self, members: Iterable[Member], departments: Iterable[Department]) -> None:
        """Give the corp other members and departments."""
        self.state.members = list(members)
        self.state.departments = list(departments)
        self.world = self._present_world()
        self.changed()

    def report_api_change(self, event: Event) -> None:
        """Tell of a change that an app made through the API, which WeCom does not unless it is
        switched so (C3)."""
        if self.switches.api_changes_emit_events:
            self.sender.send_in_background(event)

    def keep(self, name: str) -> None:
        """Remember people, ways, tags, tokens and logs as they are, to go back to them."""
        state = self.state.model_dump_json()
        self._kept[name] = Kept(state, self.tokens.issued(), deepcopy(self.journal))

    async def go_back(self, name: str) -> None:
        """To what was kept under that name; all else begins anew. Raises KeyError when nothing
        was."""
        kept = self._kept[name]
        await self.reset()
        self.state = State.model_validate_json(kept.state)
        self.world = self._present_world()
        self.tokens.adopt(kept.tokens)
        self.journal.adopt(kept.journal)
        self.changed()

    async def reset(self) -> None:
        """Back to an empty world: no people, ways, tags, tokens, codes, faults, logs or callbacks
        under way."""
        await self.sender.abandon()
        await self.bank.abandon()
        self.bank.begin()
        self.state = State()
        self.world = self._facts
        self._begin_unsaved()
        self.faults.clear()
        self.journal.clear()
        self.clock.offset = 0.0
        self.changed()

    async def close(self) -> None:
        """Stop the sender and write the state."""
        await self.sender.close()
        await self.bank.close()
        await self.product.aclose()
        await self._storage.close()


def _bank_url(world: World, options: Options) -> str:
    """Where the product is for the bank's core system."""
    callback = options.callback_url or world.corp.apps[0].callback_url
    found = options.bank_url or str(httpx.URL(callback).copy_with(path="/", query=None))
    return found.rstrip("/")
