"""`make tour`: one customer from the scan to the redeemed reward, through real HTTP, with what the
database holds.

Brings the demo up when it is not, and down again when it brought it up. May be played many times on
the same data. Exit status 0 only when all of it happened.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from config.logging import mask
from config.settings import Settings
from customers import consent
from customers.banks.bank import open_bank
from deploy import demo
from deploy.parts import environment
from deploy.processes import end, spawn
from deploy.visitors import Clerk, Counter, Manager, Phone, Sandbox, TourFailed, Visitor, expect
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from rewards import ledger
from services.container import Services, open_services
from services.documents import yaml12

NAMES = ["刘敏", "陈晓", "王芳", "李强", "赵静", "孙磊", "周婷", "吴昊"]
MOMENTS = 3
"""So many of the demonstration bank's rules bring the customer points on the way to his reward."""
SHOWN = {
    "staff": "userid name branch",
    "clerks": "login name roles",
    "campaigns": "campaign state live_version",
    "channels": "state config_id users",
    "rewards": "reward total available held granted",
    "inbox": "source state attempts body",
    "customers": "name phone unionid external_userid tags",
    "identities": "kind cid",
    "relationships": "userid state active",
    "runs": "campaign version open",
    "outbox": "kind lane state",
    "timeline": "kind data",
    "consents": "purpose version channel",
    "offers": "reward",
    "transfers": "kind reward debit credit amount",
    "vouchers": "reward state uses used",
    "voucher_uses": "counter reward count state",
    "counter_days": "counter day n",
    "campaign_versions": "campaign version state author approved_by",
    "audit": "seq actor action object",
}
"""The collections that the tour shows, and the main fields of their documents."""
OF_A_CUSTOMER = {
    "identities",
    "relationships",
    "runs",
    "outbox",
    "timeline",
    "consents",
    "offers",
    "transfers",
    "vouchers",
}
OF_A_CAMPAIGN = {"rewards", "campaigns", "channels", "campaign_versions"}
PATIENCE = 25.0
"""Seconds for anything that happens after a request was answered; the welcome itself has 20."""


@dataclass
class Tour:
    """What the stages know and hand on."""

    settings: Settings
    services: Services
    sandbox: Sandbox
    stack: AsyncExitStack
    bank: dict[str, Any]
    person: dict[str, Any] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    campaign: str = ""
    manager: str = ""
    cid: str = ""
    phone: Phone | None = None
    voucher: str = ""

    @property
    def tenant(self) -> str:
        return str(self.bank["id"])

    def rows(self, name: str) -> Any:
        return self.services.store.tenant(self.tenant)[name]

    async def visitor(self, base: str = "") -> Visitor:
        return await self.stack.enter_async_context(
            Visitor(base or f"http://127.0.0.1:{self.settings.port}")
        )

    async def the_phone(self, appid: str) -> tuple[Phone, dict[str, Any]]:
        """The person opens a mini-program; his phone, signed in, and what it was told of him."""
        phone = Phone(await self.visitor(), appid)
        opened = await self.sandbox("POST", f"people/{self.person['id']}/open", {"appid": appid})
        return phone, await phone.login(opened["code"])

    async def clerk(self, login: str) -> Clerk:
        known = {clerk["login"]: clerk for clerk in self.bank["clerks"]}
        clerk = Clerk(await self.visitor())
        await clerk.sign_in(self.tenant, login, known[login]["password"])
        return clerk


async def until(true: Callable[[], Awaitable[Any]], sentence: str) -> Any:
    """What `true()` answers as soon as that is something; TourFailed with the sentence after
    PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not (found := await true()):
        if time.monotonic() > deadline:
            raise TourFailed(f"{sentence}, within {PATIENCE:g} seconds")
        await asyncio.sleep(0.1)
    return found


async def apply(tour: Tour) -> list[str]:
    done = await demo.apply_bank(tour.settings)
    channels = {row["state"]: row for row in await tour.rows("channels").find({})}
    ways = (await tour.sandbox("GET", "ways"))["ways"]
    codes = [way for way in ways if way["state"] in channels]
    expect(codes, "WeCom has no live code of the campaign")
    tour.code = random.choice(codes)  # noqa: S311
    tour.campaign = channels[tour.code["state"]]["campaign"]
    return [*done, f"WeCom knows {len(codes)} live codes, e.g. state {tour.code['state']}"]


async def scan(tour: Tour) -> list[str]:
    tour.person = await tour.sandbox("POST", "people", {"name": random.choice(NAMES)})  # noqa: S311
    asked = time.monotonic()
    scanned = await tour.sandbox(
        "POST", f"people/{tour.person['id']}/scan", {"config_id": tour.code["config_id"]}
    )
    expect(scanned["delivered"], "the server did not take WeCom's callback")
    tour.manager = scanned["userid"]

    async def greeted() -> Any:
        person = await tour.sandbox("GET", f"people/{tour.person['id']}")
        tags = [tag for friend in person["friends"] for tag in friend["tag_names"]]
        return person if person["inbox"] and tags else None

    person = await until(greeted, "the customer got no welcome and no tag")
    seconds = time.monotonic() - asked
    newest = await tour.rows("relationships").find(
        {"userid": tour.manager}, sort=[("at", -1)], limit=1
    )
    tour.cid = newest[0]["cid"]
    expect(
        len(person["inbox"]) == 1,
        f"the customer got {len(person['inbox'])} messages, not one welcome",
    )
    tags = [tag for friend in person["friends"] for tag in friend["tag_names"]]
    return [
        f"{person['name']} scanned {tour.code['state']} and is a friend of {tour.manager}",
        f"welcome and tags {', '.join(tags)} after {seconds:.1f} s; exactly one welcome",
    ]


async def sign_in(tour: Tour) -> list[str]:
    first, second = (program["appid"] for program in tour.bank["miniprograms"][:2])
    tour.phone, told = await tour.the_phone(first)
    expect(told["name"], "the mini-program did not recognise the customer who scanned")
    pressed = await tour.sandbox("POST", f"people/{tour.person['id']}/phone", {"appid": first})
    version = next(version for purpose, version in consent.TEXTS if purpose == "phone")
    bound = (
        await tour.phone.call("POST", "phone", json={"code": pressed["code"], "consent": version})
    ).json()
    expect(bound["bound"], "the phone was not bound")
    expect(tour.person["phone"] not in str(bound), "the phone was shown in clear")
    _, again = await tour.the_phone(second)
    expect(again == bound, f"on the second mini-program the customer is {again}, not {bound}")
    used = await tour.sandbox("POST", f"people/{tour.person['id']}/open", {"appid": first})
    await Phone(await tour.visitor(), first).login(used["code"])
    stranger = await tour.visitor()
    refused = await stranger.ask("POST", f"/mp/{first}/login", 401, json={"code": used["code"]})
    return [
        f"recognised as {told['name']} on {first}; phone {bound['phone']} bound with consent {version}",
        f"the same customer on {second}",
        f"a used login code is refused: 401 {refused.json()['error']['code']}",
    ]


async def claim(tour: Tour) -> list[str]:
    phone = tour.phone
    if phone is None:
        raise TourFailed("the customer is not signed in")

    async def offered() -> Any:
        rewards = (await phone.call("GET", "home")).json()["rewards"]
        return next(
            (
                each
                for each in rewards
                if each["id"].startswith(tour.campaign) and each["state"] == "claimable"
            ),
            None,
        )

    reward = await until(offered, "the home shows no reward to claim")
    key = phone.new_key()
    first, again = await phone.claim(reward["id"], key), await phone.claim(reward["id"], key)
    expect(again.json() == first.json(), "the repeated claim was answered differently")
    expect(again.headers.get("Idempotency-Hit") == "true", "the repeated claim was not recognised")
    mine = (await phone.call("GET", "redemptions")).json()["redemptions"]
    expect(len(mine) == 1, f"the customer has {len(mine)} redemptions, not one")
    tour.voucher = mine[0]["code"]

    async def earned() -> Any:
        points = (await phone.call("GET", "points")).json()
        return points if len({line["what"] for line in points["lines"]}) >= MOMENTS else None

    points = await until(earned, "signing in, binding the phone and claiming brought no points")
    for_what = ", ".join(sorted({line["what"] for line in points["lines"]}))
    problems = await ledger.check(await open_bank(tour.services, tour.tenant))
    expect(not problems, "the ledger does not hold: " + "; ".join(problems))
    return [
        f"home offers {reward['title']}; claimed under an Idempotency-Key, code {mine[0]['code'][:4]}…",
        "the same key again: the same answer, Idempotency-Hit: true, no second grant",
        f"he has {points['available']} of {points['program']}: {for_what}",
        "ledger check: the ledger holds",
    ]


async def side_panel(tour: Tour) -> list[str]:
    manager = Manager(await tour.visitor(), tour.tenant, tour.manager)
    cards = await manager.open_panel()
    address = next((card for card in cards if card.endswith(f"/{tour.cid}")), None)
    if address is None:
        raise TourFailed(f"{tour.manager} does not see the customer who scanned")
    card = await manager.card(address)
    expect(tour.person["phone"] not in card, "the side panel shows the phone in clear")
    masked = f"{tour.person['phone'][:3]}****{tour.person['phone'][-4:]}"
    expect(masked in card, "the side panel does not show the masked phone")
    entries = await tour.rows("timeline").find({"cid": tour.cid}, sort=[("at", 1)])
    expect(
        "reward.claimed" in {row["kind"] for row in entries},
        "the timeline lacks the claimed reward",
    )
    return [
        f"{tour.manager} signed in through WeCom's OAuth and sees the customer, phone {masked}",
        "the timeline: " + " → ".join(row["kind"] for row in entries),
    ]


async def console(tour: Tour) -> list[str]:
    maker, checker = await tour.clerk("lin"), await tour.clerk("zhao")
    campaign = tour.campaign
    text, mark = await maker.text_of(campaign), f"tour-{datetime.now(UTC):%m%d-%H%M%S}"
    await maker.send(
        f"campaigns/{campaign}/edit", "campaigns", text=relabelled(text, mark), campaign=campaign
    )
    page = f"campaigns/{campaign}"
    row = await tour.rows("campaign_versions").find(
        {"campaign": campaign}, sort=[("version", -1)], limit=1
    )
    version = row[0]["version"]
    refused = await maker.send(page, f"{page}/versions/{version}/approve", 403)
    expect(
        f"{page}/versions/{version}/approve" not in refused,
        "the author is offered to approve a version of his own",
    )
    expect(
        f"{page}/versions/{version}/approve" in await checker.page(page),
        "the version no longer waits after the refused approval",
    )
    await checker.send(page, f"{page}/versions/{version}/approve")
    expect(
        await state_of(tour, campaign) == ("live", version), f"version {version} did not go live"
    )
    before = await checker.funnel(campaign)
    other = await tour.sandbox("POST", "people", {"name": random.choice(NAMES)})  # noqa: S311
    await tour.sandbox("POST", f"people/{other['id']}/scan", {"config_id": tour.code["config_id"]})

    async def moved() -> Any:
        now = await maker.funnel(campaign)
        return now if now[:1] > before[:1] else None

    after = await until(moved, "the funnel did not move when another customer scanned")
    await maker.send(page, f"{page}/pause")
    expect((await state_of(tour, campaign))[0] == "paused", "the campaign was not paused")
    await checker.send(page, f"{page}/resume")
    expect((await state_of(tour, campaign))[0] == "live", "the campaign does not run again")
    audit = await tour.services.audit.verify(tour.services.store.tenant(tour.tenant))
    expect(not audit, "the audit trail does not hold: " + "; ".join(audit))
    return [
        f"lin submitted version {version} of {campaign}; the server refused lin's own approval (403), zhao's counts",
        f"both see the funnel move: {before} → {after}; lin paused it, zhao resumed it",
        "the audit trail holds",
    ]


async def counter(tour: Tour) -> list[str]:
    people = {one["login"]: one for one in tour.bank["counters"]}
    mine = {"cid": tour.cid}
    await until(lambda: tour.rows("vouchers").count(mine), "the reward has become no voucher")
    teller = Counter(await tour.visitor(), tour.tenant)
    await teller.sign_in("nanshan", people["nanshan"]["password"])
    merchant = Counter(await tour.visitor(), tour.tenant)
    await merchant.sign_in("coffee", people["coffee"]["password"])
    await teller.redeem(await teller.look(tour.voucher))
    refused = await merchant.look(tour.voucher)
    branch = next(one["name"] for one in tour.bank["branches"] if one["id"] == "sz-nanshan")
    expect(branch in refused, "the second counter is not told where the voucher was used")
    expect('name="shown"' not in refused, "a used voucher may be written off again")
    states = {row["state"] for row in await tour.rows("vouchers").find(mine)}
    expect(states == {"used"}, f"the customer's voucher is {', '.join(states)}, not used")
    problems = await ledger.check(await open_bank(tour.services, tour.tenant))
    expect(not problems, "the ledger does not hold: " + "; ".join(problems))
    return [
        f"{people['nanshan']['name']} of {branch} signed in to the counter and wrote the voucher off",
        f"{people['coffee']['name']} tried it after that, and was told when and where it was used",
        "the voucher is used, once; ledger check: the ledger holds",
    ]


def relabelled(text: str, mark: str) -> str:
    """The campaign with another label: a change that two people can see and nobody else."""
    kept = [
        label
        for label in yaml12.parse(text).value.get("labels", [])
        if not str(label).startswith("tour-")
    ]
    line = (
        "labels: "
        + yaml.safe_dump([*kept, mark], allow_unicode=True, default_flow_style=True).strip()
    )
    changed, found = re.subn(r"^labels:.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    return changed if found else f"{text.rstrip()}\n{line}\n"


async def state_of(tour: Tour, campaign: str) -> tuple[str, int]:
    row = await tour.rows("campaigns").find_one({"campaign": campaign})
    return (row["state"], row["live_version"]) if row else ("", 0)


STAGES: list[tuple[str, Callable[[Tour], Awaitable[list[str]]], list[str]]] = [
    (
        "The bank and its campaign are applied",
        apply,
        ["staff", "clerks", "campaigns", "channels", "rewards"],
    ),
    (
        "A customer scans the code",
        scan,
        ["inbox", "customers", "identities", "relationships", "runs", "outbox", "timeline"],
    ),
    ("He opens the mini-program", sign_in, ["customers", "identities", "consents", "timeline"]),
    ("He claims the reward", claim, ["offers", "transfers", "rewards", "timeline"]),
    ("His relationship manager sees the timeline", side_panel, ["relationships", "timeline"]),
    (
        "Two clerks change the campaign",
        console,
        ["campaign_versions", "campaigns", "runs", "audit"],
    ),
    (
        "A teller writes the voucher off",
        counter,
        ["vouchers", "voucher_uses", "counter_days", "transfers", "timeline"],
    ),
]


async def holdings(tour: Tour, names: list[str]) -> dict[str, int]:
    return {name: await tour.rows(name).count() for name in names}


async def play(settings: Settings, screen: Console) -> None:
    """Plays every stage; TourFailed at the first that did not happen."""
    bank = yaml12.parse(demo.BANK.read_text(encoding="utf-8")).value
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(opened(settings))
        visitor = await stack.enter_async_context(Visitor(f"http://127.0.0.1:{settings.port + 1}"))
        tour = Tour(settings, services, Sandbox(visitor), stack, bank)
        with Progress(*columns, console=screen, transient=True) as progress:
            task = progress.add_task("", total=len(STAGES))
            for number, (title, stage, names) in enumerate(STAGES, 1):
                progress.update(task, description=title)
                before = await holdings(tour, names)
                sentences = await stage(tour)
                screen.print(f"\n[bold green]✓[/] [bold]{number}. {title}[/]")
                for sentence in sentences:
                    screen.print(Padding(sentence, (0, 0, 0, 3)))
                screen.print(await what_it_holds(tour, before))
                progress.advance(task)


async def what_it_holds(tour: Tour, before: dict[str, int]) -> Table:
    """Counts of the stage's collections, and the main fields of this tour's newest document in
    each, masked."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column("   collection", no_wrap=True)
    table.add_column("documents", justify="right", no_wrap=True)
    table.add_column("the newest of this tour")
    for name, count in (await holdings(tour, list(before))).items():
        added = f" (+{count - before[name]})" if count > before[name] else ""
        found = await tour.rows(name).find(about(tour, name), limit=500)
        newest = max(
            found,
            key=lambda row: row.get("at") or row.get("seq") or row.get("version") or 0,
            default=None,
        )
        table.add_row(
            f"   {name}", f"{count}{added}", brief(newest, SHOWN[name].split()) if newest else ""
        )
    return table


def about(tour: Tour, name: str) -> dict[str, Any]:
    """Which documents of a collection belong to this tour."""
    if name == "customers":
        return {"_id": tour.cid}
    if name in OF_A_CUSTOMER:
        return {"cid": tour.cid}
    return {"campaign": tour.campaign} if name in OF_A_CAMPAIGN else {}


def brief(document: dict[str, Any], names: list[str]) -> str:
    """Some fields of a document on one line, masked; sealed ones are shown as sealed."""
    shown = {
        name: "(sealed)" if isinstance(document[name], bytes) else document[name]
        for name in names
        if name in document
    }
    return mask(", ".join(f"{name} {value}" for name, value in shown.items()))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Services]:
    services = await open_services(settings, COLLECTIONS, QUEUES)
    try:
        yield services
    finally:
        await services.close()


@contextmanager
def standing(settings: Settings, screen: Console) -> Iterator[None]:
    """The demo, brought up unless it is up; brought down again only if it was brought up here."""
    if demo.is_running(settings.data_dir):
        screen.print(f"Using the demo that runs at {settings.url}")
        demo.wait_until_ready(settings)
        yield
        return
    screen.print("Bringing the demo up ...")
    log = settings.data_dir / "logs" / "demo.log"
    command = [sys.executable, "manage.py", "demo", "--with-parent"]
    process = spawn(command, env=environment(settings), log=log, with_signal=signal.SIGTERM)
    try:
        demo.wait_until_ready(settings, process, log)
        yield
    finally:
        screen.print("\nBringing the demo down ...")
        end(process, patience=40.0)


def run() -> int:
    """Plays the tour; DeployError, in one readable sentence, when something did not happen."""
    screen = Console(highlight=False)
    settings = demo.demo_settings()
    began = time.monotonic()
    with standing(settings, screen):
        asyncio.run(play(settings, screen))
    screen.print(
        f"\n[bold green]All {len(STAGES)} stages happened[/], in {time.monotonic() - began:.0f} seconds."
    )
    return 0
