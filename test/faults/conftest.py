"""The harness is that of the end-to-end tests; a test that hangs is ended while its fixtures can still clean up."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

SECONDS = 800


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
