"""Where the mail of a test ends."""

import re
import socketserver
import threading
import time
from collections import namedtuple

Delivery = namedtuple("Delivery", "recipient original sender token data at")  # at: time.monotonic()


class SinkHandler(socketserver.StreamRequestHandler):
    """LMTP (RFC 2033) with DSN, enough for Postfix: takes all, and keeps who it was for."""

    def handle(self):
        try:
            self.talk()
        except ConnectionError:
            pass  # Postfix hung up

    def talk(self):
        self.reply("220 sink LMTP")
        sender, recipients = None, []
        while True:
            line = self.rfile.readline()
            if not line:
                return
            verb = line[:4].upper()
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if verb == b"LHLO":
                self.reply("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN")
            elif verb == b"MAIL":
                sender, recipients = path_of(text), []
                self.reply("250 2.1.0 ok")
            elif verb == b"RCPT":
                self.recipient(text, recipients)
            elif verb == b"DATA" and not recipients:
                self.reply("503 5.5.1 no recipients")  # they were refused, and DATA was on its way already
            elif verb == b"DATA":
                self.reply("354 go on")
                self.take(sender, recipients)
            elif verb == b"QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("250 ok")

    def recipient(self, text, recipients):
        found = re.search(r"ORCPT=[^;]*;(\S+)", text)
        recipients.append((path_of(text), xtext(found.group(1)) if found else None))
        self.reply("250 2.1.5 ok")

    def take(self, sender, recipients):
        data = b""
        for line in iter(self.rfile.readline, b".\r\n"):
            if not line:
                return
            data += line[1:] if line.startswith(b"..") else line
        found = re.search(rb"^X-Token: (\S+)", data, re.M | re.I)
        token = found.group(1).decode() if found else None
        at = time.monotonic()
        with self.server.lock:
            for recipient, original in recipients:
                self.server.deliveries.append(Delivery(recipient, original, sender, token, data, at))
        for _ in recipients:
            self.reply("250 2.0.0 delivered")

    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")


def path_of(text):
    """What stands between < and the last > before the parameters."""
    found = re.search(r"<(.*?)>(?:\s|$)", text)
    return found.group(1) if found else text.partition(":")[2].strip()


def xtext(text):
    """RFC 3461 xtext, and the hexadecimal escapes of RFC 6533."""
    text = re.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda m: chr(int(m.group(1), 16)), text)
    data = re.sub(rb"\+([0-9A-F]{2})", lambda m: bytes([int(m.group(1), 16)]), text.encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


class Sink:
    """Where Postfix delivers: remembers every recipient of every message. A subclass may have another handler."""

    handler = SinkHandler

    class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 128

    def __init__(self, scratch, name="sink.sock"):
        self.path = scratch / name
        self.server = self._Server(str(self.path), self.handler)
        self.path.chmod(0o777)
        self.server.lock = threading.Lock()
        self.server.deliveries = []
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def deliveries(self):
        with self.server.lock:
            return list(self.server.deliveries)

    def of(self, token):
        """The original recipients of the message with that token, sorted."""
        return sorted((d.original or d.recipient).lower() for d in self.deliveries if d.token == token)

    def mailboxes(self, token):
        return sorted(d.recipient for d in self.deliveries if d.token == token)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
