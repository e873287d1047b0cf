"""Postfix asks the gate: what the gate accepts Postfix can deliver, and what nobody can tell is "later"."""

import json
import os
import subprocess
import threading
import time

import pytest

from harness import Smtp, World, run_threads, wait_for
from socketmap import SocketMap

REFUSES_ITSELF = {"smtpd_reject_unlisted_recipient": "yes", "smtpd_relay_restrictions": "reject_unauth_destination"}


@pytest.fixture(scope="module")
def world():
    with World("memory", maps=True, domains=("example.com", "xn--bcher-kva.example"),
               postfix={"default_process_limit": "300", "mydestination": "localhost"}) as w:
        db = w.database
        db.alias("one@example.com", "joe@mailbox.example")
        db.alias("two@example.com", "Ann+x@Mailbox.Example, joe@mailbox.example")
        db.alias("one+vip@example.com", "vip@mailbox.example")
        db.alias("none@example.com", None)
        db.alias("gone@example.com", action="reject")
        db.alias("old@example.com", expires_at=1)
        db.alias("later@example.com", action="defer")
        db.alias("drop@example.com", "trap@mailbox.example", action="discard")
        db.alias("hole@example.com", None, action="discard")
        db.alias('"a b"@example.com', "quoted@mailbox.example")
        db.alias("many@example.com", ",".join(f"m{i}@mailbox.example" for i in range(90)))
        db.alias("endless@example.com", ",".join(f"m{i}@mailbox.example" for i in range(9000)))
        db.glob("example.com", "shop-*", "shop@mailbox.example")
        db.glob("example.com", "*-no", action="reject")
        db.alias("x@xn--bcher-kva.example", "books@mailbox.example")
        db.alias("straße@example.com", "street@mailbox.example")
        db.alias("Éva@example.com", "eva@mailbox.example")
        db.alias("ö@example.com", "island@mailbox.example")
        db.alias("ſwiß@example.com", "swiss@mailbox.example")
        db.alias("swiss@example.com", action="discard")
        db.alias("ø@example.com", "north@mailbox.example")
        db.alias("Ø@example.com", "north@mailbox.example", action="discard")
        db.domain("mess.example")
        db.alias("ß@mess.example", "mess@mailbox.example")
        db.domain("xn--strae-oqa.example")
        db.alias("x@xn--strae-oqa.example", "roads@mailbox.example")
        db.alias("allow@example.com", "one@mailbox.example")
        db.sender("allow@example.com", "*", "reject")
        for friend in ("friend.example", "intra", "[ipv6:2001:db8::1]"):
            db.sender("allow@example.com", f"straße@{friend}", "accept")
        db.sender("allow@example.com", "@xn--strae-oqa.example", "accept")
        db.domain("all.example", catch_all="accept")
        db.domain("star.example")
        db.glob("star.example", "*", "star@mailbox.example")
        db.domain("shut.example", action="reject")
        db.alias("a@shut.example", "a@mailbox.example")
        w.settled()
        yield w


ANSWERS = [
    ("domains", "example.com", "OK example.com"),
    ("domains", "EXAMPLE.com", "OK EXAMPLE.com"),
    ("domains", "bücher.example", "OK bücher.example"),
    ("domains", "mailbox.example", "NOTFOUND "),
    ("domains", "sub.example.com", "NOTFOUND "),
    ("domains", ".example.com", "NOTFOUND "),
    ("domains", "shut.example", "OK shut.example"),
    ("domains", "", "NOTFOUND "),
    ("domains", "a b", "NOTFOUND "),
    ("aliases", "one@example.com", "OK joe@mailbox.example"),
    ("aliases", "ONE@Example.com", "OK joe@mailbox.example"),
    ("aliases", "one+tag@example.com", "OK joe@mailbox.example"),
    ("aliases", "one+vip@example.com", "OK vip@mailbox.example"),
    ("aliases", "two@example.com", "OK Ann+x@Mailbox.Example, joe@mailbox.example"),
    ("aliases", '"a b"@example.com', "OK quoted@mailbox.example"),
    ("aliases", "shop-7@example.com", "OK shop@mailbox.example"),
    ("aliases", "shop-7+x@example.com", "OK shop@mailbox.example"),
    ("aliases", "x@bücher.example", "OK books@mailbox.example"),
    ("aliases", "anybody@star.example", "OK star@mailbox.example"),
    ("aliases", "postmaster@example.com", "OK postmaster"),
    ("aliases", "Abuse+x@example.com", "OK postmaster"),
    ("aliases", "postmaster@all.example", "OK postmaster"),
    ("aliases", "postmaster@star.example", "OK star@mailbox.example"),
    ("aliases", "postmaster@mailbox.example", "NOTFOUND "),
    ("aliases", "drop@example.com", "OK trap@mailbox.example"),
    ("aliases", "hole@example.com", "OK hole@example.com"),
    ("aliases", "later@example.com", "TEMP the alias rules defer mail to this address"),
    ("aliases", "endless@example.com", "TEMP the alias database cannot tell now what becomes of this address"),
    *[("aliases", key, "NOTFOUND ") for key in (
        "nobody@example.com", "none@example.com", "gone@example.com", "gone+x@example.com", "old@example.com", "a-no@example.com",
        "anybody@all.example", "a@shut.example", "a@mailbox.example", "@example.com", "@all.example", "one", "one@", "a b@example.com",
        "\xff\xfe@example.com", "@", "postmaster", "x" * 5000 + "@example.com")],
    ("others", "one@example.com", "TEMP the gate has two maps: domains, aliases"),
]


def test_answers(world):
    with SocketMap(world.gate.maps) as m:
        for name, key, answer in ANSWERS:
            assert m.ask(name, key) == answer, (name, key)
        assert len(m.ask("aliases", "many@example.com").split(",")) == 90


def test_questions_in_a_row_and_in_pieces(world):
    with SocketMap(world.gate.maps) as m:
        m.socket.sendall(b"19:domains example.com,20:domains star.example,")
        assert [m.receive(), m.receive()] == ["OK example.com", "OK star.example"]
        for byte in b"19:domains example.com,":
            m.socket.sendall(bytes([byte]))
        assert m.receive() == "OK example.com"


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.0\r\n\r\n", b"9999999:x", b"5:aaaaaaaaaa", b":,", b"0:,", b"7:domains,", b"99999:",
                                  b"-1:a,", b"\0\0\0\0"])
def test_what_is_no_question_ends_the_connection(world, junk):
    with SocketMap(world.gate.maps) as m:
        m.socket.sendall(junk)
        assert m.receive() == ""
    assert world.gate.process.alive()


def test_hundreds_of_connections(world):
    clients = [SocketMap(world.gate.maps) for _ in range(400)]
    try:
        for client in clients:  # all at once, and each more than once
            client.send("aliases one@example.com")
        ok, late = "OK joe@mailbox.example", "TEMP the alias database cannot tell now what becomes of this address"
        assert ok in (answers := {client.receive() for client in clients}) and answers <= {ok, late}  # a busy machine reads too slowly for some
        assert {client.ask("aliases", "one@example.com") for client in clients} == {ok}
        assert {client.ask("domains", "example.com") for client in clients} == {"OK example.com"}
    finally:
        for client in clients:
            client.socket.close()


def test_who_stands_still_costs_only_himself(world):
    with SocketMap(world.gate.maps) as slow:
        slow.socket.sendall(b"19:domains ex")
        with SocketMap(world.gate.maps) as m:
            assert m.word("domains", "example.com") == "OK"
        assert slow.receive() == "", "sent away"


def test_a_socket_that_was_removed_comes_back(world):
    path = world.gate.maps.removeprefix("unix:")
    os.unlink(path)
    wait_for(lambda: os.path.exists(path), "the map socket is mended")

    def asked():
        try:
            with SocketMap(path) as m:
                return m.word("domains", "example.com") == "OK"
        except OSError:
            return False
    wait_for(asked, "the map socket answers again")
    assert oct(os.stat(path).st_mode & 0o777) == "0o660"


DELIVERED = {"one@example.com": ["joe@mailbox.example"], "ONE+tag@Example.com": ["joe@mailbox.example"],
             "one+vip@example.com": ["vip@mailbox.example"],
             "two@example.com": ["Ann+x@Mailbox.Example", "joe@mailbox.example"], "shop-7@example.com": ["shop@mailbox.example"],
             '"a b"@example.com': ["quoted@mailbox.example"], "any@star.example": ["star@mailbox.example"],
             "postmaster@example.com": ["postmaster@mx.rcptgate.test"], "abuse@star.example": ["star@mailbox.example"],
             "abuse@example.com": ["postmaster@mx.rcptgate.test"], "drop@example.com": [], "hole@example.com": [],
             "x@bücher.example": ["books@mailbox.example"],
             "straße@example.com": ["street@mailbox.example"], "straße+x@EXAMPLE.com.": ["street@mailbox.example"],
             "Éva@example.com": ["eva@mailbox.example"], "x@straße.example": ["roads@mailbox.example"]}


@pytest.mark.parametrize("address", DELIVERED)
def test_delivery(world, address):
    token = f"delivery-{list(DELIVERED).index(address)}"
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8")
        assert smtp.rcpt(address).code == 250
        assert smtp.data(token).code == 250
    world.idle()
    assert world.sink.mailboxes(token) == DELIVERED[address]


@pytest.mark.parametrize("address", ["éva@example.com", "STRASSE@example.com", "strasse@example.com", "Ö@example.com", "y@straße.example"])
def test_letters_beyond_ascii(world, address):
    """Postfix folds them in what it tells the gate, and not in what it asks the maps: what they do not know the gate does not accept."""
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8")
        assert smtp.rcpt(address).status == "550 5.1.1"


@pytest.mark.parametrize("address, answer", [("straße%example.com", "451 4.3.0"), ("example.com!straße", "451 4.3.0"), ("Ö%example.com", "451 4.3.0"),
                                             ("ö%example.com", "451 4.3.0"), ("example.com!ß", "451 4.3.0"), ("ß%mess.example", "451 4.3.0"),
                                             ("strasse <straße@example.com>", "451 4.3.0"), ("straße%x@example.com", "550 5.1.1"), ("straße%x@example", "250 2.1.5"), ("straße", "451 4.3.0"),
                                             ("ß%mess.example@[127.0.0.1]", "451 4.3.0"), ("ß%%mess.example@[127.0.0.1]", "451 4.3.0"),
                                             ("ΐ" * 30 + "@example.com", "550 5.1.1"),  # folded it is too long to be one
                                             ("nobody%example.com", "550 5.1.1"), ("one%example.com", "250 2.1.5")])
def test_rewritten_and_folded(world, address, answer):
    """Of an address that Postfix has rewritten the letters as received are not known any more: it proves nothing."""
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8")
        assert smtp.rcpt(address).status == answer


@pytest.mark.parametrize("address, answer", [
    ("one%example.com@localhost", "451 4.3.0"), ('"one@example.com"@localhost', "451 4.3.0"), ("example.com!one@localhost", "451 4.3.0"),
    ("one@example.com@localhost", "451 4.3.0"), ("one@example.com@", "451 4.3.0"), ("one%example.com@", "451 4.3.0"), ("nobody@example.com@", "451 4.3.0"),
    ("drop@example.com@", "451 4.3.0"), ("postmaster%example.com@localhost", "451 4.3.0"),
    ("one%mailbox.example@localhost", "451 4.3.0"), ("one@example.com(at @work)", "250 2.1.5"), ("one%x@example.com", "550 5.1.1"),
    ("a%b@star.example", "250 2.1.5"), ('"a@b"@star.example', "250 2.1.5"), ("example.com!one", "250 2.1.5"), ("postmaster", "250 2.1.5")])
def test_a_route_through_this_host(world, address, answer):
    """Postfix tells the gate where it leads, but asks the maps for all of it, and would bounce what the gate has taken."""
    with world.smtp() as smtp:
        smtp.mail()
        assert smtp.rcpt("one@example.com").code == 250
        assert smtp.rcpt(address).status == answer, "nor is it the same as the one before it"


def test_a_rewritten_one_is_not_dropped_with_another(world):
    """What Postfix tells of it is the name of an alias that discards."""
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8")
        assert smtp.rcpt("hole@example.com").code == 250
        assert smtp.rcpt("ſwiß@example.com").code == 250
        assert smtp.rcpt("swiss@example.com").code == 250
        assert smtp.rcpt("ſwiß%example.com").status == "451 4.3.0"
        assert smtp.data("not-dropped").code == 250
    world.idle()
    assert world.sink.mailboxes("not-dropped") == ["swiss@mailbox.example"]


@pytest.mark.parametrize("recipients, answers, mailboxes", [
    ("ø", [250], 1), ("Ø", [250], 0), ("øØ", [250, 250], 1), ("Øø", [250, 451], 0), ("ØØ", [250, 250], 0), ("øØø", [250, 250, 250], 1)])
def test_what_postfix_takes_for_one(world, recipients, answers, mailboxes):
    """Of two recipients of one mailbox that differ in what it folds it keeps the first, which may be the one that is dropped."""
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8")
        assert [smtp.rcpt(local + "@example.com").code for local in recipients] == answers
        assert smtp.data("one-of-" + recipients).code == 250
    world.idle()
    assert world.sink.mailboxes("one-of-" + recipients) == ["north@mailbox.example"] * mailboxes


@pytest.mark.parametrize("sender, answer", [("straße@friend.example", "250 2.1.5"), ("a@straße.example", "250 2.1.5"), ("strasse@friend.example", "550 5.7.1"),
                                            ("straße%friend.example", "451 4.3.0"), ("friend.example!straße", "451 4.3.0"), ("straße%b@friend.example", "550 5.7.1"),
                                            ("straße@intra", "250 2.1.5"), ("ß@intra", "550 5.7.1"), ("straße@[IPv6:2001:DB8::1]", "250 2.1.5"), ("straße@straße", "451 4.3.0"), ("straße", "451 4.3.0")])
def test_senders_beyond_ascii(world, sender, answer):
    with world.smtp() as smtp:
        smtp.mail(sender, " SMTPUTF8")
        assert smtp.rcpt("allow@example.com").status == answer


def test_all_in_one_message(world):
    with world.smtp() as smtp:
        smtp.mail(options=" SMTPUTF8")
        assert {smtp.rcpt(address).code for address in DELIVERED} == {250}
        assert smtp.data("together").code == 250
    world.idle()
    expected = {mailbox for mailboxes in DELIVERED.values() for mailbox in mailboxes}
    assert set(world.sink.mailboxes("together")) == expected


def test_nothing_bounced(world):
    world.idle()
    assert "status=bounced" not in world.postfix.log()


def test_mail_on_forty_connections(world):
    def send(i):
        with world.smtp(f"192.0.2.{i}") as smtp:
            return [smtp.send(["one@example.com", "shop-x@example.com"], token=f"many-{i}")[1].code for _ in range(5)]
    assert {code for codes in run_threads(40, send) for code in codes} == {250}
    world.idle()
    assert sum(len(world.sink.of(f"many-{i}")) for i in range(40)) == 400


# ---- faults

def tokens(w, token):
    w.idle()
    return w.sink.mailboxes(token)


def test_the_database_is_away():
    """What the copy knows is delivered, mailboxes outside too; what it does not know waits."""
    with World("memory", maps=True, postfix=REFUSES_ITSELF) as w:
        w.database.alias("one@example.com", "joe@mailbox.example")
        w.settled()
        os.rename(w.database.path, f"{w.database.path}.away")
        wait_for(lambda: w.gate.status()["aliases"]["in_force"] == "copy", "the copy answers")
        with SocketMap(w.gate.maps) as m:
            assert m.ask("aliases", "one@example.com") == "OK joe@mailbox.example"
            assert m.word("domains", "example.com") == "OK"
            assert m.word("domains", "mailbox.example") == "NOTFOUND", "mail on its way out is not held up"
            assert m.word("aliases", "joe@mailbox.example") == "NOTFOUND"
            for key in ("nobody@example.com", "postmaster@example.com"):
                assert m.word("aliases", key) == "TEMP"
        with w.smtp() as smtp:
            answers, end = smtp.send(["one@example.com", "nobody@example.com"], token="copy")
        assert answers[0].code == 250 and answers[1].code == 451 and end.code == 250
        assert tokens(w, "copy") == ["joe@mailbox.example"]
        os.rename(f"{w.database.path}.away", w.database.path)
        w.settled()
        with SocketMap(w.gate.maps) as m:
            assert m.word("aliases", "nobody@example.com") == "NOTFOUND"


def test_a_domain_of_the_last_moment():
    """The copy does not have it yet when the file is lost: it is no stranger's for that."""
    with World("memory", mta=False) as w:
        w.database.aliases([f"a{i}@example.com" for i in range(200000)])
        w.settled()
        with SocketMap(w.gate.maps) as m:
            w.database.domain("new.example")
            wait_for(lambda: m.word("domains", "new.example") == "OK", "the domain is there")
            os.unlink(w.database.path)
            wait_for(lambda: w.gate.status()["aliases"]["in_force"] == "copy", "the copy answers")
            assert m.word("domains", "example.com") == "OK"
            assert m.word("domains", "new.example") in ("TEMP", "OK")
            assert m.word("domains", "mailbox.example") == "NOTFOUND"


def test_a_domain_that_came_with_refused_data():
    """It is no stranger's either, which Postfix would answer 554, however long nobody says that the data is right."""
    with World("memory", maps=True, postfix=REFUSES_ITSELF) as w:
        w.database.aliases([f"a{i}@example.com" for i in range(300)])
        w.settled()
        w.database.run("DELETE FROM aliases")
        wait_for(lambda: w.gate.status()["aliases"]["in_force"] == "copy", "it is refused")
        w.database.domain("new.example")
        w.database.alias("x@new.example")
        with SocketMap(w.gate.maps) as m, w.smtp() as smtp:
            until = time.monotonic() + 2
            while time.monotonic() < until:
                assert m.word("domains", "new.example") == "TEMP"
                assert m.word("domains", "mailbox.example") == "NOTFOUND", "mail on its way out is not held up"
                assert smtp.send(["x@new.example"])[0][0].code == 451
            w.gate.command("alias", "accept")
            wait_for(lambda: m.word("aliases", "x@new.example") == "OK", "it is there")


def test_rows_are_lost():
    """Neither a 554 by Postfix for the domain, nor a 550 for the alias, nor somebody else's mailbox."""
    with World("memory", maps=True, postfix=REFUSES_ITSELF, domains=("example.com", "other.example")) as w:
        w.database.aliases([f"a{i}@example.com" for i in range(1000)], "joe@mailbox.example")
        w.database.glob("example.com", "*", "everybody@mailbox.example")
        w.settled()
        with w.smtp() as smtp:
            w.database.run("DELETE FROM aliases")
            w.database.run("DELETE FROM domains WHERE domain = 'example.com'")
            ends = set()
            until = time.monotonic() + 3
            while time.monotonic() < until:
                answers, end = smtp.send(["a7@example.com"], token="lost")
                ends.add(end.code if end else answers[0].code)
        assert ends <= {250, 451}, ends
        assert "everybody@mailbox.example" not in tokens(w, "lost")
        assert "status=bounced" not in w.postfix.log()


def test_while_nobody_can_tell():
    """No copy, no file: 451 for all, by Postfix and by the gate."""
    with World("memory", maps=True, postfix=REFUSES_ITSELF, aliases={"database": "/nonexistent/aliases.db"}) as w:
        with SocketMap(w.gate.maps) as m:
            for name, key in (("domains", "example.com"), ("aliases", "a@example.com"), ("aliases", "postmaster@example.com"),
                              ("domains", "mailbox.example")):
                assert m.word(name, key) == "TEMP"
        with w.smtp() as smtp:
            assert smtp.send(["a@example.com"])[0][0].code == 451
            assert smtp.send(["postmaster@example.com"])[0][0].code == 451


def test_postfix_refuses_itself():
    """smtpd_reject_unlisted_recipient: what is there passes, discarded ones too; who is not there is unknown to Postfix, too."""
    with World("memory", maps=True, postfix=REFUSES_ITSELF) as w:
        w.database.alias("one@example.com", "joe@mailbox.example")
        w.database.alias("drop@example.com", "joe@mailbox.example", action="discard")
        w.database.alias("hole@example.com", None, action="discard")
        w.database.alias("later@example.com", action="defer")
        w.settled()
        with w.smtp() as smtp:
            answers, end = smtp.send(["one+x@example.com", "drop@example.com", "hole@example.com", "later@example.com",
                                      "nobody@example.com", "postmaster@example.com", "a@strange.example"], token="itself")
        assert [a.code for a in answers] == [250, 250, 250, 451, 550, 250, 250] and end.code == 250
        assert tokens(w, "itself") == ["a@strange.example", "joe@mailbox.example", "postmaster@mx.rcptgate.test"]


def test_shadow():
    """Nothing is refused or dropped: what has a mailbox is delivered, whatever its row says."""
    with World("memory", maps=True, mode="shadow") as w:
        for name, row in {"gone": {"action": "reject"}, "later": {"action": "defer"}, "drop": {"action": "discard"},
                          "old": {"expires_at": 1}}.items():
            w.database.alias(f"{name}@example.com", f"{name}@mailbox.example", **row)
        wait_for(lambda: w.gate.has_taken(w.database), "the rules are taken")
        with w.smtp() as smtp:
            assert smtp.send([f"{name}@example.com" for name in ("gone", "later", "drop", "old")], token="shadow")[1].code == 250
        assert tokens(w, "shadow") == sorted(f"{name}@mailbox.example" for name in ("gone", "later", "drop", "old"))


def test_role_mailbox():
    with World("memory", mta=False) as w:
        w.gate.write_policy(aliases={"database": str(w.database.path), "role_mailbox": "admin@mailbox.example"})
        w.gate.reload()
        w.database.alias("abuse@example.com", "abuse@mailbox.example")
        w.settled()
        with SocketMap(w.gate.maps) as m:
            wait_for(lambda: m.ask("aliases", "postmaster@example.com") == "OK admin@mailbox.example", "the new role mailbox")
            assert m.ask("aliases", "abuse@example.com") == "OK abuse@mailbox.example"


def test_the_gate_restarts_under_mail():
    """What was answered 250 is delivered, and nothing else than "later" is heard in between."""
    with World("memory", maps=True, postfix=REFUSES_ITSELF) as w:
        w.database.aliases([f"a{i}@example.com" for i in range(50)])
        w.settled()
        over, codes, taken = [], set(), []

        def send(i):
            n = 0
            while not over:
                n += 1
                try:
                    with Smtp(w.postfix, f"192.0.2.{i + 1}") as smtp:
                        token = f"restart-{i}-{n}"
                        answers, end = smtp.send([f"a{i}@example.com"], token=token)
                        codes.add((end or answers[0]).code)
                        if end and end.code == 250:
                            taken.append(token)
                except ConnectionError:
                    pass
        threads = [threading.Thread(target=send, args=(i,), daemon=True) for i in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            before = len(taken)
            wait_for(lambda: len(taken) > before + 20, "mail flows")
            w.gate.stop()
            time.sleep(0.2)
            w.gate.start()
        before = len(taken)
        wait_for(lambda: len(taken) > before + 20, "mail flows")
        over.append(True)
        for thread in threads:
            thread.join(60)
        assert codes <= {250, 451}, codes
        w.idle()
        assert sorted(t for t in taken) == sorted({d.token for d in w.sink.deliveries if d.token in set(taken)})
        assert "status=bounced" not in w.postfix.log()
        assert "User unknown" not in w.postfix.log()


def test_no_maps():
    """inet: none unless it is set; "" is none."""
    with World("memory", mta=False) as w:
        w.gate.stop()
        w.gate.write_policy(maps={"socket": ""})
        w.gate.start()
        assert not os.path.exists(w.gate.maps.removeprefix("unix:"))
        w.gate.stop()
        del w.gate.policy["maps"]
        w.gate.write_policy()
        w.gate.start()
        with SocketMap(w.gate.socket.parent / "map.sock") as m:
            assert m.word("domains", "example.com") in ("OK", "TEMP")


def test_another_gate_has_the_socket():
    with World("memory", mta=False, gates=2) as w:
        second = w.gates[1]
        second.stop()
        second.write_policy(maps={"socket": w.gate.maps})
        second.start()
        reasons = {r["what"]: r["text"] for r in second.status()["reasons"]}
        assert "maps.socket" in reasons["maps"], reasons
        w.gate.stop()
        wait_for(lambda: "maps" not in {r["what"] for r in second.status()["reasons"]}, "it takes the socket over")
        with SocketMap(w.gate.maps) as m:
            wait_for(lambda: m.word("domains", "example.com") == "OK", "and answers")


def test_postmap(world):
    """Postfix's own word for it."""
    def postmap(name, key):
        done = subprocess.run(["postmap", "-c", world.postfix.etc, "-q", key, f"socketmap:{world.gate.maps}:{name}"],
                              capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.strip()
    assert postmap("aliases", "one+x@example.com") == (0, "joe@mailbox.example")
    assert postmap("aliases", "nobody@example.com") == (1, "")
    assert postmap("domains", "star.example") == (0, "star.example")


def test_subdomains():
    """*@user.example.com, without a row for each user."""
    with World("memory", maps=True, domains=(".example.com",)) as w:
        w.database.glob(".example.com", "*", "all@mailbox.example")
        w.database.alias("shop@ann.example.com", "ann@mailbox.example")
        w.settled()
        with SocketMap(w.gate.maps) as m:
            assert [m.word("domains", d) for d in ("ann.example.com", "a.b.example.com", "example.com")] == ["OK", "OK", "NOTFOUND"]
        with w.smtp() as smtp:
            answers, end = smtp.send(["shop@ann.example.com", "any@ann.example.com", "x@a.b.example.com"], token="below")
        assert {a.code for a in answers} == {250} and end.code == 250
        assert tokens(w, "below") == ["all@mailbox.example", "all@mailbox.example", "ann@mailbox.example"]


def test_what_would_bounce_is_told():
    """By who writes it, by check, and by status as a note that changes nothing."""
    exempt = {"recipients": ["postmaster@*", "abuse@*", "sales@example.com", "shop@example.com", "info@*"]}
    with World("memory", mta=False, exempt=exempt) as w:
        w.settled()
        check = w.gate.command("check")
        assert "sales@example.com is let in and is no alias" in check and "/exempt/recipients/4" in check, check
        assert "no mailbox" not in check
        assert "has no mailbox" in w.gate.command("alias", "add", "shop@example.com")
        assert "has no mailbox" in w.gate.command("alias", "add", "s-*@example.com")
        assert "has no mailbox" in w.gate.command("domain", "add", "all.example", "--catch-all", "accept")
        for words in (["alias", "add", "gone@example.com", "--action", "reject"], ["alias", "add", "full@example.com", "a@mailbox.example"],
                      ["alias", "add", "postmaster@example.com", "--action", "accept", "--mailbox", "a@mailbox.example"]):
            assert "has no mailbox" not in w.gate.command(*words)
        w.database.share()
        check = w.gate.command("check")
        assert "3 of its aliases, globs and catch-alls accept mail and have no mailbox (*@all.example)" in check, check
        assert "recipients/3" not in check, "it is an alias"
        told = "3 aliases or catch-alls accept mail and have no mailbox, *@all.example for one"
        wait_for(lambda: {r["what"]: r["text"] for r in w.gate.status()["notes"]}.get("aliases-mailbox", "").startswith(told), "the note")
        assert w.gate.is_well()
        for words in (["alias", "set", "shop@example.com", "me@mailbox.example"], ["alias", "set", "s-*@example.com", "me@mailbox.example"],
                      ["alias", "add", "*@all.example", "me@mailbox.example"]):
            w.gate.command(*words)
        w.database.share()
        wait_for(lambda: "aliases-mailbox" not in {r["what"] for r in w.gate.status()["notes"]}, "the note goes")
        assert "no mailbox" not in w.gate.command("check")


ROUND = {  # by local part at example.com: where it forwards to, and what becomes of it. None: it is delivered
    "self": ("self@example.com", "bounced"), "tagged": ("Tagged+x@Example.com", "bounced"), "both": ("joe@mailbox.example, both@example.com", "bounced"),
    "ring": ("gnir@example.com", "451"), "gnir": ("ring@example.com", "451"), "fork": ("joe@mailbox.example,prong@example.com", "451"),
    "prong": ("fork+x@example.com", "451"), "to-ring": ("ring@example.com", "451"),
    "to-gone": ("gone@example.com", "bounced"), "to-old": ("old@example.com", "bounced"), "to-nobody": ("nobody@example.com", "bounced"),
    "to-shut": ("a@shut.example", "bounced"), "to-none": ("none@example.com", "bounced"), "to-hole": ("hole@example.com", "bounced"),
    "to-all": ("x@all.example", "bounced"), "to-self": ("self@example.com", "bounced"), "far": ("to-gone@example.com", "bounced"),
    "second": ("joe@mailbox.example, Gone@Example.com.", "bounced"), "to-loop": ("loop-1@example.com", "bounced"),
    "to-idn": ("nobody@bücher.example", "bounced"), "to-below": ("nobody@a.below.example", "bounced"),
    "to-fine": ("fine@example.com", None), "to-fine-tag": ("fine+x@example.com", None), "to-star": ("any@star.example", None),
    "to-glob": ("shop-1@example.com", None), "to-role": ("postmaster@example.com", None), "to-drop": ("drop@example.com", None),
    "twice": ("to-fine@example.com,fine@example.com", None), "away": ("joe@mailbox.example", None), "bare": ("postmaster", None),
}


@pytest.mark.parametrize("name", ROUND)
def test_forwards_among_our_own(round_world, name):
    """check warns of a row exactly where Postfix cannot deliver what is accepted for it."""
    w, told = round_world
    end = ROUND[name][1]
    with w.smtp() as smtp:
        smtp.mail()
        assert smtp.rcpt(f"{name}@example.com").code == 250
        answer = smtp.data(name)
    assert answer.code == (451 if end == "451" else 250)
    w.idle()
    lines = [line for line in w.postfix.log().splitlines() if f"to=<{name}@example.com>" in line and "status=bounced" in line]
    assert bool(lines) == (end == "bounced"), lines
    assert told[name] == (end is not None)


@pytest.fixture(scope="module")
def round_world():
    with World("memory", maps=True, domains=("example.com", "star.example", "xn--bcher-kva.example", ".below.example")) as w:
        db = w.database
        db.domain("all.example", catch_all="accept")
        db.domain("shut.example", action="reject")
        fixed = {"fine": {}, "gone": {"action": "reject"}, "old": {"expires_at": 1}, "later": {"action": "defer"}, "drop": {"action": "discard"}}
        for name, columns in fixed.items():
            db.alias(f"{name}@example.com", "fine@mailbox.example", **columns)
        db.alias("none@example.com", None)
        db.alias("hole@example.com", None, action="discard")
        db.alias("a@shut.example", "a@mailbox.example")
        db.glob("star.example", "*", "star@mailbox.example")
        db.glob("example.com", "shop-*", "shop@mailbox.example")
        db.glob("example.com", "loop-*", "loop-x@example.com")
        told = {}
        for name, (mailbox, _) in ROUND.items():
            db.alias(f"{name}@example.com", mailbox)
        w.settled()
        report = warned(w)
        assert report.startswith(f"{sum(end is not None for _, end in ROUND.values()) + 1} of its aliases and globs"), report
        before = count_warned(w)
        for name in ROUND:  # is it one of them? Where it forwards elsewhere there is one less, or more
            db.run(f"UPDATE aliases SET owner = mailbox, mailbox = 'joe@mailbox.example' WHERE address = '{name}@example.com'")
            told[name] = count_warned(w) < before
            db.run(f"UPDATE aliases SET mailbox = owner, owner = NULL WHERE address = '{name}@example.com'")
        w.settled()
        yield w, told


def warned(w):
    texts = [p["text"] for p in json.loads(w.gate.command("check", "--json"))["problems"]]
    return next((text for text in texts if "forward it to an address of ours" in text), "0 of")


def count_warned(w):
    return int(warned(w).split()[0])


def test_letters_that_grow_and_dots_that_postfix_does_not_see():
    """Without our maps what counts is folded, unless that is longer than an address is. A domain without a dot of ASCII gets Postfix' own."""
    with World("memory", postfix={"append_dot_mydomain": "yes"}) as w:
        w.database.domain("all.example", catch_all="accept")
        w.database.alias("one@example.com", "joe@mailbox.example")
        w.database.alias("ΐ" * 22 + "@example.com", "joe@mailbox.example")
        w.settled()

        def told(address):
            with w.smtp() as smtp:
                smtp.mail(options=" SMTPUTF8")
                return smtp.rcpt(address).status

        assert [told(address) for address in ("one@example。com", "nobody@example。com", "ß@example．com")] == ["451 4.3.0"] * 3
        w.gate.stop()
        w.gate.write_policy(maps={"socket": ""})
        w.gate.start()
        w.settled()
        grown = [told("ΐ" * n + domain) for n in (22, 33) for domain in ("@example.com", "@all.example")]
        assert grown == ["250 2.1.5", "250 2.1.5", "553 5.1.3", "553 5.1.3"]
        assert told("ΐ" * 22 + "%x@example.com") in ("451 4.3.0", "550 5.1.1")


def test_what_postfix_could_not_read():
    """One of its own tables is away, and its resolver tells the milter what it began with: that is nobody's address."""
    with World("memory", maps=True, domains=("example.com", "example.org"), postfix={"mydestination": "!example.com, fail:own"}) as w:
        w.database.alias("only@example.com", "joe@mailbox.example")
        w.database.sender("only@example.com", "*", "reject")
        w.database.sender("only@example.com", "bob@friend.example", "accept")
        w.database.alias("drop@example.org", "joe@mailbox.example", action="discard")
        w.settled()
        with w.smtp() as smtp:
            smtp.mail("bob@friend.example")
            assert smtp.rcpt("only@example.com").status == "451 4.3.0"
            smtp.rset()
            smtp.mail("")
            for address in ("one@example.org", "drop@example.org", "one@elsewhere.example", "postmaster"):
                assert smtp.rcpt(address).status == "451 4.3.0"
            assert smtp.rcpt("nobody@example.com").status == "550 5.1.1"
