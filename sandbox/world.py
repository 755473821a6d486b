"""The fixed part of the simulation: one corp with its apps and members, and its mini-programs."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

DEFAULT = Path(__file__).with_name("world.yaml")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class App(_Fact):
    """A self-built WeCom app; `customer_contact` lists it as allowed to call that API and to get its events."""

    agent_id: int
    name: str
    secret: str = Field(min_length=8)
    token: str = Field(pattern=r"^[A-Za-z0-9]{1,32}$")
    encoding_aes_key: str = Field(pattern=r"^[A-Za-z0-9]{43}$")
    callback_url: str
    customer_contact: bool = True
    trusted_domains: tuple[str, ...] = ()
    """Hosts that the OAuth page may redirect to; empty allows any."""


class Department(_Fact):
    id: int = Field(ge=1)
    code: str
    name: str


class Member(_Fact):
    userid: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")
    name: str
    department: int
    position: str = ""


class Corp(_Fact):
    corp_id: str
    name: str
    apps: tuple[App, ...] = Field(min_length=1)
    departments: tuple[Department, ...]
    members: tuple[Member, ...]


class MiniProgram(_Fact):
    """`open_platform` binds it to the bank's Open Platform account, so that logins carry the unionid (A2)."""

    appid: str
    name: str
    secret: str
    open_platform: bool = True


class World(_Fact):
    corp: Corp
    mini_programs: tuple[MiniProgram, ...]

    def member(self, userid: str) -> Member | None:
        """The member of that id; ids are compared without case (B2)."""
        wanted = userid.lower()
        return next((m for m in self.corp.members if m.userid.lower() == wanted), None)

    def department(self, department_id: int) -> Department | None:
        return next((d for d in self.corp.departments if d.id == department_id), None)

    def app(self, agent_id: int) -> App | None:
        return next((a for a in self.corp.apps if a.agent_id == agent_id), None)

    def mini_program(self, appid: str) -> MiniProgram | None:
        return next((m for m in self.mini_programs if m.appid == appid), None)


def load(path: Path = DEFAULT) -> World:
    """Read a world file. Raises OSError, yaml.YAMLError or pydantic.ValidationError."""
    return World.model_validate(yaml.safe_load(path.read_text("utf-8")))
