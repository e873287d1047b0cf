"""The network to the database host is gone, and four clients flood. Blocks and holds need no central service in the path."""

import json
import time

from harness import PATIENCE, Postfix, Redis, wait_for
from lab import Run, Stream, all_taken_at_once, codes, delays, median, share
from load import status
from proxy import Proxy
from services import LookupService, Naive

PROMISE = "P3"
TITLE = "Database host cut off, and four clients flood: mail goes on, blocks and holds still work"
SIDES = ("Counters and block list are asked over the network", "The gate counts and blocks by itself meanwhile")
ALIASES = [f"alias{i}@example.com" for i in range(60)]
BLOCKED, FLOOD = "a blocked client is told", "the four are told"
BLOCK, FLOODERS = "203.0.113.0/24", [f"198.51.100.{i}" for i in range(1, 5)]
MOST, RATE = 20, 20  # RCPTs of one client that are let in in a minute, and that it tries in a second
LIMIT = {"name": "flood", "per": "client", "count": "attempts", "max": MOST, "window": "1m", "over": "defer", "hold": "10m"}


class Times:
    def __init__(self, smoke):
        self.end, self.fault, self.flood = (9.0, (1.5, 7.0), (2.5, 6.0)) if smoke else (30.0, (6.0, 20.0), (8.0, 18.0))
        self.patience = 2.0 if smoke else 5.0  # of who floods or is blocked; the gate's run wants all the answers
        self.spans = [(*self.fault, "database host cut off"), (*self.flood, "four clients flood")]


def central(run, redis):
    """Limits by a milter that asks Redis and waits, blocks by a list that is asked for; both behind the same link."""
    lists = run.own(LookupService(run.scratch / "blocks.sock", lambda key: "554 5.7.1 blocked" if "203.0.113." in key else None))
    link = run.own(Proxy(run.scratch / "link-lists.sock", lists.path))
    settings = {"smtpd_client_restrictions": f"check_client_access socketmap:unix:{link.path}:blocks", "smtpd_delay_reject": "no"}
    link_redis = run.own(Proxy(run.scratch / "link-redis.sock", redis.socket))
    naive = run.own(Naive(run, link_redis.path, MOST))
    return naive.milter, settings, (link, link_redis)


def gate_of(run, redis):
    link = run.own(Proxy(run.scratch / "link-redis.sock", redis.socket))
    gate = run.gate(link.url, "500ms", limits=[LIMIT])
    gate.command("block", BLOCK, "--reason", "spam wave")
    return gate, (link,)


def look(gate):
    """What the gate says while the host is cut off: its state, and how many of the four are held."""
    rows = json.loads(gate.command("show", *FLOODERS, "--json"))["counters"]
    return {"degraded": status(gate)["status"], "held": sum(row["held_ms"] > 0 for row in rows)}


def look_at_last(gate):
    """The same; on a slow machine the flood is answered later than it was sent."""
    until = time.monotonic() + PATIENCE
    while (seen := look(gate))["held"] < len(FLOODERS) and time.monotonic() < until:
        time.sleep(0.2)
    return seen


def play(build, times, guarded):
    with Run(build, times.end) as run:
        run.database.aliases(ALIASES)
        redis, gate, settings = run.own(Redis(run.scratch)), None, {}
        if guarded:
            gate, links = gate_of(run, redis)
            milter = gate.milter
        else:
            milter, settings, links = central(run, redis)
        # 60 smtpd processes instead of 100: they are what a flood that waits uses up
        postfix = Postfix(run.scratch, milter, run.sink, settings={"default_process_limit": "60", **settings})
        short, long = (60, 60) if guarded else (times.patience, 8)
        Stream(run, ALIASES, 8, retry=3.0, workers=40, patience=long)
        Stream(run, ALIASES, 2, retry=None, client="203.0.113.9", strip=BLOCKED, workers=20, patience=short)
        for client in FLOODERS:
            Stream(run, ALIASES, RATE, *times.flood, retry=None, client=client, strip=FLOOD, workers=20, patience=short)
        run.begin(postfix)
        run.until(times.fault[0])
        for link in links:
            link.mode = "stall"
        run.until(times.fault[1] - 0.3)
        seen = look_at_last(gate) if guarded else {}
        run.until(times.fault[1])
        for link in links:
            link.close_all()
            link.mode = "pass"
        story = run.finish(settle=guarded)
        if guarded:
            wait_for(lambda: status(gate)["status"] == "healthy", "the gate does not recover by itself")
        return {**story, **seen}


def judge(before, after, times):
    begin, end = times.fault
    told, blocked = codes(after, FLOOD), codes(after, BLOCKED)
    hung = share(codes(before, BLOCKED, begin + 0.5, end), lambda code: code != 554)
    arrived = [letter for letter in before["letters"] if letter["fate"] == "delivered"
               and begin + 0.5 < letter["begun"] and letter["begun"] + letter["delay"] < end]
    return [
        (f"without: nobody's mail got through while the host was cut off ({len(arrived)} letters), and {hung:.0%} of the blocked "
         "client's attempts hung instead of being refused", not arrived and hung > 0.9),
        (f"with the gate all {len(after['letters'])} letters of the others were taken at the first try and delivered",
         all_taken_at_once(after)),
        (f"the blocked client was refused {len(blocked)} times of {len(blocked)}, the database host there or not",
         len(blocked) > 0 and set(blocked) == {554}),
        (f"the flooding clients got {told.count(250)} RCPTs in, at most {MOST} each; {told.count(450)} were put off, none waited in vain",
         0 < told.count(250) <= MOST * len(FLOODERS) and told.count(450) == len(told) - told.count(250) > 0),
        (f"{after['held']} of the four were held, by this host alone", after["held"] == len(FLOODERS)),
        (f"status said {after['degraded']} during the fault and healthy afterwards, without a restart", after["degraded"] == "degraded"),
    ]


def caption(before, after, times):
    told = codes(after, FLOOD)
    slow, flat = (delays(story, *times.fault) for story in (before, after))
    return f"""
        What was done: for {times.fault[1] - times.fault[0]:.0f} s nothing passes the link to the host of the counters and of
        the block list; meanwhile four clients send {RATE} messages a second each, a client that was blocked before tries
        twice a second, and everybody else sends 8 letters a second. Left, a limiter that waits for Redis and a block list
        that is asked for over the network: every session hangs, and all mail stands still. Right, the gate goes on counting
        by itself: each flooding client is held after {MOST} messages ({told.count(250)} of {len(told)} got in), the blocked
        one is refused throughout, and nobody else notices anything; when the link is back nothing has to be restarted. The
        proof: letters that set out during the fault took {median(slow):.1f} s (median; {slow[-1]:.1f} s at most) without and
        {median(flat):.2f} s ({flat[-1]:.2f} s) with the gate."""
