"""Genuine messages are read however they read; nothing of them is expanded, and no length is too much."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.wechat import events
from services.wechat.core.errors import EventUnreadable
from services.wechat.events.reading import read

FRIEND = (
    "<xml><ToUserName><![CDATA[ww0c0ffee000000001]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
    "<CreateTime>1700000000</CreateTime><MsgType><![CDATA[event]]></MsgType>"
    "<Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType>"
    "<UserID><![CDATA[rm.li]]></UserID><ExternalUserID><![CDATA[wmMadeUp0001]]></ExternalUserID>"
    "<State><![CDATA[{state}]]></State><WelcomeCode><![CDATA[MADEUP]]></WelcomeCode></xml>"
)


def added(message: bytes | str) -> tuple[str, str, str | None, str | None]:
    event = events.parse_event(message if isinstance(message, bytes) else message.encode("utf-8", "surrogatepass"))
    assert isinstance(event, events.ExternalContactAdded)
    return event.userid, event.external_userid, event.state, event.welcome_code


def known(state: str | None = "海报1") -> tuple[str, str, str | None, str]:
    return "rm.li", "wmMadeUp0001", state, "MADEUP"


@pytest.mark.parametrize("character", [*map(chr, range(0x20)), "\ufffe", "\uffff"])
def test_a_character_that_no_text_may_hold_is_left_out(character: str) -> None:
    expected = f"海报{character}1" if character in "\t\n\r" else "海报1"
    assert added(FRIEND.replace("{state}", f"海报{character}1")) == known(expected)
    assert added(FRIEND.replace("{state}", f"海报{character}1").encode("utf-16")) == known(expected)
    assert added(FRIEND.replace("{state}", f"海报1{character}")) == known()


TEXT = FRIEND.replace("<![CDATA[{state}]]>", "{state}")


@pytest.mark.parametrize(
    ("written", "state"),
    [
        ("a&nbsp;b", "a\u00a0b"),
        ("a & b", "a & b"),
        ("a&b;c", "a&b;c"),
        ("a&#0;b", "ab"),
        ("a&#x1F;b", "ab"),
        ("a&#xFFFE;b", "ab"),
        ("a&#xD83D;&#xDE00;b", "a\U0001f600b"),
        ("a&#55357;b", "ab"),
        ("a&#99999999;b", "ab"),
        ("a&#999999999999;b", "a&#999999999999;b"),
        ("a&amp;lt;b", "a&lt;b"),
        ("&lt;b&gt; &quot;&apos;", "<b> \"'"),
        ("a=1&copy=2", "a=1&copy=2"),
        ("1 < 2", "1 < 2"),
        ("a<!-- never -->b", "ab"),
        ("<![CDATA[a<![CDATA[b]]>c]]>", "a<![CDATA[b]]>c"),
        ("<![CDATA[a]]>b]]>", "a]]>b"),
        ("<![CDATA[a]]]]><![CDATA[>b]]>", "a]]>b"),
        ("<![CDATA[a]]>b", "ab"),
        ("<![CDATA[&amp;<b>]]>", "&amp;<b>"),
        ("", None),
        (" \n ", None),
    ],
)
def test_a_text_is_what_was_meant(written: str, state: str | None) -> None:
    assert added(TEXT.replace("{state}", written)) == known(state)


PLAIN = FRIEND.replace("{state}", "海报1")


@pytest.mark.parametrize(
    "message",
    [
        "\ufeff" + PLAIN,
        "\ufeff\ufeff" + PLAIN,
        '<?xml version="1.0" encoding="GBK"?>' + PLAIN,
        '<?xml version="1.0" encoding="utf-16"?>' + PLAIN,
        '<?xml version="1.0" encoding="no-such"?>' + PLAIN,
        "<?xml version=1.0>" + PLAIN,
        "junk before" + PLAIN + "junk after",
        PLAIN + PLAIN.replace("rm.li", "rm.other"),
        PLAIN.replace("<xml>", "<xml>junk"),
        PLAIN.replace("</ToUserName>", "</ToUserName>junk"),
        PLAIN.replace("</xml>", ""),
        PLAIN.replace("<xml>", "").replace("</xml>", ""),
        PLAIN.replace("</ToUserName>", "").replace("</State>", "").replace("</UserID>", ""),
        PLAIN.replace("</State>", "</state>"),
        PLAIN.replace("</CreateTime>", "</CreateTime></nobody>"),
        PLAIN.replace("<UserID>", "<Remark></xml2><UserID>").replace("</UserID>", "</UserID></Remark2>"),
        PLAIN.replace("<WelcomeCode>", "<UserID>rm.other</UserID><State>other</State><WelcomeCode>"),
        PLAIN.replace("<State>", '<State xml:lang="zh" a=b>'),
        "<!DOCTYPE xml>" + PLAIN,
        '<!DOCTYPE xml [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>' + PLAIN,
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + PLAIN,
        PLAIN[:-13],
    ],
)
def test_what_stands_around_the_values_does_no_harm(message: str) -> None:
    assert added(message) == known()


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    cut = PLAIN.encode().replace("报".encode(), "报".encode()[:2])
    assert added(cut) == known("海\ufffd1")
    overlong = PLAIN.encode().replace("报".encode(), b"\xc0\x80")
    assert added(overlong) == known("海\ufffd\ufffd1")
    halves = PLAIN.encode().replace("报".encode(), b"\xed\xa0\x80")
    assert added(halves)[1:4:2] == ("wmMadeUp0001", "MADEUP")


@pytest.mark.parametrize("name", ["gbk", "GB2312", "gb18030", "big5"])
def test_a_declared_encoding_counts_when_the_bytes_are_in_it(name: str) -> None:
    message = f'<?xml version="1.0" encoding="{name}"?>{PLAIN}'.replace("报", "中")
    assert added(message.encode(name)) == known("海中1")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_wide_characters_show_themselves(encoding: str) -> None:
    assert added(PLAIN.encode(encoding)) == known()


def test_an_entity_is_never_expanded() -> None:
    bombs = '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><xml><Event>e</Event><Remark>&b;</Remark></xml>'
    assert read(bombs.encode()).text("Remark") == "&b;"


def test_what_a_customer_writes_stays_one_text() -> None:
    hostile = "]\x01]></Content><Event>change_contact</Event><FromUserName>x</FromUserName>"
    push = f"<xml><FromUserName>o1</FromUserName><MsgType>text</MsgType><Content><![CDATA[{hostile}]]></Content></xml>"
    fields = read(push.encode())
    assert (fields.text("FromUserName"), fields.text("Event")) == ("o1", "")
    assert fields.text("Content") == hostile.replace("\x01", "")


@pytest.mark.parametrize(
    "message",
    [
        b'{"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000}',
        b'\xef\xbb\xbf{"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000}',
        b'{"FromUserName":"o1","MsgType":"text","Content":"h\x01i","CreateTime":1700000000}',
        b'{"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000,}',
        b'{"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000}}]junk',
        b'{"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000',
        b'{"FromUserName":"o1","MsgType":"text","CreateTime":1700000000,"Content":"hi',
        b"{'FromUserName':'o1','MsgType':'text','Content':'hi','CreateTime':1700000000}",
        b'{FromUserName:"o1" MsgType:"text" Content:"hi" CreateTime:1700000000}',
        b'{"FromUserName":"o1","FromUserName":"o2","MsgType":"text","Content":"hi","CreateTime":1700000000}',
        b'{"a":NaN,"b":-Infinity,"c":null,"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000}',
        b'{"FromUserName":"o1","MsgType":"text","Content":"h\\ud800i","CreateTime":"1700000000"}',
        b'{"FromUserName":"o1","MsgType":"text","Content":"h\\u0000i","CreateTime":"1700000000"}',
        b'{"List":[{"a":1},{"b":[1,2],"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000}',
        '{"FromUserName":"o1","MsgType":"text","Content":"hi","CreateTime":1700000000}'.encode("utf-16"),
    ],
)
def test_a_push_in_json_is_read_however_it_reads(message: bytes) -> None:
    if b"List" in message:
        message = message.replace(b'"b":[1,2],', b'"b":[1,2]}],', 1)
    (event,) = events.parse_push("wx1", message)
    assert isinstance(event, events.CustomerMessage)
    assert (event.openid, event.content, event.create_time is not None) == ("o1", "hi", True)


_words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8)
_trees: st.SearchStrategy[Any] = st.recursive(
    st.one_of(_words, st.integers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["A", "B", "Event"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(content=_words, state=_words)
def test_what_is_well_formed_reads_as_it_says(content: str, state: str) -> None:
    xml = f"<xml><MsgType>text</MsgType><A>{escape(content)}</A><L><I>{escape(state)}</I><I>2</I></L></xml>"
    read_ = read(xml.encode())
    assert (read_.text("A"), read_.child("L").texts("I")) == (
        content.strip(),
        tuple(filter(None, (state.strip(), "2"))),
    )
    in_json = read(json.dumps({"MsgType": "text", "A": content, "L": {"I": [state, 2]}}).encode())
    assert in_json.text("A") == content.strip()
    assert in_json.child("L").texts("I") == read_.child("L").texts("I")


@settings(max_examples=200, deadline=None)
@given(tree=_trees, cut=st.integers(0, 60))
def test_any_json_and_any_part_of_it_is_read_or_refused(tree: Any, cut: int) -> None:
    message = json.dumps({"MsgType": "x", "T": tree}, ensure_ascii=False).encode()
    for each in (message, message[:-cut] if cut else message):
        with contextlib.suppress(EventUnreadable):
            read(each)


LONG = 48 * 1024


@pytest.mark.parametrize(
    "unit",
    [
        "<a>", "<a> ", "<a></b>", "</a>", "<![CDATA[", "<![CDATA[</", "<!--", "<!", "<!DOCTYPE [", "<?", "<", "&", "&#", "]]>",
        "<a>x", "<a/>", "<a><b>x</a>", "&a;", "[", "]", "{", "}", '"', "\\", "'", ',', '{"a":', '[1,', '{"a":[', '"a"}',
        "<a b='", "x", "\ufeff", " ",
    ],
)  # fmt: skip
def test_reading_takes_time_in_proportion_to_the_length(unit: str) -> None:
    for head in ("<xml>", '{"x":'):
        message = (head + unit * (LONG // len(unit))).encode()
        began = time.process_time()
        with contextlib.suppress(EventUnreadable):
            read(message)
        assert time.process_time() - began < 1.0
