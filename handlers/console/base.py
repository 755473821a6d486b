"""What the console's pages share: a clerk's session, the sections, and the change that is done or
refused on its page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from typing_extensions import override

from config.bounds import GivenReason, Word
from customers.access import clerk
from customers.access.sign_in import LastSignIn
from customers.actors import ClerkActor
from customers.intake.effects import TOLD_AS as OF_BANK
from handlers.console import names
from handlers.http.auth import check_granted
from handlers.http.pages import Form, Page
from handlers.http.route import Op
from operations.events.explain import reason_text
from services.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PlatformRefused,
    Unavailable,
    YinqiaoError,
)
from services.wechat.core.errors import PlatformError

REFUSALS = (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PlatformRefused,
    Unavailable,
    PlatformError,
)
"""What a page says itself, beside what was asked; all else is an error's page."""

Section = tuple[str, str, str, tuple[str, ...]]

_OF_CAMPAIGNS: tuple[Section, ...] = (
    ("Campaigns", "/console/", "campaigns.read", ("/console/campaigns",)),
    ("Channels", "/console/channels", "campaigns.read", ()),
    ("Budgets", "/console/budgets", "rewards.read", ()),
)
_OF_REWARDS: tuple[Section, ...] = (
    ("Catalogue", "/console/items", "rewards.read", ()),
    ("Stock", "/console/rewards", "rewards.read", ()),
    ("Code pools", "/console/pools", "pools.read", ()),
    ("Vouchers", "/console/vouchers", "vouchers.read", ()),
    ("Counters", "/console/counters", "counters.read", ()),
    ("Parcels", "/console/shipments", "shipments.read", ("/console/shipping",)),
)
_OF_BOOKS: tuple[Section, ...] = (
    ("Points", "/console/points", "points.read", ()),
    ("Ledger", "/console/ledger", "ledger.read", ()),
)
_OF_CUSTOMERS: tuple[Section, ...] = (
    ("Customers", "/console/people", "customers.read", ()),
    ("Segments", "/console/segments", "segments.read", ()),
    ("Lists", "/console/lists", "segments.read", ()),
    ("The bank's events", "/console/intake", "intake.read", ()),
    ("Fields", "/console/fields", "fields.read", ()),
    ("Tags", "/console/tags", "tags.read", ()),
    ("Hand-over", "/console/handover", "handover.read", ()),
    ("Archive", "/console/archive", "archive.see", ()),
    ("Blocked words", "/console/intercepts", "intercepts.read", ()),
)
_OF_OPERATIONS: tuple[Section, ...] = (
    ("Alarms", "/console/alarms", "alarms.read", ()),
    ("Events", "/console/events", "events.read", ("/console/work",)),
    ("Sync", "/console/sync", "sync.read", ()),
    ("Webhooks", "/console/webhooks", "webhooks.read", ()),
    ("Platform", "/console/platform", "platform.read", ()),
    ("Audit trail", "/console/audit", "audit.read", ()),
)
GROUPS: tuple[tuple[str, tuple[Section, ...]], ...] = (
    ("Campaigns", _OF_CAMPAIGNS),
    ("Rewards", _OF_REWARDS),
    ("Points and books", _OF_BOOKS),
    ("Customers", _OF_CUSTOMERS),
    ("Operations", _OF_OPERATIONS),
)
"""The sections in the order of the navigation, in groups: name, address, the right that shows it,
and what else lies in it."""

HALF_DONE = frozenset({"sync_failed_again", "form_kept"})
"""What a page says was done, and did not help."""


class PasswordMustChange(Forbidden):
    """The clerk's password is not his own yet: it came from the bank's file or the command line."""

    def __init__(self) -> None:
        super().__init__("password_must_change", "choose a password of your own first")


_PROGRAMS = {
    "cli": "command",
    "cli (development)": "command",
    "nightly": "night",
    "wecom": "wecom",
    "WeCom": "wecom",
    "wechat": "wechat",
    "retention": "retention",
    "rewards": "rewards",
    "happened": "happened",
}
"""Who is no person, with the text that says what it is."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


class RejectForm(Form):
    reason: GivenReason


class Done(Form):
    """What was done before this page was shown."""

    done: Word = ""


class Console(Page):
    """A clerk's session, kept on the server and rotated at every sign-in; what he may do is asked anew
    at every request."""

    folder: ClassVar[str] = "console"
    actor: ClerkActor
    last_sign_in: LastSignIn | None = None
    before_change: ClassVar[bool] = False
    """Whether a clerk who must change his password may come here."""

    @override
    def home(self) -> str:
        return "/console/"

    @override
    async def authenticate(self, permission: str) -> None:
        await super().authenticate(permission)
        self.names = await names.known(self.bank)

    def called(self, name: str) -> str:
        """What a member, a clerk, a campaign, a reward or a branch is called."""
        program, _, account = name.partition(":")
        if name in _PROGRAMS or program == "wechat":
            return f"{self.explain(f'by_{_PROGRAMS[program]}')} {account}".rstrip()
        return self.names.called(name, self.lang)

    def bank_event(self, name: str) -> str:
        """What an event of the bank's own systems is called; its name, if it is declared no more."""
        declared = self.bank.events.get(name)
        return name if declared is None else str(getattr(declared.label, self.lang))

    def occasion(self, name: str) -> str:
        """What points may be earned for, as people read it."""
        if name.startswith(OF_BANK):
            return self.bank_event(name.removeprefix(OF_BANK))
        return self.explain(f"points_event_{name}")

    def label(self, name: str) -> str:
        """What a field of a row is called."""
        text = self.locale.translate(f"data:{name}")
        return name.replace("_", " ") if text.startswith("data:") else text

    def facts(self, data: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The fields of a row as labels and what they say; those that nobody reads, hashes and ids,
        apart."""
        given = [
            (name, value) for name, value in data.items() if value not in (None, "", [], {}, "…")
        ]
        codes = [(self.label(name), str(value)) for name, value in given if names.is_code(value)]
        rest = [(name, value) for name, value in given if not names.is_code(value)]
        return [(self.label(name), self._worded(name, value)) for name, value in rest], codes

    def _worded(self, name: str, value: Any) -> str:
        """What a field says, where its name tells which words are meant."""
        if name == "reason":
            return reason_text(str(value), self.explain)
        if name == "work":
            return self.explain(f"effect_{value}", self.explain(f"job_{value}", str(value)))
        if name == "what":
            return self.explain(f"message_{value}", str(value))
        if name in ("api", "effect", "greet"):
            return self.explain(f"{name}_{value}", str(value))
        if name == "effects":
            return ", ".join(self._worded("effect", each) for each in value)
        return self.reading(value)

    def reading(self, value: Any) -> str:
        """A value as a person reads it: by its name, its reason, as a time, yes or no."""
        if isinstance(value, bool):
            return self.locale.translate("yes" if value else "no")
        if isinstance(value, datetime):
            return self.format_time(value)
        if isinstance(value, list | tuple | set):
            return ", ".join(self.reading(one) for one in value)
        if isinstance(value, Mapping):
            return ", ".join(
                f"{self.label(str(name))} {self.reading(one)}" for name, one in value.items()
            )
        if not isinstance(value, str):
            return str(value)
        if _TIME.match(value):
            return self.format_time(value)
        called = self.called(value)
        return called if called != value else self.explain(value, value)[:200]

    @override
    def owner(self) -> str:
        return f"clerk|{self.actor.tenant}|{self.actor.login}"

    @override
    def answer_sign_in(self, address: str) -> bool:
        self.write(
            self.render_string(
                "console/login.html",
                **{**self.sign_in_values(self.remember_path(address)), "kept": True},
                in_other_language=f"/console/login?{urlencode({'next': address, 'lang': self.other_lang})}",
            )
        )
        return True

    def sign_in_values(self, next_path: str, bank_id: str = "", name: str = "") -> dict[str, Any]:
        """What the form for signing in shows."""
        return {"next_path": next_path, "bank_id": bank_id, "name": name, "kept": False}

    @property
    def token(self) -> str:
        return self.get_cookie(self.session_cookie("console")) or ""

    @override
    async def identify(self, permission: str) -> ClerkActor:
        actor, found = await clerk.actor_of(self.services, self.token)
        if found.must_change and not self.before_change:
            raise PasswordMustChange
        check_granted(actor, permission)
        self.last_sign_in = await clerk.last_sign_in(self.services, self.token)
        return actor

    @override
    async def _authorise(self, wanted: Op) -> None:
        try:
            await super()._authorise(wanted)
        except PasswordMustChange:
            if self.request.method != "GET":
                raise
            self.redirect_to("/console/account")

    @override
    async def redirect_to_sign_in(self) -> None:
        self.remember_next()
        self.redirect_to("/console/login")

    @override
    def get_template_namespace(self) -> dict[str, Any]:
        actor: ClerkActor | None = getattr(self, "actor", None)
        may = frozenset() if actor is None else actor.permissions
        return {
            **super().get_template_namespace(),
            "actor": actor,
            "bank": getattr(self, "bank", None),
            "may": may,
            "last_sign_in": self.last_sign_in,
            "menu": self.menu(may),
            "half_done": HALF_DONE,
            "called": self.called,
            "label": self.label,
            "bank_event": self.bank_event,
            "occasion": self.occasion,
            "is_code": names.is_code,
        }

    def menu(self, may: frozenset[str]) -> list[tuple[str, list[tuple[str, str, bool]]]]:
        """The groups of which the clerk may see something: (name, address, whether we are in it) of
        each of their sections."""
        at = self.request.path
        shown = (
            (
                title,
                [
                    (name, address, _lies_in(at, address, more))
                    for name, address, permission, more in sections
                    if permission in may
                ],
            )
            for title, sections in GROUPS
        )
        return [(title, sections) for title, sections in shown if sections]


def _lies_in(at: str, address: str, more: tuple[str, ...]) -> bool:
    own = at == address if address == "/console/" else at.startswith(address)
    return own or at.startswith(more)


class Decision(Console):
    """A POST that changes one thing: done, and its page shows it; refused, and its page says why.
    What it is about is in `path_kwargs`."""

    done: ClassVar[str] = ""

    async def decide(self) -> str | None:
        """The one use-case; the word for what was done, if it is not `done`."""
        raise NotImplementedError

    async def show(self, error: YinqiaoError | None = None) -> None:
        """The page of what it is about."""
        raise NotImplementedError

    def address(self) -> str:
        """Where that page is."""
        raise NotImplementedError

    @override
    def form_address(self) -> str:
        return self.address()

    @override
    async def post(self, **_: str) -> None:
        try:
            said = await self.decide()
        except REFUSALS as error:
            await self.show(error)
            return
        self.redirect_to(self.address(), done=said or self.done)
