"""The harness is that of the end-to-end tests, but every gate has a witness in front of it and every Postfix has mail. A row fails
when it saw a wrong 5xx, lost a message or let a session wait too long, whatever it asks itself."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import harness
import post
import witness

harness.Gate, harness.MilterClient = witness.Gate, witness.MilterClient
harness.World.timeout = "2s"  # Postfix waits for 3 s here
harness.Postfix, harness.Smtp, harness.Database = post.Postfix, post.Smtp, post.Database

import fault_table
from time_limit import time_limit

SECONDS = 800
LONGEST_MS = 500  # a session waits in rows 26 to 47; those before have a shorter bound of their own


@pytest.fixture(autouse=True)
def judged():
    """What the witnesses saw; the last of the fixtures to end."""
    witness.fronts.clear()
    yield
    row, wrong = fault_table.row, []
    for front in witness.fronts.values():
        front.stop()
        row.answers.update(front.answers)
        row.proven += front.proven
        wrong += front.wrong
    row.wrong = len(wrong)
    if wrong:
        raise harness.Failure("wrong: " + "; ".join(wrong[:10]))
    if row.row in range(26, 48) and not harness.SANITIZED and (row.longest_ms or 0) > 2 * LONGEST_MS:
        raise harness.Failure(f"a session waited {row.longest_ms:.0f} ms")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    outcome = "skipped: " + report.longrepr[2] if report.skipped else report.outcome
    if outcome != "passed":
        item.outcome = outcome
    if call.when == "teardown":
        fault_table.row.outcome = getattr(item, "outcome", "passed")
        fault_table.row.write()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    found = re.match(r"test_row(\d+)_(.+)", item.name)
    fault_table.row = fault_table.Row(*([int(found.group(1)), found.group(2).replace("_", " ")] if found else []))
    with time_limit(SECONDS, item.name):
        yield
