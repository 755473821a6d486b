"""A process that knows one verb more, `invite`: what a new module and its line in the registry come to.

    python -m tests.support.made_up_verb check|publish|work

`check` tells the problems of a faulty document, `publish` puts a campaign with the verb live, `work` does what waits
and tells what became of it; each answers with a line of JSON. The verb is in the registry before anything reads it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from campaigns.engine import verbs
from campaigns.engine.verbs.verb import Asked, Cause, Reference, Verb
from customers import timeline
from customers.banks.bank import Bank
from services.documents.parts import Part
from services.documents.problems import Fault, fault
from services.queue.effects import EffectKind, Outcome
from services.queue.outbox import Effect


class Invite(Part):
    """Asks the customer to a branch's evening."""

    template: str
    seats: int


def _lint(invite: Invite, _: bool) -> list[Fault]:
    said = "nobody is invited to an evening without seats"
    return [fault(("seats",), "invite_seats", msg=said)] if invite.seats < 1 else []


async def _invite(bank: Bank, effect: Effect) -> Outcome:
    await timeline.record(bank, effect.cid, "invite.asked", effect.id, text=effect.args["text"])
    return Outcome("done", "invited")


KIND: EffectKind[Bank] = EffectKind(name="invite", execute=_invite, story="invite.sent")


def _prepare(invite: Invite, cause: Cause) -> Asked:
    return Asked(KIND, {"text": cause.templates[invite.template].zh, "seats": invite.seats})


verbs.VERBS += (
    Verb(
        name="invite",
        model=Invite,
        label="stage_invite",
        references=lambda invite: (Reference("template", "templates", invite.template),),
        lint=_lint,
        prepare=_prepare,
        kinds=(KIND,),
    ),
)
verbs.BY_NAME |= {verb.name: verb for verb in verbs.VERBS}

from campaigns import stats  # noqa: E402 - only now does the registry have it
from campaigns.document.reading import DocumentError, read  # noqa: E402
from campaigns.publishing import versions  # noqa: E402
from config.settings import load  # noqa: E402
from customers.banks.bank import open_bank  # noqa: E402
from operations.events import explain  # noqa: E402
from operations.jobs import QUEUES  # noqa: E402
from operations.schema import COLLECTIONS  # noqa: E402
from services.container import open_services  # noqa: E402
from tests.support import jobs  # noqa: E402
from tests.support.documents import BRANCHES, LIN, WELCOME  # noqa: E402

STEPS = "- {id: evening, invite: {template: hi, seats: 20}}\n- {id: bye, exit: over}\n"
FAULTY = "- {id: evening, invite: {template: nope, seats: 0}}\n- {id: two, invite: {seats: many}}\n"


def check() -> list[str]:
    found: list[str] = []
    for steps in FAULTY.splitlines(keepends=True):
        try:
            read(WELCOME + steps, "f.yaml", BRANCHES)
        except DocumentError as error:
            found += [str(problem) for problem in error.problems]
    return found


async def publish(bank: Bank) -> list[str]:
    return await versions.apply(bank, WELCOME + STEPS, "f.yaml", "cli")


async def work(bank: Bank) -> dict[str, Any]:
    await jobs.handle_inbox(bank)
    await jobs.send_effects(bank)
    (event,) = await bank.db["inbox"].find({})
    (row,) = await bank.db["outbox"].find({"kind": "invite"})
    stories = await bank.db["timeline"].find({"cid": row["cid"]}, sort=[("at", 1)])
    return {
        "why": await explain.explain_event(bank, event["_id"], str),
        "stories": [story["kind"] for story in stories],
        "funnel": await stats.funnel(bank, LIN, "hello"),
    }


async def main(command: str) -> Any:
    if command == "check":
        return check()
    services = await open_services(load(), COLLECTIONS, QUEUES)
    try:
        bank = await open_bank(services, "demo")
        return await (publish(bank) if command == "publish" else work(bank))
    finally:
        await services.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1]))) + "\n")
