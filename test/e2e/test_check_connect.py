"""check --connect: what is wrong with the Redis that a policy names, and with the unit that runs the gate, is said before it counts."""

import json
import os
import re
import struct
import subprocess

import pytest

from certificates import Authority
from harness import PRELOADS, RCPTGATE, SOURCE, Redis, Scratch
from sentinel import MASTER, Node, ScriptedSentinel


@pytest.fixture()
def scratch():
    scratch = Scratch()
    yield scratch
    scratch.remove()


@pytest.fixture()
def redis(scratch):
    redis = Redis(scratch)
    yield redis
    redis.stop()


def check(scratch, status, url, path=None, **counters):
    """The problems that are found, kind and text, where it exits with that status."""
    policy = scratch / "policy.json"
    policy.write_text(json.dumps({"state": str(scratch.path), "counters": {"url": url, **counters}}))
    policy.chmod(0o640)
    env = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"])
    run = subprocess.run([RCPTGATE, "check", "--connect", "--json", policy], capture_output=True, text=True, env=env)
    report = json.loads(run.stdout)
    assert run.returncode == status, report
    return [(problem["kind"], f"{problem['pointer']}: {problem['text']}") for problem in report["problems"]]


def only(problems, kind, *words):
    """There is one, of that kind, which has these words."""
    assert len(problems) == 1 and problems[0][0] == kind and all(word in problems[0][1] for word in words), problems


def test_nothing_is_wrong(scratch, redis):
    assert check(scratch, 0, redis.url) == []
    assert redis.keys("*") == []
    assert check(scratch, 0, "memory:") == []


def test_it_is_away(scratch, redis):
    redis.stop()
    only(check(scratch, 1, redis.url), "failed", "/counters/url", "cannot connect", str(redis.socket))


def acl():
    return re.search(r"^\.Dl (ACL SETUSER rcptgate .+)$", (SOURCE / "milter/rcptgate.8").read_text(), re.M).group(1).split()


def test_each_right_of_the_manual_is_missed_by_its_name(scratch, redis):
    address, port = scratch.address, scratch.port()
    redis.call("CONFIG", "SET", "bind", address, "port", port)
    redis.call(*(word.replace("PASSWORD", "secret") for word in acl()))
    url = f"redis://rcptgate:secret@{address}:{port}/1"
    assert check(scratch, 0, url) == []
    for right in [word for word in acl() if word.startswith("+")]:
        redis.call("ACL", "SETUSER", "rcptgate", right.replace("+", "-"))
        only(check(scratch, 1, url), "failed", f"lacks {right}")
        redis.call("ACL", "SETUSER", "rcptgate", right)
    redis.call("ACL", "SETUSER", "rcptgate", "-hget", "-hset", "resetkeys", "~other:*")
    kinds = [text for _, text in check(scratch, 1, url)]
    assert len(kinds) == 2 and "~rcptgate:*" in kinds[0] and "lacks +hset +hget" in kinds[1], kinds
    redis.call("ACL", "SETUSER", "rcptgate", "+@all", "~*")
    only(check(scratch, 1, f"redis://rcptgate:guess@{address}:{port}"), "failed", "WRONGPASS")
    assert redis.keys("*") == []


def test_eviction(scratch, redis):
    redis.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    only(check(scratch, 0, redis.url), "warning", "noeviction")


def test_a_clock_that_is_wrong(scratch):
    offset = scratch / "offset"
    offset.write_bytes(struct.pack("=q", -90))
    redis = Redis(scratch, under=["env", f"LD_PRELOAD={PRELOADS}/clockshift.so", f"CLOCKSHIFT={offset}"])
    try:
        problems = check(scratch, 0, redis.url)
        only(problems, "warning", "behind that of this host")
        assert 80 < float(re.search(r"is ([0-9.]+) s behind", problems[0][1])[1]) < 100
    finally:
        redis.stop()


def test_a_replica(scratch, redis):
    replica = Node(scratch, "replica")
    replica.call("REPLICAOF", scratch.address, 1)
    problems = check(scratch, 1, replica.url)
    assert {kind for kind, _ in problems} == {"failed"} and "redis+sentinel://" in str(problems), problems
    replica.stop()


def test_certificates(scratch, redis):
    authority, port = Authority(scratch), scratch.port()
    redis.call("CONFIG", "SET", "bind", scratch.address)

    def present(name, days):
        cert, key = authority.issue(name, f"IP:{scratch.address}", days=days)
        redis.call("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key, "tls-ca-cert-file", authority.ca, "tls-port", port)
        return cert, key

    ours = [str(path) for path in present("long", 20)]
    tls = {"ca": str(authority.ca), "cert": ours[0], "key": ours[1]}
    url = f"rediss://{scratch.address}:{port}"
    os.chmod(ours[1], 0o600)
    assert check(scratch, 0, url, tls=tls) == []
    short = present("short", 13)
    only(check(scratch, 0, url, tls=tls), "warning", "/counters/tls", "the certificate of Redis", "renew it")
    present("long2", 20)
    os.chmod(short[1], 0o600)
    only(check(scratch, 0, url, tls={"ca": tls["ca"], "cert": str(short[0]), "key": str(short[1])}), "warning", "/counters/tls/cert",
         "our certificate")
    os.chmod(ours[1], 0o644)
    only(check(scratch, 0, url, tls=tls), "warning", "/counters/tls/key", "every user")
    os.chmod(ours[1], 0o600)
    present("past", -1)
    only(check(scratch, 1, url, tls=tls), "failed", "expired")
    present("elsewhere", 20)
    only(check(scratch, 1, url, tls={**tls, "name": "redis.example.com"}), "failed", "does not name redis.example.com")


def test_sentinels(scratch, redis):
    master, replica = Node(scratch, "master"), Node(scratch, "replica")
    gone, sentinel = ScriptedSentinel(scratch, 1, master), ScriptedSentinel(scratch, 1, master)
    gone.stop()
    at = f"{sentinel.address}:{sentinel.port}"
    only(check(scratch, 0, f"redis+sentinel://{at}/{MASTER}"), "warning", "no replica")
    replica.follow(master)
    only(check(scratch, 0, f"redis+sentinel://{at}/{MASTER}"), "warning", "min-replicas-to-write 1")
    master.call("CONFIG", "SET", "min-replicas-to-write", "1", "min-replicas-max-lag", "2")
    assert check(scratch, 0, f"redis+sentinel://{at}/{MASTER}") == []
    only(check(scratch, 0, f"redis+sentinel://{at},{gone.address}:{gone.port}/{MASTER}"), "warning", f":{gone.port} (a Sentinel)")
    sentinel.say(2, replica, wait=False)
    problems = check(scratch, 1, f"redis+sentinel://{at}/{MASTER}")
    assert problems and {kind for kind, _ in problems} == {"failed"}, problems
    sentinel.stop()
    assert check(scratch, 1, f"redis+sentinel://{at}/{MASTER}")[0][0] == "failed"
    for node in (replica, master):
        node.stop()


UNIT = """ExecStart={{ path=/usr/bin/rcptgate ; argv[]=/usr/bin/rcptgate run -c {policy} ; ignore_errors=no }}
IPAddressAllow={allow}
IPAddressDeny=0.0.0.0/0 ::/0
ProtectSystem=strict
ProtectHome=yes
ReadWritePaths={write}
StateDirectory=rcptgate
"""


def test_what_the_unit_allows(scratch, redis):
    port = scratch.port()
    redis.call("CONFIG", "SET", "bind", scratch.address, "port", port)
    url = f"redis://{scratch.address}:{port}"
    (scratch / "bin").mkdir()
    show = scratch / "bin" / "systemctl"

    def unit(policy, allow="127.0.0.0/8 ::1/128", write="/var/spool/postfix/rcptgate"):
        show.write_text("#!/bin/sh\ncat <<'EOF'\n" + UNIT.format(policy=policy, allow=allow, write=write) + "EOF\n")
        show.chmod(0o755)

    unit(scratch / "policy.json", write=f"-{scratch.path} /var/spool/postfix/rcptgate")
    assert check(scratch, 0, url, scratch / "bin") == []
    unit(scratch / "policy.json")
    only(check(scratch, 1, url, scratch / "bin"), "failed", "/state", "rcptgate.service does not let the gate write", str(scratch.path))
    unit(scratch / "policy.json", allow="192.0.2.1", write=f"{scratch.path.parent} /var/spool/postfix/rcptgate")
    only(check(scratch, 1, url, scratch / "bin"), "failed", "/counters/url", f"IPAddressAllow={scratch.address}")
    unit("/etc/rcptgate/policy.json", allow="")
    assert check(scratch, 0, url, scratch / "bin") == []
