"""The rows of what the bank's systems send: requests as they came, their events, what waits for a
customer who is not known yet, counts by day, and the files that were read."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NotRequired, TypedDict, cast

from services.store.mongo import Doc
from services.store.rows import Rows

Kind = Literal["events", "customers"]
EVENTS: Kind = "events"
CUSTOMERS: Kind = "customers"


class IntakeRow(TypedDict):
    """A request, or a piece of a file, as it came: `body` has the items that were accepted, sealed,
    until they are split. `refused` counts the others by code; `at` is when it came, and `due` seconds
    UTC."""

    _id: str
    tenant: str
    system: str
    kind: Kind
    accepted: int
    refused: dict[str, int]
    at: datetime
    open: bool
    due: float
    owner: str | None
    attempts: int
    state: str
    body: NotRequired[bytes]
    reason: NotRequired[str]


class EventRow(TypedDict):
    """An event. The `_id` is made of its system and its own id. `at` is when it happened and
    `received` when it came, in seconds UTC; `day` is the bank's day on which it happened, counted
    from 1970; `data` are who and what it told, sealed. `by` is the kind of id by which it names its
    customer: `cid` once he is known, and until then `wait`, the row that waits for him. `bucket` is
    what is counted together: a customer's events of one name and day. `amounts` are its data that are
    money, in fen, to be summed beside the count."""

    _id: str
    system: str
    name: str
    at: float
    day: int
    received: float
    by: str
    data: bytes
    intake: str
    cid: NotRequired[str]
    bucket: NotRequired[str]
    wait: NotRequired[str]
    amounts: NotRequired[dict[str, int]]


class ToldRow(TypedDict):
    """What a system told of a customer who is not known yet, sealed in `data`, until `wait`'s row
    finds him; or with a `reason`, what could not be written to `cid`. `at` is when it was true, in
    seconds UTC."""

    _id: str
    system: str
    at: float
    received: float
    by: str
    wait: str
    data: bytes
    cid: NotRequired[str]
    reason: NotRequired[str]


class TallyRow(TypedDict):
    """How often something happened to a customer: `days` by the bank's day counted from 1970,
    `first` and `last` in seconds UTC. Counts of one day are in the order of their `at`. `sums` is what
    a datum that is money came to on each day, in fen, by its key; what the day's count counts is what
    its sums sum. `rev` is how often the row was written."""

    _id: str
    cid: str
    name: str
    days: dict[str, int]
    first: float
    last: float
    sums: dict[str, dict[str, int]]
    rev: int


def tally_of(row: Doc) -> TallyRow:
    """The row as it is read; one that was written before there were sums has none, and no `rev`."""
    return cast("TallyRow", {"sums": {}, "rev": 0, **row})


class FileRow(TypedDict):
    """A file on its way in: how many bytes and lines of it are done, and what became of them;
    `errors` is how long the file of refused lines is."""

    _id: str
    system: str
    kind: Kind
    position: int
    line: int
    accepted: int
    refused: int
    errors: int
    at: datetime
    done: bool


INTAKE = Rows(
    "intake",
    indexes=((("tenant", 1), ("open", 1), ("due", 1)),),
    sealed=("body",),
)
"""What the bank's systems sent, request by request."""
BANK_EVENTS = Rows(
    "bank_events",
    indexes=(
        (("tenant", 1), ("bucket", 1)),
        (("tenant", 1), ("wait", 1)),
        (("tenant", 1), ("received", 1)),
    ),
    sealed=("data",),
)
"""The events of the bank's systems."""
BANK_TOLD = Rows("bank_told", indexes=((("tenant", 1), ("wait", 1)),), sealed=("data",))
"""What the bank's systems told of customers who are not known yet."""
EVENT_TALLIES = Rows("event_tallies", indexes=((("tenant", 1), ("cid", 1)),))
"""How often what happened to whom, and what it came to, by the day."""
INTAKE_FILES = Rows("intake_files")
"""Files of events or of customers, and how far each is read."""
