"""The embedded stores: where they listen, what a busy port says, and that they survive kill -9 with their data."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from config.settings import Settings
from deploy.demo import require_ports
from deploy.ports import NotListening, PortBusy, free_port, is_free, wait_for_port
from deploy.processes import ROOT
from deploy.stack import Stores, embedded, mongodb_command, redis_command
from services.store.mongo import Store


def free_ports() -> int:
    """The first of four free ports in a row, as a demo needs them."""
    while True:
        port = free_port()
        if all(is_free(port + offset) for offset in range(4)):
            return port


def test_a_busy_port_is_named_with_who_wanted_it_and_the_setting_to_change() -> None:
    port = free_ports() + 2
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(PortBusy) as refused:
            require_ports(Settings(port=port - 2))
    assert str(refused.value) == (
        f"port {port} is in use by another program, and the embedded mongodb needs it: "
        f"stop that program, or choose other ports with YINQIAO_PORT (now {port - 2}; the others follow it)"
    )


@pytest.mark.parametrize(("name", "offset"), [("mongodb", 2), ("redis", 3)])
def test_a_store_whose_port_is_taken_says_so_and_does_not_start(name: str, offset: int, tmp_path: Path) -> None:
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + offset)):
        env = {**os.environ, "YINQIAO_PORT": str(port), "YINQIAO_DATA_DIR": str(tmp_path / "data")}
        done = subprocess.run(
            [sys.executable, "-m", "deploy.stack", name], cwd=ROOT, env=env, capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"port {port + offset} is in use by another program, and the embedded {name} needs it: "
        f"stop that program, or choose other ports with YINQIAO_PORT (now {port})\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_demo_whose_port_is_taken_starts_nothing(tmp_path: Path) -> None:
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + 1)):
        env = {**os.environ, "YINQIAO_PORT": str(port), "YINQIAO_DATA_DIR": str(tmp_path / "data")}
        done = subprocess.run(
            [sys.executable, "manage.py", "demo"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=30
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"port {port + 1} is in use by another program, and the sandbox needs it: "
        f"stop that program, or choose other ports with YINQIAO_PORT (now {port}; the others follow it)\n"
    )
    assert all(is_free(port + offset) for offset in (0, 2, 3))


def test_only_the_stores_without_an_address_of_their_own_are_embedded() -> None:
    assert embedded(Settings()) == ["mongodb", "redis"]
    assert embedded(Settings(redis_url="redis://r.bank.example/0")) == ["mongodb"]
    assert embedded(Settings(mongodb_uri="mongodb://m.bank.example", redis_url="redis://r.bank.example")) == []


def test_mongodb_syncs_every_commit_and_reads_no_stray_configuration(tmp_path: Path) -> None:
    command = mongodb_command(27000, tmp_path)
    assert "--sync-on-commit" in command
    config = Path(command[command.index("--config") + 1])
    assert config.parent == tmp_path
    assert all(line.startswith("#") for line in config.read_text().splitlines())


def test_redis_keeps_a_log_and_never_evicts(tmp_path: Path) -> None:
    command = redis_command(27001, tmp_path)
    for option, value in [("--appendonly", "yes"), ("--maxmemory-policy", "noeviction"), ("--bind", "127.0.0.1")]:
        assert command[command.index(option) + 1] == value


def test_what_a_store_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    try:
        stores.start_all()
        with MongoClient[dict[str, object]](stores.mongodb_uri) as client:
            client.bank.rows.insert_one({"_id": 1})
        for name in ("mongodb", "redis"):
            stores.kill9(name)
        stores.start_all()
        with MongoClient[dict[str, object]](stores.mongodb_uri) as client:
            assert client.bank.rows.find_one() == {"_id": 1}
        with redis.Redis.from_url(stores.redis_url) as client:
            assert client.ping() is True
    finally:
        stores.stop_all()
    assert all(is_free(port) for port in stores.ports.values())


def test_waiting_for_a_port_ends_as_soon_as_its_process_has_ended() -> None:
    port = free_port()
    with pytest.raises(NotListening, match=f"the process that was to listen on 127.0.0.1:{port} has ended"):
        wait_for_port(port, alive=lambda: False)
    with pytest.raises(NotListening, match=f"nothing listens on 127.0.0.1:{port} after 0.1 seconds"):
        wait_for_port(port, 0.1)


class Heard(CommandListener):
    """Every command as it went over the wire."""

    def __init__(self) -> None:
        self.commands: list[Mapping[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.append(event.command)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


async def test_no_write_is_numbered_for_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbered writes make the embedded store slower and slower (docs/decisions/0022)."""
    heard = Heard()
    monkeypatch.setattr("services.store.mongo.AsyncIOMotorClient", partial(AsyncIOMotorClient, event_listeners=[heard]))
    stores = Stores(tmp_path)
    try:
        stores.start("mongodb")
        store = Store(stores.mongodb_uri, "kept")
        rows = store.tenant("a")["rows"]
        await rows.insert({"_id": "a:1"})
        await rows.insert_new([{"_id": "a:2"}])
        await rows.append([{"_id": "a:3"}])
        await rows.update({"_id": "a:1"}, {"$set": {"n": 1}})
        await rows.update_and_get({"_id": "a:1"}, {"$inc": {"n": 1}})
        await rows.bulk_update([({"_id": "a:4"}, {"$set": {"n": 4}})], upsert=True)
        await store.insert_new_across("rows", [{"_id": "b:1", "tenant": "b"}])
        assert await rows.delete({}) == 4
        store.close()
    finally:
        stores.stop_all()
    names = [next(iter(command)) for command in heard.commands]
    assert [name for name in names if name in ("insert", "update", "findAndModify", "delete")] == [
        *("insert", "insert", "insert", "update", "findAndModify", "update", "insert", "delete")
    ]
    assert [command for command in heard.commands if "txnNumber" in command] == []
