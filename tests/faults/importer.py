"""`manage.py events import FILE`, which is killed (`kill -9`) as soon as it has read so many lines and before it has
written down where it is; one that is not says the most memory (MB) that it took until its first lines were in, and in all.

python -m tests.faults.importer FILE LINE
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import Any

from customers.intake import files
from services.store.mongo import Collection


def megabytes() -> int:
    """The most that the process took until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(file: str, last: int) -> None:
    from manage import app

    some, update, said = files._take_some, Collection.update, list[int]()

    async def watched(bank: Any, reader: Any, row: Any, errors: Any) -> bool:
        goes_on = await some(bank, reader, row, errors)
        if not said:
            said.append(megabytes())
        return goes_on

    async def killed(self: Any, wanted: Any, change: Any, **more: Any) -> Any:
        if "line" in change.get("$set", {}) and change["$set"]["line"] >= last:
            os.kill(os.getpid(), signal.SIGKILL)
        return await update(self, wanted, change, **more)

    files._take_some = watched
    if last:
        Collection.update = killed  # type: ignore[method-assign]
    code = app(["events", "import", file], standalone_mode=False)
    sys.stdout.write(f"\n{said[0]} {megabytes()}\n")
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
