"""The witness itself: a gate that lies is found out, and one that says the truth is not. And the ledger: mail that is lost is missed."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import post
from alias_rules import is_address
from harness import Failure, MilterClient, Scratch, Sink, Smtp, World, wait_for
from listener import Listener
from load import session
from witness import Packets, Witness, fronts

LIMITS = [
    {"name": "hard", "per": "recipient", "max": 2, "window": "1h", "over": "reject", "when": {"recipient_domain": "example.com"}},
    {"name": "soft", "per": "recipient", "max": 0, "window": "1h", "over": "defer"},
    {"name": "closed", "per": "recipient", "max": 0, "window": "1h", "over": "reject", "when": {"class": "closed"}},
    {"name": "flood", "per": "client", "count": "attempts", "max": 3, "window": "1h", "over": "reject", "hold": "1h",
     "when": {"client": "203.0.113.0/24"}},
]


class ScriptedGate(Listener):
    """Answers a command as `script` says, else "continue"; at the end of a message it first drops the recipients in `drops`."""

    def __init__(self, scratch):
        self.script, self.drops = {}, []
        self.listen(scratch / "scripted.sock")

    def serve(self, near):
        packets = Packets()
        with near:
            while data := near.recv(65536):
                for command, words in packets.feed(data):
                    for answer in self._answers(command, words):
                        near.sendall(struct.pack("!I", len(answer)) + answer)

    def _answers(self, command, words):
        if command == b"O":
            return [b"O" + struct.pack("!III", 6, 0x1FF, 0)]
        if command in b"DAQK":
            return []
        answer = self.script.get(command, b"c")
        drops = [b"-" + drop.encode() + b"\0" for drop in self.drops] if command == b"E" else []
        return [*drops, answer if len(answer) == 1 else b"y" + answer + b" text\0"]


@pytest.fixture()
def scene():
    """A scripted gate behind a witness, with alias rules and a policy."""
    scratch = Scratch()
    database = post.Database(scratch)
    database.domain("example.com")
    database.domain("shut.example", action="reject")
    database.alias("a@example.com")
    database.alias("sealed@example.com", **{"class": "closed"})
    database.alias("gone@example.com", action="reject")
    database.alias("void@example.com", action="discard")
    database.alias("old@example.com", expires_at=1000)
    database.glob("example.com", "spam*", action="reject")
    database.sender("a@example.com", "@bad.example", "reject")
    database.client("198.51.100.0/24", "reject")
    policy = scratch / "gate.json"
    policy.write_text(json.dumps({"aliases": {"database": str(database.path)}, "limits": LIMITS}))
    gate = ScriptedGate(scratch)
    witness = Witness(scratch / "front", gate.path, lambda: policy)
    yield SimpleNamespace(scratch=scratch, database=database, policy=policy, gate=gate, witness=witness)
    witness.stop()
    gate.stop()
    scratch.remove()


def message(scene, recipient, sender="<bob@sender.example>", client="192.0.2.1", finish=True):
    with MilterClient(scene.witness.path) as m:
        m.connect(client)
        m.mail(sender)
        m.rcpt(f"<{recipient}>")
        m.data()
        if finish:
            m.eom()
    time.sleep(0.05)


ANSWERS = [
    # recipient, answer, sender, client: true or not
    ("a@example.com", b"550 5.1.1", None, None, False),
    ("a+tag@example.com", b"550 5.1.1", None, None, False),
    ("nobody@example.com", b"550 5.1.1", None, None, True),
    ("nobody@example.com", b"550 5.7.1", None, None, True),  # a text of its own
    ("nobody@example.com", b"550 5.2.1", None, None, False),
    ("old@example.com", b"550 5.1.1", None, None, True),
    ("gone@example.com", b"550 5.2.1", None, None, True),
    ("gone@example.com", b"550 5.1.1", None, None, False),
    ("spam1@example.com", b"550 5.2.1", None, None, True),
    ("any@shut.example", b"550 5.2.1", None, None, True),
    ("who@elsewhere.example", b"550 5.1.1", None, None, False),
    ("postmaster@example.com", b"550 5.1.1", None, None, False),
    ("void@example.com", b"550 5.2.1", None, None, False),
    ("a@example.com", b"550 5.7.1", None, None, False),  # its limit has not been used
    ("sealed@example.com", b"550 5.7.1", None, None, True),
    ("sealed@example.com", b"550 5.7.1", "<>", None, False),
    ("a@example.com", b"550 5.7.1", "<x@bad.example>", None, True),
    ("a@example.com", b"550 5.7.1", "<x@good.example>", None, False),
    ("a@example.com", b"553 5.1.3", None, None, False),
    ("a..b@example.com", b"553 5.1.3", None, None, True),
    ("l" * 65 + "@example.com", b"553 5.1.3", None, None, True),
    ("a@example.com", b"550 5.7.1", None, "198.51.100.7", True),
    ("a@example.com", b"r", None, None, False),
    ("nobody@example.com", b"r", None, None, False),  # an answer without a text
    ("a@example.com", b"d", None, None, False),
    ("a@example.com", b"a", None, None, False),
    ("a@example.com", b"450 4.2.1", None, None, True),
    ("a@example.com", b"t", None, None, True),
]


@pytest.mark.parametrize("recipient, answer, sender, client, right", ANSWERS)
def test_answers(scene, recipient, answer, sender, client, right):
    scene.gate.script[b"R"] = answer
    message(scene, recipient, sender or "<bob@sender.example>", client or "192.0.2.1", finish=False)
    assert len(scene.witness.wrong) == (0 if right else 1), scene.witness.wrong


def test_a_commit_that_left_no_trace_in_the_times_is_seen(scene):
    """On a slow disk -wal is written, and read by the witness, long before its commit counts."""
    known = scene.witness.proof.database
    known._signature = lambda path, signature=known._signature(scene.database.path): signature
    known.seen = known._signature(None)
    time.sleep(0.5)  # what it knew before may not prove it
    scene.database.run("DELETE FROM aliases WHERE address = 'a@example.com'")
    scene.gate.script[b"R"] = b"550 5.1.1"
    message(scene, "a@example.com", finish=False)
    assert scene.witness.wrong == []


@pytest.mark.parametrize("drops, end, wrong", [
    (["void@example.com"], b"c", 0), (["a@example.com"], b"c", 1), (["other@example.com"], b"c", 1), ([], b"d", 1), ([], b"a", 0),
    ([], b"550 5.7.1", 1), ([], b"451 4.3.0", 0)])
def test_drops(scene, drops, end, wrong):
    scene.gate.drops, scene.gate.script[b"E"] = drops, end
    with MilterClient(scene.witness.path) as m:
        m.connect()
        m.mail()
        m.rcpt("<a@example.com>")
        m.rcpt("<void@example.com>")
        m.data()
        m.eom()
    assert len(scene.witness.wrong) == wrong, scene.witness.wrong


@pytest.mark.parametrize("command", [b"C", b"H", b"M", b"T"])
def test_a_client_is_refused_for_nothing(scene, command):
    scene.gate.script[command] = b"554 5.7.1"
    with MilterClient(scene.witness.path) as m:
        m.connect()
        m.helo()
        m.mail()
        m.data()
    assert len(scene.witness.wrong) == 1, scene.witness.wrong


def test_a_client_is_refused_by_a_block(scene):
    scene.gate.script[b"C"] = b"554 5.7.1"
    scene.witness.proof.block("192.0.2.0/24")
    with MilterClient(scene.witness.path) as m:
        m.connect("192.0.2.1")
    assert not scene.witness.wrong
    with MilterClient(scene.witness.path) as m:
        m.connect("192.0.3.1")
    assert len(scene.witness.wrong) == 1


def test_a_limit_counts_what_was_taken(scene):
    message(scene, "a@example.com")
    scene.gate.script[b"R"] = b"550 5.7.1"
    message(scene, "a@example.com")
    assert len(scene.witness.wrong) == 1, "one of two is not full"
    scene.gate.script.clear()
    message(scene, "a@example.com", finish=False)
    scene.gate.script[b"R"] = b"550 5.7.1"
    message(scene, "a@example.com", finish=False)
    assert len(scene.witness.wrong) == 2, "what did not reach its end proves nothing"
    scene.gate.script.clear()
    message(scene, "a@example.com")
    scene.gate.script[b"R"] = b"550 5.7.1"
    message(scene, "a@example.com", finish=False)
    assert len(scene.witness.wrong) == 2, "two of two are"


def test_a_hold_begins_with_one_attempt_too_many(scene):
    for n in range(3):
        message(scene, "a@example.com", client="203.0.113.5", finish=False)
    scene.gate.script[b"C"] = b"554 5.7.1"
    with MilterClient(scene.witness.path) as m:
        m.connect("203.0.113.5")
    assert len(scene.witness.wrong) == 1, "three are allowed"
    scene.gate.script = {b"R": b"550 5.7.1"}
    message(scene, "p0@post.example", client="203.0.113.5", finish=False)
    scene.gate.script = {b"C": b"554 5.7.1"}
    with MilterClient(scene.witness.path) as m:
        m.connect("203.0.113.5")
    assert len(scene.witness.wrong) == 1


def test_a_database_that_is_none_proves_nothing(scene, monkeypatch):
    monkeypatch.setattr("alias_rules.NOTICED", 0.3)
    for name in ("nobody", "gone"):
        scene.gate.script[b"R"] = b"550"
        message(scene, f"{name}@example.com", finish=False)
    assert not scene.witness.wrong
    os.truncate(scene.database.path, 0)
    time.sleep(1.0)
    message(scene, "gone@example.com", finish=False)
    assert not scene.witness.wrong, "the copy has this row"
    message(scene, "nobody@example.com", finish=False)
    message(scene, "spam1@example.com", finish=False)
    assert len(scene.witness.wrong) == 2, "but does not prove an absence, nor has it a glob"


def test_rows_that_vanish_prove_nothing(scene, monkeypatch):
    monkeypatch.setattr("alias_rules.NOTICED", 0.3)
    scene.database.aliases([f"m{i}@example.com" for i in range(200)])
    wait_for(lambda: len(scene.witness.proof.database.good) > 200, "read")
    scene.database.run("DELETE FROM aliases WHERE address LIKE 'm%'")
    time.sleep(1.0)
    scene.gate.script[b"R"] = b"550 5.1.1"
    message(scene, "m7@example.com", finish=False)
    assert len(scene.witness.wrong) == 1
    scene.witness.proof.database.meant()
    time.sleep(1.0)
    message(scene, "m7@example.com", finish=False)
    assert len(scene.witness.wrong) == 1


def test_a_new_alias_is_known_at_once(scene):
    scene.gate.script[b"R"] = b"550 5.1.1"
    scene.database.alias("new@example.com")
    time.sleep(0.8)
    message(scene, "new@example.com", finish=False)
    assert len(scene.witness.wrong) == 1


def test_in_shadow_nothing_is_refused(scene):
    scene.policy.write_text(json.dumps({"mode": "shadow", "aliases": {"database": str(scene.database.path)}}))
    scene.witness.proof.policy.versions.clear()
    time.sleep(0.5)
    scene.gate.script[b"R"] = b"550 5.1.1"
    message(scene, "nobody@example.com", finish=False)
    assert len(scene.witness.wrong) == 1


def test_a_real_gate_with_other_rules_than_the_test_knows(monkeypatch):
    monkeypatch.setattr("alias_rules.NOTICED", 0.3)
    with World("memory", [{"name": "none", "per": "recipient", "max": 0, "window": "1h", "over": "reject"}], mta=False) as world:
        witness = world.gate.witness
        world.database.alias("a@example.com")
        assert session(world.gate, "a@example.com") == "550 5.7.1" and not witness.wrong and witness.proven == 1
        other = world.scratch / "other.json"
        other.write_text(json.dumps({"aliases": {"database": str(world.database.path)}}))
        world.gate.policy_path = other
        time.sleep(1.0)
        assert session(world.gate, "a@example.com") == "550 5.7.1" and len(witness.wrong) == 1
        witness.wrong.clear()


ROW = """
import fault_table
from harness import World

def test_row7_of_a_gate_that_lies():
    with World("memory", mta=False) as world:
        world.gate.witness.wrong.append("550 5.1.1 to somebody")
        fault_table.row.mail(2, 5, 3, 0)
"""


def test_a_row_fails_by_what_its_witness_saw(tmp_path):
    """Without a word of its own; and so does the table."""
    here, row, kept = Path(__file__).parent, tmp_path / "test_row.py", tmp_path / "kept"
    row.write_text(ROW)
    environment = dict(os.environ, PYTHONPATH=str(here), RCPTGATE_FAULT_TABLE=str(kept))
    run = subprocess.run([sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "conftest", row],
                         env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and "wrong: 550 5.1.1 to somebody" in run.stdout, run.stdout
    table = subprocess.run([here / "table", kept], capture_output=True, text=True)
    assert table.returncode == 1 and "FAILED" in table.stdout and "2 lost messages" in table.stdout and "1 wrong 5xx" in table.stdout


def test_addresses():
    for address in ("a@example.com", "<a+b@example.com>", '"a b"@example.com', "a@xn--idn.example", "jörg@example.com",
                    "@one.example:a@example.com", "a{b}|c@example.com"):
        assert is_address(address), address
    for address in ("a", "a..b@example.com", "a@b@example.com", "a b@example.com", "a@exam ple.com", "x" * 65 + "@example.com",
                    "a@-b.example", "a\x01b@example.com", "@example.com", "j\udcf6rg@example.com"):
        assert not is_address(address), address


def test_lost_mail_is_missed():
    """Answered by a Postfix whose sink forgets one of three, and has one twice."""
    scratch = Scratch()
    sink = Sink(scratch)
    postfix = post.Postfix(scratch, None, sink, flow=False)
    try:
        with Smtp(postfix) as smtp:
            for token in ("one", "two", "three"):
                smtp.send(["a@example.com", "b@example.com"], token=token)
        postfix.idle()
        assert postfix.ledger.account() == ({}, {}, (6, 6, 0))
        deliveries = sink.server.deliveries
        deliveries.remove(next(d for d in deliveries if d.token == "two" and d.recipient == "b@example.com"))
        deliveries.append(next(d for d in deliveries if d.token == "three"))
        lost, twice, _ = postfix.ledger.account()
        assert lost == {("two", "b@example.com"): 1} and len(twice) == 1
        _, queue_id, _ = postfix.ledger.messages[1]
        postfix.ledger.drops[queue_id] = ["b@example.com"]
        assert postfix.ledger.account()[0] == {}, "a rule dropped it"
        with pytest.raises(Failure):
            postfix.stop()
    finally:
        postfix.stop()
        sink.stop()
        scratch.remove()
    assert fronts == {}
