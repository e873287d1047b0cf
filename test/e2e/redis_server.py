"""A private Redis."""

import os
import socket
from contextlib import contextmanager

from processes import PATIENCE, Failure, Process, wait_for

SERVER = os.environ.get("REDIS_SERVER") or "redis-server"


def encode(*words):
    """A command as Redis reads it."""
    out = b"*%d\r\n" % len(words)
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        out += b"$%d\r\n%s\r\n" % (len(data), data)
    return out


class Redis:
    """redis-server on a unix socket, nothing on disk. call() speaks the protocol itself.
    under: words of a command that it runs under; args: settings, as on its command line; auth: the password that call() sends."""

    def __init__(self, scratch, name="redis", under=(), args=()):
        self.scratch, self.name, self.under, self.args, self.auth = scratch, name, under, args, None
        self.socket = scratch / f"{name}.sock"
        self.process = None
        self.start()

    @property
    def url(self):
        return f"unix://{self.socket}?db=0"

    def start(self):
        self.process = Process(
            [*self.under, SERVER, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "777", "--save", "",
             "--appendonly", "no", "--dir", self.scratch.path, "--daemonize", "no", "--databases", "2",
             *self.args],
            self.scratch / f"{self.name}.log")
        wait_for(self._answers, f"redis does not answer:\n{self.process.log()}")

    def _answers(self):
        try:
            return self.call("PING") == "PONG"
        except OSError:
            return False

    def stop(self):
        self.process.stop()

    def call(self, *words):
        return self.calls(words)[-1]

    def calls(self, *commands):
        """Several, on one connection."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(str(self.socket))
            with s.makefile("rb") as reader:
                if self.auth:
                    s.sendall(encode("AUTH", self.auth))
                    self._read(reader)
                answers = []
                for words in commands:
                    s.sendall(encode(*words))
                    answers.append(self._read(reader))
                return answers

    @contextmanager
    def overheard(self):
        """All that Redis is asked meanwhile, in the lines of MONITOR; complete at the end."""
        lines = []
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(str(self.socket))
            s.sendall(b"MONITOR\r\n")
            with s.makefile("r", errors="surrogateescape") as monitor:
                monitor.readline()
                yield lines
                self.call("ECHO", "that was all")
                while not lines or "that was all" not in lines[-1]:
                    lines.append(monitor.readline())

    def _read(self, reader):
        line = reader.readline()
        if not line:
            raise OSError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise Failure("redis: " + rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            return reader.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
        if kind == b"*":
            return [self._read(reader) for _ in range(max(0, int(rest)))]
        raise Failure(f"redis: {line!r}")

    def keys(self, pattern="rcptgate:*"):
        return sorted(self.call("KEYS", pattern))

    def fields(self, key):
        words = self.call("HGETALL", key)
        return dict(zip(words[::2], words[1::2]))

    def used(self, key, limit):
        """The number before the '/' of the field, 0 where there is none."""
        text = self.fields(key).get(limit, "0/0")
        return int(text.split("/")[0])
