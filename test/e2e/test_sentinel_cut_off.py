"""A master behind Sentinels on a host of its own, and the cable between hosts that is pulled out under load, and put in again."""

import re
import time

import pytest

import network
from harness import World, wait_for
from mail_load import THREADS, Load, counted, hard_answers_are_proven, taken
from sentinel import FAILOVER, overhear

WHY_NOT = network.why_not()
pytestmark = pytest.mark.skipif(WHY_NOT != "", reason=WHY_NOT)

MAX, BEFORE = 300, 30  # of the busy recipient; so many of it were taken by each gate before the cut
TIMEOUT_MS = 2000
EACH = 2  # threads of each load
BUSY, ALONE, BOTH, OTHER = "busy@few.example", "alone@many.example", "both@many.example", "other@many.example"
LIMITS = [{"name": "few", "per": "recipient", "max": MAX, "window": "1h", "over": "reject", "when": {"recipient_domain": "few.example"}},
          {"name": "many", "per": "recipient", "max": 10**6, "window": "1h", "over": "reject", "when": {"recipient_domain": "many.example"}}]


def world(**options):
    return World("sentinel", LIMITS, mta=False, database=False, **options)


def used(w, recipient, limit="many"):
    return w.redis.used(f"rcptgate:recipient:{{{recipient}}}", limit)


def counts_here(gate, recipient):
    return gate.status(do="explain", to=recipient)["counts"] != ""


def local(gate):
    return [line for line in gate.log().splitlines() if "counts=local" in line]


def uses(gate, node):
    shard, = gate.status()["counters"]["shards"]
    return shard["up"] and shard["master"] == f"{node.address}:{node.port}"


def another(w, sentinels):
    """The node that one of them names in place of the first, or None."""
    named = w.redis.named(sentinels)
    return named if named is not w.redis.nodes[0] else None


def charges(lines, host, since):
    """When a gate on that host charged counters there, and on which connection: [(time, port)]."""
    seen = (re.match(rf'\+(\d+\.\d+) \[\d+ {re.escape(host.address)}:(\d+)\] "EVAL(?:SHA)?" .*rcptgate:recipient', line) for line in lines)
    return [(float(m[1]), m[2]) for m in seen if m and float(m[1]) > since]


def used_in(node, recipient=BOTH):
    return node.used(f"rcptgate:recipient:{{{recipient}}}", "many")


def node_holds(replica):
    """What it was told until it was cut off from its master: who asks again and again is answered after all that had arrived."""
    return [used_in(replica) for _ in range(20)][-1]


@pytest.mark.parametrize("settings", [(), ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")], ids=["plain", "min-replicas"])
def test_a_master_is_cut_off(settings):
    """With one of the Sentinels and a gate. The other side has two Sentinels, both replicas, and another gate."""
    with world(gates=2, hosts=2, sentinel={"hosts": [0, 1, 1], "watchers": [0, 1, 1], "settings": settings},
               counters={"timeout": f"{TIMEOUT_MS}ms", "local_share": "50%"}) as w:
        (small, large), (cut_off, rest), old = w.gates, w.network.hosts, w.redis.nodes[0]
        for gate in w.gates:
            wait_for(lambda: uses(gate, old), "the master is not used")
            with Load([gate], [BUSY], threads=1, most=BEFORE) as load:
                load.ends()
        assert used(w, BUSY, "few") == 2 * BEFORE
        lines, listener = overhear(old)
        with Load([small], [ALONE, BOTH], EACH) as few_eyes, Load([large], [BOTH, OTHER], EACH) as many_eyes:
            few_eyes.flows()
            many_eyes.flows()
            for gate in w.gates:
                gate.status(forget_longest=True)
            cut = time.monotonic()
            cut_off.cut()
            behind = used_in(old) - min(node_holds(node) for node in w.redis.nodes[1:])
            with Load([small], [BUSY], EACH) as busy_small, Load([large], [BUSY], EACH) as busy_large:
                loads = (few_eyes, many_eyes, busy_small, busy_large)
                new = wait_for(lambda: another(w, w.redis.sentinels[1:]), "no other master is named", FAILOVER)
                wait_for(lambda: uses(large, new), "the new master is not used")
                if settings:
                    wait_for(lambda: counts_here(small, ALONE), "the old master goes on alone")
                for load in loads:
                    load.flows()
                assert uses(small, old) or settings  # nobody whom it reaches names another
                before = {port for _, port in charges(lines, rest, 0)}
                healed_at, healed = time.time(), time.monotonic()
                cut_off.heal()
                wait_for(lambda: uses(small, new), "the new master is not used by who was cut off")
                turned_at, turned = time.time(), time.monotonic()
                wait_for(lambda: old.role() == "slave", "the old master stays one")
                for gate in w.gates:
                    gate.gets_well()
                for load in loads:
                    load.flows()
                few = [busy_small.stop(), busy_large.stop()]
            many = [few_eyes.stop(), many_eyes.stop()]
        listener.join(60)  # the Sentinel that makes it a replica ends its connections
        late = charges(lines, rest, healed_at)
        assert {port for _, port in late} <= before and len(late) <= 2 * EACH, "more than was under way when the cable was pulled out"
        assert charges(lines, cut_off, turned_at) == []
        assert "cmd=evalsha" not in old.call("CLIENT", "LIST")
        assert all(gate.status()["traffic"]["decision_max_ms"] < 2 * TIMEOUT_MS for gate in w.gates), "somebody waited twice"
        assert {said for side in many for *_, said in side} == {"250"}
        assert {said for side in few for *_, said in side} <= {"250", "450", "550"}
        hard_answers_are_proven(few, healed, 2 * BEFORE, MAX)
        assert 2 * BEFORE + sum(taken(side)[BUSY] for side in few) <= 2 * MAX - 2 * BEFORE + 2 * EACH
        lost = behind + sum(r == BOTH and ended >= cut and began <= turned for began, ended, r, _ in many[0])
        sums = {r: sum(taken(side).get(r, 0) for side in many) for r in (ALONE, BOTH, OTHER)}
        counted(lambda r: used(w, r), {r: (n - lost * (r == BOTH) - 2 * EACH, n + 2 * EACH) for r, n in sums.items()})


def test_sentinels_that_disagree():
    """The gate reaches them all: one beside the old master, which takes charges as ever, and two who have made another the master."""
    with world(hosts=3, sentinel={"hosts": [1, 2, 2], "watchers": [1, 2, 2]}) as w:
        gate, (host, *apart), old = w.gate, w.network.hosts, w.redis.nodes[0]
        wait_for(lambda: uses(gate, old), "the master is not used")
        lines, _ = overhear(old)
        with Load(w.gates, [BOTH, OTHER]) as load:
            load.flows()
            w.network.part(*apart)
            new = wait_for(lambda: another(w, w.redis.sentinels[1:]), "no other master is named", FAILOVER)
            wait_for(lambda: uses(gate, new), "the highest epoch is not followed")
            turned_at = time.time()
            load.flows(300)
            assert w.redis.named(w.redis.sentinels[:1]) is old and old.role() == "master"
            assert uses(gate, new)
            w.network.part()
            wait_for(lambda: old.role() == "slave", "the old master stays one")
            gate.gets_well()
            load.flows()
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        assert charges(lines, host, turned_at) == []
        counted(lambda r: used(w, r), {r: (n, n + THREADS) for r, n in taken(sent).items()})


def test_all_sentinels_are_cut_off():
    """From the gate, the master and its replicas: counting goes on, also where the gate has to connect anew."""
    with world(hosts=2, sentinel={"hosts": [0, 0, 0], "watchers": [1, 1, 1]}) as w:
        gate, cable, master = w.gate, w.network.hosts[1], w.redis.nodes[0]
        wait_for(lambda: uses(gate, master), "the master is not used")
        with Load(w.gates, [BOTH, OTHER]) as load:
            load.flows()
            cable.cut()
            end = time.monotonic() + 3  # the Sentinels take it for dead by then, and the gate has asked them in vain
            wait_for(lambda: time.monotonic() > end, "")
            load.flows()
            assert local(gate) == [] and uses(gate, master)
            master.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            wait_for(lambda: uses(gate, master) and gate.is_well(), "the master is left")
            load.flows()
            cable.heal()
            wait_for(lambda: all(s.knows(2, 2) and "down" not in s.master()[0]["flags"] for s in w.redis.sentinels), "the Sentinels do not come back")
            load.flows()
            sent = load.stop()
        wait_for(lambda: gate.is_well() and uses(gate, master), "it is not well")
        assert {said for *_, said in sent} == {"250"}
        counted(lambda r: used(w, r), {r: (n - THREADS, n + THREADS) for r, n in taken(sent).items()})
