"""Counters on a Redis Cluster of three masters and three replicas, one of which takes the place of its master."""

import time

import pytest

from certificates import Authority
from cluster_world import UNREACHED, aliases_of, cluster_world, local, shards_of, used
from harness import MilterClient, wait_for
from mail_load import THREADS, Load, code, counted, taken


def fails_over(w, victim, aliases, load):
    """Kills a master under load. Its replica takes its place when it was asked what it lacks of what was answered by then, and mail has
    met that nobody is there; returns that, {recipient: n}, when the gate uses the replica."""
    cluster = w.redis
    load.flows(200)
    replica = cluster.replicas[cluster.masters.index(victim)]
    replica.may_take_over(False)
    victim.kill()
    answered = taken(list(load.sent))
    wait_for(lambda: replica.call("INFO", "replication").count("master_link_status:up") == 0, "the replica does not notice")
    lost = {r: answered.get(r, 0) - replica.holds(f"rcptgate:recipient:{{{r}}}", "alias") for r in aliases if aliases[r] is victim}
    load.flows()
    replica.may_take_over(True)
    wait_for(lambda: victim.id not in cluster.serving() and len(cluster.serving()) == 3, "no replica takes its place")
    w.gate.gets_well()
    return {r: max(0, n) for r, n in lost.items()}


def counted_as_taken(cluster, aliases, victim, sent, lost):
    """Of who kept its master exactly; of the others no less but for what the failover lost, and no more but for what was under way."""
    counts = taken(sent)
    counted(lambda r: used(cluster, r, "alias"),
            {r: (n - lost[r], n + THREADS) if aliases[r] is victim else (n, n) for r, n in counts.items()})


@pytest.mark.parametrize("coverage", ["no", "yes"])
def test_kill_a_master(coverage):
    """Only its subjects are counted here meanwhile; they go over once, to the replica that takes its place. With full coverage all others say
    CLUSTERDOWN for a second, too: limits go on here, and nobody is refused."""
    with cluster_world(UNREACHED, cluster={"coverage": coverage}) as w:
        cluster, victim = w.redis, w.redis.masters[1]
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            lost = fails_over(w, victim, aliases, load)
            load.flows(200)
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        wait_for(lambda: local(w.gate), "nothing was counted here")
        assert coverage == "yes" or {aliases[recipient] for recipient in local(w.gate)} == {victim}
        counted_as_taken(cluster, aliases, victim, sent, lost)


@pytest.mark.parametrize("known", [True, False], ids=["known", "joined-late"])
def test_what_a_failover_lost_is_counted_again(known):
    """By the gate that took it, when the replica that knows nothing is the master; also where no map has named that replica yet."""
    limits = [{"name": "alias", "per": "recipient", "max": 10, "window": "1h", "over": "reject"}]
    with cluster_world(limits, cluster={"replicas": known}) as w, MilterClient(w.gate.socket) as m:
        cluster, victim = w.redis, w.redis.masters[1]
        recipient = cluster.subject(victim)
        replica = cluster.replicas[1] if known else cluster.add_replica(w.scratch, victim)
        m.connect()

        def send():
            return code(m.message(recipient))

        assert [send() for _ in range(8)] == ["250"] * 8
        wait_for(lambda: replica.holds(f"rcptgate:recipient:{{{recipient}}}", "alias") == 8, "no replication")
        replica.call("CONFIG", "SET", "replica-read-only", "no")
        replica.call("FLUSHALL")
        victim.kill()
        wait_for(lambda: replica.id in cluster.serving(), "no replica takes its place")
        w.gate.gets_well()
        said = [send() for _ in range(6)]
        assert said.count("250") == 2 and set(said) <= {"250", "450", "550"}
        wait_for(lambda: used(cluster, recipient, "alias") == 10, "not all is counted")


def take_over(cluster, replica):
    """Redis gives up after five seconds, and says nothing."""
    asked = 0

    def serves():
        nonlocal asked
        if time.monotonic() > asked + 6 and replica.id not in cluster.serving():
            replica.call("CLUSTER", "FAILOVER")
            asked = time.monotonic()
        return replica.id in cluster.serving()

    wait_for(serves, "the replica does not take over")


def test_a_planned_failover():
    """The replica is asked to take over: nothing is lost, and nobody is refused."""
    with cluster_world(UNREACHED) as w:
        cluster = w.redis
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            load.flows()
            take_over(cluster, cluster.replicas[0])
            load.flows(300)
            w.gate.gets_well()
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        counts = taken(sent)
        counted(lambda r: used(cluster, r, "alias"), {r: (n, n) for r, n in counts.items()})


def test_over_tls():
    """No node speaks plain text. One dies, its replica is used, and a slot moves; then nobody trusts them any more."""
    with cluster_world(UNREACHED, cluster={"tls": True}) as w:
        cluster, victim = w.redis, w.redis.masters[1]
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            lost = fails_over(w, victim, aliases, load)
            recipient = next(r for r, node in aliases.items() if node is cluster.masters[0])
            slot = cluster.slot(f"rcptgate:recipient:{{{recipient}}}")
            cluster.begin_move(slot, *cluster.masters[::2])
            load.flows(200)
            cluster.end_move(slot, *cluster.masters[::2])
            load.flows(200)
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        assert {aliases[r] for r in local(w.gate)} == {victim}
        assert cluster.owner(f"rcptgate:recipient:{{{recipient}}}") is cluster.masters[2]
        counted_as_taken(cluster, aliases, victim, sent, lost)
        assert all(shard["certificate_expires"] for shard in shards_of(w))
        w.gate.stop()
        w.gate.write_policy(counters={**w.gate.policy["counters"], "tls": {"ca": str(Authority(w.scratch, "other").ca)}})
        w.gate.start()
        wait_for(lambda: any("not signed" in r["text"] for r in w.gate.status()["reasons"]), "the reason is not named")
        before = used(cluster, recipient, "alias")
        with MilterClient(w.gate.socket) as m:
            m.connect()
            assert code(m.message(recipient)) == "250"
        wait_for(lambda: recipient in local(w.gate), "it is not counted here")
        assert used(cluster, recipient, "alias") == before
