"""One thread, many milter sessions: generators that wait for answers or for time, over non-blocking sockets.

A generator yields a number (seconds to sleep) or a Wire (to get its next packet). How late the loop itself was is kept: no answer is
called slow for that."""

import heapq
import itertools
import selectors
import socket
import struct
import time
from bisect import bisect_left

LATE = 0.01  # seconds from which on the loop's own lateness is kept


class Gone(Exception):
    """The other side closed, or is not there."""


class Loop:
    def __init__(self):
        self.selector, self.timers, self.number = selectors.DefaultSelector(), [], itertools.count()
        self.busy_when, self.busy = [], []  # when the loop did something else for long, and how long
        self.tasks, self.trouble = set(), None

    def spawn(self, task):
        self.tasks.add(task)
        self._step(task, None)

    def _step(self, task, value, error=None):
        try:
            wish = task.throw(error) if error else task.send(value)
        except StopIteration:
            self.tasks.discard(task)
            return
        except Gone:
            self.tasks.discard(task)
            return
        if isinstance(wish, Wire):
            wish.waiter = task
            if wish.packets or wish.closed:
                self.later(0, task, wish)
        else:
            self.later(wish, task, None)

    def later(self, delay, task, wire):
        heapq.heappush(self.timers, (time.monotonic() + delay, next(self.number), task, wire))

    def deliver(self, wire):
        """Gives the waiting task its packet, or the bad news."""
        task = wire.waiter
        if task is None or not (wire.packets or wire.closed):
            return
        wire.waiter = None
        if wire.packets:
            self._step(task, wire.packets.pop(0))
        else:
            self._step(task, None, Gone())

    def run(self, until):
        """Until that time, or until nothing is left to do."""
        while self.tasks and (now := time.monotonic()) < until:
            wait = max(0.0, min(self.timers[0][0] if self.timers else until, until) - now)
            ready = self.selector.select(min(wait, 0.05))
            began = time.monotonic()
            self._note(began, began - now - min(wait, 0.05))
            for key, mask in ready:
                key.data.handle(mask)
            self._ring()
            self._note(time.monotonic(), time.monotonic() - began)

    def _ring(self):
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            _, _, task, wire = heapq.heappop(self.timers)
            if wire is not None:
                self.deliver(wire)
            elif task in self.tasks:
                self._step(task, None)

    def _note(self, when, seconds):
        if seconds > LATE:
            self.busy_when.append(when)
            self.busy.append(seconds)

    def noise(self, begin, end):
        """Seconds in that span that the loop was not there to see an answer."""
        first = bisect_left(self.busy_when, begin)
        return sum(self.busy[i] for i in range(first, len(self.busy)) if self.busy_when[i] - self.busy[i] <= end)


class Wire:
    """A non-blocking unix socket. framing: "milter" (length and packet) or "line"."""

    def __init__(self, loop, path, framing="milter"):
        self.loop, self.framing, self.buffer, self.out = loop, framing, b"", b""
        self.packets, self.waiter, self.closed = [], None, False
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setblocking(False)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise Gone() from None
        loop.selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self, data):
        self.out += data
        self._flush()

    def _flush(self):
        if self.closed:
            return
        try:
            self.out = self.out[self.socket.send(self.out):] if self.out else b""
        except BlockingIOError:
            pass
        except OSError:
            self._end()
            return
        want = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)
        if self.loop.selector.get_key(self.socket).events != want:
            self.loop.selector.modify(self.socket, want, self)

    def handle(self, mask):
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ and not self.closed:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self.buffer += data
            self._cut()
            if not data:
                self._end()
        self.loop.deliver(self)

    def _cut(self):
        if self.framing == "line":
            *lines, self.buffer = self.buffer.split(b"\n")
            self.packets += lines
            return
        while len(self.buffer) >= 4 and len(self.buffer) >= 4 + (size := struct.unpack_from("!I", self.buffer)[0]):
            self.packets.append((self.buffer[4:5], self.buffer[5:4 + size]))
            self.buffer = self.buffer[4 + size:]

    def _end(self):
        if not self.closed:
            self.closed = True
            self.loop.selector.unregister(self.socket)
            self.socket.close()
        if self.waiter is not None and not self.packets:
            self.loop.later(0, self.waiter, self)

    def close(self):
        self.waiter = None
        self._end()


def frame(command, data=b""):
    return struct.pack("!I", len(data) + 1) + command + data
