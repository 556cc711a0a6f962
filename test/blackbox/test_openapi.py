"""Holds the server to docs/openapi.yaml: every answer given here must be one that the file describes."""
import re
import uuid

import jsonschema
import pytest
import yaml
from conftest import COMPLETE, TOP

SPEC = yaml.safe_load((TOP / "docs" / "openapi.yaml").read_text())
OCTETS = {"Content-Type": "application/octet-stream"}


def resolved(node):
    """The node with every $ref replaced by what it refers to, and what stands beside it."""
    if isinstance(node, list):
        return [resolved(n) for n in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = SPEC
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    return {k: resolved(v) for k, v in node.items()}


PATHS = resolved(SPEC["paths"])


def described(answer):
    """Asserts that the file describes this answer; gives it back."""
    method, path = answer.request.method.lower(), answer.request.path_url.split("?")[0]
    for template, operations in PATHS.items():
        if method in operations and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            break
    else:
        pytest.fail(f"{method} {path} is not in docs/openapi.yaml")
    responses = operations[method]["responses"]
    response = responses.get(str(answer.status_code), responses.get("default"))
    assert response, f"{method} {template} answered {answer.status_code}: {answer.text}"
    kind = answer.headers.get("Content-Type", "")
    if "json" in kind:
        schemas = {k: v["schema"] for k, v in response.get("content", {}).items()}
        if schemas:
            assert kind.split(";")[0] in schemas
            jsonschema.validate(answer.json(), schemas[kind.split(";")[0]])
    return answer


def test_the_file_is_consistent():
    operations = [o for path in PATHS.values() for verb, o in path.items() if verb in ("get", "post", "put", "delete", "head")]
    assert len({o["operationId"] for o in operations}) == len(operations) >= 23
    for schema in resolved(SPEC["components"]["schemas"]).values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_answers_are_described(api):
    ref = described(api.post("/v1/blobs", data=b"bytes", headers=OCTETS)).json()["ref"]
    described(api.get("/v1/blobs/" + ref[5:]))
    described(api.request("HEAD", "/v1/blobs/" + ref[5:]))
    described(api.get("/v1/blobs/" + str(uuid.uuid4())))
    job = described(api.post("/v1/jobs", {"task_type": "t", "payload_ref": ref, "labels": {"a": "b"}, "timeout": "10m",
                                          "dedup_key": "k", "start_within": 3600})).json()
    described(api.post("/v1/jobs", {"task_type": "u", "dedup_key": "k"}))
    described(api.post("/v1/jobs", {"nonsense": 1}))
    described(api.post("/v1/jobs:batch", {"jobs": [{"task_type": "b"}, {"task_type": "u", "dedup_key": "k"}, {}]}))
    described(api.post("/v1/jobs:batch", {"jobs": []}))
    batch = api.post("/v1/jobs:batch", {"jobs": [{"task_type": "b"}]}).json()["results"][0]["job_id"]
    for verb in ("cancel", "retry", "cancel", "discard", "cancel"):
        described(api.post(f"/v1/jobs:{verb}", {"job_ids": [batch, str(uuid.uuid4())]}))
    described(api.post("/v1/jobs:retry", {}))
    described(api.get("/v1/jobs"))
    described(api.get("/v1/jobs", params={"limit": "many"}))
    path = f"/v1/jobs/{job['job_id']}"
    described(api.get(path))
    claim = described(api.post("/v1/lease", {
        "worker_id": str(uuid.uuid4()), "poll_id": "1", "name": "n", "host": "h", "version": "0", "isolation": "none",
        "handlers": {"t": "1"}, "slots": 1, "slots_total": 1, "slots_busy": 0, "wait": 10})).json()["jobs"][0]
    assert claim["inputs"][0]["name"] == "payload"
    for verb, body in [("heartbeat", {}), ("progress", {"percent": 10.5, "message": "m"}), ("progress", {"percent": 101})]:
        described(api.act(claim, verb, body))
    described(api.act(claim, "log?offset=0", data=b"text", headers=OCTETS))
    described(api.act(claim, "outputs/o", method="PUT", data=b"text", headers=OCTETS))
    described(api.get(path))
    described(api.request("DELETE", path))
    described(api.act(claim, "fail", {"outcome": "error", "error_log": "again", "retry_after": "0s", **COMPLETE}))
    described(api.post(path + "/cancel"))
    described(api.post(path + "/retry"))
    described(api.post(path + "/retry"))
    for sub in ("attempts", "outputs", "log"):
        described(api.get(f"{path}/{sub}"))
    claim = api.lease("t")[0]
    described(api.act(claim, "complete", {"outputs": [], **COMPLETE}))
    for sub in ("", "/attempts", "/outputs", "/log"):
        described(api.get(path + sub))
    described(api.request("DELETE", path))
    for other in ("/v1/workers", "/v1/stats", "/healthz", "/readyz"):
        described(api.get(other))
