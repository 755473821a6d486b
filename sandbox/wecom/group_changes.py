"""What happens in customer groups: they are made, joined, left, renamed, dismissed; each is told
(contract/wechat B7, C4)."""

from __future__ import annotations

from sandbox.core import ids
from sandbox.core.errors import Impossible
from sandbox.core.events import Event, Value
from sandbox.core.models import Group, GroupMember, JoinWay, day_of
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person
from sandbox.core.world import Member

MEMBER, EXTERNAL = 1, 2
INVITED, BY_LINK, BY_CODE = 1, 2, 3
"""`join_scene` of a group's detail."""
EVENT_INVITED, EVENT_BY_CODE = 0, 3
"""`JoinScene` of an event, which calls an invitation 0."""
LEFT, REMOVED = 0, 1
"""`QuitScene` of an event."""


def group_event(box: Sandbox, change: str, group: Group, **fields: Value | None) -> Event:
    """C4: `create`, `dismiss`, or `update` with an UpdateDetail."""
    return Event("change_external_chat", box.seconds(), change, {"ChatId": group.chat_id, **fields})


def members_changed(box: Sandbox, group: Group, detail: str, who: list[str], **scene: int) -> Event:
    """Give the group a new version of its members and tell of `add_member` or `del_member`."""
    former = group.version
    group.version = ids.version()
    return group_event(
        box,
        "update",
        group,
        UpdateDetail=detail,
        **scene,
        MemChangeCnt=len(who),
        MemChangeList=who,
        LastMemVer=former,
        CurMemVer=group.version,
    )


def _entry(
    box: Sandbox, who: Person | Member, scene: int, invitor: str = "", state: str = ""
) -> GroupMember:
    now = box.seconds()
    if isinstance(who, Member):
        return GroupMember(
            userid=who.userid,
            type=MEMBER,
            join_time=now,
            join_scene=scene,
            invitor=invitor,
            name=who.name,
        )
    return GroupMember(
        userid=who.external_userid,
        type=EXTERNAL,
        join_time=now,
        join_scene=scene,
        unionid=who.unionid,
        invitor=invitor,
        state=state,
        name=who.name,
    )


def _changes(box: Sandbox, group: Group) -> None:
    """Something in the group is about to change, which `groupchat/get` may tell later only (B7)."""
    lag = box.switches.group_lag_seconds
    if lag:
        shown = box.groups_before.setdefault(group.chat_id, [])
        shown.append((box.clock.now() + lag, group.model_copy(deep=True)))


def as_shown(box: Sandbox, group: Group) -> Group:
    """The group as `groupchat/get` tells it now."""
    now = box.clock.now()
    shown = [row for row in box.groups_before.get(group.chat_id, []) if row[0] > now]
    return shown[0][1] if shown else group


def make(box: Sandbox, owner: Member, name: str, others: list[Person | Member]) -> Group:
    """A new group of its owner and those whom he invites; it is not told yet. Raises Impossible
    when they are too many."""
    if 1 + len(others) > box.switches.group_size:
        raise Impossible("the group is full")
    group = Group(
        chat_id=ids.chat_id(),
        opengid=ids.opengid(),
        name=name,
        owner=owner.userid,
        create_time=box.seconds(),
        version=ids.version(),
    )
    entries = [
        _entry(box, owner, INVITED),
        *(_entry(box, who, INVITED, owner.userid) for who in others),
    ]
    group.members = {entry.userid: entry for entry in entries}
    box.state.groups[group.chat_id] = group
    box.changed()
    return group


async def create(
    box: Sandbox, owner: Member, name: str, others: list[Person | Member]
) -> tuple[Group, bool]:
    """The same, told (`create`); whether that was delivered."""
    group = make(box, owner, name, others)
    return group, await box.sender.send(group_event(box, "create", group))


def full(box: Sandbox, group: Group) -> bool:
    return len(group.members) >= box.switches.group_size


async def invite(
    box: Sandbox, group: Group, who: Person | Member, invitor: str, scene: int = INVITED
) -> bool:
    """Somebody joins by invitation or link. Returns whether that was delivered; raises
    Impossible."""
    return await _join(box, group, _entry(box, who, scene, invitor), EVENT_INVITED)


async def scan(box: Sandbox, way: JoinWay, person: Person) -> tuple[Group, bool]:
    """The person scans a group's code: into the first of its groups with room, or into a new one if
    it may be made.

    Returns the group and whether the join was delivered; raises Impossible when every group is
    full.
    """
    groups = [g for chat_id in way.chat_id_list if (g := box.state.groups.get(chat_id))]
    inside = next((g for g in groups if person.external_userid in g.members), None)
    group = inside or next((g for g in groups if not full(box, g)), None)
    if group is None:
        group = await _next_group(box, way, groups)
    entry = _entry(box, person, BY_CODE, state=way.state)
    return group, await _join(box, group, entry, EVENT_BY_CODE)


async def _next_group(box: Sandbox, way: JoinWay, groups: list[Group]) -> Group:
    """The group that a code makes when all of its groups are full, named after `room_base_name` and
    `room_base_id`."""
    owner = box.world.member(groups[-1].owner) if groups else None
    if owner is None or not way.auto_create_room:
        raise Impossible("every group of this code is full")
    group, _ = await create(
        box, owner, f"{way.room_base_name or groups[-1].name}{way.room_base_id}", []
    )
    way.room_base_id += 1
    way.chat_id_list = [*way.chat_id_list, group.chat_id]
    box.changed()
    return group


async def _join(box: Sandbox, group: Group, entry: GroupMember, scene: int) -> bool:
    if entry.userid in group.members:
        raise Impossible(f"{entry.name} is in the group already")
    if full(box, group):
        raise Impossible("the group is full")
    _changes(box, group)
    group.members[entry.userid] = entry
    box.changed()
    return await box.sender.send(
        members_changed(box, group, "add_member", [entry.userid], JoinScene=scene)
    )


async def leave(box: Sandbox, group: Group, who: str, *, removed: bool) -> bool:
    """Somebody leaves or is removed. Returns whether that was delivered; raises Impossible for the
    owner."""
    if who not in group.members:
        raise Impossible("he is not in the group")
    if who == group.owner:
        raise Impossible("the owner hands the group over or dismisses it")
    _changes(box, group)
    del group.members[who]
    box.changed()
    quit_scene = REMOVED if removed else LEFT
    return await box.sender.send(
        members_changed(box, group, "del_member", [who], QuitScene=quit_scene)
    )


async def rename(box: Sandbox, group: Group, name: str) -> bool:
    _changes(box, group)
    group.name = name
    box.changed()
    return await box.sender.send(group_event(box, "update", group, UpdateDetail="change_name"))


async def announce(box: Sandbox, group: Group, notice: str) -> bool:
    """Another notice (`change_notice`)."""
    _changes(box, group)
    group.notice = notice
    box.changed()
    return await box.sender.send(group_event(box, "update", group, UpdateDetail="change_notice"))


def own(box: Sandbox, group: Group, owner: Member) -> Event:
    """Make somebody the owner, who joins if he is not inside; the event of it (`change_owner`)."""
    _changes(box, group)
    group.members.setdefault(owner.userid, _entry(box, owner, INVITED, group.owner))
    group.owner = owner.userid
    box.changed()
    return group_event(box, "update", group, UpdateDetail="change_owner")


async def dismiss(box: Sandbox, group: Group) -> bool:
    """The group ends, and no code leads into it any more."""
    del box.state.groups[group.chat_id]
    for way in box.state.join_ways.values():
        way.chat_id_list = [c for c in way.chat_id_list if c != group.chat_id]
    box.changed()
    return await box.sender.send(group_event(box, "dismiss", group))


def say(box: Sandbox, group: Group, who: str) -> int:
    """Somebody writes in the group; how many messages there were today. Raises Impossible."""
    if who not in group.members:
        raise Impossible("he is not in the group")
    today = group.spoke.setdefault(day_of(box.seconds()), {})
    today[who] = today.get(who, 0) + 1
    box.changed()
    return sum(today.values())
