"""The outbox: what must happen outside, as rows with unique ids (contract/trust 1.3).

An effect's id comes from what caused it (run and step), so the same cause never makes a second row.
Rows are leased like all waiting rows; `lane` keeps what has a deadline apart from what has time.
Arguments are sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from services.clock import utc
from services.container import Services
from services.observe import trace
from services.store import batching
from services.store.mongo import Doc
from services.store.rows import Rows

OUTBOX = Rows(
    "outbox",
    indexes=((("tenant", 1), ("open", 1), ("lane", 1), ("due", 1)),),
)
"""Effects that wait for a worker."""

WELCOME, EFFECTS = "welcome", "effects"


@dataclass(frozen=True)
class Effect:
    """`kind` names the executor; `deadline` (seconds UTC) is after which it must not be tried."""

    id: str
    tenant: str
    kind: str
    cid: str
    args: Mapping[str, Any]
    lane: str = EFFECTS
    campaign: str = ""
    version: int = 0
    run: str = ""
    step: str = ""
    deadline: float | None = None


def row_of(services: Services, effect: Effect, *, due: float, owner: str | None) -> Doc:
    """The effect's document, leased to `owner` until `due`, or due then when nobody owns it."""
    trace.note("effect.asked", effect=effect.id, effect_kind=effect.kind)
    return {
        "_id": effect.id,
        "tenant": effect.tenant,
        "kind": effect.kind,
        "lane": effect.lane,
        "cid": effect.cid,
        "campaign": effect.campaign,
        "version": effect.version,
        "run": effect.run,
        "step": effect.step,
        "args": services.vault.seal_json(
            effect.tenant, OUTBOX, "args", effect.id, dict(effect.args)
        ),
        "deadline": effect.deadline,
        "at": utc(services.clock()),
        "open": True,
        "due": due,
        "owner": owner,
        "attempts": 1 if owner else 0,
        "state": "ready",
        "reason": "",
    }


def effect_of(services: Services, row: Mapping[str, Any]) -> Effect:
    """The effect of a document, arguments opened."""
    args = services.vault.open_json(row["tenant"], OUTBOX, "args", row["_id"], row["args"])
    names = ("tenant", "kind", "cid", "lane", "campaign", "version", "run", "step", "deadline")
    return Effect(
        id=row["_id"], args=cast("dict[str, Any]", args), **{name: row[name] for name in names}
    )


async def ask(services: Services, effect: Effect, *, due: float) -> bool:
    """Puts an effect for a worker to find from `due` (seconds UTC) on; False when it was there."""
    row = row_of(services, effect, due=due, owner=None)
    return await batching.insert(services, effect.tenant, OUTBOX, row)
