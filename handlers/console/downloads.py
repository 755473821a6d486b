"""Tables of customers that leave the console as files, piece by piece as they are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from typing_extensions import override

from config.bounds import Reason, Word
from customers.profiles.downloading import Wanted
from handlers.console.base import Console
from handlers.http.pages import Form


class DownloadForm(Form):
    """`clear` is ticked where numbers, names and phones are not to be masked."""

    clear: Word = ""
    reason: Reason = ""

    @property
    def wanted(self) -> Wanted:
        return Wanted(clear=bool(self.clear), reason=self.reason)


class Downloading(Console):
    """Answers with a file."""

    keeps = False

    async def send_table(self, name: str, pieces: AsyncGenerator[bytes]) -> None:
        """Sends the pieces as they come. Where the receiver goes away, no more are read, and the trail
        says that it was not finished."""
        self.set_header("Content-Type", "text/csv; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')
        self.set_header("Cache-Control", "no-store")
        with suppress(StreamClosedError):
            async with aclosing(pieces) as table:
                async for piece in table:
                    self.write(piece)
                    await self.flush()

    @override
    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Breaks a table off that is on its way: one that ended here would be taken for whole."""
        if not self._headers_written:
            super().send_error(status_code, **kwargs)
            return
        self.set_status(status_code)
        cast("HTTP1Connection", self.request.connection).close()
        _ = self.finish()
