"""A limit is turned from "come back later" to "never", and back, by a reload: what was charged while it was soft proves no 5xx, whoever charged it
and whatever became of it; what is taken from then on does."""

import itertools

import pytest

from harness import MilterClient, World, run_threads, wait_for
from test_hot import GATES, connected, everywhere, lease
from test_hot import world as hot_world

MAX = 3
SUBJECT = "<a@example.com>"
turns = itertools.count()


def limit(over, most=MAX, **more):
    return {"name": "l", "per": "recipient", "max": most, "window": "1h", "over": over, **more}


def turn(gate, *limits):
    """A reload, until it is in force."""
    marker = f"marker-{next(turns)}.example"
    gate.write_policy(limits=[*limits, {"name": "marker", "per": "recipient", "max": 0, "window": "1h", "over": "reject",
                                        "when": {"recipient_domain": marker}}])
    gate.reload()
    wait_for(lambda: answer(gate, f"<a@{marker}>") == "550 5.7.1", "the new policy is not in force")


def message(gate, recipient=SUBJECT):
    client = MilterClient(gate.socket)
    client.connect()
    client.mail()
    return client, client.rcpt(recipient).status


def answer(gate, recipient=SUBJECT):
    """Of a RCPT whose message is given up."""
    client, status = message(gate, recipient)
    client.abort()
    client.hang_up()
    return status


def let_in(gate):
    """A message that is let in, as soon as what was given up has come back."""
    def accepted():
        client, status = message(gate)
        if status == "continue":
            return client
        client.hang_up()
        return None

    return wait_for(accepted, "what was given up has not come back")


def end(client):
    client.data()
    client.eom()
    client.hang_up()


@pytest.fixture(params=["redis", "memory", "cluster"])
def store(request):
    return request.param


def test_what_soft_transactions_reserve_proves_nothing(store):
    with World(store, [limit("defer")], mta=False, database=False) as w:
        idle = [message(w.gate) for _ in range(MAX)]
        assert [status for _, status in idle] == ["continue"] * MAX
        assert answer(w.gate) == "450 4.2.1"
        turn(w.gate, limit("reject"))
        assert answer(w.gate) == "450 4.2.1"
        for client, _ in idle[:-1]:  # given up: that many are let in again
            client.abort()
            client.hang_up()
        taken = [let_in(w.gate) for _ in range(MAX - 1)]
        assert answer(w.gate) == "450 4.2.1"
        for client in taken:
            end(client)
        assert answer(w.gate) == "450 4.2.1", "the soft one is still open"


def test_what_is_taken_afterwards_does(store):
    with World(store, [limit("defer")], mta=False, database=False) as w:
        end(message(w.gate)[0])
        turn(w.gate, limit("reject", 2))
        end(message(w.gate)[0])
        assert answer(w.gate) == "450 4.2.1", "one of two is known to be taken"
        turn(w.gate, limit("reject", 3))
        end(message(w.gate)[0])
        turn(w.gate, limit("reject", 2))
        wait_for(lambda: answer(w.gate) == "550 5.7.1", "two are taken")
        turn(w.gate, limit("defer", 4))
        idle, status = message(w.gate)
        assert status == "continue" and answer(w.gate) == "450 4.2.1"
        turn(w.gate, limit("reject", 3))
        assert answer(w.gate) == "450 4.2.1", "two of three are known to be taken"
        turn(w.gate, limit("reject", 2))
        assert answer(w.gate) == "550 5.7.1"
        idle.hang_up()


def test_a_hold_stands_on_nothing_soft(store):
    with World(store, [limit("defer")], mta=False, database=False) as w:
        idle = [message(w.gate)[0] for _ in range(MAX)]
        turn(w.gate, limit("defer", hold="1h"))
        assert answer(w.gate) == "450 4.2.1"
        for client in idle:
            client.hang_up()
        wait_for(lambda: answer(w.gate) == "continue", "it is held")


def test_bytes(store):
    def volume(over):
        return limit(over, "10kB", count="bytes")

    with World(store, [volume("defer")], mta=False, database=False) as w:
        client = MilterClient(w.gate.socket)
        client.connect()
        client.mail("<bob@sender.example>", "SIZE=10000")
        assert client.rcpt(SUBJECT).status == "continue"
        assert answer(w.gate).startswith("452")
        turn(w.gate, volume("reject"))
        assert answer(w.gate).startswith("452")
        client.hang_up()


def test_one_gate_has_reloaded_and_the_other_has_not():
    with World("redis", [limit("defer")], gates=2, mta=False, database=False) as w:
        new, old = w.gates
        turn(new, limit("reject"))
        end(message(new)[0])
        wait_for(lambda: " 1 h" in w.redis.fields(f"rcptgate:recipient:{{{SUBJECT[1:-1]}}}")["l"], "it is not known to be taken")
        idle = [message(old)[0] for _ in range(MAX - 1)]
        assert answer(new) == "450 4.2.1" and answer(old) == "450 4.2.1"
        for client in idle:
            client.hang_up()
        for _ in range(MAX - 1):
            end(let_in(new))
        wait_for(lambda: answer(new) == "550 5.7.1", "all are taken at the gate that says when")
        assert answer(old) == "450 4.2.1"


def test_leased_units_prove_nothing():
    def site(over, most):
        return {"name": "site", "per": "all", "max": most, "window": "1h", "over": over}

    with hot_world(site("defer", 10**6)) as w:
        clients = connected(w)
        lease(w, clients)
        used = sum(int(text.split("/")[0]) for key in w.redis.keys("rcptgate:all:*") for text in w.redis.fields(key).values())
        run_threads(GATES, lambda i: w.gates[i].write_policy(limits=[site("reject", used // 2)]))
        for gate in w.gates:
            gate.reload()
        wait_for(lambda: everywhere(clients, 1) == 0, "the new max is not in force")
        statuses = {answer(gate) for gate in w.gates}
        assert statuses == {"450 4.2.1"}, statuses
