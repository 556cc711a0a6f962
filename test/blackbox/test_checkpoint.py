"""Checkpoints over the wire: what one attempt leaves, the next one finds."""

import hashlib

import pytest

from conftest import Api, COMPLETE, problem


def interrupted(api, claim):
    answer = api.act(claim, "fail", {"outcome": "interrupted", "permanent": False, "error_log": "told to stop"})
    assert answer.status_code == 200, answer.text


def test_P08_the_next_attempt_finds_the_checkpoint_after_a_restart(make_server):
    server = make_server()
    api = Api(server.url)
    job_id = api.submit("encode")["job_id"]
    problem(api.get(f"/v1/jobs/{job_id}/checkpoint"), 404, "not_found")
    first = api.lease("encode")[0]
    api.act(first, "heartbeat", {})
    part, tool = api.put_blob(b"segment one"), api.put_blob(b"#!/bin/sh\n")
    files = [{"name": "part-1", "ref": part["ref"]}, {"name": "tool", "ref": tool["ref"], "executable": True}]
    answer = api.act(first, "checkpoint", {"percent": 42.5, "files": files}, method="PUT")
    assert answer.status_code == 204, answer.text
    interrupted(api, first)
    server.terminate()
    server.restart()
    api = Api(server.url)
    second = api.lease("encode")[0]
    assert second["attempt"] == 2
    found = api.get(f"/v1/jobs/{job_id}/checkpoint").json()
    assert (found["attempt"], found["percent"], found["bytes"]) == (1, 42.5, 21)
    assert [(f["name"], f["executable"]) for f in found["files"]] == [("part-1", False), ("tool", True)]
    data = api.get("/v1/blobs/" + found["files"][0]["ref"].removeprefix("blob:")).content
    assert data == b"segment one"
    assert found["files"][0]["sha256"] == hashlib.sha256(data).hexdigest()

    # What did not change is named again, not sent again; without percent it is not known.
    assert api.act(second, "checkpoint", {"files": files[:1]}, method="PUT").status_code == 204
    found = api.get(f"/v1/jobs/{job_id}/checkpoint").json()
    assert (found["attempt"], found["percent"], len(found["files"])) == (2, None, 1)
    problem(api.act(first, "checkpoint", {"files": []}, method="PUT"), 409, "stale_token")
    assert api.get(f"/v1/jobs/{job_id}/checkpoint").json() == found
    assert api.act(second, "complete", {"outputs": [], **COMPLETE}).status_code == 200
    problem(api.get(f"/v1/jobs/{job_id}/checkpoint"), 404, "not_found")


@pytest.mark.parametrize("files, field", [
    ([{"name": "..", "ref": None}], "files[0].name"),
    ([{"name": "a/b", "ref": None}], "files[0].name"),
    ([{"name": "a", "ref": "https://example.com/a"}], "files[0].ref"),
    ([{"name": "a", "ref": "blob:01936d5e-7b11-7aaa-8bbb-5a6b7c8d9e0f"}], "files[0].ref"),
    ([{"name": "a", "ref": None}, {"name": "a", "ref": None}], "files"),
    ([{"name": "a", "ref": None, "mode": 7}], "files[0].mode"),
    ([{"name": f"f{i}", "ref": None} for i in range(1001)], "files"),
    (None, "files"),
])
def test_a_checkpoint_that_is_refused_leaves_the_one_before(api, files, field):
    job_id = api.submit("encode")["job_id"]
    claim = api.lease("encode")[0]
    ref = api.put_blob(b"x")["ref"]
    assert api.act(claim, "checkpoint", {"files": [{"name": "kept", "ref": ref}]}, method="PUT").status_code == 204
    before = api.get(f"/v1/jobs/{job_id}/checkpoint").json()
    body = {} if files is None else {"files": [{**f, "ref": f["ref"] or ref} for f in files]}
    assert api.act(claim, "checkpoint", body, method="PUT").status_code in (400, 422)
    refused = api.act(claim, "checkpoint", body, method="PUT")
    assert refused.json()["field"] == field
    assert api.get(f"/v1/jobs/{job_id}/checkpoint").json() == before


def test_checkpoint_that_comes_late_changes_nothing(api):
    job_id = api.submit("encode")["job_id"]
    claim = api.lease("encode")[0]
    ref = api.put_blob(b"newer")["ref"]
    files = [{"name": "kept", "ref": ref, "executable": False}]
    problem(api.act(claim, "checkpoint", {"files": files, "sequence": 0}, method="PUT"), 422, "invalid", "sequence")
    assert api.act(claim, "checkpoint", {"files": files, "sequence": 7}, method="PUT").status_code == 204
    assert api.act(claim, "checkpoint", {"files": [], "sequence": 6}, method="PUT").status_code == 204  # the network had kept it
    assert [f["ref"] for f in api.get(f"/v1/jobs/{job_id}/checkpoint").json()["files"]] == [ref]
