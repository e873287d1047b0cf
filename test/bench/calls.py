"""System calls and waits of a process, all its threads, while a command runs. perf(1) counts them where the kernel lets us, and costs next
to nothing; else strace(1) counts the calls, which slows the process down but counts the same.

A wait is a thread that gives its CPU away because it has nothing to do. One that loses it to others is not counted: that says how busy the
machine is."""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

EVENTS = Path("/sys/kernel/tracing/events/syscalls")
NAMES = ("poll", "ppoll", "read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg", "pread64", "fcntl", "newfstat",
         "fstat", "newfstatat", "newstat", "stat", "futex", "clock_nanosleep", "epoll_wait", "epoll_pwait", "accept", "accept4", "close",
         "shutdown", "clone3", "clone", "exit", "madvise", "mmap", "munmap", "mprotect", "rt_sigprocmask", "rseq", "set_robust_list", "getsockopt",
         "setsockopt", "brk", "access", "timerfd_settime", "getrandom")


def _perf(pid, words):
    """({name: calls}, waits), of perf; raises OSError with its complaint."""
    names = [name for name in NAMES if (EVENTS / f"sys_enter_{name}").exists()] or ["futex"]
    events = [word for event in ("raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in names)) for word in ("-e", event)]
    waits = ["-e", "sched:sched_switch", "--filter", "prev_state > 0 && prev_state < 256"]
    done = subprocess.run(["perf", "stat", "-x", ";", *events, *waits, "-p", str(pid), "--", *words], capture_output=True, text=True)
    lines = re.findall(r"^(\d+|<not counted>);;([\w:]+);", done.stderr, re.M)  # not counted: it did nothing meanwhile
    found = {name: int(count) if count.isdigit() else 0 for count, name in lines}
    if done.returncode != 0 or "raw_syscalls:sys_enter" not in found:
        raise OSError("perf: " + " ".join(done.stderr.split())[:160])
    calls = {name: found.get(f"syscalls:sys_enter_{name}", 0) for name in names}
    calls["others"] = found["raw_syscalls:sys_enter"] - sum(calls.values())
    return done.stdout, calls, found.get("sched:sched_switch")


def _strace(pid, words):
    with tempfile.NamedTemporaryFile("r") as table:
        tracer = subprocess.Popen(["strace", "-q", "-c", "-f", "-U", "calls,name", "-o", table.name, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        time.sleep(1)  # until it holds every thread
        if tracer.poll() is not None:
            raise OSError("strace: " + " ".join(tracer.stderr.read().split())[:160])
        try:
            out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        finally:
            tracer.terminate()
            tracer.wait()
        calls = {name: int(count) for count, name in re.findall(r"^\s*(\d+)\s+(\w+)\s*$", table.read(), re.M)}
    calls.pop("total", None)
    return out, calls, None


class Calls:
    """How they are counted here, found out by trying."""

    def __init__(self):
        self.way, self.name, self.missing = None, None, "neither perf nor strace is installed (Debian: linux-perf)"
        for name, way in (("perf", _perf), ("strace", _strace)):
            if shutil.which(name) and not self.way:
                self._try(name, way)

    def _try(self, name, way):
        idle = subprocess.Popen(["sleep", "60"])
        try:
            way(idle.pid, ["true"])
            self.way, self.name = way, name
        except OSError as trouble:
            self.missing = str(trouble)
        finally:
            idle.kill()
            idle.wait()

    def count(self, pid, words):
        """What the command printed, {name: calls} and waits; None for what is not counted here."""
        if self.way is None:
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout, None, None
        return self.way(pid, words)
