"""Every spelling of an address through a real Postfix: one canonical key or 553, and nothing breaks a line."""

import re
import string

import pytest

from harness import World, wait_for

LONG = "x" * 64


@pytest.fixture(scope="module")
def world():
    replies = {"invalid": "553 5.1.3 <%{recipient}> from <%{sender}> is no address",
               "alias_reject": "550 5.2.1 <%{recipient}> from <%{sender}> no more"}
    limits = [{"name": "count", "per": "recipient", "max": 1000, "window": "1m"},
              {"name": "closed", "per": ["recipient", "sender"], "max": 0, "window": "1m", "over": "reject",
               "when": {"sender_domain": "closed.example"},
               "reply": "550 5.7.1 <%{recipient}> from <%{sender}> via %{client} no more"}]
    with World("redis", limits, domains=[], replies=replies, counters={"max_new_subjects": 100000}) as w:
        for domain in ("example.com", "xn--bcher-kva.example", "xn--strae-oqa.example"):
            w.database.domain(domain, catch_all="accept")
        yield w


# What RCPT TO: is given, and the one key (without "rcptgate:recipient:") or the status of the refusal.
CORPUS = [
    (b"<user@example.com>", "{user@example.com}"),
    (b"<USER@Example.COM>", "{user@example.com}"),
    (b"<user@example.com.>", "{user@example.com}"),
    (b"user@example.com", "{user@example.com}"),
    (b"< user@example.com >", "{user@example.com}"),
    (b'<"user"@example.com>', "{user@example.com}"),
    (b'<"us\\er"@example.com>', "{user@example.com}"),
    (b"<us\\er@example.com>", "{user@example.com}"),
    (b"<user(a comment)@example.com>", "{user@example.com}"),
    (b"<@r1.example,@r2.example:user@example.com>", "{user@example.com}"),
    (b"<@r1.example:user@example.com>", "{user@example.com}"),
    (b"<user+tag@example.com>", "{user@example.com}"),
    (b'<"user+tag"@example.com>', "{user@example.com}"),
    (b"<+user@example.com>", "{+user@example.com}"),
    (b"<us.er@example.com>", "{us.er@example.com}"),
    (b'<"a b"@example.com>', '{"a%20b"@example.com}'),
    (b'<"a@b"@example.com>', '{"a@b"@example.com}'),
    (b'<"a\\"b"@example.com>', '{"a\\"b"@example.com}'),
    (b'<".a"@example.com>', '{".a"@example.com}'),
    (b"<a{b}c@example.com>", "{a%7Bb%7Dc@example.com}"),
    (b"<a|b@example.com>", "{a%7Cb@example.com}"),
    (b"<a'b@example.com>", "{a'b@example.com}"),
    (b"<a;drop=table@example.com>", "{a;drop=table@example.com}"),
    (b"<a=b/c@example.com>", "{a=b/c@example.com}"),
    (b"<a*b?c[d@example.com>", None),
    (b"<${jndi}$x`y`@example.com>", None),
    (b'<"a%b"@example.com>', None),
    (b"<%s%n%x@example.com>", None),
    (b"<%{limit}@example.com>", None),
    ("<usér@example.com>".encode(), None),
    ("<user@bücher.example>".encode(), "{user@xn--bcher-kva.example}"),
    ("<user@BÜCHER.example>".encode(), "{user@xn--bcher-kva.example}"),
    (b"<user@xn--bcher-kva.example>", "{user@xn--bcher-kva.example}"),
    (b"<user@XN--BCHER-KVA.example>", "{user@xn--bcher-kva.example}"),
    ("<user@straße.example>".encode(), "{user@xn--strae-oqa.example}"),  # folded in {rcpt_addr}, and not when our maps are asked
    (b"<" + LONG.encode() + b"@example.com>", "{" + LONG + "@example.com}"),
    (b"<" + LONG.encode() + b"y@example.com>", "553 5.1.3"),
    (b"<" + b"z" * 1500 + b"@example.com>", "553 5.1.3"),
    (b"<" + b"z" * 10240 + b"@example.com>", "5"),
    (b"<\xff\xfe@example.com>", "5"),
    (b'<"\x01\x02"@example.com>', None),
    (b"<a\tb@example.com>", None),
    (b"<a\x7fb@example.com>", None),
    (b"<.user@example.com>", None),
    (b"<us..er@example.com>", None),
    (b"<user.@example.com>", None),
    (b"<a b@example.com>", None),
    (b"<user@other@example.com>", None),
    (b"<other.example!user@example.com>", None),
    (b"<user%other.example@example.com>", None),
    (b"<user@[192.0.2.1]>", None),
    (b"<\"verdict=accept reply=x\"@example.com>", None),
    (b"<\"a\\\\\"@example.com>", None),
    (b"<@example.com>", None),
    (b"<user@>", None),
    (b"<\"user@example.com>", None),
    (b"<>", None),
]


def short(value):
    return value[:30].decode("latin-1").encode("unicode_escape").decode()


@pytest.mark.parametrize("raw,expected", CORPUS, ids=[f"{n}-{short(row[0])}" for n, row in enumerate(CORPUS)])
@pytest.mark.parametrize("utf8", [False, True], ids=["", "smtputf8"])
def test_one_key_or_a_refusal(world, raw, expected, utf8):
    world.redis.call("FLUSHALL")
    seen = len(world.gate.decisions())
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8" if utf8 else "")
        reply = smtp.rcpt(raw)
        well_formed(reply)
        keys = [k[len("rcptgate:recipient:"):] for k in world.redis.keys("rcptgate:recipient:*")]
        assert smtp.rcpt(f"the-end-of-{seen}@example.com").code == 250
    # The log is written by another thread, in order.
    told = wait_for(lambda: (lines := world.gate.decisions()[seen:]) and "the-end-of" in lines[-1]["to"] and lines, "a decision")
    if len(told) == 1:
        assert reply.code >= 400 and not keys, "Postfix refused it by itself"
        return
    decision = told[0]
    assert decision["verdict"] in ("accept", "reject", "defer")
    if reply.code == 250:
        assert len(keys) == 1, keys
        assert re.fullmatch(r"\{[!-~]+\}", keys[0]) and not re.search(r"[{}| ]", keys[0][1:-1])
        if expected is not None:
            assert keys[0] == expected
    else:
        assert not keys
        assert reply.status in ("553 5.1.3", "451 4.3.0"), repr(reply)
        if expected is not None:
            assert reply.status.startswith(expected), repr(reply)


def well_formed(reply):
    for line in reply.lines:
        assert re.match(r"[245]\d\d[ -]", line) and len(line) <= 512, line
        assert all(c in string.printable and c not in "\r\n\x0b\x0c" for c in line), line


@pytest.mark.parametrize("sender", [
    b"<%s%n@closed.example>", b"<a{b}|c@closed.example>", b'<"a b \\" verdict=accept"@closed.example>',
    b"<" + b"q" * 64 + b"@closed.example>", b"<%{limit}@closed.example>", b"<a\\\\b@closed.example>"])
@pytest.mark.parametrize("recipient", [b"<%d%%@example.com>", b"<x{y}@example.com>", b'<"a b"@example.com>'])
def test_reply_and_log_stay_whole(world, sender, recipient):
    """The addresses stand in the reply and in the log line; neither gets a line or a field more."""
    seen = len(world.gate.decisions())
    with world.smtp() as smtp:
        assert smtp.command(b"MAIL FROM:" + sender).code == 250
        reply = smtp.rcpt(recipient)
        well_formed(reply)
        if reply.code != 550:
            pytest.skip(f"not for the limit: {reply!r}")
        assert reply.status == "550 5.7.1" and reply.text.endswith("via 192.0.2.1 no more")
        assert len(reply.lines) == 1
        assert smtp.rset().code == 250, "the session is in step"
    wait_for(lambda: len(world.gate.decisions()) > seen, "a decision")
    decision = world.gate.decisions()[seen]
    assert decision["verdict"] == "reject" and decision["by"] == "limit" and decision["limit"] == "closed"


def test_log_lines_are_whole(world):
    for line in world.gate.log().splitlines():
        assert line.isascii() and line.isprintable(), line
    words = r"(?:[a-z_]+=(?:\"(?:[^\"\\]|\\.)*\"|[^\s\"]*))"
    for line in world.gate.log().splitlines():
        if " verdict=" in line:
            assert re.search(rf"{words}(?: {words})*$", line), line
