"""The milter protocol spoken by hand: what no MTA would send must not hurt, least of all others."""

import os
import random
import struct

import pytest

from harness import Closed, World, wait_for

LIMITS = [{"name": "ten", "per": "recipient", "max": 10, "window": "1h", "over": "defer"}]


@pytest.fixture(scope="module")
def world():
    with World("redis", LIMITS, mta=False) as w:
        w.database.aliases([f"{c}{n}@example.com" for c in "abcdefgh" for n in range(10)])
        w.database.alias("drop@example.com", action="discard")
        w.settled()
        yield w
        check(w)


def check(world):
    """The gate lives, and answers a plain session as it should."""
    with world.milter() as m:
        m.connect("192.0.2.250")
        m.helo()
        m.mail()
        assert m.rcpt("<a9@example.com>").status in ("continue", "450 4.2.1")
        assert m.rcpt("<nobody@example.com>").status == "550 5.1.1"
        m.abort()
        m.quit()


def used(world, address):
    return world.redis.used(f"rcptgate:recipient:{{{address}}}", "ten")


def returned(world, address):
    wait_for(lambda: used(world, address) == 0, f"{address} given back")


def begin(world, **options):
    m = world.milter(**options)
    m.connect()
    m.helo()
    return m


def test_a_whole_message(world):
    with begin(world) as m:
        m.mail()
        assert m.rcpt("<a0@example.com>").status == "continue"
        assert m.rcpt("<drop@example.com>").status == "continue"
        m.data()
        m.header("Subject", "x")
        m.body()
        end = m.eom()
        assert end.kind in ("continue", "accept")
        assert end.changes == [("-", b"<drop@example.com>")]
        m.quit()
    assert used(world, "a0@example.com") == 1


def test_only_a_discard(world):
    with begin(world) as m:
        m.mail()
        m.rcpt("<drop@example.com>")
        m.data()
        end = m.eom()
        assert end.kind == "continue" and end.changes == [("-", b"<drop@example.com>")]


def test_asks_for_what_it_needs_and_no_more(world):
    with begin(world) as m:
        names = " ".join(m.macros_wanted.values())
        assert "{rcpt_addr}" in names and "{auth_authen}" in names
        assert m.protocol & m.DO_NOT_SEND[b"B"], "no body without a byte limit"
        assert m.protocol & m.DO_NOT_SEND[b"L"], "no headers either"


def test_rcpt_without_mail(world):
    """libmilter itself passes over what comes out of turn, without an answer."""
    with begin(world) as m:
        m.send(b"R", b"<b0@example.com>\0")
        m.abort()
        m.mail()
        assert m.rcpt("<b0@example.com>").status == "continue"
        m.abort()
        m.quit()
    returned(world, "b0@example.com")
    check(world)


def test_mail_twice_gives_back(world):
    with begin(world) as m:
        m.mail()
        assert m.rcpt("<b1@example.com>").status == "continue"
        m.mail()
        returned(world, "b1@example.com")
        assert m.rcpt("<b2@example.com>").status == "continue"
        m.data()
        assert m.eom().kind in ("continue", "accept")
    assert used(world, "b2@example.com") == 1 and used(world, "b1@example.com") == 0


def test_abort_twice(world):
    with begin(world) as m:
        m.mail()
        assert m.rcpt("<b3@example.com>").status == "continue"
        m.abort()
        m.abort()
        returned(world, "b3@example.com")
        m.mail()
        assert m.rcpt("<b3@example.com>").status == "continue"
        m.abort()
        m.abort()
    returned(world, "b3@example.com")


def test_abort_after_the_end_gives_nothing_back(world):
    with begin(world) as m:
        m.mail()
        m.rcpt("<b4@example.com>")
        m.data()
        m.eom()
        m.abort()
        m.abort()
        m.quit()
    check(world)
    assert used(world, "b4@example.com") == 1


def test_eom_twice(world):
    with begin(world) as m:
        m.mail()
        m.rcpt("<b5@example.com>")
        m.data()
        m.eom()
        m.send(b"E")
        m.send(b"N")
        m.mail()
        assert m.rcpt("<b6@example.com>").status == "continue"
        m.abort()
    check(world)
    assert used(world, "b5@example.com") == 1


def test_hang_up_in_a_message(world):
    m = begin(world)
    m.mail()
    assert m.rcpt("<c0@example.com>").status == "continue"
    assert used(world, "c0@example.com") == 1
    m.hang_up()
    returned(world, "c0@example.com")


def test_quit_in_a_message(world):
    with begin(world) as m:
        m.mail()
        m.rcpt("<c1@example.com>")
        m.quit()
        returned(world, "c1@example.com")


def test_quit_for_a_new_connection(world):
    """Sendmail's way to use a milter connection again; Postfix has none."""
    with begin(world) as m:
        m.mail()
        m.rcpt("<c2@example.com>")
        m.quit_nc()
        returned(world, "c2@example.com")
    check(world)


@pytest.mark.parametrize("what", ["nothing", "negotiation", "connect"])
def test_close_alone(world, what):
    m = world.milter(negotiate=what != "nothing")
    if what == "connect":
        m.connect()
    m.hang_up()
    check(world)


def test_many_close_alone(world):
    for _ in range(50):
        world.milter(negotiate=False).hang_up()
    check(world)


def test_no_macros_at_all(world):
    with world.milter() as m:
        m.send(b"C", b"client.example\0" + b"4" + struct.pack("!H", 4000) + b"192.0.2.5\0")
        if not m.protocol & m.NO_REPLY[b"C"]:
            m.answer()
        m.ask(b"M", b"<bob@sender.example>\0")
        assert m.rcpt("<d0@example.com>", with_macros=False).status == "continue"
        assert m.rcpt("<nobody@example.com>", with_macros=False).status == "550 5.1.1"
        assert m.rcpt("<d0%else.example@example.com>", with_macros=False).status.startswith("451")
        assert m.rcpt("<else.example!d0@example.com>", with_macros=False).status.startswith("451")
        assert m.rcpt("<unqualified>", with_macros=False).status.startswith("451")
        assert m.rcpt("<postmaster>", with_macros=False).status == "continue"


def test_macro_wins_over_the_argument(world):
    with begin(world) as m:
        m.mail()
        assert m.rcpt("<whatever@example.com>", rcpt_addr="d1@example.com").status == "continue"
        assert used(world, "d1@example.com") == 1
        assert m.rcpt("<x>", rcpt_addr='"d2"@example.com').status == "continue"
        assert used(world, "d2@example.com") == 1
        m.abort()


def test_a_long_login_cuts_no_verdict_from_the_log(world):
    with begin(world) as m:
        m.mail(auth_authen="%" * 1000)
        assert m.rcpt("<nobody@example.com>").status == "550 5.1.1"
        m.abort()
    wait_for(lambda: [d for d in world.gate.decisions(verdict="reject", by="alias") if d.get("user", "").endswith("...")],
             "the whole line")


def test_client_unknown(world):
    with world.milter() as m:
        m.connect(None)
        m.mail()
        assert m.rcpt("<d3@example.com>").status == "continue"


def test_non_smtpd_is_let_through(world):
    """cleanup(8) plays SMTP for local mail: port 0 at connect, a queue id already at MAIL. Refusing would be illegal."""
    for _ in range(2):
        with world.milter() as m:
            m.connect("127.0.0.1", "localhost", port=0)
            m.mail("<root@example.com>", i="4cXlocal")
            assert m.rcpt("<nobody@example.com>", i="4cXlocal").status in ("continue", "not wanted", "accept")
            m.data()
            assert m.eom().kind in ("continue", "accept")
    said = wait_for(lambda: [line for line in world.gate.log().splitlines() if "non_smtpd" in line], "it is said")
    assert len(said) == 1, "said once"


def test_hostile_addresses(world):
    hostile = [b"<" + b"x" * 60000 + b"@example.com>", b"<\xff\xfe@example.com>", b"<a\r\nb@example.com>",
               b"<%s%n%x@example.com>", b"<{x}@example.com>", b"<>", b"", b"<", b"<@>", b"<a@>", b"<@example.com>",
               b"<a@example.com", b"\x01\x02", b"<\"unclosed@example.com>", b"<a b c@example.com>",
               b"<a\\@example.com>", b"<(((((@example.com>", b"@" * 5000]
    with begin(world) as m:
        m.mail()
        for raw in hostile:
            for macros in (True, False):
                answer = m.rcpt(raw.replace(b"\0", b""), with_macros=macros)
                assert answer.kind in ("continue", "reply", "tempfail"), (raw[:40], answer)
                if answer.kind == "reply":
                    assert answer.text[:3] not in ("421", "521")
                    assert all(32 <= ord(c) < 127 for c in answer.text), answer
        m.abort()
    for line in world.gate.log().splitlines():
        assert line.isprintable(), line
    check(world)


def test_oversized_frame(world):
    with begin(world) as m:
        m.raw(struct.pack("!I", 0x7FFFFFFF) + b"M")
        assert m.closed()
    with begin(world) as m:
        m.raw(struct.pack("!I", 0xFFFFFFFF) + b"R" * 100)
        assert m.closed()
    check(world)


def test_empty_frame_and_unknown_commands(world):
    for data in (struct.pack("!I", 0), struct.pack("!I", 1) + b"Z", struct.pack("!I", 1) + b"\0",
                 struct.pack("!I", 1) + b"M", struct.pack("!I", 1) + b"R", struct.pack("!I", 1) + b"C",
                 struct.pack("!I", 1) + b"D", struct.pack("!I", 2) + b"DR", struct.pack("!I", 5) + b"DRi\0x"):
        m = begin(world)
        m.raw(data)
        m.hang_up()
    check(world)


def test_garbage(world):
    dice = random.Random(7)
    for _ in range(200):
        m = world.milter(negotiate=dice.random() < 0.5)
        try:
            for _ in range(dice.randint(1, 5)):
                if dice.random() < 0.5:
                    m.raw(bytes(dice.randrange(256) for _ in range(dice.randint(1, 300))))
                else:
                    body = bytes(dice.randrange(256) for _ in range(dice.randint(0, 40)))
                    m.send(bytes([dice.choice(b"OCHMRTLNBEAQKDU")]), body)
        except OSError:
            pass
        m.hang_up()
    check(world)


def test_half_a_frame(world):
    """libmilter waits for the rest in one thread each, and may let another session wait for one of them; once
    the peer is gone nothing is left of it."""
    lame = [world.milter(negotiate=False) for _ in range(20)]
    for m in lame:
        m.raw(b"\0\0\0\x0dO\0\0")
    for m in lame:
        m.hang_up()
    check(world)


def test_old_protocol(world):
    with world.milter(negotiate=False) as m:
        try:
            m.negotiate(version=2, actions=0x3F, protocol=0x7F)
        except (Closed, ConnectionError):
            return
        m.connect()
        m.mail()
        assert m.rcpt("<e0@example.com>").kind in ("continue", "tempfail", "reply")
    check(world)


def test_negotiates_without_what_it_wants(world):
    """An MTA that offers nothing: neither DELRCPT nor the macros."""
    with world.milter(negotiate=False) as m:
        try:
            m.negotiate(actions=0, protocol=0)
        except (Closed, ConnectionError):
            return
    check(world)


def test_many_recipients_in_one_message(world):
    with begin(world) as m:
        m.mail()
        for i in range(2000):
            assert m.rcpt(f"<nobody{i}@example.com>").status == "550 5.1.1"
            assert m.rcpt("<f0@example.com>").status == "continue"
        assert used(world, "f0@example.com") == 1
        m.data()
        m.eom()


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are counted in /proc")
def test_idle_sessions_do_not_cost(world):
    many = [begin(world) for _ in range(150)]
    check(world)
    threads = len(os.listdir(f"/proc/{world.gate.process.pid}/task"))
    for m in many:
        m.hang_up()
    assert threads < 60, threads
