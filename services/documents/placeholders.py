"""Placeholders in texts that people write, and what only looks like one.

`{{customer.name}}` is filled; `{customer.name}`, `｛｛…｝｝`, `${…}` or `[姓名]` are not, and a customer
would read them as they stand.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeAlias

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
"""of one text and kind"""
_MOST_TRIED = 50 * MOST_TOLD
"""names between signs that are looked up"""
_Span: TypeAlias = tuple[int, int]


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
    plain = _blanked(text, nickname=nickname).translate(_FULL_WIDTH)
    unbraced = _BRACES.sub(lambda match: "\n" * len(match[0]), plain)
    named = _first(_named(unbraced, [_NAMED, _PARENTHESES] if nickname else [_NAMED]))
    found = {
        **_first(_braced(text, plain)),
        **named,
        **_first((match.span(), "customer.name") for match in _SOMEBODY.finditer(unbraced)),
        **_first(_bare(unbraced, named)),
    }
    return [LookAlike(text[slice(*span)], name) for span, name in sorted(found.items())]


def _blanked(text: str, *, nickname: bool) -> str:
    """The text with blanks in the place of what is filled."""
    rest = PLACEHOLDER.sub(lambda match: " " * len(match[0]), text)
    return rest.replace(NICKNAME, " " * len(NICKNAME)) if nickname else rest


def _first(found: Iterable[tuple[_Span, str]]) -> dict[_Span, str]:
    return dict(islice(found, MOST_TOLD))


def _braced(text: str, plain: str) -> Iterator[tuple[_Span, str]]:
    """Braces that no placeholder has, and what other programs fill: each is one, whatever it names."""
    for match in _BRACES.finditer(plain):
        inside = text[slice(*match.span())].translate(_FULL_WIDTH)
        yield match.span(), _meant(inside, guess=True)


def _named(text: str, forms: Iterable[re.Pattern[str]]) -> Iterator[tuple[_Span, str]]:
    """Names of placeholders between signs that may also stand for something else."""
    for match in chain.from_iterable(islice(one.finditer(text), _MOST_TRIED) for one in forms):
        name = _meant(match[0], guess=False)
        if name:
            yield match.span(), name


def _bare(text: str, named: Iterable[_Span]) -> Iterator[tuple[_Span, str]]:
    """Names of placeholders without any sign around them, besides those in `named`."""
    inside = {at for span in named for at in range(*span)}
    for match in _BARE.finditer(text):
        if match[0] in _MEANT and match.start() not in inside:
            yield match.span(), match[0]


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
