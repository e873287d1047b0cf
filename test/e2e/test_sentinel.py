"""Redis behind Sentinels: they move the master, lie, and go away."""

import re
import threading
import time
from collections import namedtuple

import pytest

from certificates import Authority
from harness import World, serve, wait_for
from sentinel import FAILOVER, MASTER, Node, ScriptedSentinel, Sentinel, overhear

Address = namedtuple("Address", "address port")
ALIAS = "a@example.com"
LIMITS = [{"name": "soft", "per": "recipient", "max": 1000000, "window": "1h", "over": "defer"}]


class Watched:
    """A world with nodes of Redis, Sentinels, and a gate that asks these."""

    def __init__(self, world):
        self.world, self.gate, self.scratch = world, world.gate, world.scratch
        self.things = []

    def keep(self, thing):
        self.things.append(thing)
        return thing

    def stop(self):
        for thing in reversed(self.things):
            thing.stop()

    def node(self, name, *args):
        return self.keep(Node(self.scratch, name, args))

    def replicated(self, replicas=2, sentinels=3, lines=()):
        """1 + replicas, and Sentinels that know all of them."""
        nodes = [self.node(f"redis{i}") for i in range(1 + replicas)]
        for node in nodes[1:]:
            node.follow(nodes[0])
        watchers = [self.keep(Sentinel(self.scratch, i, nodes[0], lines=lines)) for i in range(sentinels)]
        return nodes, watchers

    def connect(self, sentinels, timeout="10s", scheme="redis", **counters):
        self.gate.stop()
        hosts = ",".join(f"{sentinel.address}:{sentinel.port}" for sentinel in sentinels)
        self.gate.write_policy(counters={"url": f"{scheme}+sentinel://{hosts}/{MASTER}", "timeout": timeout, **counters})
        self.gate.start()

    def trouble(self):
        report = self.gate.status()
        return next((r["text"] for r in report["reasons"] + report["notes"] if r["what"] == "counters"), "")

    def counts_in_redis(self):
        return self.gate.status(do="explain", to=ALIAS)["counts"] == ""

    def counts_in(self, node):
        """A RCPT taken now is counted there."""
        if not self.counts_in_redis():
            return False
        before = used(node)
        self.world.take(ALIAS)
        return used(node) == before + 1


def used(node):
    return node.used(f"rcptgate:recipient:{{{ALIAS}}}", "soft")


@pytest.fixture()
def watched():
    with World("memory", LIMITS, mta=False) as world:
        world.database.alias(ALIAS)
        watched = Watched(world)
        yield watched
        world.gate.stop()
        watched.stop()


def test_a_failover_and_the_old_master_comes_back(watched):
    nodes, sentinels = watched.replicated()
    old = nodes[0]
    wait_for(lambda: all(sentinel.knows(2, 2) for sentinel in sentinels), "the Sentinels do not know each other")
    watched.connect(sentinels)
    wait_for(lambda: watched.counts_in(old), "the master is not used")
    assert [watched.world.take(ALIAS) for _ in range(9)] == ["continue"] * 9
    before = used(old)
    stop, named, answers = threading.Event(), [], set()

    def watch():
        """The moment at which one of them names another."""
        while not stop.is_set() and not named:
            for sentinel in sentinels:
                if sentinel.master()[1] != (old.address, str(old.port)):
                    named.append(time.time())
                    return
            time.sleep(0.005)

    def mail():
        while not stop.is_set():
            answers.add(watched.world.take(ALIAS))
            time.sleep(0.01)

    threads = [threading.Thread(target=body) for body in (watch, mail)]
    old.process.stop(9)
    for thread in threads:
        thread.start()
    try:
        # sooner the old one would be well again, and the Sentinels might give the failover up
        new = wait_for(lambda: next((n for n in nodes[1:] if n.role() == "master"), None), "no failover", FAILOVER)
        old.start()
        lines, listener = overhear(old)
        wait_for(lambda: named, "no Sentinel names it")
        wait_for(watched.counts_in_redis, f"it is not used: {watched.trouble()}")
        wait_for(lambda: old.role() == "slave", "the old master stays one")
        listener.join(60)  # the Sentinel that makes it a replica ends its connections
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    late = [line for line in lines if "EVALSHA" in line.upper() and float(line.split()[0]) > named[0] and "rcptgate:recipient" in line]
    assert late == []
    assert answers == {"continue"}
    wait_for(lambda: used(new) > before, "it does not know what was counted")
    wait_for(lambda: watched.trouble() == "", f"trouble stays: {watched.trouble()}")
    wait_for(lambda: watched.counts_in(new), "it is not counted there")

    def told():
        shard, = watched.gate.status()["counters"]["shards"]
        return shard["master"] in [f"{node.address}:{node.port}" for node in nodes if node.role() == "master"]

    wait_for(told, "status tells another master")  # where the machine is busy that can be a third one now


def test_a_failover_that_was_ordered(watched):
    nodes, sentinels = watched.replicated(replicas=1)
    wait_for(lambda: all(sentinel.knows(1, 2) for sentinel in sentinels), "the Sentinels do not know each other")
    watched.connect(sentinels)
    wait_for(lambda: watched.counts_in(nodes[0]), "the master is not used")
    sentinels[0].call("SENTINEL", "FAILOVER", MASTER)
    wait_for(lambda: nodes[1].role() == "master", "no failover", FAILOVER)
    wait_for(lambda: sentinels[0].master()[1] == (nodes[1].address, str(nodes[1].port)), "no failover")
    wait_for(lambda: watched.counts_in(nodes[1]), f"the new master is not used: {watched.trouble()}")


def test_all_sentinels_gone(watched):
    master = watched.node("redis0")
    sentinels = [ScriptedSentinel(watched.scratch, 1, master) for _ in range(2)]
    watched.connect(sentinels)
    wait_for(lambda: watched.counts_in(master), "the master is not used")
    for sentinel in sentinels:
        sentinel.stop()
    before = int(info(master)["total_commands_processed"])
    wait_for(lambda: int(info(master)["total_commands_processed"]) > before + 30, "it is not probed any more")
    assert watched.counts_in(master)
    master.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_for(lambda: watched.counts_in(master), "the master is left")
    watched.gate.stop()
    watched.gate.start()
    wait_for(lambda: "no Sentinel names a master" in watched.trouble(), f"another reason: {watched.trouble()}")


def info(node):
    return dict(line.split(":", 1) for line in node.call("INFO", "stats").splitlines() if ":" in line)


def test_the_master_is_named(watched):
    """Who it is, and since when, wherever an operator looks."""
    a, b = watched.node("redis0"), watched.node("redis1")
    sentinel = ScriptedSentinel(watched.scratch, 5, a)
    watched.connect([sentinel])
    web = serve(watched.gate)
    wait_for(lambda: watched.counts_in(a), "the master is not used")

    def named(node):
        shard, = watched.gate.status()["counters"]["shards"]
        return shard if shard["master"] == f"{node.address}:{node.port}" and shard["up"] else None

    first = wait_for(lambda: (shard := named(a)) and shard["unsynced_slots"] == shard["refunds_waiting"] == 0 and shard, "the master is not named")
    assert "slots" not in first
    wait_for(lambda: (named(a) or first)["for_s"] >= 1, "the time stands still")
    sentinel.say(6, b)
    second = wait_for(lambda: named(b), "the new master is not named")
    assert second["since"] > first["since"]
    watched.gate.gets_well()
    line = f"{b.address}:{b.port}, the master for "
    text = watched.gate.command("status", check=None)
    assert re.search(rf"counters .*{MASTER}.*\n +{re.escape(line)}\S+, since 20\S+Z\n", text)
    assert line in web.get("/")
    metrics = web.get("/metrics")
    label = f'{{master="{b.address}:{b.port}"}}'
    assert f"rcptgate_counters_shard_up{label} 1\n" in metrics and "rcptgate_counters_shard_slots{" not in metrics
    since = float(metrics.split(f"rcptgate_counters_shard_master_since_timestamp_seconds{label} ")[1].split()[0])
    assert time.time() - 60 < since <= time.time()


def test_sentinels_that_disagree(watched):
    a, b, c = (watched.node(f"redis{i}") for i in range(3))
    first, second = ScriptedSentinel(watched.scratch, 5, a), ScriptedSentinel(watched.scratch, 4, b)
    watched.connect([first, second])
    wait_for(lambda: watched.counts_in(a), "the highest epoch is not followed")
    second.say(6, b)
    wait_for(lambda: watched.counts_in(b), "a higher epoch is not followed")
    first.say(5, c)
    first.say(5, a)
    second.stop()
    assert watched.counts_in(b)  # not back to a lower one, though nobody else says otherwise
    first.say(6, c)
    wait_for(lambda: watched.counts_in(c), "another address under the epoch is not followed")
    first.say(6, b)
    assert watched.counts_in(c)
    first.say(6, c, "master,failover_in_progress")
    wait_for(lambda: "about to replace" in watched.trouble(), f"another reason: {watched.trouble()}")
    assert not watched.counts_in_redis()
    first.say(7, a)
    wait_for(lambda: watched.counts_in(a), "the new master is not used")
    first.say(0, b)
    assert watched.counts_in(a)
    a.process.stop(9)
    wait_for(lambda: "restart the gate" in watched.trouble(), f"another reason: {watched.trouble()}")


def test_a_replica_that_is_called_master(watched):
    master, replica = watched.node("redis0"), watched.node("redis1")
    replica.follow(master)
    sentinel = ScriptedSentinel(watched.scratch, 1, replica)
    watched.connect([sentinel])
    wait_for(lambda: "replica" in watched.trouble() or "no master" in watched.trouble(), f"another reason: {watched.trouble()}")
    replica.call("REPLICAOF", "NO", "ONE")
    wait_for(lambda: watched.counts_in(replica), "it is not used")


def test_what_is_wrong_is_named(watched):
    node = watched.node("redis0")
    sentinels = [watched.keep(Sentinel(watched.scratch, 0, node, password="of-the-sentinels"))]
    watched.connect(sentinels)
    wait_for(lambda: "sentinel_password_file" in watched.trouble(), f"another reason: {watched.trouble()}")
    secret = watched.scratch / "secret"
    secret.write_text("guess\n")
    secret.chmod(0o640)
    watched.connect(sentinels, sentinel_password_file=str(secret))
    wait_for(lambda: "WRONGPASS" in watched.trouble(), f"another reason: {watched.trouble()}")
    secret.write_text("of-the-sentinels\n")
    wait_for(lambda: watched.counts_in(node), f"not mended by the file: {watched.trouble()}")
    sentinels[0].call("SENTINEL", "REMOVE", MASTER)
    watched.gate.stop()
    watched.gate.start()
    wait_for(lambda: "knows no master" in watched.trouble(), f"another reason: {watched.trouble()}")


def test_no_sentinel_listens_there(watched):
    node = watched.node("redis0")
    watched.connect([node])
    wait_for(lambda: "unknown command" in watched.trouble(), f"another reason: {watched.trouble()}")
    nonsense = ScriptedSentinel(watched.scratch, 1, node)
    for epoch, host, port in (("x", "127.0.0.1", 1), (1, "a b", 1), (1, "", 1), (1, "127.0.0.1", 65536), (1, "127.0.0.1", 0), (-1, "127.0.0.1", 1)):
        nonsense.epoch, nonsense.node = epoch, Address(host, port)
        watched.connect([nonsense])
        wait_for(lambda: "names no master" in watched.trouble(), f"{epoch} {host} {port}: {watched.trouble()}")
    nonsense.epoch, nonsense.node = 1, node
    wait_for(lambda: watched.counts_in(node), f"not mended: {watched.trouble()}")


def test_sentinels_over_tls(watched):
    authority = Authority(watched.scratch)
    cert, key = authority.issue("all", f"IP:{watched.scratch.address}")
    tls = {"tls-cert-file": cert, "tls-key-file": key, "tls-ca-cert-file": authority.ca, "tls-auth-clients": "no"}
    node = watched.node("redis0", *(word for pair in tls.items() for word in (f"--{pair[0]}", pair[1])))
    node.port = watched.scratch.port()
    node.call("CONFIG", "SET", "tls-port", node.port)
    secured = Address(watched.scratch.address, watched.scratch.port())
    watched.keep(Sentinel(watched.scratch, 0, node, lines=[
        f"tls-port {secured.port}", "tls-replication yes", *(f"{word} {value}" for word, value in tls.items())]))
    watched.connect([secured], scheme="rediss", tls={"ca": str(authority.ca)})
    wait_for(lambda: watched.counts_in(node), f"it is not used: {watched.trouble()}")
    other = Authority(watched.scratch, "other")
    watched.connect([secured], scheme="rediss", tls={"ca": str(other.ca)})
    wait_for(lambda: "a Sentinel" in watched.trouble() and "not signed" in watched.trouble(), f"another reason: {watched.trouble()}")
