"""What the incidents share: a run with its clock and its parts, senders that come back, services that can be broken.

An incident is played twice, each time in a Run of its own with real parts from the end-to-end harness. Times are seconds
since the run began. A Run measures while it lasts and tells everything afterwards as plain data (Run.story).
"""

import heapq
import itertools
import os
import random
import socketserver
import sqlite3
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import Closed, Database, Failure, Postfix, Process, Scratch, Sink, SinkHandler, Smtp, Web, wait_for

LOST = 0  # in the place of an SMTP code: no answer


# ------------------------------------------------------------------------------------------------------ a run

class Run:
    """One of the two runs of an incident. Everything that was given to own() ends with it."""

    def __init__(self, build, seconds, sink=Sink):
        self.build, self.seconds = build, seconds
        self.parts = ExitStack()
        self.scratch = Scratch()
        self.parts.callback(self.scratch.remove)
        self.sink = self.own(sink(self.scratch))
        self.database = Database(self.scratch)
        self.database.domain("example.com")
        self.postfix = None
        self.streams, self.strips, self.depth = [], {}, []
        self.began = time.monotonic()

    def own(self, part):
        self.parts.callback(part.stop)
        return part

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.parts.close()

    def begin(self, postfix):
        """The clock starts now, and the queue of this Postfix is watched until the end."""
        self.postfix = self.own(postfix)
        self.began = time.monotonic()
        for stream in self.streams:
            stream.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self):
        return time.monotonic() - self.began

    def until(self, second):
        time.sleep(max(0.0, second - self.now()))

    def at(self, second, what, *words):
        """what(*words) at that time, in a thread."""
        thread = threading.Thread(target=lambda: (self.until(second), what(*words)), daemon=True)
        thread.start()
        return thread

    def queued(self):
        """Messages in Postfix's queue. Files move while they are counted: what vanishes meanwhile is not there."""
        return sum(len(files) for name in ("incoming", "active", "deferred")
                   for _, _, files in os.walk(self.postfix.spool / name))

    def _watch(self):
        while self.now() < self.seconds:
            self.depth.append((self.now(), self.queued(), sum(stream.waiting() for stream in self.streams)))
            time.sleep(0.2)

    def note(self, strip, state):
        self.strips.setdefault(strip, []).append((self.now(), state))

    def finish(self, settle=False):
        """Waits for the end, then nobody sends any more. settle: not before every letter has its answer and the queue is empty."""
        self.until(self.seconds)
        if settle:
            wait_for(lambda: not any(stream.waiting() for stream in self.streams), "a letter is still at its sender")
            self.postfix.idle()
        for stream in self.streams:
            stream.stop()
        return self.story()

    def story(self):
        arrived = {}
        for delivery in self.sink.deliveries:
            arrived.setdefault(delivery.token, delivery.at - self.began)
        letters = [letter.tell(arrived) for stream in self.streams if stream.retry for letter in stream.letters
                   if letter.begun < self.seconds - 1]
        for stream in self.streams:
            if stream.strip:
                self.strips.setdefault(stream.strip, []).extend(answer for letter in stream.letters for answer in letter.answers)
        return {"seconds": self.seconds, "letters": sorted(letters, key=lambda row: row["begun"]),
                "depth": self.depth, "strips": self.strips}


# ---------------------------------------------------------------------------------------------------- senders

class Letter:
    """One message on its way, and what it was answered each time: (second when it was sent, code)."""

    numbers = itertools.count()

    def __init__(self, begun, recipient, client):
        self.begun, self.recipient, self.client = begun, recipient, client
        self.token = f"letter-{next(self.numbers)}"
        self.answers = []

    def over(self):
        return bool(self.answers) and self.answers[-1][1] // 100 in (2, 5)

    def tell(self, arrived):
        at = arrived.get(self.token)
        codes = [code for _, code in self.answers]
        fate = "delivered" if at is not None else "refused" if codes and codes[-1] // 100 == 5 else "waiting"
        return {"begun": self.begun, "recipient": self.recipient, "fate": fate, "codes": codes,
                "delay": at - self.begun if at is not None else None}


class Stream:
    """Letters that set out on a timetable, so many a second, through Postfix. What is put off comes back after `retry`
    seconds; retry None: it never does (a flood; such letters are not drawn). strip: draw the answers under this name."""

    def __init__(self, run, recipients, rate, begin=0.0, end=None, retry=2.0, client=None, strip=None, workers=8, patience=90):
        self.run, self.retry, self.strip, self.patience = run, retry, strip, patience
        end = run.seconds - 1 if end is None else end
        self.letters = [Letter(begin + i / rate, recipients[i % len(recipients)], client or f"192.0.2.{1 + i % 250}")
                        for i in range(int((end - begin) * rate))]
        self.heap = [(letter.begun, i, letter) for i, letter in enumerate(self.letters)]
        self.ready, self.stopped = threading.Condition(), False
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        run.streams.append(self)

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped = True
        with self.ready:
            self.ready.notify_all()
        for thread in self.threads:
            thread.join(1)  # one that waits for an answer is left behind

    def waiting(self):
        """Letters that have set out and are still at their senders."""
        now = self.run.now()
        return sum(letter.begun <= now and not letter.over() for letter in self.letters) if self.retry else 0

    def _next(self):
        with self.ready:
            while not self.stopped:
                ahead = self.heap[0][0] - self.run.now() if self.heap else 1.0
                if ahead <= 0:
                    return heapq.heappop(self.heap)
                self.ready.wait(ahead)
        return None

    def _work(self):
        while (entry := self._next()) is not None:
            due, number, letter = entry
            at = self.run.now()
            if not self.retry and at > due + 1:
                continue  # a flood is as fast as its sessions let it be
            code = self._send(letter)
            letter.answers.append((at, code))
            if self.retry and not letter.over():
                with self.ready:
                    heapq.heappush(self.heap, (self.run.now() + self.retry, number, letter))
                    self.ready.notify()

    def _send(self, letter):
        try:
            with Smtp(self.run.postfix, letter.client, patience=self.patience) as smtp:
                if smtp.banner.code != 220:
                    return smtp.banner.code
                answers, end = smtp.send([letter.recipient], token=letter.token)
                return end.code if end else answers[0].code
        except (OSError, Closed):
            return LOST


# --------------------------------------------------------------------------------------------------- services

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


class LookupService:
    """A table that Postfix asks over the network (socketmap_table(5)). find(key): a value, None, or an OSError when the
    service cannot tell."""

    class _Handler(socketserver.StreamRequestHandler):
        def handle(self):
            try:
                while size := self._size():
                    _, _, key = self.rfile.read(size).decode().partition(" ")
                    self.rfile.read(1)
                    answer = self.server.answer(key)
                    self.wfile.write(b"%d:%s," % (len(answer), answer))
            except OSError:
                pass  # Postfix hung up

        def _size(self):
            digits = b""
            while (byte := self.rfile.read(1)) not in (b":", b""):
                digits += byte
            return int(digits or 0)

    class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 128

    def __init__(self, path, find):
        self.path, self.find = path, find
        self.server = self._Server(str(path), self._Handler)
        self.server.answer = self._answer
        path.chmod(0o777)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, key):
        try:
            value = self.find(key)
        except OSError as trouble:
            return f"TEMP {trouble}".encode()
        return b"NOTFOUND " if value is None else f"OK {value}".encode()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


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

    def __init__(self, run, web, path, strip="the status page says"):
        self.run, self.web, self.path, self.strip, self.stopped = run, web, path, strip, False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self.stopped and self.run.now() < self.run.seconds:
            try:
                code = self.web.ask(self.path)[0].status
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


# ---------------------------------------------------------------------------------------------- what was seen

def codes(story, strip, begin=0.0, end=1e9):
    """What a strip shows between two times."""
    return [code for at, code in story["strips"][strip] if begin <= at < end]


def share(values, good):
    return sum(map(good, values)) / len(values) if values else 0.0


def delays(story, begin=0.0, end=1e9):
    """Of the letters that set out between two times, sorted; one that did not arrive counts until the end of the run."""
    return sorted(letter["delay"] if letter["fate"] == "delivered" else story["seconds"] - letter["begun"]
                  for letter in story["letters"] if begin <= letter["begun"] < end)


def median(values):
    return values[len(values) // 2]


def count(story, fate):
    return sum(letter["fate"] == fate for letter in story["letters"])


def deepest(story):
    return max(queued for _, queued, _ in story["depth"])
