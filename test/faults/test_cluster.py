"""Row 84: a part of a Redis Cluster is away, gives way to its replica, or moves."""

import os
import signal

import pytest
from fault_table import recovers
from fault_world import ALIAS, Faults
from harness import Cluster, wait_for


def elsewhere(f, node):
    """A recipient that another master than that one counts."""
    return next(f"f{i}@flow.example" for i in range(50)
                if f.redis.owner(f"rcptgate:recipient:{{f{i}@flow.example}}") is not node)


def counted_by(f, address):
    return f.status(do="explain", to=address)["counts"]


@pytest.mark.parametrize("coverage", ["no", "yes"])
def test_row84_a_master_dies(coverage):
    """yes: all others say CLUSTERDOWN until its replica takes its place."""
    what = f"a master of a cluster dies, cluster-require-full-coverage {coverage}"
    with Faults(84, what, proxy=False, store=lambda scratch: Cluster(scratch, coverage=coverage)) as f:
        f.warm()
        f.begin()
        victim = f.redis.owner(f"rcptgate:recipient:{{{ALIAS}}}")
        other = elsewhere(f, victim)
        victim.kill()
        f.check_local()
        wait_for(lambda: victim.at in (f.trouble("counters-shard") or ""), "who is away is not named", 10)
        if coverage == "no":
            assert counted_by(f, other) == "", "it has another master"
            assert f.trouble() is None
        wait_for(lambda: len(f.redis.serving()) == 3 and victim.id not in f.redis.serving(), "no replica takes its place")
        f.check_recovery()
        recovers(lambda: f.trouble("counters-shard") is None, "the alarm stays")


def test_row84_a_master_freezes():
    with Faults(84, "a master of a cluster freezes", proxy=False, store=lambda scratch: Cluster(scratch, replicas=False)) as f:
        f.warm()
        f.begin()
        victim = f.redis.owner(f"rcptgate:recipient:{{{ALIAS}}}")
        other = elsewhere(f, victim)
        os.kill(victim.process.pid, signal.SIGSTOP)
        try:
            f.check_local()
            assert counted_by(f, other) == "", "it has another master"
        finally:
            os.kill(victim.process.pid, signal.SIGCONT)
        f.check_recovery(used=None)
        assert f.used() in (9, 10, 11), f.used()  # where an answer was lost


def test_row84_a_slot_moves():
    with Faults(84, "a slot of a cluster moves", proxy=False, store=lambda scratch: Cluster(scratch, replicas=False)) as f:
        f.warm()
        f.begin()
        key = f"rcptgate:recipient:{{{ALIAS}}}"
        source = f.redis.owner(key)
        target = next(node for node in f.redis.masters if node is not source)
        slot = f.redis.slot(key)
        f.redis.begin_move(slot, source, target)
        assert f.admitted(2) == 2
        f.redis.end_move(slot, source, target)
        assert f.admitted(10) == 4
        assert f.source() == "store" and f.is_well()
        f.check_recovery()
