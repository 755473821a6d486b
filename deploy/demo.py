"""`make demo`: every process in the foreground, the demonstration bank applied, the addresses on
the screen."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from campaigns.document.rows import CAMPAIGNS
from config.settings import Settings, load
from customers.banks.bank import Bank, open_bank
from deploy.errors import DeployError
from deploy.parts import environment
from deploy.ports import require_free
from deploy.processes import ROOT, die_with_parent, end, spawn, tail
from deploy.stack import embedded, port_of
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.documents import yaml12

BANK = ROOT / "config" / "demo" / "tenant.yaml"
CODES = ROOT / "config" / "demo" / "codes.csv"
POOL = "coffee-demo"
POINTS = ROOT / "config" / "demo" / "points.yaml"
CATALOGUE = ROOT / "config" / "demo" / "catalogue.yaml"
GIFT = ROOT / "config" / "demo" / "gift.yaml"
CAMPAIGN_FILES = ROOT / "config" / "demo" / "campaigns"
READY_SECONDS = 90.0


class Told(BaseException):
    """A signal told the demo to stop."""


def demo_settings() -> Settings:
    """The environment's settings, with WeChat and WeCom played by the sandbox unless the user named
    others."""
    settings = load()
    sandbox = f"http://127.0.0.1:{settings.port + 1}"
    defaults = {
        "wechat_api_base": f"{sandbox}/wechat",
        "wecom_api_base": f"{sandbox}/wecom",
        "wechat_open_base": f"{sandbox}/open",
        "wechatpay_api_base": f"{sandbox}/wechatpay",
        "sandbox_url": sandbox,
    }
    unset = {
        name: value for name, value in defaults.items() if name not in settings.model_fields_set
    }
    return settings.model_copy(update={**unset, "data_dir": settings.data_dir.resolve()})


def is_running(data: Path) -> bool:
    """Whether a demo holds `data`."""
    path = data / "demo.lock"
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_applied(data: Path) -> bool:
    """Whether the demo that holds `data` is up, with its bank applied."""
    return is_running(data) and "ready" in (data / "demo.lock").read_text(encoding="ascii")


@contextmanager
def holding(data: Path) -> Iterator[IO[str]]:
    """One demo at a time on the same data: DeployError when another one runs."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "demo.lock").open("a+", encoding="ascii") as file:
        _take(file)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield file
        finally:
            file.truncate(0)


def _take(file: IO[str]) -> None:
    """Locks `file`; who only looks whether a demo runs holds the lock for a moment, so one look is
    not believed."""
    for _ in range(10):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
    file.seek(0)
    raise DeployError(f"the demo is already running (process {file.readline().strip()})")


def require_ports(settings: Settings) -> None:
    """Raises PortBusy for the first port that something else holds."""
    setting = f"YINQIAO_PORT (now {settings.port}; the others follow it)"
    require_free(settings.port, "the server", setting)
    require_free(settings.port + 1, "the sandbox", setting)
    for name in embedded(settings):
        require_free(port_of(name, settings), f"the embedded {name}", setting)


def wait_until_ready(
    settings: Settings, process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    """Returns when the demo of that data says that it is up and the bank is applied.

    DeployError when `process` ends before (with the end of its `log`), or after READY_SECONDS.
    """
    logs = settings.data_dir / "logs"
    deadline = time.monotonic() + READY_SECONDS
    while not is_applied(settings.data_dir):
        if process is not None and process.poll() is not None:
            raise DeployError(
                f"the demo did not start\n{tail(log)}" if log else f"a process gave up; see {logs}"
            )
        if time.monotonic() > deadline:
            raise DeployError(f"the demo was not ready after {READY_SECONDS:g} seconds; see {logs}")
        time.sleep(0.2)


def wait_for_answers(settings: Settings, runner: subprocess.Popen[bytes]) -> None:
    """Returns when server and sandbox answer; DeployError when `runner` ends before, or after
    READY_SECONDS."""
    logs = settings.data_dir / "logs"
    deadline = time.monotonic() + READY_SECONDS
    waiting = [
        f"http://127.0.0.1:{settings.port}/readyz",
        f"http://127.0.0.1:{settings.port + 1}/control/health",
    ]
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while waiting := [url for url in waiting if not _answers(client, url)]:
            if runner.poll() is not None:
                raise DeployError(f"a process gave up; see {logs}")
            if time.monotonic() > deadline:
                raise DeployError(f"{waiting[0]} did not answer; see {logs}")
            time.sleep(0.2)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def apply_bank(settings: Settings) -> list[str]:
    """Applies the demonstration bank, and those of its campaigns that are not there yet; what was
    done, as sentences."""
    from campaigns.publishing import versions
    from customers.banks import apply, files
    from rewards.items import files as item_files
    from rewards.items import rows as items
    from rewards.items import versions as item_versions
    from rewards.points import program
    from services.container import open_services

    services = await open_services(settings, COLLECTIONS, QUEUES)
    try:
        text, source = BANK.read_text(encoding="utf-8"), str(BANK.relative_to(ROOT))
        done = await apply.apply_tenant(services, text, source)
        bank = files.read_tenant_file(text, source).id
        known = services.store.tenant(bank)[CAMPAIGNS]
        opened = await open_bank(services, bank)
        text, source = CATALOGUE.read_text(encoding="utf-8"), str(CATALOGUE.relative_to(ROOT))
        there = {row["item"] for row in await items.items(opened)}
        fresh = {key: one for key, one in item_files.read(text, source).items() if key not in there}
        done += await item_versions.apply(opened, fresh, "cli")
        for file in [*sorted(CAMPAIGN_FILES.glob("*.yaml")), GIFT]:
            text, source = file.read_text(encoding="utf-8"), str(file.relative_to(ROOT))
            campaign = yaml12.parse(text).value["id"]
            if await known.find_one({"campaign": campaign}):
                done.append(f"campaign {campaign} is there already, as the console left it")
            else:
                done += await versions.apply(await open_bank(services, bank), text, source, "cli")
        text, source = POINTS.read_text(encoding="utf-8"), str(POINTS.relative_to(ROOT))
        if await program.find_live(opened) is None:
            done += await program.apply(opened, text, source, "cli")
        return done + await _apply_pool(opened)
    finally:
        await services.close()


async def _apply_pool(bank: Bank) -> list[str]:
    """Makes the demonstration's code pool, with some made-up codes in it, if it is not there yet."""
    from rewards.pools import importing, keeping

    if POOL in await keeping.names(bank):
        return []
    names = {"zh": "咖啡券", "en": "Coffee vouchers"}
    await keeping.create(bank, "cli", POOL, names, supplier="演示供应商", low=20)
    received = importing.receive(bank, CODES.name)
    await received.write(CODES.read_bytes())
    upload, _ = await importing.start(bank, "cli", POOL, received)
    await importing.work_here(bank, upload["upload"])
    return [f"code pool {POOL}: {(await importing.find(bank, upload['upload']))['good']} codes"]


def addresses(settings: Settings) -> Panel:
    """Where everything is, and what to try first."""
    bank = yaml12.parse(BANK.read_text(encoding="utf-8")).value
    appid = bank["miniprograms"][0]["appid"]
    first, second = bank["clerks"][:2]
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True, style="cyan")
    for name, address in [
        ("Start here", f"{settings.url}/"),
        ("Sandbox (play WeChat)", f"http://127.0.0.1:{settings.port + 1}/"),
        ("Sandbox (play the bank)", f"http://127.0.0.1:{settings.port + 1}/bank"),
        ("Portal (the customer)", f"{settings.url}/preview/{appid}/"),
        ("Side panel (the RM)", f"{settings.url}/sidebar/{bank['id']}/"),
        ("Console (operations)", f"{settings.url}/console/"),
        ("Counter (tellers, merchants)", f"{settings.url}/counter/{bank['id']}/"),
    ]:
        table.add_row(name, address)
    text = Text.assemble(
        f"\nConsole sign-in: bank {bank['id']}, {first['login']} / {first['password']}",
        f" or {second['login']} / {second['password']}\n\n",
        ("First: ", "bold"),
        "in the sandbox create a person, let him scan a live code,\nand watch the welcome arrive.\n",
        ("Then: ", "bold"),
        "`make tour` in another terminal plays one customer through all of it;\nor kill -9 the server: nothing gets lost.",
    )
    subtitle = "Ctrl-C stops everything; the data stays"
    return Panel(
        Group(table, text), title="银桥 Yinqiao is running", subtitle=subtitle, expand=False
    )


def _stop_on_signals() -> None:
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)

    def stop(number: int, frame: object) -> None:
        for other in wanted:
            signal.signal(other, signal.SIG_IGN)
        raise Told

    for number in wanted:
        signal.signal(number, stop)


def run(*, with_parent: bool) -> int:
    """Runs the demo until it is told to stop; DeployError when something could not start or gave
    up.

    `with_parent`: also stop when the process that started us dies, so that killing `make` leaves
    nothing behind.
    """
    console = Console(highlight=False)
    settings = demo_settings()
    _stop_on_signals()
    if with_parent:
        die_with_parent(os.getppid(), signal.SIGTERM)()
    runner: subprocess.Popen[bytes] | None = None
    try:
        with holding(settings.data_dir) as lock:
            require_ports(settings)
            console.print(
                "Starting MongoDB, Redis, sandbox, server, workers, scheduler and audience ..."
            )
            command = [sys.executable, "-m", "deploy.runner"]
            try:
                runner = spawn(command, env=environment(settings), with_signal=signal.SIGTERM)
                wait_for_answers(settings, runner)
                for sentence in asyncio.run(apply_bank(settings)):
                    console.print(f"  {sentence}")
                console.print(addresses(settings))
                print("ready", file=lock, flush=True)
                runner.wait()
                raise DeployError(f"a process gave up; see {settings.data_dir / 'logs'}")
            except Told:
                console.print("\nStopping ...")
            finally:
                if runner is not None:
                    end(runner, patience=30.0)
    except Told:
        return 0
    console.print("Stopped. The data is kept in " + str(settings.data_dir))
    return 0
