"""GET /v1/jobs with filters: labels, times, names; pages."""
import json
import uuid
from datetime import datetime, timedelta, timezone

import pytest
from conftest import problem


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [j["job_id"] for j in answer.json()["jobs"]]


def found(api, *pairs, limit=1000):
    """Ids of all pages, in order. Pairs, because a label may be asked for more than once."""
    out, cursor = [], None
    while True:
        answer = api.get("/v1/jobs", params=[*pairs, ("limit", limit), *([("cursor", cursor)] if cursor else [])])
        page = ids(answer)
        assert len(page) <= limit
        out += page
        cursor = answer.json()["next_cursor"]
        if not cursor:
            assert len(set(out)) == len(out)
            return out


def test_a_thousand_jobs_of_one_batch_in_pages(api):
    jobs = [{"task_type": "odd" if i % 2 else "even", "labels": {"batch": "b1", "third": str(i % 3)}} for i in range(1000)]
    results = api.post("/v1/jobs:batch", {"jobs": jobs}).json()["results"]
    made = [r["job_id"] for r in results]
    assert len(set(made)) == 1000
    assert set(found(api, limit=300)) == set(made)
    assert found(api, limit=300) == sorted(made, reverse=True)
    assert found(api, ("label", "batch=b1"), limit=99) == sorted(made, reverse=True)
    assert set(found(api, ("label", "third=0"), limit=50)) == set(made[::3])
    assert set(found(api, ("label", "third=0"), ("label", "batch"), ("task_type", "odd"), limit=7)) == set(made[3::6])
    assert len(ids(api.get("/v1/jobs", params={"label": "batch"}))) == 50  # the default page
    # where a job is moved to makes no difference
    api.post("/v1/jobs:cancel", {"job_ids": made[:500]})
    assert set(found(api, ("label", "third=1"), ("status", "cancelled"), limit=40)) == set(made[1:500:3])
    assert set(found(api, ("label", "third=1"), ("status", "pending"), limit=40)) == set(made[502::3])
    assert set(found(api, ("label", "third=1"), limit=40)) == set(made[1::3])
    api.post("/v1/jobs:discard", {"job_ids": made[:500]})
    assert set(found(api, ("label", "batch=b1"), limit=300)) == set(made[500:])


def test_filters_that_match_nothing_or_everything(api):
    made = [api.submit("t", labels={"a": "1"})["job_id"] for _ in range(3)]
    everything = sorted(made, reverse=True)
    for pair in [("label", "a"), ("label", "a=1"), ("task_type", "t"), ("queue", "t"), ("status", "pending"),
                 ("created_after", "1970-01-01T00:00:00Z"), ("created_before", "9999-01-01T00:00:00Z"), ("created_after", "0000-01-01T00:00:00Z")]:
        assert found(api, pair) == found(api, pair, limit=2) == everything, pair
    for pair in [("label", "b"), ("label", "a=2"), ("label", "a="), ("label", "A=1"), ("label", "a=1="), ("task_type", "u"), ("queue", "u"),
                 ("status", "failed"), ("created_after", "9999-01-01T00:00:00Z"), ("created_before", "1970-01-01T00:00:00Z")]:
        answer = api.get("/v1/jobs", params=[pair])
        assert ids(answer) == [] and answer.json()["next_cursor"] is None, pair
    assert found(api, ("label", "a"), ("label", "b")) == []
    assert found(api, ("label", "a=1"), ("label", "a=1"), ("label", "a")) == everything
    assert found(api, ("label", "a=1"), ("label", "a=2")) == []


def test_created_after_is_inclusive_and_before_exclusive(api):
    jobs = [api.submit("t") for _ in range(3)]
    at = [j["created_at"] for j in jobs]
    made = [j["job_id"] for j in jobs]
    assert at == sorted(set(at))
    assert found(api, ("created_after", at[1])) == [made[2], made[1]]
    assert found(api, ("created_before", at[1])) == [made[0]]
    assert found(api, ("created_after", at[1]), ("created_before", at[2])) == [made[1]]
    assert found(api, ("created_after", at[2]), ("created_before", at[1])) == []
    moment = datetime.fromisoformat(at[1].replace("Z", "+00:00"))
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    assert "+05:30" in elsewhere
    assert found(api, ("created_after", elsewhere)) == [made[2], made[1]]


def test_labels_are_any_text(api):
    odd = {"path": "a/b=c", "sp ace": "x y", "grün": "&=+%", "empty": ""}
    job_id = api.submit("t", labels=odd)["job_id"]
    api.submit("t", labels={"path": "a"})
    for key, value in odd.items():
        assert found(api, ("label", f"{key}={value}")) == [job_id]
    assert len(found(api, ("label", "path"))) == 2


@pytest.mark.parametrize("pairs, field", [
    ([("label", "")], "label"), ([("label", "=x")], "label"), ([("label", "k" * 64)], "label"), ([("label", "k=" + "v" * 256)], "label"),
    ([("label", f"k{i}") for i in range(9)], "label"), ([("created_after", "yesterday")], "created_after"),
    ([("created_after", "")], "created_after"), ([("created_before", "2026-11-25")], "created_before"),
    ([("created_before", "1764046255")], "created_before"), ([("cursor", "x")], "cursor"), ([("status", "done")], "status"),
    ([("queue", "a b")], "queue"), ([("limit", "0")], "limit"), ([("labels", "a")], "labels"),
])
def test_bad_filters_are_named(api, pairs, field):
    problem(api.get("/v1/jobs", params=pairs), 422, "invalid", field)


@pytest.mark.parametrize("name, values", [("status", ("failed", "failed")), ("limit", ("1", "2")), ("cursor", (str(uuid.uuid4()),) * 2),
                                          ("created_after", ("2026-11-25T00:00:00Z",) * 2), ("task_type", ("a", "b"))])
def test_only_label_may_be_repeated(api, name, values):
    problem(api.get("/v1/jobs", params=[(name, v) for v in values]), 400, "malformed", name)


def test_labels_survive_a_restart(server, api):
    made = [api.submit("t", labels={"a": str(i % 2)})["job_id"] for i in range(4)]
    server.kill()
    server.restart()
    assert found(api, ("label", "a=1")) == [made[3], made[1]]


def test_text_is_looked_for_in_ids_types_keys_labels_and_errors(api):
    by_type = api.submit("transcode_v1")["job_id"]
    by_key = api.submit("t", dedup_key="Order-50%_4711 <b>")["job_id"]
    by_label = api.submit("t", labels={"customer": "Größe & \"Söhne\" \\ tmp", "no": "x"})["job_id"]
    failed = api.submit("fails", max_attempts=1)["job_id"]
    assert api.act(api.lease("fails")[0], "fail", {"outcome": "error", "error_log": "cannot open /in/café.mp4\nexit status 3"}).status_code == 200
    for text, jobs in [("TRANSCODE", [by_type]), ("code_", [by_type]), ("order-50%_4711 <B>", [by_key]), ("50%4711", []), ("5_%", []), ("*", []), ("%", [by_key]),
                       ("größe & \"s", [by_label]), ("GRÖSSE", []), ("\\ tmp", [by_label]), ("customer", []), ("café.MP4", [failed]), ("a" * 200, []),
                       ("ü" * 100, []), (by_key, [by_key]), (by_key.upper(), [by_key]), (by_key[:30], None), (by_key[1:], []), (" ", [failed, by_label, by_key]),
                       ("' OR 1=1 --", [])]:
        if jobs is None:
            assert by_key in found(api, ("text", text))
        else:
            assert found(api, ("text", text)) == found(api, ("text", text), limit=1) == jobs, text
    assert found(api, ("text", "t"), ("status", "failed")) == [failed]
    assert found(api, ("text", "o"), ("label", "no")) == []
    assert found(api, ("text", "SÖHNE"), ("label", "no=x"), ("task_type", "t"), ("queue", "t"), ("status", "pending")) == []  # Ö is not ö
    assert found(api, ("text", "Söhne"), ("label", "no=x"), ("task_type", "t"), ("queue", "t"), ("status", "pending")) == [by_label]


@pytest.mark.parametrize("query, status", [("text=", 422), ("text=" + "a" * 201, 422), ("text=" + "%C3%BC" * 101, 422), ("text=%FF", 400), ("text=%C3", 400),
                                           ("text=a%00b", 400), ("text=a%0Ab", 400), ("text=%1B[31m", 400), ("text=a&text=b", 400)])
def test_text_that_is_refused(api, query, status):
    answer = api.get("/v1/jobs?" + query)
    assert answer.status_code == status, answer.text
    assert answer.json().get("field") == "text" or status == 400


def test_the_command_line_looks_for_text(api, haul, server):
    ids = [api.submit("t", labels={"n": f"film {i}"})["job_id"] for i in range(3)]
    done = haul("jobs", "list", "--text", "FILM 1", "--json", url=server.url)
    assert [j["job_id"] for j in json.loads(done.stdout)["jobs"]] == [ids[1]]
    assert haul("jobs", "cancel", "--text", "film 2", "--yes", url=server.url).returncode == 0
    assert [api.job(i)["status"] for i in ids] == ["pending", "pending", "cancelled"]
    assert haul("jobs", "list", "--text", "a" * 201, url=server.url).returncode == 11
    assert haul("jobs", "list", "--text", "", url=server.url).returncode == 11
    assert haul("dlq", "list", "--text", "x", url=server.url).returncode == 2
