"""MongoDB, asked for one tenant at a time. The only file that imports motor (docs/decisions/0002).

`Store.tenant(id)` gives collections that put the tenant into every filter and every document; there
is no other way to a tenant's collection. `Store.system(name)` reaches the few collections that
belong to no bank. Writes are `w: majority, j: true` (contract/trust 1.1 b). A write whose answer
was lost raises UnknownOutcome, never "failed".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import bson
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import IndexModel, InsertOne, ReturnDocument, UpdateMany, UpdateOne, WriteConcern
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern

from services.errors import Unavailable, UnknownOutcome, YinqiaoError
from services.store.rows import Rows

Doc = dict[str, Any]
DUPLICATE = 11000
SCAN_ROWS = 4_000
"""So many documents are read at a time where all are read: each time the embedded store copies the
list of what is left."""
INSERT_ROWS = 500
"""So many documents are inserted in one statement: of thousands a busy embedded store would take longer
than an answer is waited for."""
EACH_ROWS = 20
"""So many documents are replaced in one statement: the embedded store makes each statement durable by
itself, and compares every document with each `_id` of a statement."""
PATIENT = {
    "socketTimeoutMS": 600_000,
    "connectTimeoutMS": 600_000,
    "serverMonitoringMode": "poll",
    "heartbeatFrequencyMS": 600_000,
}
"""How a scan waits: the embedded store reads all that a query fits before its first answer, and says
nothing meanwhile."""

SYSTEM_COLLECTIONS = frozenset({"audience", "installation", "stream_marks", "tenants", "ticks"})
STREAM_MARKS = Rows("stream_marks", of_bank=False)
"""One row, changed by whoever listens to changes."""
MARK_SECONDS = 2.0
"""So often each of them changes it."""
WAIT_MS = 200
"""So long does a stream of changes wait for one before it says that there is none."""
READ_SECONDS = 0.02
"""So long changes are read that go on coming while they are read."""
_LOST = {
    9: "stream_token_invalid",
    260: "stream_token_invalid",
    280: "stream_history_lost",
    286: "stream_history_lost",
    40576: "stream_history_lost",
    40585: "stream_token_invalid",
}
"""Answers after which a stream goes on from nowhere: what we named is no place of it, or a place that
is over."""


class Duplicate(YinqiaoError):
    """A unique index said no: the document is there already."""

    status = 409


class MissingTenant(Exception):
    """A programming error: somebody asked the store without a tenant."""


class StreamLost(YinqiaoError):
    """There is no going on from a token: `stream_token_invalid`, or `stream_history_lost` when the
    database does not have the changes after it any more."""


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout) as error:
        raise Unavailable("store_unavailable", "the database does not answer") from error


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except DuplicateKeyError as error:
        raise Duplicate(
            "duplicate", str(error.details.get("keyValue") if error.details else "")
        ) from error
    except (ConnectionFailure, ExecutionTimeout, WriteConcernError) as error:
        raise UnknownOutcome("store_unavailable", "the database did not answer a write") from error


class Collection:
    """One tenant's part of one collection."""

    def __init__(self, raw: Any, tenant: str | None, patient: Any = None) -> None:
        self._raw = raw
        self._patient = raw if patient is None else patient
        self._scope: Doc = {} if tenant is None else {"tenant": tenant}

    def _scoped(self, query: Mapping[str, Any] | None) -> Doc:
        return {**(query or {}), **self._scope}

    async def find_one(
        self, query: Mapping[str, Any], fields: Mapping[str, Any] | None = None
    ) -> Doc | None:
        with _reading():
            return cast("Doc | None", await self._raw.find_one(self._scoped(query), fields))

    async def find(
        self,
        query: Mapping[str, Any] | None = None,
        *,
        fields: Mapping[str, Any] | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int | None = 1000,
    ) -> list[Doc]:
        """At most `limit` documents; None: all of them, for what a bank has few of."""
        with _reading():
            cursor = self._raw.find(self._scoped(query), fields)
            if sort:
                cursor = cursor.sort(list(sort))
            return cast(
                "list[Doc]", await (cursor.limit(limit) if limit else cursor).to_list(limit)
            )

    async def find_raw(self, query: Mapping[str, Any]) -> list[bytes]:
        """All documents as the database sends them, some in each, for `decode`: whoever reads very
        many takes them apart where it holds up nobody."""
        with _reading():
            cursor = self._patient.find_raw_batches(self._scoped(query), batch_size=SCAN_ROWS)
            return cast("list[bytes]", await cursor.to_list(None))

    async def scan(
        self,
        query: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[Doc]:
        """Every document, one after the other, for audits and exports. The next ones are read while
        the caller works."""
        with _reading():
            cursor = self._patient.find(
                self._scoped(query), fields, batch_size=SCAN_ROWS, sort=list(sort) if sort else None
            )
            ahead = cursor.to_list(SCAN_ROWS)
            try:
                while docs := await ahead:
                    ahead = cursor.to_list(SCAN_ROWS)
                    for doc in docs:
                        yield doc
            finally:
                ahead.cancel()

    async def count(self, query: Mapping[str, Any] | None = None) -> int:
        with _reading():
            return int(await self._raw.count_documents(self._scoped(query)))

    async def aggregate(self, pipeline: Sequence[Doc]) -> list[Doc]:
        """What a `$match` at the beginning asks for finds its index; the embedded store looks at
        everything when more is asked for beside a range of `_id`s, so that belongs into a second
        one."""
        first = pipeline[0].get("$match") if pipeline else None
        rest = pipeline if first is None else pipeline[1:]
        stages = [{"$match": self._scoped(first)}, *rest]
        with _reading():
            return cast("list[Doc]", await self._raw.aggregate(stages).to_list(None))

    async def insert(self, doc: Doc) -> None:
        """Raises Duplicate when a unique index holds it already."""
        with _writing():
            await self._raw.insert_one({**doc, **self._scope})

    async def insert_new(self, docs: Sequence[Doc]) -> set[int]:
        """Inserts what is not there yet, in one round trip for every INSERT_ROWS; the positions of
        those that were there already."""
        there = set()
        for start in range(0, len(docs), INSERT_ROWS):
            some = [{**doc, **self._scope} for doc in docs[start : start + INSERT_ROWS]]
            there |= {start + place for place in await bulk_insert(self._raw, some)}
        return there

    async def append(self, docs: Sequence[Doc]) -> int:
        """Inserts in the order given and stops at the first that is there already; how many went
        in. Cut short anywhere, what is there is a beginning of `docs`, with nothing left out before
        its end."""
        if not docs:
            return 0
        with _writing():
            try:
                await self._raw.bulk_write(
                    [InsertOne({**doc, **self._scope}) for doc in docs], ordered=True
                )
            except BulkWriteError as error:
                return min(_duplicates_only(error))
        return len(docs)

    async def update(self, query: Mapping[str, Any], change: Any, *, upsert: bool = False) -> bool:
        """True when a document matched (or was put in)."""
        with _writing():
            result = await self._raw.update_one(self._scoped(query), change, upsert=upsert)
        return bool(result.matched_count or result.upserted_id is not None)

    async def update_many(self, query: Mapping[str, Any], change: Any) -> int:
        with _writing():
            return int((await self._raw.update_many(self._scoped(query), change)).matched_count)

    async def bulk_update(
        self, changes: Sequence[tuple[Doc, Any]], *, upsert: bool = False, many: bool = False
    ) -> int:
        """Unordered updates in one round trip, each of one document or, with `many`, of all that
        match; each must be safe to apply twice. Upserts that lose a race are dropped. How many
        documents matched."""
        if not changes:
            return 0
        kind = UpdateMany if many else UpdateOne
        operations = [kind(self._scoped(query), change, upsert=upsert) for query, change in changes]
        with _writing():
            try:
                result = await self._raw.bulk_write(operations, ordered=False)
            except BulkWriteError as error:
                _duplicates_only(error)
                return int((error.details or {}).get("nMatched", 0))
        return int(result.matched_count)

    async def replace_each(self, docs: Sequence[tuple[Doc, Any]], guard: str) -> int:
        """Puts each document in the place of the one with its `_id`, if that still has the value
        beside it under `guard` (0: also one that has nothing there); how many were put in. Several
        in one statement. Each must differ from what it replaces, and be safe to put in twice."""
        put_in = 0
        for start in range(0, len(docs), EACH_ROWS):
            some = [({**doc, **self._scope}, was) for doc, was in docs[start : start + EACH_ROWS]]
            query = self._scoped({"_id": {"$in": [doc["_id"] for doc, _ in some]}})
            with _writing():
                result = await self._raw.update_many(query, [_replacing(some, guard)])
            put_in += result.modified_count
        return put_in

    async def update_and_get(
        self,
        query: Mapping[str, Any],
        change: Any,
        *,
        upsert: bool = False,
        sort: Sequence[tuple[str, int]] | None = None,
        before: bool = False,
    ) -> Doc | None:
        """The changed document (or, with `before`, as it was); None when nothing matched."""
        with _writing():
            return cast(
                "Doc | None",
                await self._raw.find_one_and_update(
                    self._scoped(query),
                    change,
                    upsert=upsert,
                    sort=list(sort) if sort else None,
                    return_document=ReturnDocument.BEFORE if before else ReturnDocument.AFTER,
                ),
            )

    async def delete(self, query: Mapping[str, Any]) -> int:
        with _writing():
            return int((await self._raw.delete_many(self._scoped(query))).deleted_count)


def decode(batch: bytes) -> list[Doc]:
    """The documents of a part that `find_raw` gave."""
    return bson.decode_all(batch)


def _replacing(docs: Sequence[tuple[Doc, Any]], guard: str) -> Doc:
    """The stage in which each document finds what replaces it by its place in the list; one that was
    changed meanwhile stays as it is."""
    ids = [doc["_id"] for doc, _ in docs]
    new, old = [doc for doc, _ in docs], [value for _, value in docs]
    place = {"$indexOfArray": [{"$literal": ids}, "$_id"]}
    is_old = {"$arrayElemAt": [{"$literal": old}, "$$place"]}
    unchanged = {"$eq": [{"$ifNull": [f"${guard}", 0]}, is_old]}
    replacement = {"$arrayElemAt": [{"$literal": new}, "$$place"]}
    either = {"$cond": [unchanged, replacement, "$$ROOT"]}
    return {"$replaceWith": {"$let": {"vars": {"place": place}, "in": either}}}


def _duplicates_only(error: BulkWriteError) -> set[int]:
    details = error.details or {}
    failures = details.get("writeErrors", [])
    others = [failure for failure in failures if failure.get("code") != DUPLICATE]
    if others or details.get("writeConcernErrors"):
        raise UnknownOutcome(
            "store_unavailable", "the database did not take a bulk write"
        ) from error
    return {int(failure["index"]) for failure in failures}


async def bulk_insert(raw: Any, docs: Sequence[Doc]) -> set[int]:
    """One unordered bulk insert; the positions that a unique index refused."""
    if not docs:
        return set()
    with _writing():
        try:
            await raw.bulk_write([InsertOne(doc) for doc in docs], ordered=False)
        except BulkWriteError as error:
            return _duplicates_only(error)
    return set()


class _Collections(dict[str, Any]):
    """A database's collections by name, each made once: Motor takes as long to make one as to ask
    it."""

    def __init__(self, database: Any) -> None:
        super().__init__()
        self._database = database

    def __missing__(self, name: str) -> Any:
        made = self[name] = self._database[name]
        return made


@dataclass(frozen=True, slots=True)
class Change:
    """A document of a bank's was inserted, changed or deleted `at` (seconds UTC): its collection and
    `_id`, and what was asked for of an inserted one."""

    collection: str
    id: Any
    fields: Doc
    at: float


class Changes:
    """The changes of some collections from a token on, in their order. `token` is where the stream
    is: after what was given out last. Up to `known_until` (seconds UTC) there were no others, None
    while that is not known yet: a database that has nothing to tell may only not have read so far, so
    whoever listens writes a mark now and then and waits for it."""

    def __init__(
        self, database: Any, watched: Mapping[str, Iterable[str]], token: Doc | None
    ) -> None:
        self.known_until: float | None = None
        self._marks, self._marked = database[STREAM_MARKS], 0.0
        shown = {f"fullDocument.{name}": 1 for names in watched.values() for name in names}
        told = ("operationType", "ns", "documentKey", "wallTime", "clusterTime")
        pipeline: list[Doc] = [
            {"$match": {"ns.coll": {"$in": [*watched, STREAM_MARKS]}}},
            {"$project": {**dict.fromkeys(told, 1), **shown}},
        ]
        self._stream = database.watch(pipeline, resume_after=token, max_await_time_ms=WAIT_MS)

    @property
    def token(self) -> Doc | None:
        return cast("Doc | None", self._stream.resume_token)

    async def gather(self, seconds: float, limit: int) -> list[Change]:
        """What changed: the first change and what came within `seconds` after it, at most `limit`;
        nothing when nothing came for a moment. Raises StreamLost, and Unavailable when the database
        is away. To ask the database for each change by itself costs it as much as the change."""
        with _reading():
            try:
                await self._mark()
                first = await self._stream.try_next()
                if first is None:
                    return []
                told = [cast("Doc", first)]
                if limit > 1:
                    await asyncio.sleep(seconds)
                    told += await asyncio.to_thread(self._there, limit - 1)
            except OperationFailure as error:
                code = _LOST.get(error.code or 0)
                if code is None:
                    raise Unavailable(
                        "store_unavailable", "the database gives no changes"
                    ) from error
                raise StreamLost(code, "the changes cannot be read on from there") from error
        if any(one["operationType"] == "invalidate" for one in told):
            raise StreamLost("stream_history_lost", "the database was dropped")
        changes = [_change(one) for one in told]
        self.known_until = changes[-1].at
        return [one for one in changes if one.collection != STREAM_MARKS]

    async def _mark(self) -> None:
        if time.monotonic() > self._marked + MARK_SECONDS:
            await self._marks.update_one({"_id": "mark"}, {"$inc": {"n": 1}}, upsert=True)
            self._marked = time.monotonic()

    def _there(self, limit: int) -> list[Doc]:
        """What is there by now, or comes while that is read; the driver's own stream is asked, since
        Motor's changes thread for each change."""
        until, found = time.monotonic() + READ_SECONDS, list[Doc]()
        while len(found) < limit and time.monotonic() < until:
            told = self._stream.delegate.try_next()
            if told is None:
                break
            found.append(told)
        return found

    async def close(self) -> None:
        await self._stream.close()


def _change(told: Doc) -> Change:
    at = told.get("wallTime") or told["clusterTime"].as_datetime()
    key = told.get("documentKey") or {}
    return Change(
        told["ns"]["coll"], key.get("_id"), told.get("fullDocument") or {}, at.timestamp()
    )


class TenantStore:
    """All collections of one tenant."""

    def __init__(self, collections: _Collections, tenant: str, patient: _Collections) -> None:
        if not tenant:
            raise MissingTenant("the store cannot be asked without a tenant")
        self._collections = collections
        self._patient = patient
        self.tenant = tenant

    def __getitem__(self, name: str) -> Collection:
        if name in SYSTEM_COLLECTIONS:
            raise MissingTenant(f"{name} belongs to no tenant: ask system()")
        return Collection(self._collections[name], self.tenant, self._patient[name])


def _client(uri: str, **options: Any) -> Any:
    """A client with these options; it connects when it is first asked."""
    limits = {"serverSelectionTimeoutMS": 5_000, **options}
    return AsyncIOMotorClient(uri, tz_aware=True, appname="yinqiao", **limits)


def _majority(client: Any, database: str) -> Any:
    concerns = {"write_concern": WriteConcern("majority", j=True)}
    return client.get_database(database, **concerns, read_concern=ReadConcern("majority"))


class Store:
    """The database; opened once a process, inside its event loop."""

    def __init__(self, uri: str, database: str) -> None:
        self._client = _client(uri, socketTimeoutMS=10_000, connectTimeoutMS=2_000)
        self._patient_client = _client(uri, **PATIENT)
        self._database = _majority(self._client, database)
        self._collections = _Collections(self._database)
        self._patient = _Collections(_majority(self._patient_client, database))

    def tenant(self, tenant: str) -> TenantStore:
        """Raises MissingTenant for an empty tenant."""
        return TenantStore(self._collections, tenant, self._patient)

    def system(self, name: str) -> Collection:
        if name not in SYSTEM_COLLECTIONS:
            raise MissingTenant(f"{name} belongs to tenants: ask tenant(…)[{name!r}]")
        return Collection(self._collections[name], None)

    async def insert_new_across(self, name: str, docs: Sequence[Doc]) -> set[int]:
        """Group commit's insert: documents of several tenants in one round trip; each carries its
        own tenant."""
        if name in SYSTEM_COLLECTIONS or not all(doc.get("tenant") for doc in docs):
            raise MissingTenant(f"a document for {name} has no tenant")
        return await bulk_insert(self._collections[name], docs)

    async def find_across(
        self, name: str, ids: Sequence[str], fields: Doc | None = None
    ) -> list[Doc]:
        """Group commit's read, by ids that begin with their tenant; the caller keeps each to its
        own tenant."""
        with _reading():
            return cast(
                "list[Doc]",
                await self._collections[name]
                .find({"_id": {"$in": list(ids)}}, fields)
                .to_list(None),
            )

    def watch(self, watched: Mapping[str, Iterable[str]], token: Doc | None = None) -> Changes:
        """The changes of these collections at all banks, from `token` on or from now; `watched` says
        which fields of an inserted document are told."""
        if not SYSTEM_COLLECTIONS.isdisjoint(watched):
            raise MissingTenant("changes are told of banks' rows")
        return Changes(self._database, watched, token)

    async def ensure_indexes(self, collections: Iterable[Rows]) -> None:
        """Creates the indexes that are missing; raises MissingTenant for one of a bank's rows that
        does not begin with `tenant`."""
        for rows in collections:
            wanted = [IndexModel(list(keys)) for keys in rows.indexes]
            if rows.of_bank and any(keys[0][0] != "tenant" for keys in rows.indexes):
                raise MissingTenant(f"an index of {rows} does not begin with tenant")
            if rows.unique:
                only = {rows.unique: {"$exists": True}}
                keys = [("tenant", 1), (rows.unique, 1)]
                wanted.append(IndexModel(keys, unique=True, partialFilterExpression=only))
            if wanted:
                with _writing():
                    await self._collections[rows].create_indexes(wanted)

    async def ping(self) -> None:
        """Raises Unavailable when the database does not answer."""
        try:
            await self._client.admin.command("ping")
        except PyMongoError as error:
            raise Unavailable("store_unavailable", "the database does not answer") from error

    def close(self) -> None:
        self._client.close()
        self._patient_client.close()
