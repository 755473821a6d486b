"""A verb is one module and a line of the registry: a process that has one more runs it from the file to `why`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import pytest

from campaigns.document.reading import DocumentError, read
from deploy.parts import environment
from deploy.processes import ROOT
from services.container import Services
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support.documents import BRANCHES, WELCOME


async def knowing(demo: Services, command: str) -> Any:
    """What a process that knows the verb answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.made_up_verb", command),
        cwd=ROOT,
        env=environment(demo.settings),
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(answer)


async def test_a_verb_that_one_module_adds_goes_from_the_file_to_the_explanation(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    with pytest.raises(DocumentError, match="invite: unknown key"):
        read(WELCOME + "- {id: evening, invite: {template: hi, seats: 20}}\n", "f.yaml", BRANCHES)
    assert await knowing(demo, "check") == [
        "f.yaml:11: nobody is invited to an evening without seats",
        "f.yaml:11: unknown template nope; expected ['hi', 'note']",
        'f.yaml:11: steps.0.invite.seats: Input should be a valid integer; found the text "many"',
        "f.yaml:11: steps.0.invite.template: missing",
    ]
    await knowing(demo, "publish")
    await tools.scanned(sandbox, http, tools.CODE)
    told = await knowing(demo, "work")
    (run,) = told["why"]["runs"]
    assert (run["status"], run["reason"]) == ("exited", "over")
    assert run["trail"] == [["evening", "invite"], ["bye", "exit"]]
    assert [(one["kind"], one["step"], one["state"], one["reason"]) for one in run["effects"]] == [
        ("invite", "evening", "done", "invited")
    ]
    assert told["stories"] == ["customer.added", "campaign.entered", "invite.asked", "invite.sent"]
    assert [(row["step"], row["label"]["en"], row["customers"]) for row in told["funnel"]] == [
        ("entered", "Entered", 1),
        ("evening", "stage_invite", 1),
    ]
