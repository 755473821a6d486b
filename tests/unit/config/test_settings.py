from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from config.settings import DEFAULT_MASTER_KEY, ProductionRefused, Settings, load

GOOD_PRODUCTION: dict[str, Any] = {
    "env": "production",
    "master_key": "k" * 32,
    "mongodb_uri": "mongodb://db.bank.example/",
    "redis_url": "redis://cache.bank.example/0",
    "public_url": "https://crm.bank.example",
}


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
    ],
)
def test_production_names_the_one_thing_that_is_wrong(field: str, value: str, reason: str) -> None:
    settings = Settings(**{**GOOD_PRODUCTION, field: value})
    with pytest.raises(ProductionRefused) as refused:
        settings.check()
    assert refused.value.reasons == [reason]


def test_production_starts_when_all_is_well() -> None:
    settings = Settings(**GOOD_PRODUCTION)
    assert settings.check() is settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("YINQIAO_ENV", "Production"),
        ("YINQIAO_ENV", "prod"),
        ("YINQIAO_PORT", "65533"),
        ("YINQIAO_PORT", "many"),
        ("YINQIAO_CIPHER", "DES"),
        ("YINQIAO_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("YINQIAO_").lower()):
        load()


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
