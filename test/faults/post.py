"""Mail that flows through a private Postfix for as long as it stands, and the account of it: each recipient of a message that was
answered 250 is found exactly once where Postfix delivered it, or was dropped by a rule.

Postfix, Smtp and Database take the place of the harness's own (conftest.py), so that every row with a Postfix has such mail
and every message that a row sends itself is in the account too."""

import re
import threading
from collections import Counter
from contextlib import contextmanager

import fault_table
import harness
import witness

KNOWN = [f"p{i}@post.example" for i in range(20)]
DROPPED, REFUSED, UNKNOWN = "drop@post.example", "gone@post.example", "nobody@post.example"
PAUSE = 0.1  # seconds between two messages


class Database(harness.Database):
    """With rules for the mail that always flows."""

    def __init__(self, scratch, name="aliases.db"):
        super().__init__(scratch, name)
        self.domain("post.example")
        self.aliases(KNOWN)
        self.alias(DROPPED, action="discard")
        self.alias(REFUSED, action="reject")


class Ledger:
    """What Postfix has answered 250, and what became of it. drops: recipients by queue id, as the witness saw them."""

    def __init__(self, sink, drops):
        self.sink, self.drops = sink, drops
        self.lock = threading.Lock()
        self.messages = []  # (token, queue id, recipients)

    def take(self, token, queue_id, recipients):
        with self.lock:
            self.messages.append((token, queue_id, [address.lower() for address in recipients]))

    def account(self):
        """Counter of what is lost and of what was delivered too often; how many were answered 250, delivered, dropped."""
        expected, dropped = Counter(), 0
        for token, queue_id, recipients in self.messages:
            drops = self.drops.get(queue_id, [])
            expected.update((token, address) for address in recipients if address not in drops)
            dropped += sum(address in drops for address in recipients)
        tokens = {token for token, _, _ in self.messages}
        found = Counter((d.token, (d.original or d.recipient).lower()) for d in self.sink.deliveries if d.token in tokens)
        return expected - found, found - expected, (sum(expected.values()) + dropped, sum(found.values()), dropped)


class Smtp(harness.Smtp):
    """Tells the ledger of its Postfix what was answered 250."""

    def __init__(self, postfix, *words, **more):
        self.ledger, self.taken = postfix.ledger, []
        super().__init__(postfix, *words, **more)

    def command(self, line):
        reply = super().command(line)
        verb = line[:4].upper() if isinstance(line, str) else ""
        if verb in ("MAIL", "RSET"):
            self.taken = []
        elif verb == "RCPT":
            fault_table.row.answers[str(reply.code)] += 1
            if reply.code == 250:
                self.taken.append(re.search(r"<(.*)>", line).group(1))
        elif found := re.search(r"^X-Token: (\S+)", line if isinstance(line, str) else "", re.M):
            if reply.code == 250:
                queued = re.search(r"queued as (\w+)", reply.text)
                self.ledger.take(found.group(1), queued and queued.group(1), self.taken)
            self.taken = []
        return reply


class Postfix(harness.Postfix):
    """Does not wait long for its milter, and has mail from its first moment to its last."""

    def __init__(self, scratch, milter, sink, maps=None, settings=None, name="postfix", flow=True):
        settings = dict(settings or {})
        if milter:
            settings["smtpd_milters"] = f"{{ {milter}, connect_timeout=5s, command_timeout=3s, default_action=tempfail }}"
        front = next((w for w in witness.fronts.values() if milter == f"unix:{w.path}"), None)
        self.ledger = Ledger(sink, front.drops if front else {})
        super().__init__(scratch, milter, sink, maps, settings, name)
        self.between, self.over, self.trouble = threading.Lock(), threading.Event(), None
        self.flow = threading.Thread(target=self._flow, daemon=True)
        if flow:
            self.flow.start()
            harness.wait_for(lambda: self.ledger.messages or self.trouble, "mail flows")

    def _flow(self):
        try:
            number = 0
            while not self.over.is_set():
                try:
                    with Smtp(self, f"198.51.100.{1 + number % 200}") as smtp:
                        for number in range(number, number + 10):
                            if not self._send(smtp, number):
                                break
                except OSError:  # the session was lost
                    pass
                number += 1
                self.over.wait(PAUSE)
        except BaseException as trouble:  # noqa: told by stop()
            self.trouble = trouble

    def _send(self, smtp, number):
        """False: this session is of no use any more."""
        extra = {0: [UNKNOWN], 1: [DROPPED], 2: [REFUSED]}.get(number % 5, [])
        recipients = [KNOWN[(number + i) % len(KNOWN)] for i in range(2)] + extra
        with self.between:
            _, done = smtp.send(recipients, token=f"post-{number}")
        return not self.over.wait(PAUSE) and done is not None and done.code == 250

    @contextmanager
    def quiet(self):
        """No mail of ours within: for a fault that would meet it instead of what the row asks for."""
        with self.between:
            yield

    def stop(self):
        """Once; and then all that was taken must have been delivered."""
        if self.over.is_set():
            return
        self.over.set()
        try:
            if self.flow.is_alive():
                self.flow.join(harness.PATIENCE)
            if self.trouble:
                raise harness.Failure(f"the mail that always flows: {self.trouble!r}")
            self.idle()
            lost, twice, counts = self.ledger.account()
            fault_table.row.mail(sum(lost.values()), *counts)
            if lost or twice:
                raise harness.Failure(f"lost: {dict(lost)}, not answered 250 or delivered twice: {dict(twice)}")
        finally:
            super().stop()
