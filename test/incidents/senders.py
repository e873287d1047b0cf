"""The herd, in a process of its own: hosts that each have letters for many aliases, and send all that is left in one session.

    senders.py ADDRESS:PORT HOSTS LETTERS ALIASES SPREAD RETRY

Host h has LETTERS letters, to aliases h*LETTERS and following (modulo ALIASES). Its first attempt is at a time of its own
within SPREAD seconds, the next RETRY seconds after the last, until nothing is left. Prints a line a session: when it ended
(CLOCK_MONOTONIC), which host it was, how many letters were taken, put off, refused for good. Goes on until it is ended.
"""

import heapq
import sys
import threading
import time
from collections import Counter, namedtuple
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from harness import Closed, Smtp  # noqa: E402

THREADS = 16
Place = namedtuple("Place", "address port")


class Host:
    def __init__(self, number, letters, aliases):
        self.client = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
        self.sender = f"list@host{number}.example"
        self.left = [f"busy{(number * letters + i) % aliases}@example.com" for i in range(letters)]

    def attempt(self, place):
        """One session; how many letters got which class of answer. What was not put off is not left."""
        told = Counter()
        try:
            with Smtp(place, self.client) as smtp:
                smtp.mail(self.sender)
                smtp.socket.sendall("".join(f"RCPT TO:<{address}>\r\n" for address in self.left).encode())
                classes = [smtp.read().code // 100 for _ in self.left]
                if 2 in classes and smtp.data("herd").code != 250:
                    return told
        except (OSError, Closed):
            return told  # all is left
        self.left = [address for address, kind in zip(self.left, classes) if kind == 4]
        return Counter(classes)


class Herd:
    def __init__(self, place, hosts, letters, aliases, spread, retry):
        self.place, self.retry = place, retry
        self.lock = threading.Lock()
        begin = time.monotonic()
        self.heap = [(begin + spread * i / hosts, i, Host(i, letters, aliases)) for i in range(hosts)]

    def _next(self):
        """The next host, when its time has come; None when nobody is left."""
        with self.lock:
            entry = heapq.heappop(self.heap) if self.heap else None
        if entry is not None:
            time.sleep(max(0.0, entry[0] - time.monotonic()))
        return entry

    def _work(self):
        while (entry := self._next()) is not None:
            _, number, host = entry
            told = host.attempt(self.place)
            with self.lock:
                print(f"{time.monotonic():.3f} {number} {told[2]} {told[4]} {told[5]}", flush=True)
                if host.left:
                    heapq.heappush(self.heap, (time.monotonic() + self.retry, number, host))

    def run(self):
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    address, _, port = sys.argv[1].rpartition(":")
    Herd(Place(address, int(port)), *map(int, sys.argv[2:5]), *map(float, sys.argv[5:])).run()
