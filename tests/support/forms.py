"""The forms of a page, as a browser has them: what each sends as it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from typing_extensions import override


@dataclass
class PageForm:
    """One form: its address, its hidden values, its texts, its chosen choices and all choices."""

    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, list[str]] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)

    def sent(self) -> dict[str, str | list[str]]:
        """What the form sends as it stands."""
        return {**self.hidden, **self.texts, **self.chosen}

    def filled(self, text: str) -> dict[str, str | list[str]]:
        """What it sends with `text` in every text and the last of every choice, ticks too."""
        last = {name: [values[-1]] for name, values in self.choices.items()}
        return {**self.hidden, **dict.fromkeys(self.texts, text), **last}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[PageForm] = []
        self._inside = False
        self._select = self._textarea = ""

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value, kind = given.get("name") or "", given.get("value") or "", given.get("type") or "text"
        if tag == "form":
            self.forms.append(PageForm(given.get("action") or ""))
            self._inside = True
        elif not self._inside:
            return
        form = self.forms[-1]
        if tag == "input":
            _input(form, name, value, kind, "checked" in given)
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            form.choices.setdefault(self._select, []).append(value)
            if "selected" in given or self._select not in form.chosen:
                form.chosen[self._select] = [value]
        elif tag == "textarea":
            self._textarea = name
            form.texts[name] = ""

    @override
    def handle_data(self, data: str) -> None:
        if self._textarea and self._inside:
            self.forms[-1].texts[self._textarea] += data

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            form = self.forms[-1]
            form.texts[self._textarea] = form.texts[self._textarea].removeprefix("\n")
            self._textarea = ""
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._inside = False


def _input(form: PageForm, name: str, value: str, kind: str, checked: bool) -> None:
    if kind == "hidden":
        form.hidden[name] = value
    elif kind in ("checkbox", "radio"):
        form.choices.setdefault(name, []).append(value)
        if checked:
            form.chosen.setdefault(name, []).append(value)
    else:
        form.texts[name] = value


def forms_of(page: str) -> list[PageForm]:
    """The forms of a page in their order."""
    reader = _Reader()
    reader.feed(page)
    return reader.forms


def like(page: str, sent: PageForm) -> PageForm | None:
    """The form of `page` with the address and the hidden values of `sent`, tokens and keys apart."""
    passing = {"_xsrf", "_for", "key"}
    fixed = {name: value for name, value in sent.hidden.items() if name not in passing}
    for form in forms_of(page):
        if form.action == sent.action and fixed.items() <= form.hidden.items():
            return form
    return None
