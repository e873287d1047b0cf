"""The part that goes through a private Postfix with smtp-source: no milter, ours, and the peers."""

import os
import subprocess
import time

from contenders import cpu_of_tree
from harness import Postfix
from peers import PEERS
from report import at_least, at_most, median

# Nothing is delivered, and nothing is looked up but what is measured.
QUIET = {"virtual_transport": "discard:", "default_transport": "discard:", "maillog_file": "/dev/null", "maillog_file_prefixes": "/dev",
         "receive_override_options": "no_address_mappings"}
OURS = ("no milter", "empty", "naive", "gate1")
FEW = 20  # messages, at least


class NoSink:
    path = "/nonexistent"


class Ours:
    """A contender of ours in the shape of a peer (see peers.py)."""

    settings, door, about = {}, None, None

    def __init__(self, world, name):
        self.name = name
        self.process = None if name == "no milter" else world.milter(name).process
        self.milter = None if name == "no milter" else f"unix:{world.milter(name).socket}"

    def start(self, world, postfix):
        pass

    def stop(self):
        pass  # World's


class Lane:
    """A contender, its own Postfix, and where mail is sent so that it passes both."""

    def __init__(self, world, contender):
        self.contender, self.redis = contender, world.redis
        self.postfix = Postfix(world.scratch, contender.milter, NoSink, settings={**QUIET, **contender.settings},
                               name=f"postfix-{contender.name.replace(' ', '-')}")
        try:
            master = self.postfix.etc / "master.cf"
            master.write_text(master.read_text() + "discard unix - - n - - discard\n")
            subprocess.run(["postfix", "-c", self.postfix.etc, "reload"], check=True, capture_output=True)
            contender.start(world, self.postfix)
        except BaseException:
            self.stop()
            raise
        self.rate = 0

    def pids(self):
        """Whose CPU time is counted: the contender's and Redis's."""
        return [process.pid for process in (self.contender.process, self.redis.process) if process]

    def send(self, messages, *words):
        host, port = self.contender.door or (self.postfix.address, self.postfix.port)
        before, start = sum(map(cpu_of_tree, self.pids())), time.monotonic()
        done = subprocess.run(["smtp-source", "-s", str(min(20, messages)), "-m", str(messages), *words, "-f", "bob@sender.example",
                               "-t", "to@example.com", f"{host}:{port}"], capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"smtp-source through {self.contender.name}: {done.stderr.strip()[-300:]}")
        seconds = time.monotonic() - start
        self.rate = messages / seconds
        return {"messages": messages, "per_second": self.rate, "cpu_per_1000": (sum(map(cpu_of_tree, self.pids())) - before) * 1000 / messages,
                "load_average": os.getloadavg()[0]}

    def warm_up(self, seconds, *words):
        """Processes start, then the rate becomes known."""
        self.send(FEW, *words)
        self.measure(seconds / 4, *words)

    def measure(self, seconds, *words):
        """About so many seconds of mail, by what the last run took; the queue is empty before it begins."""
        self.postfix.idle()
        return self.send(max(FEW, round(self.rate * seconds)), *words)

    def stop(self):
        self.contender.stop()
        self.postfix.stop()


def lanes(world, results):
    """Whoever can be started; the others are named."""
    found = {name: Lane(world, Ours(world, name)) for name in OURS}
    for kind in PEERS:
        why = kind.missing(world.options)
        try:
            if why is None:
                found[kind.name] = Lane(world, kind(world))
                results.note(f"{kind.name}: {kind.about}")
        except (AssertionError, OSError, subprocess.CalledProcessError) as trouble:
            why = f"does not start: {trouble}"
        if why is not None:
            results.skip(kind.name, why)
    return found


def measure_rounds(world, found, part, results, *words):
    """{name: [result of each round]}; who fails once is left out from then on, and named."""
    got = {name: [] for name in found}
    broken = set()
    for i in range(-1, world.options.rounds):
        for name in list(found)[::1 if i % 2 == 0 else -1]:
            if name in broken:
                continue
            try:
                if i < 0:
                    found[name].warm_up(world.options.seconds, *words)
                else:
                    got[name].append(found[name].measure(world.options.seconds, *words))
            except AssertionError as trouble:
                broken.add(name)
                results.skip(f"{part}, {name} from round {i + 1} on", trouble)
    results.raw[part] = got
    return got


def ratios(got, name, base):
    """Both in the same round; a round that one of them did not finish does not count."""
    return [a["per_second"] / b["per_second"] for a, b in zip(got[name], got[base])]


def part_postfix(world, results):
    found = {}
    try:
        found = lanes(world, results)
        got = measure_rounds(world, found, "postfix", results)
        results.line("Postfix, smtp-source -s 20: messages/s, of those with the empty milter", ratios(got, "gate1", "empty"), **at_least(0.90))
        say_rates(results, "postfix", got)
        got = measure_rounds(world, found, "postfix-several", results, "-r", "5", "-d")
        rivals = [name for name, lane in found.items() if getattr(lane.contender, "at_rcpt", False) and got[name]]
        if rivals:
            best = max(rivals, key=lambda name: median([result["per_second"] for result in got[name]]))
            results.line(f"Postfix, 5 recipients, sessions kept: of {best}, best peer at RCPT", ratios(got, "gate1", best), **at_least(1))
        else:
            results.line("Postfix, 5 recipients, sessions kept: of no milter (policyd-rate-limit: 0.33)",
                         ratios(got, "gate1", "no milter"), **at_least(0.34))
        say_rates(results, "postfix-several", got)
        for name, rounds in got.items():
            text = "Postfix, 5 recipients: CPU of gate and Redis for 1,000 messages" if name == "gate1" else f"  {name} and Redis"
            results.line(text, [result["cpu_per_1000"] for result in rounds], unit="s", key=f"postfix-several/{name}/cpu",
                         **(at_most(0.85) if name == "gate1" else {}))
    finally:
        for lane in found.values():
            lane.stop()


def say_rates(results, part, got):
    for name, rounds in got.items():
        results.line(f"  {name}: messages/s", [result["per_second"] for result in rounds], key=f"{part}/{name}/rate")
        if name != "no milter":
            results.line(f"  {name}, of no milter", ratios(got, name, "no milter"), key=f"{part}/{name}/of-none")
