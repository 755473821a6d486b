"""The tenant file that `manage.py tenant apply` reads: a bank, its mini-programs, branches and
people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from config import bounds
from customers.banks import userids
from services import sheets
from services.documents import yaml12
from services.documents.problems import Fault, Problem, fault, found, in_order, is_secret, pattern
from services.errors import InvalidInput
from services.phones import MAINLAND, is_region
from services.wechat.core.archive import private_key

_BOUNDS = yaml12.Bounds(size=bounds.TENANT_BYTES, entries=1_000, items=100_000)
_BRANCH_ID = pattern(r"^[a-z0-9][a-z0-9-]{0,18}$", "branch_id")
_TENANT_ID = pattern(r"^[a-z0-9][a-z0-9-]{0,30}$", "tenant_id")
_LOGIN = pattern(r"^[a-z0-9._-]{1,32}$", "login")


class _Strict(BaseModel):
    """No unknown keys, no changes, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    customer_service: Literal["rm", "wechat"] = "rm"
    """Who answers what customers write to the customer service: their RMs, who are told by a card,
    or whoever works in WeChat's own tool (A7)."""


class Branch(_Strict):
    """`head` is the userid of whoever is told of lost customers and of leavers."""

    id: str = Field(pattern=_BRANCH_ID)
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


Userid = Annotated[str, AfterValidator(sheets.cell), Field(min_length=1, max_length=64)]


class StaffMember(_Strict):
    userid: Userid
    name: str
    branch: str


class ClerkEntry(_Strict):
    login: str = Field(pattern=_LOGIN)
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
    id: str = Field(pattern=_TENANT_ID)
    name: dict[Literal["zh", "en"], str]
    region: Region = MAINLAND
    wecom: WeCom
    miniprograms: list[MiniProgram] = Field(min_length=1)
    branches: list[Branch] = Field(min_length=1)
    staff: list[StaffMember] = Field(min_length=1)
    clerks: list[ClerkEntry] = []
    archive: Archive | None = None


def read_tenant_file(text: str, source: str) -> TenantFile:
    """The tenant in `text`, or InvalidInput that names `source`, the line, the place and what was
    expected."""
    parsed = yaml12.parse(text, source, _BOUNDS)
    problems = [*parsed.problems, *_unclear(parsed)]
    try:
        file = TenantFile.model_validate(parsed.value)
        problems += [
            Problem(parsed.line(place), code, data, source)
            for place, code, data in (*_strangers(file), *_double(file))
        ]
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += [
            Problem(parsed.line(place), code, data, source)
            for place, code, data in found(details, TenantFile)
            if place not in parsed.unclear and (parsed.value is not None or not problems)
        ]
        file = None
    if file is None or problems:
        raise InvalidInput("tenant_file", "\n".join(map(str, in_order(problems))))
    return file


def _unclear(parsed: yaml12.Document) -> Iterator[Problem]:
    """Values that could be read in two ways; a secret is not shown."""
    for place, problem in parsed.unclear.items():
        secret = is_secret(TenantFile, place)
        yield replace(problem, code="unclear_secret", data={}) if secret else problem


def _strangers(file: TenantFile) -> Iterator[Fault]:
    """Members of branches that the file does not have."""
    branches = sorted(branch.id for branch in file.branches)
    for index, member in enumerate(file.staff):
        if member.branch not in branches:
            place = ("staff", index, "branch")
            yield fault(place, "unknown_branch", name=member.branch, expected=branches)


def _double(file: TenantFile) -> Iterator[Fault]:
    """Staff who are there twice: WeCom knows no letter case in userids."""
    seen: dict[str, str] = {}
    for index, member in enumerate(file.staff):
        one = userids.key(member.userid)
        before = seen.get(one)
        seen[one] = member.userid
        if before is not None:
            yield fault(
                ("staff", index, "userid"), "userid_twice", name=member.userid, first=before
            )
