"""Userids as WeCom compares them: without regard to letter case (contract/wechat B2).

WeCom tells each member in one spelling, which our rows keep. What people write (the bank's file,
campaigns, forms) may be spelled otherwise: it is looked up by `key`, and WeCom's spelling is taken
from there on.
"""

from __future__ import annotations

from collections.abc import Iterable


def key(userid: str) -> str:
    """What two spellings of one userid have in common."""
    return userid.lower()


def same(one: str, other: str) -> bool:
    """Whether both are one member's."""
    return key(one) == key(other)


def spelled_as(userids: Iterable[str], known: Iterable[str]) -> list[str]:
    """`userids` in the spelling of those who are `known`, once each and in order; whoever is not
    known stays as he is."""
    spelling = {key(one): one for one in known}
    distinct = {key(one): spelling.get(key(one), one) for one in userids}
    return list(distinct.values())


def those_of(userids: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of `userids` who are `known`, in the spelling of the known, once each and in order."""
    spelling = {key(one): one for one in known}
    wanted = dict.fromkeys(key(one) for one in userids)
    return [spelling[one] for one in wanted if one in spelling]
