"""A page's form as its sender filled it: values, ticks, choices and texts put back into the HTML that
a template made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser

from typing_extensions import override

from handlers.http.kept_forms import TOKENS, Sent

Attributes = Sequence[tuple[str, str | None]]
_PLAIN = frozenset({"hidden", "password", "file", "submit", "button", "image", "reset"})
_TICKS = frozenset({"checkbox", "radio"})
_TEXTS = ("text", "reason", "message", "words", "description", "remark")
"""Fields with a person's own words, which must not be lost even when their form is gone."""


_ANEW = TOKENS | {"key", "over", "seen", "confirmed"}
"""What a page says anew each time: another value of it makes no other form."""
_BEGUN = frozenset({"base"})
"""What a form began with: it stays with what was written, whatever the page begins with now."""


@dataclass
class _Found:
    """A form of the page: what it sends whatever is filled in, and the names of what can be."""

    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def fits(self, form: Sent) -> bool:
        """Whether `form` was this one: same address, same hidden values, no field that is not
        here."""
        sent = form.fields.keys() - _ANEW
        same = all(
            value in form.fields.get(name, [value])
            for name, value in self.hidden.items()
            if name not in _ANEW | _BEGUN
        )
        return self.action == form.action and same and sent <= self.names | self.hidden.keys()


def refill(html: str, form: Sent) -> str | None:
    """`html` with the form filled in as it was sent; None when the page does not have it."""
    finder = _Finder()
    finder.feed(html)
    finder.close()
    for number, found in enumerate(finder.forms):
        if found.fits(form):
            writer = _Writer(number, form.fields)
            writer.feed(html)
            writer.close()
            return "".join(writer.written)
    return None


def own_words(form: Sent) -> list[str]:
    """What its sender wrote himself."""
    return [value for name in _TEXTS for value in form.fields.get(name, []) if value.strip()]


class _Finder(HTMLParser):
    """Lists the forms of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[_Found] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append(_Found(given.get("action") or ""))
        elif tag in ("input", "select", "textarea", "button") and self.forms:
            name = given.get("name")
            if not name:
                return
            if given.get("type") == "hidden":
                self.forms[-1].hidden[name] = given.get("value") or ""
            else:
                self.forms[-1].names.add(name)


class _Writer(HTMLParser):
    """Copies a page, and fills in its form of that number."""

    def __init__(self, number: int, fields: Mapping[str, list[str]]) -> None:
        super().__init__(convert_charrefs=False)
        self.written: list[str] = []
        self._left = number
        self._fields = fields
        self._inside = False
        self._select = ""
        self._skipping = False

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "form":
            self._inside = self._left == 0
            self._left -= 1
        self.written.append(self._tag(tag, attrs) if self._inside else self._source())

    @override
    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.written.append(self._tag(tag, attrs) if self._inside else self._source())

    def _source(self) -> str:
        return self.get_starttag_text() or ""

    def _tag(self, tag: str, attrs: Attributes) -> str:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "input" and (name in _BEGUN or given.get("type", "text") not in _PLAIN):
            return self._input(name, given)
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select in self._fields:
            return self._option(given)
        elif tag == "textarea" and name in self._fields:
            self._skipping = True
            return f"{self._source()}\n{escape(self._fields[name][0])}"
        return self._source()

    def _input(self, name: str, given: dict[str, str | None]) -> str:
        values = self._fields.get(name)
        if given.get("type") in _TICKS:
            given.pop("checked", None)
            if values is not None and (given.get("value") or "on") in values:
                given["checked"] = None
        elif values is not None:
            given["value"] = values[0]
        return _written("input", given)

    def _option(self, given: dict[str, str | None]) -> str:
        given.pop("selected", None)
        if (given.get("value") or "") in self._fields[self._select]:
            given["selected"] = None
        return _written("option", given)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._skipping = False
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._inside = False
        self.written.append(f"</{tag}>")

    @override
    def handle_data(self, data: str) -> None:
        self._copy(data)

    @override
    def handle_entityref(self, name: str) -> None:
        self._copy(f"&{name};")

    @override
    def handle_charref(self, name: str) -> None:
        self._copy(f"&#{name};")

    @override
    def handle_comment(self, data: str) -> None:
        self._copy(f"<!--{data}-->")

    @override
    def handle_decl(self, decl: str) -> None:
        self._copy(f"<!{decl}>")

    def _copy(self, text: str) -> None:
        if not self._skipping:
            self.written.append(text)


def _written(tag: str, given: Mapping[str, str | None]) -> str:
    parts = [
        name if value is None else f'{name}="{escape(value)}"' for name, value in given.items()
    ]
    return f"<{' '.join([tag, *parts])}>"
