"""A paused campaign: what its codes go on doing, and what a clerk is told before he pauses."""

from __future__ import annotations

import pytest

from campaigns.publishing import versions
from services.container import Services
from services.errors import InvalidInput
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support.banks import open_bank
from tests.support.documents import LIN, WELCOME


@pytest.mark.parametrize(("greet", "count"), [("plain", 1), ("none", 0)])
async def test_who_comes_while_it_is_paused_is_greeted_as_the_bank_chose(
    demo: Services, sandbox: Sandbox, http: object, greet: str, count: int
) -> None:
    bank = await open_bank(demo, "demo")
    await versions.pause(bank, LIN, "acq-branch", greet)
    await sandbox.scan(await sandbox.person("刘敏"), state=tools.NANSHAN)
    for _ in range(2):
        await tools.all_work(demo)
    assert (await tools.welcomes(sandbox), await tools.runs(demo)) == (count, [])
    assert "welcome.sent" in await tools.story(demo) if count else True
    await versions.resume(bank, LIN, "acq-branch")
    await sandbox.scan(await sandbox.person("王强"), state=tools.NANSHAN)
    await tools.all_work(demo)
    assert (await tools.welcomes(sandbox), len(await tools.runs(demo))) == (count + 1, 1)


async def test_a_code_of_another_campaign_is_not_greeted_plainly(
    demo: Services, sandbox: Sandbox, http: object
) -> None:
    await tools.go_live(demo, WELCOME + "- {id: bye, exit: silent}\n")
    await versions.pause(await open_bank(demo, "demo"), LIN, "acq-branch", "plain")
    await sandbox.scan(await sandbox.person("刘敏"), state=tools.CODE)
    await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 0


async def test_before_pausing_it_is_said_whom_it_concerns(demo: Services, sandbox: Sandbox, http: object) -> None:
    for name in ("刘敏", "王强"):
        await sandbox.scan(await sandbox.person(name), state=tools.NANSHAN)
    await tools.all_work(demo)
    bank = await open_bank(demo, "demo")
    reach = await versions.reach(bank, LIN, "acq-branch")
    told = {name: reach[name] for name in ("state", "under_way", "overdue", "codes", "rewards", "greet")}
    assert told == {"state": "live", "under_way": 2, "overdue": 0, "codes": 3, "rewards": 1, "greet": "none"}
    await versions.pause(bank, LIN, "acq-branch", "plain")
    assert (await versions.reach(bank, LIN, "acq-branch"))["greet"] == "plain"
    (row,) = await demo.store.tenant("demo")["audit"].find({"object": "acq-branch", "action": "campaign.paused"})
    assert row["data"] == {"greet": "plain"}


async def test_nothing_else_can_be_chosen(demo: Services) -> None:
    with pytest.raises(InvalidInput):
        await versions.pause(await open_bank(demo, "demo"), LIN, "acq-branch", "a discount")
    assert (await versions.get_campaign(await open_bank(demo, "demo"), LIN, "acq-branch"))["state"] == "live"
