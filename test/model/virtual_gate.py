"""A real gate in a time of its own: its clock stands where it is set, and it is asked over the milter's wire as Postfix would."""

import os
import struct
import sys
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from harness import PRELOADS, RCPTGATE, Failure, Gate, MilterClient, parse_log, wait_for

CLOCKSHIFT = os.environ.get("CLOCKSHIFT_LIBRARY") or str(PRELOADS / "clockshift.so")


class Decision:
    """What the gate said in its log of one RCPT, or of a connection."""

    def __init__(self, line):
        self.text, fields = line, parse_log(line)
        self.verdict = fields["verdict"]
        self.by = f"limit {fields['limit']}" if "limit" in fields else fields.get("by", "")
        self.limit = fields.get("limit")
        self.sender, self.recipient = (urllib.parse.unquote(fields.get(key, "").strip("<>")) for key in ("from", "to"))
        self.rule = urllib.parse.unquote(fields.get("rule", "")) or self.recipient


class VirtualGate(Gate):
    """directory: a Path. Its counters are in memory."""

    def __init__(self, directory, policy, name, at):
        self.clock, self.open = directory / f"{name}.clock", {}
        self.set_clock(at)
        super().__init__(directory, {"counters": {"url": "memory:"}, **policy}, name)

    def env(self):
        known = super().env()
        return {**known, "ASAN_OPTIONS": known["ASAN_OPTIONS"] + ":verify_asan_link_order=0", "LD_PRELOAD": CLOCKSHIFT,
                "CLOCKSHIFT": str(self.clock)}

    def set_clock(self, at):
        """at: seconds, Unix time."""
        with open(self.clock, "r+b" if self.clock.exists() else "wb") as file:
            file.write(struct.pack("<qq", 0, int(at * 1000)))

    def ask(self, at, mail):
        """The RCPTs of a message in a connection of its own: mail.client, user, sender, rcpts, queue. Returns their verdicts as the wire
        had them ("through", "defer" or "reject"); None: the connection was refused. Else end() is due."""
        self.set_clock(at)
        milter = self.open[mail] = MilterClient(self.socket)
        if milter.connect(mail.client).kind in ("reject", "reply"):
            self.open.pop(mail).hang_up()
            return None
        milter.helo()
        login = {"auth_authen": mail.user, "auth_type": "PLAIN"} if mail.user else {}
        milter.mail(f"<{mail.sender}>", **login)
        answers = []
        for rcpt in mail.rcpts:
            queue = {"i": mail.queue} if "through" in answers else {}
            answers.append(meaning(milter.rcpt(f"<{rcpt}>", **queue)))
        return answers

    def end(self, at, mail, whole):
        """The connection of a message ends, whole: behind its end, else before."""
        self.set_clock(at)
        with self.open.pop(mail) as milter:
            if whole:
                milter.data(i=mail.queue)
                milter.header("Subject", "x")
                milter.body()
                if milter.eom(i=mail.queue).kind not in ("continue", "discard", "accept"):
                    raise Failure(f"the end of {mail.queue} was refused")
            milter.abort()
            milter.quit()

    def said(self):
        """After stop(), in their order: the decisions of RCPTs, the lines of messages that ended, and the refusals of connections."""
        lines = self.log().splitlines()
        return ([Decision(line) for line in lines if line.startswith("queue=")],
                [line for line in lines if line.startswith("event=message ")],
                [Decision(line) for line in lines if " at=connect" in line])

    def settled(self, database):
        """Waits until a 5xx is certain for who does not exist."""
        wait_for(lambda: self.has_taken(database), f"{self.name} does not take the alias rules")


def meaning(answer):
    if answer.kind == "continue":
        return "through"
    if answer.kind == "reply" and answer.text[0] in "45":
        return "defer" if answer.text[0] == "4" else "reject"
    raise Failure(f"a RCPT was answered {answer}")
