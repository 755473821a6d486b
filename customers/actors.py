"""Who is asking. An actor is made from a session, never from a request's body (promise P4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CustomerActor:
    """A customer in a mini-program."""

    tenant: str
    cid: str
    appid: str


@dataclass(frozen=True, slots=True)
class StaffActor:
    """A relationship manager in WeCom."""

    tenant: str
    userid: str


@dataclass(frozen=True, slots=True)
class ClerkActor:
    """An operations clerk at the console, or the command line (login `cli`)."""

    tenant: str
    login: str
    name: str
    permissions: frozenset[str]
