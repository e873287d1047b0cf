"""A policy that cannot be parsed is pushed, and later the filter restarts. One that ends takes mail along; the gate goes on."""

from harness import Postfix, Redis, Web, wait_for
from lab import Run, Stream, codes, count, delays, median
from services import Monitor, Naive

PROMISE = "P5"
TITLE = "A policy that cannot be parsed is pushed: no mail is rejected, the last good policy stays in force"
SIDES = ("The filter ends when it cannot parse its policy", "The gate keeps its last good policy")
ALIASES = [f"alias{i}@example.com" for i in range(100)]
CAPPED = "capped@example.com"
KNOWN, LIMITED, PAGE = "mail is told", "mail over its limit", "the status page says"
MOST = 8


class Times:
    def __init__(self, smoke):
        self.end, self.fault = (10.0, (2.0, 7.0)) if smoke else (24.0, (6.0, 16.0))
        self.restart = sum(self.fault) / 2
        self.spans = [(*self.fault, "the policy is no JSON")]
        self.noticed = self.fault[0] + 2.5  # "within a second", on a busy machine


class Filter:
    """A filter as they come: it reads its policy when it starts, and does not start without one."""

    def __init__(self, run, redis):
        self.run, self.redis, self.process = run, redis, None
        self.push({"most": MOST})

    def push(self, policy):
        """A deployment ends with a restart. policy None: the file cannot be parsed."""
        self.stop()
        if policy:
            self.process = Naive(self.run, self.redis.socket, policy["most"], 3600)
            self.milter = self.process.milter

    def stop(self):
        if self.process:
            self.process.stop()
            self.process.socket.unlink(missing_ok=True)


def play_without(run, redis, times):
    filter_ = run.own(Filter(run, redis))
    # refuse while the filter is away, as the service did whose story this is
    milter = f"{{ {filter_.milter}, command_timeout=30s, default_action=reject }}"
    run.begin(Postfix(run.scratch, None, run.sink, settings={"smtpd_milters": milter}))
    run.until(times.fault[0])
    filter_.push(None)
    run.until(times.fault[1])
    filter_.push({"most": 1000})
    return run.finish(settle=True)


def limits(most):
    return [{"name": "alias-hour", "per": "recipient", "max": most, "window": "1h", "over": "defer"}]


def play_with(run, redis, times):
    web = Web(run.scratch)
    gate = run.gate(redis.url, limits=limits(MOST), http={"listen": web.listen})
    wait_for(web.up, "the gate's pages do not answer")
    run.begin(Postfix(run.scratch, gate.milter, run.sink))
    run.own(Monitor(run, web, PAGE))
    run.until(times.fault[0])
    gate.policy_path.write_text(gate.policy_path.read_text()[:-40])  # nobody has to tell the gate: it looks
    run.until(times.restart)
    gate.stop()
    gate.start()
    reasons = str(gate.status()["reasons"])
    run.until(times.fault[1])
    gate.write_policy(limits=limits(1000))
    return {**run.finish(settle=True), "reasons": reasons, "marks": [(times.restart, "the gate is restarted")]}


def play(build, times, guarded):
    with Run(build, times.end) as run:
        run.database.aliases([*ALIASES, CAPPED])
        redis = run.own(Redis(run.scratch))
        Stream(run, ALIASES, 8, strip=KNOWN)
        Stream(run, [CAPPED], 4, retry=None, strip=LIMITED)
        return (play_with if guarded else play_without)(run, redis, times)


def judge(before, after, times):
    capped, page = codes(after, LIMITED, times.noticed, times.fault[1]), codes(after, PAGE, times.noticed, times.fault[1])
    told = codes(after, KNOWN)
    return [
        (f"without: {count(before, 'refused')} letters were refused for good, and lost", count(before, "refused") > 0),
        (f"with the gate all {len(after['letters'])} letters were delivered; of {len(told)} answers none was 5xx",
         count(after, "delivered") == len(after["letters"]) and set(told) <= {250, 451}),
        ("the limit of the last good policy stayed in force, also across a restart",
         set(capped) <= {450, 451} and capped.count(450) > len(capped) / 2 and capped[-1] == 450),
        ("status named the policy, /healthz said 503", "policy" in after["reasons"] and 503 in page and 200 not in page),
        ("the next good policy was taken by itself", codes(after, LIMITED)[-1] == 250 and codes(after, PAGE)[-1] == 200),
    ]


def caption(before, after, times):
    took = delays(after)
    return f"""
        What was done: for {times.fault[1] - times.fault[0]:.0f} s the policy file is cut off in its middle; in the midst of
        that the gate is restarted, too. 8 letters a second go to ordinary aliases, 4 to an alias whose limit is used up. Left,
        a filter that reads its policy at its start and ends when it cannot: Postfix, told to refuse while its filter is away
        (default_action=reject), bounces everything. Right, the gate goes on by its last good policy, which it finds again
        after the restart: ordinary mail flows, the limit still holds, and the status page says 503 until a good policy is
        pushed, which is then taken by itself. The proof: {count(before, 'refused')} of {len(before['letters'])} letters were
        lost without the gate, {count(after, 'refused')} of {len(after['letters'])} with it; the slowest took {took[-1]:.1f} s,
        the median {median(took):.2f} s."""
