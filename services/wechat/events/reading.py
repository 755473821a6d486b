"""Reading what the platforms sent, however it reads.

A message that carries the platform's signature is read leniently: what was meant counts, and what
no text may hold is left out. One pass over the text, which is linear in its length; nothing is ever
expanded, since a document type and its entities are dropped. What is well-formed reads as XML and
JSON say.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html.entities import html5

from services.wechat.core.errors import EventUnreadable
from services.wechat.events.fields import Fields

Value = str | Fields
Values = list[tuple[str, Value]]

DEEPEST = 9
"""What is nested deeper is left out."""
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_WIDE = ((b"<\0", "utf-16-le"), (b"{\0", "utf-16-le"), (b"\0<", "utf-16-be"), (b"\0{", "utf-16-be"))
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']?([A-Za-z0-9_.-]{1,40})""")
_ENCODINGS = {
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "windows-1252": "cp1252",
}
_BEGINS = re.compile(r"[<{]")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TAG = re.compile(r"<(/?)([^\W\d][^\s<>/]*+)[^<>]*+>")
_CUT = re.compile(r"</?[^\s<>/]*\Z")
_REFERENCE = re.compile(r"&(?:#([0-9]{1,8})|#[xX]([0-9a-fA-F]{1,8})|([A-Za-z][A-Za-z0-9]{1,31}));")
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_TOKEN = re.compile(
    r"""([\[{])|([\]}])|(,)|("[^"\\]*(?:\\.[^"\\]*)*"?|'[^'\\]*(?:\\.[^'\\]*)*'?)|([^\s\[\]{}:,"']+)""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def read(message: bytes) -> Fields:
    """A message in XML or JSON, whichever it begins with.

    Raises EventUnreadable `event_not_xml` when it has no element, `event_not_json` when its object
    has no member.
    """
    text = decode(message)
    begins = _BEGINS.search(text)
    if begins and begins[0] == "{":
        return _read_json(text, begins.start())
    return _read_xml(text)


def decode(message: bytes) -> str:
    """The text: UTF-8 unless the bytes are none, and say or show that they are something else. What
    cannot be decoded is U+FFFD."""
    for bom, encoding in _BOMS:
        if message.startswith(bom):
            return message[len(bom) :].decode(encoding, "replace").lstrip("\ufeff")
    for start, encoding in _WIDE:
        if message.startswith(start):
            return message.decode(encoding, "replace")
    try:
        return message.decode()
    except UnicodeDecodeError:
        return _as_declared(message) or message.decode("utf-8", "replace")


def _as_declared(message: bytes) -> str:
    """The text in the encoding that the XML declaration names; empty when it is none of ours, or the
    bytes are not in it."""
    named = _DECLARED.search(message, 0, 512)
    encoding = _ENCODINGS.get(named[1].decode().lower()) if named else None
    if encoding is None:
        return ""
    try:
        return message.decode(encoding)
    except UnicodeDecodeError:
        return ""


def clean(text: str) -> str:
    """The text without what no text may hold: control characters, halves of a surrogate pair,
    U+FFFE and U+FFFF. Two halves that belong together are their character."""
    if not _FORBIDDEN.search(text):
        return text
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return _FORBIDDEN.sub("", paired)


@dataclass(slots=True)
class _Element:
    """An open element; `said` when its text is more than space."""

    name: str
    texts: list[str] = field(default_factory=list)
    values: Values = field(default_factory=list)
    said: bool = False

    @property
    def text(self) -> str:
        return clean("".join(self.texts)).strip()

    def say(self, text: str) -> None:
        if text:
            self.texts.append(text)
            self.said = self.said or not text.isspace()


class _Tree:
    """The elements that are open. An element has a text or others in it, never both."""

    def __init__(self) -> None:
        self.stack = [_Element("")]
        self.open: Counter[str] = Counter()
        self.cut = False
        """Whether no section ends any more."""

    def begin(self, name: str) -> None:
        top = self.stack[-1]
        if len(self.stack) > 2 and not top.values and top.said:
            self._leave()  # its end is missing: what has a text has no elements
        if len(self.stack) <= DEEPEST:
            self.stack.append(_Element(name))
            self.open[name] += 1

    def empty(self, name: str) -> None:
        self.stack[-1].values.append((name, ""))

    def end(self, name: str) -> None:
        """Ends the element, and before it those in it whose own end is missing: what seemed to be
        in them stands beside them. An end without a beginning is nothing."""
        if not self.open[name]:
            return
        while self.stack[-1].name != name:
            self._leave()
        element = self._pop()
        value: Value = Fields(element.values) if element.values else element.text
        self.stack[-1].values.append((name, value))

    def _leave(self) -> None:
        element = self._pop()
        self.stack[-1].values.append((element.name, element.text))
        self.stack[-1].values += element.values

    def _pop(self) -> _Element:
        element = self.stack.pop()
        self.open[element.name] -= 1
        return element

    def finish(self) -> Values:
        while len(self.stack) > 1:
            self.end(self.stack[-1].name)
        return self.stack[0].values


def _read_xml(text: str) -> Fields:
    """The root's children, or what stands there without a root."""
    tree, at = _Tree(), 0
    while (start := text.find("<", at)) >= 0:
        tree.stack[-1].say(_resolved(text[at:start]))
        at = _read_markup(tree, text, start)
    tree.stack[-1].say(_resolved(text[at:]))
    found = tree.finish()
    if not found:
        raise EventUnreadable("event_not_xml", "the message is not XML")
    flat = Fields(found)
    roots = [value for _, value in found if isinstance(value, Fields)]
    told = [each for each in (*roots, flat) if "Event" in each or "MsgType" in each]
    return (told or roots or [flat])[0]


def _read_markup(tree: _Tree, text: str, start: int) -> int:
    """Takes what begins with the `<` at `start`; where it ends."""
    if text.startswith(_CDATA, start):
        return _read_cdata(tree, text, start + len(_CDATA))
    if text.startswith(("<!", "<?"), start):
        return _after_declaration(text, start)
    tag = _TAG.match(text, start)
    if tag is None:
        if _CUT.match(text, start):
            return len(text)
        tree.stack[-1].say("<")
        return start + 1
    ends, name = tag[1], clean(tag[2])
    if ends:
        tree.end(name)
    elif tag[0].endswith("/>"):
        tree.empty(name)
    else:
        tree.begin(name)
    return tag.end()


def _read_cdata(tree: _Tree, text: str, start: int) -> int:
    """A section ends with the last `]]>` before the next tag: who wrote another into it did not
    split it. Without any it ends with its element."""
    end = -1 if tree.cut else text.find(_CDATA_END, start)
    if end < 0:
        tree.cut = True
        end = text.find(f"</{tree.stack[-1].name}", start)
        end = len(text) if end < 0 else end
        tree.stack[-1].say(text[start:end])
        return end
    tag = text.find("<", end)
    end = text.rfind(_CDATA_END, end, tag if tag >= 0 else len(text))
    tree.stack[-1].say(text[start:end])
    return end + len(_CDATA_END)


def _after_declaration(text: str, start: int) -> int:
    """Where a comment, an instruction or a document type ends, which say nothing."""
    if text.startswith("<!--", start):
        return _after(text, "-->", start)
    end = _after(text, ">", start)
    subset = text.find("[", start, end)
    return end if subset < 0 else _after(text, ">", _after(text, "]", subset))


def _after(text: str, needle: str, start: int) -> int:
    end = text.find(needle, start)
    return len(text) if end < 0 else end + len(needle)


def _resolved(text: str) -> str:
    """The text with its references resolved; what is no reference stays as it is."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name:
        return html5.get(f"{name};", found[0])
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if number <= 0x10FFFF else ""


@dataclass(slots=True)
class _Container:
    """An open object or list: `values` have the names of their members, in a list none."""

    opened_by: str
    values: Values = field(default_factory=list)
    name: str | None = None

    def take(self, value: Value) -> None:
        if self.opened_by == "[":
            self.values.append(("", value))
        elif self.name is not None:
            self.values.append((self.name, value))
            self.name = None
        elif isinstance(value, str):
            self.name = value


def _read_json(text: str, start: int) -> Fields:
    """The members of the object that begins at `start`; what follows it is left out."""
    stack: list[_Container] = []
    for token in _TOKEN.finditer(text, start):
        opens, closes, comma, quoted, word = token.groups()
        if opens:
            stack.append(_Container(opens))
        elif closes:
            if _closed(stack, closes):
                break
        elif comma:
            stack[-1].name = None
        elif quoted:
            stack[-1].take(_unquoted(quoted))
        elif word != "null" or stack[-1].name is None:
            stack[-1].take(clean(word))
        else:
            stack[-1].name = None
    while len(stack) > 1:
        _close(stack)
    found = Fields(stack[0].values)
    if not found:
        raise EventUnreadable("event_not_json", "the message is not JSON")
    return found


def _closed(stack: list[_Container], closes: str) -> bool:
    """Closes what `closes` is the end of, and what is open in it; whether that was the whole
    object."""
    wanted = "{" if closes == "}" else "["
    if wanted == "[" and stack[-1].opened_by != "[":
        if len(stack) < 3 or stack[-2].opened_by != "[":
            return False
        _close(stack)  # the object's own end is missing
    while stack[-1].opened_by != wanted:
        _close(stack)
    if len(stack) == 1:
        return True
    _close(stack)
    return False


def _close(stack: list[_Container]) -> None:
    """Gives what was collected to what is around it: a list's items under the list's name."""
    inner, outer = stack.pop(), stack[-1]
    if len(stack) >= DEEPEST:
        outer.name = None
    elif inner.opened_by == "{":
        outer.take(Fields(inner.values))
    else:
        _give_items(inner, outer)


def _give_items(items: _Container, outer: _Container) -> None:
    name = outer.name
    for _, item in items.values:
        outer.name = name
        if outer.opened_by == "[" or name is not None:
            outer.take(item)
    outer.name = None


def _unquoted(quoted: str) -> str:
    inner = quoted[1:-1] if len(quoted) > 1 and quoted.endswith(quoted[0]) else quoted[1:]
    if "\\" in inner:
        inner = _ESCAPE.sub(_unescaped, inner)
    return clean(inner).strip()


def _unescaped(found: re.Match[str]) -> str:
    code, letter = found.groups()
    return chr(int(code, 16)) if code else _ESCAPED.get(letter, letter)
