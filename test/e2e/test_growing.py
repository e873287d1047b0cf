"""From one Redis to Sentinel to a Cluster, by the steps of rcptgate-scale(7), while mail flows through two gates."""

import subprocess

from harness import Cluster, World, wait_for
from mail_load import THREADS, Load, counted, taken
from redis_server import SERVER
from sentinel import FAILOVER, MASTER, Node, Sentinel

FULL, RECIPIENTS = "full@few.example", [f"a{i}@many.example" for i in range(8)]
LIMITS = [{"name": "few", "per": "recipient", "max": 5, "window": "1d", "over": "reject", "when": {"recipient_domain": "few.example"}},
          {"name": "many", "per": "recipient", "max": 10**6, "window": "1d", "over": "reject", "when": {"recipient_domain": "many.example"}}]


class Mail:
    """A load through each gate, which is held up where that is restarted, as Postfix would."""

    def __init__(self, gates):
        self.gates, self.sent = gates, []
        self.loads = {gate: self._load(gate) for gate in gates}

    @staticmethod
    def _load(gate):
        return Load([gate], RECIPIENTS, THREADS // 2)

    def _halt(self, gate):
        self.sent += self.loads.pop(gate).stop()

    def turn(self, url):
        """Host after host: the policy in place, and a restart."""
        for gate in self.gates:
            self._halt(gate)
            gate.stop()
            gate.write_policy(counters={"url": url, "timeout": "10s"})
            gate.start()
            wait_for(lambda: counts_in_redis(gate), f"{gate.name} does not count there")
            assert is_full(gate)
            self.loads[gate] = self._load(gate)
            self.flows()

    def flows(self):
        for load in self.loads.values():
            load.flows()

    def so_far(self):
        return taken(self.sent + [line for load in self.loads.values() for line in list(load.sent)])

    def stop(self):
        """{recipient: how many of it were let in}; nobody was refused."""
        for gate in self.gates:
            self._halt(gate)
        assert {said for *_, said in self.sent} == {"250"}
        return taken(self.sent)

    def go_on(self):
        self.loads = {gate: self._load(gate) for gate in self.gates}


def counts_in_redis(gate):
    return gate.is_well() and gate.status(do="explain", to=FULL)["counts"] == ""


def is_full(gate):
    return gate.take(FULL) == "550 5.7.1"


def used(store, recipient):
    return store.used(f"rcptgate:recipient:{{{recipient}}}", "many")


def copy_to(cluster, source, *words):
    cli, source = SERVER.replace("-server", "-cli"), f"{source.address}:{source.port}"
    subprocess.run([cli, "--cluster", "import", cluster.masters[0].at, "--cluster-from", source, "--cluster-copy", *words],
                   check=True, stdout=subprocess.DEVNULL)


def test_one_redis_sentinel_cluster():
    with World("memory", LIMITS, gates=2, mta=False, database=False) as w:
        things = [Node(w.scratch, "redis0")]
        try:
            grow(w, things)
        finally:
            for gate in w.gates:
                gate.stop()
            for thing in reversed(things):
                thing.stop()


def grow(w, things):
    nodes, sentinels = things[:], []
    for gate in w.gates:
        gate.stop()
        gate.write_policy(counters={"url": f"redis://{nodes[0].address}:{nodes[0].port}/0", "timeout": "10s"})
        gate.start()
        wait_for(lambda: counts_in_redis(gate), f"{gate.name} does not count there")
    assert [w.take(FULL) for _ in range(5)] == ["continue"] * 5
    mail = Mail(w.gates)
    mail.flows()

    for i in (1, 2):
        nodes.append(Node(w.scratch, f"redis{i}"))
        things.append(nodes[-1])
        nodes[-1].follow(nodes[0])
    nodes[0].call("CONFIG", "SET", "min-replicas-to-write", 1)
    nodes[0].call("CONFIG", "SET", "min-replicas-max-lag", 2)
    for i in range(3):
        sentinels.append(Sentinel(w.scratch, i, nodes[0], patience=60000))  # one failover, and no other because the machine is slow
        things.append(sentinels[-1])
    wait_for(lambda: all(sentinel.knows(2, 2) for sentinel in sentinels), "the Sentinels do not know each other")
    mail.turn("redis+sentinel://" + ",".join(f"{s.address}:{s.port}" for s in sentinels) + f"/{MASTER}")
    counts = mail.stop()
    counted(lambda r: used(nodes[0], r), {r: (n, n) for r, n in counts.items()})  # nothing is lost, and nothing is counted twice
    mail.go_on()
    mail.flows()
    at_least = mail.so_far()
    mail.flows()
    sentinels[0].call("SENTINEL", "FAILOVER", MASTER)  # what the old master takes until it knows is lost
    master = wait_for(lambda: next((node for node in nodes[1:] if node.role() == "master"), None), "no failover", FAILOVER)
    address = f"{master.address}:{master.port}"
    wait_for(lambda: all(gate.status()["counters"]["shards"][0]["master"] == address and counts_in_redis(gate) for gate in w.gates),
             "the new master is not used")
    mail.flows()
    counts = mail.stop()
    counted(lambda r: used(master, r), {r: (at_least[r], n + THREADS) for r, n in counts.items()})
    lost = {r: n - used(master, r) for r, n in counts.items()}

    things.append(Cluster(w.scratch))
    cluster = things[-1]
    mail.go_on()
    mail.flows()
    copy_to(cluster, master)
    mail.flows()
    at_least = {r: n - lost[r] for r, n in mail.so_far().items()}
    copy_to(cluster, master, "--cluster-replace")
    counted(lambda r: used(cluster, r), {r: (n, 10**6) for r, n in at_least.items()})
    mail.turn(cluster.url)
    counts = mail.stop()
    assert all(is_full(gate) for gate in w.gates)
    counted(lambda r: used(cluster, r), {r: (at_least[r], n + THREADS) for r, n in counts.items()})
