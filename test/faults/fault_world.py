"""A gate between a real Postfix and a real Redis, with a proxy before it, and mail that flows all the time; and what holds in every
row of the fault matrix that is about Redis."""

import json
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from fault_table import record
from harness import PATIENCE, Failure, MilterClient, Redis, Scratch, Sink, Postfix, Gate, Database, Smtp, wait_for
from proxy import Proxy

TIMEOUT_MS = 100
ALIAS = "a@example.com"
LIMITS = [
    {"name": "soft", "per": "recipient", "max": 10, "window": "1h", "over": "defer",
     "when": {"recipient_domain": "example.com"}},
    {"name": "hard", "per": "recipient", "max": 1000, "window": "1d", "over": "reject"},
    {"name": "tries", "per": "client", "count": "attempts", "max": 100000, "window": "1h", "over": "reject"},
]


class Flow:
    """Mail that flows all the time over connections of its own, to aliases that no limit stops."""

    def __init__(self, world, threads=2):
        self.world, self.stopping = world, threading.Event()
        self.lock = threading.Lock()
        self.answers, self.accepted, self.trouble = {}, [], None
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        try:
            with Smtp(self.world.postfix, f"198.51.100.{number + 1}") as smtp:
                sent = 0
                while not self.stopping.is_set():
                    token = f"flow-{number}-{sent}"
                    recipients = [f"f{(sent + i) % 50}@flow.example" for i in range(2)]
                    answers, done = smtp.send(recipients, token=token)
                    sent += 1
                    with self.lock:
                        for answer in [*answers, *([done] if done else [])]:
                            self.answers[answer.code] = self.answers.get(answer.code, 0) + 1
                        if done and done.code == 250:
                            self.accepted.append((token, sorted(r for r, a in zip(recipients, answers) if a.code == 250)))
                    time.sleep(0.01)
        except BaseException as trouble:  # noqa: told by stop()
            self.trouble = trouble

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        if self.trouble:
            raise self.trouble
        return self.answers


class Faults:
    """One row: with Faults(7, "answer lost") as f: ..."""

    def __init__(self, row, what, limits=LIMITS, proxy=True, url=None, counters=None, redis=True, flow=True, env=None,
                 mta=True):
        self.row, self.what, self.flow, self.proxy, self.redis = row, what, None, None, None
        self.answer, self.longest_ms, self.recovered_s = "", None, None
        self.things = []
        self.scratch = Scratch()
        try:
            if redis:
                self.redis = Redis(self.scratch)
            if redis and proxy:
                self.proxy = self._keep(Proxy(self.scratch / "proxy.sock", self.redis.socket))
            self.database = Database(self.scratch)
            self.database.domain("example.com")
            self.database.domain("flow.example")
            self.database.alias(ALIAS)
            self.database.aliases([f"f{i}@flow.example" for i in range(50)])
            self.sink = self._keep(Sink(self.scratch))
            if url is None:
                url = self.proxy.url if self.proxy else self.redis.url
            policy = {
                "aliases": {"database": str(self.database.path)},
                "counters": {"url": url, "timeout": f"{TIMEOUT_MS}ms", **(counters or {})},
                "http": {"listen": ""},
                "limits": limits,
            }
            self.gate = self._gate(policy, env)
            if mta:
                self.postfix = self._keep(Postfix(self.scratch, self.gate.milter, self.sink))
            self.flow = Flow(self) if flow and mta else None
        except BaseException:
            self._stop()
            raise

    def _keep(self, thing):
        self.things.append(thing)
        return thing

    def _gate(self, policy, env):
        gate = Gate(self.scratch, policy, start=False)
        self._keep(gate)
        if env:
            import harness
            saved = harness.SANITIZERS
            harness.SANITIZERS = {**saved, **env}
            try:
                gate.start()
            finally:
                harness.SANITIZERS = saved
        else:
            gate.start()
        return gate

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self._check_flow()
                record(self.row, self.what, self.answer, self.longest_ms, self.recovered_s)
            else:
                sys.stderr.write("--- gate log, last lines\n" + self.gate.log()[-5000:] + "\n")
        finally:
            self._stop(quiet=kind is not None)

    def _stop(self, quiet=True):
        troubles = []
        if self.flow:
            self.flow.stopping.set()
        for thing in [*reversed(self.things), self.redis]:
            try:
                if thing:
                    thing.stop()
            except (Failure, OSError) as trouble:
                troubles.append(trouble)
        self.scratch.remove()
        if troubles and not quiet:
            raise troubles[0]

    def _check_flow(self):
        """No 5xx, and what was answered 250 is delivered exactly once."""
        if not self.flow:
            return
        wait_for(lambda: self.flow.accepted or self.flow.trouble, "no mail flows")
        answers = self.flow.stop()
        wrong = {code: n for code, n in answers.items() if code not in (250, 450, 451, 452)}
        assert not wrong, wrong
        assert answers.get(250, 0) > 0
        self.postfix.idle()
        assert self.flow.accepted
        for token, recipients in self.flow.accepted:
            assert self.sink.of(token) == recipients, token
        assert not self.gate.decisions(verdict="reject") and not self.gate.decisions(verdict="discard")

    # ---- asking

    def ask(self, **request):
        """The gate itself, over its control socket."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(str(self.gate.state / "control.sock"))
            s.sendall(json.dumps(request).encode() + b"\n")
            with s.makefile() as reader:
                return json.loads(reader.readline())

    def status(self, **more):
        return self.ask(do="status", **more)

    def trouble(self, what="counters"):
        """The text of a trouble that is there now, or None."""
        report = self.status()
        for entry in report["reasons"] + report["notes"]:
            if entry["what"] == what:
                return entry["text"]
        return None

    def is_well(self):
        report = self.status()
        return report["canary"]["counters"] == "answer" and not any(r["what"] == "counters" for r in report["reasons"])

    def source(self):
        """ "local" or "store": who answers for the counters of a recipient now; None: nobody."""
        text = self.ask(do="explain", to=ALIAS)["counts"]
        return "store" if text == "" else "local" if "this process" in text else None

    def rcpt(self, address=ALIAS, client="192.0.2.1"):
        """One RCPT of a message that is then ended, as a milter sees it: "continue" or the reply's class and code."""
        with MilterClient(self.gate.socket) as milter:
            milter.connect(client)
            milter.helo()
            milter.mail()
            answer = milter.rcpt(f"<{address}>")
            if answer.kind == "continue":
                milter.data()
                milter.body()
                milter.eom()
            milter.quit()
            return answer.status

    def admitted(self, n, address=ALIAS):
        """How many of n are let through; all others must be refused by the limit, softly."""
        answers = [self.rcpt(address) for _ in range(n)]
        assert set(answers) <= {"continue", "450 4.2.1"}, answers
        return answers.count("continue")

    def used(self, address=ALIAS, limit="soft"):
        return self.redis.used(f"rcptgate:recipient:{{{address}}}", limit)

    # ---- a row

    def warm(self, n=4):
        wait_for(lambda: self.source() == "store", "Redis is not used")
        assert self.admitted(n) == n
        assert self.used() == n

    def begin(self):
        """From here on the longest wait counts."""
        self.status(forget_longest=True)

    def goes_local(self):
        wait_for(lambda: self.source() == "local", "the gate does not notice the fault", 10)

    def check_local(self, before=4):
        """Limits go on in this process, from what it admitted before: 10 in all."""
        self.goes_local()
        assert self.admitted(10) == 10 - before
        self.answer = f"local: {10 - before} more of 10, then 450"

    def check_named(self, *words, log=True):
        """status and log say what is wrong and what to do."""
        def named():
            text = self.trouble() or ""
            return all(word.lower() in text.lower() for word in words)

        try:
            wait_for(named, "", 10)
        except Failure:
            raise Failure(f"status says {self.trouble()!r}, not {words}") from None
        if log:
            wait_for(lambda: "event=counters-trouble" in self.gate.log(), "no line in the log", 5)

    def check_longest(self, most=2 * (TIMEOUT_MS + 50)):
        longest = self.status()["traffic"]["decision_max_ms"]
        self.longest_ms = max(longest, self.longest_ms or 0)
        assert longest <= most, longest

    def check_recovery(self, used=10):
        """Called when the fault has just ended."""
        ended = time.monotonic()
        wait_for(lambda: self.source() == "store", "Redis is not used again", 15)
        self.recovered_s = time.monotonic() - ended
        wait_for(self.is_well, "status stays degraded", 10)
        if used is not None:
            assert self.used() == used
            assert self.rcpt() == "450 4.2.1"
        self.check_longest()
