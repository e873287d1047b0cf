"""Limits on attempts under a flood: each attempt is counted in Redis, retries are not."""

import contextlib
import time

import pytest

from harness import MilterClient, World, run_threads, wait_for

FLOOD, MOST = 5000, 4000
ALIAS, CLIENT = "<a@elsewhere.example>", "192.0.2.7"
LIMITS = [{"name": "one", "per": "recipient", "max": 1, "window": "1h", "over": "defer"},
          {"name": "alias", "per": "recipient", "count": "attempts", "max": 10**9, "window": "1h", "over": "reject"},
          {"name": "tries", "per": "client", "count": "attempts", "max": MOST, "window": "1h", "over": "reject", "hold": "1h"}]
SOFT, HARD = "450 4.2.1", "550 5.7.1"


@contextlib.contextmanager
def flooded(gates=1, limits=LIMITS):
    """An alias with no room left: somebody else holds it."""
    with World("redis", limits, gates=gates, mta=False, database=False) as world:
        with MilterClient(world.gate.socket) as m:
            m.connect("192.0.2.8")
            m.mail()
            assert m.rcpt(ALIAS).status == "continue"
            yield world


def used(world):
    return world.redis.used(f"rcptgate:client:{{{CLIENT}}}", "tries")


def flood(gate, senders):
    said = []
    with MilterClient(gate.socket) as m:
        m.connect(CLIENT)
        for sender in senders:
            m.mail(f"<{sender}@sender.example>")
            said.append(m.rcpt(ALIAS).status)
    return said


def same(n):
    return ["bob"] * n


def others(n, first=0):
    return [f"s{i}" for i in range(first, first + n)]


def counted(world, n):
    wait_for(lambda: used(world) == n, f"not {n} attempts were counted, but {used(world)}")
    time.sleep(1)
    assert used(world) == n, "an attempt was counted twice"


@pytest.mark.parametrize("senders", [same, others])
def test_a_flood_is_counted(senders):
    with flooded() as world:
        said = flood(world.gate, senders(FLOOD))
        assert said == [SOFT] * MOST + [HARD] * (FLOOD - MOST), "it trips at its max"
        counted(world, FLOOD)
        wait_for(lambda: " refused=1000 " in world.redis.fields(f"rcptgate:client:{{{CLIENT}}}")["tries"],
                 "its refusals are not counted")


def test_a_flood_of_two_gates():
    with flooded(gates=2) as world:
        one, other = run_threads(2, lambda i: flood(world.gates[i], same(FLOOD // 2)))
        counted(world, FLOOD)
        for said in (one, other):
            assert said == sorted(said) and said[0] == SOFT, "once hard, always hard"
        assert (one + other).count(HARD) <= FLOOD - MOST, "never early"


def test_another_gates_retries_are_no_attempts():
    with flooded(gates=2) as world:
        first, other = world.gates
        assert flood(first, others(300)) == [SOFT] * 300
        wait_for(lambda: len(list(waiting(world))) == 300, "Redis was not told who was deferred")
        counted(world, 300)
        age(world, 120_000)
        for i in range(0, 300, 10):  # among those who come back, elsewhere, are some who come for the first time
            assert flood(other, others(1, 1000 + i) + others(10, i)) == [SOFT] * 11
        counted(world, 330)


def waiting(world):
    """Key, pair and text of all that may be tried again."""
    for key in world.redis.keys("rcptgate:retries:*"):
        words = world.redis.call("HGETALL", key)
        for pair, text in zip(words[::2], words[1::2]):
            yield key, pair, text


def age(world, ms):
    for key, pair, text in list(waiting(world)):
        at, rest = text.split(" ", 1)
        world.redis.call("HSET", key, pair, f"{int(at) - ms} {rest}")


def test_a_pool_of_clients_retries_at_once():
    """One message, from another address of the sender's each time: what one gate answered 4xx any gate lets pass, as often as it was
    answered so, and a limit that would answer hard sees one attempt."""
    limits = [LIMITS[0], {"name": "tries", "per": "recipient", "count": "attempts", "max": 2, "window": "1h", "over": "reject"}]
    with flooded(gates=2, limits=limits) as world:
        for i in range(20):
            if i > 0 and i % 2 == 0:  # the other gate is asked: it knows as soon as Redis was told
                wait_for(lambda n=i: any(text.endswith(f".{n - 1}") for _, _, text in waiting(world)),
                         "Redis was not told who was deferred")
            with MilterClient(world.gates[i // 2 % 2].socket) as m:
                m.connect(f"203.0.113.{i}")
                m.mail("<bob@sender.example>")
                assert m.rcpt(ALIAS).status == SOFT
        assert world.redis.used(f"rcptgate:recipient:{{{ALIAS[1:-1]}}}", "tries") == 2


def test_redis_restarts_in_a_flood():
    with flooded() as world:
        said = flood(world.gate, same(1000))
        world.redis.stop()
        said += flood(world.gate, same(1000))
        world.redis.start()
        said += flood(world.gate, same(1000))
        assert said == [SOFT] * 3000
        wait_for(lambda: world.redis.call("EXISTS", f"rcptgate:client:{{{CLIENT}}}"), "what was counted meanwhile does not reach it")
        said += flood(world.gate, same(2000))
        counted(world, 5000)
        assert said == [SOFT] * MOST + [HARD] * 1000


def test_a_reset_in_a_flood():
    with flooded() as world:
        flood(world.gate, same(1000))
        world.gate.command("reset", CLIENT, "--limit", "tries")
        wait_for(lambda: used_or_0(world) == 0, "reset clears nothing")
        time.sleep(1)
        assert used_or_0(world) == 0, "attempts from before it came back"
        flood(world.gate, same(1000))
        counted(world, 1000)


def used_or_0(world):
    return used(world) if world.redis.call("HEXISTS", f"rcptgate:client:{{{CLIENT}}}", "tries") else 0


def test_an_end_in_a_flood():
    with flooded() as world:
        flood(world.gate, same(1000))
        world.gate.stop()
        assert used(world) == 1000
