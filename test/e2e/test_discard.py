"""A discarded alias and an accepted alias of one mailbox in one message: the mailbox gets exactly the accepted one."""

import itertools
import zlib

import pytest

from harness import World


@pytest.fixture(scope="module", params=["plain", "maps"])
def world(request):
    with World("memory", maps=request.param == "maps") as w:
        w.kind = request.param
        w.database.alias("keep@example.com", "box@mailbox.example")
        w.database.alias("keep2@example.com", "box@mailbox.example")
        w.database.alias("drop@example.com", "box@mailbox.example", action="discard")
        w.database.alias("drop2@example.com", "box@mailbox.example", action="discard")
        w.database.alias("größe@example.com", "box@mailbox.example", action="discard")
        w.database.domain("xn--bcher-kva.example")
        w.database.alias("drop@xn--bcher-kva.example", "box@mailbox.example", action="discard")
        w.database.alias("several@example.com", "box@mailbox.example,second@mailbox.example")
        w.settled()
        yield w


@pytest.mark.parametrize("order", [
    ["drop", "keep"], ["keep", "drop"], ["drop", "keep", "drop2"], ["keep", "drop", "keep2"],
    ["drop", "drop2", "keep"], ["keep", "drop", "drop"], ["drop", "keep", "drop"]], ids="-".join)
def test_order(world, order):
    token = "order-" + "-".join(order)
    with world.smtp() as smtp:
        answers, end = smtp.send([f"{name}@example.com" for name in order], token=token)
        assert {a.code for a in answers} == {250} and end.code == 250
    world.idle()
    assert world.sink.of(token) == sorted(f"{name}@example.com" for name in set(order) if name.startswith("keep"))


SPELLINGS = ["drop@example.com", "DROP@example.com", '"drop"@example.com', "drop+tag@example.com",
             "drop@EXAMPLE.COM", "dr\\op@example.com"]


@pytest.mark.parametrize("a,b", itertools.combinations(SPELLINGS, 2))
def test_spellings_of_a_discard(world, a, b):
    token = f"spell-{SPELLINGS.index(a)}-{SPELLINGS.index(b)}"
    with world.smtp() as smtp:
        answers, end = smtp.send([a, "keep@example.com", b], token=token)
        assert {x.code for x in answers} == {250} and end.code == 250
    world.idle()
    assert world.sink.of(token) == ["keep@example.com"]


@pytest.mark.parametrize("spelling", [b"<@r1.example,@r2.example:drop@example.com>", b"< drop@example.com >",
                                      b"drop@example.com", b"<drop(comment)@example.com>", b"<drop@example.com.>",
                                      pytest.param(b"<drop(" + 3000 * b"c" + b")@example.com>", id="long"),
                                      pytest.param(b"<@r1(" + 3000 * b"c" + b").example:drop@example.com>", id="long-route"),
                                      b"@r1.example,@r2.example:drop@example.com", "<größe@example.com>".encode(),
                                      "größe+tag@EXAMPLE.com.".encode(), "<drop@bücher.example>".encode(),
                                      "<drop@BÜCHER.example>".encode(),
                                      b"<@r1.example:<drop@example.com>>", b"@r1.example:<drop@example.com>",
                                      b"<<drop@example.com>>", b"<<@r1.example:drop@example.com>>",
                                      b"(comment) <drop@example.com>", b"<(comment)@r1.example:drop@example.com>",
                                      b"<somebody <drop@example.com>>", b"<group: drop@example.com;>", b"<drop@example.com,>",
                                      b"<drop@example.com(>", b"<@r1.example:drop@example.com(>",
                                      b"<drop%example.com(>", b"<\"drop\"@example.com>"])
def test_odd_paths_of_a_discard(world, spelling):
    token = f"odd-{zlib.crc32(spelling):08x}"
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8")
        first = smtp.rcpt(spelling)
        if first.code != 250:
            pytest.skip(f"Postfix itself refuses this form: {first!r}")
        assert smtp.rcpt("keep@example.com").code == 250
        assert smtp.data(token).code == 250
        smtp.mail(options=" SMTPUTF8")
        assert smtp.rcpt(spelling).code == 250
        assert smtp.data(f"{token}-alone").code == 250
    world.idle()
    assert world.sink.of(token) == ["keep@example.com"] and world.sink.mailboxes(f"{token}-alone") == []


def test_alias_of_several_mailboxes(world):
    if world.kind == "plain":
        pytest.skip("needs the expansion")
    with world.smtp() as smtp:
        answers, end = smtp.send(["drop@example.com", "several@example.com"], token="several")
        assert {a.code for a in answers} == {250} and end.code == 250
    world.idle()
    assert world.sink.mailboxes("several") == ["box@mailbox.example", "second@mailbox.example"]


@pytest.mark.parametrize("spelling", [*SPELLINGS, "@r1.example,@r2.example:drop@example.com", "drop@example.com."])
def test_nobody_is_left(world, spelling):
    token = f"alone-{spelling.encode().hex()}"
    with world.smtp() as smtp:
        answers, end = smtp.send([spelling], token=token)
        assert {x.code for x in answers} == {250} and end.code == 250
    world.idle()
    assert world.sink.mailboxes(token) == []


def test_who_was_added_is_left():
    with World("memory", maps=True, postfix={"always_bcc": "archive@mailbox.example"}) as w:
        w.database.alias("drop@example.com", "box@mailbox.example", action="discard")
        w.settled()
        w.send("drop@example.com", token="archived")
        w.idle()
        assert w.sink.mailboxes("archived") == ["archive@mailbox.example"]
