"""The control plane's own: settings, logs, faults, tokens, the clock, and starting anew."""

from __future__ import annotations

from typing import Any

from sandbox.control import scheduler
from sandbox.control.frame import Ask, Refused, Routes, checked
from sandbox.core.faults import Fault

REVOCATIONS = frozenset({40001, 40014, 42001})


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
    """Put a fault in force; see sandbox.core.faults.Fault for the kinds."""
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
    scheduler.settle(ask.box)
    return {"time": ask.box.clock.now(), "offset": ask.box.clock.offset}


async def check_callback(ask: Ask) -> Any:
    """Do what WeCom and WeChat do when an admin saves the callback settings (C1, A7)."""
    return {"checks": await ask.box.sender.check_urls()}


async def reset(ask: Ask) -> Any:
    """Forget people, ways, tags, tokens, codes, faults and logs; set the clock right."""
    await ask.box.reset()
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
    ("/reset", {"post": reset}),
]
