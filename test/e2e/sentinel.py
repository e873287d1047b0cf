"""Sentinels: real ones, and one that says what a test wants."""

import signal
import socket

from processes import Process, wait_for
from redis_server import SERVER, Redis
from resp import Scripted, encode, read_value

MASTER = "mymaster"


class Node(Redis):
    """A Redis with a TCP port, which tells others by which address it is reached."""

    def __init__(self, scratch, name, args=()):
        self.address, self.port = scratch.address, scratch.port()
        super().__init__(scratch, name, args=[
            "--bind", self.address, "--port", self.port, "--replica-announce-ip", self.address,
            "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", *args])

    @property
    def at(self):
        return (self.address, self.port)

    def role(self):
        try:
            return self.call("ROLE")[0]
        except OSError:
            return "gone"

    def follow(self, master):
        self.call("REPLICAOF", *master.at)
        wait_for(lambda: self.call("ROLE")[0] == "slave" and self.call("ROLE")[3] == "connected", f"{self.name} does not follow")


class Sentinel:
    """redis-server --sentinel on a free port, that watches a Node. lines: more of its configuration; password: its own."""

    def __init__(self, scratch, number, master, quorum=2, lines=(), password=None):
        self.scratch, self.name, self.address, self.port = scratch, f"sentinel{number}", scratch.address, scratch.port()
        self.configuration = scratch / f"{self.name}.conf"
        self.password = password
        lines = [*lines, *([f"requirepass {password}"] if password else [])]
        self.configuration.write_text("\n".join([
            f"port {self.port}", f"bind {self.address}", f"dir {scratch.path}", f"sentinel announce-ip {self.address}",
            f"sentinel monitor {MASTER} {master.address} {master.port} {quorum}",
            f"sentinel down-after-milliseconds {MASTER} 1000", f"sentinel failover-timeout {MASTER} 20000", *lines]) + "\n")
        self.start()

    def start(self):
        self.process = Process([SERVER, self.configuration, "--sentinel"], self.scratch / f"{self.name}.log")
        wait_for(self._answers, f"{self.name} does not answer")

    def _answers(self):
        try:
            return self.call("PING") == "PONG"
        except OSError:
            return False

    def call(self, *words):
        with socket.create_connection((self.address, self.port), 60) as s, s.makefile("rb") as reader:
            if self.password:
                s.sendall(encode("AUTH", self.password))
                read_value(reader)
            s.sendall(encode(*words))
            return read_value(reader)

    def master(self):
        """What it says of the master: fields, and the address that it names."""
        words = self.call("SENTINEL", "MASTER", MASTER)
        return dict(zip(words[::2], words[1::2])), tuple(self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER))

    def knows(self, replicas, sentinels):
        fields, _ = self.master()
        return int(fields["num-slaves"]) >= replicas and int(fields["num-other-sentinels"]) >= sentinels

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)


class ScriptedSentinel(Scripted):
    """Says that the master is at an address, under an epoch, with flags."""

    def __init__(self, scratch, epoch, node, flags="master"):
        self.epoch, self.node, self.flags, self.asked = epoch, node, flags, 0
        super().__init__((scratch.address, 0), self._answer)

    def _answer(self, words):
        words = [word.upper() for word in words]
        if words[:2] == [b"SENTINEL", b"MASTER"]:
            self.asked += 1
            return encode("name", MASTER, "ip", self.node.address, "port", self.node.port, "flags", self.flags,
                          "config-epoch", self.epoch)
        if words[:2] == [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME"]:
            return encode(self.node.address, self.node.port)
        return b"+OK\r\n"

    def say(self, epoch, node, flags="master", wait=True):
        """And waits until it has been said."""
        self.epoch, self.node, self.flags = epoch, node, flags
        if not wait:
            return
        before = self.asked
        wait_for(lambda: self.asked > before + 1, "the gate does not ask")

    def stop(self):
        """It is gone, with its connections."""
        super().stop()
        self.hang_up()
