"""Alerts on their way: to webhooks of the test's own and to commands, and what is wrong with a receiver's declaration."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import queue
import threading

import pytest
from conftest import Api, Databases, problem, until
from test_metrics import parse, scrape, value

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
QUICK = {"every": "100ms", "queue_depth": {"above": 0, "clear_at": 0, "for": 0}}
LOCAL = {"allow_private": True, "allow_http": True}


class Hook:
    """A web server that answers as it is told; what it got stands in `got`, in order."""

    def __init__(self, answers=()):
        self.got, self.answers, self.hang = queue.Queue(), list(answers), threading.Event()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = hook.answers.pop(0) if hook.answers else 204
                hook.got.put((self.headers, body))
                if answer == "hang":
                    hook.hang.wait(60)
                    return
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, text in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, text)
                self.end_headers()
            do_GET = do_POST

            def log_message(self, *arguments):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/T0KEN?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        """The next message, whose signature is what Standard Webhooks says."""
        headers, body = self.got.get(timeout=30)
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == "v1," + mac and headers["Content-Type"] == "application/json"
        message = json.loads(body)
        assert message["id"] == headers["webhook-id"]
        return message

    def stop(self):
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def make_hook():
    made = []

    def make(*answers):
        made.append(Hook(answers))
        return made[-1]
    yield make
    for hook in made:
        hook.stop()


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "secret").write_text(SECRET + "\n")
    return str(tmp_path / "secret")


def receivers(api):
    return {r["receiver"]: r for r in api.get("/v1/alerts").json()["receivers"]}


def reached(api, name, what):
    def there():
        """the receiver is where the test wants it"""
        found = receivers(api)[name]
        return found if what(found) else None
    return until(there)


def start(make_server, sinks, alerts=QUICK):
    server = make_server({"alerts": alerts, "alert_receivers": sinks})
    return server, Api(server.url)


def ring(api):
    """Has queue_depth fire; the job that does it."""
    return api.submit("film")["job_id"]


def calm(api, job_id):
    api.post(f"/v1/jobs/{job_id}/cancel", {})


def test_a_webhook_is_told_when_it_fires_and_when_it_is_over(make_server, make_hook, secret, haul):
    hook, other = make_hook(), make_hook()
    server, api = start(make_server, {"oncall": {"webhook": hook.url, "secret_file": secret, **LOCAL},
                                      "mild": {"webhook": other.url, "secret_file": secret, "severity": ["info"], "alerts": ["queue_*", "dlq_growth"], **LOCAL}})
    assert receivers(api)["oncall"] == {
        "receiver": "oncall", "kind": "webhook", "to": hook.url.partition("/hooks")[0], "waiting": 0, "sent": 0, "failed": 0, "given_up": 0,
        "sent_at": None, "failed_at": None, "error": None, "next_try_at": None}
    job = ring(api)
    fires = hook.next()
    alert = {a["name"]: a for a in api.get("/v1/alerts").json()["alerts"]}["queue_depth"]
    assert fires["type"] == "alert.firing" and fires["timestamp"]
    assert fires["data"] == {"alert": "queue_depth", "state": "firing", "severity": "critical", "what": "queue_depth", "objective": None, "value": 1,
                             "above": 0, "clear_at": 0, "fired_at": alert["fired_at"], "resolved_at": None, "text": alert["text"], "server": os.uname().nodename}
    calm(api, job)
    over = hook.next()
    assert over["type"] == "alert.resolved" and over["id"] != fires["id"] and over["data"]["value"] == 0
    assert over["data"]["fired_at"] == alert["fired_at"] and over["data"]["resolved_at"]
    told = reached(api, "oncall", lambda r: r["sent"] == 2)
    assert told["sent_at"] and told["waiting"] == told["failed"] == 0
    assert other.got.empty() and receivers(api)["mild"]["sent"] == 0
    _, samples = parse(scrape(api))
    assert value(samples, "haul_alert_messages_total", receiver="oncall", result="sent") == 2
    assert value(samples, "haul_alert_messages_waiting", receiver="oncall") == 0
    shown = haul("alerts", url=server.url).stdout
    assert "oncall" in shown and "RECEIVER" in shown
    assert len(json.loads(haul("alerts", "--json", url=server.url).stdout)["receivers"]) == 2
    for text in (shown, server.said, json.dumps(api.get("/v1/alerts").json())):
        assert "T0KEN" not in text and SECRET not in text


def test_what_fails_is_tried_again_with_the_same_id(make_server, make_hook, secret):
    hook = make_hook(500, (429, {"Retry-After": "1"}))
    _, api = start(make_server, {"oncall": {"webhook": hook.url, "secret_file": secret, **LOCAL}})
    ring(api)
    first = hook.next()
    waits = reached(api, "oncall", lambda r: r["failed"] == 1)
    assert (waits["waiting"], waits["error"]) == (1, "it answers 500") and waits["failed_at"] and waits["next_try_at"]
    assert hook.next() == first and hook.next() == first
    told = reached(api, "oncall", lambda r: r["sent"] == 1)
    assert (told["failed"], told["given_up"], told["waiting"]) == (2, 0, 0)


def test_one_that_hangs_keeps_nobody_waiting(make_server, make_hook, secret):
    hook, other = make_hook("hang", "hang"), make_hook()
    _, api = start(make_server, {"slow": {"webhook": hook.url, "secret_file": secret, "timeout": "30s", **LOCAL},
                                 "late": {"webhook": hook.url, "secret_file": secret, "timeout": "200ms", **LOCAL},
                                 "good": {"webhook": other.url, "secret_file": secret, **LOCAL}})
    job = ring(api)
    hook.next(), hook.next()
    assert other.next()["type"] == "alert.firing"
    calm(api, job)
    assert other.next()["type"] == "alert.resolved"
    assert "time" in reached(api, "late", lambda r: r["error"])["error"].lower()
    assert reached(api, "slow", lambda r: r["waiting"])["sent"] == 0  # still at it, and the server ends all the same


def test_a_redirect_is_not_followed(make_server, make_hook, secret, haul):
    inner = make_hook()
    outer = make_hook((302, {"Location": inner.url}), (307, {"Location": inner.url}))
    server, api = start(make_server, {"oncall": {"webhook": outer.url, "secret_file": secret, **LOCAL}})
    ring(api)
    outer.next()
    lost = reached(api, "oncall", lambda r: r["given_up"])
    assert "302, a redirect, which is not followed" in lost["error"] and lost["waiting"] == 0
    run = haul("alerts", "test", "oncall", url=server.url)
    assert run.returncode == 16 and "oncall: not sent: it answers 307, a redirect" in run.stdout
    assert inner.got.empty()


def test_a_refusal_is_final(make_server, make_hook, secret):
    hook = make_hook(400)
    server, api = start(make_server, {"oncall": {"webhook": hook.url, "secret_file": secret, **LOCAL}})
    job = ring(api)
    hook.next()
    assert reached(api, "oncall", lambda r: r["given_up"] == 1)["error"] == "it answers 400"
    calm(api, job)
    until(lambda: {a["name"]: a for a in api.get("/v1/alerts").json()["alerts"]}["queue_depth"]["state"] == "resolved")
    ring(api)
    assert hook.next()["type"] == "alert.firing"  # the end of what it did not take was not told
    assert "given up" in server.said


def test_a_name_of_a_private_address_is_not_reached(make_server, make_hook, secret, tmp_path):
    hook = make_hook()
    names = {line.split()[i] for line in open("/etc/hosts") if line.strip() and line.split()[0] in ("127.0.0.1", "127.0.1.1", "::1")
             for i in range(1, len(line.split()))} - {"localhost"}
    if not names:
        pytest.skip("/etc/hosts has no other name of loopback")
    url = hook.url.replace("127.0.0.1", names.pop())
    _, api = start(make_server, {"oncall": {"webhook": url, "secret_file": secret, "allow_http": True}})
    answer = api.post("/v1/alerts/receivers/oncall/test", {}).json()
    assert not answer["sent"] and "not a public address: allow_private: true" in answer["error"]
    assert hook.got.empty()


def test_an_operator_tries_it(make_server, make_hook, secret, haul, tmp_path):
    hook = make_hook()
    server, api = start(make_server, {"oncall": {"webhook": hook.url, "secret_file": secret, **LOCAL},
                                      "pager": {"command": ["sh", "-c", "test \"$HAUL_ALERT_TEST\" = 1 && echo no line >&2 && exit 5"]}})
    answer = api.post("/v1/alerts/receivers/oncall/test", {})
    assert answer.json()["sent"] is True and answer.json()["error"] is None
    message = hook.next()
    assert (message["type"], message["data"]["alert"], message["data"]["severity"]) == ("alert.test", "test", "info")
    assert api.post("/v1/alerts/receivers/pager/test", {}).json()["error"] == "exit status 5: no line"
    problem(api.post("/v1/alerts/receivers/nobody/test", {}), 404, "not_found")
    problem(api.post("/v1/alerts/receivers/oncall/test", {"x": 1}), 422)
    run = haul("alerts", "test", url=server.url)
    assert run.returncode == 16 and run.stdout == "oncall: sent\npager: not sent: exit status 5: no line\n"
    run = haul("alerts", "test", "oncall", "--json", url=server.url)
    assert run.returncode == 0 and json.loads(run.stdout)["results"][0]["sent"] is True
    assert haul("alerts", "test", "nobody", url=server.url).returncode == 12


def test_a_server_without_receivers_says_so(server, api, haul):
    assert receivers(api) == {}
    problem(api.post("/v1/alerts/receivers/oncall/test", {}), 404, "not_found")
    assert "no receivers" in haul("alerts", "test", url=server.url).stderr


def test_a_command_is_run_with_each_alert(make_server, tmp_path):
    out = tmp_path / "out"
    script = f'{{ cat; echo; echo "$HAUL_ALERT_NAME $HAUL_ALERT_STATE $HAUL_ALERT_VALUE $HAUL_ALERT_RECEIVER"; }} >>{out}'
    _, api = start(make_server, {"pager": {"command": ["/bin/sh", "-c", script]}})
    job = ring(api)
    assert reached(api, "pager", lambda r: r["sent"] == 1)["to"] == "/bin/sh"
    calm(api, job)
    reached(api, "pager", lambda r: r["sent"] == 2)
    fires, line, over, last = out.read_text().splitlines()
    assert json.loads(fires)["type"] == "alert.firing" and json.loads(over)["type"] == "alert.resolved"
    assert (line, last) == ("queue_depth firing 1 pager", "queue_depth resolved 0 pager")


def test_a_command_that_fails_is_run_again(make_server, tmp_path):
    mark = tmp_path / "mark"
    _, api = start(make_server, {"pager": {"command": ["sh", "-c", f"test -e {mark} || {{ touch {mark}; echo busy; exit 7; }}"], "resolved": False}})
    job = ring(api)
    told = reached(api, "pager", lambda r: r["sent"] == 1)
    assert (told["failed"], told["error"]) == (1, "exit status 7: busy")
    calm(api, job)
    until(lambda: {a["name"]: a for a in api.get("/v1/alerts").json()["alerts"]}["queue_depth"]["state"] == "resolved")
    assert receivers(api)["pager"]["waiting"] == 0


def test_tls_is_verified_by_the_ca_that_is_named(make_server, secret, tmp_path):
    import ssl
    import subprocess
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=hook",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True)
    hook = Hook()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    hook.server.socket = context.wrap_socket(hook.server.socket, server_side=True)
    url = hook.url.replace("http:", "https:")
    _, api = start(make_server, {"known": {"webhook": url, "secret_file": secret, "allow_private": True, "ca": str(tmp_path / "cert")},
                                 "strange": {"webhook": url, "secret_file": secret, "allow_private": True}})
    assert api.post("/v1/alerts/receivers/known/test", {}).json()["sent"] is True
    assert "certificate" in api.post("/v1/alerts/receivers/strange/test", {}).json()["error"]
    hook.stop()


def loud(api):
    """queue_depth fires, and this server would tell"""
    answer = api.get("/v1/alerts").json()
    return answer["sending"] and {a["name"]: a for a in answer["alerts"]}["queue_depth"]["state"] == "firing"


def test_a_restart_remembers_what_was_told(make_server, make_hook, secret):
    hook = make_hook()
    server, api = start(make_server, {"oncall": {"webhook": hook.url, "secret_file": secret, **LOCAL}})
    job = ring(api)
    fires = hook.next()
    server.terminate()
    server.restart()
    until(lambda: loud(api))
    calm(api, job)
    over = hook.next()  # and not once more that it fires
    assert over["type"] == "alert.resolved" and over["data"]["resolved_at"] > fires["data"]["fired_at"]


def test_what_ended_while_the_server_was_away_is_told(make_server, make_hook, secret):
    hook = make_hook()
    server, api = start(make_server, {"oncall": {"webhook": hook.url, "secret_file": secret, **LOCAL}})
    ring(api)
    fires = hook.next()
    server.terminate()
    server.config.write_text(server.config.read_text().replace("above: 0", "above: 5").replace("clear_at: 0", "clear_at: 5"))
    server.restart()
    over = hook.next()
    assert over["type"] == "alert.resolved" and over["data"]["fired_at"] == fires["data"]["fired_at"] < over["data"]["resolved_at"]


def test_of_several_servers_one_sends(make_server, make_hook, secret, tmp_path):
    hook = make_hook()
    url = Databases.url_of(tmp_path)
    config = {"store": url, "alerts": QUICK, "alert_receivers": {"oncall": {"webhook": hook.url, "secret_file": secret, **LOCAL}}}
    servers = [make_server(dict(config), data=tmp_path / "shared")]
    until(lambda: Api(servers[0].url).get("/v1/alerts").json()["sending"])
    servers.append(make_server(dict(config), data=tmp_path / "shared"))
    first, second = (Api(s.url) for s in servers)

    def sql(text):
        return Databases.postgres().psql(text, Databases.made[tmp_path])
    jobs = [ring(first)]
    fires = hook.next()
    assert not second.get("/v1/alerts").json()["sending"]
    jobs.append(ring(second))
    until(lambda: "firing" in sql("SELECT value FROM meta WHERE key = 'office/alerts'"))
    servers[0].kill()
    sql("UPDATE meta SET value = regexp_replace(value, ' [0-9]+ ', ' 0 ') WHERE key = 'office/alerts'")  # its time is over
    until(lambda: loud(second))
    assert hook.got.empty()  # the other one told that it fires
    for job in jobs:
        calm(second, job)
    over = hook.next()
    assert fires["type"] == "alert.firing" and over["type"] == "alert.resolved" and hook.got.empty()
    assert "this server sends alerts from now on" in servers[1].said


GOOD = "webhook: https://example.com/hook, secret_file: SECRET"


@pytest.mark.parametrize("text, says", [
    ("[]", "must be a map of receivers"),
    ("{'a b': {}}", "'a b' must be a name"),
    ("{a: https://example.com}", "'a' must be a name (letters, digits, _ . : -) with a map that has webhook or command"),
    ("{a: {}}", "webhook: give either webhook or command"),
    ("{a: {" + GOOD + ", command: [sh]}}", "command: give either webhook or command"),
    ("{a: {" + GOOD + ", colour: red}}", "colour: unknown; known: webhook, command, secret_file, secret_env, ca, allow_private"),
    ("{a: {webhook: nonsense, secret_file: SECRET}}", "webhook: is not a URL: write https://host/path"),
    ("{a: {webhook: 'ftp://example.com/', secret_file: SECRET}}", "webhook: must be an https:// URL, got 'ftp://'"),
    ("{a: {webhook: 'http://example.com/', secret_file: SECRET}}", "webhook: is without TLS: use https://, or set allow_http: true"),
    ("{a: {webhook: 'https://u:p@example.com/', secret_file: SECRET}}", "webhook: must not hold a user or a password"),
    ("{a: {webhook: 'https://10.0.0.1/', secret_file: SECRET}}", "webhook: '10.0.0.1' is not a public address: set allow_private: true"),
    ("{a: {webhook: 'https://localhost/', secret_file: SECRET}}", "webhook: 'localhost' is not a public address"),
    ("{a: {webhook: 'https://[::ffff:127.0.0.1]/', secret_file: SECRET}}", "is not a public address"),
    ("{a: {webhook: 'https://example.com/'}}", "secret_file: a webhook is signed: give secret_file or secret_env; make a key with"),
    ("{a: {" + GOOD + ", secret_env: X}}", "secret_file: give either secret_file or secret_env"),
    ("{a: {webhook: 'https://example.com/', secret_file: /no/such/file}}", "secret_file: open '/no/such/file': No such file or directory"),
    ("{a: {webhook: 'https://example.com/', secret_file: /dev/null}}", "secret_file: there is no key in it; make one with"),
    ("{a: {webhook: 'https://example.com/', secret_file: /etc/passwd}}", "secret_file: a key must be 24 to 64 bytes in base64"),
    ("{a: {webhook: 'https://example.com/', secret_env: NO_SUCH_VARIABLE}}", "secret_env: there is no variable NO_SUCH_VARIABLE in the server's environment"),
    ("{a: {" + GOOD + ", ca: /no/such/ca}}", "ca: '/no/such/ca' is not there"),
    ("{a: {" + GOOD + ", alerts: [queue_deep]}}", "alerts: no alert that is on is called 'queue_deep'"),
    ("{a: {" + GOOD + ", severity: [loud]}}", "severity: must be critical, warning or info, got 'loud'"),
    ("{a: {" + GOOD + ", timeout: 1h}}", "timeout: must be 100ms to 30s, got 1h"),
    ("{a: {" + GOOD + ", retry_for: 30d}}", "retry_for: must be 0s to 7d, got 30d"),
    ("{a: {command: [/no/such/program]}}", "command: '/no/such/program' cannot be run: it is not there, or not executable"),
    ("{a: {command: [bin/program]}}", "command: 'bin/program' must be an absolute path"),
    ("{a: {command: [sh], secret_file: SECRET}}", "secret_file: belongs to webhook, not to command"),
    ("{a: {command: [sh], allow_private: true}}", "allow_private: belongs to webhook, not to command"),
    ("{" + ", ".join(f"r{i}: {{command: [sh]}}" for i in range(17)) + "}", "at most 16 receivers, got 17"),
])
def test_a_bad_declaration_names_its_place_and_the_remedy(haul, tmp_path, secret, text, says):
    (tmp_path / "haul.yaml").write_text("alert_receivers: " + text.replace("SECRET", secret) + "\n")
    run = haul("server", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--config", tmp_path / "haul.yaml")
    assert run.returncode == 11, run.stderr
    assert "haul.yaml:1:" in run.stderr and says in run.stderr, run.stderr
    assert SECRET not in run.stderr
