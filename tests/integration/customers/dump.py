"""Everything that the product keeps, as bytes, to look for what must not be there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bson
from pymongo import MongoClient

from services.container import Services


def of_store(services: Services) -> dict[str, bytes]:
    """Every document of every collection, by collection."""
    with MongoClient[dict[str, Any]](services.settings.mongodb) as client:
        database = client[services.settings.mongodb_database]
        names = database.list_collection_names()
        return {name: b"".join(bson.encode(doc) for doc in database[name].find({})) for name in names}


async def of_redis(services: Services) -> bytes:
    """Every key of every type with all it holds."""
    redis: Any = services.redis
    read = {
        b"string": redis.get,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"hash": redis.hgetall,
        b"zset": lambda key: redis.zrange(key, 0, -1),
    }
    found = {key: await read[await redis.type(key)](key) for key in await redis.keys("*")}
    return b"\n".join(_flat(found))


async def everything(services: Services) -> bytes:
    return b"\n".join([*of_store(services).values(), await of_redis(services)])


def _flat(value: Any) -> Iterable[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(name)
            yield from _flat(inner)
    elif isinstance(value, Iterable):
        for inner in value:
            yield from _flat(inner)
