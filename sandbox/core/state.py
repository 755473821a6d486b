"""What changes while the sandbox runs and survives a restart: people, friendships, contact ways,
tags."""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel, Field
from typing_extensions import override

from sandbox.core import ids
from sandbox.core.bank_records import BankCustomer
from sandbox.core.models import ChatKey, Day, Group, JoinWay, Link, Quota, day_of
from sandbox.core.records import Records
from sandbox.core.world import Department, Member, World

CHAT_KEPT = 200


class Message(BaseModel):
    """One message on a person's phone or in a member's chat."""

    time: int
    sender: str
    kind: str
    text: str
    content: dict[str, Any] = Field(default_factory=dict)


class Friend(BaseModel):
    """A member's relation with one customer, as `externalcontact/get` tells it (B3).

    `number` grows with every friendship that is made, so that a page of customers can be continued
    after it.
    """

    userid: str
    createtime: int
    number: int = 0
    state: str = ""
    add_way: int = 0
    talked: int = 0
    """When the two last wrote to each other."""
    remark: str = ""
    description: str = ""
    remark_company: str = ""
    remark_mobiles: list[str] = Field(default_factory=list)
    remark_picture: str = ""
    link_id: str = ""
    """The acquisition link through which they became friends."""
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
    deleted: dict[str, Friend] = Field(default_factory=dict)
    """Members whom he deleted and who still have him on their lists (D2)."""
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
    is_temp: bool = False
    expires_in: int = 0
    chat_expires_in: int = 0
    unionid: str = ""
    conclusions: dict[str, Any] = Field(default_factory=dict)
    qr_code: str = ""
    turn: int = 0
    assigned: dict[str, str] = Field(default_factory=dict)

    def dead(self, now: int) -> bool:
        """Whether it is a temporary way whose time is over."""
        return self.is_temp and now >= self.created + self.expires_in


class Tag(BaseModel):
    """A corp tag. `agent_id` is the app that made it, 0 an administrator (B4)."""

    id: str
    name: str
    create_time: int
    order: int = 0
    agent_id: int = 0


class TagGroup(BaseModel):
    group_id: str
    group_name: str
    create_time: int
    order: int = 0
    agent_id: int = 0
    tag: list[Tag] = Field(default_factory=list)


class StrategyGroup(TagGroup):
    """A group of tags of the rule group `strategy_id` (B4, 94882)."""

    strategy_id: int


class Leftover(BaseModel):
    """What a member who left the corp leaves behind of one customer: since when, and the relation
    as it was (B9)."""

    at: int
    friend: Friend


class Followers:
    """The customers of one member in the order of their friendships; continuing a page costs a
    bisection."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._people: dict[int, Person] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Person]:
        return (self._people[n] for n in self._numbers)

    def add(self, number: int, person: Person) -> None:
        insort(self._numbers, number)
        self._people[number] = person

    def remove(self, number: int) -> None:
        del self._people[number]
        del self._numbers[bisect_right(self._numbers, number) - 1]

    def after(self, number: int) -> Iterator[tuple[int, Person]]:
        """Friendships younger than `number` (0: all), with their numbers."""
        start = bisect_right(self._numbers, number)
        return ((n, self._people[n]) for n in islice(self._numbers, start, None))


class State(BaseModel):
    """Everything that a restarted sandbox still knows."""

    people: dict[str, Person] = Field(default_factory=dict)
    ways: dict[str, Way] = Field(default_factory=dict)
    tag_groups: dict[str, TagGroup] = Field(default_factory=dict)
    strategies: dict[int, int] = Field(default_factory=dict)
    """The corp's rule groups, each with the one above it; 0 for those of the first level."""
    strategy_groups: dict[str, StrategyGroup] = Field(default_factory=dict)
    chats: dict[str, list[Message]] = Field(default_factory=dict)
    """Messages that each member received, by userid."""
    members: list[Member] | None = None
    """The corp's members once somebody changed them; None as long as they are the world's."""
    departments: list[Department] | None = None
    unassigned: dict[str, dict[str, Leftover]] = Field(default_factory=dict)
    """By the userid of who left: his customers by external_userid, until they are handed over."""
    days: dict[str, dict[int, Day]] = Field(default_factory=dict)
    """What each member did on each day, by userid and the day's first second."""
    links: dict[str, Link] = Field(default_factory=dict)
    chat_keys: dict[str, ChatKey] = Field(default_factory=dict)
    quota: Quota = Field(default_factory=Quota)
    groups: dict[str, Group] = Field(default_factory=dict)
    join_ways: dict[str, JoinWay] = Field(default_factory=dict)
    takeovers: dict[str, dict[int, int]] = Field(default_factory=dict)
    """How many groups were handed to a member, by userid and day (B9)."""
    temporary_ways: dict[int, int] = Field(default_factory=dict)
    """How many temporary contact ways were made, by the day's first second; deleting one gives
    nothing back (B5)."""
    pending: dict[str, str] = Field(default_factory=dict)
    """The pending_id by which the corp knows somebody who was no customer when it asked, by person
    (B3, 95926)."""
    records: Records = Field(default_factory=Records)
    bank: dict[str, BankCustomer] = Field(default_factory=dict)
    """The bank's customers, by the ids of people."""
    sequence: int = 0
    friendships: int = 0
    """How many friendships were ever made; the number of the latest."""

    @override
    def model_post_init(self, _context: object) -> None:
        self._by_external = {}
        self._by_openid = {}
        self._by_unionid = {}
        self._followers = {}
        self._tags = {}
        for person in self.people.values():
            self._index(person)
        for group in self.tag_groups.values():
            self._tags.update({tag.id: (group, tag) for tag in group.tag})
        pairs = [
            (person, friend)
            for person in self.people.values()
            for friend in person.friends.values()
        ]
        for person, friend in sorted(pairs, key=lambda pair: pair[1].number):
            self._follow(person, friend)
        self._deserted = {}
        for person in self.people.values():
            for friend in person.deleted.values():
                self._desert(person, friend)

    _by_external: dict[str, Person]
    _by_openid: dict[str, Person]
    _by_unionid: dict[str, Person]
    _followers: dict[str, Followers]
    _deserted: dict[str, Followers]
    _tags: dict[str, tuple[TagGroup, Tag]]

    def adopt(self, world: World) -> None:
        """Give everyone an openid of each mini-program that the world has and the saved state did
        not know."""
        for person in self.people.values():
            for mini_program in world.mini_programs:
                openid = person.openids.setdefault(mini_program.appid, ids.openid())
                self._by_openid[openid] = person

    def add_person(self, world: World, name: str, phone: str) -> Person:
        """A new person, known to every mini-program of the world; without `phone` a made-up one."""
        return self.admit(
            Person(
                id=self.next_id(),
                name=name,
                phone=phone or f"139{self.sequence:08d}",
                unionid=ids.openid(),
                external_userid=ids.external_userid(),
                openids={m.appid: ids.openid() for m in world.mini_programs},
            )
        )

    def next_id(self) -> str:
        """The id of the next person."""
        self.sequence += 1
        return f"p{self.sequence:06d}"

    def admit(self, person: Person) -> Person:
        """Take a person in, findable by each of his ids."""
        self.people[person.id] = person
        self._index(person)
        return person

    def _index(self, person: Person) -> None:
        self._by_external[person.external_userid] = person
        self._by_unionid[person.unionid] = person
        self._by_openid.update(dict.fromkeys(person.openids.values(), person))

    def by_external(self, external_userid: str) -> Person | None:
        return self._by_external.get(external_userid)

    def by_openid(self, openid: str) -> Person | None:
        return self._by_openid.get(openid)

    def by_unionid(self, unionid: str) -> Person | None:
        return self._by_unionid.get(unionid)

    def tell_member(self, userid: str, message: Message) -> None:
        """Put a message into a member's chat; only the latest CHAT_KEPT stay."""
        self.chats[userid] = [*self.chats.get(userid, [])[1 - CHAT_KEPT :], message]

    def befriend(self, person: Person, friend: Friend) -> None:
        """Person and member become friends; every friendship is made here, so that it can be found
        by the member."""
        self.unfriend(person, friend.userid)
        self.take_off(person, friend.userid)
        self.friendships += 1
        friend.number = self.friendships
        person.friends[friend.userid] = friend
        self._follow(person, friend)
        day = self.day(friend.userid, friend.createtime)
        day.new_apply_cnt += 1
        day.new_contact_cnt += 1

    def unfriend(self, person: Person, userid: str) -> Friend | None:
        """Person and member part; returns what the relation was, or None when there was none."""
        friend = person.friends.pop(userid, None)
        if friend:
            self._followers[userid].remove(friend.number)
        return friend

    def desert(self, person: Person, userid: str) -> None:
        """The person deletes the member, who keeps him on his list."""
        friend = self.unfriend(person, userid)
        if friend:
            person.deleted[userid] = friend
            self._desert(person, friend)

    def _desert(self, person: Person, friend: Friend) -> None:
        self._deserted.setdefault(friend.userid, Followers()).add(friend.number, person)

    def take_off(self, person: Person, userid: str) -> bool:
        """Takes a person who deleted the member off his list; whether he was on it."""
        friend = person.deleted.pop(userid, None)
        if friend:
            self._deserted[userid].remove(friend.number)
        return friend is not None

    def on_list(self, userid: str, after: int = 0) -> Iterator[tuple[int, Person, Friend]]:
        """The member's list after a friendship's number: his customers, and those who deleted
        him."""
        for number, person in heapq.merge(
            self.followers(userid).after(after),
            (self._deserted.get(userid) or Followers()).after(after),
            key=lambda row: row[0],
        ):
            yield number, person, person.friends.get(userid) or person.deleted[userid]

    def _follow(self, person: Person, friend: Friend) -> None:
        if not friend.number:
            self.friendships += 1
            friend.number = self.friendships
        self._followers.setdefault(friend.userid, Followers()).add(friend.number, person)

    def followers(self, userid: str) -> Followers:
        """The customers of one member."""
        return self._followers.get(userid) or Followers()

    def rename_member(self, former: str, new: str) -> None:
        """A member's customers, chats and figures follow him to another userid."""
        for person in self.followers(former):
            person.friends[new] = person.friends.pop(former).model_copy(update={"userid": new})
        for person in self._deserted.get(former) or ():
            person.deleted[new] = person.deleted.pop(former).model_copy(update={"userid": new})
        kept: tuple[dict[str, Any], ...] = (
            self._followers,
            self._deserted,
            self.chats,
            self.days,
            self.takeovers,
        )
        for by_member in kept:
            if former in by_member:
                by_member[new] = by_member.pop(former)

    def day(self, userid: str, at: int) -> Day:
        """The figures of a member on the day of `at`."""
        return self.days.setdefault(userid, {}).setdefault(day_of(at), Day())

    def tag(self, tag_id: str) -> tuple[TagGroup, Tag] | None:
        """A tag with its group."""
        return self._tags.get(tag_id)

    def tag_count(self) -> int:
        """Corp tags and those of rule groups, which share one limit."""
        return len(self._tags) + sum(len(group.tag) for group in self.strategy_groups.values())

    def add_tags(self, group: TagGroup, tags: list[Tag]) -> None:
        """New tags of a group, which may be new itself."""
        self.tag_groups[group.group_id] = group
        group.tag.extend(tags)
        self._tags.update({t.id: (group, t) for t in tags})

    def drop_tag(self, tag_id: str) -> None:
        """A tag goes, and with its last tag the group (B4); friendships keep no trace, since `tag`
        knows it no more."""
        group, tag = self._tags.pop(tag_id)
        group.tag.remove(tag)
        if not group.tag:
            self.tag_groups.pop(group.group_id, None)
