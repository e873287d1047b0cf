#!/usr/bin/python3
"""What a flood of one alias costs mail to others: the delay of mail to 100 aliases, from when it is offered until it is delivered,
beside as much mail from the same client that is spread over many aliases.

    test/faults/flood_delay.py [ROUNDS [SECONDS]]     measures, and prints (RCPTGATE: the program)

A round is both, one after the other, in an order that changes; a ratio is made within a round. Row 63 does the same with few rounds."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import harness

OTHERS = [f"o{i}@example.com" for i in range(100)]
SPREAD = [f"s{i}@example.com" for i in range(2000)]
FLOODER, RATE, CONNECTIONS = "203.0.113.1", 40, 10  # messages a second that are offered beside
PROBES_RATE, PROBE_CONNECTIONS = 20, 5
MAX, SOURCES = 60, 40  # of the flooded alias in a minute; its other sources
LIMITS = [
    {"name": "alias-minute", "per": "recipient", "max": MAX, "window": "1m",
     "share": {"of": "client", "max": "50%", "above": "50%"}},
    {"name": "flood", "per": ["recipient", "client"], "count": "attempts", "max": 100, "window": "1m", "over": "reject"},
]
POSTFIX = {"smtpd_error_sleep_time": "0s", "smtpd_soft_error_limit": "100", "smtpd_hard_error_limit": "200"}  # as README.md says


def schedule(rate, connections, seconds, work):
    """Calls work(connection, i) at the time when message i is due, from so many threads, each for the messages of its turn."""
    start = time.monotonic() + 0.2

    def run(connection):
        for i in range(connection, int(rate * seconds), connections):
            due = start + i / rate
            time.sleep(max(0.0, due - time.monotonic()))
            work(connection, i, due)

    harness.run_threads(connections, run)


class Connections:
    """SMTP sessions that are opened anew where Postfix has ended them."""

    def __init__(self, postfix, smtp_class, clients):
        self.postfix, self.smtp_class, self.clients = postfix, smtp_class, clients
        self.open = {}

    def send(self, number, recipient, sender, token):
        """The answer to the RCPT."""
        for _ in range(3):
            try:
                if number not in self.open:
                    self.open[number] = self.smtp_class(self.postfix, self.clients[number])
                answers, _ = self.open[number].send([recipient], sender=sender, token=token)
                if answers[0].code != 421:
                    return answers[0].code
            except (OSError, harness.Closed):
                pass
            self.open.pop(number).abandon()
        raise harness.Failure(f"no answer to {recipient}")

    def close(self):
        for smtp in self.open.values():
            smtp.close()


def offer(address, port, seconds, recipients):
    """The load, in a process of its own: prints how often each answer was given."""
    postfix = type("There", (), {"address": address, "port": int(port)})
    connections, answers = Connections(postfix, harness.Smtp, [FLOODER] * CONNECTIONS), Counter()

    def one(number, i, _due):
        answers[connections.send(number, recipients[i % len(recipients)], f"x{i}@flood.example", "load")] += 1

    schedule(RATE, CONNECTIONS, float(seconds), one)
    connections.close()
    print(json.dumps(answers))


class Stamped(list):
    """Deliveries, and when the first with each token came."""

    def __init__(self, before):
        super().__init__(before)
        self.when = {}

    def append(self, delivery):
        self.when.setdefault(delivery.token, time.monotonic())
        super().append(delivery)


class Measurement:
    def __init__(self, rounds, seconds):
        self.rounds, self.seconds, self.n = rounds, seconds, 0
        self.delays = {"spread": [], "flood": []}  # of each round
        self.answers = {"spread": Counter(), "flood": Counter()}
        self.accepted = []  # of the flooded alias from its other sources, in each round

    def run(self):
        with harness.World("redis", LIMITS, postfix=POSTFIX, counters={"timeout": "1s"}) as world:
            self.world = world
            with world.sink.server.lock:
                world.sink.server.deliveries = Stamped(world.sink.server.deliveries)
            world.database.aliases([*OTHERS, *SPREAD, *(f"flooded{i}@example.com" for i in range(self.rounds))])
            self._offered("spread", 0, 1)  # Postfix starts its processes
            for i in range(self.rounds):
                for kind in ("spread", "flood") if i % 2 == 0 else ("flood", "spread"):
                    self._offered(kind, i, self.seconds)
        return self

    def _offered(self, kind, i, seconds):
        """One half of a round."""
        world, victim = self.world, f"flooded{i}@example.com"
        there = [world.postfix.address, str(world.postfix.port), str(seconds)]
        load = subprocess.Popen([sys.executable, "-B", __file__, "offer", *there, json.dumps([victim] if kind == "flood" else SPREAD)],
                                stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(0.5)  # it is on its way
            sources = threading.Thread(target=self._sources, args=(victim,))
            if kind == "flood" and seconds > 1:
                sources.start()
            delays = self._probe(seconds)
            if sources.ident:
                sources.join()
            out, _ = load.communicate(timeout=60)
        finally:
            load.kill()
            load.wait()
        if seconds > 1:
            self.delays[kind].append(delays)
            self.answers[kind].update({int(code): n for code, n in json.loads(out).items()})

    def _sources(self, victim):
        harness.wait_for(lambda: self.world.used(victim, "alias-minute") >= MAX // 2, "the flood has all that it can get")
        answers = []
        for i in range(SOURCES):
            with harness.Smtp(self.world.postfix, f"192.0.2.{100 + i}") as smtp:
                answers.append(smtp.send([victim], token=f"source-{victim}-{i}")[0][0].code)
        self.accepted.append(answers.count(250))

    def _probe(self, seconds):
        """Mail to the others while it lasts; how long each message took."""
        self.n += 1
        due_at, world = {}, self.world
        connections = Connections(world.postfix, harness.Smtp, [f"192.0.2.{c + 1}" for c in range(PROBE_CONNECTIONS)])

        def one(number, i, due):
            due_at[f"probe-{self.n}-{i}"] = due
            code = connections.send(number, OTHERS[i % len(OTHERS)], f"y{i}@sender.example", f"probe-{self.n}-{i}")
            if code != 250:
                raise harness.Failure(f"mail to another alias was answered {code}")

        schedule(PROBES_RATE, PROBE_CONNECTIONS, seconds, one)
        connections.close()
        world.idle()
        arrived = world.sink.server.deliveries.when
        harness.wait_for(lambda: all(token in arrived for token in due_at), "all mail to others is delivered")
        return sorted(arrived[token] - due for token, due in due_at.items())

    # ---- what it came to

    @staticmethod
    def at(delays, share):
        return delays[min(len(delays) - 1, int(share * len(delays)))]

    def ratios(self, share):
        """Of the delay at that share of the messages, flood to spread, in each round."""
        return [self.at(flood, share) / self.at(spread, share) for flood, spread in zip(self.delays["flood"], self.delays["spread"])]

    def pooled(self, kind, share):
        return self.at(sorted(delay for delays in self.delays[kind] for delay in delays), share)

    def report(self):
        for name, share in (("median", 0.5), ("p99", 0.99)):
            ratios = self.ratios(share)
            spread, flood = (1000 * self.pooled(kind, share) for kind in ("spread", "flood"))
            yield (f"{name} delay of mail to {len(OTHERS)} other aliases: {spread:.1f} ms beside a spread load, {flood:.1f} ms beside the flood; "
                   f"ratio {statistics.median(ratios):.2f}, in the rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        for kind, answers in self.answers.items():
            yield f"the load, {kind}: " + ", ".join(f"{code} x {answers[code]}" for code in sorted(answers))
        yield f"from {SOURCES} other sources the flooded alias took {self.accepted} of {MAX} a minute"


if __name__ == "__main__":
    if sys.argv[1:2] == ["offer"]:
        offer(*sys.argv[2:5], json.loads(sys.argv[5]))
    else:
        words = [float(word) for word in sys.argv[1:]]
        for line in Measurement(int(words[0]) if words else 6, words[1] if len(words) > 1 else 5.0).run().report():
            print(line)
