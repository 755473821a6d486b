"""How long a request is waited for. One look a second at all connections does what two timers for each
request would, which cost as much as a tenth of a small one (docs/benchmarks.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tornado.iostream import BaseIOStream

HEAD_SECONDS = 75.0
"""So long a connection may stand idle, or take for a request's lines and headers."""
BODY_SECONDS = 20.0
"""So long a body may take that is no file."""
LOOK_SECONDS = 1.0


class Patience:
    """Until when something is waited for on each connection. One whose request is whole is not
    waited for until its answer is written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[BaseIOStream, float] = {}

    def wait(self, connection: BaseIOStream, seconds: float) -> None:
        """Waits for what comes next on a connection, for so many seconds from now."""
        self._until[connection] = self._clock() + seconds

    def over(self, connection: BaseIOStream) -> None:
        """All that was waited for has come."""
        self._until.pop(connection, None)

    def __len__(self) -> int:
        """How many are waited for."""
        return len(self._until)

    def look(self) -> None:
        """Closes the connections that were waited for too long, and forgets those that are closed."""
        now = self._clock()
        for connection, until in list(self._until.items()):
            if until <= now or connection.closed():
                del self._until[connection]
                connection.close()

    async def look_always(self) -> None:
        """Looks every LOOK_SECONDS, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()
