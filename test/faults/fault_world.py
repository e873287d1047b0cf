"""A gate between a real Postfix and a real Redis, with a proxy before it, and mail that flows all the time; and what holds in every
row of the fault matrix that is about Redis."""

import binascii
import copy
import os
import re
import sys
from collections import namedtuple
from urllib.parse import urlsplit

import fault_table
from fault_table import recovers
from harness import Cluster, Failure, Redis, Scratch, Sink, Postfix, Gate, Database, wait_for
from proxy import Proxy
from redis_cluster import SLOTS
from sentinel import MASTER, ScriptedSentinel

# "sentinel": the same rows, where a Sentinel says who Redis is; "cluster": where Redis is one of three masters of a cluster
BEHIND = os.environ.get("RCPTGATE_BEHIND", "")
WHERE = {"": "", "sentinel": " (behind a Sentinel)", "cluster": " (one of a cluster)"}[BEHIND]
MASTERS = 3
SERVER = {}  # what a row needs of Redis: under, words of a command that it runs under; args, more arguments

TIMEOUT_MS = 100
ALIAS = "a@example.com"
LIMITS = [
    {"name": "soft", "per": "recipient", "max": 10, "window": "1h", "over": "defer",
     "when": {"recipient_domain": "example.com"}},
    {"name": "hard", "per": "recipient", "max": 1000, "window": "1d", "over": "reject"},
    {"name": "tries", "per": "client", "count": "attempts", "max": 100000, "window": "1h", "over": "reject"},
]


TROUBLES = ("counters", "counters-shard") if BEHIND == "cluster" else ("counters",)


def master_of(subject):
    """The number of the master that has it, in a cluster."""
    slot = binascii.crc_hqx(subject.encode(), 0) % SLOTS
    return next(i for i in range(MASTERS) if slot < SLOTS * (i + 1) // MASTERS)


def beside(form, start=0):
    """A subject that the master of the alias has, too."""
    subjects = (form.format(i) for i in range(start, 250))
    return next(subject for subject in subjects if not BEHIND == "cluster" or master_of(subject) == master_of(ALIAS))


class Faults:
    """One row: with Faults(7, "answer lost") as f: ..."""

    def __init__(self, row, what, limits=LIMITS, proxy=True, url=None, counters=None, timeout_ms=TIMEOUT_MS, store=None):
        fault_table.record(row, what + WHERE)
        self.row = fault_table.row
        self.timeout_ms, self.proxy, self.redis, self.cluster, self.things = timeout_ms, None, None, None, []
        self.scratch = Scratch()
        try:
            if BEHIND == "cluster" and store is None:
                self._start_cluster(proxy)
                name, others = url and urlsplit(url).hostname, [node for node in self.cluster.masters if node is not self.redis]
                url = "redis+cluster://" + ",".join(f"{name or node.address}:{node.port}" for node in others)
            else:
                self.redis = store(self.scratch) if store else Redis(self.scratch, **SERVER)
            if proxy and self.proxy is None:
                at = (self.scratch.address, 0) if BEHIND else self.scratch / "proxy.sock"
                self.proxy = self._keep(Proxy(at, self.redis.socket))
            if proxy and url is None and BEHIND == "sentinel":
                named = namedtuple("Named", "address port")(*self.proxy.path)
                sentinel = self._keep(ScriptedSentinel(self.scratch, 1, named))
                url = f"redis+sentinel://{sentinel.address}:{sentinel.port}/{MASTER}/0"
            self.database = Database(self.scratch)
            self.database.domain("example.com")
            self.database.domain("flow.example")
            self.database.alias(ALIAS)
            self.database.aliases([f"f{i}@flow.example" for i in range(50)])
            self.sink = self._keep(Sink(self.scratch))
            if url is None:
                url = self.proxy.url if self.proxy else self.redis.url
            policy = {
                "aliases": {"database": str(self.database.path)},
                "counters": {"url": url, "timeout": f"{timeout_ms}ms", **(counters or {})},
                "http": {"listen": ""},
                "limits": limits,
            }
            self.gate = self._keep(Gate(self.scratch, policy))
            self.postfix = self._keep(Postfix(self.scratch, self.gate.milter, self.sink))
        except BaseException:
            self._stop()
            raise

    def _start_cluster(self, proxy):
        """self.redis, which the fault hits, is the master of the alias; the others have no fault."""
        number = master_of(ALIAS)
        place = copy.copy(self.scratch)
        place.under, place.args = SERVER.get("under", ()), [*SERVER.get("args", ())]
        if proxy:
            self.proxy = self._keep(Proxy((self.scratch.address, 0), self.scratch / f"node{number}.sock"))
            place.args += ["--cluster-announce-port", self.proxy.path[1]]
        self.cluster = Cluster(self.scratch, MASTERS, replicas=False, hosts=[place if i == number else self.scratch for i in range(MASTERS)])
        self.redis = self.cluster.masters[number]

    def _keep(self, thing):
        self.things.append(thing)
        return thing

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            sys.stderr.write("--- gate log, last lines\n" + self.gate.log()[-5000:] + "\n")
        self._stop(quiet=kind is not None)

    def _stop(self, quiet=True):
        troubles = []
        for thing in [*reversed(self.things), self.cluster or self.redis]:
            try:
                if thing:
                    thing.stop()
            except (Failure, OSError) as trouble:
                troubles.append(trouble)
        self.scratch.remove()
        if troubles and not quiet:
            raise troubles[0]

    # ---- asking

    def status(self, **request):
        return self.gate.status(**request)

    def trouble(self, what="counters"):
        """The text of a trouble that is there now, or None. In a cluster a part of it may have one."""
        report = self.status()
        texts = {entry["what"]: entry["text"] for entry in report["reasons"] + report["notes"]}
        return texts.get(what) or (texts.get("counters-shard") if self.cluster and what == "counters" else None)

    def is_well(self):
        report = self.status()
        return report["canary"]["counters"] == "answer" and not any(r["what"] in TROUBLES for r in report["reasons"])

    def source(self):
        """ "local" or "store": who answers for the counters of a recipient now; None: nobody."""
        text = self.status(do="explain", to=ALIAS)["counts"]
        return "store" if text == "" else "local" if "this process" in text else None

    def rcpt(self, address=ALIAS, client="192.0.2.1"):
        """One RCPT of a message that is then ended, as a milter sees it: "continue" or the reply's class and code."""
        return self.gate.take(address, client)

    def admitted(self, n, address=ALIAS):
        """How many of n are let through; all others must be refused by the limit, softly."""
        answers = [self.rcpt(address) for _ in range(n)]
        assert set(answers) <= {"continue", "450 4.2.1"}, answers
        return answers.count("continue")

    def used(self, address=ALIAS, limit="soft"):
        return (self.cluster or self.redis).used(f"rcptgate:recipient:{{{address}}}", limit)

    # ---- a row

    def warm(self, n=4):
        wait_for(lambda: self.source() == "store", "Redis is not used")
        assert self.admitted(n) == n
        wait_for(lambda: self.source() == "store" and self.used() == n, f"{n} are not counted")

    def begin(self):
        """From here on the longest wait counts."""
        self.status(forget_longest=True)

    def goes_local(self):
        wait_for(lambda: self.source() == "local", "the gate does not notice the fault", 10)

    def check_local(self, before=4, alone=True):
        """Limits go on in this process, from what it admitted before: 10 in all. alone: the fault is that of one master."""
        self.goes_local()
        assert self.admitted(10) == 10 - before
        if self.cluster and alone:  # who has another master notices nothing
            other = next(f"f{i}@flow.example" for i in range(50) if master_of(f"f{i}@flow.example") != master_of(ALIAS))
            wait_for(lambda: self.status(do="explain", to=other)["counts"] == "", "another master's are local too")
        self.row.remark = f"local: {10 - before} more of 10, then 450"

    def check_named(self, *words, log=True):
        """status and log say what is wrong and what to do."""
        def named():
            text = self.trouble() or ""
            return all(word.lower() in text.lower() for word in words)

        try:
            wait_for(named, "", 10)
        except Failure:
            raise Failure(f"status says {self.trouble()!r}, not {words}") from None
        if log:
            wait_for(lambda: re.search("event=counters(-shard)?-trouble", self.gate.log()), "no line in the log", 5)

    def check_longest(self, most=None):
        longest = self.status()["traffic"]["decision_max_ms"]
        self.row.waited(longest)
        assert longest <= (most or 2 * (self.timeout_ms + 50)), longest

    def check_recovery(self, used=10):
        """Called when the fault has just ended."""
        recovers(lambda: self.source() == "store", "Redis is not used again", 15)
        wait_for(self.is_well, "status stays degraded", 10)
        if used is not None:
            assert self.used() == used
            assert self.rcpt() == "450 4.2.1"
        self.check_longest()
