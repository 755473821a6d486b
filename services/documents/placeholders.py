"""Placeholders in texts that people write, and what only looks like one.

`{{customer.name}}` is filled; `{customer.name}`, `｛｛…｝｝`, `${…}` or `[姓名]` are not, and a customer
would read them as they stand.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain, islice

PLACEHOLDER = re.compile(r"\{\{[ \t]*([a-z_.]+)[ \t]*\}\}")
NICKNAME = "%NICKNAME%"
"""What WeCom itself fills in greetings of groups."""

_MEANT = {
    "customer.name": "姓名 客户姓名 客户名 客户名称 客户昵称 顾客姓名 您的姓名 昵称 微信昵称 用户名 用户姓名 name "
    "customername username nickname clientname externalname",
    "staff.name": "客户经理 客户经理姓名 经理姓名 员工姓名 员工 员工名 理财经理 rmname staffname managername membername",
    "branch.name": "网点 网点名称 网点名 支行 支行名称 支行名 机构名称 branch branchname",
    "bank.name": "银行 银行名称 银行名 行名 bank bankname",
    "channel.code": "渠道 渠道码 活码 channel channelcode",
    "channel.branch": "渠道网点 网点编号 channelbranch branchid",
    "follow.userid": "客户经理账号 员工账号 userid followuserid staffid",
    "customer.id": "客户号 客户编号 customerid customer",
}
_ALIASES = {alias: name for name, aliases in _MEANT.items() for alias in aliases.split()}
_FULL_WIDTH = {0xFF01 + n: 0x21 + n for n in range(94)} | {
    ord("。"): ord("."),
    ord("【"): ord("["),
    ord("】"): ord("]"),
    ord("〔"): ord("["),
    ord("〕"): ord("]"),
    ord("「"): ord("["),
    ord("」"): ord("]"),
    ord("〈"): ord("<"),
    ord("〉"): ord(">"),
    ord("『"): ord("["),
    ord("』"): ord("]"),
    ord("〖"): ord("["),
    ord("〗"): ord("]"),
    ord("《"): ord("<"),
    ord("》"): ord(">"),
    ord("\u3000"): ord(" "),
}
_BRACES = re.compile(r"[$#%@]?\{+[^{}]{0,60}\}*|\}+|(?<![\d%])%(?:\d\$)?[sd](?![a-z\d%])")
_NAMED = re.compile(
    r"%\([^()\n]{1,40}\)[a-z]?|\$\([^()\n]{1,40}\)|\$[a-z_]+(?:\.[a-z_]+)*"
    r"|%[^%\s]{1,40}%|#[^#\s]{1,40}#|\[{1,3}[^\[\]\n]{1,40}\]{1,3}|<{1,3}%?=?[^<>\n]{1,40}>{1,3}"
    r"|_{2}[^_\n]{1,40}_{2}|\*{1,2}[^*\n]{1,40}\*{1,2}|@[\w.]{1,40}",
    re.IGNORECASE,
)
_PARENTHESES = re.compile(r"\({1,3}[^()\n]{1,40}\){1,3}")
"""Which other texts have for other purposes."""
_SOMEBODY = re.compile(r"[Xx×○]{2,4}(?=先生|女士|您好|客户)")
_BARE = re.compile(r"(?<![\w./@-])[a-z]+\.[a-z_]+(?![\w./@-])", re.ASCII)


MOST_TOLD = 20
"""of one text"""


@dataclass(frozen=True)
class LookAlike:
    """What stands in a text, and the name that was meant, as far as that can be told."""

    text: str
    name: str


def names_in(text: str) -> list[str]:
    """The names of the placeholders in a text."""
    return PLACEHOLDER.findall(text)


def look_alikes(text: str, *, nickname: bool = False) -> list[LookAlike]:
    """What looks like a placeholder in the text and is none, the first MOST_TOLD of each kind;
    `nickname`: NICKNAME is one here, where texts are filled. Takes time in proportion to the text."""
    rest = PLACEHOLDER.sub(lambda match: " " * len(match[0]), text)
    if nickname:
        rest = rest.replace(NICKNAME, " " * len(NICKNAME))
    plain = rest.translate(_FULL_WIDTH)
    found: dict[int, LookAlike] = {}
    for match in islice(_BRACES.finditer(plain), MOST_TOLD):
        shown = text[slice(*match.span())]
        found[match.start()] = LookAlike(shown, _meant(shown.translate(_FULL_WIDTH), guess=True))
    hidden = _BRACES.sub(lambda match: "\n" * len(match[0]), plain)
    taken: list[tuple[int, int]] = []
    forms = [_NAMED, _PARENTHESES] if nickname else [_NAMED]
    for match in chain.from_iterable(islice(one.finditer(hidden), 50 * MOST_TOLD) for one in forms):
        name = _meant(match[0], guess=False)
        if name:
            found[match.start()] = LookAlike(text[slice(*match.span())], name)
            taken.append(match.span())
    for match in islice(_SOMEBODY.finditer(hidden), MOST_TOLD):
        found[match.start()] = LookAlike(text[slice(*match.span())], "customer.name")
    for match in _BARE.finditer(hidden):
        if match[0] in _MEANT and not any(a <= match.start() < b for a, b in taken[:20]):
            found[match.start()] = LookAlike(match[0], match[0])
    return [found[at] for at in sorted(found)]


def meant(name: str) -> str:
    """The placeholder that is meant by a name which is none; empty where that cannot be told."""
    return _meant(name, guess=True)


def _meant(text: str, *, guess: bool) -> str:
    """The name inside the brackets; with `guess`, also the one that is nearest."""
    inside = re.sub(r"^%\((.*)\)[a-z]?$", r"\1", text)
    inner = re.sub(r"[^\w]|_", "", inside.lower())
    if not inner:
        return ""
    if inner == "nickname" and "%" in text:
        return NICKNAME
    by_letters = {name.replace(".", ""): name for name in _MEANT}
    known = _ALIASES.get(inner) or by_letters.get(inner)
    if known or not guess:
        return known or ""
    return nearest(inner, _MEANT)


def nearest(name: str, names: Collection[str]) -> str:
    """The one of `names` that was meant; empty where none is near."""
    by_letters = {re.sub(r"[^a-z]", "", one): one for one in names}
    wanted = re.sub(r"[^a-z]", "", name.lower())[:40]
    near = difflib.get_close_matches(wanted, by_letters, n=1, cutoff=0.7)
    return by_letters[near[0]] if near else ""
