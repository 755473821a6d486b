"""The stores of a test run: this worker's own embedded ones, or those that `--mongodb-uri` and `--redis-url` name.

Others' stores are never killed, and nothing of them is touched but databases of ours: in MongoDB new ones, dropped at
the end; in Redis databases that were empty when the run began.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
import redis
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, PyMongoError

from deploy.stack import Stores
from services.store.installation import INSTALLATION

Rows = dict[str, list[RawBSONDocument]]
"""By collection."""
RAW = CodecOptions(RawBSONDocument)
FEW = 30
"""So many rows too many are taken out one by one; a collection with more of them is emptied."""


def are_others(config: pytest.Config) -> bool:
    return bool(config.getoption("mongodb_uri") or config.getoption("redis_url"))


def worker_number(config: pytest.Config) -> int:
    """0 without workers."""
    name: str = getattr(config, "workerinput", {"workerid": "gw0"})["workerid"]
    return int(name.removeprefix("gw"))


def redis_database(url: str, number: int) -> str:
    """`url` with its database moved up by `number`, so that each worker has one."""
    parts = urlsplit(url)
    first = int(parts.path.strip("/") or 0)
    return urlunsplit(parts._replace(path=f"/{first + number}"))


class OthersStores:
    """Stores that somebody else runs, in the place of `deploy.stack.Stores`."""

    def __init__(self, mongodb_uri: str, redis_url: str) -> None:
        self.mongodb_uri = mongodb_uri
        self.redis_url = redis_url
        self.ports: dict[str, int] = {}

    def start_all(self) -> None:
        """They run."""

    def stop_all(self) -> None:
        """They run on."""


def check_others(config: pytest.Config, workers: int) -> None:
    """Ends the run unless both stores answer and the Redis databases that it will empty hold nothing of anybody's."""
    mongodb_uri, redis_url = config.getoption("mongodb_uri"), config.getoption("redis_url")
    if not (mongodb_uri and redis_url):
        raise pytest.UsageError("stores of your own: give both --mongodb-uri and --redis-url")
    try:
        with MongoClient[dict[str, Any]](mongodb_uri, serverSelectionTimeoutMS=5_000) as client:
            client.admin.command("ping")
        held = {url: _keys(url) for url in (redis_database(redis_url, number) for number in range(workers))}
    except (PyMongoError, redis.RedisError) as error:
        raise pytest.UsageError(f"your stores do not answer: {error}") from error
    for url, keys in held.items():
        if keys:
            database = urlsplit(url).path.strip("/")
            raise pytest.UsageError(
                f"database {database} of your Redis holds {keys} keys, and tests empty it: nothing was touched. "
                f"Name another one, or if a test run that was cut short left them, empty it: redis-cli -n {database} flushdb"
            )


def _keys(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.dbsize())


def opened(config: pytest.Config, folder: Any) -> Stores:
    """The stores of this worker; embedded ones are not yet started."""
    if not are_others(config):
        return Stores(folder)
    url = redis_database(config.getoption("redis_url"), worker_number(config))
    return OthersStores(config.getoption("mongodb_uri"), url)  # type: ignore[return-value]


def empty_redis(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushdb()


class Databases:
    """Two databases of this worker, in turn: each keeps its indexes, and gets the rows that a test begins with.

    In turn, so that a write which a killed process still had on its way ends in the database of the test before.
    """

    def __init__(self, uri: str) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(uri)
        run = f"yinqiao_test_{uuid4().hex[:12]}"
        self._names = [f"{run}_{turn}" for turn in "ab"]
        self._turns = cycle(self._names)

    def next(self) -> str:
        """The name of the database whose turn it is, with the rows that another test left in it; but anybody may open
        it, whose ever it was."""
        name = next(self._turns)
        self._again(lambda: self._client[name][INSTALLATION].delete_many({}))
        return name

    def become(self, name: str, rows: Rows) -> None:
        """Leaves these rows in a database and no others; what is there already is not written again."""
        self._again(lambda: self._become(name, rows))

    def _again(self, act: Callable[[], object]) -> None:
        try:
            act()
        except AutoReconnect:  # the store was killed and started since the last time
            act()

    def _become(self, name: str, rows: Rows) -> None:
        database = self._client.get_database(name, codec_options=RAW)
        found = self._found(database, {each: len(those) + FEW for each, those in rows.items()})
        for each in found.keys() | rows.keys():
            _change(database[each], found.get(each, []), rows.get(each, []))

    def _found(self, database: Any, most: dict[str, int]) -> Rows:
        """The rows of each collection that has any: one of them, or as many as `most` says."""
        names = database.list_collection_names()
        pipeline: list[dict[str, Any]] = []
        for each in names:
            stages = [
                {"$limit": most.get(each, 1)},
                {"$project": {"_id": 0, "of": {"$literal": each}, "row": "$$ROOT"}},
            ]
            pipeline += stages if not pipeline else [{"$unionWith": {"coll": each, "pipeline": stages}}]
        found: Rows = {}
        for row in database[names[0]].aggregate(pipeline) if names else ():
            found.setdefault(row["of"], []).append(row["row"])
        return found

    def rows(self, name: str) -> Rows:
        """All that a database holds, as it came over the wire."""
        database = self._client.get_database(name, codec_options=RAW)
        found = {each: list(database[each].find()) for each in database.list_collection_names()}
        return {each: rows for each, rows in found.items() if rows}

    def drop(self) -> None:
        for name in self._names:
            self._client.drop_database(name)

    def close(self) -> None:
        self._client.close()


def _change(collection: Any, found: list[RawBSONDocument], wanted: list[RawBSONDocument]) -> None:
    """Brings a collection from the rows that were found in it to those that are wanted, with few writes."""
    if len(found) >= len(wanted) + FEW or (found and not wanted):  # there may be more than were looked at
        collection.delete_many({})
        found = []
    old, new = ({row["_id"]: row for row in rows} for rows in (found, wanted))
    gone = [key for key, row in old.items() if new.get(key) != row]
    missing = [row for key, row in new.items() if old.get(key) != row]
    if gone:
        collection.delete_many({"_id": {"$in": gone}})
    if missing:
        collection.insert_many(missing)
