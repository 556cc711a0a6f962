"""The dashboard as a client of HTTP meets it: which documents there are, how they may be cached and packed, what they forbid the browser.
What it does in a browser is tried by web/test."""
import gzip
import re

import pytest
import requests
from conftest import problem

PAGES = ["/", "/queues", "/jobs", "/jobs/01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f", "/dead-letters", "/workers", "/alerts"]
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def fetch(server):
    def fetch(path, method="GET", **kwargs):
        with requests.Session() as session:
            answer = session.send(requests.Request(method, server.url + path, **kwargs).prepare(), stream=True, timeout=30)
            answer.bytes = answer.raw.read(decode_content=False)
            return answer
    return fetch


def assets(document):
    found = re.findall(r'(?:src|href)="(/assets/[^"]+)"', document)
    assert len(found) >= 3, document
    return found


def test_every_page_is_the_same_document(fetch):
    first = fetch("/", headers=PLAIN)
    assert first.status_code == 200 and first.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "X-Request-Id" in first.headers
    for path in PAGES:
        answer = fetch(path, headers=PLAIN)
        assert (answer.status_code, answer.bytes) == (200, first.bytes), path
        assert answer.headers["Cache-Control"] == "no-cache"


def test_a_filter_of_a_page_is_left_to_the_browser(fetch):
    assert fetch("/jobs?status=failed&label=a&label=b&no_such=1").status_code == 200


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(fetch):
    answer = fetch("/jobs", headers=PLAIN)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'" and policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    text = answer.bytes.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", text), text
    assert not re.search(r"""(?:src|href)=["'](?!/assets/)""", text), text


def test_assets_last_for_ever_and_the_document_does_not(fetch):
    for path in assets(fetch("/", headers=PLAIN).bytes.decode()):
        answer = fetch(path, headers=PLAIN)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        kind = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}[path.rsplit(".", 1)[1]]
        assert answer.headers["Content-Type"] == kind
        assert re.search(r"-[\w-]{8}\.\w+$", path), "its name tells its content"


@pytest.mark.parametrize("accept, packed", [
    ("gzip", True), ("deflate, GZIP;q=0.5, br", True), ("*", True), ("br;q=1.0,*;q=0.1", True), ("gzip;q=0.001", True), ("gzip;q=1, *;q=0", True),
    ("identity", False), ("br", False), ("gzip;q=0", False), ("gzip;q=0.000, *", False), ("*;q=0", False), ("x-gzip", False), ("gzipped", False),
    ("", False), (",,;", False)])
def test_gzip_goes_to_whoever_takes_it(fetch, accept, packed):
    answer = fetch("/", headers={"Accept-Encoding": accept})
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert (answer.headers.get("Content-Encoding") == "gzip") == packed
    data = gzip.decompress(answer.bytes) if packed else answer.bytes
    assert data == fetch("/", headers=PLAIN).bytes
    assert int(answer.headers["Content-Length"]) == len(answer.bytes)


def test_what_is_known_is_not_sent_again(fetch):
    for path in ["/", *assets(fetch("/", headers=PLAIN).bytes.decode())]:
        tags = set()
        for encoding in ("gzip", "identity"):
            headers = {"Accept-Encoding": encoding}
            etag = fetch(path, headers=headers).headers["ETag"]
            tags.add(etag)
            known = fetch(path, headers={**headers, "If-None-Match": f'"other", {etag}'})
            assert (known.status_code, known.bytes) == (304, b"")
            assert known.headers["ETag"] == etag and known.headers["Vary"] == "Accept-Encoding" and "Cache-Control" in known.headers
            assert fetch(path, headers={**headers, "If-None-Match": '"other"'}).status_code == 200
        assert len(tags) == 2, "two representations, two tags"


def test_head_has_the_headers_of_get(fetch):
    whole = fetch("/", headers=PLAIN)
    head = fetch("/", method="HEAD", headers=PLAIN)
    assert (head.status_code, head.bytes) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Security-Policy", "Content-Type"):
        assert head.headers[name] == whole.headers[name]


def test_what_is_no_page_is_a_problem_as_before(api, fetch):
    for path in ("/v1/unknown", "/v1", "/v1/", "/no-such-page", "/jobs/a/b", "/assets", "/assets/", "/assets/no-such.js", "/index.html"):
        problem(api.get(path), 404, "not_found")
    assert fetch("/assets/no-such.js").headers.get("Cache-Control") is None
    problem(api.post("/jobs", {}), 405)
    problem(api.get("/%2e%2e/etc"), 400)


def test_another_site_and_another_name_are_refused(server, fetch):
    assert fetch("/", headers={"Host": "evil.example"}).status_code == 421
    assert fetch("/", headers={"Origin": "http://evil.example"}).status_code == 403
    assert fetch("/", headers={"Origin": server.url}).status_code == 200


def test_all_of_it_stays_small(fetch):
    document = fetch("/", headers={"Accept-Encoding": "gzip"})
    total = len(document.bytes)
    for path in assets(gzip.decompress(document.bytes).decode()):
        total += len(fetch(path, headers={"Accept-Encoding": "gzip"}).bytes)
    assert total < 250_000
