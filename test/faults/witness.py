"""Stands in front of a gate and speaks through to it: Postfix and the milter clients of the tests connect here. It reads along,
asks proof.py about every 5xx and every recipient that is dropped, and keeps what nothing speaks for in `wrong`.

Gate and MilterClient take the place of the harness's own (conftest.py), so that no row can leave the witness out."""

import os
import pwd
import select
import signal
import socket
import struct
import threading
import time
from collections import Counter

import fault_table
import harness
from proof import Proof

ANSWERS = b"ctrydafs4"
COMMANDS = b"CHMRTLNBEU"
POSTFIX = pwd.getpwnam("postfix").pw_uid


class Packets:
    """Cuts what comes into (command, data)."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        self.buffer += data
        while len(self.buffer) >= 4:
            size = struct.unpack("!I", self.buffer[:4])[0]
            if len(self.buffer) < 4 + size:
                return
            packet, self.buffer = self.buffer[4:4 + size], self.buffer[4 + size:]
            yield packet[:1], packet[1:]


def text_of(data):
    return data.decode("utf-8", "surrogateescape")


class Session:
    """What one connection is about, as both sides of it show."""

    def __init__(self, witness, of_postfix):
        self.witness, self.proof, self.of_postfix = witness, witness.proof, of_postfix
        self.pending, self.asked = b"", 0.0
        self.macros, self.client = {}, ""
        self._begin("")

    def _begin(self, sender):
        self.sender, self.rcpt, self.facts = sender, "", None
        self.taken, self.drops = [], []  # (facts, address as received, its charge)

    def _end(self, finished):
        if not finished:
            for _, _, charge in self.taken:
                charge.given_back = time.monotonic()
        self._begin("")

    def closed(self):
        if self.pending == b"R" and not self.of_postfix:
            self.witness.answers["lost"] += 1
        self._end(False)

    # ---- to the gate

    def question(self, command, data):
        words = [text_of(word) for word in data.split(b"\0")]
        if command == b"D":
            self.macros[data[:1]] = dict(zip([words[0][1:], *words[2::2]], words[1::2]))
        elif command == b"C":
            self._end(False)
            self.client = text_of(data.partition(b"\0")[2][3:].rstrip(b"\0")).removeprefix("IPv6:")
            self.facts = self.proof.facts(self.client, "", "")
        elif command == b"M":
            self._end(False)
            self._begin(words[0].strip("<>").lower())
        elif command == b"R":
            self.rcpt = self.macros.get(b"R", {}).get("{rcpt_addr}") or words[0]
            self.raw = words[0]
            self.facts = self.proof.facts(self.client, self.sender, self.rcpt)
            self.proof.attempt(self.facts)
        elif command in (b"A", b"Q", b"K"):
            self._end(False)
        if command in COMMANDS:
            self.pending, self.asked = command, time.monotonic()

    # ---- from the gate

    def answer(self, command, data):
        if command == b"-":
            self.drops.append(text_of(data.rstrip(b"\0")))
        if command not in ANSWERS:
            return
        code = {b"y": text_of(data.rstrip(b"\0")), b"r": "550 5.7.1"}.get(command, "451 4.7.1" if command in b"tf4" else "250")
        code = " ".join(code.split()[:2])
        if self.pending == b"R":
            self._answered_rcpt(command, code)
        elif self.pending == b"E":
            self._answered_end(command, code)
        elif code.startswith("5"):
            self._check(self.facts and self.proof.refused_client(self.facts, self.asked), code)
        if command in b"da" and self.pending != b"E":
            self._wrong(f"{harness.Answer.kinds[command]} where only the end of a message may have it")
        if not self.of_postfix and (self.pending == b"R" or not code.startswith("2")):
            self.witness.answers[code[:3]] += 1
        self.pending = b""

    def _answered_rcpt(self, command, code):
        if command == b"r":
            self._wrong("a bare reject")
        elif code.startswith("5"):
            self._check(self.proof.refused(code, self.facts, self.sender, self.rcpt, self.asked), code)
        elif command == b"c":
            self.taken.append((self.facts, self.raw, self.proof.admit(self.facts)))

    def _answered_end(self, command, code):
        if code.startswith("5"):
            self._wrong(f"{code} at the end of a message")
        if command == b"d":
            self.drops = [raw for _, raw, _ in self.taken]
        for drop in self.drops if code.startswith("2") else []:
            found = [facts for facts, raw, _ in self.taken if proof_key(raw) == proof_key(drop)]
            self._check(found and self.proof.dropped(found[0], self.sender, drop, self.asked), f"dropped {drop}")
            self.witness.dropped(self._queue_id(), drop)
        self._end(code.startswith("2"))

    def _queue_id(self):
        return next((self.macros[at]["i"] for at in (b"E", b"T", b"R") if "i" in self.macros.get(at, {})), None)

    def _check(self, reason, code):
        if reason:
            self.witness.proven += 1
        else:
            self._wrong(code)

    def _wrong(self, what):
        self.witness.wrong.append(f"{what} to {self.rcpt!r} from {self.sender!r}, client {self.client}, in {self.pending!r}")


def proof_key(raw):
    return raw.strip().strip("<>").rpartition(":")[2].lower()


class Witness:
    def __init__(self, path, target, policy_path):
        """path: where it listens; target: the gate's socket; policy_path: a function that tells which policy the gate has."""
        self.path, self.target = str(path), str(target)
        self.proof = Proof(policy_path)
        self.answers, self.wrong, self.proven = Counter(), [], 0
        self.drops = {}  # queue id: recipients that were dropped from this message, by right or not
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        os.chmod(self.path, 0o777)
        self.server.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def dropped(self, queue_id, recipient):
        self.drops.setdefault(queue_id, []).append(proof_key(recipient))

    def _accept(self):
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        uid = struct.unpack("3i", near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        session = Session(self, uid == POSTFIX)
        with near, socket.socket(socket.AF_UNIX) as far:
            try:
                far.connect(self.target)
                self._forward(session, near, far)
            except OSError:
                pass
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
        self.server.close()
        self.proof.over.set()


fronts = {}  # socket of a gate: the witness before it; of the test that runs


class Gate(harness.Gate):
    """With a witness in front of it, whose socket is the one to connect to."""

    def __init__(self, scratch, policy, name="gate", start=True):
        super().__init__(scratch, policy, name, start=False)
        self.witness = Witness(scratch / f"{name}.front", self.socket, lambda: self.policy_path)
        fronts[str(self.socket)] = self.witness
        if start:
            self.start()

    @property
    def milter(self):
        return f"unix:{self.witness.path}"

    def stop(self, number=signal.SIGTERM):
        """The longest wait is asked for before it is forgotten."""
        try:
            fault_table.row.waited(self.status()["traffic"]["decision_max_ms"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # it has ended, or is broken by the fault
        return super().stop(number)


class MilterClient(harness.MilterClient):
    def __init__(self, path, negotiate=True):
        witness = fronts.get(str(path))
        super().__init__(witness.path if witness else path, negotiate)
