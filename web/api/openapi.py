"""The OpenAPI document of the API (OpenAPI 3.1.1), generated from the table of routes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from accounts.api_tokens import SCOPES
from web.api import problems
from web.api.problems import Problem
from web.api.routes import ROUTES, ApiRoute

PATH = "/openapi.json"
IDEMPOTENCY_HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
REF_TEMPLATE = "#/components/schemas/{name}"
_REFUSAL_DESCRIPTIONS = {
    "400": "The body cannot be read.",
    "401": "The token is missing, unknown, expired or revoked, or its holder is inactive.",
    "403": "The token lacks the scope, or the role of its holder does not allow it.",
    "404": "There is no such record.",
    "409": "The ticket has changed since it was read.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "A value is not valid, or the rules do not allow the change.",
    "503": "The database is busy or unavailable.",
}
_READ_REFUSALS = ("401", "403", "404", "422", "503")


@lru_cache(maxsize=1)
def build_document() -> bytes:
    """Return the document as JSON."""
    types = [Problem, *{schema: None for route in ROUTES for schema in (route.response, route.body) if schema is not None}]
    _, schemas = msgspec.json.schema_components(types, ref_template=REF_TEMPLATE)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return msgspec.json.encode(
        {
            "openapi": "3.1.1",
            "info": {
                "title": "casemill",
                "version": "1",
                "description": "Tickets of billing support, for programs that act for staff. Times are ISO 8601 with an offset.",
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _describe_scopes()}},
            },
            "security": [{"token": []}],
        }
    )


def _describe_scopes() -> str:
    listed = "; ".join(f"`{scope}`: {description}" for scope, description in SCOPES.items())
    return f"A token made by `casemill token add`, with some of these scopes: {listed}."


def _operation(route: ApiRoute) -> dict[str, Any]:
    refusals = _REFUSAL_DESCRIPTIONS if route.is_write else {status: _REFUSAL_DESCRIPTIONS[status] for status in _READ_REFUSALS}
    responses: dict[str, Any] = {
        str(route.status): {
            "description": "The change was made." if route.is_write else "The records.",
            "content": {"application/json": {"schema": {"$ref": REF_TEMPLATE.format(name=route.response.__name__)}}},
        },
        **{status: _refusal_response(text) for status, text in refusals.items()},
    }
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "description": f"Needs the scope `{route.scope}`.",
        "tags": [route.scope.partition(":")[0]],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": responses,
    }
    if route.body is not None:
        content = {"application/json": {"schema": {"$ref": REF_TEMPLATE.format(name=route.body.__name__)}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _refusal_response(text: str) -> dict[str, Any]:
    return {"description": text, "content": {problems.MEDIA_TYPE: {"schema": {"$ref": REF_TEMPLATE.format(name="Problem")}}}}


def _path_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {
        "id": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        "number": {"type": "string", "pattern": "^BS-[0-9]{6,9}$"},
    }
    return [
        {"name": name, "in": "path", "required": True, "description": description, "schema": schemas[name]}
        for name, description in route.path_parameters.items()
    ]


def _query_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    """Describe each field of the route's query type."""
    _, schemas = msgspec.json.schema_components([route.query], ref_template=REF_TEMPLATE)
    fields = schemas[route.query.__name__].get("properties", {})
    return [{"name": name, "in": "query", "required": False, "schema": _without_null(schema)} for name, schema in fields.items()]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` without null: a query parameter is left out instead."""
    result = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    if "anyOf" in result:
        choices = [choice for choice in result.pop("anyOf") if choice != {"type": "null"}]
        return {**choices[0], **result} if len(choices) == 1 else {**result, "anyOf": choices}
    if "enum" in result:
        result["enum"] = [value for value in result["enum"] if value is not None]
    return result


def _header_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    if not route.takes_idempotency_key:
        return []
    text = "A unique key of your choice: a repeated request within a day gets the first response again and changes nothing."
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": "^[!-~]+$"}
    return [{"name": IDEMPOTENCY_HEADER, "in": "header", "required": False, "description": text, "schema": schema}]
