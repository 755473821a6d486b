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
from unittest.mock import AsyncMock

import httpx
import orjson
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import utils

from config.bounds import INTAKE_BYTES
from customers.banks import apply
from customers.intake import receiving
from customers.intake.rows import INTAKE
from deploy.processes import ROOT
from services.errors import Unavailable
from services.security.sm2 import read_key, sm3
from tests.conftest import DEMO_BANK, Server
from tests.docs import codes
from tests.docs.test_docs import REFERENCE
from tests.docs.test_docs import table as reference
from tests.support.bank_systems import CORE, SECRET, send
from tests.support.sm2_signer import Signer

PAGES = ("integration.md", "integration.zh-CN.md")


def blocks(page: str) -> list[tuple[str, str]]:
    """The page's examples, with their languages."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def example(language: str, place: int = 0) -> str:
    return [block for name, block in blocks(PAGES[0]) if name == language][place]


def vectors(algorithm: str) -> list[Any]:
    """Those of an algorithm: of each request that is different in kind."""
    (block,) = (block for _, block in blocks(PAGES[0]) if block.startswith('{"vectors"'))
    found = [one for one in orjson.loads(block)["vectors"] if one["algorithm"] == algorithm]
    assert sorted(one["lines"][0] for one in found) == ["POST", "PUT"]
    return found


def table(page: str, codes_in: int) -> list[list[str]]:
    """The rows of the page's tables whose codes stand in that column, as its codes and the first cell."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[row[0].strip(), *re.findall("`([a-z_]+)`", row[codes_in])] for row in rows if len(row) > codes_in]


def refusals(page: str) -> set[tuple[int, str]]:
    """(status, code) of whole requests."""
    rows = [row for row in table(page, 1) if re.fullmatch("[45][0-9][0-9]", row[0])]
    return {
        (int(status), code) for status, *found in rows for code in found if code not in ("fields", "message", "may")
    }


def of_items() -> set[str]:
    """The codes of single items, but for those of lines of files."""
    rows = reference(REFERENCE, "Codes of single items")
    requests = [row for row, (means, *_) in rows.items() if not means.startswith("of a file")]
    return {code for row in requests for code in re.findall("[a-z_]+", row)}


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


def test_the_vectors_of_hmac_are_as_they_say() -> None:
    for said in vectors("hmac-sha256"):
        assert hashlib.sha256(said["body"].encode()).hexdigest() == said["lines"][-1]
        lines = "\n".join(said["lines"]).encode()
        assert hmac.new(said["secret"].encode(), lines, hashlib.sha256).hexdigest() == said["signature"]


def test_the_vectors_of_sm2_are_as_they_say() -> None:
    for said in vectors("sm2-sm3"):
        signer, lines = Signer(int(said["private_key"], 16)), "\n".join(said["lines"]).encode()
        assert (signer.public, sm3(said["body"].encode()).hex()) == (said["public_key"], said["lines"][-1])
        assert signer.sign(lines, int(said["random"], 16)) == said["signature"]
        assert said["e"] == sm3(bytes.fromhex(said["z"]), lines).hex()
        for form in ("signature", "der"):
            assert read_key(said["public_key"]).verify(lines, bytes.fromhex(said[form]))
        r, s = utils.decode_dss_signature(bytes.fromhex(said["der"]))
        assert f"{r:064x}{s:064x}" == said["signature"]
        openssl = subprocess.run(["openssl", "dgst", "-sm3", "-r"], input=said["body"].encode(), capture_output=True)
        assert openssl.stdout.split()[0].decode() == said["lines"][-1]


RAISES = ("handlers/open/intake.py", "customers/intake/receiving.py", "customers/access/signing.py")
OF_ALL_ROUTES = {
    (400, "bad_address"), (404, "not_found"), (405, "method_not_allowed"), (413, "body_too_large"),
    (429, "too_many_requests"), (500, "internal"), (503, "busy"), (503, "store_unavailable"),
}  # fmt: skip
"""What the door answers, and the stores behind it."""


def test_the_page_names_every_code_that_its_routes_answer() -> None:
    raised = {code for file in RAISES for code in codes.raised_in(ROOT / file)}
    status = {code: int(cells[0]) for code, cells in reference(REFERENCE, "Error codes").items()}
    for page in PAGES:
        assert refusals(page) == {(status[code], code) for code in raised} | OF_ALL_ROUTES
        named = {code for _, *found in table(page, 0) for code in found}
        assert of_items() <= named


async def test_the_routes_answer_as_the_table_of_refusals_says(
    server: Server, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, event = "/open/v1/events", {"events": [{"id": "e1"}]}
    said: set[tuple[int, str]] = set()

    def take(answer: httpx.Response) -> None:
        said.add((answer.status_code, answer.json()["error"]["code"]))

    take(await http.post(path, content=b"{}"))
    for other in ({"secret": "x" * 43}, {"at": 1}):
        take(await send(http, path, event, **other))
    assert (await send(http, path, event, nonce="n" * 16)).status_code == 200
    take(await send(http, path, event, nonce="n" * 16))
    for body in (b"{", {"events": [1] * 501}, b'{"events":["' + b"x" * INTAKE_BYTES + b'"]}'):
        take(await send(http, path, body))
    take(await send(http, path, event, method="PUT"))
    take(await send(http, f"{path}/", event))
    take(await send(http, f"{path}?a={'x' * 5_000}", event))
    for error in (Unavailable("busy"), Unavailable("store_unavailable"), ZeroDivisionError()):
        monkeypatch.setattr(receiving, "store", AsyncMock(side_effect=error))
        take(await send(http, path, event))
    assert refusals(PAGES[0]) - said == {(403, "system_may_not"), (429, "too_many_requests")}
    assert said <= refusals(PAGES[0])


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
