"""The stores of a test run: this worker's own embedded ones, or those that `--mongodb-uri` and `--redis-url` name.

Others' stores are never killed, and nothing of them is touched but databases of ours: in MongoDB new ones, dropped at
the end; in Redis databases that were empty when the run began.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
import redis
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, PyMongoError

from deploy.stack import Stores


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
    """Two databases of this worker, in turn: each is emptied and keeps its indexes.

    In turn, so that a write which a killed process still had on its way ends in the database of the test before.
    """

    def __init__(self, uri: str) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(uri)
        run = f"yinqiao_test_{uuid4().hex[:12]}"
        self._names = [f"{run}_{turn}" for turn in "ab"]
        self._turns = cycle(self._names)

    def empty(self) -> str:
        """The name of a database without rows."""
        name = next(self._turns)
        try:
            self._delete_rows(name)
        except AutoReconnect:  # the store was killed and started since the last time
            self._delete_rows(name)
        return name

    def _delete_rows(self, name: str) -> None:
        database = self._client[name]
        names = database.list_collection_names()
        if not names:
            return
        one_of_each: list[dict[str, Any]] = []
        for each in names:
            first = [{"$limit": 1}, {"$project": {"_id": 0, "of": {"$literal": each}}}]
            one_of_each += first if not one_of_each else [{"$unionWith": {"coll": each, "pipeline": first}}]
        for row in database[names[0]].aggregate(one_of_each):
            database[row["of"]].delete_many({})

    def drop(self) -> None:
        for name in self._names:
            self._client.drop_database(name)
        self._client.close()
