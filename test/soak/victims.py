"""What breaks: each victim is a method; it waits in the middle as long as the fault lasts, and puts right at its end what does not mend itself."""

import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

from house import LIMITS, MOVING


def children(pid, name):
    """Pids of those that this process has started and that are called so."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if text.partition("(")[2].rpartition(")")[0] == name and int(text.rpartition(")")[2].split()[1]) == pid:
            found.append(int(stat.parent.name))
    return found


class Victims:
    """chance: a Random of the run's seed. scale: of all times. spared(): the gate that is not ended at present, so that one lives long
    enough to be measured."""

    def __init__(self, house, chance, scale, spared):
        self.house, self.chance, self.scale, self.spared = house, chance, scale, spared
        self.names = [name for name in dir(self) if name.startswith(("gate_", "redis_", "aliases_", "policy_", "smtpd_", "state_"))]
        if not house.mounted:
            self.names.remove("state_full")
        self.left = []

    def next(self):
        """Each once, in any order, before one comes again."""
        self.left = self.left or self.chance.sample(self.names, len(self.names))
        return self.left.pop()

    def last(self):
        time.sleep(self.chance.uniform(1, 8) * self.scale)

    def gate(self):
        """One that may be ended."""
        return self.chance.choice([gate for gate in self.house.gates if gate is not self.spared()])

    # ---- processes

    def gate_killed(self):
        gate = self.gate()
        gate.process.stop(signal.SIGKILL)
        self.last()
        gate.start()

    def gate_restarted(self):
        gate = self.gate()
        gate.stop()
        gate.start()

    def _stopped(self, process):
        os.kill(process.pid, signal.SIGSTOP)
        try:
            self.last()
        finally:
            os.kill(process.pid, signal.SIGCONT)

    def gate_stopped(self):
        self._stopped(self.chance.choice(self.house.gates).process)

    def redis_stopped(self):
        self._stopped(self.house.redis.process)

    def redis_restarted(self):
        """With its data."""
        self.house.redis.stop()
        self.last()
        self.house.redis.start()

    def redis_lost(self):
        """Without."""
        self.house.redis.process.stop(signal.SIGKILL)
        shutil.rmtree(self.house.redis.data / "appendonlydir")
        self.last()
        self.house.redis.start()

    def smtpd_killed(self):
        for pid in children(self.chance.choice(self.house.postfixes).process.pid, "smtpd"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has just ended

    # ---- counters

    def redis_deleted(self):
        for key in self.house.redis.keys("rcptgate:recipient:*")[:5]:
            self.house.redis.call("DEL", key)

    def redis_flushed(self):
        self.house.redis.call("FLUSHALL")

    # ---- rules and policy

    def _moved(self, path):
        """Some of the moving aliases go, others come."""
        db = sqlite3.connect(str(path), timeout=60)
        with db:
            for address in self.chance.sample(MOVING, 4):
                if not db.execute("DELETE FROM aliases WHERE address = ?", (address,)).rowcount:
                    db.execute("INSERT INTO aliases (address, mailbox) VALUES (?, 'box@mailbox.example')", (address,))
        db.close()

    def aliases_edited(self):
        self._moved(self.house.database.path)
        self.house.database.share()

    def _moved_copy(self, to):
        source, target = sqlite3.connect(str(self.house.database.path)), sqlite3.connect(str(to))
        source.backup(target)
        source.close()
        target.close()
        self._moved(to)

    def aliases_replaced(self):
        """By rename, as a careful owner does: what belongs to the old file is taken away."""
        path, fresh = self.house.database.path, self.house.database.directory / "fresh"
        self._moved_copy(fresh)
        fresh.chmod(0o666)
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        fresh.rename(path)

    def aliases_installed(self):
        """From another host, where some were moved."""
        gate, writer, snapshot = self.house.gates[0], self.house.scratch / "writer.db", self.house.scratch / "snapshot"
        self._moved_copy(writer)
        gate.command("alias", "snapshot", snapshot, "--database", writer)
        gate.command("alias", "install", snapshot)
        self.house.database.share()

    def policy_changed(self):
        for gate in self.house.gates:
            gate.write_policy(limits=[{**LIMITS[0], "max": self.chance.randint(5, 40)}, *LIMITS[1:]])
            gate.reload()

    def policy_broken(self):
        gate = self.chance.choice(self.house.gates)
        gate.policy_path.write_text('{ "limits": [')
        gate.reload()
        self.last()
        gate.write_policy()
        gate.reload()

    # ---- disk

    def state_full(self):
        gate = self.chance.choice(self.house.gates)
        filler = gate.state / "filler"
        with open(filler, "wb", buffering=0) as out:
            try:
                while True:
                    out.write(b"x" * 4096)
            except OSError:
                pass
        self.aliases_edited()
        self.policy_changed()
        self.last()
        filler.unlink()

