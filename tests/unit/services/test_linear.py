"""Reading takes time in proportion to what is read, whatever somebody wrote: a pattern that tries a
text again from each of its letters holds every bank's loop, even beside it, for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from config.bounds import DOCUMENT_BYTES
from customers.messaging import service_chat
from operations.events.receive import is_of_staff
from services.documents import yaml12
from services.errors import YinqiaoError
from services.wechat.core.unknown_codes import _TAIL
from services.wechat.events import reading

MOST_SECONDS = 1.0
"""They took 2 to 12 seconds each."""
SIZE = DOCUMENT_BYTES - 100

TEXTS: dict[str, Callable[[], object]] = {
    "a tag without its end": lambda: reading.read(b"<xml><Event>e</Event><" + b"a" * SIZE),
    "an end without its end": lambda: reading.read(b"<xml><Event>e</Event></" + b"a" * SIZE),
    "sections without their end": lambda: reading.read(b"<xml>" + b"<a><![CDATA[</a>" * (4 * SIZE // 16)),
    "an event's blanks": lambda: is_of_staff(b"<xml><Event>" + b" " * SIZE),
    "full-width commas": lambda: yaml12.parse("a: [\n" + "，" * (SIZE // 3) + "\n"),
    "full-width brackets": lambda: yaml12.parse("a: [\n" + "｛［" * (SIZE // 6) + "\n"),
    "an address without its end": lambda: service_chat.masked("a" * SIZE),
    "a host without its end": lambda: service_chat.masked("a@" + "b-" * (SIZE // 2)),
    "a platform's blanks": lambda: _TAIL.sub("", " " * SIZE + "!"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_read_takes_time_in_proportion(name: str) -> None:
    begun = time.process_time()
    try:
        TEXTS[name]()
    except YinqiaoError:
        pass
    assert time.process_time() - begun < MOST_SECONDS


def test_what_the_patterns_find_is_what_was_meant() -> None:
    found = reading.read(b'<xml a="1"><Event b = "2" >e</Event ><Cut x</xml>')
    assert found.text("Event") == "e"
    assert is_of_staff(b"<Event >\n<![CDATA[ change_contact]]></Event>")
    assert not is_of_staff(b"<Event>change_contacts</Event>")
    cut = reading.read(b"<xml><a><![CDATA[1]]></a><b><![CDATA[2</b><c><![CDATA[3</c></xml>")
    assert [cut.text(name) for name in "abc"] == ["1", "2", "3"]
    assert service_chat.masked("li.min+a@mail.bank.cn, x") == "…@…, x"
    assert _TAIL.sub("", "invalid code,  hint: [x]") == "invalid code"
    assert [p.code for p in yaml12.parse("a: [\n名称｛x：1\n").problems] == ["yaml_full_width"]
