"""A test that hangs is ended before ctest would kill everything: its fixtures still clean up."""

import signal
from contextlib import contextmanager


@contextmanager
def time_limit(seconds, name):
    """Raises TimeoutError in the main thread where what stands within takes longer."""
    def ring(_number, _frame):
        raise TimeoutError(f"{name} took more than {seconds} s")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
