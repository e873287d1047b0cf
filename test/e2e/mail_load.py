"""Mail that comes as fast as it is taken, and the account of it."""

import threading
import time
from bisect import bisect_left

from harness import Failure, MilterClient, wait_for


def code(answer):
    return (answer.status or "250").split()[0] if answer.kind != "continue" else "250"


THREADS = 4  # so many charges may be under way when a fault meets them


class Load:
    """Threads that send mail, one message after the other, until they are stopped or (most) each has sent so many. Every recipient is a line of `sent`:
    (when it was asked, when it was answered, recipient, code)."""

    def __init__(self, gates, recipients, threads=THREADS, most=10**9):
        self.gates, self.recipients, self.most, self.sent = gates, recipients, most, []
        self.stopped = threading.Event()
        self.trouble = None
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        try:
            with MilterClient(self.gates[number % len(self.gates)].socket) as m:
                m.connect(f"198.18.0.{number + 1}")
                for i in range(number, self.most * len(self.threads), len(self.threads)):
                    if self.stopped.is_set():
                        return
                    self._send(m, self.recipients[i % len(self.recipients)])
        except Exception as trouble:  # noqa: handed to who stops it
            self.trouble = trouble

    def _send(self, m, recipient):
        m.mail()
        began = time.monotonic()
        answer = m.rcpt(f"<{recipient}>")
        self.sent.append((began, time.monotonic(), recipient, code(answer)))
        m.finish(answer)

    def flows(self, n=100):
        """Waits until n more were sent, and some to each."""
        before = len(self.sent)
        wait_for(lambda: len(self.sent) > before + n and {r for _, _, r, _ in self.sent} >= set(self.recipients), "no load")

    def ends(self):
        """Waits until all is sent."""
        for thread in self.threads:
            thread.join(60)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)
        if self.trouble:
            raise self.trouble
        return self.sent

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()


def taken(sent):
    """How many of each recipient were let in."""
    counts = {}
    for _, _, recipient, said in sent:
        counts[recipient] = counts.get(recipient, 0) + (said == "250")
    return counts


def worst_span(times, window):
    """The most that were let in within any span of so many seconds. times: (asked, answered) of each that was let in. When in between the
    gate counted it is not known: it is in a span for certain if both are."""
    asked, answered = sorted(a for a, _ in times), sorted(b for _, b in times)
    longer = [(a, b) for a, b in times if b - a >= window]
    return max((bisect_left(answered, at + window) - i + sum(a < at and b >= at + window for a, b in longer) for i, at in enumerate(asked)), default=0)


def counted(used, bounds):
    """Waits until each recipient is counted within its bounds, {recipient: (least, most)}."""
    def others():
        now = {recipient: used(recipient) for recipient in bounds}
        return {r: f"{now[r]}, not {least} to {most}" for r, (least, most) in bounds.items() if not least <= now[r] <= most}

    try:
        wait_for(lambda: not others(), "", 20)
    except Failure:
        raise Failure(f"counted: {others()}") from None


def hard_answers_are_proven(sides, healed, before, most):
    """Who was refused for good met a limit that was full on that side, or, since the two are one again, on both together."""
    for side in sides:
        first = min((ended for _, ended, _, said in side if said == "550"), default=None)
        if first is not None:
            seen = [line for other in sides for line in other if other is side or first >= healed]
            full = before + sum(said == "250" for began, _, _, said in seen if began < first)
            assert full >= most, f"refused for good at {full}"
