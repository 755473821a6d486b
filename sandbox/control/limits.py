"""The control plane's limits and switches."""

from __future__ import annotations

from typing import Any

from sandbox.control.frame import ControlCall, Routes, checked
from sandbox.core.limits import Limits, Plan
from sandbox.core.switches import Switches


async def show_limits(call: ControlCall) -> Any:
    """The limits in force, and by path and address how many calls were allowed and refused."""
    return call.box.limits.shown()


async def set_limits(call: ControlCall) -> Any:
    """Other limits from now on; every count begins anew. See sandbox.core.limits.Plan."""
    call.box.limits = Limits(call.box.clock, checked(Plan, call.body, "bad_limits"))
    return call.box.limits.shown()


async def real_limits(call: ControlCall) -> Any:
    """The real figures again; every count begins anew."""
    call.box.limits = Limits(call.box.clock)
    return call.box.limits.shown()


async def show_switches(call: ControlCall) -> Any:
    return call.box.switches.model_dump()


async def describe_switches(call: ControlCall) -> Any:
    """Every switch with its value, what it is at the start, and what it may be: a JSON schema."""
    values, start = call.box.switches.model_dump(), Switches().model_dump()
    fields = Switches.model_json_schema()["properties"]
    return {
        "switches": [
            {"name": name, "value": values[name], "start": start[name], "schema": schema}
            for name, schema in fields.items()
        ]
    }


async def set_switches(call: ControlCall) -> Any:
    """Turn some switches; the others stay. See sandbox.core.switches.Switches."""
    call.box.switches = checked(
        Switches, call.box.switches.model_dump() | call.body, "bad_switches"
    )
    return call.box.switches.model_dump()


async def default_switches(call: ControlCall) -> Any:
    """Every switch as it is at the start."""
    call.box.switches = Switches()
    return call.box.switches.model_dump()


ROUTES: Routes = [
    ("/limits", {"get": show_limits, "post": set_limits, "delete": real_limits}),
    ("/switches/described", {"get": describe_switches}),
    ("/switches", {"get": show_switches, "post": set_switches, "delete": default_switches}),
]
