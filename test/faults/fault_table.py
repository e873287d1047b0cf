"""What each row of the fault matrix came to, for the table that test/faults/run prints at its end."""

import json
import os


recorded = []  # rows, of the test that runs


def record(row, what, answer, longest_ms=None, recovered_s=None):
    """row: the number in the matrix; answer: what mail was answered meanwhile; longest_ms: the longest wait of a session inside
    the gate; recovered_s: from the end of the fault until all was as before. Without RCPTGATE_FAULT_TABLE nothing is kept."""
    recorded.append(row)
    path = os.environ.get("RCPTGATE_FAULT_TABLE")
    if not path:
        return
    line = json.dumps({"row": row, "what": what, "answer": answer, "longest_ms": longest_ms, "recovered_s": recovered_s})
    with open(path, "a", encoding="utf-8") as out:
        out.write(line + "\n")  # one write: tests append side by side
