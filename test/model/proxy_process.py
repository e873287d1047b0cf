"""The proxy of the fault tests in a process of its own, so that it does not wait for ours: modes come as lines, "delay 0.045".

usage: proxy_process.py SOCKET TARGET"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / room) for room in ("faults", "e2e")]

from proxy import Proxy

proxy = Proxy(sys.argv[1], sys.argv[2])
for line in sys.stdin:
    mode, _, seconds = line.strip().partition(" ")
    proxy.seconds = float(seconds or 0)
    proxy.mode = mode
    if mode == "close":
        proxy.mode = "pass"
        proxy.close_all()
