"""What the incidents share: a run with its clock and its parts, senders that come back, and how what was seen is summed up.

An incident is a module: PROMISE, TITLE, SIDES (headings of the two runs), Times (when what happens, and the spans that are
shaded), play(build, times, guarded) -> story, judge(before, after, times) -> claims, caption(before, after, times). It is
played twice, each time in a Run of its own with real parts from the end-to-end harness. Times are seconds since the run
began. A Run measures while it lasts and tells everything afterwards as plain data (Run.story).
"""

import heapq
import itertools
import os
import threading
import time
from contextlib import ExitStack

from harness import Closed, Database, Gate, Scratch, Sink, Smtp, wait_for

LOST = 0  # in the place of an SMTP code: no answer
HUNG = 2.5  # seconds without an answer that are drawn as such


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
        self.streams, self.strips, self.depth, self.over = [], {}, [], False
        self.began = time.monotonic()

    def own(self, part):
        self.parts.callback(part.stop)
        return part

    def gate(self, url, timeout="1s", **policy):
        """A gate with the alias rules of this run, whose counters are at url."""
        return self.own(Gate(self.scratch, {"counters": {"url": url, "timeout": timeout},
                                            "aliases": {"database": str(self.database.path)}, **policy}))

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

    def queued(self):
        """Messages in Postfix's queue. Files move while they are counted: what vanishes meanwhile is not there."""
        return sum(len(files) for name in ("incoming", "active", "deferred")
                   for _, _, files in os.walk(self.postfix.spool / name))

    def _watch(self):
        while not self.over:
            self.depth.append((self.now(), self.queued(), sum(stream.waiting() for stream in self.streams)))
            time.sleep(0.2)

    def note(self, strip, state):
        self.strips.setdefault(strip, []).append((self.now(), state))

    def finish(self, settle=False):
        """Waits for the end, then nobody sends any more. settle: not before every letter has its answer and the queue is empty."""
        self.until(self.seconds)
        wait_for(lambda: not any(stream.heap for stream in self.streams if stream.whole), "a flood does not end")
        self.over = True
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
        hung = {}
        for stream in self.streams:
            if stream.strip:
                answers = [answer for letter in stream.letters for answer in letter.answers]
                self.strips.setdefault(stream.strip, []).extend((at, code) for _, at, code in answers)
                hung.setdefault(stream.strip, []).extend((sent, at) for sent, at, _ in answers if at - sent > HUNG)
        return {"seconds": self.seconds, "letters": sorted(letters, key=lambda row: row["begun"]),
                "depth": self.depth, "strips": self.strips, "hung": hung}


# ---------------------------------------------------------------------------------------------------- senders

class Letter:
    """One message on its way, and what it was answered each time: (when it was sent, when answered, code)."""

    numbers = itertools.count()

    def __init__(self, begun, recipient, client):
        self.begun, self.recipient, self.client = begun, recipient, client
        self.token = f"letter-{next(self.numbers)}"
        self.answers = []

    def over(self):
        return bool(self.answers) and self.answers[-1][2] // 100 in (2, 5)

    def tell(self, arrived):
        at = arrived.get(self.token)
        codes = [code for _, _, code in self.answers]
        fate = "delivered" if at is not None else "refused" if codes and codes[-1] // 100 == 5 else "waiting"
        return {"begun": self.begun, "recipient": self.recipient, "fate": fate, "codes": codes,
                "delay": at - self.begun if at is not None else None}


class Stream:
    """Letters that set out on a timetable, so many a second, through Postfix. What is put off comes back after `retry`
    seconds; retry None: it never does (a flood; such letters are not drawn), and what is late does not set out, unless it is to be
    sent whole. strip: draw the answers under this name."""

    def __init__(self, run, recipients, rate, begin=0.0, end=None, retry=2.0, client=None, strip=None, workers=8, patience=90, whole=False):
        self.run, self.retry, self.strip, self.patience, self.whole = run, retry, strip, patience, whole
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
            sent = self.run.now()
            if not self.retry and not self.whole and sent > due + 1:
                continue  # a flood is as fast as its sessions let it be
            code = self._send(letter)
            letter.answers.append((sent, self.run.now(), code))
            if self.retry and not letter.over():
                with self.ready:
                    heapq.heappush(self.heap, (self.run.now() + self.retry, number, letter))
                    self.ready.notify()

    def _send(self, letter):
        try:
            with Smtp(self.run.postfix, letter.client, patience=self.patience) as smtp:
                if smtp.banner.code != 220:
                    return smtp.banner.code
                # a sender of its own for each client: what one is refused lets nobody else in as a retry
                answers, end = smtp.send([letter.recipient], f"bob@{letter.client}.sender.example", letter.token)
                return end.code if end else answers[0].code
        except (OSError, Closed):
            return LOST


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


def all_taken_at_once(story):
    """Was every letter taken at its first try, and delivered?"""
    return count(story, "delivered") == len(story["letters"]) and all(letter["codes"] == [250] for letter in story["letters"])


def deepest(story):
    return max(queued for _, queued, _ in story["depth"])
