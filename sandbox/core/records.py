"""What goes on between bank, members and customers beside friendships: tasks, moments, hand-overs,
cards, grants.

Part of the saved state. Times are Unix seconds of the sandbox's clock.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Receipt(BaseModel):
    """One customer or group of a member's broadcast task: status 0 unsent, 1 sent, 2 not friends, 3
    cap reached (B8)."""

    external_userid: str = ""
    chat_id: str = ""
    status: int = 0
    send_time: int = 0


class Task(BaseModel):
    """What one member has to confirm of a broadcast; `skipped` is his own choice and no status of
    the API."""

    userid: str
    sent_at: int = 0
    skipped: bool = False
    receipts: list[Receipt] = Field(default_factory=list)


class Broadcast(BaseModel):
    """A broadcast made by an app (B8, add_msg_template)."""

    msgid: str
    agent_id: int
    chat_type: str
    sender: str
    create_time: int
    text: str
    attachments: list[dict[str, Any]] = Field(default_factory=list)
    allow_select: bool = False
    tasks: dict[str, Task] = Field(default_factory=dict)
    reminders: list[int] = Field(default_factory=list)
    cancelled: bool = False


class WelcomeTemplate(BaseModel):
    """A group welcome template and the app that made it (B8, 92366)."""

    template_id: str
    agent_id: int
    content: dict[str, Any]


class MomentTask(BaseModel):
    """One member's part of a moment: whom it would be shown to, and when he published it."""

    userid: str
    published_at: int = 0
    customers: list[str] = Field(default_factory=list)
    comments: list[dict[str, Any]] = Field(default_factory=list)
    likes: list[dict[str, Any]] = Field(default_factory=list)


class Moment(BaseModel):
    """A moment made by an app; `moment_id` exists once its job is done (B8, 95094)."""

    jobid: str
    agent_id: int
    create_time: int
    text: str
    attachments: list[dict[str, Any]] = Field(default_factory=list)
    users: list[str] = Field(default_factory=list)
    departments: list[int] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    moment_id: str = ""
    tasks: dict[str, MomentTask] = Field(default_factory=dict)
    cancelled: bool = False


class Transfer(BaseModel):
    """A customer on the way to another member: status 1 done, 2 waiting, 3 refused, 4 the taker's
    list is full (B9)."""

    handover_userid: str
    takeover_userid: str
    external_userid: str
    resigned: bool
    at: int
    status: int = 2
    takeover_time: int = 0
    message: str = ""


class Sent(BaseModel):
    """An app message that members received, and whether the app took it back (B10)."""

    msgid: str
    agent_id: int
    at: int
    userids: list[str]
    recalled: bool = False


class Card(BaseModel):
    """An interactive template card (B10); `content` is what its readers see now."""

    task_id: str
    agent_id: int
    card_type: str
    at: int
    userids: list[str]
    content: dict[str, Any]
    clicked: dict[str, str] = Field(default_factory=dict)
    """Which key each member pressed."""
    replaced: dict[str, str] = Field(default_factory=dict)
    """The button text that a member sees instead, by userid."""


class ResponseCode(BaseModel):
    """A permission to change a card once, within 72 hours (B10, 94888)."""

    task_id: str
    agent_id: int
    at: int
    used: bool = False


class Record(BaseModel):
    """An archived message as the native SDK hands it out: encrypted for the key of its time
    (B10)."""

    seq: int
    msgid: str
    publickey_ver: int
    encrypt_random_key: str
    encrypt_chat_msg: str
    at: float = 0.0
    """When it was written; after some days it is handed out no more."""


class Consent(BaseModel):
    """Whether a customer agreed that his chat with a member is archived."""

    status: str
    at: int


class Rule(BaseModel):
    """A rule against words in members' messages: type 1 blocks, 2 warns (intercept rules)."""

    rule_id: str
    agent_id: int
    rule_name: str
    create_time: int
    word_list: list[str]
    semantics_list: list[int] = Field(default_factory=list)
    intercept_type: int
    user_list: list[str] = Field(default_factory=list)
    department_list: list[int] = Field(default_factory=list)


class Link(BaseModel):
    """A URL scheme or link of a mini-program (A5); `expires_at` 0 never ends."""

    appid: str
    path: str
    query: str
    env_version: str
    create_time: int
    expires_at: int


class Code(BaseModel):
    """A mini-program code: which page it opens, with which scene or query (A5)."""

    appid: str
    page: str
    scene: str


class Grant(BaseModel):
    """What a person allowed of one subscribe template: sends left, or as many as he likes (A4)."""

    left: int = 0
    lasting: bool = False


class SubscribeTemplate(BaseModel):
    """A subscribe template that somebody described: of the long-term kind, and which keys it has
    (none: any)."""

    lasting: bool = False
    keys: list[str] = Field(default_factory=list)


class Window(BaseModel):
    """Until when, and how often, a mini-program may write to a person, and whether it shows him
    that it types (A7)."""

    until: int
    left: int
    contact_at: int
    typing: bool = False


class MediaCheck(BaseModel):
    """A picture or sound whose verdict is on its way (A6)."""

    trace_id: str
    appid: str
    openid: str
    media_url: str
    at: int


class EncryptKey(BaseModel):
    """A key with which a mini-program's front end encrypts (A2)."""

    encrypt_key: str
    iv: str
    version: int
    create_time: int


class Half(BaseModel):
    """A person who added a member that has not added him back (C4, add_half_external_contact)."""

    state: str = ""
    welcome_code: str = ""


class Records(BaseModel):
    """All of it."""

    halves: dict[str, Half] = Field(default_factory=dict)
    """By "external_userid|userid"."""
    broadcasts: dict[str, Broadcast] = Field(default_factory=dict)
    received: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Broadcasts that a customer or group received, by natural month, week or day."""
    templates: dict[str, WelcomeTemplate] = Field(default_factory=dict)
    moments: dict[str, Moment] = Field(default_factory=dict)
    """By jobid."""
    transfers: list[Transfer] = Field(default_factory=list)
    sent: dict[str, Sent] = Field(default_factory=dict)
    cards: dict[str, Card] = Field(default_factory=dict)
    response_codes: dict[str, ResponseCode] = Field(default_factory=dict)
    archive_key: str = ""
    archive_key_version: int = 0
    archive: list[Record] = Field(default_factory=list)
    consents: dict[str, Consent] = Field(default_factory=dict)
    """By "userid|external_userid"."""
    rules: dict[str, Rule] = Field(default_factory=dict)
    deleted_rules: list[str] = Field(default_factory=list)
    """Ids of rules that were (41071)."""
    risky_words: list[str] = Field(default_factory=lambda: ["赌博", "代开发票", "套现"])
    review_words: list[str] = Field(default_factory=list)
    media_checks: list[MediaCheck] = Field(default_factory=list)
    encrypt_keys: dict[str, list[EncryptKey]] = Field(default_factory=dict)
    """By openid, the newest last."""
    quota_clears: dict[str, list[int]] = Field(default_factory=dict)
    """When a mini-program had its quota cleared, by appid."""
    risk_ranks: dict[str, int] = Field(default_factory=dict)
    """By the id of a person."""
    links: dict[str, Link] = Field(default_factory=dict)
    codes: dict[str, Code] = Field(default_factory=dict)
    subscribe_templates: dict[str, SubscribeTemplate] = Field(default_factory=dict)
    """Templates that were described; any other is one-time and takes any keys."""
    grants: dict[str, Grant] = Field(default_factory=dict)
    """By "openid|template_id"."""
    windows: dict[str, Window] = Field(default_factory=dict)
    """By openid."""
    visits: dict[str, int] = Field(default_factory=dict)
    """When a person last opened a mini-program, by openid."""
