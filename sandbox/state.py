"""What changes while the sandbox runs and survives a restart: people, friendships, contact ways, tags."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from typing_extensions import override

from sandbox import ids
from sandbox.world import World

CHAT_KEPT = 200


class Message(BaseModel):
    """One message on a person's phone or in a member's chat."""

    time: int
    sender: str
    kind: str
    text: str
    content: dict[str, Any] = Field(default_factory=dict)


class Friend(BaseModel):
    """A member's relation with one customer, as `externalcontact/get` tells it (B3)."""

    userid: str
    createtime: int
    state: str = ""
    add_way: int = 0
    remark: str = ""
    description: str = ""
    remark_company: str = ""
    remark_mobiles: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)


class Person(BaseModel):
    """Someone with a phone: one unionid, an openid per mini-program, one external_userid."""

    id: str
    name: str
    phone: str
    unionid: str
    external_userid: str
    openids: dict[str, str]
    session_keys: dict[str, str] = Field(default_factory=dict)
    friends: dict[str, Friend] = Field(default_factory=dict)
    inbox: list[Message] = Field(default_factory=list)


class Way(BaseModel):
    """A contact way ("live code", B5) and the app that owns it."""

    config_id: str
    agent_id: int
    created: int
    type: int
    scene: int
    style: int = 1
    remark: str = ""
    skip_verify: bool = True
    state: str = ""
    user: list[str] = Field(default_factory=list)
    party: list[int] = Field(default_factory=list)
    is_exclusive: bool = False
    mark_source: bool = True
    qr_code: str = ""
    turn: int = 0
    assigned: dict[str, str] = Field(default_factory=dict)


class Tag(BaseModel):
    id: str
    name: str
    create_time: int
    order: int = 0


class TagGroup(BaseModel):
    group_id: str
    group_name: str
    create_time: int
    order: int = 0
    tag: list[Tag] = Field(default_factory=list)


class State(BaseModel):
    """Everything that a restarted sandbox still knows."""

    people: dict[str, Person] = Field(default_factory=dict)
    ways: dict[str, Way] = Field(default_factory=dict)
    tag_groups: dict[str, TagGroup] = Field(default_factory=dict)
    chats: dict[str, list[Message]] = Field(default_factory=dict)
    """Messages that each member received, by userid."""
    sequence: int = 0

    @override
    def model_post_init(self, _context: object) -> None:
        self._by_external = {p.external_userid: p for p in self.people.values()}
        self._by_openid = {openid: p for p in self.people.values() for openid in p.openids.values()}

    _by_external: dict[str, Person]
    _by_openid: dict[str, Person]

    def adopt(self, world: World) -> None:
        """Give everyone an openid of each mini-program that the world has and the saved state did not know."""
        for person in self.people.values():
            for mini_program in world.mini_programs:
                openid = person.openids.setdefault(mini_program.appid, ids.openid())
                self._by_openid[openid] = person

    def add_person(self, world: World, name: str, phone: str) -> Person:
        """A new person, known to every mini-program of the world; without `phone` a made-up one."""
        self.sequence += 1
        person = Person(
            id=f"p{self.sequence:06d}",
            name=name,
            phone=phone or f"139{self.sequence:08d}",
            unionid=ids.openid(),
            external_userid=ids.external_userid(),
            openids={m.appid: ids.openid() for m in world.mini_programs},
        )
        self.people[person.id] = person
        self._by_external[person.external_userid] = person
        self._by_openid.update(dict.fromkeys(person.openids.values(), person))
        return person

    def by_external(self, external_userid: str) -> Person | None:
        return self._by_external.get(external_userid)

    def by_openid(self, openid: str) -> Person | None:
        return self._by_openid.get(openid)

    def tell_member(self, userid: str, message: Message) -> None:
        """Put a message into a member's chat; only the latest CHAT_KEPT stay."""
        self.chats[userid] = [*self.chats.get(userid, [])[1 - CHAT_KEPT :], message]

    def followers(self, userid: str) -> list[Person]:
        """The customers of one member."""
        return [p for p in self.people.values() if userid in p.friends]

    def tag(self, tag_id: str) -> tuple[TagGroup, Tag] | None:
        """A tag with its group."""
        return next(((g, t) for g in self.tag_groups.values() for t in g.tag if t.id == tag_id), None)
