from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from config.gate import is_published
from config.settings import DEFAULT_MASTER_KEY, PlatformLimits, ProductionRefused, Settings, load
from deploy.demo import BANK as DEMO_BANK
from deploy.terminal import wrong_settings

GOOD_PRODUCTION: dict[str, Any] = {
    "env": "production",
    "master_key": "9f8c2b7e41d06a53ce1b8f27a4d9603b",
    "mongodb_uri": "mongodb://yq:8Kd2pQ@db.bank.example/?tls=true",
    "redis_url": "rediss://:8Kd2pQ@cache.bank.example/0",
    "public_url": "https://crm.bank.example",
    "trusted_proxies": [],
}


GUESSED = "YINQIAO_MASTER_KEY can be guessed: take 32 random bytes, such as `openssl rand -base64 32` gives"
GUESSABLE = [
    "a" * 32,
    "a" * 31 + "b",
    "0123456789abcdef" * 2,
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "zyxwvutsrqponmlkjihgfedcba9876543210",
    "00000000-0000-0000-0000-000000000000",
    "changeme" * 5,
    "the-master-key-of-our-own-bank-2026",
    "qwertyuiopasdfghjklzxcvbnm123456",
    "ab" * 16 + "cd",
    "1q2w3e4r5t6y7u8i9o0p1q2w3e4r5t6y",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,",
    "00112233445566778899aabbccddeeff",
    "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "correct horse battery staple correct",
    "correct-horse-battery-staple-2026-bank",
    "thequickbrownfoxjumpsoverthelazydog",
    "ThisIsAVerySafeKeyForOurBank2026!!",
    "wodemimashiyigehenchangdejuzi2026",
    "31415926535897932384626433832795028841971",
]
GUESSED_TOKEN = "YINQIAO_METRICS_TOKEN can be guessed: take random letters, such as `openssl rand -base64 24` gives"


def test_on_a_laptop_nothing_needs_to_be_set() -> None:
    settings = load()
    assert (settings.env, settings.port, settings.url) == ("dev", 8000, "http://127.0.0.1:8000")
    assert settings.mongodb == "mongodb://127.0.0.1:8002/?directConnection=true&retryWrites=false"
    assert settings.redis == "redis://127.0.0.1:8003/0"
    assert settings.broker == settings.redis


def test_the_stores_follow_the_servers_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YINQIAO_PORT", "21000")
    settings = load()
    assert settings.mongodb == "mongodb://127.0.0.1:21002/?directConnection=true&retryWrites=false"
    assert settings.redis == "redis://127.0.0.1:21003/0"
    assert settings.url == "http://127.0.0.1:21000"


def test_the_banks_own_stores_are_used_as_they_are_written() -> None:
    settings = Settings(mongodb_uri="mongodb://db/", redis_url="redis://cache/1", broker_url="amqp://rabbit//")
    assert (settings.mongodb, settings.redis, settings.broker) == (
        "mongodb://db/",
        "redis://cache/1",
        "amqp://rabbit//",
    )


def test_the_public_address_has_no_slash_at_its_end() -> None:
    assert Settings(public_url="https://crm.bank.example/").url == "https://crm.bank.example"


def test_the_env_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("YINQIAO_PORT=21100\nYINQIAO_CIPHER=SM4-GCM\nSOMETHING_ELSE=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    assert (load().port, load().cipher) == (21100, "SM4-GCM")
    monkeypatch.setenv("YINQIAO_PORT", "21200")
    assert (load().port, load().cipher) == (21200, "SM4-GCM")


def test_production_refuses_everything_that_is_wrong_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YINQIAO_ENV", "production")
    with pytest.raises(ProductionRefused) as refused:
        load()
    assert refused.value.reasons == [
        "YINQIAO_MASTER_KEY is the default key",
        "YINQIAO_MONGODB_URI is not set: the embedded store is not for a bank's data",
        "YINQIAO_REDIS_URL is not set: the embedded Redis is not for a bank",
        "YINQIAO_PUBLIC_URL must be an https address",
        "YINQIAO_TRUSTED_PROXIES is not set: behind a proxy all callers share its address; [] when there is none",
    ]
    assert all(reason in str(refused.value) for reason in refused.value.reasons)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("master_key", DEFAULT_MASTER_KEY, "YINQIAO_MASTER_KEY is the default key"),
        ("master_key", "k" * 31, "YINQIAO_MASTER_KEY is shorter than 32 characters"),
        ("mongodb_uri", "", "YINQIAO_MONGODB_URI is not set: the embedded store is not for a bank's data"),
        ("redis_url", "", "YINQIAO_REDIS_URL is not set: the embedded Redis is not for a bank"),
        ("public_url", "http://crm.bank.example", "YINQIAO_PUBLIC_URL must be an https address"),
        *(("master_key", key, GUESSED) for key in GUESSABLE),
        ("wecom_api_base", "http://qyapi.weixin.qq.com", "YINQIAO_WECOM_API_BASE must be an https address"),
        ("wechat_api_base", "http://api.weixin.qq.com", "YINQIAO_WECHAT_API_BASE must be an https address"),
        ("wechat_open_base", "open.weixin.qq.com", "YINQIAO_WECHAT_OPEN_BASE must be an https address"),
        ("wechatpay_api_base", "http://127.0.0.1/", "YINQIAO_WECHATPAY_API_BASE must be an https address"),
        ("mongodb_uri", "mongodb://db/?tls=true", "YINQIAO_MONGODB_URI has no user and password"),
        ("mongodb_uri", "mongodb://yq:8Kd2pQ@db/", "YINQIAO_MONGODB_URI is not encrypted: tls=true"),
        ("mongodb_uri", "mongodb://yq:8Kd2pQ@db/?ssl=false", "YINQIAO_MONGODB_URI is not encrypted: tls=true"),
        ("mongodb_uri", "mongodb+srv://yq:8Kd2pQ@db/?tls=false", "YINQIAO_MONGODB_URI is not encrypted: tls=true"),
        ("mongodb_uri", "mongodb://yq:yinqiao-demo@db/?tls=true", "YINQIAO_MONGODB_URI has a published password"),
        (
            "mongodb_uri",
            "mongodb://yq:8Kd2pQ@db/?tls=true&tlsAllowInvalidCertificates=true",
            "YINQIAO_MONGODB_URI does not look at certificates",
        ),
        ("redis_url", "rediss://cache/0", "YINQIAO_REDIS_URL has no password"),
        ("redis_url", "redis://:8Kd2pQ@cache/0", "YINQIAO_REDIS_URL is not encrypted: rediss://"),
        ("redis_url", "rediss://:8Kd2pQ@cache/0?ssl_cert_reqs=none", "YINQIAO_REDIS_URL does not look at certificates"),
        ("broker_url", "amqps://guest:guest@rabbit//", "YINQIAO_BROKER_URL has no password of its own"),
        ("broker_url", "amqp://yq:8Kd2pQ@rabbit//", "YINQIAO_BROKER_URL is not encrypted: amqps://"),
        ("broker_url", "redis://:8Kd2pQ@cache/1", "YINQIAO_BROKER_URL is not encrypted: rediss://"),
        ("sandbox_url", "http://127.0.0.1:8001", "YINQIAO_SANDBOX_URL is set: a bank has no sandbox"),
        ("mongodb_uri", "mongodb://yq:@db/?tls=true", "YINQIAO_MONGODB_URI has no user and password"),
        ("mongodb_uri", "mongodb://yq:yinqiao%2Ddemo@db/?tls=true", "YINQIAO_MONGODB_URI has a published password"),
        ("mongodb_uri", "mongodb://yq:8Kd2pQ@db/?tls=true&ssl=false", "YINQIAO_MONGODB_URI is not encrypted: tls=true"),
        ("redis_url", "rediss://:yinqiao-demo@cache/0", "YINQIAO_REDIS_URL has a published password"),
        (
            "redis_url",
            "rediss://:8Kd2pQ@cache/0?ssl_check_hostname=false",
            "YINQIAO_REDIS_URL does not look at certificates",
        ),
        ("broker_url", "amqps://yq:yinqiao-demo@rabbit//", "YINQIAO_BROKER_URL has a published password"),
        ("broker_url", "filesystems://:8Kd2pQ@x", "YINQIAO_BROKER_URL is not encrypted: amqps://"),
        ("public_url", "https://", "YINQIAO_PUBLIC_URL must be an https address"),
        ("wecom_api_base", "https:///cgi-bin", "YINQIAO_WECOM_API_BASE must be an https address"),
        ("metrics_token", "a" * 16, GUESSED_TOKEN),
        ("metrics_token", "changemechangeme", GUESSED_TOKEN),
        ("metrics_token", "yinqiao-metrics-token", GUESSED_TOKEN),
        ("dev_beyond_loopback", "true", "YINQIAO_DEV_BEYOND_LOOPBACK is set: it is for development"),
    ],
)
def test_production_names_the_one_thing_that_is_wrong(field: str, value: str, reason: str) -> None:
    settings = Settings(**{**GOOD_PRODUCTION, field: value})
    with pytest.raises(ProductionRefused) as refused:
        settings.check()
    assert refused.value.reasons == [reason]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"master_key": "q0ZbY3mTn6xR9wKcV2sLd8fHj4gP7aUe1iOoXzCtNvE="},
        {"master_key": "f3b1c9d07e5a4826b9c4d1e80f72a635"},
        {"mongodb_uri": "mongodb+srv://yq:8Kd2pQ@cluster.bank.example/yinqiao"},
        {"mongodb_uri": "mongodb://CN=yinqiao@a,b,c/?authMechanism=MONGODB-X509&tls=true"},
        {"broker_url": "amqps://yq:8Kd2pQ@rabbit//"},
        {"trusted_proxies": ["10.0.0.7"]},
        {"master_key": "0b0d7c83-8f0e-4b6e-9a53-6c1f5a7d2e94"},
        {"master_key": "MZXW6YTBOI3TKQLBGE4DMNRVHE2DAMJS"},
        {"metrics_token": "4be01c9ad2f77e36"},
        {"redis_url": "rediss://:8Kd2pQ@cache/0?ssl_cert_reqs=required"},
    ],
    ids=str,
)
def test_production_starts_when_all_is_well(more: dict[str, Any]) -> None:
    settings = Settings(**{**GOOD_PRODUCTION, **more})
    assert settings.check() is settings


def test_every_key_and_secret_of_the_demonstration_bank_is_known_as_published() -> None:
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    apps = [file["wecom"], *file["miniprograms"]]
    secrets = [one[name] for one in apps for name in ("secret", "token", "aes_key")]
    secrets += [one["password"] for one in (*file["clerks"], *file["counters"])]
    secrets += [one["secret"] for one in (*file["partners"], *file["systems"])]
    assert all(is_published(secret) for secret in [*secrets, DEFAULT_MASTER_KEY])
    assert not is_published("f3b1c9d07e5a4826b9c4d1e80f72a635")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "", "192.168.1.7", "crm.bank.example"])
def test_development_listens_on_this_machine_alone(address: str) -> None:
    with pytest.raises(ProductionRefused, match="YINQIAO_DEV_BEYOND_LOOPBACK"):
        Settings(address=address).check()
    meant = Settings(address=address, dev_beyond_loopback=True)
    assert meant.check() is meant
    assert Settings(**{**GOOD_PRODUCTION, "address": address}).check()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", "127.0.1.1"])
def test_an_address_of_this_machine_is_one(address: str) -> None:
    assert Settings(address=address).check()


def test_every_number_has_its_bounds() -> None:
    """So that no setting makes a limit mean nothing, such as a callback window of ten years."""
    for model in (Settings, PlatformLimits):
        for name, field in model.model_fields.items():
            if field.annotation in (int, float):
                bounds = {
                    bound for each in field.metadata for bound in ("gt", "ge", "lt", "le") if hasattr(each, bound)
                }
                assert bounds & {"gt", "ge"}, name
                assert bounds & {"lt", "le"}, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("YINQIAO_ENV", "Production"),
        ("YINQIAO_ENV", "prod"),
        ("YINQIAO_PORT", "65533"),
        ("YINQIAO_PORT", "many"),
        ("YINQIAO_CIPHER", "DES"),
        ("YINQIAO_LOG_LEVEL", "LOUD"),
        ("YINQIAO_CALLBACK_WINDOW", "315360000"),
        ("YINQIAO_CALLBACK_WINDOW", "0"),
        ("YINQIAO_SESSION_HOURS", "8760"),
        ("YINQIAO_PLATFORM_TIMEOUT", "nan"),
        ("YINQIAO_PLATFORM_PATIENCE", "inf"),
        ("YINQIAO_DRAIN_SECONDS", "-1"),
        ("YINQIAO_TRUSTED_PROXIES", '["proxy.bank.example"]'),
        ("YINQIAO_TRUSTED_PROXIES", '["10.8.0.0/33"]'),
        ("YINQIAO_PLATFORM_LIMITS", '{"concurrency": 1000000}'),
        ("YINQIAO_PLATFORM_LIMITS", '{"address": [[20000, 0]]}'),
    ],
)
def test_a_setting_that_cannot_be_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("YINQIAO_").lower()):
        load()


def test_a_proxy_is_an_address_or_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YINQIAO_TRUSTED_PROXIES", '["10.0.0.9", "10.8.0.0/24", "2001:db8::/48"]')
    assert load().trusted_proxies == ["10.0.0.9", "10.8.0.0/24", "2001:db8::/48"]


def test_settings_do_not_show_the_master_key() -> None:
    settings = Settings(master_key=SecretStr("canary-master-key-0123456789abcdef"))
    assert "canary" not in repr(settings)
    assert "canary" not in str(settings.model_dump())
    assert "canary" not in settings.model_dump_json()


def test_settings_do_not_change_after_they_were_read() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    assert settings.port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BANK_PROXY", "socks5://demo:let-me-out@proxy:1080"),
        ("WECOM_PROXY", "http://demo:let-me-out@proxy"),
        ("WECOM_PROXY", "http://demo:let-me-out#1@proxy:3128"),
        ("WECHAT_PROXY", "http://demo:let-me-out/1@proxy:3128"),
        ("METRICS_TOKEN", "let-me-out"),
    ],
)
def test_a_wrong_secret_is_not_in_what_is_said_of_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"YINQIAO_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()) as wrong:
        load()
    assert "let-me" not in f"{wrong.value} {wrong_settings(wrong.value)}"
