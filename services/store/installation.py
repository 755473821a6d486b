"""What the database says of itself: that it is a production's.

The first start in production writes it, and from then on nothing that is meant for development
touches this database: not a command line with another YINQIAO_ENV, where one person's word is enough
(docs/decisions/0010).
"""

from __future__ import annotations

from services.clock import Clock, utc
from services.errors import YinqiaoError
from services.store.mongo import Store
from services.store.rows import Rows

INSTALLATION = Rows("installation", of_bank=False)
"""One row: since when this database is a production's."""
PRODUCTION = "production"


class WrongInstallation(YinqiaoError):
    """Somebody who works for development has opened a production's database."""


async def check(store: Store, env: str, clock: Clock) -> None:
    """Marks the database in production; raises WrongInstallation in any other environment when it
    is marked."""
    rows, one = store.system(INSTALLATION), {"_id": PRODUCTION}
    if env == PRODUCTION:
        await rows.update(one, {"$setOnInsert": {"since": utc(clock())}}, upsert=True)
    elif await rows.find_one(one) is not None:
        raise WrongInstallation(
            "database_is_production",
            "this database is a production's: YINQIAO_ENV must be production here",
        )
