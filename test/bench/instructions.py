"""User-space instructions of a process between two moments, by shared object and by function: callgrind counts them, all threads together.

It executes one thread at a time and slows it down some fifty times, but counts the same whatever else the machine does. Start-up is not
counted. What it cannot name it calls by its address."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from processes import Failure

MISSING = None if shutil.which("valgrind") and shutil.which("vgdb") else "valgrind is not installed (Debian: valgrind)"
TRIES = 120  # of half a second
_COST = re.compile(r"(?:[-+]?\d+|\*)(?: (?:[-+]?\d+|\*))* (\d+)$")
_NAME = re.compile(r"\((\d+)\)(?: (.*))?$")


def under(profile):
    """The words before a command that is to be counted; its profiles go to `profile`.1, .2 and so on."""
    return ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", "--vgdb-poll=200", f"--callgrind-out-file={profile}"]


class Instructions:
    """Of a process that was started with under(profile). poke() makes it execute something, however little.

    vgdb would wake a process that sleeps by ptrace; the call in which it slept then returns nonsense (a signal that nobody sent), so it is
    told not to (--max-invoke-ms=0). The command is obeyed when the process next executes something by itself, or is poked."""

    def __init__(self, process, profile, poke):
        self.process, self.profile, self.poke, self.dumps = process, profile, poke, 0
        self._tell("instrumentation", "on")

    def _tell(self, *words):
        vgdb = subprocess.Popen(["vgdb", "--max-invoke-ms=0", f"--pid={self.process.pid}", *words], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        try:
            for _ in range(TRIES):
                try:
                    vgdb.wait(0.5)
                    break
                except subprocess.TimeoutExpired:
                    self.poke()
            if vgdb.poll() != 0:
                raise Failure(f"vgdb {' '.join(words)} of {self.process.argv[-1]}: no answer\n{self.process.log()[-1000:]}")
        finally:
            vgdb.kill()
            vgdb.wait()

    def begin(self):
        self._tell("zero")

    def end(self):
        """{(object, function): instructions} since begin()."""
        self._tell("dump")
        self.dumps += 1
        path = Path(f"{self.profile}.{self.dumps}")
        spent = read_profile(path.read_text(errors="replace"))
        path.unlink()
        return spent


def read_profile(text):
    """A profile names object and function, then costs a line of the source; what a called function took stands after "calls=", and is in
    that function's own lines as well. Names are written once, then they are numbers."""
    names = {"ob": {}, "fn": {}}
    now, spent, of_callee = {"ob": "?", "fn": "?"}, Counter(), False

    def name(kind, words):
        number, text = _NAME.match(words).groups()
        if text is not None:
            names[kind][number] = text
        return names[kind][number]

    for line in text.splitlines():
        key, equals, words = line.partition("=")
        if equals and key in now:
            now[key] = name(key, words)
        elif equals and key in ("cob", "cfn"):
            name(key[1:], words)
        elif key == "calls":
            of_callee = True
        elif cost := _COST.match(line):
            if not of_callee:
                spent[Path(now["ob"]).name, now["fn"]] += int(cost.group(1))
            of_callee = False
    return spent
