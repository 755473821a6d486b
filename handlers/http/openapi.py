"""OpenAPI 3.1 of every JSON route, from the table that serves them and the models that read
them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from typing_extensions import override

from handlers.http.auth import CUSTOMER, PERMISSIONS
from handlers.http.operation import Operation
from handlers.http.route import Op, Route
from services.cache import Slot

DOCUMENT: Slot[dict[str, Any]] = Slot("openapi", dict)
"""What `/openapi.json` answers; filled when the application is made."""
_REF = "#/components/schemas/{model}"


class ErrorBody(BaseModel):
    code: str = Field(description="for programs; texts may change, codes do not")
    message: str
    request_id: str
    fields: dict[str, str] | None = None


class ErrorAnswer(BaseModel):
    error: ErrorBody


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document; every route marked `json` is in it, with its permission."""
    served = [route for route in routes if route.json]
    operations = [op for route in served for op in route.ops.values()]
    models: set[type[BaseModel]] = {ErrorAnswer}
    models.update(
        model for op in operations for model in (op.body, op.answers) if model is not None
    )
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Yinqiao",
            "version": "0.1.0",
            "description": "Customer operations for banks on WeChat.",
        },
        "paths": {
            route.path: {method.lower(): _operation(route, op) for method, op in route.ops.items()}
            for route in served
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"session": {"type": "http", "scheme": "bearer"}},
        },
    }


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


def _operation(route: Route, op: Op) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.parameters
    ]
    parameters += [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
        for name in op.headers
    ]
    answer: dict[str, Any] = {"description": "done"}
    if op.answers is not None:
        answer["content"] = _content(op.answers)
    operation: dict[str, Any] = {
        "summary": op.summary,
        "description": f"For {op.permission}: {PERMISSIONS[op.permission]}.",
        "parameters": parameters,
        "responses": {
            str(op.status): answer,
            "default": {"description": "refused", "content": _content(ErrorAnswer)},
        },
    }
    if op.body is not None:
        operation["requestBody"] = {"required": not op.headers, "content": _content(op.body)}
    if op.permission == CUSTOMER:
        operation["security"] = [{"session": []}]
    return operation


class OpenApi(Operation):
    """`/openapi.json`, made once when the application is; in production for operators."""

    @override
    async def get(self) -> None:
        if self.services.settings.env == "production":
            self.check_operator()
        self.answer(self.services.cache.of(DOCUMENT))
