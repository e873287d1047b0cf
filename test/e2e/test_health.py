"""What the gate says about itself: over HTTP, by `rcptgate status`, and in the stream of events."""

import json
import re
import signal
import socket
import time
from contextlib import contextmanager

import pytest

from harness import SOURCE, Web, World, wait_for

LIMITS = [
    {"name": "minute", "per": "recipient", "max": 2, "window": "1h", "over": "defer"},
    {"name": "trial", "per": "sender", "max": 1, "window": "1h", "over": "reject", "shadow": True},
]


@contextmanager
def running(store="redis", limits=(), **policy):
    with World(store, limits, mta=False, **policy) as world:
        world.gate.stop()
        web = Web(world.scratch)
        world.gate.write_policy(http={"listen": web.listen, **policy.get("http", {})})
        world.gate.start()
        wait_for(web.up, "the HTTP server does not answer")
        world.database.alias("a@example.com")
        world.database.alias("b@example.com")
        world.settled()
        yield world, web


@pytest.fixture(scope="module")
def gate():
    with running("redis", LIMITS) as found:
        yield found


def send(world, *recipients, sender="<bob@sender.example>"):
    with world.milter() as client:
        client.connect()
        client.helo()
        client.mail(sender)
        answers = [client.rcpt(f"<{recipient}>").status for recipient in recipients]
        client.eom()
        return answers


# ------------------------------------------------------------------------------------- Prometheus' text format

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})?'


def metrics_of(text):
    """{(name, labels): value}; fails on anything that the format, version 0.0.4, or its conventions forbid."""
    values, types, helps, family, finished = {}, {}, set(), None, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        comment = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line)
        if comment:
            kind, name, rest = comment.groups()
            if name != family:
                assert name not in finished, f"{name} is not in one piece"
                finished.add(name)
                family = name
            if kind == "HELP":
                assert name not in helps
                helps.add(name)
            else:
                assert name not in types and rest in ("counter", "gauge", "histogram")
                types[name] = rest
            continue
        sample = re.fullmatch(rf"({NAME}){LABELS} (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)", line)
        assert sample, f"no sample: {line!r}"
        name, labels, value = sample.groups()
        key = (name, labels or "")
        assert key not in values, f"twice: {line}"
        values[key] = float(value)
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        owner = base if types.get(base) == "histogram" else name
        assert owner == family and owner in types and owner in helps, line
        assert (types[owner] == "counter") == owner.endswith("_total"), line
    for name, kind in types.items():
        if kind == "histogram":
            buckets = [(key[1], value) for key, value in values.items() if key[0] == name + "_bucket"]
            assert buckets and buckets[-1][0] == 'le="+Inf"'
            assert [b[1] for b in buckets] == sorted(b[1] for b in buckets)
            assert buckets[-1][1] == values[(name + "_count", "")]
    return values


def metrics(web):
    return metrics_of(web.get("/metrics"))


def test_the_checker_finds_mistakes():
    good = "# HELP x_total X.\n# TYPE x_total counter\nx_total 1\n"
    assert metrics_of(good) == {("x_total", ""): 1.0}
    for bad in ["x_total 1\n", good + "x_total 1\n", good.replace("counter", "number"), good.replace("_total", ""),
                good.rstrip("\n"), good + 'y{a="b} 1\n', good + "# HELP x_total again\n"]:
        with pytest.raises(AssertionError):
            metrics_of(bad)


def test_metrics_move_with_mail(gate):
    world, web = gate
    before = metrics(web)
    assert send(world, "a@example.com", "nobody@example.com") == ["continue", "550 5.1.1"]
    assert send(world, "a@example.com", "a@EXAMPLE.com") == ["continue", "continue"]
    assert send(world, "a@example.com")[0] == "450 4.2.1"
    wait_for(lambda: metrics(web)[("rcptgate_sessions", "")] == 0, "sessions end")
    after = metrics(web)

    def moved(name, labels=""):
        return after[(name, labels)] - before[(name, labels)]

    assert moved("rcptgate_rcpt_total", 'verdict="accept",by="nobody"') == 2
    assert moved("rcptgate_rcpt_total", 'verdict="reject",by="alias"') == 1
    assert moved("rcptgate_rcpt_total", 'verdict="defer",by="limit"') == 1
    assert moved("rcptgate_rcpt_duplicates_total") == 1
    assert moved("rcptgate_limit_refused_total", 'limit="minute",action="defer"') == 1
    assert moved("rcptgate_decision_seconds_count") == 4
    assert moved("rcptgate_counters_seconds_count") >= 3
    assert moved("rcptgate_sessions_total") == 3
    assert moved("rcptgate_messages_total") == 3
    assert 0 < after[("rcptgate_decision_max_seconds", "")] <= after[("rcptgate_callback_max_seconds", "")] < 60
    assert 0 <= time.time() - after[("rcptgate_aliases_validated_timestamp_seconds", "")] < 60
    assert 0 <= time.time() - after[("rcptgate_aliases_copy_timestamp_seconds", "")] < 60
    assert not [name for name, _ in after if "_age" in name]
    assert after[('rcptgate_backend_up', 'backend="counters"')] == 1

    def shadow_rejects():  # on what was taken, which Redis learns a moment after the end of a message
        assert send(world, "a@example.com")[0] == "450 4.2.1"
        return metrics(web)[("rcptgate_limit_shadow_total", 'limit="trial",action="reject"')] >= 1

    wait_for(shadow_rejects, "the limit in shadow rejects nothing")
    assert after[('rcptgate_backend_up', 'backend="aliases"')] == 1


def test_metrics_carry_no_addresses(gate):
    world, web = gate
    send(world, "a@example.com", "a@example.com", "b@example.com")
    text = web.get("/metrics")
    assert "rcptgate_rcpt_total" in text
    for word in ("@", "example", "192.0.2."):
        assert word not in text


# -------------------------------------------------------------------------------------------------------- HTTP

def test_strict_headers(gate):
    _, web = gate
    for path in ("/", "/metrics", "/healthz", "/status.json", "/style.css", "/nothing"):
        answer, _ = web.ask(path)
        assert answer.status == (404 if path == "/nothing" else 200)
        policy = answer.getheader("Content-Security-Policy")
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.getheader("Cache-Control") == "no-store"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_foreign_hosts_are_refused(gate):
    _, web = gate
    for host in ("evil.example", "evil.example:9627", f"{web.address}.evil.example", "localhost.evil.example", "[::2]",
                 "127.0.0.1@evil.example", "127.0.0.1:x", ""):
        answer, body = web.ask("/status.json", host=host or " ")
        assert answer.status in (400, 421), host
        assert "policy" not in body
    for host in ("localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:9627", "[::1]", "[::1]:80", web.address):
        assert web.ask("/healthz", host=host)[0].status == 200, host
    assert web.ask("/healthz", host=False)[0].status in (400, 421)
    with socket.create_connection((web.address, web.port), 5) as plain:  # as simple health checks ask
        plain.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in plain.makefile("rb").readline()


def test_only_reading(gate):
    _, web = gate
    head, body = web.ask("/", "HEAD")
    assert head.status == 200 and body == "" and int(head.getheader("Content-Length")) > 500
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
        answer, _ = web.ask("/", method)
        assert answer.status == 405 and answer.getheader("Allow") == "GET, HEAD"


def test_readers_that_stand_still_stop_no_mail(gate):
    world, web = gate
    still = []
    try:
        for _ in range(60):
            s = socket.create_connection((web.address, web.port), 5)
            s.sendall(b"GET /metrics HTTP/1.1\r\nHo")
            still.append(s)
        assert send(world, "c@elsewhere.example") == ["continue"]
        wait_for(web.up, "those that stand still are closed")
    finally:
        for s in still:
            s.close()


def test_the_page_needs_nothing_from_elsewhere(gate):
    world, web = gate
    send(world, "a@example.com", "b@example.com")
    send(world, "a@example.com", "b@example.com")
    send(world, "a@example.com")
    page = web.get("/")
    assert page.startswith("<!doctype html>") and "Healthy" in page
    assert not re.search(r"<script|<iframe|<img|<object|https?://|javascript:|style=|onclick", page, re.I)
    assert set(re.findall(r'(?:href|src)="([^"]*)"', page)) == {"/style.css", "/healthz", "/status.json", "/metrics"}
    assert "url(" not in web.get("/style.css") and "prefers-color-scheme: dark" in web.get("/style.css")
    assert "limit-tripped" in page and "minute" in page
    for text in (page, web.get("/status.json")):
        assert "@example.com" not in text and "sender.example" not in text, "http.subjects is false"


def test_subjects_only_where_they_are_asked_for():
    with running("memory", LIMITS, http={"subjects": True}) as (world, web):
        for _ in range(3):
            send(world, "a@example.com", sender="<b&<i>x@sender.example>")
        page = web.get("/")
        assert "recipient a@example.com" in page and "recipient:{a@example.com}" in web.get("/status.json")
        assert "<i>" not in page and "&lt;i&gt;" in page


def test_a_busy_port_costs_nothing_but_a_note():
    with running("memory", LIMITS) as (world, web):
        second = web.port
        world.gate.stop()
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((web.address, second))
            taken.listen()
            world.gate.start()
            wait_for(lambda: "event=http-trouble" in world.gate.log(), "the busy port is told")
            assert send(world, "b@example.com") == ["continue"]
            told = world.gate.command("status", check=0)
            assert told.startswith("healthy") and "http.listen" in told
        wait_for(web.up, "it is tried again")
        assert "http.listen" not in world.gate.command("status", check=0).split("well again")[0]


def test_listen_follows_the_policy():
    with running("memory") as (world, web):
        world.gate.write_policy(http={"listen": ""})
        world.gate.reload()
        wait_for(lambda: not web.up(), "HTTP goes off")
        world.gate.write_policy(http={"listen": web.listen})
        world.gate.reload()
        wait_for(web.up, "HTTP comes back")


# ------------------------------------------------------------------------------------------- red and green again

def gets_red(web, what):
    return wait_for(lambda: web.health()[1].get(what), f"/healthz names {what}")


def gets_green(web):
    wait_for(lambda: web.health()[0] == 200, "/healthz is green again")


def test_redis_stopped_and_back():
    with running("redis", LIMITS) as (world, web):
        assert web.health() == (200, {})
        assert world.gate.command("status", check=0).startswith("healthy")
        world.redis.stop()
        reason = gets_red(web, "counters")
        assert reason["grade"] == "degraded" and "Limits go on in this process" in reason["means"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reason["since"])
        told = world.gate.command("status", check=1)
        assert told.startswith("DEGRADED") and "Redis" in told and reason["since"] in told
        assert json.loads(world.gate.command("status", "--json", check=1))["status"] == "degraded"
        assert "Degraded" in web.get("/")
        wait_for(lambda: metrics(web)[("rcptgate_backend_up", 'backend="counters"')] == 0, "the gauge falls")
        assert send(world, "a@example.com") == ["continue"]
        assert metrics(web)[("rcptgate_rcpt_without_counters_total", 'by="local"')] == 1
        world.redis.start()
        gets_green(web)
        told = world.gate.command("status", check=0)
        assert told.startswith("healthy") and "well again" in told
        assert metrics(web)[("rcptgate_troubles_total", 'what="counters"')] == 1


def test_redis_frozen_and_thawed():
    with running("redis", LIMITS, counters={"timeout": "200ms"}) as (world, web):
        world.redis.process.popen.send_signal(signal.SIGSTOP)
        try:
            code, reasons = web.health()  # the canary finds it, whoever else has noticed
            assert code == 503 and "counters" in reasons
        finally:
            world.redis.process.popen.send_signal(signal.SIGCONT)
        gets_green(web)


def test_redis_that_takes_no_writes():
    with running("redis", LIMITS) as (world, web):
        world.redis.call("CONFIG", "SET", "maxmemory", "1")
        assert "maxmemory" in gets_red(web, "counters")["text"]
        world.redis.call("CONFIG", "SET", "maxmemory", "0")
        gets_green(web)


def test_redis_down_with_defer_is_down():
    with running("redis", LIMITS, counters={"when_down": "defer"}) as (world, web):
        world.redis.stop()
        assert gets_red(web, "counters")["grade"] == "down"
        assert world.gate.command("status", check=2).startswith("DOWN")
        time.sleep(1.5)  # and stays so, whoever looks at it meanwhile
        assert world.gate.command("status", check=2).startswith("DOWN")
        world.redis.start()
        gets_green(web)


def test_alias_database_away_and_back():
    with running("redis", LIMITS) as (world, web):
        world.database.run("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the file alone has all rows
        files = [path for path in world.database.directory.iterdir()]
        for path in files:
            path.rename(f"{path}.away")
        reason = gets_red(web, "aliases")
        assert str(world.database.path) in reason["text"]
        world.gate.command("status", check=1 if reason["grade"] == "degraded" else 2)
        for path in files:
            if not path.name.endswith(("-wal", "-shm")):
                path.with_name(path.name + ".away").rename(path)
        gets_green(web)
        world.gate.command("status", check=0)


def test_the_longest_wait_can_be_asked_for_a_span_of_time():
    with running("redis", LIMITS, counters={"timeout": "3s"}) as (world, _):
        world.gate.status(forget_longest=True)
        send(world, "a@example.com")
        assert 0 < world.gate.status()["traffic"]["callback_max_ms"] < 2900
        world.redis.process.popen.send_signal(signal.SIGSTOP)
        try:
            send(world, "b@example.com")
        finally:
            world.redis.process.popen.send_signal(signal.SIGCONT)
        traffic = world.gate.status(forget_longest=True)["traffic"]
        assert 2900 < traffic["decision_max_ms"] <= traffic["callback_max_ms"]
        assert world.gate.status()["traffic"]["callback_max_ms"] < 2900


def test_status_without_a_gate():
    with running("memory") as (world, _):
        world.gate.stop()
        told = world.gate.command("status", check=2)
        assert told.startswith("DOWN: no gate answers")
        report = json.loads(world.gate.command("status", "--json", check=2))
        assert report["status"] == "down" and report["reasons"][0]["what"] == "gate"


# ------------------------------------------------------------------------------------------------------- events

def events(world):
    """[(name, {field: value})], in the order of the stream."""
    found = []
    for _, words in world.redis.call("XRANGE", "rcptgate:events", "-", "+"):
        fields = dict(zip(words[::2], words[1::2]))
        found.append((fields.pop("event"), fields))
    return found


def test_a_tripped_limit_is_one_event():
    with running("redis", LIMITS) as (world, _):
        for _ in range(20):
            send(world, "a@example.com", "b@example.com")
        wait_for(lambda: len(events(world)) >= 3, "the events arrive")
        found = [(name, fields["limit"], fields["subject"], fields["action"], fields["shadow"])
                 for name, fields in events(world)]
        assert sorted(found) == [
            ("limit-tripped", "minute", "recipient:{a@example.com}", "defer", "no"),
            ("limit-tripped", "minute", "recipient:{b@example.com}", "defer", "no"),
            ("limit-tripped", "trial", "sender:{bob@sender.example}", "defer", "yes")]  # by its own message
        fields = events(world)[-1][1]
        assert fields["host"] and abs(int(fields["at_ms"]) / 1000 - time.time()) < 60
        wait_for(lambda: world.gate.log().count("verdict=") == 40 and world.gate.log().count("event=limit-tripped") == 3,
                 "the log is written")


def test_events_wait_for_redis():
    with running("redis", LIMITS) as (world, web):
        world.redis.stop()
        gets_red(web, "counters")
        for _ in range(4):
            send(world, "a@example.com")
        world.redis.start()
        gets_green(web)
        names = wait_for(lambda: (lambda n: n if "counters-well" in n else None)([e[0] for e in events(world)]),
                         "the events arrive")
        assert names.index("counters-trouble") < names.index("limit-tripped") < names.index("counters-well")
        assert metrics(web)[("rcptgate_events_dropped_total", "")] == 0


# ---------------------------------------------------------------------------------------------- what is shipped

@pytest.mark.parametrize("name", ["prometheus/rcptgate.rules.yml", "grafana/rcptgate.json"])
def test_shipped_rules_ask_for_what_is_there(gate, name):
    world, web = gate
    text = (SOURCE / "contrib" / name).read_text()
    world.gate.write_policy(limits=[*LIMITS, {"name": "waiting", "per": "host", "count": "backlog", "max": 1000}],
                            queue={"every": "1s", "command": ["/bin/echo", json.dumps(
                                {"arrival_time": 1, "sender": "s@x.example", "recipients": [{"address": "r@x.example"}]})]})
    wait_for(lambda: "rcptgate_queue_messages" in web.get("/metrics"), "the queue has no metrics")
    if name.endswith(".json"):
        assert json.loads(text)["title"] == "rcptgate"
    known = {re.sub(r"\{.*", "", key[0]) for key in metrics(web)}
    known |= set(re.findall(r"^# TYPE (\S+)", web.get("/metrics"), re.M))  # of a cluster
    asked = set(re.findall(r"\b(?:rcptgate|process)_[a-z_]+(?=[{\[ )=<>\"]|$)", text))
    assert len(asked) > 5
    assert asked <= known, asked - known


def test_manuals_name_every_trouble(gate):
    _, web = gate
    known = {labels for name, labels in metrics(web) if name == "rcptgate_trouble"}
    named = set(re.findall(r'what="([a-z-]+)"', " ".join(known)))
    manual = (SOURCE / "milter/rcptgate.8").read_text().split(".It Li rcptgate_trouble{what}")[1].split(".It")[0]
    table = (SOURCE / "milter/rcptgate-troubleshooting.7").read_text().split("Ta Em what to do\n")[1].split(".El")[0]
    assert len(named) > 15
    assert set(re.search(r"^\.Li (counters , .*) \.$", manual, re.M).group(1).split(" , ")) == named
    assert {name for row in re.findall(r"^\.It Li (.*?) Ta", table, re.M) for name in row.split(" , ")} == named
