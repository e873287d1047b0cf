"""The world's own books: what was asked, answered, ended and given back, what the owner of the data wrote, and what broke when.

Times are of the monotonic clock. An answer lies somewhere between `asked` and `answered`."""

import time

FOREVER = float("inf")


class Rcpt:
    """One RCPT. code: "continue" or the reply's class and enhanced code; None: no answer ever came."""

    __slots__ = ("asked", "answered", "code", "gate", "client", "sender", "raw", "message", "dropped", "actor", "text", "index", "known")

    def __init__(self, asked, gate, client, sender, raw, message, actor):
        self.asked, self.gate, self.client, self.sender, self.raw = asked, gate, client, sender, raw
        self.message, self.actor = message, actor
        self.answered, self.code, self.text, self.dropped, self.known = FOREVER, None, "", False, None

    def hard(self):
        return self.code is not None and self.code[0] == "5"

    def soft(self):
        return self.code is not None and self.code[0] == "4"


class Message:
    """One transaction. ended: when its end was sent; end: what the gate said to it; released: when the gate learned that it ends early."""

    __slots__ = ("rcpts", "declared", "size", "ended", "end_answered", "end", "released", "changes", "gate", "begun")

    def __init__(self, gate, declared):
        self.gate, self.declared, self.rcpts, self.size, self.begun = gate, declared, [], 0, time.monotonic()
        self.ended = self.end_answered = self.released = FOREVER
        self.end, self.changes = None, []

    def taken(self):
        """It certainly reached its end: the gate said so."""
        return self.end in ("continue", "accept")


class Strike:
    """A fault, or an act of the owner. end is FOREVER while it is in force; settled: from when on nothing of it may show any more."""

    def __init__(self, kind, begin, **facts):
        self.kind, self.begin, self.end, self.facts = kind, begin, FOREVER, facts
        self.named = None  # what `status` said while it was in force

    def touches(self, begin, end, after=0.0):
        return self.begin <= end and self.end + after >= begin


class Versions:
    """States of one thing over time: each is there for certain from `until` on, and may be seen from `begin` on."""

    def __init__(self, first):
        self.states = [(0.0, 0.0, first)]

    def now(self):
        return self.states[-1][2]

    def add(self, begin, done, state):
        self.states.append((begin, done, state))

    def seen(self, begin, end, lag=0.0):
        """Those that an answer between these times can stand on; the newest first."""
        found = []
        for i in range(len(self.states) - 1, -1, -1):
            first, _, state = self.states[i]
            gone = self.states[i + 1][1] if i + 1 < len(self.states) else FOREVER
            if first <= end and gone + lag >= begin:
                found.append((i, state))
            elif gone + lag < begin:
                break
        return found


class Books:
    def __init__(self, rules, limits, loop):
        self.loop = loop
        self.rules, self.limits = Versions(rules), Versions(limits)
        self.rcpts, self.messages, self.strikes, self.connects, self.sessions = [], [], [], [], []
        self.counters, self.closed = None, FOREVER  # {key: {limit: text}} as Redis holds it when all is over

    def strike(self, kind, **facts):
        strike = Strike(kind, time.monotonic(), **facts)
        self.strikes.append(strike)
        return strike
