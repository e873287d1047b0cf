"""An SMTP client's session as a milter sees it, kept in the books word by word."""

import struct
import time

from books import FOREVER, Message, Rcpt
from wire import Gone, Wire, frame

NO_REPLY = {b"C": 0x1000, b"H": 0x2000, b"M": 0x4000, b"R": 0x8000, b"T": 0x10000, b"N": 0x40000, b"B": 0x80000, b"L": 0x80}
NOT_WANTED = {b"C": 0x1, b"H": 0x2, b"M": 0x4, b"R": 0x8, b"B": 0x10, b"L": 0x20, b"N": 0x40, b"T": 0x200}
KINDS = {b"c": "continue", b"t": "tempfail", b"r": "reject", b"y": "reply", b"d": "discard", b"a": "accept", b"s": "skip",
         b"f": "connection failure", b"4": "shutdown"}
PIECE = 60000
LINE = b"x" * 76 + b"\r\n"


def macros(command, **values):
    text = b"".join((name if len(name) == 1 else "{%s}" % name).encode() + b"\0" + value.encode() + b"\0" for name, value in values.items())
    return frame(b"D", command + text)


def code_of(kind, data):
    if kind != "reply":
        return kind, ""
    text = data.rstrip(b"\0").decode("utf-8", "replace")
    return " ".join(text.split(" ")[:2]), text


class Session:
    """One connection. Every method that waits is a generator; Gone is raised where the gate is not there any more."""

    def __init__(self, books, gate, client, actor):
        self.books, self.gate, self.client, self.actor = books, gate, client, actor
        self.wire, self.pending, self.message, self.sender, self.protocol = None, b"", None, "", 0
        books.sessions.append(self)
        self.back, self.changes = [], []  # messages whose RSET has not been told yet

    def open(self):
        """False: the client was refused at connect."""
        self.wire = Wire(self.books.loop, self.gate.socket)
        self.wire.send(frame(b"O", struct.pack("!III", 6, 0x1FF, 0x1FFFFF)))
        command, data = yield self.wire
        if command != b"O":
            raise Gone()
        self.protocol = struct.unpack("!III", data[:12])[2]
        family = b"6" if ":" in self.client else b"4"
        asked = time.monotonic()
        kind, data = yield from self._ask(b"C", b"client.example.net\0" + family + struct.pack("!H", 40000) + self.client.encode() + b"\0",
                                          j="mx.test", client_addr=self.client)
        if kind in ("reply", "reject", "tempfail"):
            self.books.connects.append((asked, time.monotonic(), self.gate.number, self.client, code_of(kind, data)[0]))
            self.close()
            return False
        return True

    def _ask(self, command, data=b"", **values):
        """The answer to one command: (kind, data); what it changes is kept in self.changes."""
        if self.protocol & NOT_WANTED.get(command, 0):
            return "not wanted", b""
        self.wire.send(self.pending + (macros(command, **values) if values else b"") + frame(command, data))
        self.pending = b""
        self._told()
        if self.protocol & NO_REPLY.get(command, 0):
            return "no reply", b""
        self.changes = []
        while True:
            answer, data = yield self.wire
            if answer in KINDS:
                return KINDS[answer], data
            self.changes.append((answer, data.rstrip(b"\0").decode("utf-8", "replace")))

    def mail(self, sender, declared=None):
        """Begins a message. What it sends waits for the first RCPT where no answer is expected, as Postfix does."""
        self.sender, self.message = sender, Message(self.gate.number, declared)
        self.books.messages.append(self.message)
        words = [f"<{sender}>"] + ([f"SIZE={declared}"] if declared is not None else [])
        text = "\0".join(words).encode() + b"\0"
        if self.protocol & NO_REPLY[b"M"]:
            self.pending += macros(b"M", mail_addr=sender) + frame(b"M", text)
            return "no reply"
        kind, data = yield from self._ask(b"M", text, mail_addr=sender)
        return code_of(kind, data)[0]

    def rcpt(self, address):
        record = Rcpt(time.monotonic(), self.gate.number, self.client, self.sender, address, self.message, self.actor)
        record.index = len(self.books.rcpts)
        self.books.rcpts.append(record)
        self.message.rcpts.append(record)
        kind, data = yield from self._ask(b"R", b"<" + address.encode() + b">\0", rcpt_addr=address)
        record.answered = time.monotonic()
        record.code, record.text = code_of(kind, data)
        return record

    def end(self, size):
        """Header, a body of about `size` bytes and the end of the message: "continue", a code, or "discard"."""
        message, lines = self.message, max(1, size // len(LINE))
        yield from self._ask(b"L", b"Subject\0hello\0")
        yield from self._ask(b"N")
        message.size = lines * len(LINE) + len("Subject: hello\r\n")
        if not self.protocol & NOT_WANTED[b"B"]:
            body = LINE * lines
            for at in range(0, len(body), PIECE):
                yield from self._ask(b"B", body[at:at + PIECE])
        message.ended = time.monotonic()
        kind, data = yield from self._ask(b"E", i="4cXqueue")
        message.end_answered, message.end = time.monotonic(), code_of(kind, data)[0]
        message.changes = self.changes
        self._drops(message)
        self.message = None
        return message.end

    def _drops(self, message):
        gone = {text.strip("<>") for command, text in message.changes if command == b"-"}
        for record in message.rcpts:
            if record.code == "continue":
                record.dropped = record.raw in gone or message.end == "discard"

    def abort(self):
        """RSET: the gate is told at once."""
        self.wire.send(self.pending + frame(b"A"))
        self.pending = b""
        self._told()
        self._released()

    def held_back(self):
        """RSET as Postfix tells it: with the next command."""
        self.pending += frame(b"A")
        self.back.append(self.message)
        self.message = None

    def _told(self):
        for message in self.back:
            message.released = time.monotonic()
        self.back = []

    def _released(self):
        if self.message is not None and self.message.ended == FOREVER:
            self.message.released = time.monotonic()
        self.message = None

    def close(self, polite=True):
        if self.wire is not None and not self.wire.closed:
            if polite:
                self.wire.send(self.pending + frame(b"Q"))
            self.wire.close()
        self._told()
        self._released()
