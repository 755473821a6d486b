"""What the state is made of beside people and codes: acquisition links, customer groups, figures of
a day."""

from __future__ import annotations

from pydantic import BaseModel, Field

DAY_SECONDS = 86_400
BEIJING_SECONDS = 8 * 3600
"""Days begin at midnight in Beijing."""


def day_of(at: float) -> int:
    """The first second of the day of `at`, in Beijing."""
    return int(at + BEIJING_SECONDS) // DAY_SECONDS * DAY_SECONDS - BEIJING_SECONDS


class Day(BaseModel):
    """One member's figures of one day, as `get_user_behavior_data` adds them up (B3, 92132)."""

    chat_cnt: int = 0
    message_cnt: int = 0
    negative_feedback_cnt: int = 0
    new_apply_cnt: int = 0
    new_contact_cnt: int = 0


class LinkCustomer(BaseModel):
    """A customer who came through an acquisition link; `messages` counts what he wrote since
    (B6)."""

    external_userid: str
    userid: str
    state: str
    at: int
    messages: int = 0


class Link(BaseModel):
    """A customer acquisition link and the app that owns it (B6)."""

    link_id: str
    agent_id: int
    link_name: str
    url: str
    create_time: int
    user_list: list[str] = Field(default_factory=list)
    department_list: list[int] = Field(default_factory=list)
    skip_verify: bool = True
    mark_source: bool = True
    priority_type: int = 0
    priority_userid_list: list[str] = Field(default_factory=list)
    available: bool = True
    turn: int = 0
    clicks: dict[int, int] = Field(default_factory=dict)
    """How many people opened it, by day."""
    customers: dict[str, LinkCustomer] = Field(default_factory=dict)
    """By external_userid and userid."""


class ChatKey(BaseModel):
    """What a chat key of a callback opens: how many messages came from a customer of a link
    (B6)."""

    link_id: str
    external_userid: str
    userid: str
    state: str
    messages: int
    at: int


class Allowance(BaseModel):
    """A part of the acquisition quota that ends on a day."""

    expire_date: int
    balance: int


class Quota(BaseModel):
    """How many customers the corp's links may still bring (B6)."""

    total: int = Field(default=1000, ge=0)
    balance: int = Field(default=1000, ge=0)
    quota_list: list[Allowance] = Field(default_factory=list)


class GroupMember(BaseModel):
    """A member (type 1) or an external contact (type 2) in a customer group; `join_scene` 1
    invited, 3 QR (B7)."""

    userid: str
    type: int
    join_time: int
    join_scene: int
    unionid: str = ""
    invitor: str = ""
    state: str = ""
    name: str = ""


class Group(BaseModel):
    """A customer group (B7). `status` 0 normal, 1 its owner left, 3 handed over; `version` changes
    with its members."""

    chat_id: str
    opengid: str
    name: str
    owner: str
    create_time: int
    version: str
    notice: str = ""
    status: int = 0
    admins: list[str] = Field(default_factory=list)
    members: dict[str, GroupMember] = Field(default_factory=dict)
    spoke: dict[int, dict[str, int]] = Field(default_factory=dict)
    """How many messages each wrote, by day."""
    handovers: list[int] = Field(default_factory=list)
    """When the owner was changed by an on-job hand-over."""


class JoinWay(BaseModel):
    """A code that leads into customer groups, and the app that owns it (B7, 92229)."""

    config_id: str
    agent_id: int
    scene: int
    qr_code: str = ""
    remark: str = ""
    auto_create_room: int = 1
    room_base_name: str = ""
    room_base_id: int = 1
    chat_id_list: list[str] = Field(default_factory=list)
    state: str = ""
    mark_source: bool = True
