"""Who floods, and what for: `top --by`, the event, and the line of a message in the log."""

import json
import os
import re
import signal
import subprocess

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZERS, World, parse_log, wait_for

LIMITS = [
    {"name": "alias-minute", "per": "recipient", "max": 2, "window": "1h"},
    {"name": "trial", "per": "sender", "max": 3, "window": "1h", "shadow": True},
    {"name": "backlog", "per": "host", "count": "backlog", "max": 100000},
]


@pytest.fixture(scope="module", params=["redis", "memory"])
def world(request):
    queue = {"every": "1s", "command": ["/bin/true"]}
    with World(request.param, LIMITS, mta=False, queue=queue) as found:
        found.database.alias("a@example.com")
        for i in range(20):
            found.database.alias(f"dead{i}@example.com", action="reject")
        found.database.sender("*", "@spam.example", "reject")
        found.database.client("198.51.100.0/24", "defer")
        found.settled()
        for client, sender, recipient, n in (
                ("192.0.2.7", "bob@flood.example", "a@example.com", 40), ("192.0.2.8", "eve@flood.example", "a@example.com", 5),
                ("192.0.2.9", "guess@flood.example", "{}@example.com", 12), ("192.0.2.10", "x@spam.example", "a@example.com", 3),
                ("198.51.100.3", "y@elsewhere.example", "a@example.com", 2), ("192.0.2.11", "", "a b@example.com", 1),
                ("192.0.2.12", "z@dead.example", "dead{}@example.com", 20)):
            with found.milter() as m:
                m.connect(client)
                for i in range(n):
                    m.message(recipient.format(i), f"<{sender}>")
        found.gate.command("block", "203.0.113.0/24")
        with found.milter() as m:
            m.connect("203.0.113.5")
        yield found


def by(world, word, *more):
    report = json.loads(world.gate.command("top", "--by", word, "-n", "100", "--json", *more))
    assert report["by"] == word and report["minutes"] == 5
    return report["refused"]


def test_by_client(world):
    rows = {(row["client"], row["rule"], row["row"], row["shadow"]): row for row in by(world, "client")}
    flood = rows["192.0.2.7", "limit", "alias-minute", False]
    assert (flood["refused"], flood["sender"], flood["recipient"]) == (38, "bob@flood.example", "a@example.com")
    assert rows["192.0.2.8", "limit", "alias-minute", False]["refused"] == 5
    guess = rows["192.0.2.9", "unknown", "example.com", False]
    assert (guess["refused"], guess["sender"], guess["recipient"]) == (12, "guess@flood.example", "")
    assert rows["192.0.2.10", "sender", "@spam.example", False]["refused"] == 3
    assert rows["198.51.100.3", "client", "198.51.100.0/24", False]["refused"] == 2
    assert rows["192.0.2.11", "address", "example.com", False]["sender"] == "<>"
    blocked = rows["203.0.113.5", "block", "203.0.113.0/24", False]
    assert blocked["refused"] == 1 and "sender" not in blocked
    dead = rows["192.0.2.12", "alias", "", False]  # one client, however many aliases refuse it
    assert (dead["refused"], dead["sender"], dead["recipient"]) == (20, "z@dead.example", "")
    assert [row["refused"] for row in by(world, "client")] == sorted((row["refused"] for row in by(world, "client")), reverse=True)


def test_by_sender_and_rule(world):
    senders = by(world, "sender")
    assert (senders[0]["sender"], senders[0]["client"], senders[0]["refused"]) == ("bob@flood.example", "192.0.2.7", 38)
    assert next(row for row in senders if row["sender"] == "z@dead.example")["refused"] == 20
    rules = {(row["rule"], row["row"]): row for row in by(world, "rule") if not row["shadow"]}
    dead = {("alias", f"dead{i}@example.com") for i in range(20)}
    assert dead <= set(rules) and set(rules) - dead == {("limit", "alias-minute"), ("unknown", "example.com"), ("sender", "@spam.example"),
                          ("client", "198.51.100.0/24"), ("block", "203.0.113.0/24"), ("address", "example.com")}
    assert rules["limit", "alias-minute"]["refused"] == 43


def test_of_one_limit(world):
    assert {row["client"] for row in by(world, "client", "--limit", "alias-minute")} == {"192.0.2.7", "192.0.2.8"}
    assert {row["shadow"] for row in by(world, "client", "--limit", "trial")} <= {True}
    assert by(world, "client", "--limit", "backlog") == []


def test_for_a_person(world):
    told = world.gate.command("top", "--by", "client")
    first = told.splitlines()[2]
    assert re.search(r"38 +192\.0\.2\.7 +limit alias-minute +bob@flood\.example +a@example\.com", first), told
    assert re.search(r"12 +192\.0\.2\.9 +no such address at example.com +guess@flood.example +various", told), told
    assert re.search(r"1 +203\.0\.113\.5 +block 203\.0\.113\.0/24 +- +-", told), told
    assert "nothing was refused here" in world.gate.command("top", "--by", "sender", "--limit", "backlog").lower()


def test_what_does_not_exist(world):
    for words, named in ((("--by", "clients"), "client"), (("--by", "sendr"), "sender"), (("--by", "rules"), "rule")):
        said = world.gate.command("top", *words, check=64)
        assert f'did you mean "{named}"?' in said
    assert "client, sender or rule" in world.gate.command("top", "--by", "zzz", check=64)
    for words in ((), ("--by", "client"), ("--by", "rule")):
        assert 'did you mean "alias-minute"?' in world.gate.command("top", *words, "--limit", "alias-minut", check=1)


def test_the_event_says_who(world):
    line = wait_for(lambda: next((line for line in world.gate.log().splitlines() if "event=limit-tripped" in line
                                  and "limit=alias-minute" in line), None), "the limit trips")
    fields = parse_log(line)
    assert (fields["client"], fields["sender"]) == ("192.0.2.7", "bob@flood.example")
    told = json.loads(world.gate.command("events", "--json", "-n", "100"))
    event = next(e for e in told if e["event"] == "limit-tripped" and e["limit"] == "alias-minute")
    assert (event["client"], event["sender"], event["subject"]) == ("192.0.2.7", "bob@flood.example", "recipient:{a@example.com}")


def started(world, *words):
    return subprocess.Popen([RCPTGATE, *words, "-c", str(world.gate.policy_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=dict(os.environ, **SANITIZERS), text=True)


@pytest.mark.parametrize("words", [("top", "--watch"), ("top", "--by", "client", "--watch"), ("events", "--follow")], ids=" ".join)
def test_goes_on_until_it_is_told(world, words):
    for end in ("signal", "pipe"):
        command = started(world, *words)
        assert command.stdout.readline() != ""
        if end == "signal":
            command.send_signal(signal.SIGINT)
            command.stdout.read()
        command.stdout.close()
        assert command.wait(PATIENCE) == 0
        assert command.stderr.read() == ""
        command.stderr.close()


def test_watch_looks_again(world):
    command = started(world, "top", "--by", "rule", "--watch")
    heads = 0
    while heads < 2:
        line = command.stdout.readline()
        assert line != ""
        heads += line.startswith("Refused or dropped")
    command.stdout.close()
    assert command.wait(PATIENCE) == 0
    command.stderr.close()


def test_without_a_gate():
    with World("redis", LIMITS, mta=False) as world:
        world.gate.stop()
        assert "no gate runs" in world.gate.command("top", "--by", "client", check=69)
        assert "no counters" in world.gate.command("top")


# ------------------------------------------------------------------------------------------------- the message's line

def message_lines(world):
    return [parse_log(line) for line in world.gate.log().splitlines() if "event=message" in line]


def test_a_message_has_a_line():
    """With the queue id, so that it joins Postfix's lines and those of its recipients."""
    with World("memory", LIMITS[:1], exempt={"clients": ["192.0.2.99"]}) as world:
        world.database.alias("a@example.com")
        world.database.alias("b@example.com")
        world.database.alias("drop@example.com", action="discard")
        world.settled()
        with world.smtp("192.0.2.7") as smtp:
            smtp.mail("bob@sender.example")
            for recipient in ("nobody@example.com", "a@example.com", "A@example.com", "b@example.com", "drop@example.com"):
                smtp.rcpt(recipient)
            smtp.data("hello")
        with world.smtp("192.0.2.99") as smtp:
            smtp.mail("carol@sender.example")
            smtp.rcpt("a@example.com")
            smtp.data("hello")
        first, second = wait_for(lambda: (lambda lines: lines if len(lines) == 2 else None)(message_lines(world)), "the lines come")
        assert (first["client"], first["from"], first["to"]) == ("192.0.2.7", "<bob@sender.example>", "<a@example.com>")
        assert (first["accepted"], first["refused"], first["discarded"], first["duplicates"]) == ("2", "1", "1", "1")
        assert "exempt" not in first and "verdict" not in first
        assert (second["exempt"], second["accepted"], second["refused"]) == ("client", "1", "0")
        assert first["queue"] != second["queue"]
        for line in (first, second):
            logged = re.compile(rf"cleanup\[\d+\]: {line['queue']}: message-id=")
            wait_for(lambda: logged.search(world.postfix.log()), f"Postfix does not have it: {line}")
        assert {d["queue"] for d in world.gate.decisions(to="<b@example.com>")} == {first["queue"]}
        decisions = world.gate.decisions(client="192.0.2.99")
        assert [d["exempt"] for d in decisions] == ["client"]
        assert all("exempt" not in d for d in world.gate.decisions(client="192.0.2.7"))


def test_a_message_that_is_refused_at_its_end():
    """Its line says so, and who sent it is among those that were refused."""
    limits = [{"name": "bytes", "per": "recipient", "count": "bytes", "max": 1000, "window": "1h"}]
    with World("memory", limits, mta=False) as world:
        world.database.alias("a@example.com")
        world.settled()
        with world.milter() as one, world.milter() as two:
            answers = []
            for m, client in ((one, "192.0.2.1"), (two, "192.0.2.2")):
                m.connect(client)
                m.mail("<bob@sender.example>")
                assert m.rcpt("<a@example.com>").kind == "continue"
            for m in (one, two):
                m.data()
                m.end_headers()
                m.body(b"x" * 1500)
                answers.append(m.eom().status)
        assert answers == ["continue", "452 4.2.2"]
        first, second = wait_for(lambda: (lambda lines: lines if len(lines) == 2 else None)(message_lines(world)), "the lines come")
        assert (first["size"], first["accepted"]) == ("1502", "1") and "reply" not in first
        assert (second["client"], second["accepted"], second["reply"]) == ("192.0.2.2", "1", "452 4.2.2")
        row, = by(world, "client")
        assert (row["client"], row["rule"], row["row"], row["refused"], row["sender"]) == ("192.0.2.2", "limit", "bytes", 1, "bob@sender.example")
