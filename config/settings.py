"""Typed settings, read once. Nothing else in the product reads the environment.

On a laptop nothing needs to be set: the stores and the sandbox listen on the ports after the
server's (`port` + 1 sandbox, + 2 MongoDB, + 3 Redis).
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from datetime import timedelta, timezone, tzinfo
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import override

from config import bounds, gate

DEFAULT_MASTER_KEY = "yinqiao-dev-master-key-do-not-use-in-a-bank"
EMBEDDED_MONGODB = "mongodb://127.0.0.1:{port}/?directConnection=true&retryWrites=false"
"""The embedded store's address. It remembers each retryable write for half an hour and reads all of them at every
further one, so that writes get slower as it runs; ours need no such help (docs/decisions/0022)."""


class ProductionRefused(Exception):
    """Production, or development in the open, must not start like this; `reasons` lists all that is
    wrong at once."""

    def __init__(self, reasons: list[str], env: str = "production") -> None:
        super().__init__(
            f"refusing to start in {env}:\n" + "\n".join(f"  - {reason}" for reason in reasons)
        )
        self.reasons = reasons


Calls = Annotated[int, Field(gt=0, le=100_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400.0)]
Windows = Annotated[list[tuple[Calls, Seconds]], Field(min_length=1, max_length=10)]
"""Pairs of calls and seconds: `[[10000, 60], [150000, 3600]]`."""


@dataclass(frozen=True)
class Exit:
    """How calls to one side leave: through the forward proxy at `proxy` (empty: directly), trusting
    the authorities of the PEM file `ca` besides the usual ones."""

    proxy: str = field(default="", repr=False)
    ca: str = ""


Side = Literal["wechat", "wecom", "bank"]
"""Whom we call: the two platforms, and the bank's own systems."""


class PlatformLimits(BaseModel):
    """How often the platforms may be called, where a bank was granted something else than
    contract/wechat D1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: float = Field(
        1.0, gt=0, le=100, description="a factor for all figures that are not given here"
    )
    apis: bounds.Entries[bounds.ShortText, Windows] = Field(
        default_factory=dict,
        description="by pattern, such as wecom/cgi-bin/externalcontact/*; the first that fits holds",
    )
    address: Windows = Field(
        [(20_000, 60.0), (600_000, 3600.0)], description="all WeCom calls from one source address"
    )
    concurrency: int = Field(
        10, gt=0, le=1000, description="calls to one API of a corp under way at once"
    )
    block_seconds: float = Field(
        60.0, gt=0, le=3600, description="how long an API rests after a first 45009"
    )

    @override
    def __str__(self) -> str:
        """As the environment has it."""
        return self.model_dump_json(exclude_defaults=True)


class Settings(BaseSettings):
    """Environment variables with the prefix `YINQIAO_`, and a `.env` file; the environment wins."""

    model_config = SettingsConfigDict(
        env_prefix="YINQIAO_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # what is wrong with a secret is told without it
    )

    env: Literal["dev", "production"] = "dev"
    port: int = Field(8000, ge=0, le=65532, description="the server's port; 0 takes a free one")
    address: str = "127.0.0.1"
    dev_beyond_loopback: bool = Field(
        False, description="development may listen where others reach it"
    )
    public_url: str = Field(
        "", description="how browsers reach the server; default http://127.0.0.1:PORT"
    )
    data_dir: Path = Path(".data")
    mongodb_uri: str = Field("", description="unset: the embedded store")
    mongodb_database: str = "yinqiao"
    redis_url: str = Field("", description="unset: the embedded Redis")
    broker_url: str = Field(
        "", description="Celery's broker; unset: redis_url (RabbitMQ is one setting)"
    )
    wechat_api_base: str = "https://api.weixin.qq.com"
    wecom_api_base: str = "https://qyapi.weixin.qq.com"
    wechat_open_base: str = Field(
        "https://open.weixin.qq.com", description="where the OAuth page lives"
    )
    wechatpay_api_base: str = "https://api.mch.weixin.qq.com"
    wechat_proxy: SecretStr = Field(
        SecretStr(""), description="the forward proxy through which WeChat is called"
    )
    wechat_ca: str = Field("", description="a PEM file of authorities trusted there besides")
    wecom_proxy: SecretStr = Field(SecretStr(""), description="the same for WeCom")
    wecom_ca: str = ""
    bank_proxy: SecretStr = Field(SecretStr(""), description="the same for the bank's own systems")
    bank_ca: str = ""
    sandbox_url: str = Field("", description="set by the demo: shown on its front page")
    master_key: SecretStr = SecretStr(DEFAULT_MASTER_KEY)
    cipher: Literal["AES-256-GCM", "SM4-GCM"] = "AES-256-GCM"
    callback_window: int = Field(
        600, gt=0, le=3600, description="seconds a callback's timestamp may be off"
    )
    platform_timeout: float = Field(
        4.0, gt=0, le=60, description="seconds for one call to WeChat or WeCom"
    )
    platform_limits: PlatformLimits = Field(
        PlatformLimits(), description="other allowances, as JSON"
    )
    platform_address: str = Field(
        "", description="names the source address of this host's calls, if there are several"
    )
    platform_share: float = Field(
        0.125, gt=0, le=1, description="a process's part of each allowance without Redis"
    )
    platform_patience: float = Field(
        5.0, gt=0, le=60, description="seconds that a call waits for its turn"
    )
    platform_bulk_patience: float = Field(
        120.0, gt=0, le=3600, description="the same for syncs and other mass work"
    )
    platform_spread: Literal["auto", "on", "off"] = Field(
        "auto",
        description="app messages that can wait keep off minutes 0 and 30; auto: in production",
    )
    audit_checkpoints: str = Field(
        "", description="where the audit trail's checkpoints are kept; unset: in data_dir"
    )
    mirror: str = Field(
        "", description="where this host's columnar mirror of profiles lies; unset: in data_dir"
    )
    searches_a_day: int = Field(
        200, ge=1, le=100_000, description="how often a clerk may look for a customer in a day"
    )
    session_hours: int = Field(12, ge=1, le=24, description="how long a session lives")
    group_window_ms: float = Field(
        2.0, ge=0, le=1000, description="how long a group commit waits for company"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    drain_seconds: float = Field(20.0, ge=0, le=600)
    nightly_sync: Literal["mend", "report", "off"] = Field(
        "mend", description="what becomes of what a night's sync finds"
    )
    nightly_from: int = Field(
        2, ge=0, le=23, description="the hour, in the bank's time, from which it may begin"
    )
    nightly_until: int = Field(
        5, ge=1, le=24, description="the hour from which it may not begin any more"
    )
    utc_offset_hours: float = Field(8.0, ge=-12, le=14, description="the bank's time; China's")
    address_days: int = Field(
        30,
        ge=0,
        le=3_650,
        description="days that a delivery address is kept after its parcel arrived",
    )
    bank_events_days: int = Field(
        400,
        ge=1,
        le=3_650,
        description="days that an event of the bank's systems is kept, and how old one may be that "
        "comes in",
    )
    archive_lag_alarm: float = Field(
        900.0,
        gt=0,
        le=86_400,
        description="seconds that the archive may be behind before the alarm, a day at most: WeCom "
        "hands messages out for some five days, and never afterwards",
    )
    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="what Prometheus brings as its bearer token; at least 16 characters",
    )
    trusted_proxies: list[str] = Field(
        default_factory=list, description="whose X-Forwarded-For is believed"
    )

    @field_validator("metrics_token")
    @classmethod
    def _long_enough(cls, token: SecretStr) -> SecretStr:
        if 0 < len(token.get_secret_value()) < 16:
            raise ValueError("a token has at least 16 characters")
        return token

    @field_validator("wechat_proxy", "wecom_proxy", "bank_proxy")
    @classmethod
    def _proxy_address(cls, proxy: SecretStr) -> SecretStr:
        address = proxy.get_secret_value()
        try:
            parts = urlsplit(address)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port
        except ValueError:  # its text may have a piece of the password
            whole = False
        if address and not whole:
            raise ValueError("a proxy is http://[USER:PASSWORD@]HOST:PORT, or https://")
        if address and (parts.path.strip("/") or parts.query or parts.fragment):
            raise ValueError("a proxy's address has no path")
        return proxy

    @field_validator("wechat_ca", "wecom_ca", "bank_ca")
    @classmethod
    def _authorities(cls, path: str) -> str:
        if path:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"{path} has no certificates in PEM: {error}") from None
        return path

    def exit_to(self, side: Side) -> Exit:
        """How calls to that side leave."""
        proxy: SecretStr = getattr(self, f"{side}_proxy")
        return Exit(proxy.get_secret_value(), getattr(self, f"{side}_ca"))

    @property
    def spreads_messages(self) -> bool:
        """Whether app messages that can wait keep off the minutes in which everybody sends."""
        spread = self.platform_spread
        return spread == "on" or (spread == "auto" and self.env == "production")

    @property
    def mongodb(self) -> str:
        """The store's address, embedded or the bank's own."""
        return self.mongodb_uri or EMBEDDED_MONGODB.format(port=self.port + 2)

    @property
    def redis(self) -> str:
        """Redis's address, embedded or the bank's own."""
        return self.redis_url or f"redis://127.0.0.1:{self.port + 3}/0"

    @property
    def broker(self) -> str:
        return self.broker_url or self.redis

    @property
    def checkpoints(self) -> Path:
        """The folder of the audit trail's checkpoints."""
        return Path(self.audit_checkpoints or self.data_dir / "audit")

    @property
    def mirror_dir(self) -> Path:
        """The folder of this host's columnar mirror."""
        return Path(self.mirror or self.data_dir / "mirror")

    @property
    def tz(self) -> tzinfo:
        """The bank's time: the one zone in which its days begin and its people read the clock."""
        return timezone(timedelta(hours=self.utc_offset_hours))

    @property
    def url(self) -> str:
        """The server as browsers reach it, without a trailing slash."""
        return (self.public_url or f"http://{self.address}:{self.port}").rstrip("/")

    @property
    def secure(self) -> bool:
        """True when browsers reach us over https."""
        return self.url.startswith("https://")

    def check(self) -> Settings:
        """These settings, or ProductionRefused with everything that they must not run with."""
        if self.env == "production":
            reasons = list(gate.production(self))
        else:
            reasons = list(gate.dev(self))
        if reasons:
            raise ProductionRefused(reasons, self.env)
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, proxies: list[str]) -> list[str]:
        for proxy in proxies:
            ipaddress.ip_network(proxy, strict=False)
        return proxies


def load() -> Settings:
    """Settings from the environment and `.env`, checked; raises ProductionRefused or pydantic's
    ValidationError."""
    return Settings().check()
