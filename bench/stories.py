"""What happened at a bank: genuine callbacks about the sandbox's people, and what must be known
once all of them were told.

The truth follows from the stories as they are made, in order; the product is told them in any
order.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from bench import callbacks

HANDLED, NOTED, UNKNOWN = "handled", "noted", "unknown"
CONTACT, CHAT = "change_external_contact", "change_external_chat"
ENDS = {"del_follow_user": "customer.deleted_rm", "del_external_contact": "rm.deleted_customer"}
EARLIER, LEAFLET = "flood-earlier", "flood-leaflet"
UPDATES = ("add_member", "del_member", "change_owner", "change_name", "change_notice")
UNKNOWN_EVENT = "flood_of_tomorrow"
A_GROUPS_UPDATES = 6
GONE_GROUPS = 0.2


@dataclass(frozen=True)
class Friend:
    """A friendship that the sandbox has now, since `since` (seconds UTC)."""

    userid: str
    external_userid: str
    since: int


@dataclass(frozen=True)
class Crowd:
    """What the sandbox has now: friendships, names by external_userid (also of those who are
    nobody's friends: `strangers`), and of each group whom it has, external_userid → since when."""

    staff: tuple[str, ...]
    friends: tuple[Friend, ...]
    strangers: tuple[str, ...]
    names: Mapping[str, str]
    groups: Mapping[str, Mapping[str, int]]


Happening = tuple[str, str, int, str]
"""external_userid, kind, second, and the member or the group."""


@dataclass
class Truth:
    """What the product must know in the end."""

    messages: dict[bytes, str] = field(default_factory=dict)
    """Each genuine message, and how its inbox row ends."""
    friendships: dict[tuple[str, str], tuple[bool, int, str]] = field(default_factory=dict)
    """(userid, external_userid) → whether they are friends, since when (or since when no more), and
    the state he came with."""
    customers: dict[str, str] = field(default_factory=dict)
    """external_userid → name, empty of whom WeCom tells nothing any more."""
    happened: Counter[Happening] = field(default_factory=Counter)
    groups: dict[str, frozenset[str]] = field(default_factory=dict)
    """chat_id → the customers in it; none in a group that is no more."""


class Teller:
    """Makes stories up and writes them down."""

    def __init__(self, crowd: Crowd, seed: int) -> None:
        self.truth = Truth()
        self._crowd = crowd
        self._chance = Random(seed)
        self._edited: Counter[str] = Counter()
        self._last = max(friend.since for friend in crowd.friends)

    def tell(self, count: int) -> Truth:
        """`count` messages: everybody's story, then changes, entries and events of tomorrow until
        they are enough."""
        for friend in self._crowd.friends:
            self._friend(friend)
        for external_userid in self._crowd.strangers:
            self._stranger(external_userid)
        for chat_id, people in self._crowd.groups.items():
            self._group(chat_id, people)
            if self._chance.random() < GONE_GROUPS:
                self._gone_group()
        while len(self.truth.messages) < count:
            roll = self._chance.random()
            if roll < 0.1:
                self._message(
                    "enter_agent",
                    "",
                    self._second(),
                    NOTED,
                    FromUserName=self._member(),
                    AgentID="1000002",
                )
            elif roll < 0.2:
                self._message(
                    UNKNOWN_EVENT, "begun", self._second(), UNKNOWN, Number=secrets.token_hex(8)
                )
            else:
                self._edit(self._chance.choice(self._crowd.friends))
        return self.truth

    def _member(self) -> str:
        return self._chance.choice(self._crowd.staff)

    def _second(self) -> int:
        return self._last - self._chance.randrange(1_000_000)

    def _message(self, event: str, change: str, at: int, state: str, **fields: str) -> None:
        self.truth.messages[callbacks.message(event, change, at, fields)] = state

    def _added(
        self, userid: str, external_userid: str, at: int, state: str, *, half: bool = False
    ) -> None:
        kind = "add_half_external_contact" if half else "add_external_contact"
        code = (
            {"WelcomeCode": f"CODE{secrets.token_hex(16)}"} if self._chance.random() < 0.1 else {}
        )
        self._message(
            CONTACT,
            kind,
            at,
            HANDLED,
            UserID=userid,
            ExternalUserID=external_userid,
            State=state,
            **code,
        )
        self.truth.happened[external_userid, "customer.added", at, userid] += 1

    def _ended(self, userid: str, external_userid: str, at: int) -> None:
        change = self._chance.choice(list(ENDS))
        source = (
            {"Source": "DELETE_BY_TRANSFER"}
            if change == "del_external_contact" and at % 4 == 0
            else {}
        )
        self._message(
            CONTACT, change, at, HANDLED, UserID=userid, ExternalUserID=external_userid, **source
        )
        self.truth.happened[external_userid, ENDS[change], at, userid] += 1

    def _edit(self, friend: Friend) -> None:
        self._edited[friend.external_userid] += 1
        at = friend.since + self._edited[friend.external_userid]
        ids = {"UserID": friend.userid, "ExternalUserID": friend.external_userid}
        self._message(CONTACT, "edit_external_contact", at, HANDLED, **ids)

    def _friend(self, friend: Friend) -> None:
        """He is a friend now; many were before, by halves, or of another member too, who lost
        them."""
        userid, external_userid, since = friend.userid, friend.external_userid, friend.since
        if self._chance.random() < 0.3:
            self._added(userid, external_userid, since - 300, EARLIER)
            self._ended(userid, external_userid, since - 200)
        if self._chance.random() < 0.15:
            self._added(userid, external_userid, since - 50, "", half=True)
        self._added(userid, external_userid, since, "")
        self.truth.friendships[userid, external_userid] = (True, since, "")
        if self._chance.random() < 0.25:
            other = self._chance.choice([one for one in self._crowd.staff if one != userid])
            end = since + self._chance.choice((10, 20))  # of one second, the end is believed
            self._added(other, external_userid, since + 10, LEAFLET)
            self._ended(other, external_userid, end)
            self.truth.friendships[other, external_userid] = (False, end, LEAFLET)
        self.truth.customers[external_userid] = self._crowd.names[external_userid]
        for _ in range(self._chance.randrange(3)):
            self._edit(friend)

    def _stranger(self, external_userid: str) -> None:
        """He came and went, and WeCom tells nothing of him any more."""
        userid, at = self._member(), self._second()
        self._added(userid, external_userid, at, LEAFLET)
        self._ended(userid, external_userid, at + 30)
        self.truth.friendships[userid, external_userid] = (False, at + 30, LEAFLET)
        self.truth.customers[external_userid] = ""

    def _group(self, chat_id: str, people: Mapping[str, int]) -> None:
        """A group that there is: what was told of it on the way says nothing of what it is now."""
        began = min(people.values())
        self._message(CHAT, "create", began, HANDLED, ChatId=chat_id)
        for number in range(A_GROUPS_UPDATES):
            self._updated(chat_id, began + 1 + number)
        for external_userid, since in people.items():
            self.truth.happened[external_userid, "group.joined", since, chat_id] += 1
            self.truth.customers.setdefault(external_userid, self._crowd.names[external_userid])
        self.truth.groups[chat_id] = frozenset(people)

    def _updated(self, chat_id: str, at: int) -> None:
        detail = self._chance.choice(UPDATES)
        about: dict[str, str] = {}
        if detail.endswith("_member"):
            who = self._chance.choice(self._crowd.friends).external_userid
            versions = {"LastMemVer": secrets.token_hex(16), "CurMemVer": secrets.token_hex(16)}
            about = {"MemChangeCnt": "1", "MemChangeList": who, **versions}
        self._message(CHAT, "update", at, HANDLED, ChatId=chat_id, UpdateDetail=detail, **about)

    def _gone_group(self) -> None:
        """A group that was dismissed, so that WeCom does not know it any more."""
        chat_id, began = f"wr{secrets.token_hex(15)}", self._second()
        self._message(CHAT, "create", began, HANDLED, ChatId=chat_id)
        self._updated(chat_id, began + 1)
        self._message(CHAT, "dismiss", began + 2, HANDLED, ChatId=chat_id)
        self.truth.groups[chat_id] = frozenset()
