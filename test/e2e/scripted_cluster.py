"""A Redis Cluster whose nodes say what a test wants of its map, and hand on all else to a Redis of their own."""

import socket

from redis_cluster import SLOTS
from redis_server import Redis
from resp import Scripted, encode, encode_value, read_raw


class ScriptedNode(Scripted):
    """moved: the node that it sends everybody to, who asks for a key."""

    def __init__(self, scratch, name, cluster):
        self.cluster, self.id, self.moved = cluster, name * 40, None
        self.redis = Redis(scratch, name)
        self.listen((scratch.address, 0))

    @property
    def described(self):
        return [self.address, self.port, self.id, []]

    def serve(self, connection):
        with socket.socket(socket.AF_UNIX) as redis:
            redis.connect(str(self.redis.socket))
            with redis.makefile("rb") as reader:
                def answer(words):
                    said = self._answer([word.upper() for word in words])
                    if said is None:
                        redis.sendall(encode(*words))
                        said = read_raw(reader)
                    return said

                self.talk(connection, answer)

    def _answer(self, words):
        """None: that is Redis' to say."""
        if words[0] == b"CLUSTER":
            return self.cluster.answer(words[1])
        if self.moved and words[0] in (b"EVAL", b"EVALSHA"):
            return f"-MOVED 1 {self.moved.address}:{self.moved.port}\r\n".encode()
        return None

    def stop(self):
        super().stop()
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
