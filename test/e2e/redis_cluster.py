"""A private Redis Cluster: masters, and a replica of each where wanted, on free ports of the scratch's loopback address."""

import signal

from certificates import Authority
from processes import Failure, wait_for
from redis_server import Redis

SLOTS = 16384


class Node(Redis):
    """One node. `call` goes by its unix socket, whatever its state. scratch: or a host (network.py); tls: its port speaks that alone."""

    def __init__(self, scratch, name, timeout_ms, settings=(), tls=False):
        self.address, self.port, self.bus = scratch.address, scratch.port(), scratch.port()
        super().__init__(scratch, name, under=scratch.under, args=[
            *(["--tls-port", self.port] if tls else ["--port", self.port]), "--bind", self.address, "--cluster-enabled", "yes", "--cluster-port", self.bus,
            "--cluster-announce-ip", self.address, "--protected-mode", "no",
            "--cluster-config-file", scratch / f"{name}.conf", "--cluster-node-timeout", timeout_ms, "--databases", "1",
            "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",  # no map names a replica before its master has told it something
            "--cluster-replica-validity-factor", "0", *settings, *scratch.args])
        self.id = self.call("CLUSTER", "MYID")

    @property
    def at(self):
        return f"{self.address}:{self.port}"

    def info(self):
        return dict(line.split(":", 1) for line in self.call("CLUSTER", "INFO").split("\r\n") if ":" in line)

    def role(self):
        try:
            return self.call("ROLE")[0]
        except OSError:
            return "gone"

    def holds(self, key, limit):
        """What a replica has of a counter, also while the cluster is down; None: it does not know the slots yet."""
        self.call("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        try:
            words = self.calls(["READONLY"], ["HGET", key, limit])[-1]
        except Failure as failure:
            if "CLUSTERDOWN" not in str(failure):
                raise
            return None
        finally:
            self.call("CONFIG", "SET", "cluster-allow-reads-when-down", "no")
        return int((words or "0/0").split("/")[0])

    def may_take_over(self, may):
        """Where its master fails: by default it does."""
        self.call("CONFIG", "SET", "cluster-replica-no-failover", "no" if may else "yes")

    def kill(self):
        self.process.popen.kill()
        self.process.popen.wait()


class Cluster:
    """n masters with the slots in equal parts, and a replica of each. coverage: cluster-require-full-coverage; hosts: where each
    node is, the masters first; tls: nobody speaks plain text, and who connects goes by `ca` (else None)."""

    ca = None

    def __init__(self, scratch, masters=3, replicas=True, timeout_ms=2000, coverage="no", settings=(), hosts=None, tls=False):
        settings = ["--cluster-require-full-coverage", coverage, *settings, *(self._secure(scratch) if tls else [])]
        self.options = (timeout_ms, settings, tls)
        self.nodes = [Node(hosts[i] if hosts else scratch, f"node{i}", *self.options) for i in range(masters * (1 + replicas))]
        self.masters, self.replicas = self.nodes[:masters], self.nodes[masters:]
        for i, node in enumerate(self.nodes):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for i, node in enumerate(self.masters):
            node.call("CLUSTER", "ADDSLOTSRANGE", SLOTS * i // masters, SLOTS * (i + 1) // masters - 1)
        self._meet()
        for master, replica in zip(self.masters, self.replicas):
            wait_for(lambda: self._replicates(replica, master), "no replication")
        wait_for(lambda: all(node.info()["cluster_state"] == "ok" and int(node.info()["cluster_slots_ok"]) == SLOTS
                             for node in self.nodes), "the cluster does not get well")
        for replica in self.replicas:
            wait_for(lambda: replica.call("ROLE")[3] == "connected", "a replica does not follow")
        wait_for(lambda: all(self._names_replicas(node) for node in self.nodes), "the replicas are not known to all")

    def _secure(self, scratch):
        authority = Authority(scratch, "nodes")
        cert, key = authority.issue("node", f"IP:{scratch.address}")
        self.ca = authority.ca
        return ["--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no", "--tls-cert-file", cert, "--tls-key-file", key,
                "--tls-ca-cert-file", self.ca]

    def add_replica(self, scratch, master):
        """One more, that has all of it."""
        replica = Node(scratch, f"node{len(self.nodes)}", *self.options)
        self.nodes.append(replica)
        self.replicas.append(replica)
        self._meet()
        wait_for(lambda: self._replicates(replica, master), "no replication")
        wait_for(lambda: replica.call("ROLE")[3] == "connected", "the replica does not follow")
        return replica

    def _meet(self):
        for i, node in enumerate(self.nodes):
            for other in self.nodes[:i]:  # by gossip it takes seconds
                node.call("CLUSTER", "MEET", other.address, other.port, other.bus)
        wait_for(lambda: all(self.knows(node) == len(self.nodes) for node in self.nodes), "the nodes do not meet")

    def _names_replicas(self, node):
        return {words[2] for slots in node.call("CLUSTER", "SLOTS") for words in slots[3:]} == {r.id for r in self.replicas}

    @staticmethod
    def knows(node):
        return len([line for line in node.call("CLUSTER", "NODES").splitlines() if "handshake" not in line])

    @staticmethod
    def _replicates(replica, master):
        try:
            return replica.call("CLUSTER", "REPLICATE", master.id) == "OK"
        except Failure:
            return False

    @property
    def url(self):
        """Not all of them: the others are found."""
        return f"redis{'s' if self.ca else ''}+cluster://" + ",".join(node.at for node in self.nodes[:2])

    def alive(self):
        return [node for node in self.nodes if node.process.alive()]

    def serving(self, witnesses=None):
        """The masters, as a node that lives, or one of those, sees them: {id: node}."""
        for node in witnesses or self.alive():
            try:
                lines = node.call("CLUSTER", "NODES").splitlines()
            except (OSError, Failure):
                continue
            ids = {line.split()[0] for line in lines if "master" in line.split()[2] and "fail" not in line.split()[2].split(",")
                   and len(line.split()) > 8}
            return {n.id: n for n in self.nodes if n.id in ids}
        return {}

    def slot(self, key):
        return self.alive()[0].call("CLUSTER", "KEYSLOT", key)

    def owner(self, key):
        """The node that has the slot of a key now."""
        slot = self.slot(key)
        for node in self.alive():
            for first, last, master, *_ in node.call("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(n for n in self.nodes if n.id == master[2])
        raise Failure(f"nobody has the slot of {key}")

    def subject(self, node, form="alias{}@example.com", per="recipient", start=0):
        """A made-up subject whose slot that node has."""
        i = start
        while self.owner(f"rcptgate:{per}:{{{form.format(i)}}}") is not node:
            i += 1
        return form.format(i)

    def call(self, *words):
        """A command with a key, wherever that is."""
        return self.owner(words[1]).call(*words)

    def keys(self, pattern="rcptgate:*"):
        return sorted(key for node in self.serving().values() for key in node.call("KEYS", pattern))

    def fields(self, key):
        words = self.call("HGETALL", key)
        return dict(zip(words[::2], words[1::2]))

    def used(self, key, limit):
        return int(self.fields(key).get(limit, "0/0").split("/")[0])

    def flush(self):
        for node in self.serving().values():
            node.call("FLUSHALL")

    def begin_move(self, slot, source, target):
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def end_move(self, slot, source, target):
        """Keys go first, then the slot."""
        while True:
            keys = source.call("CLUSTER", "GETKEYSINSLOT", slot, 100)
            if not keys:
                break
            source.call("MIGRATE", target.address, target.port, "", 0, 5000, "KEYS", *keys)
        target.call("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        source.call("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        for node in self.serving().values():
            if node is not source and node is not target:
                node.call("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def move(self, slots, source, target):
        for slot in slots:
            self.begin_move(slot, source, target)
            self.end_move(slot, source, target)

    def stop(self):
        for node in self.nodes:
            node.process.stop(signal.SIGKILL)
