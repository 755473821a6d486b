"""The document is generated from the table that serves; nothing is missing from it and nothing in it is dangling."""

from __future__ import annotations

import json
import re

import httpx

from handlers.routes import ROUTES


async def test_every_json_route_is_described(http: httpx.AsyncClient) -> None:
    answer = await http.get("/openapi.json")
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    described = {(path, method.upper()) for path, ops in document["paths"].items() for method in ops}
    assert described == {(route.path, method) for route in ROUTES if route.json for method in route.ops}
    assert ("/mp/{appid}/rewards/{reward}/claim", "POST") in described


async def test_every_reference_leads_somewhere_and_every_parameter_is_named(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    wanted = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert wanted
    assert wanted <= set(document["components"]["schemas"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            named = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert named == re.findall(r"\{(\w+)\}", path)


async def test_a_login_is_described_as_it_is_read(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    login = document["paths"]["/mp/{appid}/login"]["post"]
    assert login["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/LoginBody"}
    assert document["components"]["schemas"]["LoginBody"]["required"] == ["code"]
    assert "security" not in login
    assert document["paths"]["/mp/{appid}/home"]["get"]["security"] == [{"session": []}]
