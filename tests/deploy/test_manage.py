"""The operator's command line, run as an operator runs it, over the test's own database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from config.settings import Settings
from customers.fields import values
from customers.fields.values import Update
from customers.identity import resolution
from customers.identity.facts import Facts
from deploy.parts import environment
from deploy.processes import ROOT
from deploy.terminal import host_of
from services.container import Services
from tests.conftest import DEMO_BANK, DEMO_CAMPAIGNS
from tests.support.banks import open_bank

FLASH = DEMO_CAMPAIGNS / "flash.yaml"
Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def manage(settings: Settings) -> Manage:
    def run(*arguments: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *map(str, arguments)]
        env = environment(settings)
        return subprocess.run(command, cwd=ROOT, env=env, input=typed, capture_output=True, text=True, timeout=60)

    return run


def changed(tmp_path: Path, file: Path, before: str, after: str) -> Path:
    text = file.read_text(encoding="utf-8")
    assert before in text
    wrong = tmp_path / file.name
    wrong.write_text(text.replace(before, after), encoding="utf-8")
    return wrong


def test_without_arguments_it_lists_the_commands(manage: Manage) -> None:
    shown = manage().stdout
    for command in ("demo", "tour", "tenant", "campaign", "ledger", "audit", "clerk", "scheduler", "wait"):
        assert f"\n  {command} " in shown


async def test_a_bank_and_a_campaign_are_applied_and_applying_again_changes_nothing(
    manage: Manage, services: Services, sandbox: object
) -> None:
    applied = manage("tenant", "apply", DEMO_BANK)
    assert (applied.returncode, applied.stderr) == (0, "")
    assert (
        applied.stdout
        == "tenant demo (银桥示范银行): 2 mini-programs, 3 branches, 6 RMs, 3 clerks, 2 counters, 1 partners, "
        "12 fields, 7 events, 1 systems, 0 webhooks\n"
    )
    planned = manage("campaign", "plan", FLASH)
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "create campaign flash" in planned.stdout
    assert await services.store.tenant("demo")["campaigns"].count() == 0
    first, second = manage("campaign", "apply", FLASH), manage("campaign", "apply", FLASH)
    assert (first.returncode, first.stderr, second.returncode, second.stderr) == (0, "", 0, "")
    assert "campaign flash: version 1 is live" in first.stdout
    assert "campaign flash: version 1 is this document already" in second.stdout
    assert await services.store.tenant("demo")["campaign_versions"].count() == 1


async def test_a_wrong_campaign_is_refused_with_file_and_line_and_nothing_is_applied(
    manage: Manage, demo: Services, tmp_path: Path
) -> None:
    wrong = changed(tmp_path, FLASH, "    stock: 100\n", "    stok: 100\n")
    line = wrong.read_text(encoding="utf-8").splitlines().index("    stok: 100") + 1
    versions = demo.store.tenant("demo")["campaign_versions"]
    before = await versions.count()
    for command in ("validate", "plan", "apply"):
        refused = manage("campaign", command, wrong)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert f"{wrong}:{line}: rewards.voucher.stok: unknown key; expected one of" in refused.stderr
        assert refused.stderr.endswith("nothing was applied\n")
    assert await versions.count() == before


async def test_a_wrong_bank_is_refused_and_nothing_is_applied(
    manage: Manage, services: Services, tmp_path: Path
) -> None:
    wrong = changed(tmp_path, DEMO_BANK, "name: 赵明轩, branch: sz-futian", "name: 赵明轩, branch: nowhere")
    refused = manage("tenant", "apply", wrong)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert str(wrong) in refused.stderr
    assert "nowhere" in refused.stderr
    assert await services.store.system("tenants").count() == 0


def test_a_file_that_is_no_text_is_refused(manage: Manage, tmp_path: Path) -> None:
    picture = tmp_path / "picture.yaml"
    picture.write_bytes(b"\x89PNG\xff\xfe")
    refused = manage("campaign", "validate", picture)
    assert (refused.returncode, refused.stderr) == (1, f"{picture}: expected a text file in UTF-8, UTF-16 or GBK\n")


def test_a_bank_that_is_not_there_is_named(manage: Manage, demo: Services) -> None:
    refused = manage("ledger", "check", "--tenant", "other")
    assert (refused.returncode, refused.stderr) == (1, "there is no bank other; there is demo\n")


async def test_a_ledger_that_does_not_hold_ends_with_1_and_says_where(manage: Manage, demo: Services) -> None:
    assert manage("ledger", "check").stdout.endswith("demo: the ledger holds\n")
    await demo.store.tenant("demo")["rewards"].update({"reward": "flash.voucher"}, {"$inc": {"available": 1}})
    broken = manage("ledger", "check", "--all")
    assert broken.returncode == 1
    assert "demo: 2 violations" in broken.stdout
    assert "flash.voucher: account stock:flash.voucher holds 100, not 101" in broken.stdout
    assert "flash.voucher: total 100 is not the sum of" in broken.stdout


async def test_an_audit_trail_that_was_changed_ends_with_1_and_names_the_row(manage: Manage, demo: Services) -> None:
    assert manage("audit", "verify").stdout == "demo: the audit trail holds\n"
    await demo.store.tenant("demo")["audit"].update({"seq": 1}, {"$set": {"actor": "nobody"}})
    broken = manage("audit", "verify")
    assert (broken.returncode, broken.stderr) == (1, "demo: row 1 was changed\n")


async def test_checkpoints_are_shipped_away_and_compared_with(manage: Manage, demo: Services, tmp_path: Path) -> None:
    copy, file = tmp_path / "shipped", demo.settings.data_dir / "audit" / "demo.checkpoints"
    assert manage("audit", "checkpoint", "export", copy).returncode == 0
    assert manage("audit", "verify", "--copy", copy).stdout == "demo: the audit trail holds\n"
    file.unlink()
    assert manage("audit", "verify").stderr == f"demo: the checkpoint file {file} is missing\n"
    begun = manage("audit", "checkpoint", "begin", "--reason", "disk lost")
    assert (begun.returncode, "what is before it stands as it is" in begun.stdout) == (0, True)
    assert manage("audit", "verify", "--copy", copy).returncode == 0


def test_a_wrong_setting_is_named(tmp_path: Path, settings: Settings) -> None:
    env = environment(settings) | {"YINQIAO_PORT": "eight"}
    command = [sys.executable, "manage.py", "wait"]
    refused = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr.startswith("YINQIAO_PORT: Input should be a valid integer")


def test_waiting_ends_when_the_stores_answer_and_fails_when_they_do_not(manage: Manage, settings: Settings) -> None:
    assert manage("wait").returncode == 0
    nowhere = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    command = [sys.executable, "manage.py", "wait", "--seconds", "0.1"]
    failed = subprocess.run(command, cwd=ROOT, env=environment(nowhere), capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert failed.stderr.startswith("the stores do not answer: ")


@pytest.mark.parametrize(
    "arguments",
    [("ledger", "check"), ("sync", "status"), ("audit", "verify"), ("scheduler",), ("wait", "--seconds", "0")],
    ids=" ".join,
)
def test_a_command_says_which_address_did_not_answer_and_no_password(
    settings: Settings, arguments: tuple[str, ...]
) -> None:
    """With nobody at the store's port; with a store, and nobody at Redis's."""
    nobody = "mongodb://clerk:s3cret-word@127.0.0.1:9/?serverSelectionTimeoutMS=300&retryWrites=false"
    env = {**environment(settings), "YINQIAO_MONGODB_URI": nobody}
    command = [sys.executable, "manage.py", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "MongoDB at 127.0.0.1:9" in ended.stderr
    assert "s3cret" not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_waiting_for_redis_says_where_it_was_looked_for(settings: Settings) -> None:
    env = {**environment(settings), "YINQIAO_REDIS_URL": "redis://:s3cret-word@127.0.0.1:7/0"}
    command = [sys.executable, "manage.py", "wait", "--seconds", "0"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "Redis at 127.0.0.1:7" in ended.stderr) == (1, True)
    assert "s3cret" not in ended.stderr + ended.stdout


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("mongodb://u:p%40ss@one:1,two:2/base?replicaSet=rs0", "one:1,two:2"),
        ("mongodb+srv://u:p@cluster.bank.example/", "cluster.bank.example"),
        ("redis://:p@127.0.0.1:6379/0", "127.0.0.1:6379"),
        ("redis://127.0.0.1:6379", "127.0.0.1:6379"),
        ("https://u:p@qyapi.weixin.qq.com/path?secret=x", "qyapi.weixin.qq.com"),
        ("u:p@host", "host"),
        ("amqp://[::1]:5672#x", "[::1]:5672"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(address: str, host: str) -> None:
    assert host_of(address) == host


async def test_fields_and_profiles_are_shown_checked_and_made_anew(manage: Manage, demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    facts = Facts(external_userid="wmE", phone="+8613812345678")
    cid = await resolution.identify(bank, facts, source="callback", proof="event-1")
    for at, band in ((1_700_000_000.0, "C"), (1_710_000_000.0, "B")):
        told = {"balance_band": band, "id_tail": "8412"}
        assert (await values.write_many(bank, [Update(cid, told, at, "core", f"e{at}")]))[0].taken
    assert "balance_band" in manage("fields", "list").stdout
    shown = manage("fields", "show", "13812345678").stdout
    assert ("20 至 100 万" in shown, "8412" in shown) == (True, False)
    assert manage("fields", "history", cid, "balance_band").stdout.count("万") == 2
    different = manage("profiles", "check")
    assert (different.returncode, f"{cid}: _id" in different.stderr) == (1, True)
    assert "1 profiles were not as they should be" in manage("profiles", "rebuild").stdout
    assert manage("profiles", "check").returncode == 0
