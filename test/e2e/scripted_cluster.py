"""A Redis Cluster whose nodes say what a test wants of its map, and hand on all else to a Redis of their own."""

import socket
import threading

from redis_cluster import SLOTS
from redis_server import Redis, encode


def encode_value(value):
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode_value, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"$%d\r\n%s\r\n" % (len(value), value.encode())


def read_raw(reader):
    """One value, as it is."""
    line = reader.readline()
    if not line:
        raise OSError("closed")
    n = int(line[1:]) if line[:1] in b"$*" else -1
    if line[:1] == b"*":
        return line + b"".join(read_raw(reader) for _ in range(max(n, 0)))
    return line + (reader.read(n + 2) if n >= 0 else b"")


class ScriptedNode:
    """moved: the node that it sends everybody to, who asks for a key."""

    def __init__(self, scratch, name, cluster):
        self.cluster, self.id, self.moved = cluster, name * 40, None
        self.redis = Redis(scratch, name)
        self.server = socket.create_server((scratch.address, 0))
        self.address, self.port = self.server.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def described(self):
        return [self.address, self.port, self.id, []]

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            with client, client.makefile("rb") as questions, socket.socket(socket.AF_UNIX) as far:
                far.connect(str(self.redis.socket))
                with far.makefile("rb") as answers:
                    while words := self._words(questions):
                        answer = self._answer([word.upper() for word in words])
                        if answer is None:
                            far.sendall(encode(*words))
                            answer = read_raw(answers)
                        client.sendall(answer)
        except (OSError, ValueError):
            pass

    @staticmethod
    def _words(reader):
        line = reader.readline()
        return [reader.read(int(reader.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))] if line else None

    def _answer(self, words):
        """None: that is Redis' to say."""
        if words[0] == b"CLUSTER":
            return self.cluster.answer(words[1])
        if self.moved and words[0] in (b"EVAL", b"EVALSHA"):
            return f"-MOVED 1 {self.moved.address}:{self.moved.port}\r\n".encode()
        return None

    def stop(self):
        self.server.close()
        self.redis.stop()


class ScriptedCluster:
    """Two nodes. say(master, replica): what the map is from now on, wherever it is asked for."""

    def __init__(self, scratch):
        self.nodes = [ScriptedNode(scratch, name, self) for name in "ab"]
        self.epoch = 0
        self.say(self.nodes[0])

    def say(self, master, *replicas):
        self.epoch += 1
        self.map = [[0, SLOTS - 1, master.described, *(replica.described for replica in replicas)]]

    def answer(self, word):
        return encode_value(self.map) if word == b"SLOTS" else encode_value(f"cluster_state:ok\r\ncluster_current_epoch:{self.epoch}\r\n")

    @property
    def url(self):
        return f"redis+cluster://{self.nodes[0].address}:{self.nodes[0].port}"

    def stop(self):
        for node in self.nodes:
            node.stop()
