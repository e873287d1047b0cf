"""Every test has a time limit."""

import pytest
from time_limit import time_limit

SECONDS = 600


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    with time_limit(SECONDS, item.name):
        yield
