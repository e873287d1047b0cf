"""What gates share in a Cluster beside counters: blocks, events and what waits in their queues. Each is in one slot, whose node may be away."""

import json
import time

import pytest

from harness import World, wait_for

ALIAS, BOX = "a@example.com", "box@mailbox.example"
LIMITS = [{"name": "box", "per": "mailbox", "count": "backlog", "max": 3}, {"name": "one", "per": "recipient", "max": 1, "window": "1h"}]
MESSAGE = {"queue_name": "deferred", "queue_id": "4cX", "arrival_time": 1700000000, "message_size": 1000, "sender": "bob@sender.example",
           "recipients": [{"address": BOX, "delay_reason": "later"}]}


def blocked(gate, client):
    return gate.told("x@elsewhere.example", client=client) == ["refused"]


def names(gate, *words):
    return any(all(word in reason["text"] for word in words) for reason in gate.status()["reasons"])


def back(w, node):
    node.start()
    for gate in w.gates:
        gate.gets_well()


@pytest.fixture()
def two():
    with World("cluster", LIMITS, gates=2, mta=False, cluster={"replicas": False},
               queue={"every": "1s", "command": ["/bin/true"]}) as w:
        w.database.alias(ALIAS, mailbox=BOX)
        w.settled()
        yield w


def test_blocks(two):
    a, b = two.gates
    keeper = two.redis.owner("rcptgate:blocks")
    a.command("block", "203.0.113.1")
    assert blocked(a, "203.0.113.1")
    wait_for(lambda: blocked(b, "203.0.113.1"), "it does not reach the other host")
    keeper.kill()
    for gate in two.gates:
        wait_for(lambda: names(gate, keeper.at), "who is away is not named")
    a.command("block", "203.0.113.2")
    assert [blocked(gate, f"203.0.113.{i}") for gate in two.gates for i in (1, 2)] == [True, True, True, False]
    said = a.command("blocks", check=None)
    assert "203.0.113.1" in said and "203.0.113.2" in said
    b.command("unblock", "203.0.113.1")
    assert not blocked(b, "203.0.113.1")
    back(two, keeper)
    wait_for(lambda: blocked(b, "203.0.113.2") and not blocked(a, "203.0.113.1"), "what was done meanwhile does not go over")
    wait_for(lambda: "203.0.113.2" in two.redis.fields("rcptgate:blocks"), "Redis does not hold it")


def test_events(two):
    a, b = two.gates
    keeper = two.redis.owner("rcptgate:events")
    recipient = two.redis.subject(next(node for node in two.redis.masters if node is not keeper), form="x{}@elsewhere.example")

    def tripped(gate):
        found = json.loads(gate.command("events", "--json", check=None).partition("rcptgate: ")[0])
        return [event for event in found if event["event"] == "limit-tripped"]

    keeper.kill()
    for gate in two.gates:
        wait_for(lambda: names(gate, keeper.at), "who is away is not named")
    assert [two.take(recipient) for _ in range(2)] == ["continue", "450 4.2.1"]
    assert len(tripped(a)) == 1 and tripped(b) == []
    assert keeper.at in a.command("events", check=None)
    back(two, keeper)
    wait_for(lambda: len(tripped(b)) == 1, "it does not reach the other host")
    assert tripped(a) == tripped(b)


def test_queues(two):
    """Two messages here and two on another host are too many; when the node comes back, too, and has forgotten them."""
    key, path, a = "rcptgate:backlog:mailbox", two.scratch / "queue", two.gate
    path.write_text("#!/bin/sh\n" + f"echo '{json.dumps(MESSAGE)}'\n" * 2)
    path.chmod(0o755)
    keeper = two.redis.owner(key)
    a.write_policy(queue={"every": "1s", "command": [str(path)]})

    def refused():
        two.redis.call("HSET", key, f"{BOX}|mx9", f"2 {int(time.time() * 1000)}")
        return a.told(ALIAS) == ["450 4.2.1"]

    wait_for(refused, "the two of the other host do not count")
    keeper.kill()
    for gate in two.gates:
        wait_for(lambda: names(gate, keeper.at), "who is away is not named")
    assert a.told(ALIAS)[0] in ("continue", "450 4.2.1")
    back(two, keeper)
    wait_for(lambda: [v.split()[0] for v in two.redis.fields(key).values()] == ["2"], "this host's do not go over")
    wait_for(refused, "the two of the other host do not count")
