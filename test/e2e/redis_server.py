"""A private Redis."""

import os
import socket
from contextlib import contextmanager

from processes import PATIENCE, Process, wait_for
from resp import encode, read_value

SERVER = os.environ.get("REDIS_SERVER") or "redis-server"


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
                    read_value(reader)
                answers = []
                for words in commands:
                    s.sendall(encode(*words))
                    answers.append(read_value(reader))
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

    def keys(self, pattern="rcptgate:*"):
        return sorted(self.call("KEYS", pattern))

    def fields(self, key):
        words = self.call("HGETALL", key)
        return dict(zip(words[::2], words[1::2]))

    def used(self, key, limit):
        """The number before the '/' of the field, 0 where there is none."""
        text = self.fields(key).get(limit, "0/0")
        return int(text.split("/")[0])
