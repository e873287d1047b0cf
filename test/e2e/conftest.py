"""A test that hangs is ended before ctest would kill everything: its fixtures still clean up."""

import signal

import pytest

SECONDS = 240


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
