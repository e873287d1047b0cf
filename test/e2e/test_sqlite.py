"""As in production: the gate reads the alias database, Postfix asks the gate where mail for an alias goes."""

import pytest

from harness import World


@pytest.fixture(scope="module")
def world():
    with World("redis", [{"name": "ten", "per": "recipient", "max": 10, "window": "1h", "over": "defer"}],
               maps=True) as w:
        w.database.alias("one@example.com", "joe@mailbox.example")
        w.database.alias("two@example.com", "ann@mailbox.example,joe@mailbox.example")
        w.database.alias("drop@example.com", "joe@mailbox.example", action="discard")
        w.settled()
        yield w


def test_expansion(world):
    with world.smtp() as smtp:
        answers, end = smtp.send(["one@example.com", "two+tag@example.com", "nobody@example.com",
                                  "drop@example.com"], token="expand")
    assert [a.code for a in answers] == [250, 250, 550, 250] and end.code == 250
    world.idle()
    assert world.sink.mailboxes("expand") == ["ann@mailbox.example", "joe@mailbox.example", "joe@mailbox.example"]
    assert world.sink.of("expand") == ["one@example.com", "two+tag@example.com", "two+tag@example.com"]


def test_an_alias_made_while_all_runs(world):
    with world.smtp() as smtp:
        assert smtp.send(["new@example.com"])[0][0].code == 550
        world.database.alias("new@example.com", "new@mailbox.example")
        answers, end = smtp.send(["new@example.com"], token="new")
        assert answers[0].code == 250 and end.code == 250
    world.idle()
    assert world.sink.mailboxes("new") == ["new@mailbox.example"]


def test_an_alias_made_by_the_command(world):
    world.gate.command("alias", "add", "made@example.com", "made@mailbox.example")
    world.database.share()
    with world.smtp() as smtp:
        answers, end = smtp.send(["MADE@example.com"], token="made")
        assert answers[0].code == 250 and end.code == 250
    world.idle()
    assert world.sink.mailboxes("made") == ["made@mailbox.example"]
    assert "made@example.com" in world.gate.command("alias", "list")
    world.gate.command("alias", "remove", "made@example.com")
    with world.smtp() as smtp:
        assert smtp.send(["made@example.com"])[0][0].status in ("451 4.3.0", "550 5.1.1"), "never accepted any more"
        world.settled()
        assert smtp.send(["made@example.com"])[0][0].status == "550 5.1.1"
