"""The control plane's own: settings, logs, faults, tokens, the clock, and starting anew."""

from __future__ import annotations

from typing import Any

from sandbox.control import scheduler
from sandbox.control.frame import ControlCall, Refused, Routes, checked
from sandbox.core.faults import Fault

REVOCATIONS = frozenset({40001, 40014, 42001})


async def health(call: ControlCall) -> Any:
    return {"ok": True, "time": call.box.clock.now(), "people": len(call.box.state.people)}


async def config(call: ControlCall) -> Any:
    """The world without its secrets, and where the product's faces are."""
    world = call.box.world
    options = call.box.options
    corp = world.corp
    branches = {department.id: department.name for department in corp.departments}
    members = []
    for member in corp.members:
        branch = branches.get(member.department, "")
        members.append({"userid": member.userid, "name": member.name, "department": branch})
    return {
        "corp_id": corp.corp_id,
        "corp_name": corp.name,
        "agent_ids": [app.agent_id for app in corp.apps],
        "callback_urls": [options.callback_url or app.callback_url for app in corp.apps],
        "members": members,
        "mini_programs": [{"appid": m.appid, "name": m.name} for m in world.mini_programs],
        "portal_url": options.portal_url,
        "sidebar_url": options.sidebar_url,
        "event_url": options.event_url,
    }


async def calls(call: ControlCall) -> Any:
    """The latest API calls, newest last, and how often each path was called since the start."""
    path = call.query.get("path", "")
    found = [c for c in call.box.journal.calls if path in f"/{c['base']}{c['path']}"]
    counts = {p: n for p, n in call.box.journal.counts.items() if path in p}
    limit = call.limit(100)
    return {"calls": found[-limit:] if limit else [], "counts": counts}


async def deliveries(call: ControlCall) -> Any:
    """The latest callback deliveries, newest last."""
    limit = call.limit(100)
    return {"deliveries": list(call.box.journal.deliveries)[-limit:] if limit else []}


async def welcomes(call: ControlCall) -> Any:
    """Every welcome message that reached a person, oldest first."""
    return {"count": len(call.box.journal.welcomes), "welcomes": list(call.box.journal.welcomes)}


async def list_faults(call: ControlCall) -> Any:
    return {"faults": [f.model_dump() for f in call.box.faults.active]}


async def add_fault(call: ControlCall) -> Any:
    """Put a fault in force; see sandbox.core.faults.Fault for the kinds."""
    call.box.faults.add(checked(Fault, call.body, "bad_fault"))
    return await list_faults(call)


async def clear_faults(call: ControlCall) -> Any:
    """End all faults; held events are released."""
    call.box.faults.clear()
    call.box.sender.release()
    return await list_faults(call)


async def revoke_tokens(call: ControlCall) -> Any:
    """Every token issued so far meets `errcode` from now on."""
    errcode = call.body.get("errcode", 40014)
    if errcode not in REVOCATIONS:
        raise Refused(400, "bad_field", f"errcode: one of {sorted(REVOCATIONS)} is expected")
    return {"revoked": call.box.tokens.revoke(errcode)}


async def advance_clock(call: ControlCall) -> Any:
    """Let seconds pass for codes, tokens and welcome codes; callback timestamps stay with the wall
    clock."""
    seconds = call.number("advance")
    if seconds < 0:
        raise Refused(400, "bad_field", "advance: time cannot run backwards")
    call.box.clock.advance(seconds)
    scheduler.run_due(call.box)
    return {"time": call.box.clock.now(), "offset": call.box.clock.offset}


async def check_callback(call: ControlCall) -> Any:
    """Do what WeCom and WeChat do when an admin saves the callback settings (C1, A7)."""
    return {"checks": await call.box.sender.check_urls()}


async def keep(call: ControlCall) -> Any:
    """Remember people, ways, tags, tokens and logs under a name, for `reset`."""
    call.box.keep(call.text("name"))
    return {"ok": True}


async def reset(call: ControlCall) -> Any:
    """Forget people, ways, tags, tokens, codes, faults and logs, or with `to` what came after they
    were kept under that name; set the clock right."""
    if "to" not in call.body:
        await call.box.reset()
        return {"ok": True}
    try:
        await call.box.go_back(call.text("to"))
    except KeyError:
        raise Refused(404, "nothing_kept", "to: a name under which something was kept") from None
    return {"ok": True}


ROUTES: Routes = [
    ("/health", {"get": health}),
    ("/config", {"get": config}),
    ("/calls", {"get": calls}),
    ("/deliveries", {"get": deliveries}),
    ("/welcomes", {"get": welcomes}),
    ("/faults", {"get": list_faults, "post": add_fault, "delete": clear_faults}),
    ("/tokens/revoke", {"post": revoke_tokens}),
    ("/clock", {"post": advance_clock}),
    ("/callback/check", {"post": check_callback}),
    ("/keep", {"post": keep}),
    ("/reset", {"post": reset}),
]
