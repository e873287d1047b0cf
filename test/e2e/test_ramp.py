"""Limits that grow back after a start and after an outage."""

import itertools
import time

import pytest

from harness import MilterClient, World, wait_for

LIMITS = [{"name": "ramped", "per": "recipient", "max": 100, "window": "1h", "over": "reject", "ramp": "1d"}]  # that does not grow in a test


def accepted(gate, address, tries=15):
    """How many messages get through, and the status of the first that does not."""
    with MilterClient(gate.socket) as milter:
        milter.connect("192.0.2.7")
        milter.helo()
        for n in range(tries):
            milter.mail(f"<bob{n}@sender.example>")
            answer = milter.rcpt(f"<{address}>")
            if answer.kind != "continue":
                return n, answer.text
            milter.eom()
    return tries, ""


def grows_to_its_max(gate, name):
    """Waits until the limit answers hard. Several addresses take turns: while a message is not settled yet its counter is soft, and
    one settlement that is lost leaves it so for the window."""
    turns = itertools.cycle(f"{name}{n}@other.example" for n in range(8))
    wait_for(lambda: accepted(gate, next(turns), 101)[1].startswith("550"), f"the ramp has no end for {name}")


def test_a_start_ramps_on_all_hosts():
    with World("redis", LIMITS, gates=2, mta=False, database=False) as world:
        first, second = world.gates
        n, text = accepted(first, "a@other.example")
        assert n == 10 and text.startswith("451 4.3.2"), text
        wait_for(lambda: first.decisions(by="ramp", verdict="defer", used="10", max="10"), "no by=ramp in the log")
        wait_for(lambda: "event=ramp-began" in first.log(), "no ramp in the log")
        # the counter is one: the second host lets nothing more through
        assert accepted(second, "a@other.example")[0] == 0


def test_redis_back_begins_anew():
    ramp = 10
    limits = [dict(LIMITS[0], ramp=f"{ramp}s")]
    with World("redis", limits, mta=False, database=False) as world:
        gate = world.gate
        grows_to_its_max(gate, "b")
        world.redis.stop()
        wait_for(lambda: "event=counters-trouble" in gate.log(), "the outage is not noticed")
        began = time.monotonic()
        world.redis.start()
        wait_for(lambda: "because=counters" in gate.log(), "no ramp after the outage")
        n, text = accepted(gate, "d@other.example", 100)
        if time.monotonic() > began + ramp / 2:
            pytest.skip("the machine is too slow: it may have grown to its max before all was asked")
        assert 10 <= n < 100 and text.startswith("451 4.3.2"), (n, text)
        grows_to_its_max(gate, "e")


def test_alias_rules_back_begin_anew():
    with World("memory", LIMITS, mta=False) as world:
        world.database.alias("a@example.com")
        gate = world.gate
        n, text = accepted(gate, "a@example.com")
        assert n == 10 and text.startswith("451 4.3.2")
        away = world.database.path.with_name("away")
        world.database.path.rename(away)
        wait_for(lambda: "event=aliases-trouble" in gate.log(), "the missing database is not noticed")
        away.rename(world.database.path)
        wait_for(lambda: "because=aliases" in gate.log(), "no ramp after the alias rules came back")
