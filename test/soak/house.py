"""What the soak torments: two gates, each behind a witness and before a Postfix of its own that also asks its maps; one Redis, one alias
database, one sink. And the mail: post.py's, which always flows, and senders with worse manners."""

import random
import shutil
import subprocess
import threading

import fault_table
import harness
import post
import witness

harness.Gate = witness.Gate
harness.Postfix, harness.Smtp, harness.Database = post.Postfix, post.Smtp, post.Database

LIMITS = [
    {"name": "soft", "per": "recipient", "max": 20, "window": "1m", "over": "defer", "when": {"recipient_domain": "soft.example"}},
    {"name": "hard", "per": "recipient", "max": 20, "window": "1m", "over": "reject", "when": {"recipient_domain": "hard.example"}},
    {"name": "drop", "per": "recipient", "max": 20, "window": "1m", "over": "discard", "when": {"recipient_domain": "full.example"}},
    {"name": "guess", "per": "client", "count": "attempts", "max": 15, "window": "1m", "over": "reject", "hold": "10s",
     "when": {"client": "203.0.113.0/24"}},
]
KNOWN = [f"a{i}@{domain}" for domain in ("soft.example", "hard.example", "full.example", "soak.example") for i in range(3)]
ODD = ["glob-1@soak.example", "spam-1@soak.example", "gone@soak.example", "void@soak.example", "nobody@soak.example",
       "nobody@elsewhere.example", "a0+tag@soak.example", "no address@soak.example"]
MOVING = [f"m{i}@soak.example" for i in range(10)]  # aliases that come and go: asked about only, as what is queued would go with them
CATCH_ALL = "anything@any.example"  # has no mailbox: asked about only
SENDERS = ["bob@sender.example", "eve@bad.example", "", "list@lists.example"]
CLIENTS = ["192.0.2.7", "192.0.2.8", "198.18.9.1", "203.0.113.1", "2001:db8::1"]  # the third is refused by a rule, the fourth guesses
POSTFIX = {"enable_long_queue_ids": "yes",  # short ones come again within the hour
           "service_throttle_time": "1s",  # or a killed smtpd shuts the door for a minute
           "bounce_queue_lifetime": "1d"}  # or mail of "<>" is given up when the maps of a gate that begins anew are asked


class Redis(harness.Redis):
    """With its data on disk; it has answered only when they are loaded."""

    def __init__(self, scratch):
        self.data = scratch / "redis-data"
        self.data.mkdir()
        super().__init__(scratch, args=("--appendonly", "yes", "--dir", self.data))

    def _answers(self):
        try:
            return super()._answers()
        except harness.Failure:
            return False


class Dropping(harness.Sink):
    """Says 250 to every message, and keeps all but one in twenty."""

    class handler(harness.SinkHandler):
        def take(self, sender, recipients):
            super().take(sender, recipients)
            if random.random() < 0.05:
                with self.server.lock:
                    del self.server.deliveries[-len(recipients):]


class House:
    def __init__(self, seed, sink=harness.Sink, under=()):
        """under: words of a command that the second gate, which lives longest, runs under."""
        fault_table.row = fault_table.Row()
        witness.fronts.clear()
        self.scratch = harness.Scratch()
        self.parts, self.mounted, self.over = [], [], threading.Event()
        try:
            self.redis = self._own(Redis(self.scratch))
            self._fill(post.Database(self.scratch))
            self.sinks = [self._own(sink(self.scratch, f"sink{i}.sock")) for i in range(2)]  # each Postfix has tokens of its own
            self.gates = [self._gate(f"gate{i}", under if i == 1 else ()) for i in range(2)]
            self.postfixes = [self._own(post.Postfix(self.scratch, gate.milter, sink, gate.maps, POSTFIX, f"postfix{i}"))
                              for i, (gate, sink) in enumerate(zip(self.gates, self.sinks))]
        except BaseException:
            self.end()
            raise
        self.senders = [Sender(self, postfix, random.Random(f"{seed} {i} {n}"), f"{i}-{n}")
                        for i, postfix in enumerate(self.postfixes) for n in range(2)]

    def _own(self, part):
        self.parts.append(part)
        return part

    def _fill(self, database):
        self.database = database
        for domain in ("soft.example", "hard.example", "full.example", "soak.example"):
            database.domain(domain)
        database.domain("any.example", catch_all="accept")
        database.aliases(KNOWN + MOVING)
        database.alias("gone@soak.example", action="reject")
        database.alias("void@soak.example", action="discard")
        database.glob("soak.example", "glob-*")
        database.glob("soak.example", "spam-*", action="reject")
        database.sender("@soak.example", "@bad.example", "reject")
        database.client("198.18.9.0/24", "reject")

    def _gate(self, name, under):
        """Its state is a file system of its own where that may be mounted, so that it can be full."""
        state = self.scratch / f"{name}-state"
        state.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", state], capture_output=True).returncode == 0:
            self.mounted.append(state)
        gate = self._own(harness.Gate(self.scratch, {
            "aliases": {"database": str(self.database.path), "subaddress": "+"},
            "counters": {"url": self.redis.url, "timeout": "1s"}, "limits": LIMITS}, name, start=False))
        gate.under = under
        gate.start()
        return gate

    def wrong(self):
        return [what for front in witness.fronts.values() for what in front.wrong]

    def proven(self):
        return sum(front.proven for front in witness.fronts.values())

    def unhealthy(self):
        """What a gate complains of, "" when all are well."""
        for gate in self.gates:
            try:
                report = gate.status()
            except (OSError, ValueError) as trouble:
                return f"{gate.name}: {trouble!r}"
            if report["status"] != "healthy":
                return f"{gate.name}: {report['reasons']}"
        return ""

    def quiet(self):
        """No more mail, and all that was taken has arrived once; the account of each Postfix."""
        self.over.set()
        for sender in self.senders:
            sender.thread.join(4 * harness.PATIENCE)
        failures = []
        for postfix in self.postfixes:
            try:
                postfix.stop()
            except harness.Failure as failure:
                failures.append(str(failure))
        if failures:
            raise harness.Failure("\n  ".join(failures))
        row = fault_table.row
        return {"taken": row.taken, "delivered": row.delivered, "dropped": row.dropped, "lost": row.lost}

    def keep(self, directory):
        """What helps to find out why something failed."""
        for path in [*self.scratch.path.glob("*.log"), *self.scratch.path.glob("*/mail.log"), *self.database.directory.iterdir()]:
            shutil.copyfile(path, directory / (path.name if path.parent == self.scratch.path else f"{path.parent.name}-{path.name}"))

    def end(self):
        self.over.set()
        for part in reversed(self.parts):
            try:
                part.stop()
            except (harness.Failure, OSError):
                pass  # it was told already, or another failure is
        for front in witness.fronts.values():
            front.stop()
        for state in self.mounted:
            subprocess.run(["umount", "-l", state], check=False)
        self.scratch.remove()


class Sender:
    """Sessions of a few messages, one after the other: some end in the middle, some recipients are none."""

    def __init__(self, house, postfix, chance, name):
        self.house, self.postfix, self.chance, self.name, self.number, self.trouble = house, postfix, chance, name, 0, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while not self.house.over.wait(self.chance.uniform(0.1, 0.5)):
                try:
                    with post.Smtp(self.postfix, self.chance.choice(CLIENTS)) as smtp:
                        for _ in range(self.chance.randint(1, 4)):
                            if smtp.banner.code == 220:
                                self._message(smtp)
                except OSError:
                    pass  # what was there is gone: the next session
        except BaseException as trouble:  # noqa: told by the run
            self.trouble = trouble

    def _message(self, smtp):
        chance, sender = self.chance, self.chance.choice(SENDERS)
        self.number += 1
        recipients = chance.sample(KNOWN, 2) + chance.sample(ODD, chance.randint(0, 1))
        how = chance.choice(("send",) * 5 + ("ask", "lie", "leave", "break"))
        if how == "send":
            body = "x" * 70 + "\r\n"
            smtp.send(recipients, sender, f"soak-{self.name}-{self.number}", body * chance.choice((1, 1, 10, 300)))
        elif smtp.mail(sender, " SIZE=9000000" if how == "lie" else "").code == 250:
            for address in recipients if how == "lie" else [*chance.sample(MOVING, 2), CATCH_ALL]:
                smtp.rcpt(address)
            if how == "break" and smtp.command("DATA").code == 354:
                smtp.write("Subject: half a message")
            if how in ("leave", "break"):
                raise ConnectionError("the sender hangs up")
            smtp.rset()
