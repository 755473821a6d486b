"""The console's page of work that failed for good: why, and to have it tried again."""

from __future__ import annotations

from typing_extensions import override

from handlers.console.base import Decision
from operations import failed
from operations.events.explain import reason_text
from operations.jobs import FAILURES
from services.errors import YinqiaoError


class Work(Decision):
    """What is not tried any more; POST has it tried again, as much as PAGE_MOST."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        found = await failed.newest(self.bank, FAILURES)
        rows = [
            {
                **row,
                "reason_text": reason_text(row["reason"], self.explain),
                "name": self.named(row["what"], row["job"]),
            }
            for row in found
        ]
        total = await failed.count(self.bank, FAILURES)
        self.render_page("work", error, rows=rows, total=total)

    def named(self, what: str, job: str) -> str:
        """What the work is: the effect's name, else the job's."""
        code = f"effect_{what}"
        name = self.explain(code) if what else code
        return name if name != code else self.explain(f"job_{job}", job)

    @override
    async def decide(self) -> str:
        await failed.retry_some(self.bank, self.actor.login, FAILURES, failed.PAGE_MOST)
        left = await failed.count(self.bank, FAILURES)
        return "work_retried_some" if left else "work_retried"

    @override
    def address(self) -> str:
        return "/console/work"


class RetryWork(Work):
    done = "work_retried"

    @override
    async def decide(self) -> str:
        work = self.path_kwargs["work"]
        await failed.retry(self.bank, self.actor.login, FAILURES, f"{self.bank.id}:{work}")
        return self.done
