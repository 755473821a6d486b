"""What nearly every test would pay for again, paid once a run: each of these has the same result every time."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import lru_cache
from typing import Any, Literal

import pytest
import yaml
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

import server
from deploy.processes import ROOT
from handlers.http import door
from handlers.http.pages import load_locale
from services.store.mongo import Store


def _hashes() -> Callable[[PasswordHasher, str], str]:
    """Hashing is made to be slow, and nearly every test applies the demo bank with its three clerks."""
    slow, known = PasswordHasher.hash, dict[str, str]()

    def hash_once(self: PasswordHasher, password: str) -> str:
        if password not in known:
            known[password] = slow(self, password)
        return known[password]

    return hash_once


CONTEXT = ssl.create_default_context
"""For a test that speaks TLS: a context of its own."""


def _verifications() -> Callable[[PasswordHasher, str, str], Literal[True]]:
    """Nearly every test of the console signs in, with the same few passwords."""
    slow, known = PasswordHasher.verify, dict[tuple[str, str], VerifyMismatchError | None]()

    def verify_once(self: PasswordHasher, hashed: str, password: str) -> Literal[True]:
        if (hashed, password) not in known:
            try:
                slow(self, hashed, password)
                known[hashed, password] = None
            except VerifyMismatchError as mismatch:
                known[hashed, password] = mismatch
        mismatch = known[hashed, password]
        if mismatch is not None:
            raise VerifyMismatchError(*mismatch.args)
        return True

    return verify_once


def _contexts() -> Callable[..., ssl.SSLContext]:
    """Every HTTP client reads the file of trusted authorities, 18 ms, and hardly a test speaks TLS."""
    slow, known = CONTEXT, dict[tuple[Any, ...], ssl.SSLContext]()

    def create_once(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, **which: Any) -> ssl.SSLContext:
        key = (purpose, *sorted(which.items()))
        if key not in known:
            known[key] = slow(purpose, **which)
        return known[key]

    return create_once


def _indexes() -> Callable[..., Any]:
    """A database that is emptied keeps its indexes."""
    slow, done = Store.ensure_indexes, set[str]()

    async def ensure_once(self: Store, *wanted: Any) -> None:
        key = f"{self._database.name} {wanted!r}"
        if key not in done:
            await slow(self, *wanted)
            done.add(key)

    return ensure_once


def _yaml(slow: Callable[..., Any], copied: Callable[[Any], Any]) -> Callable[..., Any]:
    """The demonstration's files are read again and again by every test that applies them."""

    @lru_cache(64)
    def read(text: str, loader: Any) -> Any:
        return slow(text, loader)

    def read_once(text: Any, Loader: Any = yaml.Loader) -> Any:  # noqa: N803 - yaml's own name
        return copied(read(text, Loader)) if isinstance(text, str) else slow(text, Loader)

    return read_once


def _of_routes(slow: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Every application has the same routes, whose patterns and models take 50 ms to compile and to describe."""
    known = dict[int, tuple[Any, Any]]()

    def make_once(routes: Any) -> Any:
        if id(routes) not in known:
            known[id(routes)] = (routes, slow(routes))
        return known[id(routes)][1]

    return make_once


@pytest.fixture(scope="session", autouse=True)
def catalogues() -> None:
    """Loaded before any page: Tornado keeps a language that was asked for before as one without texts, and the sandbox's
    pages, which some tests serve in this process, ask for English."""
    load_locale(ROOT / "web" / "locale")


@pytest.fixture(scope="session", autouse=True)
def paid_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PasswordHasher, "hash", _hashes())
        patch.setattr(PasswordHasher, "verify", _verifications())
        patch.setattr(ssl, "create_default_context", _contexts())
        patch.setattr(yaml, "compose", _yaml(yaml.compose, lambda nodes: nodes))
        patch.setattr(yaml, "load", _yaml(yaml.load, deepcopy))
        patch.setattr(server, "document", _of_routes(server.document))
        patch.setattr(server, "load_locale", lru_cache(server.load_locale))
        patch.setattr(door, "Table", _of_routes(door.Table))
        patch.setattr(Store, "ensure_indexes", _indexes())
        yield
