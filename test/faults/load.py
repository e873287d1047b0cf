"""Mail that flows while something breaks: threads that speak the milter protocol, and what they were answered."""

import json
import os
import threading
import time
from collections import Counter

from harness import Closed, MilterClient

LONG = bool(os.environ.get("RCPTGATE_LONG"))


def times(long, short):
    """How often something is repeated: the full count only where it is asked for."""
    return long if LONG else short


class Load:
    """n sessions, one message after the other, to the aliases given and to one that does not exist.

    answers counts (alias, status); a connection that is refused or lost counts as "lost": to Postfix that is 451."""

    def __init__(self, socket_path, aliases, n=4, unknown=None, pause=0.0):
        self.path, self.aliases, self.unknown, self.pause = socket_path, aliases, unknown, pause
        self.answers, self.finished, self.longest = Counter(), Counter(), 0.0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(n)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)

    def _note(self, what, status, seconds=0.0):
        with self.lock:
            self.answers[(what, status)] += 1
            self.longest = max(self.longest, seconds)

    def _run(self, i):
        number = 0
        while not self.over.is_set():
            try:
                with MilterClient(self.path) as m:
                    m.socket.settimeout(20)
                    m.connect(f"192.0.2.{1 + i % 200}")
                    while not self.over.is_set():
                        self._message(m, f"s{i}-{number}@sender.example")
                        number += 1
                        time.sleep(self.pause)
            except (OSError, Closed):
                self._note(None, "lost")
                time.sleep(0.02)

    def _message(self, m, sender):
        m.mail(f"<{sender}>")
        accepted = []
        for alias in [*self.aliases, *([self.unknown] if self.unknown else [])]:
            begin = time.monotonic()
            status = m.rcpt(f"<{alias}>").status
            self._note(alias, status, time.monotonic() - begin)
            if status == "continue":
                accepted.append(alias)
        if not accepted:
            m.abort()
            return
        m.data()
        if m.eom().kind in ("continue", "accept"):
            with self.lock:
                self.finished.update(accepted)

    def statuses(self, alias):
        """What this recipient was answered, without connections that were lost."""
        with self.lock:
            return {status for (what, status) in self.answers if what == alias}

    def served(self, alias, status="continue"):
        with self.lock:
            return self.answers[(alias, status)]


def session(gate, recipient, client="192.0.2.1", timeout=20):
    """One RCPT in a session of its own: its answer, "lost" where there was none."""
    try:
        with MilterClient(gate.socket) as m:
            m.socket.settimeout(timeout)
            m.connect(client)
            m.mail()
            return m.rcpt(f"<{recipient}>").status
    except (OSError, Closed):
        return "lost"


def status(gate):
    """What `rcptgate status` says, parsed."""
    said = gate.command("status", "--json", check=None)
    return json.JSONDecoder().raw_decode(said)[0]  # what follows went to stderr


def troubles(gate):
    """What is wrong now, as text: "" when all is well."""
    report = status(gate)
    return json.dumps(report["reasons"] + report["notes"])
