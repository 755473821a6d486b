"""Trouble on demand: for API calls and for callbacks, the next N times or until cleared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sandbox.core.errors import TOKEN_ERRORS

API_KINDS = frozenset(
    {"latency", "timeout_after_success", "http", "close", "errcode", "short_pages"}
)
CALLBACK_KINDS = frozenset(
    {
        "duplicate",
        "replay",
        "delay",
        "reorder",
        "wrong_signature",
        "wrong_receiveid",
        "stale_timestamp",
        "drop",
    }
)

LIMIT_TEXTS = {
    "minute": "reach max api minute limit",
    "hour": "reach max api hour limit",
    "day": "reach max api daily quota limit",
    "month": "reach max api month limit",
}


class Fault(BaseModel):
    """One kind of trouble.

    API: `latency` (seconds), `timeout_after_success` (done, never answered), `http` (status),
    `close` (connection closed before anything is done), `errcode`, `short_pages` (lists in
    half-full and empty pages). A 45009 may speak of a `window`, whatever limit was met: the real
    platforms' words are not to be trusted either (contract/wechat D1). Callback: `duplicate` and
    `replay` (`copies` more posts, newly signed or byte for byte), `delay` (seconds), `reorder`
    (hold `times` events, release in reverse), `wrong_signature`, `wrong_receiveid`,
    `stale_timestamp` (seconds old), `drop`. `times` counts calls or events; without it, until
    cleared. `path` is an API path with or without its base; without it, every path.
    """

    model_config = ConfigDict(extra="forbid")

    target: Literal["api", "callback"]
    kind: str
    path: str = ""
    times: int | None = Field(default=None, ge=1)
    seconds: float = Field(default=0, ge=0, le=86_400)
    errcode: int = 0
    window: Literal["minute", "hour", "day", "month"] | None = None
    status: int = Field(default=503, ge=500, le=599)
    copies: int = Field(default=1, ge=1, le=1000)

    @model_validator(mode="after")
    def _fits_target(self) -> Fault:
        if self.kind not in (API_KINDS if self.target == "api" else CALLBACK_KINDS):
            raise ValueError(f"no fault {self.kind!r} for {self.target}")
        if self.kind == "errcode" and not self.errcode:
            raise ValueError("errcode is missing")
        if self.kind == "reorder" and not self.times:
            raise ValueError("reorder needs times: how many events to hold")
        return self

    @property
    def text(self) -> str:
        """What the error says; empty for the code's usual words."""
        return LIMIT_TEXTS[self.window] if self.window and self.errcode == 45009 else ""

    def matches(self, path: str, *, token_call: bool) -> bool:
        """Whether an API call to `path` meets this fault; token calls never answer "bad token"
        unless named."""
        if self.path:
            return path == self.path or path.endswith("/" + self.path.lstrip("/"))
        return not (token_call and self.errcode in TOKEN_ERRORS)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What one API call meets: a wait, and at most one other fault."""

    seconds: float = 0
    fault: Fault | None = None


class Faults:
    """The faults in force, oldest first."""

    def __init__(self) -> None:
        self.active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.active.append(fault)

    def clear(self) -> None:
        self.active.clear()

    def api(self, path: str, *, token_call: bool) -> Trouble:
        """The trouble for one API call; counts it."""
        if not self.active:
            return Trouble()
        wait = 0.0
        chosen = None
        for fault in list(self.active):
            if fault.target != "api" or not fault.matches(path, token_call=token_call):
                continue
            if fault.kind == "latency":
                wait += fault.seconds
            elif chosen is None:
                chosen = fault
            else:
                continue
            self._count(fault)
        return Trouble(wait, chosen)

    def callback(self) -> Fault | None:
        """The fault for the next callback event; counts it."""
        fault = next((f for f in self.active if f.target == "callback"), None)
        if fault is None:
            return None
        seen = fault.model_copy()
        self._count(fault)
        return seen

    def _count(self, fault: Fault) -> None:
        if fault.times is None:
            return
        fault.times -= 1
        if fault.times == 0:
            self.active.remove(fault)
