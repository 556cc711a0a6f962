"""docs/openapi.yaml and the server say the same: every operation is called, well and badly, and every answer checked (contract.py, which
also checks the answers of all other tests)."""
import uuid

import contract
import jsonschema
import pytest
from conftest import TOP
from contract import OPERATIONS, SPEC, resolved, strict

OCTETS = {"Content-Type": "application/octet-stream"}
BY_ID = {o.id: o for o in OPERATIONS}


# --- the file by itself ---

def refs(node):
    if isinstance(node, list):
        for n in node:
            yield from refs(n)
    elif isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for v in node.values():
            yield from refs(v)


def test_every_operation_is_described():
    ids = [o.id for o in OPERATIONS]
    assert len(set(ids)) == len(ids)
    tags = {t["name"] for t in SPEC["tags"]}
    for o in OPERATIONS:
        assert o.node["summary"] and set(o.node["tags"]) <= tags, o.id
        assert all(r.get("description") for r, _ in o.responses.values()), o.id
        names = {p["name"] for p in o.parameters if p["in"] == "path"}
        assert names == {part[1:-1] for part in o.template.split("/") if part.startswith("{")}, o.id
        assert all(p["in"] in ("path", "query", "header") and "schema" in p for p in o.parameters), o.id


def test_every_component_is_used_and_every_reference_resolves():
    used = set(refs(SPEC))
    for ref in used:
        contract.pointed(ref)
    declared = {f"#/components/{kind}/{name}" for kind, things in SPEC["components"].items() for name in things}
    assert declared == used


def test_every_schema_is_valid_json_schema():
    for name, schema in resolved(SPEC["components"]["schemas"]).items():
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator.check_schema(strict(schema))


def examples():
    """(where, schema, value) of each example in the file."""
    for o in OPERATIONS:
        bodies = [("request", o.node.get("requestBody", {}))] + [(s, r) for s, (r, _) in o.responses.items()]
        for what, body in bodies:
            for kind, content in body.get("content", {}).items():
                if "example" in content:
                    yield f"{o.id} {what}", kind, content["schema"], content["example"]


def test_examples_fit_their_schemas():
    for where, kind, schema, value in examples():
        if "json" in kind:
            errors = list(jsonschema.Draft202012Validator(strict(schema)).iter_errors(value))
            assert not errors, f"{where}: {errors[0].json_path}: {errors[0].message}"


# --- the server ---

def test_the_server_serves_the_file(api):
    assert api.get("/v1/openapi.yaml").content == (TOP / "docs" / "openapi.yaml").read_bytes()


def path_of(operation, **values):
    path = operation.template
    for name, value in values.items():
        path = path.replace("{" + name + "}", str(value))
    return path


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if (o.body_schema() or {}).get("type") == "object"], ids=lambda o: o.id)
def test_the_server_knows_the_same_members(api, operation):
    """An unknown member is refused, and the refusal names the known ones: those of the file."""
    claim = {"job_id": str(uuid.uuid4()), "attempt": 1, "token": "1." + "0" * 32}
    answer = api.request(operation.verb.upper(), path_of(operation, **claim), json={"zz_unknown": 1}, headers={"Haul-Token": claim["token"]})
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    if "zz_unknown" not in problem.get("field", ""):  # a required one is asked for first
        body = {name: sample(schema) for name, schema in operation.body_schema()["properties"].items()
                if name in operation.body_schema().get("required", [])}
        problem = api.request(operation.verb.upper(), path_of(operation, **claim), json={**body, "zz_unknown": 1},
                              headers={"Haul-Token": claim["token"]}).json()
    assert problem.get("field") == "zz_unknown", problem
    known = problem["detail"].rpartition("; known: ")[2]
    assert {k for k in known.split(", ") if k and k != "none"} == set(operation.body_schema().get("properties", {})), problem


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.verb == "get" and o.template.startswith("/v1/")], ids=lambda o: o.id)
def test_the_server_knows_the_same_parameters(api, operation):
    answer = api.get(path_of(operation, job_id=uuid.uuid4(), blob_id=uuid.uuid4()), params={"zz_unknown": "1"})
    assert answer.status_code == 422 and answer.json()["field"] == "zz_unknown", answer.text
    known = answer.json()["detail"].rpartition("; known: ")[2]
    assert {k for k in known.split(", ") if k and k != "none"} == operation.query(), answer.text


def sample(schema):
    """Some value that the schema allows."""
    if "example" in schema:
        return schema["example"]
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema:
        return sample(schema["oneOf"][0])
    kind = schema.get("type")
    if kind == "array":
        return [sample(schema["items"])] if schema.get("minItems") else []
    if kind == "object":
        return {"t": "1"} if isinstance(schema.get("additionalProperties"), dict) else {n: sample(schema["properties"][n]) for n in schema.get("required", [])}
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    return {"uuid": str(uuid.uuid4()), "date-time": "2026-12-01T10:00:00Z"}.get(schema.get("format"), "x" * max(1, schema.get("minLength", 1)))
