"""docs/openapi.yaml and the server say the same: every operation is called, well and badly, and every answer checked (contract.py, which
also checks the answers of all other tests)."""
import uuid

import contract
import jsonschema
import pytest
from conftest import COMPLETE, TOP, Api, until
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
        assert all(p.get("description") or p["in"] == "path" for p in o.parameters), f"{o.id}: a parameter without description"


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
                for value in [content["example"]] if "example" in content else content["schema"].get("examples", []):
                    yield f"{o.id} {what}", kind, content["schema"], value


def test_examples_fit_their_schemas():
    for where, kind, schema, value in examples():
        if "json" in kind:
            errors = list(jsonschema.Draft202012Validator(strict(schema)).iter_errors(value))
            assert not errors, f"{where}: {errors[0].json_path}: {errors[0].message}"


def test_every_json_body_has_an_example():
    have, want = {where for where, _, _, _ in examples()}, set()
    for o in OPERATIONS:
        if (o.body_schema() or {}).get("properties"):
            want.add(f"{o.id} request")
        want |= {f"{o.id} {s}" for s, (r, _) in o.responses.items() if s[0] == "2" and "application/json" in r.get("content", {})}
    assert not want - have, sorted(want - have)


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
    claim = {"job_id": str(uuid.uuid4()), "redrive_id": uuid.uuid4(), "worker_id": uuid.uuid4(), "upload_id": uuid.uuid4(), "queue": "q", "attempt": 1, "token": "1." + "0" * 32}
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
    answer = api.get(path_of(operation, job_id=uuid.uuid4(), blob_id=uuid.uuid4(), redrive_id=uuid.uuid4(), queue="q"), params={"zz_unknown": "1"})
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


# --- every operation, every answer that is described, every member with a value ---

def claims(api, **submission):
    """A job of a type of its own, claimed by a worker that the test plays."""
    task_type = "t" + uuid.uuid4().hex
    job = api.submit(task_type, **submission)
    return job, api.lease(task_type)[0]


def submissions(api):
    ref = api.put_blob(b"bytes")["ref"]
    key = {"task_type": "t", "dedup_key": "k"}
    api.post("/v1/jobs", key)
    api.post("/v1/jobs", key)
    api.post("/v1/jobs", {**key, "task_type": "u"})
    api.post("/v1/jobs", {"task_type": "t", "payload": "x" * 70000})
    api.post("/v1/jobs", {"nonsense": 1})
    api.post("/v1/jobs:batch", {"jobs": [{"task_type": "b"}, {**key, "task_type": "u"}, {**key}, {}]})
    api.post("/v1/jobs:batch", {"jobs": []})
    api.post("/v1/jobs:batch", {"jobs": [{"task_type": "b"}] * 1001})
    api.post("/v1/jobs:batch", data=b"{", headers={"Content-Type": "application/json"})
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "rojo=1"}
    api.post("/v1/jobs", {"task_type": "t"}, headers=trace)
    api.post("/v1/jobs:batch", {"jobs": [{"task_type": "b"}, {"task_type": "b", **trace}]}, headers=trace)
    job = api.submit("t", payload_ref=ref, labels={"a": "b"}, timeout="10m", no_progress_timeout="5m", start_within=3600, **trace)
    api.job(job["job_id"])
    for verb in ("cancel", "retry", "cancel", "discard", "cancel"):
        api.post(f"/v1/jobs:{verb}", {"job_ids": [job["job_id"], str(uuid.uuid4())]})
        api.post(f"/v1/jobs:{verb}", {})
        api.post(f"/v1/jobs:{verb}", {"job_ids": [str(uuid.uuid4())] * 1001})
        api.post(f"/v1/jobs:{verb}", data=b"{", headers={"Content-Type": "application/json"})


def drains(api):
    """A worker that is drained: before and after."""
    me, nobody = str(uuid.uuid4()), str(uuid.uuid4())
    api.lease("drained", worker_id=me, wait="0s")
    for worker, body in ((me, {"by": "me"}), (me, {}), (me, {"by": 1}), (nobody, {}), ("nonsense", {})):
        api.post(f"/v1/workers/{worker}/drain", body)
    api.lease("drained", worker_id=me, wait="0s")
    api.get("/v1/workers")
    waits = api.submit("drained")["job_id"]
    assert api.get(f"/v1/jobs/{waits}/explain").json()["reason"] == "workers_drained"
    for worker in (me, me, nobody):
        api.post(f"/v1/workers/{worker}/resume", {})


def lists(api):
    for _ in range(2):
        api.submit("listed", labels={"l": "1"})
    api.get("/v1/jobs", params={"label": "l=1", "limit": 1})
    api.get("/v1/jobs", params={"limit": "many"})
    api.get("/v1/jobs?limit=1&limit=2")
    api.get("/v1/dlq?cursor=nonsense")
    api.post("/v1/queues/listed/pause", {"by": "me", "reason": "a test"})
    api.post("/v1/queues/listed/pause", {"by": 1})
    for path in ("/v1/queues", "/v1/queues/listed", "/v1/queues/nobody", "/v1/queues/-"):
        api.get(path)
    for _ in range(2):
        api.post("/v1/queues/listed/resume", {})
    api.post("/v1/queues/-/resume", {})
    drains(api)
    for receiver in ("ring", "broken", "nobody"):
        api.post(f"/v1/alerts/receivers/{receiver}/test", {})
    api.post("/v1/lease", {"worker_id": str(uuid.uuid4()), "poll_id": "p", "handlers": {"t": "1"}, "slots": 0, "wait": "0s",
                           "load": {"cpus": 8, "cpu": 3.2, "memory_bytes": 1, "memory_total_bytes": 2}})
    for path in ("/v1/workers", "/v1/stats", "/v1/slis", "/v1/alerts", "/metrics", "/healthz", "/readyz"):
        api.get(path)


def redrives(api):
    _, claim = claims(api, labels={"l": "1"}, queue="q")
    api.act(claim, "fail", {"outcome": "error", "permanent": True, "error_log": "it broke"})
    (group,) = api.get("/v1/dlq", params={"limit": 1}).json()["groups"]
    wide = {"fingerprint": group["fingerprint"], "task_type": group["task_type"], "queue": "q", "labels": ["l=1"], "created_after": "2026-01-01T00:00:00Z",
            "created_before": "2999-01-01T00:00:00Z", "failed_before": "2999-01-01T00:00:00Z"}
    for request in ({"action": "retry", "filter": wide, "limit": 1, "rate": "9/s", "dry_run": True}, {"action": "retry", "filter": {}, "rate": "1/h"}):
        key = {"Idempotency-Key": uuid.uuid4().hex}
        for _ in range(2):
            made = api.post("/v1/redrives", request, headers=key).json()
        api.post("/v1/redrives", {**request, "action": "discard"}, headers=key)
    api.post("/v1/redrives", {})
    api.post("/v1/redrives", {"action": "retry", "filter": {"fingerprint": "0" * 15 + "1"}})

    def dry_run_is_over():
        """the dry run is over"""
        return [r for r in api.get("/v1/redrives").json()["redrives"] if r["ended_at"]]
    (over,) = until(dry_run_is_over)
    api.get("/v1/redrives?cursor=nonsense")
    for redrive_id in (made["redrive_id"], over["redrive_id"], str(uuid.uuid4())):
        api.get("/v1/redrives/" + redrive_id)
        api.post(f"/v1/redrives/{redrive_id}/cancel", {})


def blobs(api):
    blob = api.put_blob(b"0123456789")
    path = "/v1/blobs/" + blob["ref"][5:]
    api.post("/v1/blobs", data=b"x", headers={**OCTETS, "Haul-Sha256": "0" * 64})
    for headers in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=90-"}, {"If-None-Match": f'"{blob["sha256"]}"'},
                    {"If-Match": '"other"'}):
        api.get(path, headers=headers)
        api.request("HEAD", path, headers={k: v for k, v in headers.items() if k != "Range"})
    api.get("/v1/blobs/" + str(uuid.uuid4()))
    api.request("HEAD", "/v1/blobs/" + str(uuid.uuid4()))


def uploads(api):
    tus = {"Tus-Resumable": "1.0.0"}
    piece = {**tus, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    api.request("OPTIONS", "/v1/uploads")
    for headers in ({}, tus, {**tus, "Upload-Length": "4", "Upload-Metadata": "filename Y2xpcA=="}):
        path = api.request("POST", "/v1/uploads", headers=headers).headers.get("Location")
    finished = path
    for path in (path, f"/v1/uploads/{uuid.uuid4()}"):
        api.request("HEAD", path, headers=tus)
        for headers, data in ((piece, b"more than four"), (tus, b"x"), ({**piece, "Tus-Resumable": "2"}, b"x"), ({**piece, "Upload-Offset": "x"}, b"x"),
                              ({**piece, "Upload-Offset": "3"}, b"x"), (piece, b"four")):
            api.request("PATCH", path, headers=headers, data=data)
        api.request("DELETE", path)
        api.request("DELETE", path, headers=tus)  # the one is finished, the other was never begun
    open_one = api.request("POST", "/v1/uploads", headers={**tus, "Upload-Length": "4"}).headers["Location"]
    for each in (path, open_one, finished):
        api.get(each + "/parts")
        for number in (1, 0):
            api.post(each + "/parts", {"parts": [{"number": number, "md5": "0" * 32}]})
        api.post(each + "/complete", {})
    api.request("DELETE", open_one, headers=tus)


def attempt(api):
    ref = api.put_blob(b"input")["ref"]
    job, claim = claims(api, inputs=[{"name": "i", "ref": ref}], payload_ref=ref, labels={"a": "b"}, dedup_key=uuid.uuid4().hex, timeout=60, no_progress_timeout=30,
                        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate="rojo=1")
    path = f"/v1/jobs/{job['job_id']}"
    stale = {**claim, "token": "1." + "0" * 32}
    for c in (claim, stale):
        api.act(c, "heartbeat", {"samples": [{"at_s": 0.5, "cpu": 1.5, "memory_bytes": 4096}]})
        api.act(c, "progress", {"percent": 10.5, "message": "m"})
        api.act(c, "log?offset=0", data=b"0123456789", headers=OCTETS)
        api.act(c, "outputs/o", method="PUT", data=b"text", headers=OCTETS)
        api.act(c, "outputs", {"name": "p", "ref": ref})
        api.act(c, "outputs", {"name": "p"})
        api.act(c, "checkpoint", {"percent": 5, "files": []}, method="PUT")
    api.act(claim, "log?offset=10", data=bytes(70000), headers=OCTETS)
    api.get(path)
    api.request("DELETE", path)
    api.act(stale, "complete", {"outputs": [], **COMPLETE})
    api.act(stale, "fail", {"outcome": "error"})
    for headers in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=90-"}):
        api.get(path + "/log", headers=headers)
    api.get(path + "/log", params={"attempt": 7})
    waiting = api.submit("waits", priority=1, start_within="1h")["job_id"]
    for job_id in (waiting, api.submit("waits", delay="1h")["job_id"], job["job_id"], str(uuid.uuid4())):
        api.get(f"/v1/jobs/{job_id}/explain")
    api.act(claim, "fail", {"outcome": "error", "phases": [{"name": "nap"}]})
    api.act(claim, "fail", {"outcome": "signal", "signal": 9, "phases": [{"name": "download", "took_s": 0.1}], "exit_code": 1, "error_log": "again", "retry_after": "0s"})
    again = api.lease(job["task_type"])[0]
    api.act(again, "outputs/o", method="PUT", data=b"text", headers=OCTETS)
    kept = {"name": "part", "ref": api.put_blob(b"part")["ref"], "executable": False}
    api.act(again, "checkpoint", {"percent": 50, "sequence": 2, "files": [kept]}, method="PUT")
    api.get(f"/v1/jobs/{again['job_id']}/checkpoint")
    api.post(path + "/retry", {})
    api.act(again, "complete", {"outputs": ["o"], "phases": [{"name": "run", "at_s": 0.1, "took_s": 1}], **COMPLETE})
    api.get(f"/v1/jobs/{again['job_id']}/checkpoint")
    for sub in ("", "/attempts", "/attempts/1/usage", "/attempts/9/usage", "/outputs"):
        api.get(path + sub)
        api.get(f"/v1/jobs/{uuid.uuid4()}{sub}")
    api.post(path + "/cancel", {})


def ends(api):
    job, claim = claims(api)
    path = f"/v1/jobs/{job['job_id']}"
    api.post(path + "/cancel", {})  # 202: it runs
    api.get(path)
    api.act(claim, "fail", {"outcome": "cancelled"})
    api.post(path + "/retry", {})
    api.post(path + "/cancel", {})
    api.request("DELETE", path)
    api.request("DELETE", path)
    expired = api.submit("x", start_within="1ms", max_attempts=1)
    api.get(f"/v1/jobs/{expired['job_id']}", params={"wait": "10s", "version": expired["version"]})


def described():
    """(operation, status) of every answer that the file names; `default` stands for what any operation may say."""
    return {(o.id, status) for o in OPERATIONS for status in o.responses if status != "default"}


# Not called here: the backup and its conflicts are test_backup.py's, a draining server is test_api.py's; checked there by the same rules.
# The event stream, which has no end, is test_events.py's.
ELSEWHERE = {"backup", "readyz", "streamEvents"}
# test_s3.py, test_parts.py
WITH_S3 = {("getBlob", "307"), ("listUploadParts", "200"), ("signUploadParts", "200"), ("completeUpload", "409"), ("completeUpload", "422"), ("completeUpload", "503")}


def test_every_operation_gives_every_answer_that_is_described(make_server):
    api = Api(make_server({"alert_receivers": {"ring": {"command": ["true"]}, "broken": {"command": ["false"]}}}).url)
    contract.seen.clear()
    contract.fields_seen.clear()
    for part in (submissions, blobs, uploads, attempt, redrives, ends, lists):
        part(api)
    api.get("/v1/openapi.yaml")
    api.get("/readyz")
    missing = {(o, s) for o, s in described() - contract.seen if o not in ELSEWHERE} - WITH_S3
    assert not missing, sorted(missing)
    members = {path.split(".")[-1].removesuffix("[]") for _, status, path in contract.fields_seen if status[0] == "2"}
    elsewhere = {"retry_after_s", "servers", "server_id", "self", "next_try_at"}  # with a 503; test_many.py, test_alert_receivers.py
    for name in ("Job", "Attempt", "Output", "Blob", "Claim", "Worker", "Stats", "BatchAnswer", "BulkAnswer", "DeadLetterGroup", "Redrive",
                 "Queue", "QueuePause", "AlertReceiver"):
        wanted = properties(strict(resolved(SPEC["components"]["schemas"][name]))) - elsewhere
        assert wanted <= members, f"{name}: no answer had a value for {sorted(wanted - members)}"


def properties(schema):
    """Names of members at every depth, where the file gives them names."""
    found = set()
    if isinstance(schema, dict):
        for name, member in schema.get("properties", {}).items():
            found |= {name} | properties(member)
        for key in ("items", "oneOf", "anyOf"):
            parts = schema.get(key, [])
            for part in parts if isinstance(parts, list) else [parts]:
                found |= properties(part)
    return found
