"""The reference of the API, made from its OpenAPI document."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from covey.api.app import make_app, openapi
from covey.base.clock import SystemClock
from docs.markdown import MADE, table


def api_document() -> dict[str, Any]:
    """The OpenAPI document, without a Covey behind it: declaring operations asks nothing of what they stand on."""
    nothing: Any = SimpleNamespace(standing=None, tally=None, store=None, clock=SystemClock())
    return openapi(make_app(nothing))


def api_page(document: dict[str, Any]) -> str:
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    parts = [
        f"# The API\n\n{MADE}\n"
        "The whole document in OpenAPI 3.1 is [openapi.json](openapi.json), and a running Covey gives it at `/v1/openapi.json`.\n\n"
        "Over the socket `DIR/covey.sock` the kernel says who asks: root is admin, others are nobody. Over TLS\n"
        "(`covey up --listen HOST:PORT`) a token is needed: `Authorization: Bearer SECRET`. Sizes are bytes, durations (`_s`) seconds, times (`_at`) RFC 3339 in UTC.\n\n"
        "A change answers 202 with its job; wait for it with `GET /v1/jobs/{id}?wait_s=60`, or follow its stream. With `dry_run=true` it\n"
        "answers 200 with the plan and changes nothing. What the fields of a body mean stands in [requests](requests.md), errors in\n"
        "[errors](errors.md). Any operation may answer 400, 401, 403, 405, 500 and 503; those answers are left out below.\n\n"
        "One door is no HTTP operation: the WebSocket `/v1/instances/{name}/console`, binary frames both ways, is the serial console.\n",
    ]
    for tag, operations in by_tag.items():
        parts.append(f"\n## {tag}\n")
        parts += [_operation(document, method, path, operation) for method, path, operation in operations]
    parts.append("\n## Documents\n\nWhat answers are made of.\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        if not name.endswith("Body"):
            parts.append(_schema(name, schema))
    return "".join(parts)


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"\n### {method} {path}\n\n{operation['summary']}. (`{operation['operationId']}`)\n"]
    given = operation.get("parameters", [])
    if given:
        described = [
            (f"`{each['name']}`", each["in"], _schema_type(each["schema"]), _limits(each["schema"]), each.get("description", ""))
            for each in given
        ]
        parts.append("\n" + table("Parameter", "In", "Type", "Limits", "Meaning", rows=described))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if "application/octet-stream" in operation.get("requestBody", {}).get("content", {}):
        parts.append("\nBody: the bytes themselves (`application/octet-stream`), of any length.\n")
    if body:
        parts.append(f"\nBody: {_body(document, body['schema'])}.\n")
        if "example" in body:
            parts.append(f"\n```json\n{json.dumps(body['example'], ensure_ascii=False)}\n```\n")
    always = ("400", "401", "403", "405", "500", "503")
    answers = [
        (status, f"{answer['description']} {_answer(answer)}")
        for status, answer in sorted(operation["responses"].items())
        if status not in always
    ]
    parts.append("\n" + table("Answer", "Meaning", rows=answers))
    return "".join(parts)


def _body(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """The fields of a body in one line."""
    references = [each["$ref"] for each in (schema, *schema.get("anyOf", ())) if "$ref" in each]
    found = document["components"]["schemas"][references[0].rpartition("/")[2]]
    required = found.get("required", [])
    names = [f"`{name}`" + (" (required)" if name in required else "") for name in found.get("properties", {})]
    return ", ".join(names) if names else "none, or `{}`"


def _answer(answer: dict[str, Any]) -> str:
    for media, content in answer.get("content", {}).items():
        if media == "application/problem+json":
            return ""
        reference = content.get("schema", {}).get("$ref", "")
        return f"`{reference.rpartition('/')[2]}`" if reference else f"`{media}`"
    return ""


def _schema_type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_schema_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_schema_type(schema['items'])}"
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if schema.get("format") == "date-time":
        return "time"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "mapping"}
    kind = str(schema.get("type", "anything"))
    return names.get(kind, kind)


def _limits(schema: dict[str, Any]) -> str:
    if "maximum" in schema:
        return f"{schema['minimum']:g} to {schema['maximum']:.15g}"
    return f"at most {schema['maxLength']} characters" if "maxLength" in schema else ""


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = f"{' '.join(schema['description'].split())}\n\n" if schema.get("description") else ""
    rows = [
        (f"`{field}`", _schema_type(each), each.get("description", "")) for field, each in schema.get("properties", {}).items()
    ]
    return f"\n### {name}\n\n{text}" + table("Field", "Type", "Meaning", rows=rows)
