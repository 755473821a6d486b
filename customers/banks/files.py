"""The tenant file that `manage.py tenant apply` reads: a bank, its mini-programs, branches and
people."""

from __future__ import annotations

from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.errors import InvalidInput
from services.phones import MAINLAND, is_region
from services.wechat.core.archive import private_key


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeCom(_Strict):
    """A bank's self-built WeCom app that may call the customer-contact API (contract/wechat B)."""

    corp_id: str = Field(min_length=1)
    agent_id: int
    secret: str = Field(min_length=1, repr=False)
    token: str = Field(pattern=r"^[A-Za-z0-9]{1,32}$", repr=False)
    aes_key: str = Field(pattern=r"^[A-Za-z0-9]{43}$", repr=False)


class MiniProgram(_Strict):
    appid: str = Field(min_length=1)
    name: str
    secret: str = Field(min_length=1, repr=False)
    token: str = Field("", repr=False)
    aes_key: str = Field("", repr=False)
    long_term_templates: list[str] = []
    """Subscribe templates that are allowed until the customer turns them off; all others are for
    one message (A4)."""


class Branch(_Strict):
    """`head` is the userid of whoever is told of lost customers and of leavers."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,18}$")
    name: str
    head: str | None = Field(None, min_length=1, max_length=64)
    departments: list[int] = []
    """WeCom's departments whose members, and those of the departments below, become staff of the
    branch by themselves."""


class Archive(_Strict):
    """The message archive, if the bank has bought it: its app's secret, the gateway's address, and
    the private key of every version of the public key that WeCom ever had. Without `retention_days`
    messages are kept for good."""

    agent_id: int = 2000004
    secret: str = Field(min_length=1, repr=False)
    url: str = Field(pattern=r"^https?://[^\s]+$")
    private_keys: dict[int, str] = Field({}, repr=False)
    retention_days: int | None = Field(None, ge=1)

    @field_validator("private_keys")
    @classmethod
    def _readable(cls, keys: dict[int, str]) -> dict[int, str]:
        for pem in keys.values():
            private_key(pem)
        return keys


class StaffMember(_Strict):
    userid: str = Field(min_length=1, max_length=64)
    name: str
    branch: str


class ClerkEntry(_Strict):
    login: str = Field(pattern=r"^[a-z0-9._-]{1,32}$")
    name: str
    roles: list[Literal["operations", "viewer", "auditor"]]
    password: str | None = Field(None, min_length=8, repr=False)


def _region(region: str) -> str:
    if not is_region(region):
        raise ValueError("two capital letters of a country or region, like CN, HK, MO, TW")
    return region


Region = Annotated[str, AfterValidator(_region)]


class TenantFile(_Strict):
    """The document that `manage.py tenant apply` reads. A phone number that comes without a country
    code, in a file or a search, is one of `region`."""

    kind: Literal["tenant/v1"]
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    name: dict[Literal["zh", "en"], str]
    region: Region = MAINLAND
    wecom: WeCom
    miniprograms: list[MiniProgram] = Field(min_length=1)
    branches: list[Branch] = Field(min_length=1)
    staff: list[StaffMember] = Field(min_length=1)
    clerks: list[ClerkEntry] = []
    archive: Archive | None = None


def read_tenant_file(text: str, source: str) -> TenantFile:
    """The tenant in `text`, or InvalidInput that names `source`, the place and what was
    expected."""
    try:
        file = TenantFile.model_validate(_parse(text, source))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
            for e in error.errors(include_input=False)
        ]
        raise InvalidInput("tenant_file", f"{source}: " + "; ".join(problems)) from None
    _check_branches(file, source)
    return file


def _parse(text: str, source: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise InvalidInput("tenant_file", f"{source}{place}: not YAML: {problem}") from error


def _check_branches(file: TenantFile, source: str) -> None:
    branches = {branch.id for branch in file.branches}
    strangers = sorted({member.branch for member in file.staff} - branches)
    if strangers:
        expected = f"expected one of {sorted(branches)}"
        raise InvalidInput(
            "tenant_file", f"{source}: staff: unknown branch {', '.join(strangers)}; {expected}"
        )
