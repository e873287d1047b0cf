"""What the tests of a Redis Cluster have in common: a world with one, its subjects by their masters, and what is told of it."""

from harness import World

ALIASES = 4  # of each master
UNREACHED = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"}]


def cluster_world(limits, gates=1, **options):
    return World("cluster", limits, gates=gates, mta=False, database=False, **options)


def aliases_of(cluster, nodes=None):
    """Some recipients of each master: {recipient: master}."""
    found = {}
    for node in nodes or cluster.masters:
        start = 0
        for _ in range(ALIASES):
            recipient = cluster.subject(node, start=start)
            start = int(recipient.split("@")[0].removeprefix("alias")) + 1
            found[recipient] = node
    return found


def local(gate):
    """The recipients that were counted in this process alone."""
    return {fields["to"].strip("<>") for fields in gate.decisions(counts="local")}


def used(cluster, recipient, limit):
    return cluster.used(f"rcptgate:recipient:{{{recipient}}}", limit)


def shards_of(w):
    return w.gate.status()["counters"]["shards"]
