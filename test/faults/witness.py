"""Stands in front of a gate and speaks through to it: Postfix and the milter clients of the tests connect here. It reads along,
asks proof.py about every 5xx and every recipient that is dropped, and keeps what nothing speaks for in `wrong`.

Gate and MilterClient take the place of the harness's own (conftest.py), so that no row can leave the witness out."""

import pwd
import select
import signal
import socket
import struct
import sys
import time
from collections import Counter, deque

import fault_table
import harness
from alias_rules import bare
from listener import Listener
from proof import Proof

ANSWERS = b"ctrydafs4"
COMMANDS = b"CHMRTLNBEU"
POSTFIX = pwd.getpwnam("postfix").pw_uid


class Packets:
    """Cuts what comes into (command, data)."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        data, at, packets = self.buffer + data, 0, []
        while len(data) >= at + 4:
            end = at + 4 + struct.unpack_from("!I", data, at)[0]
            if len(data) < end:
                break
            packets.append((data[at + 4:at + 5], data[at + 5:end]))
            at = end
        self.buffer = data[at:]
        return packets


def text_of(data):
    return data.decode("utf-8", "surrogateescape")


class Message:
    def __init__(self, sender=""):
        self.sender, self.taken, self.over = sender, [], False  # (facts, address as received, its charge)

    def admit(self, facts, raw, charge):
        self.taken.append((facts, raw, charge))
        if self.over:
            charge.given_back = time.monotonic()

    def end(self, finished):
        """Once. What it charged is given back where it was not finished."""
        if not self.over and not finished:
            for _, _, charge in self.taken:
                charge.given_back = time.monotonic()
        self.over = True


class Question:
    """A command that awaits its answer."""

    def __init__(self, command, message, facts, rcpt="", raw="", queue_id=None):
        self.command, self.message, self.facts = command, message, facts
        self.rcpt, self.raw, self.queue_id, self.drops = rcpt, raw, queue_id, []
        self.when = time.monotonic()


class Session:
    """What one connection is about, as both sides of it show. Commands may be sent before others were answered."""

    def __init__(self, witness, of_postfix):
        self.witness, self.proof, self.of_postfix = witness, witness.proof, of_postfix
        self.open, self.unanswered = deque(), 0  # questions; flags of the negotiation: commands without an answer
        self.macros, self.client, self.facts, self.message = {}, "", None, Message()

    def closed(self):
        if any(question.command == b"R" for question in self.open) and not self.of_postfix:
            self.witness.answers["lost"] += 1
        self.message.end(any(question.command == b"E" for question in self.open))  # without an answer: it may have been taken

    # ---- to the gate

    def question(self, command, data):
        if command == b"D":
            words = text_of(data).split("\0")
            self.macros[data[:1]] = dict(zip([words[0][1:], *words[2::2]], words[1::2]))
        elif command == b"C":
            self.client = text_of(data.partition(b"\0")[2][3:].rstrip(b"\0")).removeprefix("IPv6:")
            self.facts = self.proof.facts(self.client, "", "")
        if command in b"CMAQK":
            self.message.end(False)
        if command == b"M":
            self.message = Message(text_of(data.partition(b"\0")[0]).strip("<>").lower())
        if command in COMMANDS and not self.unanswered & harness.MilterClient.NO_REPLY.get(command, 0):
            self.open.append(self._asked(command, data))

    def _asked(self, command, data):
        if command == b"E":
            for _, _, charge in self.message.taken:
                charge.taken = True
            queue_id = next((self.macros[at]["i"] for at in (b"E", b"T", b"R") if "i" in self.macros.get(at, {})), None)
            return Question(command, self.message, self.facts, queue_id=queue_id)
        if command != b"R":
            return Question(command, self.message, self.facts)
        raw = text_of(data.partition(b"\0")[0])
        rcpt = self.macros.get(b"R", {}).get("{rcpt_addr}") or raw
        facts = self.proof.facts(self.client, self.message.sender, rcpt)
        self.proof.attempt(facts)
        return Question(command, self.message, facts, rcpt, raw)

    # ---- from the gate

    def answer(self, command, data):
        if command == b"O":
            self.unanswered = struct.unpack("!I", data[8:12])[0]
        elif command == b"-" and self.open:
            self.open[0].drops.append(text_of(data.rstrip(b"\0")))
        elif command in ANSWERS:
            self._answered(self.open.popleft() if self.open else Question(b"", self.message, self.facts), command, data)

    def _answered(self, question, command, data):
        code = {b"y": text_of(data.rstrip(b"\0")), b"r": "550 5.7.1"}.get(command, "451 4.7.1" if command in b"tf4" else "250")
        code = " ".join(code.split()[:2])
        if question.command == b"R":
            self._answered_rcpt(question, command, code)
        elif question.command == b"E":
            self._answered_end(question, command, code)
        elif code.startswith("5"):
            self._check(question, question.facts and self.proof.refused_client(question.facts, question.when), code)
        if command in b"da" and question.command != b"E":
            self._wrong(question, f"{harness.Answer.kinds[command]} where only the end of a message may have it")
        if not self.of_postfix and (question.command == b"R" or not code.startswith("2")):
            self.witness.answers[code[:3]] += 1

    def _answered_rcpt(self, question, command, code):
        if command == b"r":
            self._wrong(question, "a bare reject")
        elif code.startswith("5"):
            reason = self.proof.refused(code, question.facts, question.message.sender, question.rcpt, question.when)
            self._check(question, reason, code)
        elif command == b"c":
            question.message.admit(question.facts, question.raw, self.proof.admit(question.facts))

    def _answered_end(self, question, command, code):
        message = question.message
        if code.startswith("5"):
            self._wrong(question, f"{code} at the end of a message")
        if command == b"d":
            question.drops = [raw for _, raw, _ in message.taken]
        for drop in question.drops if code.startswith("2") else []:
            found = [facts for facts, raw, _ in message.taken if bare(raw).lower() == bare(drop).lower()]
            self._check(question, found and self.proof.dropped(found[0], message.sender, drop, question.when), f"dropped {drop}")
            self.witness.drops.setdefault(question.queue_id, []).append(bare(drop).lower())
        message.end(code.startswith("2"))

    def _check(self, question, reason, code):
        if reason:
            self.witness.proven += 1
        else:
            self._wrong(question, code)

    def _wrong(self, question, what):
        self.witness.wrong.append(f"{what} to {question.rcpt!r} from {question.message.sender!r}, client {self.client}, "
                                  f"in {question.command!r}")


class Witness(Listener):
    def __init__(self, path, target, policy_path, shared=None):
        """path: where it listens; target: the gate's socket; policy_path: a function that tells which policy the gate has; shared:
        what the gates know of each other."""
        self.target = str(target)
        self.proof = Proof(policy_path, shared)
        self.answers, self.wrong, self.proven = Counter(), [], 0
        self.drops = {}  # queue id: recipients that were dropped from this message, by right or not
        self.listen(path)

    def serve(self, near):
        uid = struct.unpack("3i", near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        session = Session(self, uid == POSTFIX)
        with near, socket.socket(socket.AF_UNIX) as far:
            try:
                far.connect(self.target)
                self._forward(session, near, far)
            except OSError as trouble:  # the gate is away, or one side hung up
                sys.stderr.write(f"{time.monotonic():.3f} witness: {trouble!r}\n")  # shown where the test fails
            except Exception as trouble:  # who does not see cannot speak
                self.wrong.append(f"the witness failed: {trouble!r}")
        session.closed()

    @staticmethod
    def _forward(session, near, far):
        ways = {near: (far, Packets(), session.question), far: (near, Packets(), session.answer)}
        poll = select.poll()
        for s in ways:
            poll.register(s, select.POLLIN)
        by_number = {s.fileno(): s for s in ways}
        while True:
            for number, _ in poll.poll():
                source = by_number[number]
                target, packets, note = ways[source]
                data = source.recv(65536)
                if not data:
                    return
                for packet in packets.feed(data):
                    note(*packet)
                target.sendall(data)

    def stop(self):
        super().stop()
        self.proof.over.set()


fronts = {}  # socket of a gate: the witness before it; of the test that runs


class Gate(harness.Gate):
    """With a witness in front of it, whose socket is the one to connect to."""

    def __init__(self, scratch, policy, name="gate", start=True):
        super().__init__(scratch, policy, name, start=False)
        beside = [front.proof.shared for front in fronts.values()]  # a test has one world
        self.witness = Witness(scratch / f"{name}.front", self.socket, lambda: self.policy_path, *beside[:1])
        fronts[str(self.socket)] = self.witness
        if start:
            self.start()

    @property
    def milter(self):
        return f"unix:{self.witness.path}"

    def keep_longest(self):
        """The longest wait of a session is asked for before it is forgotten."""
        try:
            fault_table.row.waited(self.status()["traffic"]["decision_max_ms"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # it has ended, or is broken by the fault

    def stop(self, number=signal.SIGTERM):
        self.keep_longest()
        return super().stop(number)

    def command(self, *words, check=0):
        if words[0] == "block":
            self.witness.proof.block(words[1])
        return super().command(*words, check=check)


class MilterClient(harness.MilterClient):
    def __init__(self, path, negotiate=True, seen=True):
        """seen=False: past the witness."""
        witness = fronts.get(str(path)) if seen else None
        super().__init__(witness.path if witness else path, negotiate)
