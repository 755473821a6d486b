"""What can be wrong with the texts of a document: placeholders that are none, words that WeChat bans,
and texts that are too long once they are filled with the longest that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from campaigns.document.model import Campaign
from campaigns.engine import facts
from campaigns.engine.facts import When
from campaigns.engine.verbs.verb import Reference
from services.documents import wording
from services.documents.parts import Text
from services.documents.placeholders import (
    NICKNAME,
    PLACEHOLDER,
    look_alikes,
    meant,
    names_in,
)
from services.documents.problems import Fault, Fix, Place, fault, shortened
from services.wechat.core.checks import GROUP_WELCOME_BYTES, TAG_CHARS

Uses = Mapping[str, Sequence[Reference]]
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f\\u200b-\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ufeff]"
)
_NO_TEXT = frozenset({"when", "eligible", "key", "note", "kind", "id", "tz"})
"""Keys whose values no customer reads."""


def faults(document: Campaign, uses: Uses, branches: Mapping[str, str] | None) -> list[Fault]:
    """Every fault of the document's texts; `uses` is where steps name each template, `branches` are
    the bank's, if known."""
    longest = facts.longest(branches)
    return [
        *_placeholder_faults(document),
        *_template_faults(document, uses, longest),
        *_tag_faults(document, longest),
        *[
            fault(place, "wording", words=one.words)
            for place, one in _wordings(document)
            if one.banned
        ],
    ]


def notices(document: Campaign) -> list[Fault]:
    """What a person must look at in the document's texts, and may overrule."""
    found = {
        (place[:2], one.words): fault(place, "wording_soft", words=one.words)
        for place, one in _wordings(document)
        if not one.banned
    }
    return list(found.values())


def unknown_names(text: str, when: When) -> list[str]:
    """The names in placeholders of the text that nobody can fill then."""
    return sorted(set(names_in(text)) - facts.known(when))


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every text of a dumped document that somebody reads, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in _NO_TEXT:
                yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))


def _placeholder_faults(document: Campaign) -> Iterator[Fault]:
    dumped = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    places = list(_leaves(dumped, ()))
    if document.entry is not None:
        places.append((("entry", "key"), document.entry.key))
    for place, text in places:
        if _UNSEEN.search(text):
            yield fault(place, "text_control")
        if text and not text.strip() and "tag" not in place:
            yield fault(place, "text_blank")
        yield from _placeholders(place, text)


def _filled_at(place: Place) -> When | None:
    """Which facts are filled into a text at `place`; None where none are."""
    if place[0] == "templates":
        return facts.MESSAGE
    if place == ("entry", "key") or (place[0] == "steps" and "tag" in place):
        return facts.KEY
    return None


def _placeholders(place: Place, text: str) -> Iterator[Fault]:
    when = _filled_at(place)
    for like in look_alikes(text, nickname=place[0] == "templates"):
        yield fault(
            place, "placeholder_like", text=shortened(like.text), fix=_meant(like.name, when)
        )
    if when is None:
        for match in PLACEHOLDER.finditer(text):
            yield fault(place, "placeholder_here", text=match[0])
        return
    expected = sorted(facts.known(when))
    for name in unknown_names(text, when):
        shown = "{{" + shortened(name) + "}}"
        fix = _meant(meant(name), when)
        code = "placeholder_unknown_in" if place[0] == "steps" else "placeholder_unknown"
        yield fault(place, code, text=shown, expected=expected, fix=fix)


def _meant(name: str, when: When | None) -> Fix:
    if name == NICKNAME:
        return Fix("write", NICKNAME)
    if when is None or name not in facts.known(when):
        return Fix()
    return Fix("write", "{{" + name + "}}")


def _template_faults(document: Campaign, uses: Uses, longest: Mapping[str, str]) -> Iterator[Fault]:
    greetings = {one.template for one in document.group_welcome.values()}
    for name, template in document.templates.items():
        limits = [(one.most - one.added, one.added) for one in uses.get(name, ()) if one.most]
        if name in greetings or not limits:
            limits.append((GROUP_WELCOME_BYTES, 0))
        for lang in ("zh", "en"):
            text, place = getattr(template, lang), ("templates", name, lang)
            if NICKNAME in text and name in uses:
                yield fault(place, "nickname")
            yield from _too_long(text, place, *min(limits), longest)


def _too_long(
    text: str, place: Place, room: int, added: int, longest: Mapping[str, str]
) -> Iterator[Fault]:
    """A text with `added` bytes of ours has `room` bytes for itself, filled with the longest."""
    size, filling = len(text.encode()), Fix()
    if size <= room + added:
        size = len(facts.fill(text, longest).encode())
        filling = _filling(text, longest, "bytes", size + added, added)
    if size > room:
        yield fault(place, "text_bytes", most=room + added, filling=filling)


def _tag_faults(document: Campaign, longest: Mapping[str, str]) -> Iterator[Fault]:
    for place, step in document.all_steps():
        if step.verb != "tag":
            continue
        for key, names in (("add", step.body.add), ("del", step.body.del_)):
            for index, name in enumerate(names):
                yield from _tag((*place, "tag", key, index), name, longest)


def _tag(place: Place, name: str, longest: Mapping[str, str]) -> Iterator[Fault]:
    """A tag's name and its group's have at most TAG_CHARS characters each, and at least one."""
    group, colon, tag = name.rpartition(":")
    if not tag.strip() or (colon and not group.strip()):
        yield fault(place, "tag_blank")
        return
    chars = len(facts.fill(tag, longest))
    if chars > TAG_CHARS and not unknown_names(tag, facts.KEY):
        filling = _filling(tag, longest, "chars", chars, 0)
        yield fault(place, "tag_long", tag=shortened(name), most=TAG_CHARS, filling=filling)
    if len(facts.fill(group, longest)) > TAG_CHARS:
        yield fault(place, "tag_group_long", tag=shortened(group), most=TAG_CHARS)


def _filling(text: str, longest: Mapping[str, str], unit: str, size: int, added: int) -> Fix:
    """How long a text gets, by what it is filled with and what is added to it; nothing where it is
    filled with nothing."""
    parts = []
    for name in dict.fromkeys(names_in(text)):
        value = longest.get(name, "")
        parts.append(f"{name}: {len(value.encode()) if unit == 'bytes' else len(value)}")
    if added:
        parts.append(f"+{added}")
    if not parts:
        return Fix()
    return Fix(f"filling_{unit}", f"{size} ({', '.join(parts)})")


def _wordings(document: Campaign) -> Iterator[tuple[Place, wording.Wording]]:
    """Words about rewards for sharing, where customers read them."""
    places: list[tuple[Place, str]] = []
    for name, template in document.templates.items():
        places += [(("templates", name, lang), getattr(template, lang)) for lang in ("zh", "en")]
    for name, reward in document.rewards.items():
        for key, text in reward:
            if isinstance(text, Text):
                each = (("zh", text.zh), ("en", text.en))
                places += [(("rewards", name, key, lang), words) for lang, words in each]
    for lang in ("zh", "en"):
        places.append((("name", lang), getattr(document.name, lang)))
    if document.disclosure is not None:
        said = document.disclosure.model_dump(mode="json")
        places += [(("disclosure", key), text) for key, text in said.items()]
    for place, text in places:
        for one in wording.found_in(text):
            yield place, one
