"""Where the time goes: what each part of a decision costs, by perf(1), which samples all of the machine under the load of part direct.

A sample belongs to the library that runs; one in the kernel to the function of the C library that went there, and with it to whoever uses
that one: libmilter polls, reads and writes, the client of Redis sends and receives, SQLite reads with pread. They are microseconds of a
CPU of the machine, with what the accounting of a process leaves out (changes of threads, interrupts)."""

import json
import re
import shutil
import subprocess
from collections import Counter

HERTZ = "1999"
NAMES = {"empty": "empty libmilter program", "gate-flood": "rcptgate, flood to one alias", "gate1": "rcptgate, one limit",
         "gate3": "rcptgate, three limits"}

# Of the milter: what it is called, and whose code or which functions of the C library.
MILTER = (
    ("libmilter and its socket: poll, read, write", r"libmilter|^(__)?(poll|read|write|writev)$|asynccancel"),
    ("threads that libmilter starts and ends", r"clone|madvise|munmap|mmap|mprotect|pthread_create|start_thread|arena_thread|^_?exit"),
    ("SQLite", r"libsqlite3|pread|fcntl|stat64|fstat"),
    ("the client of Redis: its socket", r"libhiredis|recv|send|ppoll"),
    ("waiting for Redis' answer, and for locks: futex", r"^syscall$|lll_lock|futex|cond_|clockwait|timedwait"),
    ("code of the milter itself", r"milter_empty|rcptgate"),
    ("the C library: memory, text, locks, clocks", r"libc\.so|vdso|ld-linux|libpthread|libm\."),
    ("the kernel, for nobody in particular", r""),
)
REDIS, LOAD, REST = "Redis", "the load generator", "idle, and all else on this machine"
ALL = "all of it"
KINDS = (*(kind for kind, _ in MILTER), REDIS, LOAD, REST)


def kind_of(frames):
    """frames: (symbol, library) of each, the innermost first."""
    user = next(((symbol, library) for symbol, library in frames if "kernel" not in library), None)
    if user is None:
        return MILTER[-1][0]
    names = user if "libc.so" in user[1] else (user[1],)
    return next(kind for kind, pattern in MILTER if any(re.search(pattern, name.rpartition("/")[2]) for name in names))


def read_samples(text):
    """(program, process, nanoseconds, frames) of each sample of `perf script`."""
    for block in text.split("\n\n"):
        head, *lines = block.strip("\n").split("\n")
        if head.strip():
            program, pid, period = head.rsplit(None, 2)
            frames = [re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)$", line) for line in lines]
            yield program.strip(), int(pid), int(period), [frame.groups() for frame in frames if frame]


def profile(world, name):
    """Microseconds a decision, by kind."""
    words = world.load_words(name, *(("-p", 1) if name == "gate-flood" else ()), seconds=world.options.seconds)
    milter, redis, data = world.milter(name).process.pid, world.redis.process.pid, world.scratch / "perf.data"
    world.forget()
    load = subprocess.run(["perf", "record", "-q", "-a", "-g", "-e", "cpu-clock", "-F", HERTZ, "-o", data, "--", *words],
                          check=True, capture_output=True, text=True).stdout
    samples = subprocess.run(["perf", "script", "-i", data, "-F", "comm,pid,period,ip,sym,dso"], check=True, capture_output=True, text=True).stdout
    spent = Counter()
    for program, pid, period, frames in read_samples(samples):
        spent[kind_of(frames) if pid == milter else REDIS if pid == redis else LOAD if program == "milter_load" else REST] += period
    rcpts = json.loads(load)["rcpts_in_all"]
    return {kind: spent[kind] / 1000 / rcpts for kind in KINDS}


def part_profile(world, results):
    if shutil.which("perf") is None:
        return results.skip("profile", "perf is not installed (Debian: linux-perf)")
    got = {name: [profile(world, name) for _ in range(min(3, world.options.rounds))] for name in NAMES}
    for name, text in NAMES.items():
        results.line(f"{text}: CPU of the machine a decision", [sum(one.values()) for one in got[name]], unit="us", key=f"profile/{name}/{ALL}")
        for kind in KINDS:
            results.line(f"  {kind}", [one[kind] for one in got[name]], unit="us", key=f"profile/{name}/{kind}")
