"""As in production: the gate reads the alias database, Postfix asks the gate where mail for an alias goes."""

import time

import pytest

from harness import World, wait_for


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


FOREVER = ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
           "SELECT 'x@y' AS address, NULL AS mailbox, NULL AS owner, NULL AS class, 'accept' AS action, NULL AS reply, "
           "max(i) AS expires_at FROM n")


def test_a_view_in_place_of_a_table():
    with World("memory", [], mta=False) as w:
        w.database.alias("a@example.com")
        w.settled()
        w.database.script(f"ALTER TABLE aliases RENAME TO a; CREATE VIEW aliases AS {FOREVER};")
        wait_for(lambda: "no table aliases" in w.gate.command("status", check=None), "named")
        assert w.gate.told("a@example.com") == ["continue"], "by the last good copy"
        begin = time.monotonic()
        assert "no table aliases" in w.gate.command("alias", "list", check=1)
        assert "no table aliases" in w.gate.command("alias", "add", "x@example.com", "y@b.example", check=1)
        assert time.monotonic() - begin < 30
        w.database.script("DROP VIEW aliases; ALTER TABLE a RENAME TO aliases;")
        wait_for(lambda: w.gate.has_taken(w.database), "taken again")


@pytest.mark.parametrize("action", ["reject", "discard"])
def test_a_client_whose_exemption_is_lost(action):
    """No sender rule was for it, the most exact one neither: until that is judged nobody can tell, and then the copy answers."""
    with World("memory", mta=False) as w:
        w.database.alias("a@example.com")
        w.database.client("192.0.2.0/24", "accept")
        w.database.sender("a@example.com", "bob@sender.example", action)
        w.settled()
        m = w.milter()
        m.connect("192.0.2.7")
        m.mail("<bob@sender.example>")
        assert m.rcpt("<a@example.com>").kind == "continue"
        w.database.run("DELETE FROM client_rules")
        said, dropped = [], []
        for i in range(30):
            m.mail("<bob@sender.example>")
            said.append(m.rcpt("<a@example.com>").status)
            if said[-1] == "continue":
                dropped.append(m.eom().kind)
            time.sleep(0.05)
        assert set(said) <= {"continue", "451 4.3.0"}, said
        assert "discard" not in dropped, dropped
        m.hang_up()
