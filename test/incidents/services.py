"""The services of the incidents: next hops with limits, tables and status pages as one writes them first, what breaks the
alias database. Each ends with stop().
"""

import os
import random
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import Process, Sink, SinkHandler, wait_for
from lab import LOST
from listener import Listener


class Mailboxes(Sink):
    """The next hop, with a soft limit of its own: after `most` messages a mailbox gets 450, each after a pause."""

    most, pause = 10, 1.0

    class handler(SinkHandler):
        def recipient(self, text, recipients):
            sink = self.server.sink
            with self.server.lock:
                address = text.partition("<")[2].partition(">")[0]
                sink.taken[address] = sink.taken.get(address, 0) + 1
                over = sink.taken[address] > sink.most
            if over:
                time.sleep(sink.pause)
                self.reply("450 4.2.1 this mailbox receives mail too fast")
            else:
                super().recipient(text, recipients)

    def __init__(self, scratch):
        self.taken = {}
        super().__init__(scratch)
        self.server.sink = self


class Paced(Sink):
    """A next hop that takes so many recipients a second, whoever they are."""

    rate = 1000

    class handler(SinkHandler):
        def take(self, sender, recipients):
            self.server.sink.wait_turn(len(recipients))
            super().take(sender, recipients)

    def __init__(self, scratch):
        self.free = 0.0
        super().__init__(scratch)
        self.server.sink = self

    def wait_turn(self, n):
        with self.server.lock:
            self.free = max(time.monotonic(), self.free) + n / self.rate
            turn = self.free
        time.sleep(max(0.0, turn - time.monotonic()))


class LookupService(Listener):
    """A table that Postfix asks over the network (socketmap_table(5)). find(key): a value, None, or an OSError when the
    service cannot tell."""

    def __init__(self, path, find):
        self.find = find
        self.listen(path)

    def serve(self, connection):
        with connection, connection.makefile("rb") as reader:
            try:
                while size := self._size(reader):
                    _, _, key = reader.read(size).decode().partition(" ")
                    reader.read(1)
                    answer = self._answer(key)
                    connection.sendall(b"%d:%s," % (len(answer), answer))
            except OSError:
                pass  # Postfix hung up

    @staticmethod
    def _size(reader):
        digits = b""
        while (byte := reader.read(1)) not in (b":", b""):
            digits += byte
        return int(digits or 0)

    def _answer(self, key):
        try:
            value = self.find(key)
        except OSError as trouble:
            return f"TEMP {trouble}".encode()
        return b"NOTFOUND " if value is None else f"OK {value}".encode()


class AlwaysWell:
    """The status page that one writes first: it says 200 as long as the process that serves it is alive."""

    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK\n")

        def log_message(self, *_):
            pass

    def __init__(self, web):
        self.server = ThreadingHTTPServer((web.address, web.port), self._Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Monitor:
    """Asks a status page four times a second, and notes what HTTP status it gave."""

    def __init__(self, run, web, strip):
        self.run, self.web, self.strip, self.stopped = run, web, strip, False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self.stopped and not self.run.over:
            try:
                code = self.web.ask("/healthz")[0].status
            except OSError:
                code = LOST
            self.run.note(self.strip, code)
            time.sleep(0.25)

    def stop(self):
        self.stopped = True


class Naive(Process):
    """The limiter that one writes in an afternoon (test/bench/milter_naive.c)."""

    def __init__(self, run, redis_socket, most=1000000, window=60):
        self.socket = run.scratch / "naive.sock"
        self.socket.unlink(missing_ok=True)
        super().__init__([run.build / "test/bench/milter_naive", f"unix:{self.socket}", redis_socket, run.database.path,
                          most, window], run.scratch / "naive.log")
        wait_for(self.socket.exists, "milter_naive does not open its socket")
        self.socket.chmod(0o777)

    @property
    def milter(self):
        return f"unix:{self.socket}"


def break_database(database):
    """Another file, which is no database, takes the place of the alias rules. Returns what puts the good one back."""
    good, bad = database.path.with_name("good.db"), database.path.with_name("bad.db")
    with sqlite3.connect(database.path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    bad.write_bytes(b"SQLite format 3\0" + random.Random(1).randbytes(8176))
    bad.chmod(0o666)
    os.link(database.path, good)
    os.replace(bad, database.path)
    return lambda: os.replace(good, database.path)
