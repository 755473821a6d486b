"""The platforms' limits as the bank meets them: which APIs are closed to it and what waits behind
them, an alarm while one is closed, and whatever waited made due as soon as it is open (promise P10).

What is closed is kept by the limiter in Redis (services/limiter) for all processes; the scheduler
compares it with the bank's open alarms each second, so a process that dies in between loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from customers.actors import ClerkActor
from customers.alerts import alarms, troubles
from customers.alerts.rows import Alarm
from customers.banks.bank import Bank, list_banks
from customers.banks.tasks import GREET, HANDLE_STAFF
from operations.jobs import JOBS, Job
from services.container import Services
from services.errors import InvalidInput, NotFound, Unavailable
from services.limiter import view
from services.limiter.gate import Keys
from services.limiter.view import ApiState, Blocked
from services.store import leases
from services.wechat.core import unknown_codes
from services.wechat.core.tokens import RefusedSecret

CLOSED = "platform.closed"
"""The alarm that an API is closed to us."""
LONGEST_REASON = 500
FORGOTTEN = timedelta(seconds=60)
"""A probe that is refused after the wait makes it longer: so long after its end nobody has called."""
_OURS = "yinqiao"


@dataclass(frozen=True, slots=True)
class ApiView:
    """An API as a page shows it: `app` is whose it is (the corp's or a mini-program's name), and
    `waiting` what waits behind it, by the job for which it waits. A token call whose secret the
    platform `refused` is closed too."""

    state: ApiState
    app: str
    waiting: Mapping[str, int]
    refused: RefusedSecret | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing goes through but a probe."""
        return self.state.block is not None or self.refused is not None

    @property
    def answer(self) -> str:
        """What the platform said when it closed it, without what may name somebody."""
        block = self.state.block
        said = block.errmsg if block else self.refused.errmsg if self.refused else ""
        return unknown_codes.without_ids(said)

    @property
    def id(self) -> str:
        """How a person names it (services/limiter/gate.py: Keys.id)."""
        return Keys(self.state.family, self.state.scope, self.state.name).id


def apps(bank: Bank) -> dict[view.Scope, str]:
    """Whose calls are counted together, with its name: the bank's corp, and each mini-program."""
    named = {("wecom", bank.wecom_app.corp_id): "WeCom"} if bank.app else {}
    return named | {("wechat", appid): one.name for appid, one in bank.miniprograms.items()}


async def overview(bank: Bank) -> list[ApiView]:
    """Every API that was called for the bank lately: what is closed first, then by how much of an
    allowance is used. Raises Unavailable without Redis."""
    limiter = bank.services.platform.limiter
    shown = []
    waiting, refused = await _waiting(bank), await _refused(bank)
    for (family, scope), app in apps(bank).items():
        states = await view.states(limiter, family, scope)
        missing = {path for at, path in refused if at == scope} - {state.name for state in states}
        states += [ApiState(family, scope, path, (), 0, None) for path in sorted(missing)]
        for state in states:
            _, why = refused.get((scope, state.name), ("", None))
            api = ApiView(state, app, {}, why)
            shown.append(replace(api, waiting=waiting.get(api.id, Counter[str]())))
    return sorted(shown, key=_urgency)


async def _refused(bank: Bank) -> dict[tuple[str, str], tuple[str, RefusedSecret]]:
    """The secrets that the platform refused, each with its app, by whose it is and the token call."""
    tokens = bank.services.platform.tokens
    found = {}
    for app, scope in bank.secrets.items():
        refusal = await tokens.refused_secret(bank.id, app)
        if refusal is not None:
            found[scope, refusal.path] = app, refusal
    return found


def share(state: ApiState) -> float:
    """The largest part of an allowance that is used."""
    return max((used.used / used.most for used in state.windows), default=0.0)


def _urgency(api: ApiView) -> tuple[bool, int, float, str]:
    return not api.is_closed, -sum(api.waiting.values()), -share(api.state), api.id


async def _waiting(bank: Bank) -> dict[str, Counter[str]]:
    """What waits behind each API, by its id: welcomes, other effects, and the jobs."""
    counts: dict[str, Counter[str]] = {}
    for job in _waiting_jobs():
        query = [
            {"$match": {"open": True, "behind": {"$exists": True}, **job.query}},
            {"$group": {"_id": "$behind", "rows": {"$sum": 1}}},
        ]
        for row in await bank.db[job.rows].aggregate(query):
            counts.setdefault(str(row["_id"]), Counter())[job.name] += int(row["rows"])
    return counts


def _waiting_jobs() -> Iterable[Job]:
    """Whose rows are counted: those of the inbox once, whatever their lane."""
    lanes = (GREET, HANDLE_STAFF)
    return (job for job in JOBS if isinstance(job, Job) and job.name not in lanes)


async def lift(bank: Bank, by: str, api: str, reason: str) -> None:
    """Opens an API again for every process, as if a call had passed; what waited behind it is due
    at once. Raises NotFound `api_unknown` when it is not closed, InvalidInput `reason_missing`, and
    Unavailable without Redis."""
    reason = reason.strip()[:LONGEST_REASON]
    if not reason:
        raise InvalidInput("reason_missing", "say why the API is to be opened")
    limiter, tokens = bank.services.platform.limiter, bank.services.platform.tokens
    closed = await view.blocked(limiter, apps(bank))
    found = [keys for keys in closed if api in (keys.id, keys.name)]
    refused = [
        app
        for (scope, path), (app, _) in (await _refused(bank)).items()
        if api in (Keys(app.partition(":")[0], scope, path).id, path)
    ]
    if not found and not refused:
        raise NotFound("api_unknown", "this API is not closed")
    await bank.audit(by, "platform.lifted", api, reason=reason)
    for keys in found:
        await view.lift(limiter, keys.family, keys.scope, keys.name)
    for app in refused:
        await tokens.retry_secret(bank.id, app)
    await watch(bank)
    await _wake(bank, {keys.id for keys in found})


async def lift_by_clerk(bank: Bank, actor: ClerkActor, api: str, reason: str) -> None:
    """The same by a clerk."""
    await lift(bank, actor.login, api, reason)


async def watch(bank: Bank) -> None:
    """Raises an alarm for what is closed, ends that of what is open again and makes due what waited
    behind it, and writes the end into the alarms of what fails no more. Called each second by the
    scheduler, at any number of them."""
    await troubles.settle(bank)
    try:
        closed = await view.blocked(bank.services.platform.limiter, apps(bank))
    except Unavailable:
        return  # without Redis nobody knows; it is looked at again
    closed = await _without_forgotten(bank, closed)
    for keys, block in closed.items():
        await _raise(bank, keys, block)
    still = {_key(keys, block) for keys, block in closed.items()}
    ended = [row for row in await alarms.open_of(bank, CLOSED) if row["key"] not in still]
    if ended:
        await _open(bank, ended)


async def _without_forgotten(bank: Bank, closed: dict[Keys, Blocked]) -> dict[Keys, Blocked]:
    """What is still closed. What nobody has called since its longest wait was over is none: the next
    call finds out, and until then there is nothing to tell."""
    since = bank.utc() - FORGOTTEN
    for keys in [keys for keys, block in closed.items() if block.until < since]:
        await view.lift(bank.services.platform.limiter, keys.family, keys.scope, keys.name)
        del closed[keys]
    return closed


def _key(keys: Keys, block: Blocked) -> str:
    return f"{keys.id}:{block.since.isoformat()}"


async def _raise(bank: Bank, keys: Keys, block: Blocked) -> None:
    await alarms.raise_alarm(
        bank,
        CLOSED,
        _key(keys, block),
        at=block.since.timestamp(),
        gathers=keys.id,
        api=keys.name,
        platform=apps(bank)[keys.family, keys.scope],
        errcode=block.errcode,
        answer=unknown_codes.without_ids(block.errmsg),
    )


async def _open(bank: Bank, ended: list[Alarm]) -> None:
    """What waited is due before the alarms end: cut short, it is done by the next look."""
    await _wake(bank, {row.get("gathers", "") for row in ended})
    ids = [row["_id"] for row in ended]
    await alarms.handle(bank, ids, _OURS, "over", f"{bank.id}:platform")


async def _wake(bank: Bank, apis: set[str]) -> None:
    """Makes due what waits behind these APIs; the tick that is about to look wakes the workers."""
    for rows in dict.fromkeys(job.rows for job in _waiting_jobs()):
        await leases.wake(bank.db[rows], apis, bank.now())


async def measure(services: Services) -> None:
    """Brings the metric of what is closed up to the present."""
    gauge = services.metrics.platform_closed
    gauge.clear()
    for bank in await list_banks(services):
        for keys in await view.blocked(services.platform.limiter, apps(bank)):
            gauge.labels(bank.id, keys.name).set(1)
