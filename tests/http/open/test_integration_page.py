"""docs/integration.md: its vectors are recomputed, and its examples run as they are written, in both languages alike."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from customers.banks import apply
from customers.intake.rows import INTAKE
from deploy.processes import ROOT
from services.security.sm2 import read_key, sm3
from tests.conftest import DEMO_BANK, Server
from tests.support.bank_systems import CORE, SECRET
from tests.support.sm2_signer import Signer

PAGES = ("integration.md", "integration.zh-CN.md")


def blocks(page: str) -> list[tuple[str, str]]:
    """The page's examples, with their languages."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def example(language: str, place: int = 0) -> str:
    return [block for name, block in blocks(PAGES[0]) if name == language][place]


def vector(algorithm: str) -> Any:
    (block,) = (block for _, block in blocks(PAGES[0]) if block.startswith('{"vectors"'))
    (found,) = (one for one in orjson.loads(block)["vectors"] if one["algorithm"] == algorithm)
    return found


async def run(server: Server, command: list[str], **own: str) -> str:
    env = {"PATH": os.environ["PATH"], "NO_PROXY": "*", "no_proxy": "*", "URL": server.url, "WHO": CORE, **own}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def test_both_languages_have_the_same_examples() -> None:
    english, chinese = map(blocks, PAGES)
    assert english == chinese


def test_the_vector_of_hmac_is_as_it_says() -> None:
    said = vector("hmac-sha256")
    assert hashlib.sha256(said["body"].encode()).hexdigest() == said["lines"][-1]
    lines = "\n".join(said["lines"]).encode()
    assert hmac.new(said["secret"].encode(), lines, hashlib.sha256).hexdigest() == said["signature"]


def test_the_vector_of_sm2_is_as_it_says() -> None:
    said = vector("sm2-sm3")
    signer, lines = Signer(int(said["private_key"], 16)), "\n".join(said["lines"]).encode()
    assert (signer.public, sm3(said["body"].encode()).hex()) == (said["public_key"], said["lines"][-1])
    assert signer.sign(lines, int(said["random"], 16)) == said["signature"]
    assert read_key(said["public_key"]).verify(lines, bytes.fromhex(said["signature"]))
    openssl = subprocess.run(["openssl", "dgst", "-sm3", "-r"], input=said["body"].encode(), capture_output=True)
    assert openssl.stdout.split()[0].decode() == said["lines"][-1]


async def test_the_shell_example_runs_and_adds_nothing_the_second_time(server: Server) -> None:
    command = ["sh", "-eu", "-c", example("sh")]
    for _ in range(2):
        told = orjson.loads(await run(server, command, SECRET=SECRET))
        assert told == {"accepted": 1, "refused": 0, "items": [{"id": "first-sh", "status": "accepted"}]}


async def test_the_shell_example_of_sm2_runs_with_a_key_of_openssl(server: Server, tmp_path: Path) -> None:
    key = str(tmp_path / "key.pem")
    await run(server, ["openssl", "ecparam", "-genkey", "-name", "SM2", "-noout", "-out", key])
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    (core,) = file["systems"]
    del core["secret"]
    core |= {"algorithm": "sm2-sm3", "public_key": await run(server, ["openssl", "pkey", "-in", key, "-pubout"])}
    await apply.apply_tenant(server.services, yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    told = orjson.loads(await run(server, ["sh", "-eu", "-c", example("sh", 1)], KEY=key))
    assert told == {"accepted": 1, "refused": 0, "items": [{"id": "first-sm2", "status": "accepted"}]}


async def test_the_python_example_sends_its_batches(server: Server) -> None:
    out = await run(server, [sys.executable, "-c", example("python")], SECRET=SECRET)
    assert out.splitlines() == ["500 accepted 0 refused", "100 accepted 0 refused", "1 accepted 0 refused"]
    rows = await server.services.store.tenant("demo")[INTAKE].find({}, limit=None)
    assert sorted((row["kind"], row["accepted"]) for row in rows) == [
        ("customers", 1), ("events", 100), ("events", 500),
    ]  # fmt: skip


async def test_the_python_example_repeats_what_got_no_answer_with_another_nonce(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handlers.open.intake import Intake
    from services.errors import Unavailable

    seen: list[str] = []
    take = Intake.take

    async def once_busy(self: Intake, items: Any, body: bytes = b"") -> None:
        seen.append(self.signed.nonce)
        await take(self, items, body)
        if len(seen) == 1:
            raise Unavailable("busy", "the answer was lost", retry_after=1)

    monkeypatch.setattr(Intake, "take", once_busy)
    out = await run(server, [sys.executable, "-c", example("python")], SECRET=SECRET)
    assert out.splitlines()[0] == "500 accepted 0 refused"
    assert (len(seen), len(set(seen))) == (4, 4)
    rows = await server.services.store.tenant("demo")[INTAKE].find({"kind": "events"}, limit=None)
    assert sorted(row["accepted"] for row in rows) == [100, 500]
