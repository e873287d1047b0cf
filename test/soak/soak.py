"""One soak: victims at random while mail flows, and what held."""

import random
import time
from collections import Counter

import fault_table
from gauges import Gauges
from harness import Failure, Sink, wait_for
from house import Dropping, House
from victims import Victims

HEALTHY = 120.0  # seconds after the last victim, on a slow machine


class Soak:
    def __init__(self, options):
        self.seed, self.seconds = options.seed, options.minutes * 60
        self.events, self.began, self.mail = [], time.monotonic(), {}
        under = () if options.fault in (None, "dropping") else (
            "env", f"LD_PRELOAD={options.build}/test/soak/leak.so", f"LEAK={options.fault}")
        self.house = House(self.seed, Dropping if options.fault == "dropping" else Sink, under)
        self.chance = random.Random(self.seed)
        self.scale = min(1.0, max(0.2, options.minutes / 10))
        self.gauges = Gauges(self.house, self.now)
        self.victims = Victims(self.house, self.chance, self.scale, self._spared)

    def now(self):
        return time.monotonic() - self.began

    def _spared(self):
        """The second gate for a sixth of the run (or a minute), then the first, and so on."""
        return self.house.gates[(1 + int(self.now() / max(60, self.seconds / 6))) % 2]

    def play(self):
        """What did not hold, a line each."""
        failures = []
        for step in (self._torment, self._recover, self._account):
            try:
                step()
            except Exception as trouble:  # noqa: a victim that cannot be struck, too, is told with its seed
                failures.append(f"{type(trouble).__name__}: {trouble}")
        self.gauges.stop()
        failures += [f"a sender failed: {sender.trouble!r}" for sender in self.house.senders if sender.trouble]
        failures += [f"without proof: {what}" for what in self.house.wrong()]
        refused = fault_table.row.answers["550"]  # others are Postfix's own
        if refused > self.house.proven():
            failures.append(f"{refused} recipients were answered 550, and the gates said so {self.house.proven()} times only")
        return failures + self.gauges.leaks()

    def _torment(self):
        while self.now() < self.seconds:
            time.sleep(self.chance.uniform(5, 30) * self.scale)
            if self.house.wrong():
                break
            name = self.victims.next()
            self.events.append((round(self.now(), 1), name))
            getattr(self.victims, name)()

    def _recover(self):
        """All is healthy again, and a message is taken by each way."""
        try:
            wait_for(lambda: not self.house.unhealthy(), "", HEALTHY)
        except Failure:
            raise Failure(f"not healthy {HEALTHY:.0f} s after the last victim: {self.house.unhealthy()}") from None
        self.events.append((round(self.now(), 1), "all healthy"))
        for postfix in self.house.postfixes:
            before = len(postfix.ledger.messages)
            wait_for(lambda: len(postfix.ledger.messages) > before, "no message is taken after the last victim")

    def _account(self):
        self.mail = self.house.quiet()

    def story(self, failures):
        """Everything, as plain data."""
        return {
            "seed": self.seed, "minutes": self.now() / 60, "events": self.events, "failures": failures, "mail": self.mail,
            "victims": dict(Counter(what for _, what in self.events if what != "all healthy")),
            "answers": dict(sorted(fault_table.row.answers.items())), "proven": self.house.proven(), "wrong": len(self.house.wrong()),
            "samples": [sample._asdict() for sample in self.gauges.samples], "answered": self.gauges.answers,
            "growth": [{"gate": first.gate, "gauge": gauge, "minutes": minutes, "low": low, "high": high, "most": most}
                       for first, gauge, minutes, low, high, most in self.gauges.growth()],
        }
