"""What each row of the fault matrix came to, for the table that test/faults/run prints at its end."""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field

import harness


@dataclass
class Row:
    """row: its number in the matrix, None for a test that is none; answers: codes that recipients were answered while it ran, on
    the wire; remark: what the row has to say of its own; longest_ms: the longest wait of a session inside the gate;
    recovered_s: from the end of the fault until all was as before; wrong: 5xx and drops without proof; recipients that were
    answered 250 at the end of the message: how many, and what became of them."""

    row: int | None = None
    what: str = ""
    outcome: str = "passed"
    remark: str = ""
    answers: Counter = field(default_factory=Counter)
    longest_ms: float | None = None
    recovered_s: float | None = None
    wrong: int = 0
    proven: int = 0
    taken: int = 0
    delivered: int = 0
    dropped: int = 0
    lost: int = 0

    def mail(self, lost, taken, delivered, dropped):
        self.lost += lost
        self.taken += taken
        self.delivered += delivered
        self.dropped += dropped

    def waited(self, ms):
        self.longest_ms = max(ms, self.longest_ms or 0)

    def recovered(self, seconds):
        self.recovered_s = max(seconds, self.recovered_s or 0)

    def write(self):
        """Without RCPTGATE_FAULT_TABLE nothing is kept."""
        path = os.environ.get("RCPTGATE_FAULT_TABLE")
        if path and self.row is not None:
            with open(path, "a", encoding="utf-8") as out:
                out.write(json.dumps(vars(self)) + "\n")  # one write: tests append side by side


row = Row()  # of the test that runs


def recovers(question, what, seconds=harness.PATIENCE):
    """wait_for(), called when the fault has just ended: the row keeps how long it took."""
    ended = time.monotonic()
    answer = harness.wait_for(question, what, seconds)
    row.recovered(time.monotonic() - ended)
    return answer


def record(number, what, remark="", longest_ms=None, recovered_s=None):
    """What the test that runs is in the table, where its name does not say it."""
    row.row, row.what, row.remark = number, what, remark
    if longest_ms is not None:
        row.waited(longest_ms)
    if recovered_s is not None:
        row.recovered(recovered_s)
