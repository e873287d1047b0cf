"""Asks a gate's maps as Postfix does."""

import socket

from processes import PATIENCE


class SocketMap:
    """One connection, as of one Postfix process. path: of the socket."""

    def __init__(self, path, patience=PATIENCE):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience)
        self.socket.connect(str(path).removeprefix("unix:"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        self.socket.sendall(b"%d:%s," % (len(data), data))

    def receive(self):
        """ "OK value", "NOTFOUND ", "TEMP reason"; "" where the connection was closed."""
        data = b""
        while b":" not in data:
            more = self.socket.recv(1)
            if not more:
                return ""
            data += more
        rest, length = b"", int(data[:-1])
        while len(rest) < length + 1:
            more = self.socket.recv(length + 1 - len(rest))
            if not more:
                return ""
            rest += more
        assert rest[-1:] == b","
        return rest[:-1].decode("utf-8", "surrogateescape")

    def ask(self, name, key):
        self.send(f"{name} {key}")
        return self.receive()

    def word(self, name, key):
        return self.ask(name, key).partition(" ")[0]
