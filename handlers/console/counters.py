"""The console's page of counters: who may write vouchers off, with what was done today and with rights
that wait for a clerk's word."""

from __future__ import annotations

from typing import ClassVar, cast

from typing_extensions import override

from customers.access import counter_rights
from customers.banks.counters import Which
from customers.banks.rows import Rights
from handlers.console.base import Decision, RejectForm
from rewards import desk
from services.errors import NotFound, YinqiaoError


class Counters(Decision):
    """Counters and partners; those for whom something waits first."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        rows = await counter_rights.list_counters(self.bank, self.actor)
        listed = [f"{counter_rights.kind_of(row)}:{row.login}" for row in rows]
        used = await desk.used_today(self.bank, listed)
        self.render_page(
            "counters",
            error,
            rows=rows,
            used=used,
            kind_of=counter_rights.kind_of,
            places=self.places,
        )

    def places(self, rights: Rights) -> str:
        """What the places of these rights are called."""
        branches = [self.bank.branches.get(one, one) for one in rights["branches"]]
        merchants = [self.bank.merchants.get(one, one) for one in rights["merchants"]]
        return ("、" if self.lang == "zh" else ", ").join([*branches, *merchants])

    @override
    def address(self) -> str:
        return "/console/counters"

    def which(self) -> Which:
        """Raises NotFound for what is neither."""
        which = self.path_kwargs["which"]
        if which not in ("counter", "partner"):
            raise NotFound("counter_unknown", "no such counter")
        return cast("Which", which)


class ApproveRights(Counters):
    done: ClassVar[str] = "rights_granted"

    @override
    async def decide(self) -> None:
        login = self.path_kwargs["login"]
        await counter_rights.approve(self.bank, self.actor, self.which(), login)


class RejectRights(Counters):
    done: ClassVar[str] = "rights_refused"

    @override
    async def decide(self) -> None:
        reason = self.form(RejectForm).reason
        login = self.path_kwargs["login"]
        await counter_rights.reject(self.bank, self.actor, self.which(), login, reason)
