from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.logging import JsonFormatter, bind, mask, setup_logging

PHONE = "13800138000"
ID_CARD = "11010519491231002X"
BANK_CARD = "6222021234567890123"
OPENID = "oGZUI0egBJY1zhBYw2KhdUfwVJJE"
OPENID_DASH = "oGZUI0egBJY1zhBYw2KhdUfwVJ--"
UNIONID = "ocMvos6NjeKLIBqg5Mr9QjxrP1FA"
LONG_UNIONID = "ocMvos6NjeKLIBqg5Mr9QjxrP1FA7"
EXTERNAL = "wmqfasd1e19278asdasdAAAAAbbbbb12"
SECRET = "canary_0123456789-abcdefghij"


def line(message: str, *args: object, exc_info: Any = None, **fields: Any) -> str:
    record = logging.LogRecord("test", logging.INFO, __file__, 1, message, args, exc_info)
    record.fields = fields
    return JsonFormatter().format(record)


def test_a_line_is_one_json_object_with_what_was_logged() -> None:
    read = json.loads(line("took %d rows\nand went on", 3, tenant="demo", rows=3))
    assert read.pop("at").endswith("+00:00")
    assert read == {
        "level": "info",
        "logger": "test",
        "message": "took 3 rows\nand went on",
        "tenant": "demo",
        "rows": 3,
    }


def test_an_error_is_logged_with_its_trace() -> None:
    try:
        raise RuntimeError(f"could not call {PHONE}")
    except RuntimeError as error:
        text = line("failed", exc_info=(type(error), error, error.__traceback__))
    read = json.loads(text)
    assert "RuntimeError: could not call 138****8000" in read["error"]
    assert PHONE not in text


async def test_the_request_id_is_on_every_line_of_its_task_and_on_no_other() -> None:
    seen: dict[str, list[Any]] = {}

    async def request(name: str) -> None:
        with bind(request_id=name):
            seen[name] = [json.loads(line("a")).get("request_id")]
            await asyncio.sleep(0)
            with bind(event="e1"):
                inner = json.loads(line("b"))
            seen[name] += [inner["request_id"], inner["event"], json.loads(line("c")).get("event")]

    await asyncio.gather(request("r1"), request("r2"))
    assert seen == {"r1": ["r1", "r1", "e1", None], "r2": ["r2", "r2", "e1", None]}
    assert "request_id" not in json.loads(line("outside"))


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (PHONE, f"phone {PHONE}."),
        (PHONE, f"tel:{PHONE}x"),
        (PHONE, f"+86{PHONE}"),
        (PHONE, f"86{PHONE}"),
        (PHONE, f"+86 {PHONE}"),
        (PHONE, f"0086{PHONE}"),
        ("138 0013 8000", "tel 138 0013 8000."),
        ("138-0013-8000", "138-0013-8000"),
        ("4915123456700", "phone +4915123456700"),
        ("51234567", "+85251234567"),
        ("51234567", "+852 51234567"),
        ("1234 5678", "+852 1234 5678"),
        (ID_CARD, f"id {ID_CARD}"),
        (ID_CARD, f"身份证{ID_CARD}号"),
        (ID_CARD.lower(), ID_CARD.lower()),
        (BANK_CARD, f"card {BANK_CARD} used"),
        (BANK_CARD[:16], f"card {BANK_CARD[:16]} used"),
        (OPENID, f"user {OPENID} came"),
        (OPENID_DASH, f'openid "{OPENID_DASH}" came'),
        (UNIONID, f"({UNIONID})"),
        (LONG_UNIONID, f"({LONG_UNIONID})"),
        (EXTERNAL, f"external_userid={EXTERNAL}"),
        (EXTERNAL.replace("wm", "wo"), EXTERNAL.replace("wm", "wo")),
        (SECRET, f"https://api.weixin.qq.com/cgi-bin/x?access_token={SECRET}&a=1"),
        (SECRET, f"GET /cgi-bin/gettoken?corpid=ww1&corpsecret={SECRET}"),
        (SECRET, f"/sns/jscode2session?appid=wx1&secret={SECRET}&js_code=1"),
        (SECRET, f"/sns/jscode2session?js_code={SECRET}"),
        (SECRET, f"/sidebar/back?code={SECRET}&state=1"),
        (SECRET, f"session_key={SECRET}"),
        (SECRET, f'{{"access_token":"{SECRET}"}}'),
        (SECRET, f'{{"session_key": "{SECRET}"}}'),
        (SECRET, f'{{"welcome_code" : "{SECRET}"}}'),
        (SECRET, str({"access_token": SECRET})),
        (SECRET, str({"password": SECRET, "a": 1})),
    ],
)
def test_no_canary_reaches_a_line(secret: str, text: str) -> None:
    """Wherever it stands: in the message, an argument, a field, a field of a field, or an error's text."""
    try:
        raise ValueError(text)
    except ValueError as error:
        trace = (type(error), error, error.__traceback__)
    for written in (
        line(text),
        line("got %s", text),
        line("got %r", {"body": text}),
        line("got", body=text),
        line("got", body={"deep": [text]}),
        line("got", exc_info=trace),
    ):
        json.loads(written)
        assert secret not in written, written
    with bind(who=text):
        assert secret not in line("bound")


@pytest.mark.parametrize(
    "name", ["access_token", "secret", "session_key", "password", "token", "welcome_code", "phone_number"]
)
def test_a_field_whose_name_says_secret_is_masked(name: str) -> None:
    assert json.loads(line("got", **{name: SECRET}))[name] == "***"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:48:15.422+00:00",
        "demo:0cc2ba61d18c652556c53ceb3a002e0c",
        "errcode=40001",
        "status_code=503",
        "1763808495",
        "1763808495422",
        "127.0.0.1:21000",
        "branch-q1.sz-futian",
        "wx5ab0000000000001",
        "organisation of the operations",
    ],
)
def test_what_an_operator_needs_is_left_readable(text: str) -> None:
    assert mask(text) == text


def test_a_masked_value_can_still_be_told_apart() -> None:
    assert mask(PHONE) == "138****8000"
    assert mask(ID_CARD) == "1101**********002X"
    assert mask(BANK_CARD) == "6222********0123"


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**22), 10**22)
    | st.sampled_from([13800138000, 6222021234567890, 1763808495422000000])
    | st.text(max_size=20)
    | st.sampled_from(['"token=abc"', f'{{"password": "{SECRET}"}}', "code=\\", PHONE, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(message=st.text(max_size=60) | st.sampled_from(['got "token=abc" from', "secret=\\"]), value=_values)
def test_every_line_is_json_whatever_was_logged(message: str, value: object) -> None:
    read = json.loads(line(message, value=value))
    assert {"at", "level", "logger", "message"} <= read.keys()


@pytest.fixture
def _root() -> Iterator[None]:
    root = logging.getLogger()
    kept = (root.handlers[:], root.level)
    levels = {name: logging.getLogger(name).level for name in ("httpx", "httpcore", "pymongo", "kombu", "amqp")}
    yield
    root.handlers[:], level = kept
    root.setLevel(level)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("_root")
def test_every_logger_of_the_process_goes_through_the_mask(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO")
    logging.getLogger("some.library").warning("calling %s", PHONE)
    logging.getLogger("httpx").info("GET https://x/?access_token=%s", SECRET)
    logging.getLogger("ours").debug("not at this level")
    out, err = capsys.readouterr()
    (read,) = [json.loads(text) for text in err.splitlines()]
    assert out == ""
    assert (read["logger"], read["level"], read["message"]) == ("some.library", "warning", "calling 138****8000")
