"""The console's page of what was done at the bank, and by whom."""

from __future__ import annotations

from typing_extensions import override

from customers.access import history
from handlers.console.base import Console


class Audit(Console):
    @override
    async def get(self) -> None:
        self.render_page("audit", rows=await history.audit_rows(self.bank, self.actor))
