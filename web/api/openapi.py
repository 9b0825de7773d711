"""The OpenAPI document of the API (OpenAPI 3.1.1), made of the table of routes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from accounts.api_tokens import SCOPES
from web.api import problems
from web.api.problems import Problem
from web.api.routes import ROUTES, Route

PATH = "/openapi.json"
IDEMPOTENCY = "Idempotency-Key"
LONGEST_KEY = 255
REF = "#/components/schemas/{name}"
_REFUSALS = {
    "400": "The request cannot be read.",
    "401": "There is no token, or it is not good.",
    "403": "The token, or its holder, may not do that.",
    "404": "There is no such record.",
    "409": "Somebody changed the ticket since it was read.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The rules do not allow it, or a value is not one that is taken.",
    "503": "The database is busy or away.",
}
#: Of reading only these.
_READ_REFUSALS = ("401", "403", "404", "422", "503")


@lru_cache(maxsize=1)
def document() -> bytes:
    """The document as JSON."""
    shapes = [Problem, *{shape: None for route in ROUTES for shape in (route.gives, route.body) if shape is not None}]
    _, schemas = msgspec.json.schema_components(shapes, ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return msgspec.json.encode(
        {
            "openapi": "3.1.1",
            "info": {
                "title": "casemill",
                "version": "1",
                "description": "Tickets of billing support, for programs of the staff. Moments are ISO 8601 with their offset.",
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _scopes()}},
            },
            "security": [{"token": []}],
        }
    )


def _scopes() -> str:
    listed = "; ".join(f"`{scope}`: {what}" for scope, what in SCOPES.items())
    return f"A token of `casemill token add`, with these scopes: {listed}."


def _operation(route: Route) -> dict[str, Any]:
    refused = _REFUSALS if route.writes else {status: _REFUSALS[status] for status in _READ_REFUSALS}
    answers = {
        str(route.status): {
            "description": "Done." if route.writes else "What there is.",
            "content": {"application/json": {"schema": {"$ref": REF.format(name=route.gives.__name__)}}},
        },
        **{status: _refusal(text) for status, text in refused.items()},
    }
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.does,
        "description": f"Needs the scope `{route.scope}`.",
        "tags": [route.scope.partition(":")[0]],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": answers,
    }
    if route.body is not None:
        content = {"application/json": {"schema": {"$ref": REF.format(name=route.body.__name__)}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {problems.MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}}}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    kinds: dict[str, dict[str, Any]] = {
        "id": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        "number": {"type": "string", "pattern": "^BS-[0-9]{6,9}$"},
    }
    return [
        {"name": name, "in": "path", "required": True, "description": what, "schema": kinds[name]}
        for name, what in route.parts.items()
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    """The fields of the query's shape."""
    _, schemas = msgspec.json.schema_components([route.query], ref_template=REF)
    fields = schemas[route.query.__name__].get("properties", {})
    return [{"name": name, "in": "query", "required": False, "schema": _without_null(schema)} for name, schema in fields.items()]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """In an address nothing can be null: it is left out."""
    kept = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    if "anyOf" in kept:
        choices = [one for one in kept.pop("anyOf") if one != {"type": "null"}]
        return {**choices[0], **kept} if len(choices) == 1 else {**kept, "anyOf": choices}
    if "enum" in kept:
        kept["enum"] = [one for one in kept["enum"] if one is not None]
    return kept


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if not route.once:
        return []
    text = "A word of your own for this request: asked again with it within a day, the first answer is given and nothing done."
    schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"}
    return [{"name": IDEMPOTENCY, "in": "header", "required": False, "description": text, "schema": schema}]
