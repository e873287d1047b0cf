"""100,000 retries come back after an outage. Let in at once they bury fresh mail; a ramp lets them in bit by bit."""

import itertools
import os
import struct
import sys
import threading
import time
from bisect import bisect
from contextlib import contextmanager
from pathlib import Path

from harness import Postfix, Process, Redis, Smtp
from lab import Run, Stream, deepest, delays, median, share
from services import Paced

PROMISE = "P4"
TITLE = "100,000 retries after an outage: a ramp lets the herd in bit by bit, fresh mail does not wait behind it"
SIDES = ("No ramp: all are taken as fast as they come", "A ramp: limits start at a tenth and grow")
CLOCK = "seconds since the mail host came back (its clock goes ten times as fast)"
WAITS = "retries and letters\nthat wait"
SPEED = 10
TOLD = "the herd is told"
QUIET = [f"quiet{i}@example.com" for i in range(200)]
# Whoever hammers is refused for good at the second attempt; a retry is no attempt of its own.
HAMMER = {"name": "hammering", "per": ["recipient", "client"], "count": "attempts", "max": 1, "window": "1d", "over": "reject"}


class Times:
    def __init__(self, smoke):
        self.hosts, self.letters, self.aliases = (40, 50, 50) if smoke else (2000, 50, 400)
        self.end, self.spread, self.retry = (12.0, 2.0, 6.5) if smoke else (60.0, 30.0, 30.0)
        self.rate = 80 if smoke else 700  # deliveries a second that the next hop takes
        self.most = 20 if smoke else 60  # an alias gets so many in a minute, of the fast clock
        self.longest = 240.0  # on a busy machine, until all have come back
        self.herd = self.hosts * self.letters


class FastClock:
    """A clock for the gate and Redis that goes SPEED times as fast, by test/faults/clockshift.c."""

    def __init__(self, run):
        self.run, self.path, self.stopped = run, run.scratch / "clock", False
        self.path.write_bytes(struct.pack("=q", 0))
        self.library = run.build / "test/faults/clockshift.so"
        assert self.library.exists(), self.library

    @contextmanager
    def for_children(self):
        more = {"LD_PRELOAD": str(self.library), "CLOCKSHIFT": str(self.path)}
        os.environ.update(more)
        try:
            yield
        finally:
            for name in more:
                del os.environ[name]

    def start(self):
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self):
        with open(self.path, "r+b", buffering=0) as out:
            while not self.stopped:
                os.pwrite(out.fileno(), struct.pack("=q", int(self.run.now() * (SPEED - 1))), 0)
                time.sleep(0.05)

    def stop(self):
        self.stopped = True


def gate_of(run, clock, times, guarded):
    alias = {"name": "alias-minute", "per": "recipient", "max": times.most, "window": "1m", "over": "defer"}
    if guarded:
        alias["ramp"] = "2h"
    with clock.for_children():
        redis = run.own(Redis(run.scratch))
        return run.gate(redis.url, "5s", limits=[alias, HAMMER], log={"to": "stderr", "level": "warning"})


def hammer(run):
    """What somebody is told who comes back at once, to an alias that the herd wants: at first as the herd, then 550."""
    told = []
    for _ in range(2):
        with Smtp(run.postfix, "198.51.100.9") as smtp:
            told.append(smtp.send(["busy0@example.com"], "tired@sender.example")[0][0].code)
    return told


def play(build, times, guarded):
    with Run(build, times.end, Paced) as run:
        run.sink.rate = times.rate
        run.database.aliases([f"busy{i}@example.com" for i in range(times.aliases)] + QUIET)
        clock = run.own(FastClock(run))
        gate = gate_of(run, clock, times, guarded)
        postfix = Postfix(run.scratch, gate.milter, run.sink, settings={"maillog_file": "/dev/null", "maillog_file_prefixes": "/dev"})
        Stream(run, QUIET, 8, end=times.longest)
        run.begin(postfix)
        clock.start()
        senders = run.own(Process(
            [sys.executable, "-B", Path(__file__).with_name("senders.py"), f"{postfix.address}:{postfix.port}", times.hosts,
             times.letters, times.aliases, times.spread, times.retry], run.scratch / "senders.log"))
        run.until(run.seconds)
        while back(senders) < times.hosts and run.seconds < times.longest:  # a slow or busy machine takes longer
            run.seconds += 1
            run.until(run.seconds)
        senders.stop()
        story = run.finish()
        story["hammered"] = hammer(run)
        return {**story, **herd_story(run, sessions_of(senders), times, story["depth"])}


def sessions_of(senders):
    """(when, host, taken, put off, refused) of each session of the herd. The last line may be half a line."""
    lines = [line.split() for line in senders.log().splitlines()]
    return [(float(line[0]), *map(int, line[1:])) for line in lines if len(line) == 5]


def back(senders):
    """How many hosts have come back."""
    return len({host for _, host, *_ in sessions_of(senders)})


def herd_story(run, sessions, times, depth):
    """What became of the herd: its letters, too, wait at their senders, and in the queue until they are delivered."""
    sessions = [(at - run.began, *rest) for at, *rest in sessions if at - run.began <= run.seconds]
    first = {host: at for at, host, *_ in reversed(sessions)}
    arrived = sorted(delivery.at - run.began for delivery in run.sink.deliveries if delivery.token == "herd")
    taken = list(itertools.accumulate((session[2] for session in sessions), initial=0))
    ends = [session[0] for session in sessions]

    def at(second):
        inside = taken[bisect(ends, second)]
        return second, max(0, inside - bisect(arrived, second)), times.herd - inside

    return {
        "depth": [at(second) for second, _, _ in depth],
        "told": {code: sum(session[i] for session in sessions) for i, code in enumerate((250, 450, 550), 2)},
        "back": sum(n for at, host, *numbers in sessions if first[host] == at for n in numbers),
        "spans": [(0, max(first.values()), "the herd comes back")],
        "delivered": bisect(arrived, run.seconds),
        # a tile's share of a colour goes by letters; one in ten is enough to tell
        "strips": {TOLD: [(end, code) for end, _, *numbers in sessions for code, n in zip((250, 450, 550), numbers)
                          for _ in range(-(-n // 10))]},
    }


def judge(before, after, times):
    late, flat = (median(delays(story, times.end / 3)) for story in (before, after))
    return [
        (f"{before['back']} and {after['back']} of the herd of {times.herd} came back",
         min(before["back"], after["back"]) >= 0.99 * times.herd),
        (f"fresh mail, median after the first third of the run: {late:.1f} s without a ramp, {flat:.2f} s with it", flat < late / 3),
        ("fresh mail was taken at its first try, with the ramp too",
         share([letter["codes"][:1] == [250] for letter in after["letters"] if letter["codes"]], bool) > 0.99),
        (f"with the ramp the herd was told {after['told'][250]} x 250 and {after['told'][450]} x 4xx, and none was refused for good",
         after["told"][250] > 0 and after["told"][450] > after["told"][250] / 10 and after["told"][550] == 0),
        (f"the queue held {deepest(before)} without, {deepest(after)} with the ramp", deepest(after) < deepest(before) / 3),
        (f"yet the limit that refuses for good was at work: who came back at once was told {after['hammered']}",
         after["hammered"][-1] == 550),
    ]


def caption(before, after, times):
    late, flat = (delays(story, times.end / 3) for story in (before, after))
    return f"""
        What was done: a mail host comes back after an outage; {times.herd:,} letters for {times.aliases} aliases are tried
        again by {times.hosts:,} hosts as fast as this machine goes, and what is put off comes back {times.retry:.0f} s later;
        the next hop takes {times.rate} letters a second. Meanwhile 8 fresh letters a second go to other aliases. Left, limits
        as ever: the herd is taken as fast as it comes, and fresh mail waits behind it in the queue. Right, the same limits on
        a ramp: each alias starts at a tenth of its limit, so most of the herd is put off (451) and let in bit by bit, hardly
        faster than it can be delivered. The proof: fresh mail took {median(late):.1f} s (median from {times.end / 3:.0f} s
        on; what never arrived counts until the end) without and {median(flat):.2f} s with the ramp; at the end
        {before['delivered']:,} and {after['delivered']:,} of the herd were delivered; {after['told'][550]} retries were
        refused for good, though whoever comes back within a minute is. All parts are real; the clock of gate and Redis goes
        ten times as fast, so that 6 s here are a minute of theirs."""
