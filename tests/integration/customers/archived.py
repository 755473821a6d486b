"""A bank with a message archive: its key in the sandbox, its gateway the sandbox's stand-in, and people who write."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from customers.archive import pull as archive
from customers.archive.messages import open_body
from customers.banks.apply import apply_tenant
from services.container import Services
from services.store.mongo import Doc
from tests.conftest import DEMO_BANK, Sandbox
from tests.support import jobs
from tests.support.banks import open_bank

SECRET = "fake-wecom-archive-secret-for-the-sandbox-0"


@cache
def key(version: int) -> rsa.RSAPrivateKey:
    """The bank's key of that version; made once a run."""
    assert version >= 1
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(version: int) -> str:
    return key(version).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def give_key(sandbox: Sandbox, version: int) -> None:
    """WeCom encrypts with this key from now on."""
    public = key(version).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert await sandbox.control("POST", "archive/key", {"public_key": public}) == {"version": version}


async def apply(services: Services, sandbox: Sandbox, *, versions: tuple[int, ...] = (1,), **more: Any) -> None:
    """The demo bank with an archive and the keys of these versions."""
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    keys = {version: pem(version) for version in versions}
    file["archive"] = {"secret": SECRET, "url": f"{sandbox.url}/archive", "private_keys": keys} | more
    await apply_tenant(services, yaml.safe_dump(file, allow_unicode=True), "archived.yaml")


async def friend(
    sandbox: Sandbox, name: str = "刘敏", userid: str = "rm.chen", *, agrees: bool = True
) -> dict[str, Any]:
    person = await sandbox.person(name)
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": userid})
    if agrees:
        await sandbox.control("POST", f"people/{person['id']}/agree", {"userid": userid})
    return person


async def say(sandbox: Sandbox, person: dict[str, Any], text: str, userid: str = "rm.chen") -> None:
    await sandbox.control("POST", f"people/{person['id']}/message", {"userid": userid, "text": text})


async def due(services: Services) -> None:
    """The bank's archive is to be pulled now."""
    await archive.keep_going(await open_bank(services, "demo"))
    rows = services.store.tenant("demo")["archive_pulls"]
    await rows.update({}, {"$set": {"due": services.clock() - 1.0, "owner": None}})


async def pull(services: Services) -> None:
    await due(services)
    await jobs.pull_archive(await open_bank(services, "demo"))


async def kept(services: Services) -> list[Doc]:
    """The archive's rows by `seq`."""
    return await services.store.tenant("demo")["archive"].find({}, sort=[("seq", 1)], limit=None)


async def texts(services: Services) -> list[str]:
    """What was said, in order."""
    rows = await kept(services)
    at_bank = await open_bank(services, "demo")
    return [open_body(at_bank, row["_id"], row["body"])["text"]["content"] for row in rows if row["body"]]


async def pull_row(services: Services) -> Doc:
    row = await services.store.tenant("demo")["archive_pulls"].find_one({})
    assert row is not None
    return row
