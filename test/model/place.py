"""The real parts of one world in a scratch directory: gates and Redis, each with a clock that can be set off, a proxy, the alias database."""

import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import harness
from harness import PRELOADS, RCPTGATE, SANITIZERS, Database, Process, Scratch
from redis_server import SERVER
from wire import Gone, Wire

CLOCKSHIFT = os.environ.get("CLOCKSHIFT_LIBRARY") or str(PRELOADS / "clockshift.so")
COLUMNS = {"domains": ("domain", "action", "catch_all", "owner", "class"),
           "aliases": ("address", "mailbox", "owner", "class", "action", "expires_at"),
           "alias_globs": ("domain", "glob", "mailbox", "action"), "sender_rules": ("scope", "pattern", "action"),
           "client_rules": ("network", "action")}


class Clock:
    """A wall clock that is off by some seconds, for a process that is started with `environment`."""

    def __init__(self, path, seconds=0):
        self.path = path
        self.set(seconds)

    def set(self, seconds):
        self.seconds = seconds
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("<q", seconds))

    @property
    def environment(self):
        sanitizers = {**SANITIZERS, "ASAN_OPTIONS": SANITIZERS["ASAN_OPTIONS"] + ":verify_asan_link_order=0"}
        return dict(os.environ, **sanitizers, LD_PRELOAD=CLOCKSHIFT, CLOCKSHIFT=str(self.path))


class Redis:
    """redis-server on a unix socket that can be killed, frozen and started anew, with its data or without."""

    def __init__(self, scratch, skew):
        self.scratch, self.socket, self.process = scratch, scratch / "redis.sock", None
        self.clock = Clock(scratch / "redis.clock", skew)

    def spawn(self):
        self.process = Process(
            [SERVER, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "777", "--save", "", "--appendonly", "no",
             "--dir", self.scratch.path, "--daemonize", "no", "--databases", "1"], self.scratch / "redis.log", env=self.clock.environment)

    def answers(self):
        try:
            return self.call("PING") == "PONG"
        except (OSError, harness.Failure):
            return False

    call = harness.Redis.call
    calls = harness.Redis.calls
    auth = None
    fields = harness.Redis.fields
    keys = harness.Redis.keys

    def kill(self, keep):
        """keep: what it holds now is there after the next start."""
        dump = self.scratch / "dump.rdb"
        dump.unlink(missing_ok=True)
        if keep:
            self.call("SAVE")
        self.process.stop(signal.SIGKILL)
        if not keep:
            dump.unlink(missing_ok=True)


class Proxy:
    def __init__(self, scratch, target):
        self.path = scratch / "proxy.sock"
        self.popen = subprocess.Popen([sys.executable, "-B", str(HERE / "proxy_process.py"), str(self.path), str(target)], stdin=subprocess.PIPE)
        harness.wait_for(self.path.exists, "the proxy does not listen")

    def mode(self, text):
        self.popen.stdin.write(text.encode() + b"\n")
        self.popen.stdin.flush()

    def stop(self):
        self.popen.stdin.close()
        self.popen.wait(10)


class Gate:
    """One gate. start() only spawns it; up() is a generator that waits until it accepts."""

    def __init__(self, place, number, policy):
        self.place, self.number, self.scratch = place, number, place.scratch
        self.state, self.socket = self.scratch / f"state{number}", self.scratch / f"gate{number}.sock"
        self.policy_path, self.log_path = self.scratch / f"gate{number}.json", self.scratch / f"gate{number}.log"
        self.state.mkdir()
        self.clock = Clock(self.scratch / f"gate{number}.clock")
        self.policy = {"milter": {"socket": f"unix:{self.socket}", "group": "", "mode": "0666"}, "state": str(self.state),
                       "log": {"to": "stderr", "level": "info"}, "http": {"listen": ""}, **policy}
        self.write_policy()
        self.process = None

    def write_policy(self, **changes):
        self.policy.update(changes)
        new = self.policy_path.with_suffix(".new")
        new.write_text(json.dumps(self.policy, indent=1))
        new.rename(self.policy_path)

    def spawn(self):
        self.process = Process([RCPTGATE, "run", "-c", self.policy_path], self.log_path, env=self.clock.environment)

    def accepts(self):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.socket))
                return True
            except OSError:
                return False

    def counts_where_it_should(self):
        """Before the world begins: on a busy machine it may take its time to reach Redis."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.state / "control.sock"))
            s.sendall(b'{"do": "status"}\n')
            with s.makefile() as answer:
                return all(shard["up"] for shard in json.loads(answer.readline())["counters"].get("shards", ()))

    def log(self):
        return self.log_path.read_text(errors="replace")

    def ask_status(self, loop):
        """A generator: what the control socket answers; None where it does not."""
        try:
            wire = Wire(loop, self.state / "control.sock", "line")
            wire.send(b'{"do": "status"}\n')
            line = yield wire
            wire.close()
            return json.loads(line)
        except (Gone, ValueError):
            return None


class Place:
    """All of it. stop() ends and removes everything."""

    def __init__(self, spec):
        self.spec, self.scratch = spec, Scratch()
        self.redis = self.proxy = None
        self.gates, self.broken = [], []
        try:
            self._build()
        except BaseException:
            self.stop()
            raise

    def _build(self):
        spec = self.spec
        counters = {"url": "memory:", **spec["counters"]}
        if spec["store"] == "redis":
            self.redis = Redis(self.scratch, spec["skew"])
            self.redis.spawn()
            harness.wait_for(self.redis.answers, "redis does not answer")
            target = self.redis.socket
            if any(s["kind"] in ("redis-slow", "redis-deaf", "redis-cut", "redis-stalled", "redis-unheard") for s in spec["strikes"]):
                self.proxy = Proxy(self.scratch, target)
                target = self.proxy.path
            counters["url"] = f"unix://{target}?db=0"
        self.database = Database(self.scratch)
        self.write_all(self.database.path, spec["data"])
        policy = {"mode": spec["mode"], "counters": counters, "limits": spec["limits"],
                  "aliases": {"database": str(self.database.path), "subaddress": "+", "max_shrink": spec["max_shrink"]}}
        for i in range(spec["gates"]):
            self.gates.append(Gate(self, i, policy))
            self.gates[-1].spawn()
        for gate in self.gates:
            harness.wait_for(lambda: gate.accepts() or not gate.process.alive(), "the gate does not open its socket")
            harness.wait_for(lambda: not gate.process.alive() or gate.counts_where_it_should(), "the gate does not reach Redis")

    def write_all(self, path, data):
        """All rows of the truth into the file there, in one transaction; what was there is gone."""
        db = sqlite3.connect(str(path), timeout=10, isolation_level=None)
        try:
            if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                db.executescript((harness.SOURCE / "policy/aliases.sql").read_text())
            db.execute("BEGIN IMMEDIATE")
            for table, rows in zip(COLUMNS, (data["domains"], data["aliases"], data["globs"], data["senders"], data["clients"])):
                names = COLUMNS[table]
                db.execute(f"DELETE FROM {table}")
                db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                               [tuple(row.get(n, "accept" if n == "action" else None) or ("accept" if n == "action" else None) for n in names)
                                for row in rows.values()])
            db.execute("COMMIT")
        finally:
            db.close()
        self.database.share()

    def run_sql(self, sql, *values):
        """One statement in one transaction, and from when to when it can have been seen."""
        db = sqlite3.connect(str(self.database.path), timeout=2, isolation_level=None)
        try:
            begin = time.monotonic()
            db.execute(sql, values)
            return begin, time.monotonic()
        finally:
            db.close()
            self.database.share()

    def files(self):
        return [self.database.path.with_name(self.database.path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]

    def fresh_copy(self, data, name="fresh.db"):
        """A whole, closed database file with these rows, without -wal beside it."""
        path = self.scratch / name
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        self.write_all(path, data)
        db = sqlite3.connect(str(path), isolation_level=None)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        path.chmod(0o666)
        return path

    def put_in_place(self, path):
        """By rename, as a careful owner does: what belongs to the old file is taken away."""
        for old in self.files()[1:]:
            old.unlink(missing_ok=True)
        os.rename(path, self.database.path)

    def logs(self):
        return {gate.number: gate.log() for gate in self.gates if gate.log_path.exists()}

    def stop(self):
        for gate in self.gates:
            if gate.process and gate.process.alive():
                gate.process.stop(signal.SIGKILL)
        if self.redis and self.redis.process:
            self.redis.process.popen.send_signal(signal.SIGCONT)
            self.redis.process.stop(signal.SIGKILL)
        if self.proxy:
            self.proxy.stop()
        self.scratch.remove()
