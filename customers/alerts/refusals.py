"""What WeChat and WeCom refuse because of how the bank is set up (contract/wechat D2): told to a
person within seconds, since no repeat mends it."""

from __future__ import annotations

from customers.alerts import alarms
from customers.banks.bank import Bank
from services.wechat.core import unknown_codes

TASK = "customers.refusals"
KINDS = {
    "platform.secret": {40001, 40013, 40014, 40125, 42001, 40243, 41002, 41004, 42009},
    "platform.address": {40164, 60020, 89501, 89503, 89506, 89507, 301042},
    "platform.agent": {40056, 301002},
    "platform.unused": {48006, 90510},
    "platform.full": {40126, 41045, 41069, 41095, 45029},
}
"""The kind of alarm by what has to be done; whatever is in none of them is a matter of rights."""
RIGHTS = "platform.rights"
NAMES = {"wecom": "WeCom", "wechat": "WeChat"}


async def tell(bank: Bank) -> None:
    """Raises an alarm for each refusal that nobody was told of: one a day for each code, and one more
    after somebody has dealt with it; on the console alone, for cards go through the app that may be
    refused."""
    for row in await unknown_codes.unseen(bank.db):
        family, errcode = row["family"], row["errcode"]
        await alarms.raise_daily(
            bank,
            kind_of(errcode),
            f"{family}:{errcode}",
            platform=NAMES[family],
            errcode=errcode,
            path=row["path"],
            answer=row["errmsg"],
        )
        await unknown_codes.seen(bank.db, row)


def kind_of(errcode: int) -> str:
    """The kind of alarm that such a refusal is."""
    return next((kind for kind, codes in KINDS.items() if errcode in codes), RIGHTS)
