"""A bank in which of all that is given something waits for a clerk's word, for tests of who may see and decide it."""

from __future__ import annotations

from typing import Any

import bson
from pymongo import MongoClient

from customers.lists import keeping as lists
from customers.segments import document
from customers.segments import versions as segments
from operations import profiling
from rewards.item import Item
from rewards.items import versions as items
from rewards.ledger import adjust
from rewards.points import corrections, program
from rewards.pools import keeping
from rewards.shipping import batches
from rewards.vouchers import acts, redeem
from services.container import Services
from services.documents.parts import Text
from tests.integration.rewards import points_world, pool_world, vouchering
from tests.integration.rewards import test_shipping as shipping
from tests.support.banks import open_bank
from tests.support.waiting import until

LIN, ZHAO = shipping.LIN, shipping.ZHAO
ENTRY = adjust.Written("funds:flash", "budget:flash", "1")
OF_NOBODY = frozenset({"audit", "nonces"})
"""What refusing somebody may add to."""


async def wait(demo: Services) -> dict[str, str]:
    """What lin has asked for, by the names of paths: codes that left, a write-off, a correction, an entry, an item,
    a segment, a programme, and parcels."""
    bank = await open_bank(demo, "demo")
    await pool_world.make(bank)
    upload = await pool_world.bring(bank, pool_world.file(20))
    recall = await keeping.recall(bank, "lin", pool_world.POOL, keeping.ALL, "x")
    await keeping.ask_export(bank, LIN, pool_world.POOL, recall["id"])
    bank, row = await vouchering.voucher(demo)
    use = (await redeem.redeem(bank, vouchering.ANN, vouchering.code(bank, row), "k")).use
    await points_world.begin(bank)
    await program.submit(bank, LIN, 1, points_world.document(cost=900))
    mug = Item(kind="code", title=Text(zh="杯子", en="Mug"), cost=1000)
    await items.approve(bank, ZHAO, "mug", await items.submit(bank, LIN, "mug", mug))
    await items.submit(bank, LIN, "mug", mug.model_copy(update={"cost": 1500}))
    await lists.create(bank, "lin", "event", {"zh": "活动", "en": "Event"})
    words = await profiling.vocabulary(bank)
    for rule in ("customer.bound", "not customer.bound"):
        bound = document.read("bound", {"name": {"zh": "已绑定", "en": "Bound"}, "rule": rule})
        number = await segments.submit(bank, LIN, "bound", bound, words)
        if number == 1:
            await segments.approve(bank, ZHAO, "bound", number, words)
    asked = {
        "act": await acts.ask(bank, LIN, "undo", use, "x"),
        "correction": await corrections.ask(bank, LIN, row["cid"], 5, "x"),
        "adjustment": await adjust.ask(bank, LIN, ENTRY, "x", key="k"),
    }
    await shipping.ready(demo)
    (parcel,) = await shipping.all_shipments(demo)
    await until(lambda: _at_rest(demo))
    return asked | {
        "batch": await batches.submit(bank, LIN, "k"),
        "shipment": parcel["_id"],
        "pool": pool_world.POOL,
        "upload": upload["upload"],
        "recall": recall["id"],
        "voucher": row["_id"],
        "transfer": row["_id"],
        "cid": row["cid"],
        "item": "mug",
        "segment": "bound",
        "list": "event",
        "version": "2",
        "reward": "flash.voucher",
        "campaign": "flash",
        "which": "counter",
        "login": "nanshan",
    }


async def _at_rest(demo: Services) -> bool:
    """Whether what was given is told everywhere: batches of claims end after their answers."""
    db = demo.store.tenant("demo")
    under_way = {"rewards": {"held": {"$gt": 0}}, "code_pools": {"held": {"$gt": 0}}, "ledger_batches": {}}
    under_way |= {"vouchers": {"steps": {"$ne": []}}, "audit_intents": {}}
    return not sum([await db[name].count(query) for name, query in under_way.items()])


def kept(demo: Services, tenant: str) -> dict[str, list[bytes]]:
    """All that a bank has, but for its audit trail."""
    with MongoClient[dict[str, Any]](demo.settings.mongodb) as client:
        database = client[demo.settings.mongodb_database]
        names = set(database.list_collection_names()) - OF_NOBODY
        return {name: sorted(map(bson.encode, database[name].find({"tenant": tenant}))) for name in sorted(names)}
