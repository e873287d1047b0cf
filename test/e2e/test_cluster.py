"""Counters on a Redis Cluster of three masters and three replicas: which part of it answers, who is away, what moves."""

import json
import signal
import threading
import time
from contextlib import nullcontext

import pytest

from certificates import Authority
from harness import PATIENCE, MilterClient, World, run_threads, serve, wait_for
from mail_load import THREADS, Load, code, counted, taken

ALIASES = 4  # of each master


def world(limits, gates=1, **options):
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


def apart(limits, **options):
    """A world with an alias on one master and its mailbox on another."""
    w = World("cluster", limits, mta=False, **options)
    recipient = w.redis.subject(w.redis.masters[0])
    box = w.redis.subject(w.redis.masters[1], form="box{}@mailbox.example", per="mailbox")
    w.database.alias(recipient, mailbox=box)
    return w, recipient, box


BOTH = [{"name": "alias", "per": "recipient", "max": 10, "window": "1h", "over": "reject"},
        {"name": "box", "per": "mailbox", "max": 20, "window": "1h", "over": "defer"}]


def test_exactly_max_over_two_masters():
    """Four gates, 200 recipients at once."""
    w, recipient, box = apart(BOTH, gates=4)
    with w:
        w.settled()

        def work(i):
            with MilterClient(w.gates[i % 4].socket) as m:
                m.connect(f"198.18.0.{i + 1}")
                return [code(m.message(recipient)) for _ in range(10)]

        said = sum(run_threads(20, work), [])
        assert said.count("250") == 10
        assert set(said) <= {"250", "450", "550"}
        wait_for(lambda: used(w.redis, recipient, "alias") == 10, "the alias is counted")
        wait_for(lambda: w.redis.used(f"rcptgate:mailbox:{{{box}}}", "box") == 10, "what was refused is given back")


def test_strangers_share_no_hard_answer():
    """What only a catch-all takes is counted together, in another slot: for none of them that is a reason for a 5xx."""
    limits = [{"name": "alias", "per": "recipient", "max": 2, "window": "1h", "over": "reject"}]
    with World("cluster", limits, mta=False, domains=(), counters={"max_new_subjects": 1}) as w:
        w.database.domain("example.com", catch_all="accept")
        w.settled()
        with w.milter() as m:
            m.connect()
            said = [code(m.message(f"stranger{i}@example.com")) for i in range(6)]
        assert said == ["250"] * 3 + ["450"] * 3


def test_both_full():
    """The hardest answer wins, and a refusal leaves nothing charged."""
    limits = [dict(BOTH[0], max=2), dict(BOTH[1], max=2)]
    w, recipient, box = apart(limits)
    with w, MilterClient(w.gate.socket) as m:
        w.settled()
        other = w.redis.subject(w.redis.masters[2])
        w.database.alias(other, mailbox=box)
        w.settled()
        m.connect()
        assert [code(m.message(recipient)) for _ in range(2)] == ["250"] * 2
        m.mail()
        assert code(m.rcpt(f"<{recipient}>")) == "550"
        assert code(m.rcpt(f"<{other}>")) == "450"
        m.abort()
        wait_for(lambda: (used(w.redis, other, "alias"), used(w.redis, recipient, "alias"), w.redis.used(f"rcptgate:mailbox:{{{box}}}", "box")) ==
                 (0, 2, 2), "a refused recipient leaves a charge")


def test_a_client_that_hammers_refuses_nobody_else():
    """An alias one below its reject max: who is refused by another limit holds no room of it meanwhile."""
    limits = [{"name": "alias", "per": "recipient", "max": 1000, "window": "1h", "over": "reject"},
              {"name": "client", "per": "client", "max": 5, "window": "1h", "over": "defer"}]
    with world(limits) as w:
        client = w.redis.subject(w.redis.masters[1], form="203.0.113.{}", per="client", start=1)
        recipient = w.redis.subject(w.redis.masters[0])
        done = threading.Event()

        def send(m):
            return code(m.message(recipient))

        def hammer(i):
            with MilterClient(w.gate.socket) as m:
                m.connect(client)
                while not done.is_set():
                    send(m)

        with MilterClient(w.gate.socket) as m:
            m.connect(client)
            assert [send(m) for _ in range(6)] == ["250"] * 5 + ["450"]
        threads = [threading.Thread(target=hammer, args=(i,), daemon=True) for i in range(20)]
        for thread in threads:
            thread.start()
        said = []
        for i in range(994):  # the last leaves room for one
            with MilterClient(w.gate.socket) as m:
                m.connect(f"198.18.{i // 250}.{i % 250 + 1}")
                said.append(send(m))
        done.set()
        for thread in threads:
            thread.join(60)
        assert said == ["250"] * 994


def kill_between(w, recipient, charged):
    """Kills the first gate when it has charged the mailbox of a RCPT, which waits for the master of its alias."""
    def ask():
        try:
            w.take(recipient, "198.18.0.99")
        except OSError:  # it hangs up
            pass

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    wait_for(lambda: charged() == 1, "the first master charges nothing")
    w.gate.stop(signal.SIGKILL)
    asker.join(60)


def test_a_gate_is_killed_between_two_masters():
    """What the first one was charged stays until its window ends: too strict, softly. The second was not asked."""
    window = 20
    w, recipient, box = apart([dict(limit, max=3, window=f"{window}s") for limit in BOTH], gates=2, cluster={"replicas": False})
    with w:
        w.settled()
        last = w.redis.masters[0]

        def counts():
            return used(w.redis, recipient, "alias"), w.redis.used(f"rcptgate:mailbox:{{{box}}}", "box")

        last.call("CLIENT", "PAUSE", 60000, "WRITE")
        began = time.monotonic()
        kill_between(w, recipient, lambda: counts()[1])
        wait_for(lambda: "flags=b" not in last.call("CLIENT", "LIST"), "the killed gate is still a client")
        last.call("CLIENT", "UNPAUSE")
        assert counts() == (0, 1)
        w.gate.start()
        for gate in w.gates:
            wait_for(lambda: gate.status()["status"] == "healthy", "the gate does not get well")
        said = [w.take(recipient, f"198.18.0.{i + 1}", i % 2) for i in range(3)]
        wait_for(lambda: counts() == (2, 3) or time.monotonic() > began + window - 1, f"counted: {counts()}")
        if time.monotonic() > began + window - 1:
            pytest.skip("the machine is too slow: the window has ended before all was asked")
        assert said == ["continue"] * 2 + ["450 4.2.1"]
        said = set()
        wait_for(lambda: said.add(w.take(recipient, "198.18.0.9", 1)) or "continue" in said, "the charge stays", window + PATIENCE)
        assert said <= {"continue", "450 4.2.1"}


def test_a_gate_is_killed_while_the_second_master_hangs():
    """What that does when nobody waits for it any more counts as made, but refuses nobody for good."""
    w, recipient, box = apart([dict(BOTH[0], max=3), dict(BOTH[1], max=20)], gates=2, cluster={"replicas": False})
    with w:
        w.settled()
        last = w.redis.masters[0]
        last.process.popen.send_signal(signal.SIGSTOP)
        try:
            kill_between(w, recipient, lambda: w.redis.masters[1].used(f"rcptgate:mailbox:{{{box}}}", "box"))
        finally:
            last.process.popen.send_signal(signal.SIGCONT)
        w.gate.start()
        wait_for(lambda: last.info()["cluster_state"] == "ok", "the master does not get well")
        for gate in w.gates:
            wait_for(lambda: gate.status()["status"] == "healthy", "the gate does not get well")
        n = used(w.redis, recipient, "alias")
        assert n in (0, 1)  # was it sent?
        assert [w.take(recipient, f"198.18.0.{i + 1}", i % 2) for i in range(3)] == ["continue"] * (3 - n) + ["450 4.2.1"] * n
        assert used(w.redis, recipient, "alias") == 3
        wait_for(lambda: w.redis.used(f"rcptgate:mailbox:{{{box}}}", "box") == 1 + 3 - n, "what was refused is not given back")


def failover_loses(cluster, victim, aliases, load):
    """Kills a master. How much of what was answered by then its replica lacks, which takes its place when it was asked, and
    mail has met that nobody is there: {recipient: n}."""
    replica = cluster.replicas[cluster.masters.index(victim)]
    replica.may_take_over(False)
    victim.kill()
    answered = taken(list(load.sent))
    wait_for(lambda: replica.call("INFO", "replication").count("master_link_status:up") == 0, "the replica does not notice")
    lost = {r: answered.get(r, 0) - replica.holds(f"rcptgate:recipient:{{{r}}}", "alias") for r in aliases if aliases[r] is victim}
    load.flows()
    replica.may_take_over(True)
    return {r: max(0, n) for r, n in lost.items()}


def counted_as_taken(cluster, aliases, victim, sent, lost):
    """Of who kept its master exactly; of the others no less but for what the failover lost, and no more but for what was under way."""
    counts = taken(sent)
    counted(lambda r: used(cluster, r, "alias"),
            {r: (n - lost[r], n + THREADS) if aliases[r] is victim else (n, n) for r, n in counts.items()})


def test_kill_a_master():
    """Only its subjects are counted here meanwhile; they go over once, to the replica that takes its place."""
    limits = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"}]
    with world(limits) as w:
        cluster, victim = w.redis, w.redis.masters[1]
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            load.flows(200)
            lost = failover_loses(cluster, victim, aliases, load)
            wait_for(lambda: victim.id not in cluster.serving() and len(cluster.serving()) == 3, "no replica takes its place")
            wait_for(lambda: w.gate.status()["status"] == "healthy", "the new master is not used")
            load.flows(200)
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        wait_for(lambda: local(w.gate), "nothing was counted here")
        assert {aliases[recipient] for recipient in local(w.gate)} == {victim}
        counted_as_taken(cluster, aliases, victim, sent, lost)


@pytest.mark.parametrize("known", [True, False], ids=["known", "joined-late"])
def test_what_a_failover_lost_is_counted_again(known):
    """By the gate that took it, when the replica that knows nothing is the master; also where no map has named that replica yet."""
    limits = [{"name": "alias", "per": "recipient", "max": 10, "window": "1h", "over": "reject"}]
    with world(limits, cluster={"replicas": known}) as w, MilterClient(w.gate.socket) as m:
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
        wait_for(lambda: w.gate.status()["status"] == "healthy", "the gate does not get well")
        said = [send() for _ in range(6)]
        assert said.count("250") == 2 and set(said) <= {"250", "450", "550"}
        wait_for(lambda: used(cluster, recipient, "alias") == 10, "not all is counted")


def test_kill_a_master_with_full_coverage():
    """All others say CLUSTERDOWN for a second: limits go on here, and nobody is refused."""
    limits = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"}]
    with world(limits, cluster={"coverage": "yes"}) as w:
        cluster, victim = w.redis, w.redis.masters[1]
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            load.flows(200)
            lost = failover_loses(cluster, victim, aliases, load)
            wait_for(lambda: victim.id not in cluster.serving() and len(cluster.serving()) == 3, "no replica takes its place")
            wait_for(lambda: w.gate.status()["status"] == "healthy", "the gate does not get well")
            load.flows(200)
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        counted_as_taken(cluster, aliases, victim, sent, lost)


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
    limits = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"}]
    with world(limits) as w:
        cluster = w.redis
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            load.flows()
            take_over(cluster, cluster.replicas[0])
            load.flows(300)
            wait_for(lambda: w.gate.status()["status"] == "healthy", "the gate does not get well")
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        counts = taken(sent)
        counted(lambda r: used(cluster, r, "alias"), {r: (n, n) for r, n in counts.items()})


def test_a_frozen_master():
    """Who asks it waits once, for the timeout; then the gate knows. Nobody waits twice."""
    limits = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"}]
    with world(limits, cluster={"replicas": False}, counters={"timeout": "2s"}) as w:
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
            wait_for(lambda: w.gate.status()["status"] == "healthy", "the gate does not get well")
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        counts = taken(sent)
        counted(lambda r: used(cluster, r, "alias"), {r: (n, n + THREADS) if aliases[r] is victim else (n, n) for r, n in counts.items()})


def test_one_node_is_flushed():
    """Scripts come back by themselves; counters that were cleared stay so, on that node alone."""
    limits = [{"name": "alias", "per": "recipient", "max": 3, "window": "1h", "over": "reject"}]
    with world(limits, cluster={"replicas": False}) as w, MilterClient(w.gate.socket) as m:
        cluster = w.redis
        recipients = [cluster.subject(node) for node in cluster.masters]
        m.connect()

        def send(recipient):
            return code(m.message(recipient))

        for recipient in recipients * 3:
            assert send(recipient) == "250"
        cluster.masters[0].call("SCRIPT", "FLUSH")
        assert [send(recipient) for recipient in recipients] == ["550"] * 3
        cluster.masters[1].call("FLUSHALL")
        wait_for(lambda: send(recipients[1]) == "250", "what was cleared refuses")
        assert [send(recipients[i]) for i in (0, 2)] == ["550"] * 2
        assert used(cluster, recipients[1], "alias") == 1


def shards_of(w):
    return w.gate.status()["counters"]["shards"]


def test_a_slot_that_hangs():
    """In the middle of a migration: what is in it is counted on, and the slot is named."""
    limits = [{"name": "alias", "per": "recipient", "max": 1000000, "window": "1h", "over": "reject"},
              {"name": "pair", "per": ["recipient", "client"], "max": 1000000, "window": "1h",
               "share": {"of": "sender", "max": "90%", "above": "1%"}}]
    with world(limits, cluster={"replicas": False}) as w:
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
            wait_for(lambda: w.gate.status()["status"] == "healthy", "the gate does not get well")
            sent = load.stop()
        assert {said for *_, said in sent} == {"250"}
        wait_for(lambda: used(cluster, recipient, "alias") == len(sent), "the counter is not what was taken")
        assert local(w.gate) == set()


def test_a_node_is_missing():
    """What is left is shown, cleared and counted; who is missing is named."""
    limits = [{"name": "alias", "per": "recipient", "max": 3, "window": "1h", "over": "defer"}]
    with world(limits, cluster={"replicas": False}) as w, nullcontext(serve(w.gate)) as web, MilterClient(w.gate.socket) as m:
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
    with world(limits, cluster={"replicas": False}, counters={"when_down": when_down}) as w, MilterClient(w.gate.socket) as m:
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
        wait_for(lambda: w.gate.status()["status"] == "healthy", "the gate does not get well")
        while send(recipients[victim]) == "250":
            pass
        assert used(cluster, recipients[victim], "alias") == 3


def test_move_slots():
    """1,000 slots go to another master under load: nobody notices."""
    limits = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"},
              {"name": "pair", "per": ["recipient", "client"], "max": 100000, "window": "1h"}]
    with world(limits, cluster={"replicas": False}) as w:
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


def test_over_tls():
    """No node speaks plain text. One dies, its replica is used, and a slot moves; then nobody trusts them any more."""
    limits = [{"name": "alias", "per": "recipient", "max": 100000, "window": "1h", "over": "reject"}]
    with world(limits, cluster={"tls": True}) as w:
        cluster, victim = w.redis, w.redis.masters[1]
        aliases = aliases_of(cluster)
        with Load(w.gates, sorted(aliases)) as load:
            load.flows(200)
            lost = failover_loses(cluster, victim, aliases, load)
            wait_for(lambda: victim.id not in cluster.serving() and len(cluster.serving()) == 3, "no replica takes its place")
            wait_for(lambda: w.gate.status()["status"] == "healthy", "the gate does not get well")
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


def test_check_looks_at_every_master():
    with world([], cluster={"replicas": False, "coverage": "yes"}) as w:
        cluster = w.redis
        cluster.masters[2].call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        said = w.gate.command("check", w.gate.policy_path, "--connect")
        assert "3 of the 3 masters of the cluster have no replica" in said
        assert "cluster-require-full-coverage" in said
        assert f"{cluster.masters[2].at} has maxmemory-policy allkeys-lru" in said and cluster.masters[0].at not in said
        cluster.masters[1].call("ACL", "SETUSER", "default", "-asking", "-cluster|slots")
        assert f"the ACL of Redis at {cluster.masters[1].at} lacks +cluster|slots +asking" in w.gate.command(
            "check", w.gate.policy_path, "--connect", check=None)
