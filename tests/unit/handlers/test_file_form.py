"""Forms with a file, as they come in piece by piece."""

from __future__ import annotations

import pytest

from handlers.http.files import FIELDS_BYTES, FileForm
from services.errors import InvalidInput

TYPE = "multipart/form-data; boundary=x"
FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
DATA = b"AB\r\n-\r\n--\r\n--y\r\n" * 50


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_it_reads_the_same_however_it_comes_in(step: int) -> None:
    body = FIELD + FILE + DATA + b"\r\n--x--\r\n"
    form = FileForm(TYPE, "file")
    pieces = [piece for at in range(0, len(body), step) for piece in form.feed(body[at : at + step])]
    assert [(one.kind, one.name) for one in pieces if one.kind != "data"] == [("field", "a"), ("file", "a.csv")]
    assert pieces[0].data == b"1"
    assert b"".join(one.data for one in pieces if one.kind == "data") == DATA
    assert form.is_over


def test_a_form_that_breaks_off_is_not_over() -> None:
    form = FileForm(TYPE, "file")
    assert len(list(form.feed(FIELD + FILE + DATA))) > 1
    assert form.has_file
    assert not form.is_over


@pytest.mark.parametrize(
    "body",
    [
        b"--x\r\nX: y\r\n\r\nno name\r\n--x--\r\n",
        b"--x?" + FIELD,
        FILE.replace(b'"file"', b'"other"') + b"a\r\n--x--\r\n",
        FILE + b"a\r\n" + FILE + b"b\r\n--x--\r\n",
        FIELD.replace(b"1", b"1" * (FIELDS_BYTES + 1)) + b"--x--\r\n",
        b"--x\r\n" + b"a" * 10_000,
    ],
)
def test_what_is_no_such_form_is_refused(body: bytes) -> None:
    form = FileForm(TYPE, "file")
    with pytest.raises(InvalidInput, match="invalid_body"):
        list(form.feed(body))


@pytest.mark.parametrize("kind", ["", "multipart/form-data", "multipart/mixed; boundary=x", "text/csv"])
def test_another_type_is_refused(kind: str) -> None:
    with pytest.raises(InvalidInput, match="invalid_body"):
        FileForm(kind, "file")
