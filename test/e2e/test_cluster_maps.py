"""A replica that lacks what was counted last takes its master's place, and the gate hears of it in one way or the other."""

from harness import World, wait_for
from mail_load import code
from scripted_cluster import ScriptedCluster

ALIAS = "a@example.com"
KEY = f"rcptgate:recipient:{{{ALIAS}}}"
LIMITS = [{"name": "alias", "per": "recipient", "max": 10, "window": "1h", "over": "reject"}]


class Watched(World):
    """With mail for one alias, counted in the first node at first."""

    def __init__(self):
        super().__init__("memory", LIMITS, mta=False, database=False)
        self.redis = ScriptedCluster(self.scratch)
        self.gate.stop()
        self.gate.write_policy(counters={"url": self.redis.url, "timeout": self.timeout})

    def starts(self, *replicas, copied=5):
        """With a map that names those; eight are counted, and so many of them by the second node too."""
        first, second = self.redis.nodes
        self.redis.say(first, *replicas)
        self.gate.start()
        self.gate.gets_well()
        assert self.send(copied) == ["250"] * copied
        second.redis.call("HSET", KEY, "alias", first.redis.call("HGET", KEY, "alias"))
        assert self.send(8 - copied) == ["250"] * (8 - copied) and (used(first), used(second)) == (8, copied)

    def send(self, n):
        with self.milter() as m:
            m.connect()
            return [code(m.message(ALIAS)) for _ in range(n)]


def used(node):
    return node.redis.used(KEY, "alias")


def test_moved_names_a_replica():
    """No map shows it yet: nobody is admitted there before it was told what it lacks."""
    with Watched() as w:
        first, second = w.redis.nodes
        w.starts(second)
        first.moved = second
        said = w.send(6)
        assert said.count("250") == 2 and set(said) <= {"250", "450", "550"}
        w.redis.say(second)
        wait_for(lambda: used(second) == 10, f"counted: {used(second)}")
        assert "250" not in w.send(3)


def test_a_node_that_no_map_named():
    """It had no slots, and has all those of one that has none any more: so it was a replica of that."""
    with Watched() as w:
        first, second = w.redis.nodes
        w.starts()
        first.moved = second
        w.redis.say(second)
        assert w.send(1) == ["250"]
        wait_for(lambda: used(second) == 9, f"counted: {used(second)}")
        assert w.send(3)[0] == "250" and used(second) == 10


def test_slots_that_are_moved():
    """A node that is none of the replicas gets them from one that stays a master: what is there is what counts."""
    with Watched() as w:
        first, second = w.redis.nodes
        w.starts(copied=8)
        first.moved = second
        w.redis.map = [[0, 0, first.described], [1, 16383, second.described]]
        w.redis.epoch += 1
        assert w.send(1) == ["250"]
        wait_for(lambda: len(w.gate.status()["counters"]["shards"]) == 2, "the map is not taken")
        assert w.send(1) == ["250"]
        wait_for(lambda: used(second) == 10, f"counted: {used(second)}")
        w.gate.gets_well()
        assert w.gate.log().count("counts=local") <= 1  # where the map was read before anybody asked, and the node is just being called
