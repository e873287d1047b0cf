"""Counters on a Redis Cluster of three masters without replicas: one is away, or what it has goes to another."""

import json
import signal
from contextlib import nullcontext

import pytest

from cluster_world import UNREACHED, aliases_of, cluster_world, local, shards_of, used
from harness import MilterClient, serve, wait_for
from mail_load import THREADS, Load, code, counted, taken


def test_a_frozen_master():
    """Who asks it waits once, for the timeout; then the gate knows. Nobody waits twice."""
    with cluster_world(UNREACHED, cluster={"replicas": False}, counters={"timeout": "2s"}) as w:
        cluster, victim = w.redis, w.redis.masters[1]
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            load.flows()
            w.gate.status(forget_longest=True)
            victim.process.popen.send_signal(signal.SIGSTOP)
            try:
                n = len(load.sent)
                wait_for(lambda: len(load.sent) > n + 500, "mail does not go on")
                assert w.gate.status()["traffic"]["decision_max_ms"] < 2 * 2000
                wait_for(lambda: [r["what"] for r in w.gate.status()["reasons"]] == ["counters-shard"], "who is away is not named")
            finally:
                victim.process.popen.send_signal(signal.SIGCONT)
            w.gate.gets_well()
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        counts = taken(sent)
        counted(lambda r: used(cluster, r, "alias"), {r: (n, n + THREADS) if aliases[r] is victim else (n, n) for r, n in counts.items()})


def test_a_node_is_missing():
    """What is left is shown, cleared and counted; who is missing is named."""
    limits = [{"name": "alias", "per": "recipient", "max": 3, "window": "1h", "over": "defer"}]
    with cluster_world(limits, cluster={"replicas": False}) as w, nullcontext(serve(w.gate)) as web, MilterClient(w.gate.socket) as m:
        cluster, victim = w.redis, w.redis.masters[1]
        recipients = [cluster.subject(node) for node in cluster.masters]
        m.connect()
        assert [code(m.message(recipient)) for recipient in recipients] == ["250"] * 3
        rows = json.loads(w.gate.command("top", "--json"))
        assert len(rows["busiest"]) == 3 and "missing" not in rows
        shards = shards_of(w)
        assert sorted(s["slots"] for s in shards) == [5461, 5461, 5462] and all(s["up"] and s["since"] for s in shards)
        assert all(s["unsynced_slots"] == s["refunds_waiting"] == 0 for s in shards)
        m.mail()
        assert code(m.rcpt(f"<{recipients[1]}>")) == "250"
        victim.kill()
        wait_for(lambda: not all(s["up"] for s in shards_of(w)), "it is not noticed")
        m.abort()  # what it gives back waits
        assert code(m.message(recipients[1])) == "250"  # counted here

        def lags():
            return {s["master"]: (s["unsynced_slots"], s["refunds_waiting"]) for s in shards_of(w)}

        wait_for(lambda: lags() == {victim.at: (1, 1), cluster.masters[0].at: (0, 0), cluster.masters[2].at: (0, 0)}, f"lags: {lags()}")
        wait_for(lambda: min(s["unsynced_s"] + s["refunds_s"] for s in shards_of(w) if not s["up"]) > 0, "the time stands still")
        label = f'{{master="{victim.at}"}}'
        for figure, value in (("up", 0), ("unsynced_slots", 1), ("refunds_waiting", 1), ("slots", 5461)):
            assert f"rcptgate_counters_shard_{figure}{label} {value}\n" in web.get("/metrics")
        said = "slots, down; this gate counts for 1 of them itself, or has yet to tell it something, for "
        assert said in w.gate.command("status", check=1) and said in web.get("/") and "1 refund waits for" in web.get("/")
        rows = json.loads(w.gate.command("top", "--json"))
        assert {c["key"]: (c.get("local", False), c["used"]) for c in rows["busiest"]} == {
            f"recipient:{{{r}}}": (r == recipients[1], 2 if r == recipients[1] else 1) for r in recipients}
        assert victim.at in rows["missing"]
        said = w.gate.command("top")
        assert victim.at in said and said.count("(as this gate counted)") == 1
        assert "1/3" in w.gate.command("show", recipients[0])
        shown = json.loads(w.gate.command("show", *recipients, "--json"))["counters"]
        assert {c["key"]: c.get("local", False) for c in shown} == {
            f"recipient:{{{r}}}": r == recipients[1] for r in recipients}, shown
        assert all(c["used"] == (2 if c.get("local") else 1) for c in shown)
        assert w.gate.command("show", *recipients).count("as this gate counted") == 1
        assert "Some of Redis does not answer, and this is as this gate counted" in w.gate.command("show", recipients[1])
        assert "1 counter cleared" in w.gate.command("reset", recipients[0])
        assert victim.at in w.gate.command("reset", recipients[2])
        assert victim.at in w.gate.command("status", check=1)


@pytest.mark.parametrize("when_down,said", [("defer", "451"), ("accept", "250")])
def test_when_down(when_down, said):
    """Of what is counted by the master that is away, and of that alone."""
    limits = [{"name": "alias", "per": "recipient", "max": 3, "window": "1h", "over": "reject"}]
    with cluster_world(limits, cluster={"replicas": False}, counters={"when_down": when_down}) as w, MilterClient(w.gate.socket) as m:
        cluster, victim = w.redis, w.redis.masters[1]
        recipients = {node: cluster.subject(node) for node in cluster.masters}
        m.connect()

        def send(recipient):
            return code(m.message(recipient))

        victim.kill()
        for i in range(5):
            for node, recipient in recipients.items():
                assert send(recipient) == (said if node is victim else "250" if i < 3 else "550")
        victim.start()
        wait_for(lambda: send(recipients[victim]) == "250", "it is not used again")
        w.gate.gets_well()
        while send(recipients[victim]) == "250":
            pass
        assert used(cluster, recipients[victim], "alias") == 3


def test_a_slot_that_hangs():
    """In the middle of a migration: what is in it is counted on, and the slot is named."""
    limits = [{"name": "alias", "per": "recipient", "max": 1000000, "window": "1h", "over": "reject"},
              {"name": "pair", "per": ["recipient", "client"], "max": 1000000, "window": "1h",
               "share": {"of": "sender", "max": "90%", "above": "1%"}}]
    with cluster_world(limits, cluster={"replicas": False}) as w:
        cluster = w.redis
        source, target = cluster.masters[:2]
        web = serve(w.gate)
        recipient = cluster.subject(source)
        slot = cluster.slot(f"rcptgate:recipient:{{{recipient}}}")
        with Load(w.gates, [recipient]) as load:
            load.flows(50)
            cluster.begin_move(slot, source, target)
            source.call("MIGRATE", target.address, target.port, f"rcptgate:recipient:{{{recipient}}}", 0, 5000)
            wait_for(lambda: any(f"slot {slot} " in r["text"] for r in w.gate.status()["reasons"]), "the slot is not named")
            hanging = {source.at: [slot], target.at: [], cluster.masters[2].at: []}
            wait_for(lambda: {s["master"]: s["hanging_slots"] for s in shards_of(w)} == hanging, "status does not name it")
            wait_for(lambda: f"between two nodes hangs slot {slot}" in w.gate.command("status", check=None), "nor in words")
            wait_for(lambda: f'rcptgate_counters_shard_hanging_slots{{master="{source.at}"}} 1\n' in web.get("/metrics"), "nor the metrics")
            cluster.end_move(slot, source, target)
            w.gate.gets_well()
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        wait_for(lambda: used(cluster, recipient, "alias") == len(sent), "the counter is not what was taken")
        assert local(w.gate) == set()


def test_move_slots():
    """1,000 slots go to another master under load: nobody notices."""
    limits = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"},
              {"name": "pair", "per": ["recipient", "client"], "max": 100000, "window": "1h"}]
    with cluster_world(limits, cluster={"replicas": False}) as w:
        cluster = w.redis
        source, target = cluster.masters[:2]
        aliases = {}
        start = 0
        while len(aliases) < 20:
            recipient = cluster.subject(source, start=start)
            start = int(recipient.split("@")[0].removeprefix("alias")) + 1
            aliases[recipient] = cluster.slot(f"rcptgate:recipient:{{{recipient}}}")
        slots = sorted(set(aliases.values()))
        slots += [slot for slot in range(5461) if slot not in slots][:1000 - len(slots)]
        with Load(w.gates, sorted(aliases)) as load:
            load.flows()
            cluster.move(sorted(slots), source, target)
            load.flows(200)
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        counts = taken(sent)
        assert all(cluster.owner(f"rcptgate:recipient:{{{r}}}") is target for r in aliases)
        counted(lambda r: used(cluster, r, "alias"), {r: (n, n) for r, n in counts.items()})
        assert local(w.gate) == set()
        assert "counters-trouble" not in w.gate.log()
