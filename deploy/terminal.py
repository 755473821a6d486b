"""What every command of manage.py needs: settings, services around a use-case, and failing with a
sentence."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import httpx
import typer
from kombu.exceptions import KombuError
from pydantic import ValidationError
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from config.bounds import NUMBERS_BYTES
from config.logging import setup_logging
from config.settings import ProductionRefused, Settings, load
from deploy import demo as demonstration
from deploy.errors import DeployError
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services import sheets
from services.container import Services, open_services, tune_collector
from services.errors import InvalidInput, Unavailable, YinqiaoError
from services.wechat.core.errors import PlatformError

T = TypeVar("T")
File = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="a YAML file")
]
TenantOption = Annotated[
    str, typer.Option("--tenant", help="the bank's id; may be left out when there is only one")
]


def fail(*sentences: str) -> NoReturn:
    """Ends the command with exit status 1."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    raise typer.Exit(1)


def read(file: Path) -> str:
    """The file's text, in whichever encoding it was saved."""
    if file.stat().st_size > NUMBERS_BYTES:
        fail(f"{file}: larger than {NUMBERS_BYTES // 1024 // 1024} MB")
    try:
        return sheets.decode(file.read_bytes())
    except InvalidInput as error:
        fail(f"{file}: {error.message}")


def settings() -> Settings:
    """The environment's settings, or those of the demo that runs on the same data."""
    try:
        chosen = load()
    except (ProductionRefused, ValidationError) as error:
        fail(*wrong_settings(error))
    running = chosen.env == "dev" and demonstration.is_running(chosen.data_dir)
    return demonstration.demo_settings() if running else chosen


def wrong_settings(error: ProductionRefused | ValidationError) -> list[str]:
    """What is wrong with the environment, as sentences."""
    if isinstance(error, ProductionRefused):
        return [str(error)]
    return [f"YINQIAO_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]


def run(use_case: Callable[[Services], Awaitable[T]]) -> T:
    """The answer of `use_case` over services that are opened and closed around it; its refusals end
    the command."""

    async def opened() -> T:
        services = await open_services(chosen, COLLECTIONS, QUEUES)
        tune_collector()
        try:
            return await use_case(services)
        finally:
            await services.close()

    setup_logging("WARNING")
    chosen = settings()
    try:
        return asyncio.run(opened())
    except OUT_OF_REACH as error:
        if isinstance(error, PlatformError) and error.is_final:
            fail(f"the platform refuses this, and would again: {error.message}")
        fail(*out_of_reach(chosen, error))
    except YinqiaoError as error:
        fail(error.message)


OUT_OF_REACH = (
    Unavailable,
    PlatformError,
    RedisError,
    PyMongoError,
    KombuError,
    httpx.TransportError,
)
_PLACES = {"store": "MongoDB", "sessions": "Redis", "wecom": "WeCom", "wechat": "WeChat"}


def out_of_reach(chosen: Settings, error: Exception) -> list[str]:
    """What did not answer, and at which address it was looked for; without passwords."""
    if isinstance(error, httpx.TransportError):
        return [
            f"nobody answers at {host_of(str(error.request.url))}; `make demo` starts everything"
        ]
    where = addresses(chosen)
    kind = error.code.split("_")[0] if isinstance(error, YinqiaoError) else ""
    if isinstance(error, PyMongoError):
        kind = "store"
    elif isinstance(error, RedisError):
        kind = "sessions"
    name = _PLACES.get(kind, "")
    tried = (
        [f"{name} at {where[name]}"] if name else [f"{one} at {at}" for one, at in where.items()]
    )
    said = (
        error.message
        if isinstance(error, YinqiaoError)
        else f"{name or 'a server'} does not answer"
    )
    advice = "`make demo` starts one here, YINQIAO_MONGODB_URI and YINQIAO_REDIS_URL name others"
    sentence = f"{said} (tried {', '.join(tried)})"
    return [sentence] if name in ("WeCom", "WeChat") else [f"{sentence}: {advice}"]


def addresses(chosen: Settings) -> dict[str, str]:
    """Where everything is looked for: names and ports, and never a password or a key."""
    return {
        "MongoDB": host_of(chosen.mongodb),
        "Redis": host_of(chosen.redis),
        "WeCom": host_of(chosen.wecom_api_base),
        "WeChat": host_of(chosen.wechat_api_base),
    }


def host_of(address: str) -> str:
    """The hosts and ports of an address, without its user, password and options."""
    place = address.partition("://")[2] or address
    return re.split(r"[/?#]", place.rpartition("@")[2], maxsplit=1)[0]


async def only_tenant(services: Services, named: str) -> str:
    """The bank that was named, or the only one there is."""
    from customers.banks import bank

    known = [tenant.id for tenant in await bank.list_banks(services)]
    if named and named not in known:
        fail(
            f"there is no bank {named}; there is {', '.join(known) or 'none yet: python manage.py tenant apply FILE'}"
        )
    if named or len(known) == 1:
        return named or known[0]
    fail(
        f"say which bank with --tenant: {', '.join(known)}"
        if known
        else "there is no bank yet: tenant apply FILE"
    )


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else []:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    if rows:
        Console(highlight=False).print(table)


def finish(command: Callable[[], int]) -> NoReturn:
    """Ends with the command's own exit status, or with 1 and its plain sentence."""
    try:
        raise typer.Exit(command())
    except (ProductionRefused, ValidationError) as error:
        fail(*wrong_settings(error))
    except (DeployError, YinqiaoError) as error:
        fail(str(error))
    except OUT_OF_REACH as error:
        fail(*out_of_reach(settings(), error))
