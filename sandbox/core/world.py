"""One corp with its apps, departments and members, and its mini-programs.

A world never changes; when a member or a department does, the sandbox takes a new one
(`World.with_people`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

ROOT_DEPARTMENT = 1
ACTIVE, DISABLED, NOT_ACTIVATED, LEFT = 1, 2, 4, 5
"""A member's `status` (B2)."""

DEFAULT = Path(__file__).parents[1] / "world.yaml"


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class App(_Fact):
    """A self-built WeCom app; `customer_contact` lists it as allowed to call that API and to get
    its events.

    `builtin` is no app but WeCom's own customer-contact secret.
    """

    agent_id: int
    name: str
    secret: str = Field(min_length=8)
    token: str = Field(pattern=r"^[A-Za-z0-9]{1,32}$")
    encoding_aes_key: str = Field(pattern=r"^[A-Za-z0-9]{43}$")
    callback_url: str
    customer_contact: bool = True
    builtin: bool = False
    archive: bool = False
    """The message archive's own app (B10): its secret opens msgaudit/*, and it alone gets
    msgaudit_notify."""
    trusted_domains: tuple[str, ...] = ()
    """Hosts that the OAuth page may redirect to; empty allows any."""


class Department(_Fact):
    """A department of the tree whose root is 1; `parentid` 0 is the root's own (B2)."""

    id: int = Field(ge=1)
    code: str = ""
    name: str = Field(min_length=1, max_length=64)
    parentid: int = Field(default=ROOT_DEPARTMENT, ge=0)
    order: int = Field(default=0, ge=0)


class Member(_Fact):
    """A member of the corp. `department` is the main one, `also` are others he is in, `leads` those
    he leads.

    `contact` is the customer-contact permission. The fields after it reach apps only with the
    switch `sensitive_member_fields` (B2).
    """

    userid: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")
    name: str = Field(min_length=1, max_length=64)
    department: int
    also: tuple[int, ...] = ()
    leads: tuple[int, ...] = ()
    position: str = ""
    alias: str = ""
    status: Literal[1, 2, 4, 5] = 1
    direct_leader: tuple[str, ...] = ()
    contact: bool = True
    mobile: str = ""
    gender: Literal["0", "1", "2"] = "0"
    email: str = ""
    avatar: str = ""
    address: str = ""

    @property
    def departments(self) -> tuple[int, ...]:
        """Every department he is in, the main one first."""
        return (self.department, *self.also)


class Corp(_Fact):
    corp_id: str
    name: str
    apps: tuple[App, ...] = Field(min_length=1)
    departments: tuple[Department, ...]
    members: tuple[Member, ...]


class MiniProgram(_Fact):
    """`open_platform` binds it to the bank's Open Platform account, so that logins carry the
    unionid (A2).

    With `token`, `encoding_aes_key` and `callback_url` its messages and events are pushed, in safe
    mode (A7).
    """

    appid: str
    name: str
    secret: str
    open_platform: bool = True
    token: str = Field(default="", pattern=r"^[A-Za-z0-9]{0,32}$")
    encoding_aes_key: str = Field(default="", pattern=r"^([A-Za-z0-9]{43})?$")
    callback_url: str = ""
    push_format: Literal["xml", "json"] = "xml"
    pages: tuple[str, ...] = ()
    """The pages of its published version (A5); none: any page is taken for one."""


class BankSystem(_Fact):
    """The bank's core system as the product knows it: `who` is the bank's id, a slash and the
    system's id. It signs with `secret`, or with `private_key` (hex)."""

    who: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    algorithm: Literal["hmac-sha256", "sm2-sm3"] = "hmac-sha256"
    secret: str = ""
    private_key: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class World(_Fact):
    corp: Corp
    mini_programs: tuple[MiniProgram, ...]
    bank_system: BankSystem | None = None

    _members: dict[str, Member]
    _departments: dict[int, Department]
    _below: dict[int, list[int]]

    @override
    def model_post_init(self, _context: object) -> None:
        self._members = {m.userid.lower(): m for m in self.corp.members}
        self._departments = {d.id: d for d in self.corp.departments}
        self._below = {}
        for department in self.corp.departments:
            self._below.setdefault(department.parentid, []).append(department.id)

    def with_people(self, members: Iterable[Member], departments: Iterable[Department]) -> World:
        """The same world with other members and departments."""
        facts = {"members": tuple(members), "departments": tuple(departments)}
        return World(
            corp=self.corp.model_copy(update=facts),
            mini_programs=self.mini_programs,
            bank_system=self.bank_system,
        )

    def member(self, userid: str) -> Member | None:
        """The member of that id; ids are compared without case (B2)."""
        return self._members.get(userid.lower())

    def department(self, department_id: int) -> Department | None:
        return self._departments.get(department_id)

    def tree(self, department_id: int) -> list[int]:
        """A department and all below it, from the top."""
        found = [department_id]
        for one in found:
            found += self._below.get(one, [])
        return found

    def members_in(self, departments: Iterable[int]) -> list[Member]:
        """Members of these departments and of those below them, in the corp's order."""
        wanted = {one for department in departments for one in self.tree(department)}
        return [m for m in self.corp.members if wanted.intersection(m.departments)]

    def app(self, agent_id: int) -> App | None:
        return next((a for a in self.corp.apps if a.agent_id == agent_id), None)

    def mini_program(self, appid: str) -> MiniProgram | None:
        return next((m for m in self.mini_programs if m.appid == appid), None)


def load(path: Path = DEFAULT) -> World:
    """Read a world file. Raises OSError, yaml.YAMLError or pydantic.ValidationError."""
    return World.model_validate(yaml.safe_load(path.read_text("utf-8")))
