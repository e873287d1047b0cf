"""An SMTP client for tests."""

import re
import socket

from processes import PATIENCE


class Reply:
    """A whole SMTP reply: code, enhanced code ("" where there is none), text lines."""

    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        found = re.match(r"\d{3}[ -](\d\.\d{1,3}\.\d{1,3})(?: |$)", lines[-1])
        self.dsn = found.group(1) if found else ""

    @property
    def text(self):
        return " ".join(line[4:] for line in self.lines)

    @property
    def status(self):
        """ "550 5.1.1", what most tests compare."""
        return f"{self.code} {self.dsn}".strip()

    def __repr__(self):
        return "\n".join(self.lines)


class Closed(ConnectionError):
    pass


class Smtp:
    """An SMTP client that hides nothing. client: the address to pose as (XCLIENT). patience: seconds for an answer."""

    def __init__(self, postfix, client="192.0.2.1", login=None, helo="client.example.net", patience=90):
        self.socket = socket.create_connection((postfix.address, postfix.port), min(PATIENCE, patience))
        self.socket.settimeout(patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")
        self.banner = self.read()
        self.helo_name = helo
        if self.banner.code == 220:
            self.helo = self.command(f"EHLO {helo}")
            if client is not None or login is not None:
                address = f"IPV6:{client}" if client and ":" in client else client
                words = [f"ADDR={address}", "NAME=[UNAVAILABLE]"] if client else []
                words += [f"LOGIN={login}"] if login else []
                self.banner = self.command("XCLIENT " + " ".join(words))
                if self.banner.code == 220:
                    self.helo = self.command(f"EHLO {helo}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self):
        lines = []
        while True:
            line = self.reader.readline()
            if not line:
                raise Closed("Postfix closed the connection")
            lines.append(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
            if len(lines[-1]) < 4 or lines[-1][3] != "-":
                return Reply(lines)

    def write(self, line):
        data = line if isinstance(line, bytes) else line.encode("utf-8", "surrogateescape")
        self.socket.sendall(data + b"\r\n")

    def command(self, line):
        self.write(line)
        return self.read()

    def mail(self, sender="bob@sender.example", options=""):
        return self.command(f"MAIL FROM:<{sender}>{options}")

    def rcpt(self, address, options=""):
        """address: without <>, or bytes that are sent as they are."""
        if isinstance(address, bytes):
            return self.command(b"RCPT TO:" + address)
        return self.command(f"RCPT TO:<{address}>{options}")

    def data(self, token="none", body="hello"):
        """DATA with a message that carries token; returns the last answer."""
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        return self.command(f"From: b@sender.example\r\nSubject: test\r\nX-Token: {token}\r\n\r\n{body}\r\n.")

    def rset(self):
        return self.command("RSET")

    def send(self, recipients, sender="bob@sender.example", token="none", body="hello"):
        """One whole message: the answers to each RCPT, and to DATA (None where no recipient was left)."""
        first = self.mail(sender)
        if first.code != 250:
            return [first for _ in recipients], None
        answers = [self.rcpt(address) for address in recipients]
        if any(answer.code == 250 for answer in answers):
            return answers, self.data(token, body)
        self.rset()
        return answers, None

    def close(self):
        try:
            self.write("QUIT")
            self.socket.settimeout(1)
            self.reader.readline()
        except OSError:
            pass
        self.abandon()

    def abandon(self):
        """Hangs up without a word."""
        self.reader.close()
        self.socket.close()
