"""Rows 63-68: abuse. What one sender does to one recipient is felt by nobody else, and nothing grows without bound."""

import os
import struct
import time
from pathlib import Path

import pytest

import harness
from fault_table import record
from flood import flood, tally
from harness import World, wait_for
from load import LONG, SANITIZED, times

LIBRARIES = Path(os.environ.get("FAULTS_BIN") or Path(harness.RCPTGATE).parent / "test/faults")


# ------------------------------------------------------------------------------------------------------ row 64

@pytest.fixture()
def clock(tmp_path, monkeypatch):
    """clock(600): from now on it is ten minutes later, for the gates and Redis alike."""
    offset, late = tmp_path / "clockshift", 0
    offset.write_bytes(struct.pack("=q", 0))
    tmp_path.chmod(0o755)
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARIES / "clockshift.so"))
    monkeypatch.setenv("CLOCKSHIFT", str(offset))

    def later(seconds):
        nonlocal late
        late += seconds
        with open(offset, "r+b") as out:
            out.write(struct.pack("=q", late))

    return later


TOLD_S = 1.5  # by then each gate has told the others whom it deferred; a minute before it matters, but here the clock jumps


class Herd:
    """Messages of many clients that are tried until they are taken, each time by the other gate."""

    def __init__(self, world, messages, clients=100, sessions=20):
        self.world, self.tries, self.sessions = world, 0, sessions
        each = messages // clients
        self.waiting = {f"198.51.100.{c + 1}": [(f"s{i}@c{c}.example", f"r{i}@example.com") for i in range(each)]
                        for c in range(clients)}

    def __len__(self):
        return sum(map(len, self.waiting.values()))

    def release(self):
        """All that wait are tried at once; those that were not taken wait again. How often each answer was given."""
        self.tries += 1
        gates, clients = self.world.gates, list(self.waiting)
        said = {}
        for at in range(0, len(clients), self.sessions):
            some = clients[at:at + self.sessions]
            shares = [(gates[(i + self.tries) % len(gates)], client, self.waiting[client]) for i, client in enumerate(some)]
            said.update(zip(some, flood(shares, send=True)))
        for client, answers in said.items():
            self.waiting[client] = [pair for pair, answer in zip(self.waiting[client], answers) if answer != "continue"]
        return tally(said.values())


def remembered_of(world, wanted):
    """How many retries Redis knows, once it was told."""
    end = time.monotonic() + 5
    while world.redis.call("ZCARD", "rcptgate:deferred") < wanted and time.monotonic() < end:
        time.sleep(0.1)
    return world.redis.call("ZCARD", "rcptgate:deferred")


def attempts_counted(world):
    return sum(world.redis.used(key, "tries") for key in world.redis.keys("rcptgate:client:*"))


@pytest.mark.skipif(SANITIZED, reason="a preloaded library must not come before the sanitizer's")
@pytest.mark.parametrize("outage", ["counters", "aliases"])
def test_row64_herd_of_retries(outage, clock):
    """Nothing but attempts could answer hard here: no client may try more often than it has messages, and then is held."""
    messages = times(100000, 10000)
    each = messages // 100
    allowed = each // 10 if outage == "counters" else each + each // 10  # the first tries are counted where Redis is well
    limits = [{"name": "herd", "per": "all", "max": messages // 2, "window": "1m", "ramp": "10m"},
              {"name": "tries", "per": "client", "count": "attempts", "max": allowed, "window": "1d", "over": "reject",
               "hold": "1d"}]
    counters = {"when_down": "defer", "timeout": "1s"}
    with World("redis", limits, gates=2, mta=False, counters=counters, domains=[]) as world:
        world.database.domain("example.com", catch_all="accept")
        herd = Herd(world, messages)
        if outage == "counters":
            world.redis.stop()
        else:
            away = world.database.path.with_name("away")
            world.database.path.rename(away)
        for gate in world.gates:
            wait_for(lambda: f"event={outage}-trouble" in gate.log(), "the outage is noticed")
        assert herd.release() == {"451 4.3.0": messages}
        clock(900)
        if outage == "counters":
            world.redis.start()
        else:
            away.rename(world.database.path)
        for gate in world.gates:
            wait_for(lambda: f"because={outage}" in gate.log(), "the ramp begins")
            wait_for(lambda: f"event={outage}-well" in gate.log(), "the outage is over")
            wait_for(lambda: gate.status(do="explain", to="r@example.com")["counts"] == "", "Redis counts again")
        remembered = remembered_of(world, messages)
        rounds, let_in = 0, []
        while len(herd):
            answers = herd.release()
            assert set(answers) <= {"continue", "451 4.3.2", "450 4.2.1"}, answers
            let_in.append(answers["continue"])
            rounds += 1
            time.sleep(TOLD_S)
            clock(180)
            assert rounds < 20
        anew = attempts_counted(world) - (messages if outage == "aliases" else 0)
        assert let_in[0] <= messages // 2 * 0.15, "the ramp holds the herd"
        assert rounds > 2
        assert remembered >= messages * 0.99 and anew <= messages * 0.01
        record(64, f"{messages:,} retries at once after an outage ({outage}), two gates",
               f"450, 451, never 5xx; all in after {rounds} releases {let_in}; {remembered:,} remembered, {anew} counted anew")
