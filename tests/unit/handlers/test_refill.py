"""A form comes back as it was sent: values, ticks, choices and texts, in the page that a template made."""

from __future__ import annotations

import pytest

from handlers.http.kept_forms import Sent
from handlers.http.pages import own_path
from handlers.http.refill import own_words, refill

PAGE = """<!DOCTYPE html><html><body><!-- note --><p>a &amp; b &#39;c&#39;</p>
<form action="/one" method="post"><input type="hidden" name="_xsrf" value="x"><input type="hidden" name="row" value="1">
<input name="reason" value=""><button>Go</button></form>
<form action="/one" method="post"><input type="hidden" name="_xsrf" value="x"><input type="hidden" name="row" value="2">
<input name="reason" value="old" required><input type="password" name="secret"><br/>
<select name="taker"><option value="a">A</option><option value="b" selected>B</option></select>
<label><input type="radio" name="which" value="all" checked> all</label>
<label><input type="radio" name="which" value="chosen"> some</label>
<input type="checkbox" name="cid" value="1" checked><input type="checkbox" name="cid" value="2">
<textarea name="text">
old &lt;b&gt;</textarea></form></body></html>"""


def test_everything_that_was_filled_in_comes_back_in_its_own_form_and_nothing_else_changes() -> None:
    fields = {
        "row": ["2"],
        "reason": ['say "why" & <i>'],
        "taker": ["a"],
        "which": ["chosen"],
        "cid": ["2"],
        "text": ["\n第一行 </textarea><script>\nzwei"],
        "secret": ["s3cret"],
    }
    page = refill(PAGE, Sent("/one", fields))
    assert page is not None
    before, after = PAGE.split('<input type="hidden" name="row" value="2">')
    assert page.startswith(before)
    assert 'value="say &quot;why&quot; &amp; &lt;i&gt;"' in page
    assert '<option value="a" selected>A</option><option value="b">B</option>' in page
    assert '<input type="radio" name="which" value="all"> all' in page
    assert '<input type="radio" name="which" value="chosen" checked>' in page
    assert '<input type="checkbox" name="cid" value="1"><input type="checkbox" name="cid" value="2" checked>' in page
    assert "\n\n第一行 &lt;/textarea&gt;&lt;script&gt;\nzwei</textarea>" in page
    assert "old &lt;b&gt;" not in page
    assert "s3cret" not in page
    assert page.endswith(after[-30:])


def test_a_form_without_ticks_comes_back_without_ticks() -> None:
    page = refill(PAGE, Sent("/one", {"row": ["2"], "which": ["chosen"], "reason": [""], "text": [""]}))
    assert page is not None
    assert '<input type="checkbox" name="cid" value="1"><input' in page


@pytest.mark.parametrize(
    "form",
    [
        Sent("/two", {"reason": ["x"]}),
        Sent("/one", {"row": ["3"], "reason": ["x"]}),
        Sent("/one", {"row": ["1"], "reason": ["x"], "more": ["y"]}),
    ],
)
def test_a_form_that_is_not_on_the_page_is_put_nowhere(form: Sent) -> None:
    assert refill(PAGE, form) is None
    assert own_words(form) == ["x"]


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/console/",
        "//evil.example/console/",
        "/\\evil.example",
        "/console/..//evil.example",
        "/console/%2e%2e/preview",
        "/console//evil.example",
        "/console/\\evil",
        "/console/\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/preview/x/",
        "console/",
        "/consoleevil",
        "http://[",
        "",
    ],
)
def test_nobody_is_sent_to_an_address_that_is_not_ours(wanted: str) -> None:
    assert own_path(wanted, "/console/") == "/console/"


@pytest.mark.parametrize(
    "wanted", ["/console/campaigns/a?x=1&y=%20b", "/console/", "/console/handover/new?mode=onjob&giver=rm.li"]
)
def test_an_address_of_ours_is_remembered_as_it_is(wanted: str) -> None:
    assert own_path(wanted, "/console/") == wanted
