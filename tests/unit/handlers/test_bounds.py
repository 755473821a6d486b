"""Everything that comes from outside has an end: the models of forms, queries, bodies, files and
settings, and the parameters of every path. A new field without one fails here."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from config import bounds
from config.settings import Settings
from deploy.processes import ROOT
from handlers.http.openapi import ErrorAnswer, ErrorBody
from handlers.http.route import Route
from handlers.routes import ROUTES
from tests.support.bounded import unbounded

ROOMS = ("config", "services", "customers", "rewards", "campaigns", "operations", "handlers")
RAW = {"get_argument", "get_arguments", "get_body_argument", "get_body_arguments", "get_query_argument",
       "get_query_arguments"}  # fmt: skip


def _models() -> list[type[BaseModel]]:
    """Every model of the rooms that reads what comes from outside."""
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            importlib.import_module(module.name)
    answers = {op.answers for route in ROUTES for op in route.ops.values()}
    written = set(answers)
    while written:
        written = {field for model in written if model is not None for field in _nested(model) if field not in answers}
        answers |= written
    found = {model for model in _below(BaseModel) if model.__module__.split(".")[0] in ROOMS}
    return sorted(
        (model for model in found - answers - {Settings, ErrorAnswer, ErrorBody} if "[" not in model.__name__),
        key=lambda model: (model.__module__, model.__name__),
    )


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _below(one)


def _nested(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        yield from _in(field.annotation)


def _in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _in(part)


NUMBERED = {"Archive.private_keys (keys): text", "TenantFile.archive.private_keys (keys): text"}
"""Keys that are numbers: their most is a number, for which JSON Schema has no word."""


@pytest.mark.parametrize("model", _models(), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_every_model_that_reads_has_an_end_everywhere(model: type[BaseModel]) -> None:
    assert set(unbounded(model)) - NUMBERED == set()


def test_every_number_of_the_settings_has_an_end() -> None:
    """Their texts are the operator's own, and no longer than his environment."""
    assert [place for place in unbounded(Settings) if place.endswith("number")] == []


def test_the_walk_meets_forms_bodies_queries_files_and_settings() -> None:
    met = {f"{model.__module__}.{model.__name__}" for model in _models()}
    assert met >= {
        "handlers.portal.models.LoginBody",
        "handlers.portal.models.SubscriptionsBody",
        "handlers.console.session.SignInForm",
        "handlers.console.handovers.Beginning",
        "handlers.sidebar.pages.TagForm",
        "customers.banks.files.TenantFile",
        "campaigns.document.model.Campaign",
        "config.settings.PlatformLimits",
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_parameter_of_a_path_has_an_end(route: Route) -> None:
    pattern = route.pattern()
    for long in ("9" * 129, "a" * 129, "a" * 5_000):
        for name in route.parameters:
            filled = route.path.replace(f"{{{name}}}", long)
            filled = re.sub(r"\{\w+\}", "1", filled)
            assert pattern.fullmatch(filled) is None, filled
    for part in ("", "%00", "..%2f", "a b", "é", "a\n", "a/b"):
        for name in route.parameters:
            filled = re.sub(r"\{\w+\}", "1", route.path.replace(f"{{{name}}}", part))
            assert pattern.fullmatch(filled) is None or part == "", filled


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_body_and_form_has_an_end(route: Route) -> None:
    for op in route.ops.values():
        assert 0 < op.most <= (bounds.CODES_FORM_BYTES if op.file else bounds.CALLBACK_BYTES)
        assert 0 < op.fields <= bounds.LISTS_FORM_FIELDS


def test_handlers_read_forms_and_queries_by_models_alone() -> None:
    """What is read by name alone has no end; one place does it, for models."""
    found = set()
    for path in (ROOT / "handlers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in RAW | {"body_arguments", "query_arguments"}:
                found.add(str(path.relative_to(ROOT)))
    assert found == {"handlers/http/base.py", "handlers/http/door.py", "handlers/http/pages.py"}
