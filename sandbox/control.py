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

from sandbox import due
from sandbox.core import Sandbox
from sandbox.faults import Fault
from sandbox.verbs import Impossible

REVOCATIONS = frozenset({40001, 40014, 42001})


class Refused(Exception):
    """A control call that cannot be done: HTTP status, machine code, what was expected."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Ask:
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


Answer = Callable[[Ask], Awaitable[Any]]
Routes = list[tuple[str, dict[str, Answer]]]


class ControlHandler(RequestHandler):
    """Serves one control path with a function per method."""

    @override
    def initialize(self, box: Sandbox, **answers: Answer) -> None:
        self.box, self.answers = box, answers

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
            if method not in self.answers:
                raise Refused(405, "method_not_allowed", f"use {', '.join(self.answers).upper()}")
            self._same_origin()
            query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
            result = await self.answers[method](Ask(self.box, query, self._body(), parts))
        except Refused as refused:
            self.set_status(refused.status)
            result = {"error": {"code": refused.code, "message": refused.message}}
        except Impossible as impossible:
            self.set_status(409)
            result = {"error": {"code": "impossible", "message": str(impossible)}}
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        await self.finish(json.dumps(result, ensure_ascii=False))

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


async def health(ask: Ask) -> Any:
    return {"ok": True, "time": ask.box.clock.now(), "people": len(ask.box.state.people)}


async def config(ask: Ask) -> Any:
    """The world without its secrets, and where the product's faces are."""
    world, options = ask.box.world, ask.box.options
    departments = {d.id: d.name for d in world.corp.departments}
    return {
        "corp_id": world.corp.corp_id,
        "corp_name": world.corp.name,
        "agent_ids": [a.agent_id for a in world.corp.apps],
        "callback_urls": [options.callback_url or a.callback_url for a in world.corp.apps],
        "members": [
            {"userid": m.userid, "name": m.name, "department": departments.get(m.department, "")}
            for m in world.corp.members
        ],
        "mini_programs": [{"appid": m.appid, "name": m.name} for m in world.mini_programs],
        "portal_url": options.portal_url,
        "sidebar_url": options.sidebar_url,
    }


async def calls(ask: Ask) -> Any:
    """The latest API calls, newest last, and how often each path was called since the start."""
    path = ask.query.get("path", "")
    found = [c for c in ask.box.journal.calls if path in f"/{c['base']}{c['path']}"]
    counts = {p: n for p, n in ask.box.journal.counts.items() if path in p}
    limit = ask.limit(100)
    return {"calls": found[-limit:] if limit else [], "counts": counts}


async def deliveries(ask: Ask) -> Any:
    """The latest callback deliveries, newest last."""
    limit = ask.limit(100)
    return {"deliveries": list(ask.box.journal.deliveries)[-limit:] if limit else []}


async def welcomes(ask: Ask) -> Any:
    """Every welcome message that reached a person, oldest first."""
    return {"count": len(ask.box.journal.welcomes), "welcomes": list(ask.box.journal.welcomes)}


async def list_faults(ask: Ask) -> Any:
    return {"faults": [f.model_dump() for f in ask.box.faults.active]}


async def add_fault(ask: Ask) -> Any:
    """Put a fault in force; see sandbox.faults.Fault for the kinds."""
    ask.box.faults.add(checked(Fault, ask.body, "bad_fault"))
    return await list_faults(ask)


async def clear_faults(ask: Ask) -> Any:
    """End all faults; held events are released."""
    ask.box.faults.clear()
    ask.box.sender.release()
    return await list_faults(ask)


async def revoke_tokens(ask: Ask) -> Any:
    """Every token issued so far meets `errcode` from now on."""
    errcode = ask.body.get("errcode", 40014)
    if errcode not in REVOCATIONS:
        raise Refused(400, "bad_field", f"errcode: one of {sorted(REVOCATIONS)} is expected")
    return {"revoked": ask.box.tokens.revoke(errcode)}


async def advance_clock(ask: Ask) -> Any:
    """Let seconds pass for codes, tokens and welcome codes; callback timestamps stay with the wall
    clock."""
    seconds = ask.number("advance")
    if seconds < 0:
        raise Refused(400, "bad_field", "advance: time cannot run backwards")
    ask.box.clock.advance(seconds)
    due.settle(ask.box)
    return {"time": ask.box.clock.now(), "offset": ask.box.clock.offset}


async def check_callback(ask: Ask) -> Any:
    """Do what WeCom and WeChat do when an admin saves the callback settings (C1, A7)."""
    return {"checks": await ask.box.sender.check_urls()}


async def reset(ask: Ask) -> Any:
    """Forget people, ways, tags, tokens, codes, faults and logs; set the clock right."""
    await ask.box.reset()
    return {"ok": True}
