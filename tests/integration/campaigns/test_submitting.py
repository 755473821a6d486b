"""Handing in a campaign: what is asked before it is a version, and what the checker must say."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from campaigns.publishing import notices, versions
from campaigns.publishing.versions import EditedMeanwhile, NoticesUnseen
from customers.approvals import approvals
from services.container import Services
from services.errors import Conflict, InvalidInput, Unavailable
from tests.conftest import DEMO_CAMPAIGNS
from tests.support.banks import open_bank
from tests.support.documents import LIN, REWARDS, WELCOME, ZHAO

HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"
COPY = (DEMO_CAMPAIGNS / "branch-acquisition.yaml").read_text(encoding="utf-8").replace("id: acq-branch", "id: copy")


async def test_a_copy_on_the_same_code_asks_first_and_the_checker_sees_it(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    with pytest.raises(NoticesUnseen) as asked:
        await versions.submit(bank, LIN, COPY, of="", seen="")
    codes = [one.code for one in asked.value.notices]
    assert codes == [f"notice_overlap_{what}" for what in ("codes", "audience", "welcome", "rewards")]
    assert "网点拉新" in asked.value.notices[0].say("zh")
    assert await demo.store.tenant("demo")["campaign_versions"].count({"campaign": "copy"}) == 0
    await versions.submit(bank, LIN, COPY, of="", seen=asked.value.digest)
    shown = await versions.get_campaign(bank, ZHAO, "copy")
    assert [one.code for one in shown["notices"]] == codes
    await versions.approve(bank, ZHAO, "copy", 1)


async def test_a_campaign_for_others_asks_nothing(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await versions.submit(bank, LIN, WELCOME + HI, of="", seen="")
    await versions.submit(bank, LIN, REWARDS, of="", seen="")


async def test_other_notices_than_were_seen_are_asked_for_again(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    with pytest.raises(NoticesUnseen) as asked:
        await versions.submit(bank, LIN, COPY, of="", seen="")
    more = COPY.replace("claim_by: 2027-12-31", "claim_by: 2027-01-01")
    with pytest.raises(NoticesUnseen) as again:
        await versions.submit(bank, LIN, more, of="", seen=asked.value.digest)
    assert "notice_claim_early" in [one.code for one in again.value.notices]


async def test_an_id_that_is_taken_is_no_new_campaign_and_an_id_never_changes(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    text = COPY.replace("id: copy", "id: acq-branch").replace("stock: 20000", "stock: 5")
    with pytest.raises(Conflict, match="campaign_exists") as refused:
        await versions.submit(bank, LIN, text, of="")
    assert refused.value.data == {"id": "acq-branch"}
    with pytest.raises(Conflict, match="campaign_renamed"):
        await versions.submit(bank, LIN, COPY, of="acq-branch")
    assert (await versions.get_campaign(bank, LIN, "acq-branch"))["pending_version"] is None


async def test_the_same_text_is_no_new_version(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    live = (await versions.get_campaign(bank, LIN, "acq-branch"))["text"]
    with pytest.raises(Conflict, match="version_unchanged") as refused:
        await versions.submit(bank, LIN, live, of="acq-branch")
    assert refused.value.data["version"] == "1"
    changed = live.replace("stock: 20000", "stock: 5")
    await versions.submit(bank, LIN, changed, of="acq-branch")
    with pytest.raises(Conflict, match="version_unchanged"):
        await versions.submit(bank, ZHAO, changed, of="acq-branch")
    await versions.submit(bank, ZHAO, changed.replace("stock: 5", "stock: 6"), of="acq-branch")
    await versions.submit(bank, ZHAO, changed, of="acq-branch")  # back to an earlier one is a version


async def test_wording_that_only_looks_banned_passes_with_the_checkers_reason(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    warning = WELCOME.replace("您好", "您好，请关注账户安全，收到送款短信切勿转账") + HI
    with pytest.raises(NoticesUnseen) as asked:
        await versions.submit(bank, LIN, warning, of="", seen="")
    (notice,) = asked.value.notices
    assert (notice.code, notice.line, notice.data["words"]) == ("wording_soft", 8, "关注账户安全，收到送")
    await versions.submit(bank, LIN, warning, of="", seen=asked.value.digest)
    with pytest.raises(InvalidInput, match="overrule_reason_missing"):
        await versions.approve(bank, ZHAO, "hello", 1, "  ")
    await versions.approve(bank, ZHAO, "hello", 1, "反诈提示")
    (row,) = await demo.store.tenant("demo")["audit"].find({"object": "hello", "action": "campaign.published"})
    assert row["data"]["reason"] == "反诈提示"
    assert "关注账户安全" in row["data"]["overruled"][0]


async def test_days_that_promise_too_little_are_told(demo: Services) -> None:
    bank = await open_bank(demo, "demo")

    def codes(text: str) -> list[str]:
        document = versions.reading.read(text, "t", bank.branches)
        return [one.code for one in notices._days(bank, document)]

    yesterday, today = bank.today() - timedelta(days=1), bank.today()
    assert codes(REWARDS) == []
    early = REWARDS.replace("claim_by: 2029-12-31", f"claim_by: {today}")
    assert codes(early) == ["notice_claim_early"]
    assert codes(early.replace(str(today), str(yesterday))) == ["notice_claim_over"]
    over = REWARDS.replace("to: 2029-12-31", f"to: {yesterday}")
    assert codes(over) == ["notice_window_over"]


async def test_a_rejected_version_tells_its_maker_why(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await versions.submit(bank, LIN, REWARDS)
    await versions.reject(bank, ZHAO, "shop", 1, "预算未批")
    told = {"version": 1, "author": "lin", "by": "赵敏", "reason": "预算未批"}
    assert (await versions.get_campaign(bank, LIN, "shop"))["rejected"] == told
    listed = {row["id"]: row for row in await versions.list_campaigns(bank, LIN)}
    assert listed["shop"]["rejected"] == told
    await versions.submit(bank, LIN, REWARDS.replace("stock: 10", "stock: 5"))
    assert (await versions.get_campaign(bank, LIN, "shop"))["rejected"] is None


async def test_what_a_version_changes_is_found_once_and_bounded(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await versions.submit(bank, LIN, REWARDS)
    await versions.approve(bank, ZHAO, "shop", 1)
    longer = REWARDS + "".join(f"# {n}\n" for n in range(9_000))
    await versions.submit(bank, LIN, longer)
    (row,) = await demo.store.tenant("demo")["campaign_versions"].find({"campaign": "shop", "version": 2})
    assert len(row["diff"].splitlines()) == versions.changes.MOST_LINES + 1
    assert (await versions.get_campaign(bank, ZHAO, "shop"))["diff"] == row["diff"]


@pytest.mark.parametrize("base", [1, None])
async def test_of_many_texts_that_began_with_the_same_version_one_is_submitted(
    demo: Services, base: int | None
) -> None:
    """Without a base, as the command line submits, each is a version and the last one waits."""
    bank = await open_bank(demo, "demo")
    live = (await versions.get_campaign(bank, LIN, "acq-branch"))["text"]

    async def submit(number: int) -> int:
        text = live.replace("stock: 20000", f"stock: {number}")
        try:
            return int(
                (await versions.submit(bank, LIN if number % 2 else ZHAO, text, of="acq-branch", base=base))["version"]
            )
        except (EditedMeanwhile, Unavailable):
            return 0

    made = sorted(await asyncio.gather(*(submit(number) for number in range(100, 108))))
    rows = await demo.store.tenant("demo")["campaign_versions"].count({"campaign": "acq-branch", "version": {"$gt": 1}})
    if base is None:
        assert (made, rows) == (list(range(2, 10)), 8)
    else:
        assert (made[:-1], rows) == ([0] * 7, 1)
    with pytest.raises(EditedMeanwhile) as refused:
        await versions.submit(bank, LIN, live.replace("stock: 20000", "stock: 7"), of="acq-branch", base=1)
    assert refused.value.version == made[-1]
    assert "+    stock: 7" in refused.value.diff


async def test_a_number_that_somebody_took_and_never_used_holds_up_nobody(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    live = (await versions.get_campaign(bank, LIN, "acq-branch"))["text"]
    taken = {"tenant": "demo", "campaign": "acq-branch"}
    await approvals.submit(
        bank, ZHAO, versions.CAMPAIGN, "demo:acq-branch:2", {"document": [taken]}, about="acq-branch"
    )
    with pytest.raises(Unavailable, match="busy"):
        await versions.submit(bank, LIN, live.replace("stock: 20000", "stock: 7"), of="acq-branch", base=1)
    made = await versions.submit(bank, LIN, live.replace("stock: 20000", "stock: 7"), of="acq-branch", base=1)
    assert made["version"] == 3


async def test_what_editors_and_forms_add_is_no_new_version(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    live = (await versions.get_campaign(bank, LIN, "acq-branch"))["text"]
    same = [f"\ufeff{live}", f"{live}\n\n", live.rstrip(), live.replace("\n", "\r\n"), live.replace("\n", " \n")]
    for text in same:
        with pytest.raises(Conflict, match="version_unchanged"):
            await versions.submit(bank, LIN, text, of="acq-branch")
        assert "nothing to do" in (await versions.plan(bank, text, "t"))[0]
        assert "already" in (await versions.apply(bank, text, "t", "cli"))[0]
    await versions.submit(bank, LIN, live.replace("stock: 20000", "stock: 5"), of="acq-branch")
    for text in (live.replace("stock: 20000", "stock: 5  "), live.replace("stock: 20000", "stock: 5") + "\r\n"):
        with pytest.raises(Conflict, match="version_unchanged"):
            await versions.submit(bank, ZHAO, text, of="acq-branch")


async def test_a_version_that_says_the_same_in_other_words_asks_first(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    live = (await versions.get_campaign(bank, LIN, "acq-branch"))["text"]
    owner = "owner: 零售金融部\n"
    for text in (live + "# for the auditors\n", live.replace(owner, "") + owner, live.replace("{zh: 网", "{zh:  网")):
        with pytest.raises(NoticesUnseen) as asked:
            await versions.submit(bank, LIN, text, of="acq-branch", seen="")
        assert [one.code for one in asked.value.notices] == ["notice_same_document"]
        assert "版本 1" in asked.value.notices[0].say("zh")
    await versions.submit(bank, LIN, live + "# for the auditors\n", of="acq-branch", seen=asked.value.digest)


async def test_two_that_wait_on_the_same_code_warn_of_each_other(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    first = WELCOME + HI
    await versions.submit(bank, LIN, first, of="", seen="")
    with pytest.raises(NoticesUnseen) as asked:
        await versions.submit(bank, LIN, first.replace("id: hello", "id: other"), of="", seen="")
    (notice,) = asked.value.notices
    assert (notice.code, notice.data["id"], notice.data["version"]) == ("notice_overlap_waiting", "hello", "1")
    assert "欢迎" in notice.say("zh")
    elsewhere = first.replace("id: hello", "id: other").replace("codes: {c:", "codes: {d:").replace("s('c')", "s('d')")
    await versions.submit(bank, LIN, elsewhere, of="", seen="")
    shown = await versions.get_campaign(bank, ZHAO, "hello")
    assert shown["notices"] == []
    await versions.submit(bank, LIN, first.replace("id: hello", "id: other"), of="other", seen=asked.value.digest)
    shown = await versions.get_campaign(bank, ZHAO, "hello")
    assert [one.code for one in shown["notices"]] == ["notice_overlap_waiting"]


@pytest.mark.parametrize("state", ["live", "paused"])
@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("links: {branch-q1: {branches: all}}", "codes"), ("group_codes: {branch-q1: {groups: [g]}}", "codes"),
        ("codes: {branch-q1: {per: branch}}", "codes"),
        ("entry: {by: scan}\nsteps: []", "audience"),
        ('entry: {by: scan, when: "follow.add_way == 1"}\nsteps: []', "audience"),
        ("entry: {by: scan, when: \"channel.code not in codes('c')\"}\ncodes: {c: {}}\nsteps: []", "audience"),
        ("entry: {by: scan, when: \"channel.code in codes('c') or customer.bound\"}\ncodes: {c: {}}", "audience"),
        ("entry: {by: scan, when: \"channel.code in codes('c') and customer.bound\"}\ncodes: {c: {}}", ""),
        ("entry: {by: scan, when: \"channel.code in codes('c') or channel.code in codes('d')\"}\n"
         "codes: {c: {}, d: {}}", ""),
        ("rewards: {cup: {kind: code, title: {zh: 咖啡券 一份}, cost: 1, stock: 1, claim: anyone}}\n"
         "money: {budget: 1}\ndisclosure: {rules_zh: r, odds_or_quantity: 一份, claim_by: 2029-12-31, host: h, contact: c}",
         "rewards"),
    ],
)  # fmt: skip
async def test_whatever_a_campaign_shares_with_another_is_told(
    demo: Services, state: str, part: str, code: str
) -> None:
    bank = await open_bank(demo, "demo")
    if state == "paused":
        await versions.pause(bank, LIN, "acq-branch")
    text = f"kind: campaign/v1\nid: other\nname: {{zh: 另一个}}\nwindow: {{from: 2026-01-01, to: 2029-12-31}}\n{part}\n"
    read = await versions._read(bank, text, "t")
    assert [one.code for one in read.notices] == ([f"notice_overlap_{code}"] if code else [])
