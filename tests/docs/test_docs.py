"""Documents and code cannot drift apart: every name that an operator or a caller can meet is in a table, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic_core import PydanticUndefined

from campaigns.delivery.kinds import KINDS
from campaigns.document import model, parts
from campaigns.engine import facts
from campaigns.engine.verbs import VERBS
from config.settings import Settings
from customers.banks.clerks import PERMISSIONS as ROLES
from deploy import house
from deploy.processes import ROOT
from handlers.http import auth
from handlers.routes import ROUTES
from operations.jobs import JOBS
from rewards import eligibility, quota
from services.observe.metrics import Metrics
from tests.docs import codes

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[a-z]*/README.md")])
REFERENCE = ROOT / "docs" / "reference.md"
CAMPAIGNS = ROOT / "docs" / "campaigns.md"
BINARY = {".png", ".ico", ".woff2", ".mo", ".pyc"}
REGISTRIES = re.compile(
    "|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.(?:org|com)", "yarnpkg" + r"\.com"])
)
MACHINE_PATH = re.compile(
    r"(?<![\w.:/{}*$)\]-])/(?:" + "|".join(["work", "root", "home", "Users"]) + r")/[A-Za-z0-9_.-]+"
)
LINK = re.compile(r"\]\(([^)\s]+)\)|<(?:img|source)[^>]* src(?:set)?=\"([^\"]+)\"")
FILE = re.compile(r"(?<![\w/-])((?:[a-z_]+/)+[a-z_0-9]+\.py)(?:::?([A-Za-z_]\w*))?")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def table(path: Path, heading: str) -> dict[str, list[str]]:
    """The rows of the table under a heading: the first cell's code → the other cells."""
    _, found, rest = path.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    assert found, f"{name(path)} has no heading {heading}"
    rows: dict[str, list[str]] = {}
    for line in rest.split("\n## ", 1)[0].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            key = cells[0].strip("`")
            assert key not in rows, f"{name(path)}: {key} stands twice under {heading}"
            rows[key] = cells[1:]
    return rows


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the project that is our own."""
    for folder in [ROOT, *(entry for entry in ROOT.iterdir() if entry.is_dir())]:
        if folder != ROOT and folder.name.startswith(".") and folder.name != ".ci":
            continue
        for path in sorted(folder.glob("*") if folder == ROOT else folder.rglob("*")):
            ours = (
                path.is_file()
                and not {"vendor", "licences", "__pycache__"} & set(path.parts)
                and path.suffix not in BINARY
            )
            if ours and path.name not in (".env", ".git", ".coverage"):
                yield path, path.read_text(encoding="utf-8")


def default_of(field: str) -> str:
    info = Settings.model_fields[field]
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or not str(value) or value == [] or field == "master_key":
        return "–"
    return f"`{value}`"


PARTS = {
    "The document": model.Campaign,
    "Window": parts.Window,
    "Entry": model.Entry,
    "Exit": model.Exit,
    "Limits": model.Limits,
    "Money": model.Money,
    "Disclosure": model.Disclosure,
    "Codes": model.Codes,
    "Slot": model.Slot,
    "Links": model.Links,
    "Group codes": model.GroupCode,
    "Group welcome": model.GroupWelcome,
    "Reward": model.Reward,
    "Quota": quota.Quota,
    "Stack": quota.Stack,
    "Allowance": model.Allowance,
    "Step": model.Step,
    **{verb.name.capitalize(): verb.model for verb in VERBS if hasattr(verb.model, "model_fields")},
}
TYPES = {str: "text", int: "number", bool: "`True` or `False`", list[str]: "list of texts"}


@pytest.mark.parametrize("heading", PARTS)
def test_every_key_of_a_campaign_is_documented(heading: str) -> None:
    keys = [field.alias or key for key, field in PARTS[heading].model_fields.items()]
    assert list(table(CAMPAIGNS, heading)) == keys


def test_every_placeholder_and_field_of_rules_is_documented() -> None:
    assert {name.strip("{}") for name in table(CAMPAIGNS, "Placeholders")} == facts.known(facts.MESSAGE)
    types = {name: cells[0] for name, cells in table(CAMPAIGNS, "Rules").items()}
    assert types == {fact.name: TYPES[fact.type] for fact in facts.FACTS if facts.RULE in fact.known_when}


def test_every_fact_of_a_claim_is_documented() -> None:
    types = {name: cells[0] for name, cells in table(CAMPAIGNS, "Who may claim").items()}
    assert types == {fact.name: TYPES[fact.type] for fact in eligibility.FACTS}


def test_every_decision_is_listed() -> None:
    listed = LINK.findall((ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8"))
    assert sorted(link for link, _ in listed) == sorted(
        path.name for path in (ROOT / "docs" / "decisions").glob("0*.md")
    )


def test_every_setting_has_its_row_with_its_default() -> None:
    rows = table(ROOT / "README.md", "Settings")
    expected = {f"YINQIAO_{field.upper()}": default_of(field) for field in Settings.model_fields}
    assert {setting: cells[0] for setting, cells in rows.items()} == expected
    assert all(cells[1] for cells in rows.values())


def test_every_error_code_is_documented_with_its_status() -> None:
    found = codes.error_codes()
    rows = table(REFERENCE, "Error codes")
    assert sorted(rows) == sorted(found)
    wrong = {
        code: (rows[code][0], statuses)
        for code, statuses in found.items()
        if statuses and int(rows[code][0]) not in statuses
    }
    assert wrong == {}


def test_every_effect_reason_is_documented() -> None:
    assert sorted(table(REFERENCE, "Effect reasons")) == sorted(codes.arguments("Outcome", 1))


def test_every_kind_of_the_timeline_is_documented() -> None:
    told = codes.arguments("record", 2, "timeline") | codes.arguments("entry", 2, "timeline")
    told |= codes.arguments("happened", 1, "life") | codes.arguments("happened", 1)
    told |= {kind.story for kind in KINDS.values() if kind.story}
    assert sorted(table(REFERENCE, "Timeline kinds")) == sorted(told)


def test_every_audit_action_is_documented() -> None:
    assert sorted(table(REFERENCE, "Audit actions")) == sorted(
        codes.arguments("record", 2, "audit")
        | codes.arguments("audit", 1)
        | codes.arguments("audited", 1)
        | codes.given("Kind", "submitted", "approved", "rejected", "refused")
        | codes.given("Holders", "secret_set")
        | codes.given("Accounts", "password_set", "signed_in", "signed_out", "sign_in_failed", "locked_out")
    )


def test_every_task_is_documented_with_its_queue_and_what_it_does() -> None:
    assert table(REFERENCE, "Tasks") == {job.name: [job.queue, job.doc] for job in JOBS}


def test_every_metric_is_documented() -> None:
    found = {family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()}
    assert sorted(table(REFERENCE, "Metrics")) == sorted(found)


def test_every_permission_is_documented_with_the_roles_that_have_it() -> None:
    rows = table(REFERENCE, "Permissions")
    assert sorted(rows) == sorted(auth.PERMISSIONS)
    for permission, cells in rows.items():
        granted = {role for role, permissions in ROLES.items() if permission in permissions}
        assert {role for role in ROLES if re.search(rf"\b{role}\b", cells[0])} == granted, permission


def test_every_command_is_documented() -> None:
    import manage

    found = sorted(" ".join(path) for path in commands(typer.main.get_command(manage.app), ()))
    rows = [re.sub(r"( [A-Z]+)+$", "", command) for command in table(REFERENCE, "Commands")]
    assert sorted(rows) == found


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    inner = getattr(command, "commands", {})
    for part, each in inner.items():
        yield from commands(each, (*path, part))
    if not inner or (path and command.invoke_without_command):
        yield path


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_no_section_stands_twice(page: Path) -> None:
    """As it does when a merge has gone wrong."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^##? .+", text, re.MULTILINE)
    assert [one for one in headings if headings.count(one) > 1] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    found = [one or other for one, other in LINK.findall(page.read_text(encoding="utf-8"))]
    for link in found:
        address, _, anchor = link.partition("#")
        if address.startswith(("http://", "https://", "mailto:")):
            continue
        target = (page.parent / address).resolve() if address else page
        assert target.exists(), f"{name(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name(page)} links to {link}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@cache
def defined(path: str) -> set[str]:
    """The functions and classes of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, codes.Function | ast.ClassDef)}


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_files_and_functions_that_are_named_exist(page: Path) -> None:
    for path, function in FILE.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), f"{name(page)} names {path}"
        if function:
            assert function in defined(path), f"{name(page)} names {path}:{function}"


@pytest.mark.parametrize("page", house.PAGES, ids=name)
def test_pages_that_are_made_from_the_code_are_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == house.PAGES[page](), "run python -m deploy.house"


def test_every_file_of_the_rooms_says_what_it_is() -> None:
    unsaid = [path for room in house.ROOMS for path in (ROOT / room).rglob("*.py") if not house.summary(path)]
    assert [name(path) for path in unsaid if path.name != "__init__.py"] == []


def test_every_route_has_its_row() -> None:
    page = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE)
    served = [(method, route.path, op.permission) for route in ROUTES for method, op in route.ops.items()]
    assert sorted(rows) == sorted(served)


def test_commands_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in DOCUMENTS:
        named = set(
            re.findall(r"`make ([a-z]+)[` ]|^(?:\$ )?make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        )
        assert {one or other for one, other in named} <= targets, name(page)
    shown = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [target for target in sorted(targets) if f"make {target}" not in shown] == []


def test_no_file_names_a_package_registry_or_a_path_of_a_machine() -> None:
    found = [
        f"{name(path)}: {match.group()}"
        for path, text in texts()
        for pattern in (REGISTRIES, MACHINE_PATH)
        for match in pattern.finditer(text)
    ]
    assert found == []
