"""User-space instructions of a process between two moments, by shared object and by function: callgrind counts them, all threads together.

It executes one thread at a time and slows it down some fifty times, but counts the same whatever else the machine does. Start-up is not
counted. What it cannot name it calls by its address."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

MISSING = None if shutil.which("valgrind") and shutil.which("vgdb") else "valgrind is not installed (Debian: valgrind)"
_COST = re.compile(r"(?:[-+]?\d+|\*)(?: (?:[-+]?\d+|\*))* (\d+)$")
_NAME = re.compile(r"\((\d+)\)(?: (.*))?$")


def under(profile):
    """The words before a command that is to be counted; its profiles go to `profile`.1, .2 and so on."""
    return ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={profile}"]


class Instructions:
    """Of a process that was started with under(profile)."""

    def __init__(self, process, profile):
        self.process, self.profile, self.dumps = process, profile, 0
        self._tell("instrumentation", "on")

    def _tell(self, *words):
        done = subprocess.run(["vgdb", f"--pid={self.process.pid}", *words], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"vgdb {' '.join(words)}: {done.stderr.strip()[-300:]}")

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
