"""The welcome: from the callback that was sent to the call that greets, through server, broker and
worker."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

import httpx
import yaml

from bench import callbacks, load
from bench.bank import TENANT
from bench.stage import Stage
from campaigns.channels import live_codes
from campaigns.publishing import versions
from customers.banks.bank import open_bank
from deploy.processes import ROOT

CAMPAIGN_FILE = ROOT / "config" / "demo" / "campaigns" / "branch-acquisition.yaml"
AT_MOST_MS = 1000.0
CODE_LIVES_SECONDS = 20.0


async def measure(stage: Stage) -> dict[str, Any]:
    """The row's line. Raises LoadError unless every callback led to exactly one welcome."""
    states = await _publish(stage)
    scale = stage.scale
    made = [callbacks.added(states[index % len(states)]) for index in range(scale.welcomes)]
    due = await load.pace(
        stage.ports["product"],
        [data for _, data in made],
        rate=scale.welcome_rate,
        connections=scale.connections,
    )
    sent = {code: when for (code, _), when in zip(made, due, strict=True)}
    arrived = await _arrivals(stage, len(sent))
    never = [code for code in sent if code not in arrived]
    again = [code for code, times in arrived.items() if len(times) > 1]
    if never or again or len(arrived) != len(sent):
        raise load.LoadError(
            f"of {len(sent)} customers {len(never)} were never greeted and {len(again)} more than once"
        )
    waits = sorted((arrived[code][0] - when) * 1000 for code, when in sent.items())
    cuts = quantiles(waits, n=100, method="inclusive")
    return {
        "bench": "welcome",
        "unit": "ms",
        "product": round(cuts[94], 1),
        "naive": None,
        "ceiling": None,
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "max_ms": round(waits[-1], 1),
        "at_most_ms": AT_MOST_MS,
        "callbacks": len(sent),
        "callbacks_per_second": scale.welcome_rate,
        "welcomes": len(waits),
    }


async def _publish(stage: Stage) -> list[str]:
    """Puts the demonstration campaign live from yesterday on; the states of its live codes."""
    document = yaml.safe_load(CAMPAIGN_FILE.read_text(encoding="utf-8"))
    today = datetime.now(UTC).date()
    document["window"] = {"from": today - timedelta(days=1), "to": today + timedelta(days=30)}
    document["disclosure"]["claim_by"] = today + timedelta(days=30)
    text = yaml.safe_dump(document, allow_unicode=True)
    await versions.apply(await open_bank(stage.services, TENANT), text, CAMPAIGN_FILE.name, "cli")
    at_bank = await open_bank(stage.services, TENANT)
    return [code["state"] for code in await live_codes.of_campaign(at_bank, document["id"])]


async def _arrivals(stage: Stage, expected: int) -> dict[str, list[float]]:
    """When each welcome arrived, by code: once all are there (and a second later, for one too many)
    or all codes are dead."""
    deadline = time.monotonic() + CODE_LIVES_SECONDS
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
        while time.monotonic() < deadline:
            if len((await client.get(f"{stage.wecom}/seen")).json()["welcomes"]) >= expected:
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)
        seen: dict[str, list[float]] = (await client.get(f"{stage.wecom}/seen")).json()["welcomes"]
        return seen
