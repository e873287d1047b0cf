"""RESP, the protocol of Redis: what is asked, what is answered, and a server that says what a test wants."""

from listener import Listener
from processes import Failure


def encode(*words):
    """A command as Redis reads it."""
    return encode_value([word if isinstance(word, bytes) else str(word) for word in words])


def encode_value(value):
    """An answer: texts, numbers, and lists of such."""
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode_value, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    data = value if isinstance(value, bytes) else value.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


def read_raw(reader):
    """One value, as it is."""
    line = reader.readline()
    if not line:
        raise OSError("redis closed the connection")
    n = int(line[1:]) if line[:1] in b"$*" else -1
    if line[:1] == b"*":
        return line + b"".join(read_raw(reader) for _ in range(max(n, 0)))
    return line + (reader.read(n + 2) if n >= 0 else b"")


def read_value(reader):
    """One value as Python has it; an error is a Failure."""
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
        return reader.read(int(rest) + 2)[:-2].decode(errors="surrogateescape") if int(rest) >= 0 else None
    if kind == b"*":
        return [read_value(reader) for _ in range(max(0, int(rest)))]
    raise Failure(f"redis: {line!r}")


def read_command(reader):
    """The words of a command; None where there is none any more."""
    line = reader.readline()
    if not line.startswith(b"*"):
        return None
    return [reader.read(int(reader.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]


class Scripted(Listener):
    """Answers every command by a function of its words: bytes, or None for silence."""

    def __init__(self, at, answer):
        self.answer = answer
        self.listen(at)

    def serve(self, connection):
        self.talk(connection, self.answer)

    @staticmethod
    def talk(connection, answer):
        try:
            with connection, connection.makefile("rb") as reader:
                while words := read_command(reader):
                    reply = answer(words)
                    if reply is not None:
                        connection.sendall(reply)
        except (OSError, ValueError):
            pass
