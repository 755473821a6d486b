"""One owner a collection: the module that declares its Rows, or that module's package. Nobody else names it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes import ROOT
from operations.schema import COLLECTIONS

ROOMS = ("handlers", "operations", "campaigns", "rewards", "customers", "services")
SCHEMA, JOBS = "operations.schema", "operations.jobs"
NAMES = {str(rows) for rows in COLLECTIONS}
DOORS = {"db", "_db"}
"""What a collection is taken out of, and what takes its name as an argument."""
TAKING = {"insert", "read", "change", "close_each", "system", "find_across", "insert_new_across", "by_id"}
KNOWN: set[tuple[str, str]] = {
    ("campaigns.publishing.versions", "CAMPAIGNS"),
    ("campaigns.publishing.versions", "CAMPAIGN_VERSIONS"),
}
"""(module, constant) of those that still name another's collection."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield module_of(path), ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def declared() -> dict[str, str]:
    """constant → the module that declares it."""
    found: dict[str, str] = {}
    for module, tree in modules():
        for node in tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=constant)], value=ast.Call(func=ast.Name(id="Rows"))):
                    assert constant not in found, f"{constant} is declared in {found[constant]} and in {module}"
                    found[constant] = module
    return found


def may_name(module: str, owner: str) -> bool:
    """The owner itself; for a `rows.py`, every module of its package."""
    package, _, last = owner.rpartition(".")
    return module in (owner, SCHEMA) or (last == "rows" and module.startswith(f"{package}."))


def strangers(tree: ast.Module, module: str, owners: dict[str, str]) -> Iterator[str]:
    """The constants of other owners that a module imports; the job table may say of them which rows wait for a job."""
    listed = in_entries(tree) if module == JOBS else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                owner = owners.get(alias.name)
                if owner == node.module and not may_name(module, owner) and alias.name not in listed:
                    yield alias.name


def in_entries(tree: ast.Module) -> set[str]:
    """The constants that stand after `rows=` and nowhere else."""
    entries = {
        id(keyword.value): keyword.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "rows" and isinstance(keyword.value, ast.Name)
    }
    elsewhere = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in entries}
    return set(entries.values()) - elsewhere


def literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Collections that are named by a text."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=value, slice=ast.Constant(value=str(name))) if (
                name in NAMES and ast.unparse(value).rpartition(".")[2] in DOORS
            ):
                yield node.lineno, name
            case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Constant(value=str(name)), *_]) if (
                name in NAMES and attr in TAKING
            ):
                yield node.lineno, name


def test_every_collection_is_declared_once_and_listed() -> None:
    assert sorted(declared()) == sorted({str(rows).upper() for rows in COLLECTIONS})
    assert len(NAMES) == len(COLLECTIONS)


def test_nobody_names_anothers_collection() -> None:
    owners = declared()
    found = {(module, constant) for module, tree in modules() for constant in strangers(tree, module, owners)}
    assert sorted(found - KNOWN) == []
    assert sorted(KNOWN - found) == [], "these are mended: take them off the list"


def test_no_collection_is_named_by_a_text() -> None:
    found = [f"{module}:{line} {name}" for module, tree in modules() for line, name in literals(tree)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from customers.timeline import TIMELINE", ["TIMELINE"]),
        ("from customers.timeline import record", []),
        ("from customers.identity.rows import MERGES", ["MERGES"]),
    ],
)
def test_a_stranger_is_seen(text: str, found: list[str]) -> None:
    assert list(strangers(ast.parse(text), "rewards.claims", declared())) == found


def test_the_job_table_names_rows_in_its_entries_alone() -> None:
    entry = "from services.queue.inbox import INBOX\nJOBS = (Job(rows=INBOX),)"
    assert list(strangers(ast.parse(entry), JOBS, declared())) == []
    assert list(strangers(ast.parse(entry), "rewards.claims", declared())) == ["INBOX"]
    assert list(strangers(ast.parse(f"{entry}\nbank.db[INBOX]"), JOBS, declared())) == ["INBOX"]


def test_a_text_is_seen() -> None:
    assert list(literals(ast.parse('bank.db["runs"]'))) == [(1, "runs")]
    assert list(literals(ast.parse('bank.insert("runs", row)'))) == [(1, "runs")]
