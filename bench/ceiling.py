"""The ceiling: a bare Tornado handler that answers a constant. `python -m bench.ceiling PORT`."""

from __future__ import annotations

import asyncio
import sys

from tornado.web import Application, RequestHandler
from typing_extensions import override


class Constant(RequestHandler):
    @override
    def get(self) -> None:
        self.write(b'{"ok":true}')

    @override
    def post(self) -> None:
        self.write(b'{"ok":true}')


async def main(port: int) -> None:
    """Serves until it is killed."""
    Application([(r"/.*", Constant)], log_function=lambda handler: None).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
