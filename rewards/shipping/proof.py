"""What the ledger's accounts must hold by the parcels' own rows: the unit of each is in the account
of its end."""

from __future__ import annotations

from customers.banks.bank import Bank
from rewards.shipping.rows import ENDED, SHIPMENTS
from rewards.shipping.shipments import ACCOUNTS
from rewards.vouchers.proof import Units
from services.store.mongo import Doc


async def add_units(bank: Bank, found: Units) -> None:
    """Adds the units of all parcels that have ended; of those whose end is not told yet, both of
    what they can be."""
    told: list[Doc] = [
        {"$match": {"untold": [], "state": {"$in": list(ENDED)}}},
        {"$group": {"_id": {"reward": "$reward", "state": "$state"}, "n": {"$sum": 1}}},
    ]
    for row in await bank.db[SHIPMENTS].aggregate(told):
        reward, n = row["_id"]["reward"], row["n"]
        for counted in (found.least, found.most):
            counted[f"issued:{reward}"] -= n
            counted[f"{ACCOUNTS[row['_id']['state']]}:{reward}"] += n
    async for row in bank.db[SHIPMENTS].scan({"untold": {"$ne": []}}):
        through = {ACCOUNTS.get(one["state"], "issued") for one in row["untold"]}
        through.add("delivered" if row.get("was_delivered") else "issued")
        for name in through - {"issued"}:
            found.most[f"{name}:{row['reward']}"] += 1
        found.least[f"issued:{row['reward']}"] -= int(through != {"issued"})
