"""Every page of every face, in both languages and at four widths, with data as unkind as it comes: nothing
runs out of the page, nothing is shown as a code, nothing is left untranslated, no row is blank."""

from __future__ import annotations

import gettext
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
import yaml
from playwright.async_api import Browser

from customers import relationships, timeline
from customers.access import rm
from customers.actors import StaffActor
from customers.alerts import alarms
from customers.banks import apply
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.wecom_mirror import tags
from deploy.processes import ROOT
from rewards.points import corrections, program
from services.container import Services
from tests.browser.watching import Watched, browser, watched
from tests.conftest import DEMO_BANK, Sandbox, Server
from tests.http.conftest import PASSWORD, post_form, sign_in
from tests.integration.rewards import points_world
from tests.support import bank_systems
from tests.support.banks import open_bank
from tests.support.forms import forms_of

WIDTHS = (360, 400, 1024, 1440)
APPID = "wx5ab0000000000001"
LONG = "欧阳娜娜阿依古丽买买提江艾合买提托合提努尔麦麦提敏热孜万古丽阿卜杜拉"
LATIN = "Wolfeschlegelsteinhausenbergerdorffwelchevoraltern"
LONG_ID = "a-long-id-" * 3 + "x"
ONLY_CHINESE = "只有中文名的活动" * 6

OVERFLOWING = """() => {
  const wide = document.documentElement.clientWidth, found = [];
  const scrolls = e => { for (let p = e; p && p !== document.body; p = p.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return true; return false; };
  for (const e of document.querySelectorAll('body *')) {
    const r = e.getBoundingClientRect();
    if (r.width > 1 && r.right > wide + 1 && !scrolls(e)) 
      found.push(`${e.tagName}.${e.className}: ${e.innerText || ''}`.slice(0, 90));
  }
  return found.slice(0, 4);
}"""
THIN = """() => [...document.querySelectorAll('td')].filter(e => e.innerText.length > 40 && e.getBoundingClientRect().width < 120)
  .map(e => `${e.getBoundingClientRect().width}: ${e.innerText.slice(0, 60)}`).slice(0, 4)"""
BLANK = """() => [...document.querySelectorAll('tbody tr, main li, main a, main button, main h1, main h2')]
  .filter(e => e.checkVisibility({contentVisibilityAuto: true}))
  .filter(e => !e.innerText.trim() && !e.querySelector("img, svg, input")).map(e => e.outerHTML.slice(0, 120))"""
READ = """also => { const left = document.querySelectorAll('pre, textarea' + also); let text = document.body.innerText;
  for (const e of left) text = text.replace(e.innerText, ''); return text; }"""
WRAPPED = """() => [...document.querySelectorAll('.topbar nav')].reduce((most, nav) => Math.max(most,
  new Set([...nav.querySelectorAll('a')].map(a => Math.round(a.getBoundingClientRect().top))).size - 1), 0)"""
RAW = re.compile(
    r"\b(?:code|kind|data):[a-z]|\b[a-z]+(?:_[a-z]+){2,}\b|\blimiter\.|\bhalf\b|\b(?:True|False)\b|\brm\.[a-z]+\b"
    r"|\bwr[A-Za-z0-9_-]{20,}|(?<![\w.])[0-9a-f]{12,}\b"
)
"""What no page shows where people read: keys of the catalogue, codes, Python's words, userids, chat ids, hashes."""
ENGLISH = re.compile(r"\b[A-Za-z][a-z']+(?:[ ,]+[A-Za-z][a-z']+){2,}")
"""A run of English words, which no Chinese page says."""
CHINESE = {
    text
    for _, text in gettext.translation("yinqiao", ROOT / "web" / "locale", ["zh_CN"])._catalog.items()  # type: ignore[attr-defined]
    if isinstance(text, str) and re.search("[\u4e00-\u9fff]", text) and "%" not in text
}
"""What the Chinese pages say, and no English one."""


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


@pytest.fixture
async def unkind(demo: Services, sandbox: Sandbox, server: Server) -> dict[str, object]:
    """A bank with long names, a campaign without an English one, alarms, events, a hand-over, changes."""
    bank = await open_bank(demo, "demo")
    person = await sandbox.person(LONG, phone="13812345678")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    external = (await sandbox.control("GET", f"people/{person['id']}"))["external_userid"]
    cid = await resolution.identify(bank, resolution.Facts(external_userid=external, name=LONG))
    await relationships.changed(bank, "rm.chen", cid, at=demo.clock(), active=True)
    await rm.note_customer(bank, StaffActor("demo", "rm.chen"), cid, "备" * 20, LATIN * 2)
    other = await resolution.identify(bank, resolution.Facts(external_userid="wmOther", name=LATIN))
    await relationships.changed(bank, "rm.chen", other, at=demo.clock(), active=True)
    raised: list[tuple[str, dict[str, object]]] = [
        ("customer.lost", {"userid": "rm.chen"}),
        ("code.nobody", {"state": "branch-q1.sz-nanshan"}),
        ("staff.left", {"userid": "rm.li", "customers": 3}),
    ]
    for number, (kind, data) in enumerate(raised):
        await alarms.raise_alarm(bank, kind, f"e{number}", userids=["rm.chen", "rm.li"], cid=cid, **data)
    rows = demo.store.tenant("demo")
    await rows["staff"].update({"_id": "demo:rm.sun"}, {"$set": {"name": LONG}})
    await rows["staff"].update({"_id": "demo:rm.chen"}, {"$set": {"name": LATIN}})
    long = {"title": {"zh": LATIN}, "text": {"zh": LATIN * 3}}
    await rows["rewards"].update({"_id": {"$regex": "flash.voucher$"}}, {"$set": long})
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=15.0) as lin:
        await sign_in(lin, "demo", "lin", PASSWORD)
        rows = await demo.store.tenant("demo")["campaign_versions"].find({"campaign": "flash", "version": 1})
        text = re.sub(r"^id: .*$", f"id: {LONG_ID}", str(rows[0]["text"]), flags=re.M)
        text = re.sub(r"^name: .*$", f"name: {{zh: {ONLY_CHINESE}}}", text, flags=re.M)
        answer = await post_form(lin, "/console/campaigns/new", "/console/campaigns", text=text)
        if answer.status_code != 200:
            form = next(one for one in forms_of(answer.text) if one.action == "/console/campaigns")
            sure = {**form.sent(), "confirmed": "yes"}
            answer = await lin.post(form.action, data=sure, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        page = (await lin.get("/console/handover/new?mode=onjob&giver=rm.chen")).text
        form = next(one for one in forms_of(page) if one.action == "/console/handover")
        batch = await lin.post(form.action, data={**form.sent(), "message": LATIN * 3}, follow_redirects=True)
        rule = {"name": "保本承诺" * 4, "kind": "block", "words": LATIN[:32] + "\n保本", "userids": "rm.chen rm.li"}
        await post_form(lin, "/console/intercepts", "/console/intercepts", **rule)
        await post_form(lin, "/console/tags", "/console/tags", group="W" * 30, names="w" * 30)
        (tag,) = [f"/console/tags/{row['tag_id']}" for row in await tags.listed(bank) if row["tag"] == "w" * 30]
        await post_form(lin, tag, f"{tag}/end", reason=LATIN)
    await _audiences(bank, server, cid)
    await _points(bank, cid)
    return {
        "person": person,
        "cid": cid,
        "tag": tag,
        "batch": str(batch.url.path),
        "campaign": f"/console/campaigns/{LONG_ID}",
    }


async def _audiences(bank: Bank, server: Server, cid: str) -> None:
    """What a system of the bank's sent, a phone that several have, a segment with a long rule, a list, and a webhook
    with a delivery that failed."""
    phone = "+8613800000001"
    for unionid in ("u-1", "u-2"):
        await bank_systems.customer(bank, unionid=unionid, phone=phone, name=LONG)
    bad = bank_systems.event("e3", "never.declared")
    await bank_systems.take(bank, [bank_systems.event("e1", phone=phone), bank_systems.event("e2", number="C9"), bad])
    await bank_systems.split(bank)
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=15.0) as lin:
        await sign_in(lin, "demo", "lin", PASSWORD)
        named = {"name_zh": LONG, "name_en": LATIN}
        rule = " or ".join(f"count(event('app.login'), {days}d) >= 3" for days in range(1, 20))
        await post_form(lin, "/console/segments/new", "/console/segments", segment=LONG_ID, rule=rule, **named)
        await post_form(lin, "/console/lists", "/console/lists", list=LONG_ID, **named)
        refused = {"name_zh": LONG, "name_en": LATIN, "rule": "customer.bound and customer.balance_bnd == 'A'"}
        assert (await post_form(lin, "/console/segments/new", "/console/segments", **refused)).status_code == 400
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    file["webhooks"] = [{"id": "core", "url": f"https://{LATIN}.bank.example/in", "events": ["customer.added"]}]
    await apply.apply_tenant(bank.services, yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    told = await open_bank(bank.services, "demo")
    for key in ("k1", "k2"):
        await timeline.record(told, cid, "customer.added", key, userid="rm.chen", state="spring")
    first, _ = await told.db["webhook_deliveries"].find({}, sort=[("noted_at", 1)])
    failed = {"open": False, "state": "failed", "reason": "webhook_refused", "status": 422, "attempts": 74}
    await told.db["webhook_deliveries"].update({"_id": first["_id"]}, {"$set": failed})


async def _points(bank: Bank, cid: str) -> None:
    """A programme with a long rule and one that waits, points that expire, and a correction."""
    login = {**points_world.LOGIN, "title": {"zh": LONG, "en": LATIN}}
    await points_world.begin(bank, rules={"login": login})
    await points_world.give(bank, cid, 9_999_999_999, bank.utc() + timedelta(days=3))
    await corrections.ask(bank, points_world.LIN, cid, -5_000, "误发 " + LATIN)
    changed = points_world.document(rules={"login": {**login, "points": 20}}, lifetime=30)
    await program.submit(bank, points_world.LIN, 1, changed)


async def _events(server: Server) -> list[str]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=15.0) as lin:
        await sign_in(lin, "demo", "lin", PASSWORD)
        return re.findall(r'href="(/console/events/[0-9a-f:a-z-]+)"', (await lin.get("/console/events")).text)[:2]


async def _read(visitor: Watched, address: str, lang: str, codes: bool = False) -> list[str]:
    """What is wrong with the page at every width."""
    joint = "&" if "?" in address else "?"
    await visitor.go(f"{address}{joint}lang={lang}")
    return [f"{lang} {address.split('/', 3)[-1]}: {one}" for one in await _look(visitor, lang, codes)]


async def _look(visitor: Watched, lang: str, codes: bool = False) -> list[str]:
    """What is wrong with the page that is shown, at every width; with `codes` it may have some where
    they look like it, without `lang` it is in both languages."""
    wrong: list[str] = []
    for width in WIDTHS:
        await visitor.page.set_viewport_size({"width": width, "height": 800})
        scroll = await visitor.page.evaluate("document.documentElement.scrollWidth")
        if scroll > width:
            wrong.append(f"{width}: {scroll} px wide: {await visitor.page.evaluate(OVERFLOWING)}")
        if width >= 1024:
            wrong += [f"{width}: thin {cell}" for cell in await visitor.page.evaluate(THIN)]
            wrong += [f"{width}: the navigation wraps"] if await visitor.page.evaluate(WRAPPED) else []
    wrong += [f"blank: {row}" for row in await visitor.page.evaluate(BLANK)]
    if not lang:
        return wrong
    wrong += [
        f"raw: {found}"
        for found in sorted(set(RAW.findall(await visitor.page.evaluate(READ, ", code" if codes else ""))))
    ]
    text = await visitor.page.evaluate(READ, ", code")
    if lang == "zh":
        return wrong + [f"English: {found}" for found in sorted(set(ENGLISH.findall(text)))]
    return wrong + [f"Chinese: {line}" for line in sorted({line.strip() for line in text.splitlines()} & CHINESE)]


async def _search(clerk: Watched, address: str) -> str:
    """Looks for a phone; the address of what was found."""
    await clerk.go(address)
    await clerk.page.fill("input[name=q]", "13812345678")
    await clerk.page.click("main form[role=search] button")
    return clerk.page.url


async def _sign_in_again(clerk: Watched, address: str, lang: str) -> list[str]:
    """What is wrong with the page that asks to sign in again when a text was sent too late."""
    await clerk.go(f"{address}?lang={lang}")
    await clerk.page.context.clear_cookies(name="yq_console")
    await clerk.page.fill("textarea", LATIN)
    async with clerk.refusal(401):
        await clerk.page.click("main form button[type=submit]")
    return [f"{lang} sign in again: {one}" for one in await _look(clerk, lang)]


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_every_page_is_whole_at_every_width(
    chrome: Browser, server: Server, sandbox: Sandbox, unkind: dict[str, object], lang: str
) -> None:
    url, wrong = server.url, []
    async with watched(chrome, 1440, 800) as clerk:
        wrong += await _read(clerk, f"{url}/", lang)
        wrong += await _read(clerk, f"{url}/console/login?next=/console/audit", lang)
        await clerk.page.fill("input[name=bank]", "demo")
        await clerk.page.fill("input[name=name]", "lin")
        await clerk.page.fill("input[name=password]", PASSWORD)
        await clerk.page.click("main form button")
        pages = ["", "channels", "handover", "handover/new?mode=onjob&giver=rm.chen", "alarms", "alarms?state=handled",
                 "events", "events?state=waiting", "sync", "people", f"people/{unkind['cid']}", "archive", "intercepts",
                 "tags", "intake", "fields", "segments", f"segments/{LONG_ID}/members", "lists", f"lists/{LONG_ID}",
                 "webhooks", "webhooks/core",
                 "audit", "campaigns/acq-branch", "campaigns/acq-branch/pause", "campaigns/acq-branch/resume",
                 "account", "clerks", "work", "points", "points/program", "points/rule", "points/rule?rule=login",
                 f"points/customers/{unkind['cid']}", "points/corrections", "points/liability"]  # fmt: skip
        for page in pages:
            wrong += await _read(clerk, f"{url}/console/{page}", lang)
        for page in (str(unkind["batch"]), str(unkind["campaign"]), str(unkind["tag"]), *await _events(server)):
            wrong += await _read(clerk, f"{url}{page}", lang)
        of_segment = f"/console/segments/{LONG_ID}"
        rules = ("/console/segments/new", of_segment, f"{of_segment}/edit")
        for page in ("/console/platform", "/console/campaigns/new", f"{unkind['campaign']}/edit", *rules):
            wrong += await _read(clerk, f"{url}{page}", lang, codes=True)
        wrong += await _read(clerk, await _search(clerk, f"{url}/console/people"), lang)
        for status, page in ((404, "campaigns/nonesuch"), (404, "nonesuch"), (403, "archive/search/nonesuch")):
            async with clerk.refusal(status):
                wrong += await _read(clerk, f"{url}/console/{page}", lang, codes=True)
        wrong += await _sign_in_again(clerk, f"{url}/console/campaigns/new", lang)
    async with watched(chrome, 400, 800) as panel:
        await panel.go(f"{url}/sidebar/demo/?lang={lang}")
        await panel.page.click("text=陈思远")
        for page in ("", f"customers/{unkind['cid']}", "counter", "offers"):
            wrong += await _read(panel, f"{url}/sidebar/demo/{page}", lang)
    async with watched(chrome, 400, 800) as phone:
        wrong += await _read(phone, f"{url}/preview/{APPID}/", lang)
        await phone.go(f"{url}/preview/{APPID}/?code={await sandbox.open(unkind['person'], APPID)}")  # type: ignore[arg-type]
        await phone.page.check("form[action$='/flash.voucher/claim'] input[name=accept]")
        await phone.page.click("form[action$='/flash.voucher/claim'] button")
        await phone.page.click("a.voucher-link")
        voucher = phone.page.url.rpartition("/")[2]
        for page in ("", "redemptions", f"redemptions/{voucher}", "gifts", "points"):
            for base in ("preview", "h5"):
                wrong += await _read(phone, f"{url}/{base}/{APPID}/{page}", lang)
    async with watched(chrome, 400, 800) as player:
        wrong += await _read(player, f"{sandbox.url}/", "")
    assert wrong == [], "\n".join(wrong)
