"""The naive way: what a careful engineer writes first, with awaited writes for each request.
`python -m bench.naive PORT`.

callback   wechatpy decrypts, xmltodict parses, one insert, ack
home       one Redis GET for the session, one find_one, answered as JSON
claim      the session; one transaction: stock, quota, grant; tried again on a write conflict
refuse     the session; one conditional update
events     one event a request: the signature is checked, one insert
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import sys
from datetime import UTC, datetime
from typing import Any

import xmltodict  # type: ignore[import-untyped]  # comes with wechatpy
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from redis.asyncio import Redis
from tornado.web import Application, HTTPError, RequestHandler
from typing_extensions import override
from wechatpy.work.crypto import WeChatCrypto

from bench.bank import GONE, HOT, SYSTEM_SECRET, WECOM, session_key
from config.settings import load

MOST_TRIES = 100


def database(uri: str, name: str) -> Any:
    """The naive database beside the product's, with the same durability."""
    client: Any = AsyncIOMotorClient(uri, tz_aware=True)
    return client.get_database(
        f"{name}_naive",
        write_concern=WriteConcern("majority", j=True),
        read_concern=ReadConcern("majority"),
    )


class Base(RequestHandler):
    @override
    def initialize(self, db: Any, redis: Redis, crypto: WeChatCrypto) -> None:
        self.db, self.redis, self.crypto = db, redis, crypto

    async def customer(self) -> str:
        """Who is signed in; 401 otherwise."""
        token = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        cid = await self.redis.get(session_key(token))
        if not isinstance(cid, bytes):
            raise HTTPError(401)
        return cid.decode()


class Callback(Base):
    @override
    async def post(self) -> None:
        names = ("msg_signature", "timestamp", "nonce")
        message = self.crypto.decrypt_message(
            self.request.body, *(self.get_query_argument(name) for name in names)
        )
        event = xmltodict.parse(message)["xml"]
        await self.db.inbox.insert_one({"at": datetime.now(UTC), **event})


class Home(Base):
    @override
    async def get(self) -> None:
        home = await self.db.homes.find_one({"_id": await self.customer()}, {"_id": 0})
        self.write(home)


class Refuse(Base):
    @override
    async def post(self) -> None:
        await self.customer()
        taken = await self.db.rewards.update_one(
            {"_id": GONE, "left": {"$gt": 0}}, {"$inc": {"left": -1}}
        )
        if not taken.modified_count:
            self.set_status(409)
            self.write({"error": "sold_out"})


class Claim(Base):
    @override
    async def post(self) -> None:
        cid, key = await self.customer(), self.request.headers["Idempotency-Key"]
        for _ in range(MOST_TRIES):
            try:
                await self.grant(cid, key)
            except DuplicateKeyError:
                self.set_status(409)
                self.write({"error": "quota"})
                return
            except PyMongoError as error:
                if not error.has_error_label("TransientTransactionError"):
                    raise
                await asyncio.sleep(random.random() * 0.05)
            else:
                self.write({"redemption": {"id": f"{HOT}:{cid}"}})
                return
        raise HTTPError(503)

    async def grant(self, cid: str, key: str) -> None:
        """One transaction: stock, quota, grant. Raises DuplicateKeyError at the customer's
        limit."""
        async with await self.db.client.start_session() as session, session.start_transaction():
            taken = await self.db.rewards.update_one(
                {"_id": HOT, "left": {"$gt": 0}}, {"$inc": {"left": -1}}, session=session
            )
            if not taken.modified_count:
                raise HTTPError(409)
            await self.db.quotas.update_one(
                {"_id": f"{HOT}:{cid}", "n": {"$lt": 1}},
                {"$inc": {"n": 1}},
                upsert=True,
                session=session,
            )
            grant = {"_id": f"{HOT}:{cid}:{key}", "cid": cid, "at": datetime.now(UTC)}
            await self.db.grants.insert_one(grant, session=session)


class Events(Base):
    @override
    async def post(self) -> None:
        headers, body = self.request.headers, self.request.body
        digest = hashlib.sha256(body).hexdigest()
        lines = ("POST", self.request.uri, headers["Yinqiao-Timestamp"], headers["Yinqiao-Nonce"])
        message = "\n".join((*map(str, lines), digest)).encode()
        made = hmac.new(SYSTEM_SECRET.encode(), message, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(made, headers["Yinqiao-Signature"]):
            raise HTTPError(401)
        (event,) = json.loads(body)["events"]
        await self.db.events.insert_one({**event, "_id": event["id"], "came": datetime.now(UTC)})


async def main(port: int) -> None:
    """Serves until it is killed."""
    settings = load()
    parts = {
        "db": database(settings.mongodb, settings.mongodb_database),
        "redis": Redis.from_url(settings.redis),
        "crypto": WeChatCrypto(WECOM["token"], WECOM["aes_key"], WECOM["corp_id"]),
    }
    routes = [
        (r"/wecom/[^/]+/callback", Callback, parts),
        (r"/mp/[^/]+/home", Home, parts),
        (r"/open/v1/events", Events, parts),
        (rf"/mp/[^/]+/rewards/{HOT}/claim", Claim, parts),
        (rf"/mp/[^/]+/rewards/{GONE}/claim", Refuse, parts),
    ]
    Application(routes, log_function=lambda handler: None).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
