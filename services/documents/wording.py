"""Words that WeChat bans: a reward for sharing, following or helping.

What plainly promises one is a fault. What only looks so, as a warning of the bank's may, is a notice
that shows the words; a checker may overrule it, with a reason. Traditional characters, full-width
letters, and blanks between characters hide nothing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_SIMPLE = str.maketrans(
    "轉發關註領獎贊讚請禮紅點價獲贏優現積費團後號個滿齊們眾視頻務訂閱騙詐謹無須會給換鎖劵裏群",
    "转发关注领奖赞赞请礼红点价获赢优现积费团后号个满齐们众视频务订阅骗诈谨无须会给换锁券里群",
)
_BLANK = re.compile("[\\s\u200b-\u200f\u2060\ufeff]")

_SHARING = (
    r"(?:分享(?!给?(?:我们|客户经理)|会|课|厅|者|嘉宾|沙龙|讲座|经济|手册|(?:[您你]的?|一份)?(?:使用|用户)?(?:体验|意见|建议|感受"
    r"|心得|故事|经[验历]|好?心情|快乐|喜[悦讯]))|转发(?!给?(?:您|我们|客户经理))|转给(?!您|我)|(?:发|晒)到?朋友圈|朋友圈晒图?|集[满齐]?[\d一二三四五六七八九十百]{0,6}个?赞"
    r"|点赞(?:满?\d{1,6}个?)?|砍价|砍一刀|(?<!手)助力(?!乡村|小微|企业|实体|高考|中小|经济|双碳)"
    r"|拉(?:\d{1,4}|[一二两三四五六七八九十])?[个位名]?(?:新|好友|朋友|亲友|人)"
    r"|邀请?(?:\d{1,4}|[一二两三四五六七八九十])?[个位名]?(?:新?好友|朋友|亲友|新人|新客)"
    r"|邀请(?=有[礼奖])|推荐(?:新?好友|朋友|亲友|他人))"
)
_FOLLOWING = r"关注(?:[^，,。]{0,6}(?:公众号|公号|官微|视频号|服务号|订阅号|企业号|账号|小程序|企业微信|微博|抖音)|我们|我行)?"
_THING = (
    r"(?:红包|礼(?![遇貌仪堂拜])|奖(?!学金|惩)|券|优惠|现金|返现|积分|咖啡|话费|流量|手机|iphone|[\d一二两三五十百千]{1,6}元"
    r"|免费)"
)
_GETTING = (
    rf"(?:(?:领|得|获|送|赠|赢|抽|享|拿|兑|换|返|赚|奖励?|解锁|到账)[^，,。]{{0,6}}?{_THING}|{_THING}[^，,。]{{0,3}}?到账"
    r"|抽奖|免费[领拿得送]|0元[领拿得购]|领奖|有[礼奖]|现金奖励|奖励越多|[即就](?:送|赠|得))"
)
_SO = r"(?:即可|就可以|就可|就能|便可|才能|才可|即|就|便|可|立|后|再|凭|马上)"
_SHARED = re.compile(
    rf"{_SHARING}(?:[^，,]{{0,10}}?{_GETTING}"
    rf"|[^。]{{0,12}}?{_SO}[^，,]{{0,5}}?{_GETTING}"
    r"|[^，,。]{0,6}?(?:即可|才能|可|就能|便可|就可以)(?:领取|获得|抽取|兑换|解锁)"
    rf"|[^，,]{{0,10}}[，,、][^，,]{{0,4}}?{_GETTING})"
    r"|[集点]赞[满齐]?\d{1,6}个?送"
)
_FOLLOWED = re.compile(
    rf"{_FOLLOWING}[^，,。的]{{0,3}}?(?:并[^，,]{{0,6}})?[，,]?(?:{_SO}[^，,]{{0,4}}?)?[您你各]?{_GETTING}"
)
_FORCED = re.compile(r"不(?:转发?|分享)的?(?:就)?(?:不是|倒霉|没有?好)|转发保平安")
_ENGLISH = re.compile(
    r"\b(?:share(?! price|holder| your (?:feedback|experience|opinion|view|story))|forward|repost"
    r"|follow (?:us|our)|invite (?:\w{1,20} ){0,2}(?:friends?|others|people)|refer (?:\w{1,20} ){0,2}friends?"
    r"|collect (?:\d{1,6} )?likes?|like and share)\b[^.]{0,50}?\b(?:get|gets|win|receive|earn|claim|enjoy|unlock|redeem)\b"
    r"[^.]{0,25}?(?:\b(?:gifts?|prizes?|rewards?|coupons?|vouchers?|cash|red (?:packet|envelope)s?|coffees?|free|points"
    r"|discounts?|yuan|rmb|iphone|win)\b|[¥$])"
    r"|\b(?:share|forward|repost|invite (?:\w{1,20} ){0,2}friends?)\b[^.]{0,30}?(?:to|and) (?:win|earn)\b",
    re.IGNORECASE,
)
_LOOSE = re.compile(
    r"(?:分享|转发|转给|关注|助力|集赞|点赞|砍价|拼团邀请|邀请[^，,。]{0,4}好友|拉[^，,。]{0,3}好友|拉新)"
    r"[^。]{0,8}?(?:领|得|送|奖|抽|赢|红包|礼|返现|免费)"
    rf"|{_GETTING}[^。]{{0,8}}(?:请|需|须|要|先)(?:分享|转发|集赞|邀请|关注)"
)
_WARNING = re.compile(
    r"切勿(?!错过)|谨防|请勿|勿信|勿点|不要(?!错过)|别信|警惕|防范|防骗|诈骗|骗局|不得|禁止|并非|不会|不以|从不|绝不|无关|无效|与否"
    r"|(?:无需|无须|不需要?|不用|不必|不|未)(?:分享|转发|关注|集赞|邀请|助力)"
    r"|(?i:\b(?:do not|don't|never|beware|scam|fraud|without|no need)\b)"
)
_SENTENCE = re.compile(r"(?:[^。！？!?；;\n.]|\.(?!\s|$))+")


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
        plain, at = _plain(sentence)
        threat = _FORCED.search(plain)
        promise = _SHARED.search(plain) or _FOLLOWED.search(plain) or _ENGLISH.search(plain)
        match = threat or promise or _LOOSE.search(plain)
        if match is not None:
            banned = threat or (promise and not _WARNING.search(plain))
            words = sentence[at[match.start()] : at[match.end() - 1] + 1]
            found.append(Wording(words, bool(banned)))
    return found


def _plain(sentence: str) -> tuple[str, list[int]]:
    """The sentence as it is compared, and where each of its characters stands; blanks are left out
    but between words of letters."""
    plain: list[str] = []
    at: list[int] = []
    for index, character in enumerate(sentence):
        for one in unicodedata.normalize("NFKC", character).translate(_SIMPLE).lower():
            if _BLANK.match(one):
                if not (plain and plain[-1].isascii() and one == " "):
                    continue
            plain.append(one)
            at.append(index)
    return "".join(plain), at
