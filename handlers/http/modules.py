"""The modules that pages are built of: what went wrong or was done, an empty table, a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tornado.web import UIModule
from typing_extensions import override

from campaigns.uses import Use
from customers.access.sign_in import LastSignIn as LastSignInView


class Notice(UIModule):
    """What went wrong, else what was done, at the top of a page; nothing when both are empty.
    `warning`: it was done and did not help."""

    @override
    def render(self, error: str | None, done: str, *, warning: bool = False) -> str:
        values = {"error": error, "done": done, "warning": warning}
        return self.render_string("modules/notice.html", **values).decode()


class Nothing(UIModule):
    """The one row of a table that has none."""

    @override
    def render(self, columns: int, text: str) -> str:
        return self.render_string("modules/nothing.html", columns=columns, text=text).decode()


class LeftOut(UIModule):
    """Those whom WeCom does not take into a channel, each with the reason; `names` by userid."""

    @override
    def render(self, left_out: Sequence[tuple[str, str]], names: Mapping[str, str]) -> str:
        values = {"left_out": left_out, "names": names}
        return self.render_string("modules/left_out.html", **values).decode()


class Decision(UIModule):
    """Approve, or reject with a reason: posts to `address`/approve and `address`/reject. `reason`:
    approving wants one too. Whoever is its `author` is told instead that a colleague decides."""

    @override
    def render(
        self, address: str, *, small: bool = False, reason: bool = False, author: str = ""
    ) -> str:
        mine = bool(author) and author == self.handler.actor.login  # type: ignore[attr-defined]
        size = "btn-sm" if small else ""
        values = {"address": address, "size": size, "reason": reason, "mine": mine}
        return self.render_string("modules/decision.html", **values).decode()


class LastSignIn(UIModule):
    """When and where from the clerk signed in the time before, and who failed since."""

    @override
    def render(self, last: LastSignInView) -> str:
        return self.render_string("modules/last_sign_in.html", last=last).decode()


class Named(UIModule):
    """What somebody or something is called, with the id behind it."""

    @override
    def render(self, name: str) -> str:
        called = self.handler.called(name)  # type: ignore[attr-defined]
        return self.render_string("modules/named.html", called=called, name=name).decode()


class People(UIModule):
    """The same for several, in their order; a dash for nobody."""

    @override
    def render(self, names: Iterable[str]) -> str:
        shown = [Named(self.handler).render(name) for name in names]
        return ("、" if self.handler.lang == "zh" else ", ").join(shown) or "–"  # type: ignore[attr-defined]


class Uses(UIModule):
    """Which segments and campaigns use something, each with its page where one may see it; a dash for
    none."""

    @override
    def render(self, uses: Sequence[Use]) -> str:
        may = self.handler.actor.permissions  # type: ignore[attr-defined]
        called = self.handler.called  # type: ignore[attr-defined]
        shown = []
        for use in uses:
            name = called(f"segment:{use.by}" if use.where == "segment" else use.by)
            name = name.removeprefix("segment:")  # one that is newer than the names
            address = f"/console/{use.where}s/{use.by}" if f"{use.where}s.read" in may else ""
            shown.append((name, address))
        return self.render_string("modules/uses.html", uses=shown).decode()


class Facts(UIModule):
    """What a row says besides: labels with values, and hashes and ids behind a small word."""

    @override
    def render(self, data: Mapping[str, Any]) -> str:
        facts, codes = self.handler.facts(data)  # type: ignore[attr-defined]
        return self.render_string("modules/facts.html", facts=facts, codes=codes).decode()


class QrPicture(UIModule):
    """A QR code as an SVG element, as the server drew it from a text of its own."""

    @override
    def render(self, svg: str) -> str:
        return svg


MODULES = {
    "QrPicture": QrPicture,
    "Named": Named,
    "People": People,
    "Uses": Uses,
    "Facts": Facts,
    "LastSignIn": LastSignIn,
    "Notice": Notice,
    "Nothing": Nothing,
    "LeftOut": LeftOut,
    "Decision": Decision,
}
