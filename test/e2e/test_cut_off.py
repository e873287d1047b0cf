"""A Redis Cluster on two hosts, a gate on either: the cable between them is pulled out under load, and put in again."""

import time

import pytest

import network
from harness import World, wait_for
from mail_load import Load, counted, hard_answers_are_proven, taken

WHY_NOT = network.why_not()
pytestmark = pytest.mark.skipif(WHY_NOT != "", reason=WHY_NOT)

MAX, BEFORE = 300, 30  # of the busy recipient; so many of it were taken by each gate before the cut
TIMEOUT_MS = 1000
THREADS = 2  # of each load
LIMITS = [{"name": "few", "per": "recipient", "max": MAX, "window": "1h", "over": "reject", "when": {"recipient_domain": "few.example"}},
          {"name": "many", "per": "recipient", "max": 10**6, "window": "1h", "over": "reject", "when": {"recipient_domain": "many.example"}}]


class Split:
    """One master and a gate on the small side; all others on the large one."""

    def __init__(self, w):
        self.cluster, (self.small, self.large), self.cable = w.redis, w.gates, w.network.hosts[0]
        self.old, self.others = w.redis.masters[0], w.redis.masters[1:]
        self.new = w.redis.replicas[0]
        self.busy = self.of(self.old, "few.example")
        self.alone, self.both = (self.of(self.old, "many.example", i) for i in (0, 1000))  # asked on the small side, on both
        self.elsewhere = [self.of(node, "many.example") for node in self.others]

    def of(self, node, domain, start=0):
        return self.cluster.subject(node, form="alias{}@" + domain, start=start)

    def used(self, recipient, limit="many"):
        return self.cluster.used(f"rcptgate:recipient:{{{recipient}}}", limit)

    def behind(self, cut, *loads):
        """So many of what both sides count, and was answered by then, the replica was not told of before it was cut off from the old
        master. Who asks it again and again is answered after all that had arrived."""
        answered = sum((r, said) == (self.both, "250") and ended <= cut for load in loads for _, ended, r, said in list(load.sent))
        held = [self.new.holds(f"rcptgate:recipient:{{{self.both}}}", "many") for _ in range(20)][-1]
        return max(0, answered - (held or 0))

    def lost(self, load, cut):
        """So many of them the old master took since then, at most, that nobody else knows of: the gate cannot tell them from those that
        the other one added at the new master."""
        here = sum(f"<{self.both}>" in line and "counts=local" in line for line in self.small.log().splitlines())
        return sum((r, said) == (self.both, "250") and ended > cut for _, ended, r, said in list(load.sent)) - here

    def is_promoted(self):
        return self.new.id in self.cluster.serving(self.others)

    def is_healed(self):
        return self.old.role() == "slave" and all(gate.is_well() for gate in (self.small, self.large))


def counts_here(gate, recipient):
    return gate.status(do="explain", to=recipient)["counts"] != ""


@pytest.mark.parametrize("settings", [(), ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")], ids=["plain", "min-replicas"])
def test_a_gate_is_cut_off_with_one_master(settings):
    with World("cluster", LIMITS, gates=2, mta=False, database=False, hosts=2, cluster={"hosts": [0, 1, 1, 1, 1, 1], "settings": settings, "timeout_ms": 4000},
               counters={"timeout": f"{TIMEOUT_MS}ms", "local_share": "50%"}) as w:
        s = Split(w)
        for gate in w.gates:
            with Load([gate], [s.busy], threads=1, most=BEFORE) as load:
                load.ends()
        assert s.used(s.busy, "few") == 2 * BEFORE
        with Load([s.small], [s.alone, s.both, *s.elsewhere], THREADS) as small, Load([s.large], [s.both, *s.elsewhere], THREADS) as large:
            small.flows()
            large.flows()
            for gate in w.gates:
                gate.status(forget_longest=True)
            s.cable.cut()
            cut = time.monotonic()
            behind = s.behind(cut, small, large)
            with Load([s.small], [s.busy], THREADS) as busy_small, Load([s.large], [s.busy], THREADS) as busy_large:
                wait_for(lambda: counts_here(s.small, s.alone), "the old master goes on alone")
                wait_for(s.is_promoted, "no replica takes its place")
                if not settings:
                    s.large.gets_well()
                for load in (small, large, busy_small, busy_large):
                    load.flows()
                assert counts_here(s.large, s.both) == bool(settings)  # the new master has no replica
                lost = behind + s.lost(small, cut)
                healed = time.monotonic()
                s.cable.heal()
                wait_for(s.is_healed, "the gates do not get well")
                for load in (small, large, busy_small, busy_large):
                    load.flows()
                few = [busy_small.stop(), busy_large.stop()]
            many = [small.stop(), large.stop()]
        assert all(gate.status()["traffic"]["decision_max_ms"] < 2 * TIMEOUT_MS for gate in w.gates), "somebody waited twice"
        assert {said for side in many for *_, said in side} == {"250"}
        assert {said for side in few for *_, said in side} <= {"250", "450", "550"}
        hard_answers_are_proven(few, healed, 2 * BEFORE, MAX)
        total = 2 * BEFORE + sum(taken(side)[s.busy] for side in few)
        assert total <= 2 * MAX - 2 * BEFORE + 2 * THREADS
        both = {r: sum(taken(side).get(r, 0) for side in many) for r in (s.alone, s.both, *s.elsewhere)}
        counted(s.used, {r: (n - lost * (r == s.both) - THREADS, n + THREADS) for r, n in both.items()})
