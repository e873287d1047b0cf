"""rcptgate events: of all hosts, each once, with Redis and without, as they come."""

import json
import os
import subprocess
import threading

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZERS, World, wait_for

LIMITS = [{"name": "minute", "per": "recipient", "max": 1, "window": "1h"}]


def events(world, *words, gate=0, **options):
    return json.loads(world.gates[gate].command("events", "--json", "-n", "1000", *words, **options))


def named(found, name):
    return [event for event in found if event["event"] == name]


def flood(world, recipient, gate=0):
    with type(world.milter())(world.gates[gate].socket) as m:
        m.connect("192.0.2.7")
        for _ in range(3):
            m.message(recipient)


class Follower:
    """A running `events --follow`, and the lines that it has printed."""

    def __init__(self, gate, *words):
        self.command = subprocess.Popen([RCPTGATE, "events", "--follow", *words, "-c", str(gate.policy_path)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **SANITIZERS))
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.command.stdout.readline, "")))
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.command.poll() is None:
            self.command.terminate()
        self.command.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.command.stdout.close()
        self.command.stderr.close()

    def has(self, *parts):
        return any(all(part in line for part in parts) for line in self.lines)


@pytest.fixture(scope="module")
def two():
    with World("redis", LIMITS, gates=2, mta=False) as world:
        for name in ("a", "b", "c"):
            world.database.alias(f"{name}@example.com")
        world.settled()
        yield world


def test_all_hosts_each_once(two):
    flood(two, "a@example.com", 0)
    two.gates[1].command("block", "203.0.113.0/24", "--reason", "spam <wave>")
    wait_for(lambda: named(events(two), "block") and named(events(two, gate=1), "limit-tripped"), "each sees the other's")
    for gate in (0, 1):
        found = events(two, gate=gate)
        assert len({json.dumps(event, sort_keys=True) for event in found}) == len(found)
        trip, = named(found, "limit-tripped")
        assert (trip["limit"], trip["subject"], trip["client"]) == ("minute", "recipient:{a@example.com}", "192.0.2.7")
        assert {(block["subject"], block["reason"]) for block in named(found, "block")} == {("203.0.113.0/24", "spam <wave>")}
        assert [e["at_ms"] for e in found] == sorted(e["at_ms"] for e in found)
        assert all(e["host"] and e["at"] for e in found)
    told = two.gate.command("events")
    assert "limit-tripped  Limit minute is full for recipient a@example.com (1 of 1)" in told
    assert "203.0.113.0/24 is blocked" in told and "spam <wave>" in told
    last = two.gate.command("events", "-n", "1").splitlines()
    assert len(last) == 1 and last[0] == told.splitlines()[-1]


def test_what_others_wrote_is_bounded_and_clean(two):
    entry = ["XADD", "rcptgate:events", "*", "event", "odd\x1b[2J", "host", "mx9\n", "at_ms", "1", "text", "x" * 5000]
    two.redis.call(*entry)
    two.redis.call("XADD", "rcptgate:events", "*", "no", "event")
    two.redis.call("XADD", "rcptgate:events", "*", "event", "late", "at_ms", "99999999999999999999")
    two.redis.call("XADD", "rcptgate:events", "*", "event", "bytes", "at_ms", "2", b"\xff", b"\xfe", "subject", b"a\xff@example.com")
    found = events(two)
    assert [e["host"] for e in found if e["event"].startswith("odd")] == ["mx9?"]
    assert [e["subject"] for e in named(found, "bytes")] == ["a?@example.com"]
    assert not named(found, "late")
    assert "\x1b" not in two.gate.command("events", "-n", "1000")
    two.redis.call("DEL", "rcptgate:events")


def test_follow(two):
    with Follower(two.gate) as follower, Follower(two.gates[1], "--json") as other:
        wait_for(lambda: follower.lines and other.lines, "they begin")
        flood(two, "b@example.com", 0)
        for one in (follower, other):
            wait_for(lambda one=one: one.has("limit-tripped", "b@example.com"), "it comes")
        two.gates[1].command("block", "198.51.100.0/24")
        for one in (follower, other):
            wait_for(lambda one=one: one.has("198.51.100.0/24"), "it comes")
        two.redis.stop()
        wait_for(lambda: follower.has("counters-trouble"), "this gate tells while Redis is down")
        flood(two, "c@example.com", 0)
        wait_for(lambda: follower.has("limit-tripped", "c@example.com"), "this gate tells while Redis is down")
        two.redis.start()
        wait_for(lambda: other.has("limit-tripped", "{c@example.com}"), "the others learn of it")
        wait_for(lambda: follower.has("counters-well"), "well again")
        for one in (follower, other):
            assert sum("b@example.com" in line for line in one.lines) == 1
        assert sum("c@example.com" in line for line in follower.lines) == 1
        assert all(json.loads(line)["event"] for line in other.lines)


def test_redis_down():
    with World("redis", LIMITS, mta=False) as world:
        world.database.alias("a@example.com")
        world.settled()
        world.redis.stop()
        flood(world, "a@example.com")
        assert named(events(world), "limit-tripped")
        told = subprocess.run([RCPTGATE, "events", "-c", str(world.gate.policy_path)], capture_output=True, text=True,
                              env=dict(os.environ, **SANITIZERS), timeout=PATIENCE, check=True)
        assert "limit-tripped" in told.stdout and "this gate alone" in told.stderr
        world.gate.stop()
        assert "no gate runs" in world.gate.command("events", check=69)


def test_without_a_gate():
    with World("redis", LIMITS, mta=False) as world:
        world.database.alias("a@example.com")
        world.settled()
        flood(world, "a@example.com")
        wait_for(lambda: world.redis.call("XLEN", "rcptgate:events") > 0, "it is sent")
        world.gate.stop()
        assert named(events(world), "limit-tripped")
        with Follower(world.gate) as follower:
            wait_for(lambda: follower.has("limit-tripped"), "Redis' alone")


def test_memory():
    with World("memory", LIMITS, mta=False) as world:
        world.database.alias("a@example.com")
        world.settled()
        flood(world, "a@example.com")
        assert len(named(events(world), "limit-tripped")) == 1
        with Follower(world.gate) as follower:
            wait_for(lambda: follower.has("limit-tripped"), "it begins")
            world.gate.stop()
            world.gate.start()
            world.gate.command("block", "203.0.113.0/24")
            wait_for(lambda: follower.has("block", "203.0.113.0/24"), "the next gate is followed")
        world.gate.stop()
        assert "no gate runs" in world.gate.command("events", check=69)
        world.gate.command("events", "-n", "0", check=64)
