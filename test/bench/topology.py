"""What TLS and a cluster cost beside one Redis in plain text, all over TCP, side by side in each round. A limit for each recipient is one
group: a RCPT is one call. With one for each sender there are two groups: on one node that is one call still, in a cluster a chain of two.
One to three gates over the cluster, all busy: what a RCPT costs each of them does not grow with their number (decisions a second do not
tell: the gates, the nodes and the loads share the machine's cores).
And one limit on `all` that ten gates ask all the time: they lease some of it, so that a RCPT is far less than one call."""

import json
import os
import re
import subprocess
from contextlib import contextmanager

from certificates import Authority
from contenders import NO_LIMIT, cpu_of
from harness import Cluster, Gate, Redis, wait_for
from mail_load import worst_span
from report import at_most

NODE, TLS, CLUSTER = "one node", "one node, TLS", "cluster of three"
GATES = (1, 2, 3)
HOT_GATES = 10
HOT_WINDOW = 1  # seconds
HOT = {"below max": NO_LIMIT, "at max": 2000}  # a window


def limits(groups):
    return [{"name": per, "per": per, "max": NO_LIMIT, "window": "1m"} for per in ("recipient", "sender")[:groups]]


class Store:
    """Where a gate counts: a URL, and the processes behind it."""

    def __init__(self, url, nodes, **counters):
        self.counters = {"url": url, "timeout": "10s", **counters}  # a busy machine is no outage
        self.nodes = nodes

    def forget(self):
        for node in self.nodes:
            node.call("FLUSHALL")
            node.call("CONFIG", "RESETSTAT")

    def scripts(self):
        return sum(int(n) for node in self.nodes for n in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", node.call("INFO", "commandstats")))

    def cpu(self):
        return sum(cpu_of(node.process.pid) for node in self.nodes)


@contextmanager
def stores(world):
    """{name: Store}: the same Redis by both ports, and three others."""
    scratch, address, plain, tls = world.scratch, world.scratch.address, world.scratch.port(), world.scratch.port()
    authority = Authority(scratch)
    cert, key = authority.issue("bench", f"IP:{address}")
    node = Redis(scratch, "tcp", args=["--bind", address, "--port", plain, "--tls-port", tls, "--tls-cert-file", cert,
                                       "--tls-key-file", key, "--tls-ca-cert-file", authority.ca, "--tls-auth-clients", "no"])
    cluster = Cluster(scratch, 3, replicas=False)
    try:
        yield {NODE: Store(f"redis://{address}:{plain}/0", [node]),
               TLS: Store(f"rediss://{address}:{tls}/0", [node], tls={"ca": str(authority.ca)}),
               CLUSTER: Store(cluster.url, cluster.nodes)}
    finally:
        cluster.stop()
        node.stop()


def start(world, name, store, limits):
    """A gate that counts there, and is well."""
    gate = Gate(world.scratch, {"counters": store.counters, "limits": limits, "exempt": {"clients": []}, "http": {"listen": ""},
                                "aliases": {"database": str(world.database.path), "subaddress": "+"}}, name=name)
    wait_for(lambda: not trouble(gate) and gate.status(do="explain", to="a0000000@example.com")["counts"] == "", f"{name} does not count in Redis")
    return gate


def trouble(gate):
    return [reason["text"] for reason in gate.status()["reasons"] if reason["what"].startswith("counters")]


def times(gate):
    """How often something was wrong with its counters."""
    return sum(reason.get("times", 1) for reason in gate.status()["past"] if reason["what"].startswith("counters"))


def measure(world, gate, store, groups, calls):
    """One run; a gate that counted by itself meanwhile has measured nothing."""
    seconds, milter = world.options.seconds, gate.process.pid
    before = times(gate)
    store.forget()
    redis = store.cpu()
    out = subprocess.run([world.tool("milter_load"), "-s", str(seconds), "-u", str(min(0.5, seconds)), "-p", str(world.options.aliases),
                          "-w", f"milter={milter}", str(gate.socket)], check=True, capture_output=True, text=True).stdout
    result = {**json.loads(out), "redis_cpu": store.cpu() - redis, "scripts": store.scripts(), "load_average": os.getloadavg()[0]}
    if result["answers"]["continue"] != result["rcpts"]:
        raise AssertionError(f"{gate.name} refused where there is no limit: {result['answers']}")
    few = result["scripts"] < 0.99 * calls * result["rcpts_in_all"]  # sender and recipient may be in one slot by chance
    if few or trouble(gate) or times(gate) != before or " counts=local" in gate.log():
        raise AssertionError(f"{gate.name} counted by itself: {result['scripts']} calls for {result['rcpts_in_all']} RCPTs; {trouble(gate)}")
    return result


def part_topology(world, results):
    with stores(world) as all_stores:
        # name: (store, groups, calls a RCPT at least: on one node those that come together are one)
        rows = {f"{store}, {groups} group{'s' * (groups > 1)}": (all_stores[store], groups, groups if store == CLUSTER else 1 / 32)
                for store, groups in ((NODE, 1), (TLS, 1), (CLUSTER, 1), (NODE, 2), (CLUSTER, 2))}
        gates = {name: start(world, re.sub(r"\W+", "-", name), store, limits(groups)) for name, (store, groups, _) in rows.items()}
        try:
            got = {name: [] for name in rows}
            for i in range(world.options.rounds):
                for name in list(rows)[::1 if i % 2 == 0 else -1]:
                    store, groups, calls = rows[name]
                    got[name].append(measure(world, gates[name], store, groups, calls))
        finally:
            for gate in gates.values():
                gate.stop()
        got.update({f"{n} gates": measure_gates(world, all_stores[CLUSTER], n) for n in GATES})
        got.update({f"hot, {name}": measure_hot(world, all_stores[NODE], name, most) for name, most in HOT.items()})
    results.raw["topology"] = got
    say(results, got, list(rows))
    say_gates(results, got)
    say_hot(results, got)


def measure_gates(world, store, n):
    """A run a round: so many gates at once."""
    gates = [start(world, f"of-{n}-{i}", store, limits(1)) for i in range(n)]
    try:
        return [run_together(world, store, gates) for _ in range(world.options.rounds)]
    finally:
        for gate in gates:
            gate.stop()


def say_gates(results, got):
    for n in GATES[1:]:
        for figure, value in (("CPU of a gate a RCPT", lambda r: r["cpu"] / max(1, r["rcpts"])),
                              ("calls of the script a RCPT", lambda r: r["scripts"] / max(1, r["rcpts_in_all"]))):
            ratios = [value(a) / value(b) for a, b in zip(got[f"{n} gates"], got["1 gates"]) if value(b) > 0]
            results.line(f"{n} gates over a cluster, of one gate: {figure}", ratios, key=f"topology/gates/{n}/{figure}")


def measure_hot(world, store, name, most):
    """A run a round: all gates at once."""
    limit = [{"name": "site", "per": "all", "max": most, "window": f"{HOT_WINDOW}s", "over": "defer"}]
    gates = [start(world, re.sub(r"\W+", "-", f"hot-{name}-{i}"), store, limit) for i in range(HOT_GATES)]
    try:
        return [run_together(world, store, gates, HOT_WINDOW) for _ in range(world.options.rounds)]
    finally:
        for gate in gates:
            gate.stop()


def run_together(world, store, gates, window=None):
    """window: the worst span of it is looked for, in seconds."""
    store.forget()
    logs = [world.scratch / f"{gate.name}.taken" for gate in gates]
    words = [world.tool("milter_load"), "-c", "10", "-s", str(world.options.seconds), "-u", str(min(0.5, world.options.seconds)), "-p", str(world.options.aliases)]
    loads = [subprocess.Popen([*words, *(["-l", log] if window else []), "-w", f"milter={gate.process.pid}", str(gate.socket)], stdout=subprocess.PIPE, text=True)
             for gate, log in zip(gates, logs)]
    runs = [json.loads(load.communicate()[0]) for load in loads]
    for gate in gates:
        if trouble(gate):
            raise AssertionError(f"{gate.name} counted by itself: {trouble(gate)}")
    times = [tuple(map(float, line.split())) for log in logs if window for line in log.read_text().splitlines()]
    return {"scripts": store.scripts(), "worst": worst_span(times, window) if window else None, **{key: sum(run[key] for run in runs) for key in ("rcpts", "rcpts_in_all")},
            "cpu": sum(run["cpu_seconds"]["milter"] for run in runs), "admitted": sum(run["answers"]["continue"] for run in runs), "load_average": os.getloadavg()[0]}


def say_hot(results, got):
    for name, most in HOT.items():
        runs = got[f"hot, {name}"]
        results.line(f"a limit on all, {HOT_GATES} gates, {name}: calls of the script a RCPT", [r["scripts"] / max(1, r["rcpts_in_all"]) for r in runs],
                     key=f"topology/hot/{name}/calls")
        results.line(f"  {name}: admitted", [100 * r["admitted"] / max(1, r["rcpts"]) for r in runs], unit="%", key=f"topology/hot/{name}/admitted")
        if most != NO_LIMIT:
            results.line(f"  {name}: worst span of a window, of max", [r["worst"] / most for r in runs], **at_most(1), key=f"topology/hot/{name}/worst")
            if any(r["worst"] > most for r in runs):
                raise AssertionError(f"a limit on all, {name}: {max(r['worst'] for r in runs)} of {most} were let in within {HOT_WINDOW} s")


FIGURES = (("decisions/s", "", lambda r: r["rcpts_per_second"]),
           ("median round trip", "us", lambda r: r["latency_us"]["p50"]),
           ("CPU of the gate a RCPT", "us", lambda r: 1e6 * r["cpu_seconds"]["milter"] / max(1, r["rcpts"])),
           ("CPU of Redis a RCPT, all nodes", "us", lambda r: 1e6 * r["redis_cpu"] / max(1, r["rcpts_in_all"])))


def say(results, got, names):
    node1, tls, cluster1, node2, cluster2 = names
    for name, base, text in ((tls, node1, "TLS, of plain text"), (cluster1, node1, "a cluster, of one node, one group"),
                             (cluster2, node2, "a cluster, of one node, two groups")):
        for figure, _, value in FIGURES:
            ratios = [value(a) / value(b) for a, b in zip(got[name], got[base]) if value(b) > 0]
            results.line(f"{text}: {figure}", ratios, key=f"topology/{name}/{figure} of {base}")
    for name in names:
        for figure, unit, value in FIGURES:
            results.line(f"  {name}: {figure}", [value(r) for r in got[name]], unit=unit, key=f"topology/{name}/{figure}")
