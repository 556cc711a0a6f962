"""Holds every answer that a test gets to docs/openapi.yaml.

Strictly: a status, content type, header or member that the file does not name is an error, so that what the server says and what
the file says cannot part. Clients may of course ignore members they do not know; it is the file that must not lack them."""
import json
import pathlib
import re

import jsonschema
import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
SPEC = yaml.safe_load((TOP / "docs" / "openapi.yaml").read_text())
VERBS = ("get", "put", "post", "delete", "head", "patch", "options")
# On every answer, or the business of HTTP itself: not repeated for each operation.
COMMON_HEADERS = {"connection", "content-length", "content-type", "date", "transfer-encoding", "x-request-id", "x-content-type-options",
                  "retry-after", "allow"}


def pointed(ref):
    """What "#/components/..." refers to."""
    node = SPEC
    for part in ref.removeprefix("#/").split("/"):
        node = node[part]
    return node


def resolved(node):
    """The node with every $ref replaced by what it refers to, and what stands beside it."""
    if isinstance(node, list):
        return [resolved(n) for n in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = {**pointed(node["$ref"]), **{k: v for k, v in node.items() if k != "$ref"}}
    return {k: resolved(v) for k, v in node.items()}


def strict(schema):
    """The schema as a closed one: members that it does not name are refused, parts of an allOf are one object."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if "allOf" in schema:
        parts = [strict(p) for p in schema["allOf"]] + [{k: v for k, v in schema.items() if k != "allOf"}]
        schema = {"type": "object", "properties": {k: v for p in parts for k, v in p.get("properties", {}).items()},
                  "required": [r for p in parts for r in p.get("required", [])]}
    closed = {k: v if k in ("example", "examples", "default", "enum", "const") else strict(v) for k, v in schema.items()}
    if "properties" in schema:
        closed["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
    return closed


class Operation:
    def __init__(self, template, verb, node, shared):
        self.template, self.verb, self.node = template, verb, node
        self.id = node["operationId"]
        self.parameters = [*shared, *node.get("parameters", [])]
        self.pattern = re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(template)))
        self.responses = {status: (response, {kind: jsonschema.Draft202012Validator(strict(content.get("schema", True)))
                                              for kind, content in response.get("content", {}).items()})
                          for status, response in node["responses"].items()}

    def query(self):
        return {p["name"] for p in self.parameters if p["in"] == "query"}

    def body_schema(self):
        """Of its JSON request body; None without one."""
        return self.node.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")


OPERATIONS = [Operation(template, verb, node, path.get("parameters", []))
              for template, path in resolved(SPEC["paths"]).items() for verb, node in path.items() if verb in VERBS]
seen = set()  # (operation, status) of this process, for the test that wants them all
fields_seen = set()  # (operation, status, member path) with a value


def operation_of(method, path):
    """The one that the request was for, or None: a path or method that nobody offers."""
    # A path without parameters goes before one with: /v1/jobs:batch is no {job_id}.
    found = [o for o in OPERATIONS if o.verb == method.lower() and o.pattern.fullmatch(path)]
    return min(found, key=lambda o: o.template.count("{"), default=None)


def note_fields(operation, status, value, path=""):
    if value is not None:
        fields_seen.add((operation.id, status, path))
    if isinstance(value, dict):
        for key, member in value.items():
            note_fields(operation, status, member, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            note_fields(operation, status, item, f"{path}[]")


def check(answer):
    """Asserts that the file describes this answer to its request. Gives the answer back."""
    method, path = answer.request.method, answer.request.path_url.split("?")[0]
    if "X-HTTP-Method-Override" in answer.request.headers and operation_of(method, path) is None:
        method = answer.request.headers["X-HTTP-Method-Override"]
    status, kind = str(answer.status_code), answer.headers.get("Content-Type", "")
    operation = operation_of(method, path)
    if operation is None and method == "HEAD":
        operation = operation_of("GET", path)
        assert operation is None or not answer.content
    if operation is None:
        assert answer.status_code >= 400, f"{method} {path} is not in docs/openapi.yaml, but answered {status}"
        return answer
    where = f"{operation.id} ({method} {path}) {status}"
    seen.add((operation.id, status))
    assert "X-Request-Id" in answer.headers, where
    response, schemas = operation.responses.get(status) or operation.responses.get("default") or (None, None)
    assert response is not None, f"{where} is not described: {answer.text[:500]}"
    described = {h.lower() for h in response.get("headers", {})} | COMMON_HEADERS
    assert {h.lower() for h in answer.headers} <= described, f"{where}: headers {set(answer.headers)}"
    if method == "HEAD":
        return answer
    for name, header in response.get("headers", {}).items():
        assert name in answer.headers or not header.get("required"), f"{where} lacks {name}"
    if not schemas:
        assert not answer.content, f"{where} has a body of type {kind}, none is described"
        return answer
    bare = kind.split(";")[0]
    known = {k.split(";")[0]: v for k, v in schemas.items()}
    assert bare in known, f"{where}: content type {kind}, described {list(schemas)}"
    if bare.endswith("json"):
        value = json.loads(answer.content)
        errors = sorted(known[bare].iter_errors(value), key=lambda e: e.path)
        assert not errors, f"{where}: {errors[0].json_path}: {errors[0].message[:400]}"
        note_fields(operation, status, value)
    return answer
