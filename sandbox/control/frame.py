"""The control plane under /control: what a test or a visitor does to the simulation. This is not
WeChat."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from tornado.web import RequestHandler
from typing_extensions import override

from sandbox.core.errors import Impossible
from sandbox.core.sandbox import Sandbox


class Refused(Exception):
    """A control call that cannot be done: HTTP status, machine code, what was expected."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ControlCall:
    """One control call: query, JSON body and the parts of its path."""

    box: Sandbox
    query: dict[str, str]
    body: dict[str, Any]
    parts: tuple[str, ...]

    def text(self, name: str, default: str | None = None) -> str:
        """A string of the body. Raises Refused when it is missing without a default, or not a
        string."""
        value = self.body.get(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise Refused(400, "bad_field", f"{name}: a string is expected")
        return value

    def number(self, name: str) -> float:
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(400, "bad_field", f"{name}: a number is expected")
        return value

    def whole(
        self, name: str, default: int | None = None, *, least: int = 0, most: int = 2**53
    ) -> int:
        """A whole number of the body. Raises Refused when it is missing without a default, or out
        of its range."""
        value = self.body.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Refused(
                400, "bad_field", f"{name}: a whole number from {least} to {most} is expected"
            )
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value of the body. Raises Refused when it is something else."""
        value = self.body.get(name, default)
        if not isinstance(value, bool):
            raise Refused(400, "bad_field", f"{name}: true or false is expected")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings of the body, empty when it is missing. Raises Refused."""
        value = self.body.get(name) or []
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise Refused(400, "bad_field", f"{name}: a list of strings is expected")
        return value

    def limit(self, default: int) -> int:
        """The `limit` of the query."""
        value = self.query.get("limit", str(default))
        if not value.isdecimal():
            raise Refused(400, "bad_field", "limit: a whole number is expected")
        return int(value)


_Body = TypeVar("_Body", bound=BaseModel)


def checked(model: type[_Body], values: dict[str, Any], code: str = "bad_field") -> _Body:
    """`values` as a `model`. Raises Refused `code` naming every wrong field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()
        )
        raise Refused(400, code, problems) from error


Answer = Callable[[ControlCall], Awaitable[Any]]
Routes = list[tuple[str, dict[str, Answer]]]


class ControlHandler(RequestHandler):
    """Serves one control path with a function per method."""

    @override
    def initialize(self, box: Sandbox, **answers: Answer) -> None:
        self.box = box
        self.answers = answers

    @override
    async def get(self, *parts: str) -> None:
        await self._play("get", parts)

    @override
    async def post(self, *parts: str) -> None:
        await self._play("post", parts)

    @override
    async def delete(self, *parts: str) -> None:
        await self._play("delete", parts)

    async def _play(self, method: str, parts: tuple[str, ...]) -> None:
        try:
            result = await self._result(method, parts)
        except Refused as refused:
            self.set_status(refused.status)
            result = {"error": {"code": refused.code, "message": refused.message}}
        except Impossible as impossible:
            self.set_status(409)
            result = {"error": {"code": "impossible", "message": str(impossible)}}
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        await self.finish(json.dumps(result, ensure_ascii=False))

    async def _result(self, method: str, parts: tuple[str, ...]) -> Any:
        if method not in self.answers:
            raise Refused(405, "method_not_allowed", f"use {', '.join(self.answers).upper()}")
        self._same_origin()
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        return await self.answers[method](ControlCall(self.box, query, self._body(), parts))

    def _same_origin(self) -> None:
        """A page of another site may not drive the sandbox through a visitor's browser."""
        origin = self.request.headers.get("Origin")
        if origin and origin != f"{self.request.protocol}://{self.request.host}":
            raise Refused(
                403, "foreign_origin", "the control plane takes no calls from other sites"
            )

    def _body(self) -> dict[str, Any]:
        if not self.request.body:
            return {}
        try:
            body = json.loads(self.request.body)
        except ValueError as error:
            raise Refused(400, "bad_json", "the body is not JSON") from error
        if not isinstance(body, dict):
            raise Refused(400, "bad_json", "a JSON object is expected")
        return body
