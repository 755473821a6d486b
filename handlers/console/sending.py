"""Forms of the console with a file, which is taken in as it comes."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from tornado.web import HTTPError
from typing_extensions import override

from handlers.console.base import REFUSALS, Decision
from handlers.http.door import LINGER_BYTES
from handlers.http.files import FileForm
from services.errors import Conflict, InvalidInput, YinqiaoError


class Receiving(Protocol):
    """Who keeps the pieces of a file."""

    async def write(self, data: bytes) -> None: ...

    async def drop(self) -> None: ...


class Sending(Decision):
    """A form with a file that comes in piece by piece, as whoever `receive` names keeps it; `start`
    has it worked on when it is whole. Who inherits it is a `stream_request_body`."""

    keeps: ClassVar[bool] = False
    _coming: FileForm | None = None
    _received: Receiving | None = None
    _refused: Exception | None = None
    _trouble: Exception | None = None

    def receive(self, name: str) -> Receiving:
        """Takes in a file of that name."""
        raise NotImplementedError

    async def start(self, received: Any) -> None:
        """Has the whole file worked on, and leads to the page that shows how far that is."""
        raise NotImplementedError

    @override
    def check_xsrf_cookie(self) -> None:
        """The token is in the form, which has not come in yet: it is looked at before the file is
        (`_begin`)."""

    @override
    async def _execute(self, transforms: list[Any], *args: bytes, **kwargs: bytes) -> None:
        try:
            await super()._execute(transforms, *args, **kwargs)
        finally:
            if not self._finished:  # the sender went away: nobody is answered, and it is over
                self.on_finish()

    @override
    async def prepare(self) -> None:
        """Whoever may not send is told so when what he sends has come in, as far as that is not
        long: a connection that is closed on a sender takes the answer with it."""
        try:
            waiting = super().prepare()
            if waiting is not None:
                await waiting
            self._coming = FileForm(self.request.headers.get("Content-Type", ""), "file")
        except (YinqiaoError, HTTPError) as error:
            self._refused = error
            connection: Any = self.request.connection
            connection.set_max_body_size(LINGER_BYTES)

    @override
    async def data_received(self, chunk: bytes) -> None:
        if self._coming is None or self._trouble is not None:
            return
        try:
            for piece in self._coming.feed(chunk):
                if piece.kind == "field":
                    self.came_in(piece.name, piece.data)
                elif piece.kind == "file":
                    self._begin(piece.name)
                elif self._received is not None:
                    await self._received.write(piece.data)
        except (YinqiaoError, HTTPError) as error:
            self._trouble = error
            await self._drop()

    def _begin(self, name: str) -> None:
        """The form's fields are in: whoever sends it was shown it."""
        super().check_xsrf_cookie()
        if self.sender() not in ("", self.owner()):
            raise Conflict("form_of_another", "somebody else was signed in meanwhile")
        self._received = self.receive(name)

    async def _drop(self) -> None:
        if self._received is not None:
            await self._received.drop()
            self._received = None

    @override
    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.services.groups.spawn(self._drop())

    @override
    async def post(self, **_: str) -> None:
        if self._refused is not None:
            raise self._refused
        whole = self._received is not None and self._coming is not None and self._coming.is_over
        if self._trouble is None and not whole:
            await self._drop()
            self._trouble = InvalidInput("invalid_body", "the form has no file, or came in part")
        if self._received is not None and self._trouble is None:
            await self._start(self._received)
        elif isinstance(self._trouble, REFUSALS):
            await self.show(self._trouble)
        elif self._trouble is not None:
            raise self._trouble

    async def _start(self, received: Receiving) -> None:
        try:
            await self.start(received)
        except REFUSALS as error:
            await self.show(error)
