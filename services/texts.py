"""Sentences for people who are at no page of ours: a code and data, said in a language by the
catalogues of web/locale. The rooms keep codes; whoever sends to WeCom says them here."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path
from typing import Any, Literal

DOMAIN = "yinqiao"
LOCALES = {"zh": "zh_CN", "en": "en_US"}
DIRECTORY = Path(__file__).parent.parent / "web" / "locale"
Language = Literal["zh", "en"]


@cache
def _catalogue(language: Language) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, str(DIRECTORY), languages=[LOCALES[language]])


class _Places(dict[str, Any]):
    def __missing__(self, _: str) -> str:
        return ""


def sentence(code: str, /, language: Language = "zh", **data: Any) -> str:
    """The sentence of `code`, with `data` in its {places}; the code itself where there is none. A
    place without data stays empty."""
    key = f"code:{code}"
    text = _catalogue(language).gettext(key)
    return code if text == key else text.format_map(_Places(data))


def in_every_language(code: str, /, **data: Any) -> dict[str, str]:
    """language → the sentence of `code`."""
    return {"zh": sentence(code, "zh", **data), "en": sentence(code, "en", **data)}
