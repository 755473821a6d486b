"""The console's tags: made, renamed, merged and deleted on their pages, by whoever may."""

from __future__ import annotations

import re

import httpx

from campaigns.corp_tags import acts
from customers.actors import ClerkActor
from customers.segments import document, versions
from customers.wecom_mirror import details, tags
from operations import profiling
from services.container import Services
from tests.conftest import Sandbox
from tests.http.conftest import Clerk, post_form
from tests.support import jobs
from tests.support.banks import open_bank

TAGS = "/console/tags"


async def made(clerk: httpx.AsyncClient, services: Services, group: str, *names: str) -> dict[str, str]:
    """New tags from the page's form: tag → address of its page."""
    answer = await post_form(clerk, TAGS, TAGS, group=group, names="\n".join(names))
    assert answer.status_code == 200
    listed = await tags.listed(await open_bank(services, "demo"))
    return {row["tag"]: f"{TAGS}/{row['tag_id']}" for row in listed}


async def test_tags_are_made_with_who_has_and_who_uses_them(clerk: Clerk, demo: Services, sandbox: Sandbox) -> None:
    lin = await clerk("lin")
    pages = await made(lin, demo, "来源", "一线", "二线")
    bank = await open_bank(demo, "demo")
    person = await sandbox.person()
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    tag_id = pages["一线"].rpartition("/")[2]
    await bank.wecom.tags.mark("rm.chen", person["external_userid"], add=[tag_id])
    await details.fetch(bank, person["external_userid"])
    demo.cache.clear()
    page = (await lin.get(f"{pages['一线']}?lang=en")).text
    row = re.search(r">一线</a></td>\s*<td class=\"text-end\">(\d+)</td>\s*<td>(.*?)</td>", page, re.S)
    assert row is not None
    assert (row[1], 'href="/console/campaigns/acq-branch"' in row[2], "step" in row[2]) == ("1", True, True)
    assert "Although it is used" in page
    again = await post_form(lin, TAGS, TAGS, group="来源", names="一线")
    assert "These tags are there already." in again.text
    long = await post_form(lin, TAGS, TAGS, group="来源", names="字" * 31)
    assert (long.status_code, "1 to 30 characters" in long.text, "字" * 31 in long.text) == (400, True, True)
    other = await post_form(lin, TAGS, TAGS, group="南山", names="新客", strategy="x")
    assert other.status_code == 400


async def test_a_name_a_merge_and_a_deletion_go_through_the_pages(
    clerk: Clerk, demo: Services, sandbox: Sandbox
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    pages = await made(lin, demo, "等级", "金卡", "银卡", "铜卡")
    gold, silver = pages["金卡"], pages["银卡"]
    assert (await post_form(lin, gold, f"{gold}/name", name="银卡")).status_code == 409
    assert "已改名" in (await post_form(lin, gold, f"{gold}/name", name="金牌")).text
    assert (await post_form(lin, silver, f"{silver}/order", order="5")).status_code == 200
    bank = await open_bank(demo, "demo")
    assert [row["tag"] for row in await tags.listed(bank)][0] == "银卡"
    bronze = pages["铜卡"]
    into = {"into": silver.rpartition("/")[2], "reason": "两个是一个"}
    assert (await post_form(lin, bronze, f"{bronze}/end", **into)).status_code == 200
    assert "waits for approval" in (await lin.get(f"{TAGS}?lang=en")).text
    found = re.search(r"/console/tags/acts/([^/]+)/approve", (await zhao.get(TAGS)).text)
    assert found is not None
    act = f"{TAGS}/acts/{found[1]}"
    assert (await post_form(lin, TAGS, f"{act}/approve")).status_code == 403
    assert (await post_form(zhao, TAGS, f"{act}/approve")).status_code == 200
    assert "<progress" in (await zhao.get(f"{TAGS}/progress")).text
    await jobs.run(bank, acts.TASK)
    assert sorted(row["tag"] for row in await tags.listed(bank)) == ["金牌", "银卡"]
    assert (await lin.get(bronze)).status_code == 404
    assert (await post_form(zhao, TAGS, f"{act}/cancel")).status_code == 409


async def test_a_used_tag_is_refused_with_the_campaigns_name_and_an_administrators_in_words(
    clerk: Clerk, demo: Services, sandbox: Sandbox
) -> None:
    lin = await clerk("lin")
    await sandbox.control("POST", "tags", {"group_name": "等级", "names": ["黑卡"]})
    pages = await made(lin, demo, "来源", "一线")
    used, black = pages["一线"], pages["黑卡"]
    refused = await post_form(lin, used, f"{used}/end", reason="没人用")
    assert (refused.status_code, "仍在使用：网点拉新" in refused.text) == (409, True)
    refused = await post_form(lin, black, f"{black}/name", name="黑金")
    assert (refused.status_code, "由其他应用建立" in refused.text) == (409, True)
    assert "黑卡" in (await lin.get(TAGS)).text


async def test_a_segment_that_asks_for_a_tag_stands_beside_it_by_its_name(clerk: Clerk, demo: Services) -> None:
    lin, bank = await clerk("lin"), await open_bank(demo, "demo")
    gold = (await made(lin, demo, "等级", "金卡"))["金卡"]
    author, other = (ClerkActor("demo", login, login, frozenset()) for login in ("wang", "zhao"))
    said = {"name": {"zh": "金卡客户", "en": "Gold"}, "rule": "tag('等级:金卡')"}
    words = await profiling.vocabulary(bank)
    number = await versions.submit(bank, author, "gold", document.read("gold", said), words)
    await versions.approve(bank, other, "gold", number, words)
    demo.cache.clear()
    page = (await lin.get(gold)).text
    assert re.search(r'href="/console/segments/gold">金卡客户</a> <span[^>]*>客群</span>', page) is not None
    refused = await post_form(lin, gold, f"{gold}/end", reason="没人用")
    assert (refused.status_code, "仍在使用：金卡客户" in refused.text) == (409, True)
    assert (await post_form(lin, gold, f"{gold}/end", reason="没人用", force="on")).status_code == 200
    page = (await lin.get(TAGS)).text
    assert re.search(r"仍在使用：</strong> (<[^>]*>)?金卡客户", page) is not None, page


async def test_whoever_only_reads_sees_no_form(clerk: Clerk, demo: Services) -> None:
    pages = await made(await clerk("lin"), demo, "等级", "金卡")
    clerks = demo.store.tenant("demo")["clerks"]
    await clerks.update({"login": "zhao"}, {"$set": {"roles": ["auditor"]}})
    demo.cache.clear()
    zhao = await clerk("zhao")
    page = await zhao.get(pages["金卡"])
    assert (page.status_code, f"{pages['金卡']}/name" in page.text) == (200, False)
    home = await zhao.get("/console/account")
    token = re.search(r'name="_xsrf" value="([^"]+)"', home.text)
    assert token is not None
    fields = {"_xsrf": token[1], "name": "x"}
    assert (await zhao.post(f"{pages['金卡']}/name", data=fields)).status_code == 403
    await clerks.update({"login": "zhao"}, {"$set": {"roles": ["viewer"]}})
    demo.cache.clear()
    assert (await (await clerk("zhao")).get(TAGS)).status_code == 403
