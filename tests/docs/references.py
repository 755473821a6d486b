"""What code and pages cite: sections of docs/contract, promises, decisions. Each citation resolves, or is named."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from deploy.processes import ROOT

CONTRACT = ROOT / "docs" / "contract"
HEADING = re.compile(r"^#{2,4} ([A-Z]\d*|\d+(?:\.\d+)*)\.? ", re.MULTILINE)
ROW = re.compile(r"^\| ([A-Z]\d+[a-z]?) \|", re.MULTILINE)
ENTRY = re.compile(r"^- \*\*([A-Z]?\d+(?:\.\d+)*)\b", re.MULTILINE)
OFFICIAL_PAGE = re.compile(r"(?<!\d)\d{5,6}(?!\d)")

CITATION = re.compile(r"(?<![\w./])contract/([A-Za-z_]+)(?![\w/]|\.\w)")
SECTION = r"[A-Za-z]?\d+(?:\.\d+)*[a-z]?|[A-Z]"
FIRST = re.compile(rf" ({SECTION})(?!\w)")
NEXT = re.compile(rf"(?:(?:, | and | or | to |-)(?!P\d)({SECTION})| (\d{{5,6}}))(?!\w)")
PROMISE = re.compile(r"(?<![\w-])P\d+\b")
DECISION = re.compile(r"[Dd]ecisions?[ /](\d{4})")
BARE = re.compile(r"(?<![\w/-])[A-I]\d{1,2}\b")
OLD_NAMES = "wechat|jssdk|pay|trust|engine|rewards|design|frontend|faults|house|peers|style"
OLD_FORM = re.compile(rf"\b(?:wechat|jssdk|pay)-contract\b|(?<![\w/])(?:{OLD_NAMES})\.md\b")
SUSPECT = re.compile(r"contract/|-contract|\.md|ecision|(?<![\w-])[A-IP]\d")
"""What a text holds that may cite something; most hold nothing of it."""


def anchors(text: str) -> set[str]:
    """What a page of the contract can be cited by: its headings' numbers, its rows' and entries'
    names, and the numbers of official pages that it mentions."""
    return {name for pattern in (HEADING, ROW, ENTRY, OFFICIAL_PAGE) for name in pattern.findall(text)}


def pages() -> dict[str, set[str]]:
    """The contract's pages by name, each with what it can be cited by."""
    return {path.stem: anchors(path.read_text(encoding="utf-8")) for path in CONTRACT.glob("[a-z]*.md")}


def decisions() -> set[str]:
    """The numbers of the decisions that there are."""
    return {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md")}


def prose(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of what is written for people: of Python its comments and docstrings, each
    block on one line; of everything else the whole."""
    if path.suffix != ".py":
        yield 1, text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    yield from _comments(text)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments; those on lines that follow one another are one block."""
    first, last, block = 0, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, words = token.start[0], token.string.lstrip("# ")
        if block and line == last + 1:
            block = f"{block} {words}"
        else:
            if block:
                yield first, block
            first, block = line, words
        last = line
    if block:
        yield first, block


def unresolved(path: Path, text: str, known: dict[str, set[str]], numbers: set[str]) -> list[str]:
    """What `path` cites that is nowhere, and citations in another form than ours, as
    `line: what`."""
    found: list[str] = []
    if not SUSPECT.search(text):
        return found
    alone = _alone(path, text, known)
    for line, block in prose(path, text):
        words = " ".join(block.split())
        wrong, rest = _sections(words, known)
        wrong += [name for name in PROMISE.findall(rest) if name not in known["promises"]]
        wrong += [f"decision {number}" for number in DECISION.findall(words) if number not in numbers]
        if path.suffix == ".py":
            wrong += OLD_FORM.findall(words)
            wrong += [name for name in BARE.findall(rest) if name not in alone]
        found += [f"{line}: {what}" for what in wrong]
    return found


def _alone(path: Path, text: str, known: dict[str, set[str]]) -> set[str]:
    """The sections that a file may name without their page: those of the pages that it cites, and
    in the sandbox and its tests those of the platforms that it plays."""
    cited = {match[1] for match in CITATION.finditer(text)}
    if "sandbox" in path.parts:
        cited.add("wechat")
    return {name for page in cited & known.keys() for name in known[page]}


def _sections(words: str, known: dict[str, set[str]]) -> tuple[list[str], str]:
    """(citations of the contract that lead nowhere, the text without its citations)."""
    wrong: list[str] = []
    rest: list[str] = []
    end = 0
    for match in CITATION.finditer(words):
        page = match[1]
        names, after = _names(words, match.end())
        rest.append(words[end : match.start()])
        end = after
        if page not in known:
            wrong.append(f"contract/{page}")
        else:
            wrong += [f"contract/{page} {name}" for name in names if name not in known[page]]
    rest.append(words[end:])
    return wrong, " ".join(rest)


def _names(words: str, at: int) -> tuple[list[str], int]:
    """The sections that are named after a page's name, and where they end."""
    names: list[str] = []
    match = FIRST.match(words, at)
    while match:
        names.append(match[match.lastindex or 1])
        at = match.end()
        match = NEXT.match(words, at)
    return names, at
