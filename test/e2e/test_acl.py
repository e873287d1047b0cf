"""The Redis ACL of the manual is enough for everything, and each right in it is needed or named when it is missing."""

import fnmatch
import json
import re

import pytest

from harness import PATIENCE, SOURCE, World, wait_for

ALIAS = "a@example.com"
LIMITS = [
    {"name": "soft", "per": "recipient", "max": 3, "window": "1m", "over": "defer", "hold": "10s",
     "share": {"of": "client", "max": "50%", "above": "50%"}},
    {"name": "size", "per": "mailbox", "count": "bytes", "max": "1MB", "window": "1h", "over": "defer"},
    {"name": "tries", "per": "client", "count": "attempts", "max": 10, "window": "1m", "over": "defer"},
    {"name": "pair", "per": ["recipient", "sender"], "count": "messages", "max": 100, "window": "1h", "over": "reject"},
    {"name": "waiting", "per": "mailbox", "count": "backlog", "max": 100, "over": "defer"},
]


def acl():
    line = re.search(r"^\.Dl (ACL SETUSER rcptgate .+)$", (SOURCE / "milter/rcptgate.8").read_text(), re.M).group(1)
    return line.replace("PASSWORD", "secret").split()


@pytest.fixture()
def world():
    with World("redis", LIMITS, mta=False, queue={"every": "1s", "command": ["/bin/true"]}) as w:
        w.database.alias(ALIAS)
        port = w.scratch.port()
        w.redis.call("CONFIG", "SET", "bind", w.scratch.address)
        w.redis.call("CONFIG", "SET", "port", port)
        w.redis.call(*acl())
        w.gate.stop()
        w.redis.call("FLUSHALL")
        w.redis.call("ACL", "LOG", "RESET")
        password = w.scratch / "redis.password"
        password.write_text("secret\n")
        password.chmod(0o600)
        w.gate.write_policy(counters={"url": f"redis://rcptgate@{w.scratch.address}:{port}/0", "password_file": str(password), "timeout": "10s"})
        w.gate.start()
        w.settled()
        yield w


def test_the_line_for_a_cluster_is_enough():
    with World("cluster", LIMITS, mta=False, queue={"every": "1s", "command": ["/bin/true"]}) as w:
        w.database.alias(ALIAS)
        w.gate.stop()
        beside = re.search(r"^besides, every node of a cluster\n\.Li (.+) \.$",
                           (SOURCE / "milter/rcptgate.8").read_text(), re.M).group(1).split()
        for node in w.redis.nodes:
            node.call(*acl(), *beside)
            node.call("ACL", "LOG", "RESET")
        w.gate.write_policy(counters={"url": w.redis.url.replace("://", "://rcptgate:secret@"), "timeout": "10s"})
        w.gate.start()
        w.settled()
        everything(w)
        assert [node.call("ACL", "LOG") for node in w.redis.nodes] == [[] for _ in w.redis.nodes]
        assert w.redis.keys("rcptgate:*"), "the gate used it"


def everything(world):
    gate = world.gate
    for i in range(8):
        with world.milter() as m:
            m.connect(f"192.0.2.{i % 2 + 1}")
            m.mail()
            m.rcpt(f"<{ALIAS}>")
            m.abort()
    gate.command("block", "203.0.113.0/24", "--for", "1h")
    commands(gate)
    gate.stop()
    commands(gate)
    gate.command("block", "203.0.113.7")
    gate.command("unblock", "203.0.113.0/24")


def commands(gate):
    gate.command("show", ALIAS, check=None)
    gate.command("top", check=None)
    gate.command("blocks", check=None)
    gate.command("explain", "--to", ALIAS, check=None)
    gate.command("status", check=None)
    gate.command("reset", ALIAS, check=None)


def test_the_line_of_the_manual_is_enough(world):
    everything(world)
    assert world.redis.call("ACL", "LOG") == []
    assert world.redis.call("XLEN", "rcptgate:events") > 0


def test_the_manual_has_every_key(world):
    """Those that count no subject, by their forms."""
    manual = (SOURCE / "policy/rcptgate-policy.5").read_text()
    listed = manual.split("These keys count no subject:")[1].split(".El")[0]
    forms = {re.sub(r"<[a-z-]+>|\.\.\.|0\.\.63", "*", word) for line in re.findall(r"^\.It Li (.+)$", listed, re.M) for word in line.split(" , ")}
    wait_for(lambda: (world.take(ALIAS), world.redis.keys("rcptgate:retries:*"))[1], "who was deferred is not noted")
    everything(world)
    subjects = json.loads((SOURCE / "policy/policy.schema.json").read_text())["$defs"]["subject"]["enum"]
    others = {key for key in world.redis.keys("*") if key.split(":")[1].split("+")[0] not in subjects}
    assert {form for form in forms if any(fnmatch.fnmatchcase(key, form) for key in others)} >= {
        "rcptgate:retries:{*}:*", "rcptgate:blocks", "rcptgate:changes:{rcptgate:blocks}", "rcptgate:events"}
    assert not [key for key in others if not any(fnmatch.fnmatchcase(key.split("|")[0], form) for form in forms)]
    for name, path in (("new", "policy/plan.c"), ("paid", "lib/counters/remote.c"), ("leases", "lib/counters/remote_script.c"),
                       ("backlog", "milter/gate/queue_sync.c")):
        assert f'"{name}' in (SOURCE / path).read_text() and any(form.startswith(f"rcptgate:{name}:") for form in forms), name


@pytest.mark.parametrize("right", ["time", "hset", "hget", "pttl", "pexpire", "eval", "evalsha"])
def test_a_missing_right_is_named(world, right):
    world.redis.call("ACL", "SETUSER", "rcptgate", f"-{right}")

    def told():
        with world.milter() as m:
            m.connect()
            m.mail()
            m.rcpt(f"<{ALIAS}>")
        return f"lacks +{right};" in world.gate.command("status", check=None)

    wait_for(told, "status says which right is missing")
    world.gate.stop()


def test_what_a_script_did_before_a_right_was_missing_counts_once():
    """Redis counts an attempt, and may not let its counter expire: twelve attempts are twelve, wherever they were counted."""
    with World("redis", [{"name": "tries", "per": "client", "count": "attempts", "max": 20, "window": "1h", "over": "reject"}], mta=False) as w:
        w.database.alias(ALIAS)
        w.settled()
        w.redis.call("ACL", "SETUSER", "default", "-pexpire")
        assert {w.take(ALIAS) for _ in range(12)} == {"continue"}
        w.redis.call("ACL", "SETUSER", "default", "+pexpire")
        wait_for(lambda: w.gate.command("status", check=None).startswith("healthy"), "it is well again", 3 * PATIENCE)  # told of for a minute
        said = [w.take(ALIAS) for _ in range(9)]
        assert said[:8] == ["continue"] * 8
        assert said[8] == "550 5.7.1"


@pytest.mark.parametrize("right", ["pexpire", "pttl"])
def test_what_was_counted_here_waits_for_the_right_that_it_needs(right):
    """What the gate counted while Redis was away is told in the end, however often that was refused."""
    with World("redis", [{"name": "tries", "per": "client", "count": "attempts", "max": 20, "window": "1h", "over": "reject"}], mta=False) as w:
        w.database.alias(ALIAS)
        w.settled()
        w.redis.stop()
        assert {w.take(ALIAS) for _ in range(12)} == {"continue"}
        w.redis.args = ("--user", "default", "on", "nopass", "~*", "&*", "+@all", f"-{right}")
        w.redis.start()
        refusals = lambda: sum(entry[entry.index("count") + 1] for entry in w.redis.call("ACL", "LOG"))
        wait_for(lambda: refusals() > 130, "it is not tried again and again")
        w.redis.call("ACL", "SETUSER", "default", f"+{right}")
        wait_for(lambda: w.used("192.0.2.1", "tries", per="client") == 12, "what was counted here is told")
