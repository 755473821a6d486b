"""How much of anything that comes from outside is taken: one table for bodies, forms, addresses,
files and the command line.

A model says what it takes with the types below, and never with a plain `str`, `int`, `list` or
`dict`: `tests/unit/handlers/test_bounds.py` walks every model and fails for one that has no end.
Texts hold no control characters besides tab and line ends: no page shows them, MongoDB takes no NUL
in a key, and XML no U+FFFE or U+FFFF. Lengths are characters.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

Item = TypeVar("Item")
Key = TypeVar("Key")

KIB = 1024
BODY_BYTES = 64 * KIB
"""A form or a JSON body, unless its route says more."""
DOCUMENT_BYTES = 64 * KIB
"""A campaign file, in UTF-8."""
DOCUMENT_FORM_BYTES = 3 * DOCUMENT_BYTES + 4 * KIB
"""The same in a form, where a byte may take three."""
LISTS_FORM_BYTES = 512 * KIB
"""A form of many words, or of many ticked boxes."""
CLAIM_BYTES = 4 * KIB
INTAKE_BYTES = 1024 * KIB
"""What a system of the bank's sends at once."""
INTAKE_LINE_BYTES = 16 * KIB
"""One line of a file of such."""
CALLBACK_BYTES = 1024 * KIB
"""What a platform pushes."""
TENANT_BYTES = 1024 * KIB
"""A tenant file."""
NUMBERS_BYTES = 64 * KIB * KIB
"""A file of customer numbers, one a line."""
CODES_BYTES = 64 * KIB * KIB
"""A file of codes for a pool."""
CODES_FORM_BYTES = CODES_BYTES + 64 * KIB
"""The same in a form of its own kind."""
LIST_BYTES = 8 * KIB * KIB
"""A file of customers for a list: half a million phones."""
LIST_FORM_BYTES = LIST_BYTES + 64 * KIB
"""The same in a form of its own kind."""
WORKBOOK_BYTES = 1024 * KIB * KIB
"""What a spreadsheet may be, unpacked."""
SHEET_BYTES = 2 * KIB * KIB * KIB
"""The memory of the process that reads it."""
SHEET_SECONDS = 60.0
"""How long that process may take."""
MOST_LINES = 1_048_576
"""Lines of a file of codes: as many as a sheet has."""
LINE_BYTES = 4 * KIB
"""One line of such a file."""
ADDRESS_BYTES = 4 * KIB
"""A path with its query."""
HEADER_BYTES = 16 * KIB
"""A request's line and headers."""
FORM_FIELDS = 200
"""Fields of a form or a query, unless its route says more."""
LISTS_FORM_FIELDS = 10_000

MOST_INTEGER = 2**63 - 1
"""What MongoDB keeps as a whole number."""
MOST_FEN = 10**13
"""A hundred billion yuan."""
MOST_SECONDS = 10 * 365 * 86_400
MOST_ENTRIES = 100
"""Entries of a mapping or a list, unless a type says more."""
MOST_STAFF = 20_000
MOST_DEPARTMENTS = 5_000

ID_LENGTH = 128
KEY_LENGTH = 255
"""An Idempotency-Key."""
REASON_LENGTH = 500
PASSWORD_LENGTH = 256

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """`text`, if it holds neither control characters nor halves of a character; raises
    ValueError."""
    if _CONTROL.search(text):
        raise ValueError("holds characters that cannot be shown")
    return text


_Clean = AfterValidator(clean)

Word = Annotated[str, Field(max_length=64), _Clean]
"""A name, a choice, a day: what stands in one field of a form."""
Name = Annotated[str, Field(min_length=1, max_length=64), _Clean]
Address = Annotated[str, Field(max_length=ADDRESS_BYTES), _Clean]
"""An address of ours."""
ShortText = Annotated[str, Field(max_length=200), _Clean]
Reason = Annotated[str, Field(max_length=REASON_LENGTH), _Clean]
GivenReason = Annotated[str, Field(min_length=1, max_length=REASON_LENGTH), _Clean]
Text = Annotated[str, Field(max_length=2_000), _Clean]
LongText = Annotated[str, Field(max_length=20_000), _Clean]
Document = Annotated[str, Field(max_length=DOCUMENT_BYTES), _Clean]
"""A campaign file; its bytes are counted where it is read."""
RuleText = Annotated[str, Field(max_length=300_000), _Clean]
"""A rule: room for the longest lists."""
LongRule = Annotated[str, Field(max_length=LISTS_FORM_BYTES), _Clean]
"""A rule as a form has it: what is too long for a rule is told at its field, and nothing is lost."""
ShipperFile = Annotated[str, Field(max_length=LISTS_FORM_BYTES), _Clean]
"""The numbers of a batch's parcels, one a line."""
Password = Annotated[str, Field(max_length=PASSWORD_LENGTH)]
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=KEY_LENGTH), _Clean]
Secret = Annotated[str, Field(min_length=1, max_length=256), _Clean]
Pem = Annotated[str, Field(min_length=1, max_length=8 * KIB), _Clean]
WebAddress = Annotated[
    str, Field(max_length=2_000, pattern=r"^https?://[^\s/?#@\\]+(?:[/?#][^\s]*)?$"), _Clean
]

Whole = Annotated[int, Field(ge=-MOST_INTEGER - 1, le=MOST_INTEGER)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Some = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""A count that is not nothing."""
PerDay = Annotated[int, Field(ge=1, le=1_000_000)]
"""How often a day."""
Fen = Annotated[int, Field(ge=0, le=MOST_FEN)]
Seconds = Annotated[int, Field(ge=0, le=MOST_SECONDS)]
DepartmentId = Annotated[int, Field(ge=1, le=2**32 - 1)]
AgentId = Annotated[int, Field(ge=0, le=2**31 - 1)]

Few = Annotated[list[Item], Field(max_length=MOST_ENTRIES)]
Several = Annotated[list[Item], Field(max_length=10 * MOST_ENTRIES)]
Many = Annotated[list[Item], Field(max_length=MOST_STAFF)]
Entries = Annotated[dict[Key, Item], Field(max_length=MOST_ENTRIES)]

TenantId = Annotated[str, Field(max_length=31, pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
BranchId = Annotated[str, Field(max_length=19, pattern=r"^[a-z0-9][a-z0-9-]{0,18}$")]
RowId = Annotated[str, Field(max_length=ID_LENGTH, pattern=r"^[A-Za-z0-9_.:@-]{1,128}$")]
"""An id of ours, such as `demo:0f3c…`."""
Appid = Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9_-]{1,32}$")]
CorpId = Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Userid = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]
"""A member's id at WeCom."""
ExternalUserid = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ChatId = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]{1,64}$")]
TagId = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]{1,64}$")]
TemplateId = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""A subscribe message's template."""
LoginCode = Annotated[str, Field(min_length=1, max_length=256), _Clean]
"""What wx.login and the phone button give."""
OAuthCode = Annotated[str, Field(min_length=1, max_length=512), _Clean]
"""What WeCom's OAuth page gives: at most 512 bytes."""
CallbackToken = Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9]{1,32}$")]
AesKey = Annotated[str, Field(max_length=43, pattern=r"^[A-Za-z0-9]{43}$")]
