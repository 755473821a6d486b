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
class CounterActor:
    """A teller of `branch` or one of `merchant`'s people, at a counter; the other is empty."""

    tenant: str
    login: str
    name: str
    branch: str
    merchant: str
    per_day: int


@dataclass(frozen=True, slots=True)
class PartnerActor:
    """A program that signs what it asks, for the branches and merchants of its own."""

    tenant: str
    partner: str
    name: str
    branches: tuple[str, ...]
    merchants: tuple[str, ...]
    per_day: int


@dataclass(frozen=True, slots=True)
class SystemActor:
    """A system of the bank's own that signs what it sends; `may` be `events` and `customers`."""

    tenant: str
    system: str
    name: str
    may: frozenset[str]


@dataclass(frozen=True, slots=True)
class ClerkActor:
    """An operations clerk at the console, or the command line (login `cli`)."""

    tenant: str
    login: str
    name: str
    permissions: frozenset[str]
