"""Who is measured, and in what: a private Redis, an alias database, and programs of ours behind unix sockets: the empty milter, the naive
one, and the gate with so many limits. Everything lives in a temporary directory and ends with World.stop()."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from harness import Database, Gate, Process, Redis, Scratch, wait_for

DOMAIN = "example.com"
NO_LIMIT = 100000000  # a limit that is counted and never reached


def cpu_of(pid):
    """CPU seconds of a process by the operating system: clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def children(pid):
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def cpu_of_tree(pid):
    """The same with all its children, of the dead ones too (those by the clock tick)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    dead = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return cpu_of(pid) + dead + sum(cpu_of_tree(child) for child in children(pid))


def memory_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


@contextmanager
def on_one_cpu(pids):
    """These processes, and what we start meanwhile, share a CPU."""
    def pin(cpus):
        for pid in [os.getpid(), *pids]:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cpus)

    before = os.sched_getaffinity(0)
    pin({max(before)})
    try:
        yield
    finally:
        pin(before)


class Milter:
    """A milter of the bench: argv with {socket} where its socket goes."""

    def __init__(self, scratch, name, argv):
        self.socket = scratch / f"{name}.sock"
        self.process = Process([str(word).format(socket=self.socket) for word in argv], scratch / f"{name}.log")
        wait_for(self.socket.exists, f"{name} does not open its socket")
        self.socket.chmod(0o777)
        self.milter = f"unix:{self.socket}"

    def stop(self):
        self.process.stop(signal.SIGKILL)  # it has nothing to lose, and libmilter takes its time


class World:
    def __init__(self, options):
        self.options = options
        self.scratch = Scratch()
        self.redis = Redis(self.scratch)
        self.database = Database(self.scratch)
        self.database.domain(DOMAIN)
        self.add_aliases(self.database, options.aliases)
        self.database.aliases([f"{n}to@{DOMAIN}" for n in ("", 1, 2, 3, 4, 5)])  # to whom smtp-source writes
        self.milters = {}

    @staticmethod
    def add_aliases(database, count):
        """a0000000@example.com and so on, as milter_load draws them."""
        database.run(f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count}) INSERT INTO aliases "
                     f"(address, mailbox) SELECT printf('a%07d@{DOMAIN}', i), 'box@mailbox.example' FROM n")

    def tool(self, name):
        return str(self.options.build / "test/bench" / name)

    # ---- the contenders ----

    def milter(self, name):
        """empty, naive (naive-n negotiates as the gate does), or gate with so many limits: gate0, gate1, gate3; and both for a flood."""
        if name not in self.milters:
            self.milters[name] = self._gate(name) if name.startswith("gate") else self._other(name)
        return self.milters[name]

    def _other(self, name):
        if name == "empty":
            return Milter(self.scratch, name, [self.tool("milter_empty"), "unix:{socket}"])
        most = 10 if name == "naive-flood" else NO_LIMIT
        how = ["-n"] if name == "naive-n" else []
        return Milter(self.scratch, name, [self.tool("milter_naive"), *how, "unix:{socket}", self.redis.socket, self.database.path, most, 60])

    def _gate(self, name):
        windows = {"gate0": [], "gate1": ["1m"], "gate3": ["1m", "1h", "1d"], "gate-flood": ["1m"]}[name]
        most = 10 if name == "gate-flood" else NO_LIMIT
        return self.gate(name, [{"name": f"alias-{window}", "per": "recipient", "max": most, "window": window} for window in windows],
                         self.database)

    def gate(self, name, limits, database):
        return Gate(self.scratch, {"counters": {"url": self.redis.url, "timeout": "1s"}, "limits": limits,
                                   "aliases": {"database": str(database.path), "subaddress": "+"},
                                   "exempt": {"clients": []}, "http": {"listen": ""}}, name=name)

    # ---- load ----

    def forget(self):
        """Redis as it was at the start, but for the scripts that it has loaded."""
        self.redis.call("FLUSHALL")
        self.redis.call("CONFIG", "RESETSTAT")

    def asked(self):
        """So many scripts did Redis run since forget()."""
        return sum(int(n) for n in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", self.redis.call("INFO", "commandstats")))

    def load_words(self, name, *words, seconds, warmup=0):
        milter = self.milter(name)
        return [self.tool("milter_load"), "-s", str(seconds), "-u", str(warmup), "-p", str(self.options.aliases),
                "-w", f"milter={milter.process.pid}", "-w", f"redis={self.redis.process.pid}", *map(str, words), str(milter.socket)]

    def run_load(self, name, *words, seconds=None, refuses=False):
        """One measurement: what milter_load says, and what Redis was asked meanwhile. Who refuses where nothing is over a limit has
        failed: its figures would be those of refusals."""
        seconds = seconds or self.options.seconds
        argv = self.load_words(name, *words, seconds=seconds, warmup=min(0.5, seconds))
        self.forget()
        out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        result = json.loads(out)
        if result["answers"]["continue"] != result["rcpts"] and not refuses:
            raise AssertionError(f"{name} refused where there is no limit: {result['answers']}")
        return {**result, "redis_scripts": self.asked(), "load_average": os.getloadavg()[0]}

    def stop(self):
        for milter in self.milters.values():  # all at once
            if milter.process.alive():
                milter.process.popen.send_signal(signal.SIGTERM)
        for milter in self.milters.values():
            milter.stop()
        self.redis.stop()
        self.scratch.remove()
