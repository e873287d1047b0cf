"""What a sender sees for each rule: aliases, senders, clients, domains, syntax. Against a real Postfix."""

import time

import pytest

from harness import World, wait_for

HOUR = 3600


@pytest.fixture(scope="module")
def world():
    replies = {"sender_defer": "450 4.7.1 later, 100% sure: <%{sender}> to <%{recipient}> from %{client}"}
    with World("memory", domains=["example.com", "other.example"], replies=replies) as w:
        fill(w.database)
        w.settled()
        yield w


def fill(db):
    now = int(time.time())
    db.alias("ok@example.com", "box@mailbox.example")
    db.alias("two@example.com", "one@mailbox.example,other@mailbox.example")
    db.alias("tagged+yes@example.com")
    db.alias("defer@example.com", action="defer")
    db.alias("reject@example.com", action="reject")
    db.alias("discard@example.com", action="discard")
    db.alias("own@example.com", action="reject", reply="554 5.7.1 gone, ask %{sender} 50% of the time")
    db.alias("badreply@example.com", action="reject", reply="421 4.3.2 hang up")
    db.alias("expired@example.com", expires_at=now - HOUR)
    db.alias("lives@example.com", expires_at=now + HOUR)
    db.alias("postmaster@other.example", action="defer")
    db.alias("info.gone@example.com", None, action="reject")
    db.glob("example.com", "info.*")
    db.glob("example.com", "info.secret.*", action="reject")
    db.glob("example.com", "x-?", action="discard")
    db.domain("catch.example", catch_all="accept")
    db.alias("gone@catch.example", None, action="reject")
    db.domain("nocatch.example", catch_all="reject")
    db.domain("closed.example", action="reject", reply="550 5.2.1 closed")
    db.alias("a@closed.example")
    db.domain("slow.example", action="defer")
    db.alias("a@slow.example")
    db.domain("owned.example", owner="alice")
    db.alias("a@owned.example")
    db.alias("b@owned.example", owner="bob")

    db.alias("picky@example.com")
    db.sender("picky@example.com", "bad@spam.example", "reject")
    db.sender("picky@example.com", "slow@spam.example", "defer")
    db.sender("picky@example.com", "drop@spam.example", "discard")
    db.sender("picky@example.com", "@whole.example", "reject")
    db.sender("picky@example.com", "good@whole.example", "accept")
    db.sender("picky@example.com", "@.tree.example", "reject")
    db.sender("picky@example.com", "<>", "reject")
    db.alias("allow@example.com")
    db.sender("allow@example.com", "*", "reject")
    db.sender("allow@example.com", "friend@ok.example", "accept")
    db.sender("allow@example.com", "@.ok.example", "accept")
    db.sender("@other.example", "@domainwide.example", "reject")
    db.alias("d@other.example")
    db.alias("free@other.example")
    db.sender("free@other.example", "x@domainwide.example", "accept")
    db.sender("owner:alice", "enemy@x.example", "reject", reply="550 5.7.1 alice says no")
    db.sender("*", "plague@x.example", "reject")
    db.sender("*", "later@x.example", "defer")

    db.client("198.51.100.0/24", "reject")
    db.client("198.51.100.64/26", "defer")
    db.client("198.51.100.66", "accept")
    db.client("203.0.113.9", "discard")
    db.client("203.0.113.10", "reject", expires_at=now - HOUR)
    db.client("2001:db8:bad::/48", "defer")


RECIPIENTS = [
    ("ok@example.com", "250 2.1.5"),
    ("OK@EXAMPLE.com", "250 2.1.5"),
    ("ok+tag@example.com", "250 2.1.5"),
    ("two@example.com", "250 2.1.5"),
    ("tagged+yes@example.com", "250 2.1.5"),
    ("tagged@example.com", "550 5.1.1"),
    ("tagged+no@example.com", "550 5.1.1"),
    ("nobody@example.com", "550 5.1.1"),
    ("expired@example.com", "550 5.1.1"),
    ("expired+x@example.com", "550 5.1.1"),
    ("lives@example.com", "250 2.1.5"),
    ("defer@example.com", "450 4.2.1"),
    ("reject@example.com", "550 5.2.1"),
    ("discard@example.com", "250 2.1.5"),
    ("own@example.com", "554 5.7.1"),
    ("badreply@example.com", "550 5.2.1"),
    ("info.anything@example.com", "250 2.1.5"),
    ("info.gone@example.com", "550 5.2.1"),
    ("info.secret.plan@example.com", "550 5.2.1"),
    ("x-1@example.com", "250 2.1.5"),
    ("x-12@example.com", "550 5.1.1"),
    ("whatever@catch.example", "250 2.1.5"),
    ("gone@catch.example", "550 5.2.1"),
    ("whatever@nocatch.example", "550 5.1.1"),
    ("a@closed.example", "550 5.2.1"),
    ("a@slow.example", "450 4.2.1"),
    ("anybody@not-ours.example", "250 2.1.5"),
    ("postmaster@example.com", "250 2.1.5"),
    ("abuse@example.com", "250 2.1.5"),
    ("postmaster@other.example", "450 4.2.1"),
    ("x" * 65 + "@example.com", "553 5.1.3"),
    ("a@owned.example", "250 2.1.5"),
]


@pytest.mark.parametrize("recipient,status", RECIPIENTS, ids=[row[0][:40] for row in RECIPIENTS])
def test_recipient(world, recipient, status):
    with world.smtp() as smtp:
        smtp.mail()
        assert smtp.rcpt(recipient).status == status
        assert smtp.rcpt("ok@example.com").status == "250 2.1.5", "the other recipient of the message goes on"


SENDERS = [
    ("picky@example.com", "anybody@spam.example", "250 2.1.5"),
    ("picky@example.com", "bad@spam.example", "550 5.7.1"),
    ("picky@example.com", "BAD@Spam.Example", "550 5.7.1"),
    ("picky@example.com", "slow@spam.example", "450 4.7.1"),
    ("picky@example.com", "x@whole.example", "550 5.7.1"),
    ("picky@example.com", "good@whole.example", "250 2.1.5"),
    ("picky@example.com", "x@sub.whole.example", "250 2.1.5"),
    ("picky@example.com", "x@a.b.tree.example", "550 5.7.1"),
    ("picky@example.com", "", "550 5.7.1"),
    ("picky+tag@example.com", "bad@spam.example", "550 5.7.1"),
    ("allow@example.com", "stranger@x.example", "550 5.7.1"),
    ("allow@example.com", "friend@ok.example", "250 2.1.5"),
    ("allow@example.com", "x@mail.ok.example", "250 2.1.5"),
    ("allow@example.com", "", "550 5.7.1"),
    ("d@other.example", "x@domainwide.example", "550 5.7.1"),
    ("free@other.example", "x@domainwide.example", "250 2.1.5"),
    ("a@owned.example", "enemy@x.example", "550 5.7.1"),
    ("b@owned.example", "enemy@x.example", "250 2.1.5"),
    ("ok@example.com", "plague@x.example", "550 5.7.1"),
    ("ok@example.com", "later@x.example", "450 4.7.1"),
    ("ok@example.com", "", "250 2.1.5"),
]


@pytest.mark.parametrize("recipient,sender,status", SENDERS, ids=[f"{r[1]}-to-{r[0]}" for r in SENDERS])
def test_sender(world, recipient, sender, status):
    with world.smtp() as smtp:
        smtp.mail(sender)
        assert smtp.rcpt(recipient).status == status


def test_sender_discard(world):
    with world.smtp() as smtp:
        answers, end = smtp.send(["picky@example.com", "ok@example.com"], "drop@spam.example", "sender-drop")
    assert [a.code for a in answers] == [250, 250] and end.code == 250
    world.idle()
    assert world.sink.of("sender-drop") == ["ok@example.com"]


def test_client_reject_at_connect(world):
    with world.smtp("198.51.100.1") as smtp:
        assert smtp.banner.code == 554


@pytest.mark.parametrize("client,status", [
    ("198.51.100.65", "450 4.7.1"), ("198.51.100.66", "250 2.1.5"), ("203.0.113.10", "250 2.1.5"),
    ("2001:db8:bad:1::7", "450 4.7.1"), ("2001:db8:600d::7", "250 2.1.5"), ("198.51.101.1", "250 2.1.5")])
def test_client(world, client, status):
    with world.smtp(client) as smtp:
        smtp.mail()
        assert smtp.rcpt("ok@example.com").status == status


def test_client_discard(world):
    with world.smtp("203.0.113.9") as smtp:
        answers, end = smtp.send(["ok@example.com"], token="client-drop")
    assert answers[0].code == 250 and end.code == 250
    world.idle()
    assert world.sink.of("client-drop") == []


def test_client_accept_rule_beats_the_senders_and_not_the_aliases(world):
    with world.smtp("198.51.100.66") as smtp:
        smtp.mail("plague@x.example")
        assert smtp.rcpt("ok@example.com").code == 250
        assert smtp.rcpt("nobody@example.com").status == "550 5.1.1"


def test_loopback_is_exempt_from_senders_only(world):
    with world.smtp(None) as smtp:
        smtp.mail("plague@x.example")
        assert smtp.rcpt("ok@example.com").code == 250
        assert smtp.rcpt("reject@example.com").status == "550 5.2.1"


def test_bare_postmaster(world):
    with world.smtp() as smtp:
        smtp.mail()
        assert smtp.rcpt("postmaster").code == 250


def test_reply_text_keeps_percent(world):
    with world.smtp() as smtp:
        smtp.mail("later@x.example")
        text = smtp.rcpt("ok@example.com").text
        assert "100% sure: <later@x.example> to <ok@example.com> from 192.0.2.1" in text
        smtp.rset()
        smtp.mail("100%s@x.example")
        text = smtp.rcpt("own@example.com").text
        assert "ask 100%s@x.example 50% of the time" in text


def test_a_change_holds_for_the_next_rcpt(world):
    with world.smtp() as smtp:
        smtp.mail()
        assert smtp.rcpt("young@example.com").status == "550 5.1.1"
        world.database.alias("young@example.com")
        assert smtp.rcpt("young@example.com").code == 250
        world.database.run("UPDATE aliases SET action = 'reject' WHERE address = ?", "young@example.com")
        smtp.rset()
        smtp.mail()
        assert smtp.rcpt("young@example.com").status == "550 5.2.1"


def test_only_what_was_accepted_is_delivered(world):
    with world.smtp() as smtp:
        recipients = ["ok@example.com", "nobody@example.com", "discard@example.com", "defer@example.com",
                      "lives@example.com", "reject@example.com", "info.a@example.com"]
        answers, end = smtp.send(recipients, token="mixed")
    assert [a.code for a in answers] == [250, 550, 250, 450, 250, 550, 250] and end.code == 250
    world.idle()
    assert world.sink.of("mixed") == ["info.a@example.com", "lives@example.com", "ok@example.com"]


def test_a_message_for_discards_only_is_swallowed(world):
    with world.smtp() as smtp:
        answers, end = smtp.send(["discard@example.com", "x-1@example.com"], token="swallowed")
        assert [a.code for a in answers] == [250, 250] and end.code == 250
        answers, end = smtp.send(["ok@example.com"], token="after-swallowed")
        assert answers[0].code == 250 and end.code == 250
    world.idle()
    assert world.sink.of("swallowed") == [] and world.sink.of("after-swallowed") == ["ok@example.com"]


def test_decisions_are_logged(world):
    with world.smtp("192.0.2.77") as smtp:
        smtp.mail("log@sender.example")
        smtp.rcpt("ok@example.com")
        smtp.rcpt("nobody@example.com")
    lines = wait_for(lambda: len(found := world.gate.decisions(client="192.0.2.77")) == 2 and found, "two decisions")
    assert lines[0]["to"] == "<ok@example.com>" and lines[0]["from"] == "<log@sender.example>"
    assert lines[0]["verdict"] == "accept"
    assert lines[1]["verdict"] == "reject" and lines[1]["by"] == "alias" and lines[1]["reply"].startswith("550 5.1.1")


def test_postfix_never_hung_up(world):
    assert " 421 " not in world.postfix.log() and " 521 " not in world.postfix.log()


def test_reports_nothing_left_in_the_queue(world):
    world.idle()
    assert not world.postfix.queued()
