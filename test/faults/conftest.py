"""The harness is that of the end-to-end tests; a test that hangs is ended while its fixtures can still clean up."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import fault_table
import harness

SECONDS = 800
LAST_TIMED_ROW = 47  # later rows are about those who ask, and have no longest wait


class Longest:
    """The longest decision of the gates that a test has stopped, for its row of the table."""

    ms, wanted = None, False

    @classmethod
    def look(cls, gate):
        try:
            ms = gate.status()["traffic"]["decision_max_ms"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # it had ended, or is no gate
        cls.ms = max(ms, cls.ms or 0)


if os.environ.get("RCPTGATE_FAULT_TABLE"):
    _stop = harness.Gate.stop

    def _look_and_stop(self, *words, **more):
        if Longest.wanted and self.process is not None and self.process.alive():
            Longest.look(self)
        return _stop(self, *words, **more)

    harness.Gate.stop = _look_and_stop


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A row that says nothing of itself is in the table all the same."""
    outcome = yield
    found = re.match(r"test_row(\d+)_(\w+)", item.name)
    if call.when == "setup":
        Longest.ms = None
        Longest.wanted = found is not None and int(found.group(1)) <= LAST_TIMED_ROW
        fault_table.recorded.clear()
    if call.when != "call" or not found or fault_table.recorded:
        return
    row = int(found.group(1))
    if os.environ.get("RCPTGATE_FAULT_TABLE") and Longest.wanted:
        for value in item.funcargs.values():
            Longest.look(getattr(value, "gate", None))
    report = outcome.get_result()
    fault_table.record(row, item.name[len(found.group(0)) - len(found.group(2)):].replace("_", " "),
                       "as it must be" if report.passed else "skipped" if report.skipped else "WRONG",
                       Longest.ms if Longest.wanted else None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    def ring(_number, _frame):
        raise TimeoutError(f"{item.name} took more than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
