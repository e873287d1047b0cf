"""Floods: the milter protocol with many messages on the way at once, so that one Python process keeps the gate busy."""

import struct
from collections import Counter

import fault_table
from harness import run_threads
from witness import MilterClient

BATCH = 100  # messages whose answers are awaited together
PATIENCE = 800  # seconds: the time limit of a test ends it before


def packet(command, data=b""):
    return struct.pack("!I", len(data) + 1) + command + data


class Flood:
    """One session of a client that floods. seen: by the witness."""

    def __init__(self, gate, client, seen=True):
        self.milter = MilterClient(gate.socket, seen=seen)
        self.milter.socket.settimeout(120)
        banner = self.milter.connect(client).status
        self.refused = banner not in ("continue", "no reply", "not wanted")
        if not self.refused:
            self.milter.helo()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.milter.hang_up()

    def _answered(self, command):
        return not self.milter.protocol & (MilterClient.NO_REPLY.get(command, 0) | MilterClient.DO_NOT_SEND.get(command, 0))

    def _message(self, sender, recipient, send):
        sender, recipient = sender.encode(), recipient.encode()
        yield packet(b"D", b"M{mail_addr}\0" + sender + b"\0") + packet(b"M", b"<" + sender + b">\0")
        yield packet(b"D", b"R{rcpt_addr}\0" + recipient + b"\0") + packet(b"R", b"<" + recipient + b">\0")
        for command in b"T", b"N":
            if send and not self.milter.protocol & MilterClient.DO_NOT_SEND[command]:
                yield packet(command)
        yield packet(b"D", b"Ei\0004cXqueue\0") + packet(b"E") if send else packet(b"A")

    def rcpts(self, pairs, send=False):
        """Each (sender, recipient) as a message of its own, sent or given up: their answers, in order ("450 4.2.1", "continue")."""
        answers, after = [], sum(map(self._answered, (b"T", b"N"))) + 1 if send else 0
        for at in range(0, len(pairs), BATCH):
            some = pairs[at:at + BATCH]
            self.milter.raw(b"".join(part for pair in some for part in self._message(*pair, send)))
            for _ in some:
                if self._answered(b"M"):
                    self.milter.answer()
                answers.append(self.milter.answer().status)
                for _ in range(after):
                    self.milter.answer()
        return answers


def flood(shares, send=False, seen=True):
    """shares: of each session (gate, client, pairs); all run at the same time. What each was answered, in order. seen=False: past the
    witness, whose own pace would be measured; the caller must look at every answer."""
    def run(i):
        gate, client, pairs = shares[i]
        with Flood(gate, client, seen) as session:
            return ["refused"] * len(pairs) if session.refused else session.rcpts(pairs, send)

    answers = run_threads(len(shares), run, PATIENCE)
    if not seen:
        fault_table.row.answers.update({"continue": "250"}.get(answer, answer[:3]) for some in answers for answer in some)
    return answers


def tally(answers):
    return Counter(answer for some in answers for answer in some)
