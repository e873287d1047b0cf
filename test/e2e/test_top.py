"""rcptgate top: the flooded and the flooding in one command, from Redis and from memory."""

import json

import pytest

from harness import World, wait_for

LIMITS = [
    {"name": "alias", "per": "recipient", "max": 10, "window": "1h"},
    {"name": "client", "per": "client", "count": "attempts", "max": 20, "window": "1h", "hold": "1h"},
    {"name": "sender", "per": "sender", "max": 1000, "window": "1h"},
]


def flood(world, client, recipient, n):
    with world.milter() as m:
        m.connect(client)
        for _ in range(n):
            m.message(recipient)


def top(world, *words):
    return json.loads(world.gate.command("top", "--json", *words))


def refused(report):
    return [(c["key"], c["limit"], c["refused"]) for c in report["refused"]]


@pytest.mark.parametrize("store", ["redis", "memory"])
def test_finds_them(store):
    with World(store, LIMITS, mta=False) as world:
        assert "no counters" in world.gate.command("top")
        world.database.aliases(["a@example.com", "b@example.com", "c@example.com"])
        flood(world, "192.0.2.7", "a@example.com", 40)
        flood(world, "192.0.2.8", "b@example.com", 4)
        wait_for(lambda: refused(top(world)) == [("recipient:{a@example.com}", "alias", 30), ("client:{192.0.2.7}", "client", 20)],
                 "what was refused from memory is told")
        report = top(world)
        assert report["refused"][1]["held_ms"] > 0
        use = [c["used"] / c["max"] for c in report["busiest"]]
        assert use == sorted(use, reverse=True) and use[0] >= 1 and len(use) == 5
        only = top(world, "--limit", "alias", "-n", "1")
        assert [c["key"] for c in only["busiest"]] == ["recipient:{a@example.com}"]
        text = world.gate.command("top")
        assert "client:{192.0.2.7} (held)" in text and "10/10" in text
        world.gate.command("top", "-n", "0", check=64)
        key = "recipient:{a@example.com}"
        shown = [json.loads(world.gate.command("show", form + key, "--json"))["counters"] for form in ("", "rcptgate:")]
        assert [[(c["key"], c["limit"], c["used"]) for c in counters] for counters in shown] == [[(key, "alias", 10)]] * 2
        assert "there is no kind" in world.gate.command("show", "rcptgate:recipient+clint:{a@example.com}|192.0.2.7", check=1)
        assert "1 counter cleared" in world.gate.command("reset", "rcptgate:" + key)


def test_many_counters_and_blocks():
    with World("redis", LIMITS, mta=False) as world:
        world.database.alias("a@example.com")
        flood(world, "192.0.2.7", "a@example.com", 40)
        world.gate.command("block", "203.0.113.0/24")
        fields = world.redis.fields("rcptgate:recipient:{a@example.com}")
        script = ("for i = 1, 20000 do redis.call('HSET', 'rcptgate:sender:{' .. i .. '@example.net}', 'sender', ARGV[1]) end")
        world.redis.call("EVAL", script, "0", fields["alias"].replace("10/10", "1/1000"))
        report = top(world)
        assert len(report["refused"]) == 10 and report["busiest"][0]["key"] in ("client:{192.0.2.7}", "recipient:{a@example.com}")
