"""The parts that speak the milter protocol straight to the contenders, and those of Redis and of memory."""

import json
import re
import subprocess
import time

from contenders import World, memory_mb, on_one_cpu
from harness import Database, wait_for
from report import at_least, at_most, median

HUGE = 1000000  # aliases
SESSIONS = 500
SETTLE, WATCH = 10.0, 30.0  # seconds of load after every subject was seen: before, and while flatness is looked for


def measure_rounds(world, results, part, names, measure, times=1):
    """measure(name) for each name in each round, in turning order; {name: [result of each round]}."""
    got = {name: [] for name in names}
    for i in range(world.options.rounds * times):
        for name in (names if i % 2 == 0 else names[::-1]):
            got[name].append(measure(name))
    results.raw[part] = got
    return got


def ratios(got, name, base, value):
    return [value(a) / value(b) for a, b in zip(got[name], got[base]) if value(b) > 0]


def rate(result):
    return result["rcpts_per_second"]


def cpu_each(who):
    return lambda result: result["cpu_seconds"][who] * 1e6 / max(1, result["rcpts"])


def p50(result):
    return result["latency_us"]["p50"]


# ---- many connections ----

def part_direct(world, results):
    names = ["empty", "naive", "gate1", "gate3"]
    got = measure_rounds(world, results, "direct", names, world.run_load)
    results.line("100 connections, one limit: decisions/s, of the empty milter's", ratios(got, "gate1", "empty", rate), **at_least(0.60))
    results.line("100 connections, three limits: decisions/s, of the empty milter's", ratios(got, "gate3", "empty", rate), **at_least(0.52))
    results.line("  naive, one limit", ratios(got, "naive", "empty", rate))
    results.line("100 connections, one limit: CPU a RCPT, of the empty milter's", ratios(got, "gate1", "empty", cpu_each("milter")), **at_most(1.5))
    results.line("  naive, one limit: CPU a RCPT", ratios(got, "naive", "empty", cpu_each("milter")))
    for name in names:
        results.line(f"  {name}: decisions/s", [rate(r) for r in got[name]], key=f"direct/{name}/rate")
        results.line(f"  {name}: CPU a decision", [cpu_each("milter")(r) for r in got[name]], unit="us", key=f"direct/{name}/cpu")
        if name != "empty":
            results.line(f"  {name}: CPU of Redis a decision", [cpu_each("redis")(r) for r in got[name]], unit="us", key=f"direct/{name}/redis")
            results.line(f"  {name}: calls of the script for 100 RCPTs", [100 * r["redis_scripts"] / max(1, r["rcpts_in_all"]) for r in got[name]])
        results.line(f"  {name}: CPU of the load generator a decision", [cpu_each("load")(r) for r in got[name]], unit="us")


def part_flood(world, results):
    got = measure_rounds(world, results, "flood", ["empty", "naive-flood", "gate-flood"],
                         lambda name: world.run_load(name, "-p", 1, refuses=True))
    results.line("flood to one alias: decisions/s, of the empty milter's", ratios(got, "gate-flood", "empty", rate), **at_least(0.85))
    results.line("  naive", ratios(got, "naive-flood", "empty", rate))
    for name, text, goal in (("gate-flood", "flood to one alias: of so many RCPTs Redis is asked", at_most(1)), ("naive-flood", "  naive", {})):
        asked = [100 * result["redis_scripts"] / max(1, result["rcpts_in_all"]) for result in got[name]]
        results.line(text, asked, unit="%", key=f"flood/{name}/asked", **goal)


def ratio_part(part, text, *words):
    def measure(world, results):
        got = measure_rounds(world, results, part, ["empty", "gate1"], lambda name: world.run_load(name, *words))
        results.line(text, ratios(got, "gate1", "empty", rate))
        results.line("  CPU of the gate a RCPT, of the empty milter's", ratios(got, "gate1", "empty", cpu_each("milter")))
    return measure


# ---- waiting times ----

def script_words(world, name):
    """The EVALSHA that the gate sends for a RCPT, with the number of the recipient replaced by a mark."""
    argv = world.load_words(name, "-c", 1, "-p", 1, seconds=0.1)

    def overheard():
        with world.redis.overheard() as lines:
            subprocess.run(argv, check=True, capture_output=True)
        for line in lines:
            if '"evalsha"' in line.lower() and "a0000000" in line and " lua]" not in line:
                words = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
                return [word.replace("a0000000", "a__rand__") for word in words]
        return None

    return wait_for(overheard, "the gate asks nothing of Redis")


def measure_turns(world, results, part, names, measure):
    """For waiting times: short turns and many, measure(name, seconds). {name: [median of the medians of a round]}: it stands what other
    work does to one turn."""
    turns = 1 if world.options.smoke else 4
    got = measure_rounds(world, results, part, names, lambda name: measure(name, world.options.seconds / turns), turns)
    return got, {name: [median(list(map(p50, all_turns[i:i + turns]))) for i in range(0, len(all_turns), turns)] for name, all_turns in got.items()}


def bare(world, words, seconds):
    """One connection to Redis alone, that asks again as soon as it was answered."""
    world.forget()
    out = subprocess.run([world.tool("redis_bare"), str(world.redis.socket), str(seconds), str(world.options.aliases), *words],
                         check=True, capture_output=True, text=True).stdout
    return {"latency_us": json.loads(out)}


def part_idle(world, results):
    """One connection, one question at a time. A kernel that finds the other CPU asleep wakes it for each step, which costs several times
    the work; when that CPU is busy with something else, all stay on one. The first is what a quiet machine does, and has the goal; the
    second is measured as well, because a machine that changes between the two gives odd figures, and this one cannot."""
    names, words = ["bare", "gate0", "gate1", "empty"], script_words(world, "gate1")

    def measure(name, seconds):
        return bare(world, words, seconds) if name == "bare" else world.run_load(name, "-c", 1, "-m", 1000000, seconds=seconds)

    def say(part, text, goal):
        _, middle = measure_turns(world, results, part, names, measure)
        step = [(one - none) / bare for one, none, bare in zip(middle["gate1"], middle["gate0"], middle["bare"])]
        results.line(f"one idle connection{text}: the Redis step, of a bare EVALSHA round trip", step, **goal)
        for name, what in zip(names, ("bare EVALSHA", "gate without limits", "gate with one", "empty")):
            results.line(f"  {what}: median round trip", middle[name], unit="us", key=f"{part}/{name}/p50")

    say("idle", "", at_most(1.1))
    with on_one_cpu([world.redis.process.pid, *(world.milter(name).process.pid for name in names[1:])]):
        say("idle-one-cpu", ", all on one CPU", {})


def part_open(world, results):
    """Messages of one recipient come at random times, 1,000 a second, answered or not; a latency runs from when one was due. The naive
    milter has an answer awaited to MAIL before the RCPT can be sent; naive-n has not, like the gate. Beside them the round trip that
    Redis alone takes, of one connection without a pause: nobody who asks Redis adds less."""
    words = script_words(world, "gate1")

    def measure(name, seconds):
        return bare(world, words, seconds) if name == "bare" else world.run_load(name, "-o", 1000, "-c", 50, seconds=seconds)

    got, middle = measure_turns(world, results, "open", ["empty", "naive", "naive-n", "gate0", "gate1", "bare"], measure)
    round_trips, milters = middle.pop("bare"), [name for name in got if name != "bare"]
    added = {name: [own - empty for own, empty in zip(middle[name], middle["empty"])] for name in milters[1:]}

    def compare(name, text, goal):
        results.line(text, [own / other for own, other in zip(added["gate1"], added[name]) if other > 0], **goal)

    compare("naive", "open loop, 1,000 RCPT/s: added median, of the naive one's", at_most(0.65))
    compare("naive-n", "  of the naive one's that negotiates as the gate does", {})
    results.line("  a bare EVALSHA round trip, of the naive one's added median", [trip / other for trip, other in zip(round_trips, added["naive"]) if other > 0])
    for name in added:
        results.line(f"  {name}: added median", added[name], unit="us", key=f"open/{name}/added")
    results.line("  bare EVALSHA: median round trip", round_trips, unit="us", key="open/bare/p50")
    for name in milters:
        left = sum(result["never_begun"] for result in got[name])
        if left > 0:
            results.note(f"{name}: {left} RCPTs were due and found no connection: the machine does not keep up, and its figures say that alone")
        results.line(f"  {name}: 99th percentile", [r["latency_us"]["p99"] for r in got[name]], unit="us", key=f"open/{name}/p99")


# ---- Redis alone ----

def info(world, section, field):
    return int(re.search(rf"{field}:(\d+)", world.redis.call("INFO", section)).group(1))


def benchmark(world, words, pipeline):
    """One run of redis-benchmark: (calls a second, microseconds inside the script)."""
    requests = 2000 if world.options.smoke else 40000
    world.forget()
    out = subprocess.run(["redis-benchmark", "-s", str(world.redis.socket), "-n", str(requests), "-c", "50", "-P", str(pipeline),
                          "-r", str(world.options.aliases), "--csv", *words], check=True, capture_output=True, text=True).stdout
    stat = re.search(r"cmdstat_evalsha:calls=\d+,usec=\d+,usec_per_call=([\d.]+)", world.redis.call("INFO", "commandstats"))
    return float(re.findall(r'"([\d.]+)"', out.splitlines()[-1])[0]), float(stat.group(1))


def part_redis(world, results):
    for name, limits in (("gate1", "one limit"), ("gate3", "three limits")):
        words = [word.replace("__rand__", "__rand_int__") for word in script_words(world, name)]
        for pipeline in (1, 16):
            got = [benchmark(world, words, pipeline) for _ in range(min(3, world.options.rounds))]
            results.raw[f"redis-{name}-P{pipeline}"] = got
            key = f"redis/{name}/P{pipeline}"
            results.line(f"Redis alone, the gate's script, {limits}, -P {pipeline}: calls/s", [calls for calls, _ in got], key=f"{key}/rate")
            results.line("  time inside the script", [us for _, us in got], unit="us", key=f"{key}/script")
        keys, used = int(world.redis.call("DBSIZE")), info(world, "memory", "used_memory")
        world.forget()
        time.sleep(0.2)
        results.line(f"  bytes of an active subject, {limits}", [(used - info(world, "memory", "used_memory")) / max(1, keys)],
                     key=f"redis/{name}/bytes")


# ---- memory ----

def watch_memory(world, gate, words, watch=0.0):
    """Samples (seconds, resident MB, subjects in Redis) under load, until SETTLE and so many seconds after every subject was there; and
    when that was, None if it never was."""
    world.forget()
    load = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    samples, start, full = [], time.monotonic(), None
    try:
        while load.poll() is None and (full is None or samples[-1][0] < full + SETTLE + watch):
            time.sleep(0.2)
            samples.append((time.monotonic() - start, memory_mb(gate.process.pid), int(world.redis.call("DBSIZE"))))
            if full is None and samples[-1][2] >= world.options.aliases:
                full = samples[-1][0]
    finally:
        load.terminate()
        load.wait()
    if load.returncode == 1:
        raise AssertionError("milter_load: a connection failed")
    return samples, full


def part_memory(world, results):
    samples, full = watch_memory(world, world.milter("gate1"), world.load_words("gate1", "-t", seconds=60))
    if full is not None:
        results.line("resident memory, 100,000 aliases, all of them subjects", [samples[-1][1]], unit="MB", key="memory/small", **at_most(48))
    huge = Database(world.scratch, "huge.db")
    huge.domain("example.com")
    World.add_aliases(huge, HUGE)
    world.milters["huge"] = gate = world.gate("huge", [{"name": "hour", "per": "recipient", "max": 100000, "window": "1h"}], huge)
    samples, full = watch_memory(world, gate, world.load_words("huge", "-t", "-c", SESSIONS, seconds=150), WATCH)
    results.raw["memory"] = samples
    if full is None:
        return results.skip("memory of 1,000,000 aliases", f"only {samples[-1][2]} subjects were seen in {samples[-1][0]:.0f} s")
    warm = [mb for seconds, mb, _ in samples if seconds >= full + SETTLE]
    results.line("  subjects that Redis holds", [samples[-1][2]])
    results.line("resident memory, 1,000,000 aliases, 500 sessions, 100,000 subjects", warm, unit="MB", key="memory/huge", **at_most(64))
    # It goes up and down with libmilter's threads; what is lost stays, so the lowest of each half are compared.
    half = len(warm) // 2
    results.line(f"memory over {WATCH:.0f} s of load, all subjects seen: growth of the lowest, half to half", [min(warm[half:]) - min(warm[:half])],
                 unit="MB", key="memory/growth", **at_most(1))


PARTS = {
    "direct": part_direct,
    "flood": part_flood,
    "abort": ratio_part("abort", "every message aborted after its RCPT: decisions/s, of the empty milter's", "-a", 100),
    "zipf": ratio_part("zipf", "recipients by Zipf's law (exponent 1): decisions/s, of the empty milter's", "-z", 1),
    "several": ratio_part("several", "5 recipients a message: decisions/s, of the empty milter's", "-r", 5),
    "idle": part_idle,
    "open": part_open,
    "redis": part_redis,
    "memory": part_memory,
}
