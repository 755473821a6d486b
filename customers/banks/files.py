"""The tenant file that `manage.py tenant apply` reads: a bank, its mini-programs, branches, people,
and what it declares (declarations.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from config import bounds
from customers.banks import declarations, userids
from customers.banks.declarations import EventEntry, FieldEntry, RfmEntry, SystemEntry
from customers.webhooks.events import EVENTS
from services import sheets
from services.documents import yaml12
from services.documents.problems import (
    Fault,
    Place,
    Problem,
    fault,
    found,
    in_order,
    is_secret,
    pattern,
)
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

    corp_id: bounds.Name
    agent_id: bounds.AgentId
    secret: bounds.Secret = Field(repr=False)
    token: str = Field(pattern=r"^[A-Za-z0-9]{1,32}$", repr=False)
    aes_key: str = Field(pattern=r"^[A-Za-z0-9]{43}$", repr=False)


class VoucherReminder(_Strict):
    """The subscribe template that tells a customer that a voucher is about to end: its id, and the
    keys of the voucher's title and of its end."""

    template: bounds.TemplateId
    title: str = Field(pattern=r"^thing[0-9]{1,2}$")
    ends: str = Field(pattern=r"^(time|date)[0-9]{1,2}$")
    page: bounds.Text = ""
    """The mini-program's page that the message opens."""


class MiniProgram(_Strict):
    appid: bounds.Appid
    name: bounds.Word
    secret: bounds.Secret = Field(repr=False)
    token: bounds.CallbackToken | Literal[""] = Field("", repr=False)
    aes_key: bounds.AesKey | Literal[""] = Field("", repr=False)
    templates: bounds.Few[bounds.TemplateId] = []
    """Subscribe templates for one message each (A4): the mini-program may report answers to these
    and to the long-term ones, and to no others."""
    long_term_templates: bounds.Few[bounds.TemplateId] = []
    """Those that are allowed until the customer turns them off."""
    customer_service: Literal["rm", "wechat"] = "rm"
    """Who answers what customers write to the customer service: their RMs, who are told by a card,
    or whoever works in WeChat's own tool (A7)."""
    voucher_reminder: VoucherReminder | None = None


class Branch(_Strict):
    """`head` is the userid of whoever is told of lost customers and of leavers."""

    id: str = Field(pattern=_BRANCH_ID)
    name: bounds.Word
    head: bounds.Name | None = None
    departments: bounds.Several[bounds.DepartmentId] = []
    """WeCom's departments whose members, and those of the departments below, become staff of the
    branch by themselves."""


class Archive(_Strict):
    """The message archive, if the bank has bought it: its app's secret, the gateway's address, and
    the private key of every version of the public key that WeCom ever had. Without `retention_days`
    messages are kept for good."""

    agent_id: bounds.AgentId = 2000004
    secret: bounds.Secret = Field(repr=False)
    url: str = Field(pattern=r"^https?://[^\s]+$", max_length=2_000)
    private_keys: bounds.Entries[bounds.Count, bounds.Pem] = Field({}, repr=False)
    retention_days: int | None = Field(None, ge=1, le=36_500)

    @field_validator("private_keys")
    @classmethod
    def _readable(cls, keys: dict[int, str]) -> dict[int, str]:
        for pem in keys.values():
            private_key(pem)
        return keys


Userid = Annotated[str, AfterValidator(sheets.cell), Field(min_length=1, max_length=64)]


class StaffMember(_Strict):
    userid: Userid
    name: bounds.Word
    branch: bounds.Word


class ClerkEntry(_Strict):
    login: str = Field(pattern=_LOGIN)
    name: bounds.Word
    roles: bounds.Few[Literal["operations", "viewer", "auditor"]]
    password: str | None = Field(None, min_length=8, max_length=bounds.PASSWORD_LENGTH, repr=False)


class Merchant(_Strict):
    """Somebody at whose till vouchers of the bank are used."""

    id: str = Field(pattern=_BRANCH_ID)
    name: bounds.Word


class CounterEntry(_Strict):
    """Somebody who writes vouchers off at a counter: a teller of one branch, or one of a merchant's
    people. He may do so `per_day` times on each of the bank's days."""

    login: str = Field(pattern=_LOGIN)
    name: bounds.Word
    branch: bounds.Word | None = None
    merchant: bounds.Word | None = None
    per_day: bounds.PerDay = 200
    password: str | None = Field(None, min_length=8, max_length=bounds.PASSWORD_LENGTH, repr=False)


class PartnerEntry(_Strict):
    """A program that writes vouchers off at these places (`/open/v1`). Its first `secret`, if it is
    here, signs what it asks; `manage.py partner secret` makes another."""

    id: str = Field(pattern=_BRANCH_ID)
    name: bounds.Word
    branches: bounds.Several[bounds.Word] = []
    merchants: bounds.Several[bounds.Word] = []
    per_day: bounds.PerDay = 10_000
    secret: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{32,128}$", repr=False)


LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _webhook_url(url: str) -> str:
    parts = urlsplit(url)
    over_tls = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not over_tls or not parts.hostname:
        raise ValueError("an address with https; with http only on this host itself")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("an address without a name, a password or a fragment")
    if any(not 32 < ord(one) < 127 for one in url):
        raise ValueError("an address of visible ASCII characters")
    return url


class Webhook(_Strict):
    """Where one of the bank's own systems is told what happened (docs/webhooks.md), and of which
    events. Private addresses are good: the receiver stands in the bank's own net."""

    id: str = Field(pattern=_BRANCH_ID)
    url: Annotated[str, Field(max_length=2_000), AfterValidator(_webhook_url)] = Field(repr=False)
    events: bounds.Few[bounds.Word] = Field(min_length=1)


def _region(region: str) -> str:
    if not is_region(region):
        raise ValueError("two capital letters of a country or region, like CN, HK, MO, TW")
    return region


Region = Annotated[str, Field(max_length=2), AfterValidator(_region)]


class TenantFile(_Strict):
    """The document that `manage.py tenant apply` reads. A phone number that comes without a country
    code, in a file or a search, is one of `region`."""

    kind: Literal["tenant/v1"]
    id: str = Field(pattern=_TENANT_ID)
    name: bounds.Entries[Literal["zh", "en"], bounds.Word]
    region: Region = MAINLAND
    wecom: WeCom
    miniprograms: bounds.Few[MiniProgram] = Field(min_length=1)
    branches: bounds.Several[Branch] = Field(min_length=1)
    staff: bounds.Many[StaffMember] = Field(min_length=1)
    clerks: bounds.Several[ClerkEntry] = []
    merchants: bounds.Several[Merchant] = []
    counters: bounds.Many[CounterEntry] = []
    partners: bounds.Few[PartnerEntry] = []
    fields: bounds.Few[FieldEntry] = []
    events: bounds.Few[EventEntry] = []
    systems: bounds.Few[SystemEntry] = []
    rfm: RfmEntry | None = None
    archive: Archive | None = None
    webhooks: bounds.Few[Webhook] = []


def read_tenant_file(text: str, source: str) -> TenantFile:
    """The tenant in `text`, or InvalidInput that names `source`, the line, the place and what was
    expected."""
    parsed = yaml12.parse(text, source, _BOUNDS)
    problems = [*parsed.problems, *_unclear(parsed)]
    try:
        file = TenantFile.model_validate(parsed.value)
        problems += [
            Problem(parsed.line(place), code, data, source)
            for place, code, data in (
                *_strangers(file),
                *_double(file),
                *_places(file),
                *_unheard_of(file),
                *_declared(file),
            )
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
    """Members of branches, and reminders by templates, that the file does not have."""
    for index, program in enumerate(file.miniprograms):
        known = sorted({*program.templates, *program.long_term_templates})
        used = program.voucher_reminder
        if used is not None and used.template not in known:
            where = ("miniprograms", index, "voucher_reminder", "template")
            yield fault(where, "unknown_template", name=used.template, expected=known)
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


def _places(file: TenantFile) -> Iterator[Fault]:
    """Counters and partners that are nowhere, or where the file has nothing; and names of theirs that
    stand twice."""
    yield from _twice("merchants", "id", [one.id for one in file.merchants])
    yield from _twice("counters", "login", [one.login for one in file.counters])
    yield from _twice("partners", "id", [one.id for one in file.partners])
    yield from _twice("webhooks", "id", [one.id for one in file.webhooks])
    branches = sorted(branch.id for branch in file.branches)
    merchants = sorted(merchant.id for merchant in file.merchants)
    for index, counter in enumerate(file.counters):
        if (counter.branch is None) == (counter.merchant is None):
            yield fault(("counters", index), "counter_place", name=counter.login)
        at = ("counters", index)
        yield from _unknown((*at, "branch"), "unknown_branch", counter.branch, branches)
        yield from _unknown((*at, "merchant"), "unknown_merchant", counter.merchant, merchants)
    for index, partner in enumerate(file.partners):
        if not partner.branches and not partner.merchants:
            yield fault(("partners", index), "partner_place", name=partner.id)
        for place, branch in enumerate(partner.branches):
            at_branch = ("partners", index, "branches", place)
            yield from _unknown(at_branch, "unknown_branch", branch, branches)
        for place, merchant in enumerate(partner.merchants):
            at_merchant = ("partners", index, "merchants", place)
            yield from _unknown(at_merchant, "unknown_merchant", merchant, merchants)


def _unheard_of(file: TenantFile) -> Iterator[Fault]:
    """Events that no webhook can ask for."""
    for index, hook in enumerate(file.webhooks):
        for place, name in enumerate(hook.events):
            at = ("webhooks", index, "events", place)
            yield from _unknown(at, "unknown_webhook_event", name, sorted(EVENTS))


def _declared(file: TenantFile) -> Iterator[Fault]:
    """What is wrong with the declarations; a partner and a system sign under one kind of name."""
    yield from declarations.faults(file.fields, file.events, file.systems, file.rfm)
    partners = {partner.id for partner in file.partners}
    for index, system in enumerate(file.systems):
        if system.id in partners:
            yield fault(("systems", index, "id"), "named_twice", name=system.id)


def _unknown(place: Place, code: str, name: str | None, known: list[str]) -> Iterator[Fault]:
    if name is not None and name not in known:
        yield fault(place, code, name=name, expected=known)


def _twice(group: str, field: str, names: list[str]) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield fault((group, index, field), "named_twice", name=name)
