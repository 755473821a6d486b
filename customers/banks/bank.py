"""A bank in the hand: its rows, its clock, its keys and its clients, for one request, job or event.

`open_bank` answers what the database said CACHE_SECONDS ago at most. Whoever works for longer opens
it again for each thing he does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo
from functools import cached_property
from typing import Any, cast

from customers.banks.declarations import EventEntry, FieldEntry, RfmEntry, SystemEntry
from customers.banks.files import Archive, MiniProgram, Webhook, WeCom
from customers.banks.rows import TENANTS, TenantRow
from services.cache import cached, invalidate
from services.clock import utc
from services.container import Services
from services.errors import NotFound, YinqiaoError
from services.phones import MAINLAND
from services.security import intents
from services.security.intents import Act
from services.security.vault import TenantVault
from services.store import batching
from services.store.mongo import Doc, TenantStore
from services.wechat.core.archive import ArchiveSource
from services.wechat.core.errors import SubjectState
from services.wechat.miniprogram import MiniProgramClient
from services.wechat.wecom import WeComClient
from services.wechat.wecom.messages import off_the_rush

CACHE_SECONDS = 2.0
IDS_AT_ONCE = 50


@dataclass(frozen=True)
class Bank:
    """One bank of this installation, its secrets opened. `id` is the tenant's id; `branches` are
    names and `heads` userids by branch, `departments` branches by WeCom's department, `merchants`
    names. A phone number without a country code is one of its `region`. `fields` (by key, without
    `removed_fields`), `events` (by name), `systems` (by id) and `rfm` are what it declares."""

    services: Services = field(repr=False)
    id: str
    name: Mapping[str, str] = field(default_factory=dict)
    app: WeCom | None = field(default=None, repr=False)
    miniprograms: Mapping[str, MiniProgram] = field(default_factory=dict, repr=False)
    branches: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)
    departments: Mapping[int, str] = field(default_factory=dict)
    merchants: Mapping[str, str] = field(default_factory=dict)
    archive: Archive | None = field(default=None, repr=False)
    region: str = MAINLAND
    webhooks: tuple[Webhook, ...] = field(default=(), repr=False)
    fields: Mapping[str, FieldEntry] = field(default_factory=dict)
    removed_fields: frozenset[str] = frozenset()
    events: Mapping[str, EventEntry] = field(default_factory=dict)
    systems: Mapping[str, SystemEntry] = field(default_factory=dict)
    rfm: RfmEntry | None = None

    @cached_property
    def db(self) -> TenantStore:
        """The bank's collections."""
        return self.services.store.tenant(self.id)

    @cached_property
    def vault(self) -> TenantVault:
        """Seals and opens under the bank's keys."""
        return TenantVault(self.services.vault, self.id)

    def now(self) -> float:
        """Seconds UTC."""
        return self.services.clock()

    def utc(self) -> datetime:
        """The time as rows keep it: to the millisecond, UTC."""
        return utc(self.now())

    @property
    def tz(self) -> tzinfo:
        """The bank's time."""
        return self.services.settings.tz

    def today(self) -> date:
        """The day in the bank's time."""
        return datetime.fromtimestamp(self.now(), self.tz).date()

    @property
    def wecom_app(self) -> WeCom:
        """The bank's own app at WeCom; raises NotFound `tenant_unknown` for a bank not applied."""
        if self.app is None:
            raise NotFound("tenant_unknown", "no such bank")
        return self.app

    @property
    def wecom(self) -> WeComClient:
        """The client of the bank's own app at WeCom."""
        app = self.wecom_app
        return self.services.platform.wecom(self.id, app.corp_id, app.agent_id, app.secret)

    def miniprogram(self, appid: str) -> MiniProgramClient:
        """The client of one of the bank's mini-programs; raises NotFound `miniprogram_unknown`."""
        if appid not in self.miniprograms:
            raise NotFound("miniprogram_unknown", "no such mini-program")
        secret = self.miniprograms[appid].secret
        return self.services.platform.miniprogram(self.id, appid, secret)

    @property
    def secrets(self) -> dict[str, str]:
        """The apps whose secrets the bank has given us, by the id of their tokens
        (services/wechat/core/tokens.py); each with whose it is: the corp's id, or the appid."""
        found = {f"wechat:{appid}": appid for appid in self.miniprograms}
        if self.app is not None:
            agents = [self.app.agent_id, *([self.archive.agent_id] if self.archive else [])]
            found |= {f"wecom:{self.app.corp_id}:{agent}": self.app.corp_id for agent in agents}
        return found

    def archive_source(self, archive: Archive) -> ArchiveSource:
        """Where the bank's archived messages come from."""
        corp_id = self.wecom_app.corp_id
        return self.services.platform.archive(self.id, archive.url, corp_id, archive.secret)

    def archive_client(self, archive: Archive) -> WeComClient:
        """WeCom's client of the archive's own app, for msgaudit/*."""
        corp_id = self.wecom_app.corp_id
        return self.services.platform.wecom(self.id, corp_id, archive.agent_id, archive.secret)

    async def current(self) -> Bank:
        """This bank as it is configured now; itself when no such bank is applied."""
        return next((b for b in await list_banks(self.services) if b.id == self.id), self)

    async def audit(self, actor: str, action: str, object_: str, **data: Any) -> int:
        """Appends a row to the bank's audit chain; its number."""
        return await self.services.audit.record(self.db, actor, action, object_, **data)

    @asynccontextmanager
    async def audited(
        self, actor: str, action: str, object_: str, **data: Any
    ) -> AsyncIterator[Act]:
        """Around an act of a person's: the trail has its row when the block ends, and also when its
        process dies anywhere in it, then with `unfinished`. What is refused has no row, and neither
        has an act that says that nothing was `done`."""
        act = Act(dict(data))
        said = dict(data)
        intent = await intents.begin(self.services, self.id, actor, action, object_, said)
        try:
            yield act
        except YinqiaoError as error:
            if error.status < 500 or isinstance(error, SubjectState):
                await intents.end(self.services, self.id, intent)
            raise
        if act.done:
            await self.audit(actor, action, object_, **act.data)
        await intents.end(self.services, self.id, intent)

    def off_the_rush(self, due: float, key: str) -> float:
        """When an app message that can wait goes out (services/wechat/wecom/messages.py); at `due`
        where the installation does not spread them."""
        return off_the_rush(due, key) if self.services.settings.spreads_messages else due

    def signal(self, task: str) -> None:
        """Wakes a worker for `task` at this bank, soon; a lost wake-up is made up by the tick."""
        self.services.wakeups.signal(task, self.id)

    async def insert(self, collection: str, doc: Doc) -> bool:
        """True when `doc` is new; False when its `_id` was there. Durable either way."""
        return await batching.insert(self.services, self.id, collection, doc)

    async def read(self, collection: str, wanted: Sequence[str]) -> dict[str, Doc]:
        """The documents with these ids, by id, read together with what others ask for now."""
        return await batching.read(self.services, self.id, collection, wanted)

    async def by_id(
        self, collection: str, wanted: Sequence[str], fields: Doc | None = None
    ) -> dict[str, Doc]:
        """The documents with these ids of the bank's, by id; any number of them. They are asked for
        in groups, since the embedded store takes time with the square of a group's size."""
        found: dict[str, Doc] = {}
        for start in range(0, len(wanted), IDS_AT_ONCE):
            some = wanted[start : start + IDS_AT_ONCE]
            rows = await self.services.store.find_across(collection, some, fields)
            found |= {row["_id"]: row for row in rows}
        return found

    async def change(
        self, collection: str, row_id: str, update: Doc | list[Doc], *, owner: str = ""
    ) -> None:
        """Changes one row, together with others that change alike; with `owner`, only while it is
        his."""
        await batching.change(self.services, self.id, collection, row_id, update, owner=owner)

    async def close_each(
        self, collection: str, owner: str, row_id: str, own: Doc, **fields: Any
    ) -> None:
        """Ends a leased row that is still `owner`'s, together with others that end alike."""
        await batching.close_each(self.services, self.id, collection, owner, row_id, own, **fields)


async def list_banks(services: Services) -> list[Bank]:
    """Every bank, by id."""

    async def load() -> list[Bank]:
        rows = await services.store.system(TENANTS).find({}, sort=[("_id", 1)], limit=None)
        return [_opened(services, cast("TenantRow", row)) for row in rows]

    banks = await cached(services, "tenants", CACHE_SECONDS, load)
    if not banks:  # the first one is about to come, and nobody may be told then that there is none
        invalidate(services, "tenants")
    return [
        bank if bank.services is services else replace(bank, services=services) for bank in banks
    ]


def _opened(services: Services, row: TenantRow) -> Bank:
    sealed = services.vault.open_json(row["_id"], TENANTS, "secrets", row["_id"], row["secrets"])
    secrets = cast("dict[str, Any]", sealed)
    programs = [MiniProgram(**program) for program in secrets["miniprograms"]]
    archive = secrets.get("archive")
    fields = [FieldEntry.model_validate(one) for one in row.get("fields", [])]
    events = [EventEntry.model_validate(one) for one in row.get("events", [])]
    systems = [SystemEntry.model_validate(one) for one in row.get("systems", [])]
    return Bank(
        services,
        row["_id"],
        name=row["name"],
        app=WeCom(**secrets["wecom"]),
        miniprograms={program.appid: program for program in programs},
        branches=row["branches"],
        heads=row["heads"],
        departments={int(one): branch for one, branch in row["departments"].items()},
        merchants=row.get("merchants", {}),
        archive=Archive.model_validate(archive, strict=False) if archive else None,
        region=row.get("region", MAINLAND),
        webhooks=tuple(Webhook(**hook) for hook in secrets.get("webhooks", ())),
        fields={one.key: one for one in fields if not one.removed},
        removed_fields=frozenset(one.key for one in fields if one.removed),
        events={one.name: one for one in events},
        systems={one.id: one for one in systems},
        rfm=RfmEntry.model_validate(rfm) if (rfm := row.get("rfm")) else None,
    )


async def open_bank(services: Services, tenant: str) -> Bank:
    """The bank with that id; raises NotFound `tenant_unknown`."""
    for bank in await list_banks(services):
        if bank.id == tenant:
            return bank
    raise NotFound("tenant_unknown", "no such bank")


async def bank_of_appid(services: Services, appid: str) -> Bank:
    """The bank whose mini-program this is; raises NotFound `miniprogram_unknown`."""
    for bank in await list_banks(services):
        if appid in bank.miniprograms:
            return bank
    raise NotFound("miniprogram_unknown", "no such mini-program")
