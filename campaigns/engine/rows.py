"""The rows of runs: a customer's way through a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from services.clock import utc
from services.errors import Unavailable
from services.store import leases
from services.store.mongo import Doc
from services.store.rows import Rows

RUNS = Rows(
    "runs",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("status", 1), ("cid", 1)),
    ),
    shard="cid",
    sealed=("facts", "context"),
)
"""A customer's way through a campaign."""

LEASE_SECONDS = 6.0


class Run(TypedDict):
    """`facts` and `context` are sealed; `pending_steps` are those whose effects are not in the
    outbox yet. `due` is when it is looked at again; `wake` is the `due` that its wait asks for
    (seconds UTC both). `moves` counts its moves: whoever moves it names the number it had. One that
    was taken back is `void`: it did nothing, and its entry counts for nothing. One that is
    `asleep` waits for its campaign to go on."""

    _id: str
    tenant: str
    campaign: str
    version: int
    cid: str
    event: str
    event_at: datetime
    entered_at: datetime
    facts: bytes
    context: bytes
    moves: int
    status: str
    reason: str
    position: str | None
    wake: float | None
    waiting: str | None
    trail: list[list[str]]
    pending_steps: list[str]
    open: bool
    due: float
    owner: str | None
    attempts: int
    void: NotRequired[bool]
    asleep: NotRequired[bool]


STATUSES = ("active", "done", "exited", "error")
VOID = "void"
"""The status of a run that was taken back while it was active."""


class Context(TypedDict):
    """What brought the customer: the event, when it happened and was received (seconds UTC), whose
    friend he became, and the code that is good for one welcome."""

    event: str
    happened_at: float
    received_at: float
    userid: str
    welcome_code: NotRequired[str | None]


async def insert(bank: Bank, run: Run) -> bool:
    """False when the customer entered before."""
    return await bank.insert(RUNS, cast("Doc", run))


async def begun(bank: Bank, cids: Sequence[str], until: float) -> list[Run]:
    """The runs of a customer, under any of his ids, whose cause is not younger than `until` (seconds
    UTC), and that were not taken back."""
    wanted: Doc = {
        "status": {"$in": list(STATUSES)},
        "cid": {"$in": list(cids)},
        "void": {"$ne": True},
        "event_at": {"$lte": utc(until)},
    }
    found = await bank.db[RUNS].find(wanted, sort=[("event_at", -1)], limit=200)
    return cast("list[Run]", found)


async def take_back(bank: Bank, run: Run) -> bool:
    """Ends a run as if it had not begun; False when it was moved meanwhile."""
    unmoved = {"_id": run["_id"], "moves": run["moves"], "status": run["status"]}
    void: Doc = {"void": True, "moves": run["moves"] + 1}
    void |= {"open": False, "owner": None, "pending_steps": []}
    if run["status"] == "active":
        void |= {"status": VOID, "reason": "friendship_over"}
    return await bank.db[RUNS].update(unmoved, {"$set": void})


async def read(bank: Bank, wanted: Sequence[str]) -> dict[str, Run]:
    """The runs with these ids, by id."""
    found = await bank.read(RUNS, wanted) if wanted else {}
    return cast("dict[str, Run]", found)


async def active(bank: Bank, cids: Sequence[str]) -> list[Run]:
    """What runs for a customer, under any of his ids."""
    found = await bank.db[RUNS].find({"cid": {"$in": list(cids)}, "status": "active"}, limit=200)
    return cast("list[Run]", found)


async def hold(bank: Bank, run: Run, owner: str, **still: object) -> Run | None:
    """The run again, `owner`'s now, if it is active and `still` as said; None otherwise. `owner` is
    nobody else's name: the row is read by it after the write, since the embedded store reads the
    whole collection to find and change in one. Raises Unavailable when somebody else took the run
    in between: it was active, and must be told again."""
    lease = {"owner": owner, "due": bank.now() + LEASE_SECONDS, "open": True}
    mine = {"_id": run["_id"], "status": "active", **still}
    if not await bank.db[RUNS].update(mine, {"$set": lease}):
        return None
    held = await bank.db[RUNS].find_one({"_id": run["_id"], "owner": owner})
    if held is None:
        raise Unavailable("run_busy", "somebody else moved this run in this moment")
    return cast("Run", held)


async def move(bank: Bank, owner: str, run: Run, moved: Mapping[str, Any]) -> bool:
    """Writes a move, position and pending steps at once; False when somebody else moved the run."""
    unmoved = {"_id": run["_id"], "owner": owner, "moves": run["moves"]}
    return await bank.db[RUNS].update(unmoved, {"$set": dict(moved)})


async def clear(bank: Bank, run: Run) -> None:
    """The run's effects are in the outbox: it sleeps until it wakes, or is over."""
    sleeps = run["status"] == "active" and run["wake"] is not None
    due = "$wake" if sleeps else 0.0
    cleared: Doc = {"pending_steps": [], "owner": None, "open": sleeps, "due": due, "attempts": 0}
    await bank.change(RUNS, run["_id"], [{"$set": cleared}], owner=run["owner"] or "")


async def put_back(bank: Bank, owner: str, run: Run, due: float, **fields: Any) -> None:
    """Leaves a run that is still ours to be looked at again at `due` (seconds UTC)."""
    await leases.put_back(bank.db[RUNS], owner, [run["_id"]], due, **fields)


async def sleep(bank: Bank, owner: str, run: Run, due: float) -> None:
    """Leaves a run that is still ours until its campaign goes on."""
    await put_back(bank, owner, run, due, attempts=0, asleep=True)


async def wake(bank: Bank, campaign: str, limit: int) -> int:
    """Makes due at most `limit` runs that sleep until their campaign goes on, when their timers say;
    how many."""
    asleep = {"campaign": campaign, "open": True, "asleep": True}
    found = await bank.db[RUNS].find(asleep, limit=limit, fields={"_id": 1})
    names = [row["_id"] for row in found]
    if names:
        awake = [{"$set": {"asleep": False, "due": "$wake"}}]
        await bank.db[RUNS].update_many({**asleep, "_id": {"$in": names}}, awake)
    return len(names)


async def stop(bank: Bank, owner: str, run: Run, reason: str) -> None:
    """Ends a run that cannot go on, in the state `error`."""
    await leases.close(bank.db[RUNS], owner, [run["_id"]], status="error", reason=reason)


async def reopen(bank: Bank, wanted: Sequence[str]) -> int:
    """Has those of these runs go on that stopped in the state `error`; how many."""
    stopped: Doc = {"_id": {"$in": list(wanted)}, "status": "error"}
    again = {
        "status": "active",
        "reason": "",
        "open": True,
        "owner": None,
        "due": bank.now(),
        "attempts": 0,
    }
    return await bank.db[RUNS].update_many(stopped, {"$set": again})


async def under_way(bank: Bank, campaign: str, due: float | None = None) -> int:
    """How many runs of a campaign are not over; with `due` (seconds UTC), those that would go on
    then."""
    query: Doc = {"campaign": campaign, "status": "active"}
    if due is not None:
        query["wake"] = {"$lte": due}
    return await bank.db[RUNS].count(query)


async def versions_under_way(bank: Bank) -> dict[tuple[str, int], int]:
    """How many runs that are not over are in each version, by campaign and version."""
    each = {"campaign": "$campaign", "version": "$version"}
    stages: list[Doc] = [
        {"$match": {"status": "active"}},
        {"$group": {"_id": each, "n": {"$sum": 1}}},
    ]
    found = await bank.db[RUNS].aggregate(stages)
    return {(row["_id"]["campaign"], row["_id"]["version"]): row["n"] for row in found}


ENTERED = "+entered"
"""The step of who has a run."""
SKIPPED = "-"
"""Before a step whose rule was not met."""


async def customers_by_steps(
    bank: Bank, campaign: str, others: Sequence[Doc]
) -> dict[frozenset[str], int]:
    """Which steps customers came through, and how many came through just these: ENTERED, what
    their runs skipped, and what `others` (stages of a pipeline that add rows {cid, steps}) know."""
    is_skipped = {"$eq": [{"$arrayElemAt": ["$$one", 1]}, "skipped"]}
    skipped = {"$filter": {"input": "$trail", "as": "one", "cond": is_skipped}}
    name = {"$concat": [SKIPPED, {"$arrayElemAt": ["$$one", 0]}]}
    names = {"$map": {"input": skipped, "as": "one", "in": name}}
    counted = await bank.db[RUNS].aggregate(
        [
            {"$match": {"campaign": campaign, "void": {"$ne": True}}},
            {"$project": {"cid": 1, "steps": {"$concatArrays": [[ENTERED], names]}}},
            *others,
            {"$unwind": "$steps"},
            {"$group": {"_id": "$cid", "steps": {"$addToSet": "$steps"}}},
            {"$group": {"_id": "$steps", "customers": {"$sum": 1}}},
        ]
    )
    found: dict[frozenset[str], int] = {}
    for row in counted:
        steps = frozenset(row["_id"])
        found[steps] = found.get(steps, 0) + int(row["customers"])
    return found
