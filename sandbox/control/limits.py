"""The control plane's limits and switches."""

from __future__ import annotations

from typing import Any

from sandbox.control.frame import Ask, Routes, checked
from sandbox.core.limits import Limits, Plan
from sandbox.core.switches import Switches


async def show_limits(ask: Ask) -> Any:
    """The limits in force, and by path and address how many calls were allowed and refused."""
    return ask.box.limits.shown()


async def set_limits(ask: Ask) -> Any:
    """Other limits from now on; every count begins anew. See sandbox.core.limits.Plan."""
    ask.box.limits = Limits(ask.box.clock, checked(Plan, ask.body, "bad_limits"))
    return ask.box.limits.shown()


async def real_limits(ask: Ask) -> Any:
    """The real figures again; every count begins anew."""
    ask.box.limits = Limits(ask.box.clock)
    return ask.box.limits.shown()


async def show_switches(ask: Ask) -> Any:
    return ask.box.switches.model_dump()


async def set_switches(ask: Ask) -> Any:
    """Turn some switches; the others stay. See sandbox.core.switches.Switches."""
    ask.box.switches = checked(Switches, ask.box.switches.model_dump() | ask.body, "bad_switches")
    return ask.box.switches.model_dump()


async def default_switches(ask: Ask) -> Any:
    """Every switch as it is at the start."""
    ask.box.switches = Switches()
    return ask.box.switches.model_dump()


ROUTES: Routes = [
    ("/limits", {"get": show_limits, "post": set_limits, "delete": real_limits}),
    ("/switches", {"get": show_switches, "post": set_switches, "delete": default_switches}),
]
