"""Templates keep to the content security policy: no code and no style inside a page (contract/trust 3.1)."""

from __future__ import annotations

import re

import pytest
from tornado.template import Loader

from deploy.processes import ROOT

WEB = ROOT / "web"
TEMPLATES = sorted(path.relative_to(WEB / "templates").as_posix() for path in (WEB / "templates").rglob("*.html"))
FORBIDDEN = {
    "an inline script": r"<script(?![^>]*\ssrc=)",
    "an inline style": r"<style|\sstyle\s*=",
    "an event attribute": r"\son[a-z]+\s*=",
    "hx-on": r"hx-on",
    "hx-vars": r"hx-vars",
    "a script address": r"(?:java)?script:|[\"']js:",
    "a trigger filter": r"hx-trigger\s*=\s*[\"'][^\"']*\[",
    "something from elsewhere": r"(?:src|href)\s*=\s*[\"'](?:https?:)?//",
    "an unescaped value": r"\{%\s*raw",
}


def test_there_are_templates() -> None:
    assert len(TEMPLATES) >= 19


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_parses_and_holds_no_inline_code(name: str) -> None:
    text = (WEB / "templates" / name).read_text(encoding="utf-8")
    assert [what for what, pattern in FORBIDDEN.items() if re.search(pattern, text)] == []
    Loader(str(WEB / "templates")).load(name)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_post_form_carries_the_anti_forgery_token(name: str) -> None:
    text = (WEB / "templates" / name).read_text(encoding="utf-8")
    forms = re.findall(r'<form[^>]*method="post".*?</form>', text, re.DOTALL)
    assert len(forms) == text.count("<form") - len(re.findall(r'<form[^>]*method="get"', text))
    assert [form for form in forms if "{% module xsrf_form_html() %}" not in form] == []
