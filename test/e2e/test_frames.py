"""What is no frame of the milter protocol ends its connection, and nothing else; what is one may come in any portions."""

import os
import random
import struct

import pytest

from harness import Closed, MilterClient, World, run_threads

ALIAS = "a@example.com"


@pytest.fixture(scope="module")
def world():
    with World("memory", [{"name": "many", "per": "recipient", "max": 100000, "window": "1h"}], mta=False) as w:
        w.database.alias(ALIAS)
        w.settled()
        yield w


def healthy(world):
    with world.milter() as m:
        m.connect()
        m.mail()
        assert m.rcpt(f"<{ALIAS}>").status == "continue"
        assert m.rcpt("<no@example.com>").status == "550 5.1.1"


@pytest.mark.parametrize("command, data", [
    (b"D", b"Ri\0"), (b"D", b"R{rcpt_addr}\0a@b.c\0i\0"), (b"D", b"Ri\0x"), (b"D", b"R{rcpt_addr}\0\0\0"), (b"D", b"MM"),
    (b"D", b""), (b"R", b"<a@example.com>"), (b"H", b"x"), (b"L", b"Subject\0x"), (b"M", b"<>\0SIZE=1"),
])
def test_malformed(world, command, data):
    m = world.milter()
    m.connect()
    m.mail()
    try:
        m.send(command, data)
        m.rcpt(f"<{ALIAS}>")
        answered = True
    except (Closed, OSError):
        answered = False
    assert not answered or command in (b"R",) and m.closed()
    assert m.closed()
    healthy(world)


@pytest.mark.parametrize("size", [0, 65537, 1 << 20, 0x7fffffff, 0xffffffff])
def test_sizes(world, size):
    m = world.milter()
    m.raw(struct.pack("!I", size) + b"B" + b"x" * 20)
    assert m.closed()
    healthy(world)


def conversation():
    """A whole message in one piece, without waiting; what is to be answered."""
    frames = [b"DCj\0mx\0", b"C" + b"client\0" + b"4" + struct.pack("!H", 1) + b"192.0.2.1\0",
              b"DM{mail_addr}\0bob@sender.example\0", b"M<bob@sender.example>\0", b"DR{rcpt_addr}\0a@example.com\0",
              b"R<a@example.com>\0", b"DR{rcpt_addr}\0no@example.com\0", b"R<no@example.com>\0", b"A"]
    return b"".join(struct.pack("!I", len(frame)) + frame for frame in frames)


def test_split_at_every_byte(world):
    bytes_ = conversation()

    def one(at):
        with world.milter() as m:
            m.raw(bytes_[:at])
            if at % 3 == 0:
                m.socket.setsockopt(1, 7, 4096)  # SO_SNDBUF: whatever makes the kernel deliver now
            m.raw(bytes_[at:])
            kinds = []
            while len(kinds) < 2:
                answer = m.answer()
                kinds.append(answer.status)
            return kinds

    for at in range(1, len(bytes_)):
        got = one(at)
        assert got[-2:] == ["continue", "550 5.1.1"] or got == ["continue", "continue"], (at, got)
    with world.milter() as m:
        for i in range(len(bytes_)):
            m.raw(bytes_[i:i + 1])
        while (status := m.answer().status) == "continue":
            pass
        assert status == "550 5.1.1"


def test_random_frames(world):
    def one(seed):
        r = random.Random(seed)
        for _ in range(60):
            try:
                m = MilterClient(world.gate.socket, negotiate=r.random() < 0.7)
                m.socket.settimeout(0.2)
                for _ in range(r.randrange(1, 12)):
                    data = r.choice([os.urandom(r.randrange(0, 40)), b"Ri\0" * r.randrange(0, 6), b"M{x}\0", b"\0" * r.randrange(9)])
                    m.send(bytes([r.choice(b"ABCDEHKLMNOQRTU\0\xff")]) if r.random() < 0.9 else b"", data)
                    if r.random() < 0.1:
                        m.raw(os.urandom(r.randrange(1, 3000)))
                m.hang_up()
            except (Closed, OSError):
                pass
        return True

    assert all(run_threads(4, one))
    healthy(world)


def test_frames_longer_than_what_is_read_ahead(world):
    with world.milter() as m:
        m.connect()
        m.mail()
        long = {f"x{i}": "y" * 500 for i in range(20)}
        assert m.rcpt(f"<{ALIAS}>", **long).status == "continue"
        assert m.rcpt("<no@example.com>", **long).status == "550 5.1.1"
        m.macros(b"R", **long)
        m.send(b"D", b"Rx\0" + b"y" * 5000 + b"\0z\0")
        assert m.closed()
    healthy(world)
