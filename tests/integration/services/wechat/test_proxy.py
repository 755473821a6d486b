"""Calls leave through the bank's forward proxy: a real one, with a password, before a platform whose certificate is
signed by an authority of the bank's own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from config.settings import Settings
from services.container import Services
from services.observe.metrics import Metrics
from services.wechat.core.errors import NotSent, UnknownOutcome
from services.wechat.core.platform import Platform
from services.wechat.core.tokens import TokenStore
from tests.support import once
from tests.support.waiting import until

NAME = "demo:let-me-out"


@dataclass
class Proxy:
    """A running forward proxy and what it wrote of each connection."""

    port: int
    log: Path

    @property
    def address(self) -> str:
        return f"http://{NAME}@127.0.0.1:{self.port}"

    async def made_a_tunnel(self) -> bool:
        """Whether it let anybody out."""
        return any("CONNECT" in line and " 0 bytes" not in line for line in self.log.read_text().splitlines())


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    port_file, log = tmp_path / "port", tmp_path / "proxy.log"
    words = ["--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port_file), "--basic-auth", NAME]
    words += ["--num-workers", "1", "--num-acceptors", "1", "--log-file", str(log), "--log-level", "INFO"]
    words += ["--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(  # noqa: ASYNC220 - it is ended below, and its end is not awaited elsewhere
        [sys.executable, "-W", "ignore", "-m", "proxy", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:

        async def listens() -> bool:
            if not port_file.exists() or not port_file.read_text().strip():
                return False
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", int(port_file.read_text()))
                writer.close()
                return True
            return False

        await until(listens, 30)
        yield Proxy(int(port_file.read_text()), log)
    finally:
        process.terminate()
        process.wait(30)


def _certificates(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate as a file, and what a server on 127.0.0.1 shows that it signed."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)

    def made(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name | None) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - day).not_valid_after(now + day)

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = made("the bank's authority", authority, None)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed_root = root.sign(authority, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = made("platform", own, signed_root.subject).add_extension(names, critical=False)
    signed_leaf = leaf.sign(authority, hashes.SHA256())
    ca, chain = folder / "ca.pem", folder / "platform.pem"
    ca.write_bytes(signed_root.public_bytes(serialization.Encoding.PEM))
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(key + signed_leaf.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return ca, context


class _WeCom(RequestHandler):
    def get(self) -> None:
        if self.request.path.endswith("gettoken"):
            self.finish({"errcode": 0, "errmsg": "ok", "access_token": "T1", "expires_in": 7200})
        else:
            self.finish({"errcode": 0, "errmsg": "ok", "userid": "zhang"})


@pytest.fixture(autouse=True)
def contexts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", once.CONTEXT)


@dataclass
class Https:
    """A WeCom over TLS."""

    base: str
    ca: Path


@pytest.fixture
async def https(tmp_path: Path) -> AsyncIterator[Https]:
    ca, context = _certificates(tmp_path)
    listening, port = bind_unused_port()
    server = HTTPServer(Application([(r".*", _WeCom)]), ssl_options=context)
    server.add_socket(listening)
    yield Https(f"https://127.0.0.1:{port}", ca)
    server.stop()
    await server.close_all_connections()


async def _ask(services: Services, settings: Settings) -> str:
    """Asks WeCom through a platform of these settings who is behind a code of the login."""
    platform = Platform(settings, services.redis, TokenStore(None), Metrics(), on_unknown=lambda *_: None)
    try:
        client = platform.wecom("demo", "wwcorp", 1000002, "corp-secret")
        answer = await client.get("/cgi-bin/user/get", params={"userid": "zhang"})
        return str(answer["userid"])
    finally:
        await platform.close()


async def test_calls_leave_through_the_proxy_and_trust_its_authority(
    services: Services, proxy: Proxy, https: Https
) -> None:
    settings = services.settings.model_copy(update=_leaving(https, proxy.address))
    assert await _ask(services, settings) == "zhang"
    await until(proxy.made_a_tunnel, 10)


async def test_what_the_banks_own_systems_are_told_leaves_through_the_banks_proxy(
    services: Services, proxy: Proxy, https: Https
) -> None:
    made = Settings(bank_proxy=proxy.address, bank_ca=str(https.ca))  # type: ignore[arg-type]
    settings = services.settings.model_copy(update={name: getattr(made, name) for name in ("bank_proxy", "bank_ca")})
    platform = Platform(settings, services.redis, TokenStore(None), Metrics(), on_unknown=lambda *_: None)
    try:
        answer = await platform.bank_http("demo", "webhook:core").get(f"{https.base}/in")
        assert answer.status_code == 200
    finally:
        await platform.close()
    await until(proxy.made_a_tunnel, 10)


async def test_without_the_proxy_setting_nothing_goes_through_it(
    services: Services, proxy: Proxy, https: Https, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.address)
    settings = services.settings.model_copy(update=_leaving(https, ""))
    assert await _ask(services, settings) == "zhang"
    assert not await proxy.made_a_tunnel()


async def test_an_authority_that_nobody_named_is_not_trusted(services: Services, proxy: Proxy, https: Https) -> None:
    settings = services.settings.model_copy(update=_leaving(https, proxy.address) | {"wecom_ca": ""})
    with pytest.raises(NotSent):
        await _ask(services, settings)


async def test_a_proxy_that_does_not_let_us_out_means_that_nothing_was_sent(
    services: Services, proxy: Proxy, https: Https
) -> None:
    wrong = f"http://demo:wrong@127.0.0.1:{proxy.port}"
    with pytest.raises(NotSent) as refused:
        await _ask(services, services.settings.model_copy(update=_leaving(https, wrong)))
    assert not isinstance(refused.value, UnknownOutcome)


async def test_a_proxy_over_tls_is_trusted_by_the_same_authority(services: Services, tmp_path: Path) -> None:
    ca, context = _certificates(tmp_path)
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=context) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        leaving = _leaving(Https("https://platform.example", ca), f"https://{NAME}@127.0.0.1:{port}")
        with pytest.raises(NotSent):
            await _ask(services, services.settings.model_copy(update=leaving))
    assert asked[0].startswith(b"CONNECT platform.example:443")


def _leaving(https: Https, proxy: str) -> dict[str, object]:
    made = Settings(wecom_api_base=https.base, wecom_proxy=proxy, wecom_ca=str(https.ca))  # type: ignore[arg-type]
    return {name: getattr(made, name) for name in ("wecom_api_base", "wecom_proxy", "wecom_ca")}


@pytest.mark.parametrize(
    "address", ["proxy:3128", "socks5://proxy:1080", "http://proxy", "http://proxy:3128/out", "http://:3128"]
)
def test_what_is_no_proxy_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="wecom_proxy"):
        Settings(wecom_proxy=address)  # type: ignore[arg-type]


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "none.pem"):
        with pytest.raises(ValidationError, match="wecom_ca"):
            Settings(wecom_ca=str(path))
