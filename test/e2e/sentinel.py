"""Sentinels: real ones, and one that says what a test wants."""

import signal
import socket
import threading

from processes import PATIENCE, Process, wait_for
from redis_server import SERVER, Redis
from resp import Scripted, encode

MASTER = "mymaster"
FAILOVER = 3 * PATIENCE  # seconds: an election that fails, as on a busy machine, is held again after twice the failover-timeout


class Node(Redis):
    """A Redis with a TCP port, which tells others by which address it is reached. scratch: or a host (network.py)."""

    def __init__(self, scratch, name, args=()):
        self.address, self.port = scratch.address, scratch.port()
        super().__init__(scratch, name, under=scratch.under, args=[
            "--bind", self.address, "--port", self.port, "--replica-announce-ip", self.address, "--protected-mode", "no",
            "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--dbfilename", f"{name}.rdb", *args])

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


def overhear(node):
    """What it is asked until it ends that connection, and the thread that listens."""
    lines, s = [], socket.socket(socket.AF_UNIX)
    s.connect(str(node.socket))
    s.sendall(b"MONITOR\r\n")
    monitor = s.makefile("r", errors="surrogateescape")
    monitor.readline()

    def listen():
        with s, monitor:
            lines.extend(monitor)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return lines, thread


class Sentinel:
    """redis-server --sentinel on a free port, that watches a Node. scratch: or a host (network.py); lines: more of its configuration;
    password: its own; patience: ms until a master that does not answer is down."""

    def __init__(self, scratch, number, master, quorum=2, lines=(), password=None, patience=1000):
        self.scratch, self.name, self.address, self.port = scratch, f"sentinel{number}", scratch.address, scratch.port()
        self.configuration, self.socket = scratch / f"{self.name}.conf", scratch / f"{self.name}.sock"
        self.auth = password
        lines = [*lines, *([f"requirepass {password}"] if password else [])]
        self.configuration.write_text("\n".join([
            f"port {self.port}", f"bind {self.address}", f"unixsocket {self.socket}", f"dir {scratch.path}", "protected-mode no",
            f"sentinel announce-ip {self.address}", f"sentinel monitor {MASTER} {master.address} {master.port} {quorum}",
            f"sentinel down-after-milliseconds {MASTER} {patience}", f"sentinel failover-timeout {MASTER} 20000", *lines]) + "\n")
        self.start()

    def start(self):
        self.process = Process([*self.scratch.under, SERVER, self.configuration, "--sentinel"], self.scratch / f"{self.name}.log")
        wait_for(self._answers, f"{self.name} does not answer")

    _answers, call, calls = Redis._answers, Redis.call, Redis.calls

    def master(self):
        """What it says of the master: fields, and the address that it names."""
        words = self.call("SENTINEL", "MASTER", MASTER)
        return dict(zip(words[::2], words[1::2])), tuple(self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER))

    def knows(self, replicas, sentinels):
        fields, _ = self.master()
        return int(fields["num-slaves"]) >= replicas and int(fields["num-other-sentinels"]) >= sentinels

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)


class Replicated:
    """A master, its replicas, and Sentinels that know all of them. settings: of every node; hosts: where each node is, the master first;
    watchers: where each Sentinel is."""

    def __init__(self, scratch, replicas=2, sentinels=3, settings=(), lines=(), hosts=None, watchers=None):
        self.things = []
        self.nodes = [self._keep(Node(hosts[i] if hosts else scratch, f"redis{i}", settings)) for i in range(1 + replicas)]
        for node in self.nodes[1:]:
            node.follow(self.nodes[0])
        self.sentinels = [self._keep(Sentinel(watchers[i] if watchers else scratch, i, self.nodes[0], lines=lines)) for i in range(sentinels)]
        wait_for(lambda: all(sentinel.knows(replicas, sentinels - 1) for sentinel in self.sentinels), "the Sentinels do not know each other")

    def _keep(self, thing):
        self.things.append(thing)
        return thing

    @property
    def url(self):
        return "redis+sentinel://" + ",".join(f"{s.address}:{s.port}" for s in self.sentinels) + f"/{MASTER}"

    def named(self, sentinels=None):
        """The node that the highest epoch names, of what all of them say, or those."""
        said = [(int(fields["config-epoch"]), at) for fields, at in (s.master() for s in sentinels or self.sentinels)]
        return next((node for node in self.nodes if (node.address, str(node.port)) == max(said)[1]), None)

    def used(self, key, limit):
        return self.named().used(key, limit)

    def stop(self):
        for thing in reversed(self.things):
            thing.stop()


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
