"""Words that WeChat bans: a reward for sharing, following or helping.

What plainly promises one is a fault. What only looks so, as a warning of the bank's may, is a notice
that shows the words; a checker may overrule it, with a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DOING = r"(?:分享|转发|关注|助力|集赞|点赞|砍价|拼团邀请|邀请好友|拉好友)"
_REWARD = r"(?:领|得|送|奖|抽|赢|红包|礼|返现|免费)"
_PLAIN = re.compile(
    rf"{_DOING}[^。！？!?；;\n]{{0,12}}?(?:即可|就可以|就可|便可|即|就|可)[^。！？!?；;，,\n]{{0,4}}?{_REWARD}"
)
_LOOSE = re.compile(rf"{_DOING}[^。！？!?；;\n]{{0,8}}?{_REWARD}")
_WARNING = re.compile(
    r"切勿|谨防|请勿|不要(?!错过)|勿信|警惕|防范|防骗|诈骗|勿点|不得|禁止|无需|不需要|并非"
)
_SENTENCE = re.compile(r"[^。！？!?；;\n]+")


@dataclass(frozen=True)
class Wording:
    """The words that were found, and whether they are banned beyond doubt."""

    words: str
    banned: bool


def found_in(text: str) -> list[Wording]:
    """Every sentence's first words that promise a reward for sharing or following; one of a
    sentence that warns is never beyond doubt."""
    found = []
    for sentence in _SENTENCE.findall(text):
        plain = _PLAIN.search(sentence)
        match = plain or _LOOSE.search(sentence)
        if match is not None:
            banned = plain is not None and not _WARNING.search(sentence)
            found.append(Wording(match[0], banned))
    return found
