"""A milter's peer: what Postfix would say, and what it never would."""

import socket
import struct

from processes import PATIENCE, Failure
from smtp import Closed


class Answer:
    """What the milter said to one command: its kind ('continue', 'tempfail', 'reply' …) and data."""

    kinds = {b"c": "continue", b"t": "tempfail", b"r": "reject", b"y": "reply", b"d": "discard", b"a": "accept",
             b"s": "skip", b"f": "connection failure", b"4": "shutdown"}

    def __init__(self, kind, data, changes):
        self.kind, self.data, self.changes = kind, data, changes

    @property
    def text(self):
        return self.data.rstrip(b"\0").decode("utf-8", "surrogateescape")

    @property
    def status(self):
        """ "450 4.2.1" for a reply, else the kind."""
        return " ".join(self.text.split(" ")[:2]) if self.kind == "reply" else self.kind

    def __repr__(self):
        return f"<{self.kind} {self.data!r} {self.changes!r}>"


class MilterClient:
    """The milter protocol, version 6, byte by byte: what an MTA would send, and what none would."""

    NO_REPLY = {b"C": 0x1000, b"H": 0x2000, b"M": 0x4000, b"R": 0x8000, b"T": 0x10000, b"U": 0x20000,
                b"N": 0x40000, b"B": 0x80000, b"L": 0x80}
    DO_NOT_SEND = {b"C": 0x1, b"H": 0x2, b"M": 0x4, b"R": 0x8, b"B": 0x10, b"L": 0x20, b"N": 0x40, b"U": 0x100,
                   b"T": 0x200}

    def __init__(self, path, negotiate=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.buffer = b""
        self.protocol, self.actions, self.macros_wanted, self.in_headers = 0, 0, {}, True
        if negotiate:
            self.negotiate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hang_up()

    def send(self, command, data=b""):
        self.socket.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def raw(self, data):
        self.socket.sendall(data)

    def receive(self):
        """One packet (command, data); Closed when the milter hung up."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack("!I", self.buffer[:4])[0]:
            more = self.socket.recv(65536)
            if not more:
                raise Closed("the milter closed the connection")
            self.buffer += more
        size = struct.unpack("!I", self.buffer[:4])[0]
        packet, self.buffer = self.buffer[4:4 + size], self.buffer[4 + size:]
        return packet[:1], packet[1:]

    def closed(self):
        """True when the milter hangs up without saying anything more."""
        try:
            while True:
                self.receive()
        except (Closed, ConnectionResetError):
            return True
        except socket.timeout:
            return False

    def negotiate(self, version=6, actions=0x1FF, protocol=0x1FFFFF):
        self.send(b"O", struct.pack("!III", version, actions, protocol))
        command, data = self.receive()
        if command != b"O":
            raise Failure(f"negotiation was answered {command!r}")
        _, self.actions, self.protocol = struct.unpack("!III", data[:12])
        rest = data[12:]
        while len(rest) > 4:
            stage = struct.unpack("!I", rest[:4])[0]
            names, _, rest = rest[4:].partition(b"\0")
            self.macros_wanted[stage] = names.decode()

    def macros(self, command, **values):
        """Macros for the next command; a name of several letters gets its braces."""
        text = b""
        for name, value in values.items():
            value = value if isinstance(value, bytes) else str(value).encode()
            text += (name if len(name) == 1 else "{%s}" % name).encode() + b"\0" + value + b"\0"
        self.send(b"D", command + text)

    def ask(self, command, data=b""):
        """Sends, and reads the answer where the negotiation promised one."""
        if self.protocol & self.DO_NOT_SEND.get(command, 0):
            return Answer("not wanted", b"", [])
        self.send(command, data)
        if self.protocol & self.NO_REPLY.get(command, 0):
            return Answer("no reply", b"", [])
        return self.answer()

    def answer(self):
        changes = []
        while True:
            command, data = self.receive()
            if command in Answer.kinds:
                return Answer(Answer.kinds[command], data, changes)
            if command != b"p":  # progress
                changes.append((command.decode(), data.rstrip(b"\0")))

    def connect(self, address="192.0.2.1", host="client.example.net", port=40000, **macros):
        if macros is not None:
            self.macros(b"C", **{"j": "mx.test", "client_addr": address or "", **macros})
        if address is None:
            data = host.encode() + b"\0U"
        else:
            family = b"6" if ":" in address else b"4"
            data = host.encode() + b"\0" + family + struct.pack("!H", port) + address.encode() + b"\0"
        return self.ask(b"C", data)

    def helo(self, name="client.example.net"):
        return self.ask(b"H", name.encode() + b"\0")

    def mail(self, sender="<bob@sender.example>", *options, **macros):
        plain = sender.strip("<>")
        self.macros(b"M", **{"mail_addr": plain, **macros})
        return self.ask(b"M", b"\0".join(word.encode() for word in (sender, *options)) + b"\0")

    def rcpt(self, recipient, *options, with_macros=True, **macros):
        raw = recipient if isinstance(recipient, bytes) else recipient.encode()
        if with_macros:
            self.macros(b"R", **{"rcpt_addr": raw.strip(b"<>"), "rcpt_host": "x", "rcpt_mailer": "lmtp", **macros})
        return self.ask(b"R", b"\0".join([raw, *(word.encode() for word in options)]) + b"\0")

    def data(self, **macros):
        self.in_headers = True
        self.macros(b"T", **{"i": "4cXqueue", **macros})
        return self.ask(b"T")

    def header(self, name, value):
        return self.ask(b"L", f"{name}\0{value}\0".encode())

    def end_headers(self):
        """Once, before the body."""
        if self.in_headers:
            self.ask(b"N")
        self.in_headers = False

    def body(self, data=b"hello\r\n"):
        self.end_headers()
        return self.ask(b"B", data)

    def eom(self, **macros):
        self.end_headers()
        self.macros(b"E", **{"i": "4cXqueue", **macros})
        return self.ask(b"E")

    def message(self, recipient, sender="<bob@sender.example>"):
        """One whole message, as far as it gets: what its RCPT is answered."""
        self.mail(sender)
        answer = self.rcpt(f"<{recipient}>")
        self.finish(answer)
        return answer

    def finish(self, answer):
        """The rest of a message of one recipient, which was answered so."""
        if answer.kind == "continue":
            self.data()
            self.body()
            self.eom()
        else:
            self.abort()

    def abort(self):
        self.send(b"A")

    def quit(self):
        self.send(b"Q")

    def quit_nc(self):
        self.send(b"K")

    def hang_up(self):
        self.socket.close()
