"""What breaks, and what the owner does meanwhile. Each is a generator that begins, lasts and mends; the books know from when to when.

A fault never changes the truth: rows that it took are still meant to be there."""

import os
import random
import signal
import sqlite3
import time

from limits import Limit
from rules import Rules
from wire import Gone

NAMED = {"redis-frozen": "counters", "redis-killed-empty": "counters", "redis-killed-data": "counters", "redis-stalled": "counters",
         "redis-deaf": "counters", "rows-lost": "aliases", "aliases-emptied": "aliases", "sender-rules-lost": "aliases",
         "client-rules-lost": "aliases", "interior-damaged": "aliases", "pages-damaged": "aliases", "file-worse": "aliases",
         "file-gone": "aliases", "file-garbage": "aliases"}
NAMED_AFTER = 3.0  # seconds of a fault within which `status` has to name it


class Strikes:
    def __init__(self, place, books, until):
        self.place, self.books, self.until = place, books, until

    def start(self, loop, begin):
        for spec in self.place.spec["strikes"]:
            loop.spawn(self._run(spec, begin))

    def _run(self, spec, begin):
        yield max(0.0, begin + spec["at"] - time.monotonic())
        strike = self.books.strike(spec["kind"])
        try:
            strike.facts.update({"wanted": spec["what"]} if "what" in spec else {})
            yield from getattr(self, spec["kind"].replace("-", "_"))(strike, spec["for"], random.Random(spec["seed"]))
        except (OSError, sqlite3.Error, AssertionError) as trouble:
            strike.facts["trouble"] = str(trouble)
        strike.end = time.monotonic()

    def _last(self, strike, seconds):
        """The fault lasts; where it must be named it lasts long enough, and the gates are asked for its name."""
        if strike.kind not in NAMED:
            yield seconds
            return
        begin = time.monotonic()
        yield min(seconds, NAMED_AFTER)
        if seconds < NAMED_AFTER:
            return
        strike.named, strike.facts["expected"] = {}, NAMED[strike.kind]
        for gate in self.place.gates:
            status = None
            while time.monotonic() < begin + NAMED_AFTER + 2 + self.books.loop.noise(begin, time.monotonic()):
                status = yield from gate.ask_status(self.books.loop)
                if status and any(NAMED[strike.kind] in reason["what"] for reason in status["reasons"]):
                    break
                yield 0.2
            strike.named[gate.number] = status and [reason["what"] for reason in status["reasons"]]

    # ---- redis

    def redis_frozen(self, strike, seconds, r):
        self.place.redis.process.popen.send_signal(signal.SIGSTOP)
        try:
            yield from self._last(strike, seconds)
        finally:
            self.place.redis.process.popen.send_signal(signal.SIGCONT)

    def _killed(self, strike, seconds, keep):
        self.place.redis.kill(keep)
        yield from self._last(strike, seconds)
        self.place.redis.spawn()
        while not self.place.redis.answers():
            yield 0.02

    def redis_killed_empty(self, strike, seconds, r):
        yield from self._killed(strike, seconds, False)

    def redis_killed_data(self, strike, seconds, r):
        yield from self._killed(strike, seconds, True)

    def redis_flushed(self, strike, seconds, r):
        self.place.redis.call("FLUSHALL")
        yield 0.0

    def redis_no_script(self, strike, seconds, r):
        self.place.redis.call("SCRIPT", "FLUSH")
        yield 0.0

    def _proxy(self, strike, seconds, mode):
        self.place.proxy.mode(mode)
        yield from self._last(strike, seconds)
        self.place.proxy.mode("pass")

    def redis_slow(self, strike, seconds, r):
        part = r.choice([0.2, 0.45, 0.9])
        ms = int(self.place.spec["counters"]["timeout"].rstrip("ms"))
        strike.facts["delay"] = part * ms / 1000
        yield from self._proxy(strike, seconds, f"delay {part * ms / 1000}")

    def redis_deaf(self, strike, seconds, r):
        yield from self._proxy(strike, seconds, "deaf")
        self.place.proxy.mode("close")

    def redis_stalled(self, strike, seconds, r):
        yield from self._proxy(strike, seconds, "stall")

    def redis_cut(self, strike, seconds, r):
        for _ in range(5):
            self.place.proxy.mode(r.choice(["cut", "half"]))
            yield seconds / 5
        self.place.proxy.mode("pass")

    def redis_unheard(self, strike, seconds, r):
        """Away; back, but for an answer that is lost before it is away again; then it restarts with its data."""
        proxy = self.place.proxy
        proxy.mode("stall")
        yield seconds
        proxy.mode("close")
        proxy.mode(f"last {r.randint(0, 12)}")
        yield r.uniform(0.3, 0.8)
        proxy.mode("stall")
        yield from self._killed(strike, 0.0, True)
        proxy.mode("close")

    # ---- clocks

    def _clock(self, strike, clocks, seconds, by):
        strike.facts["by"] = by
        for clock in clocks:
            clock.set(clock.seconds + by)
        yield seconds
        if strike.kind != "time-passes":
            for clock in clocks:
                clock.set(clock.seconds - by)

    def clock_redis(self, strike, seconds, r):
        yield from self._clock(strike, [self.place.redis.clock], seconds, r.choice([-3600, -70, -2, 2, 70, 3600]))

    def clock_gate(self, strike, seconds, r):
        yield from self._clock(strike, [r.choice(self.place.gates).clock], seconds, r.choice([-3600, -70, -2, 2, 70, 3600]))

    def time_passes(self, strike, seconds, r):
        clocks = [gate.clock for gate in self.place.gates] + ([self.place.redis.clock] if self.place.redis else [])
        yield from self._clock(strike, clocks, 0.0, r.choice([61, 75, 130]))

    # ---- gates

    def _gate(self, strike, seconds, number, r):
        gate = r.choice(self.place.gates)
        strike.facts["gate"] = gate.number
        gate.process.popen.send_signal(number)
        while gate.process.alive():
            yield 0.02
        status = gate.process.stop()
        if number == signal.SIGTERM and status != 0:
            strike.facts["status"] = status
        yield min(seconds, 0.5)
        gate.spawn()
        while not gate.accepts() and gate.process.alive():
            yield 0.02

    def gate_killed(self, strike, seconds, r):
        yield from self._gate(strike, seconds, signal.SIGKILL, r)

    def gate_restarted(self, strike, seconds, r):
        yield from self._gate(strike, seconds, signal.SIGTERM, r)

    # ---- alias data

    def _truth(self):
        rules = self.books.rules.now()
        return {"domains": rules.domains, "aliases": rules.aliases, "globs": rules.globs, "senders": rules.senders, "clients": rules.clients}

    def _mend(self):
        """The owner writes the truth again, in place where the file is whole, else by a new one."""
        try:
            self.place.write_all(self.place.database.path, self._truth())
        except sqlite3.Error:
            self.place.put_in_place(self.place.fresh_copy(self._truth()))

    def _renew(self):
        self.place.put_in_place(self.place.fresh_copy(self._truth()))

    def _lost(self, strike, seconds, sql):
        self.place.run_sql(sql)
        yield from self._last(strike, seconds)
        self._mend()

    def _most(self, strike, lost):
        """Is that more than max_shrink, of all rows? Less may be what the owner wanted, and then it is the truth."""
        rows = sum(len(table) for table in self._truth().values())
        strike.facts["nothing"] = rows < 100 or lost * 2 <= rows + 2
        return not strike.facts["nothing"]

    def rows_lost(self, strike, seconds, r):
        """Most aliases, or all."""
        aliases = self._truth()["aliases"]
        if len(aliases) < 100:
            yield from self._lost(strike, seconds, "DELETE FROM aliases")
        elif self._most(strike, sum(not address[1:2] == "1" for address in aliases)):
            yield from self._lost(strike, seconds, "DELETE FROM aliases WHERE substr(address, 2, 1) <> '1'")

    def aliases_emptied(self, strike, seconds, r):
        yield from self._lost(strike, seconds, "DELETE FROM aliases")

    def sender_rules_lost(self, strike, seconds, r):
        """All that accept: who is on the list meets the rule for everybody else."""
        if self._most(strike, sum(row["action"] == "accept" for row in self._truth()["senders"].values())):
            yield from self._lost(strike, seconds, "DELETE FROM sender_rules WHERE action = 'accept'")

    def client_rules_lost(self, strike, seconds, r):
        if self._most(strike, sum(row["action"] == "accept" for row in self._truth()["clients"].values())):
            yield from self._lost(strike, seconds, "DELETE FROM client_rules WHERE action = 'accept'")

    def interior_damaged(self, strike, seconds, r):
        """A key of an interior page of the aliases out of order, in a file that is put in place of the good one."""
        path = self.place.fresh_copy(self._truth(), "damaged.db")
        strike.facts["nothing"] = not damage_interior(path, r)
        if not strike.facts["nothing"]:
            self.place.put_in_place(path)
            yield from self._last(strike, seconds)
            self._renew()

    def pages_damaged(self, strike, seconds, r):
        """Bytes of pages in the middle, in place."""
        path = self.place.database.path
        with sqlite3.connect(str(path), timeout=2) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        strike.facts["nothing"] = os.path.getsize(path) < 20 * 4096
        if not strike.facts["nothing"]:
            with open(path, "r+b") as file:
                for offset in range(4096, os.path.getsize(path), 4096):
                    if r.random() < 0.5:
                        file.seek(offset)
                        file.write(r.randbytes(512))
            yield from self._last(strike, seconds)
            self._renew()

    def file_worse(self, strike, seconds, r):
        """Another file with the domains and hardly an alias."""
        truth = self._truth()
        few = dict(list(truth["aliases"].items())[:len(truth["aliases"]) // 10 if len(truth["aliases"]) >= 100 else 0])
        if few and not self._most(strike, len(truth["aliases"]) - len(few)):
            return
        self.place.put_in_place(self.place.fresh_copy({**truth, "aliases": few}, "worse.db"))
        yield from self._last(strike, seconds)
        self._renew()

    def file_gone(self, strike, seconds, r):
        for path in self.place.files():
            path.unlink(missing_ok=True)
        yield from self._last(strike, seconds)
        self._renew()

    def file_garbage(self, strike, seconds, r):
        path = self.place.scratch / "garbage.db"
        path.write_bytes(r.randbytes(20000))
        path.chmod(0o666)
        self.place.put_in_place(path)
        yield from self._last(strike, seconds)
        self._renew()

    def file_locked(self, strike, seconds, r):
        db = sqlite3.connect(str(self.place.database.path), timeout=2, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
            yield from self._last(strike, seconds)
            db.execute("ROLLBACK")
        finally:
            db.close()

    # ---- the owner

    def _change(self, sql, values, change):
        rules = self.books.rules.now().copy()
        change(rules)
        state = Rules(rules.domains, rules.aliases, rules.globs, rules.senders, rules.clients)
        begin = time.monotonic()
        try:
            begin, done = self.place.run_sql(sql, *values)
        except sqlite3.Error:
            return
        self.books.rules.add(begin, done, state)

    def _broken(self):
        """The data is not as it is meant to be: the owner writes nothing meanwhile."""
        return any(s.end > time.monotonic() and s.kind in NAMED and NAMED[s.kind] == "aliases" or s.kind == "file-locked" and s.end > time.monotonic()
                   for s in self.books.strikes)

    def owner_adds(self, strike, seconds, r):
        for i in range(5):
            if not self._broken():
                address = f"new{i}@example.com"
                row = {"address": address, "mailbox": "box1@isp.example", "action": "accept"}
                self._change("INSERT OR REPLACE INTO aliases (address, mailbox) VALUES (?, 'box1@isp.example')", (address,),
                             lambda rules: rules.aliases.__setitem__(address, row))
            yield seconds / 5

    def owner_removes(self, strike, seconds, r):
        for _ in range(3):
            aliases = self.books.rules.now().aliases
            if not self._broken() and len(aliases) > 8:
                address = r.choice(list(aliases))
                self._change("DELETE FROM aliases WHERE address = ?", (address,), lambda rules: rules.aliases.pop(address))
            yield seconds / 3

    def owner_sets(self, strike, seconds, r):
        for _ in range(6):
            if not self._broken():
                address, action = r.choice(list(self.books.rules.now().aliases)), r.choice(["accept", "reject", "discard", "defer"])
                self._change("UPDATE aliases SET action = ? WHERE address = ?", (action, address),
                             lambda rules: rules.aliases[address].__setitem__("action", action))
            yield seconds / 6

    def owner_relents(self, strike, seconds, r):
        """What was deferred is accepted from now on."""
        def change(rules):
            for row in rules.aliases.values():
                row["action"] = "accept" if row["action"] == "defer" else row["action"]
        if not self._broken():
            self._change("UPDATE aliases SET action = 'accept' WHERE action = 'defer'", (), change)
        yield 0.0

    def owner_busy(self, strike, seconds, r):
        """Writes all the time, nothing that matters."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._broken():
            self.place.run_sql("INSERT OR REPLACE INTO aliases (address, mailbox) VALUES (?, 'box1@isp.example')", f"busy{r.randint(0, 3)}@busy.example")
            yield 0.005

    def owner_replaces(self, strike, seconds, r):
        if self._broken():
            return
        rules = self.books.rules.now().copy()
        rules.aliases["moved@example.com"] = {"address": "moved@example.com", "mailbox": "box2@isp.example", "action": "accept"}
        state = Rules(rules.domains, rules.aliases, rules.globs, rules.senders, rules.clients)
        path = self.place.fresh_copy({"domains": state.domains, "aliases": state.aliases, "globs": state.globs, "senders": state.senders,
                                      "clients": state.clients}, "next.db")
        begin = time.monotonic()
        self.place.put_in_place(path)
        self.books.rules.add(begin, begin + 3.0, state)
        yield 0.0

    def owner_policy(self, strike, seconds, r):
        """One limit gets another max, window or count."""
        limits = [dict(entry) for entry in self.place.gates[0].policy["limits"]]
        entry = r.choice(limits)
        what = strike.facts.pop("wanted", None) or r.choice(["max", "window", "count"])
        if what == "max":
            entry["max"] = max(1, int(entry["max"] * r.choice([0.5, 2, 4])))
        elif what == "window":
            entry["window"] = r.choice(["1s", "3s", "1h", "1d"])
        else:
            entry["count"] = r.choice([c for c in ("recipients", "messages", "attempts") if c != entry.get("count", "recipients")])
            entry["max"] = r.choice([5, 10, 30])
            if entry["count"] != "attempts" and "unknown" in entry.get("when", {}):
                entry.pop("when")
        strike.facts["limit"], strike.facts["what"], strike.facts["entry"] = entry["name"], what, entry
        begin = time.monotonic()
        for gate in self.place.gates:
            gate.write_policy(limits=limits)
            if gate.process.alive():
                gate.process.popen.send_signal(signal.SIGUSR1)
        self.books.limits.add(begin, begin + 3.0, [Limit(e) for e in limits])
        yield 0.0


def damage_interior(path, r):
    """Flips a bit in a key of an interior page, so that a comparison goes the wrong way; False where no page is interior, or no flip that was
    tried does that: keys that are still in order are other data, as an owner could have written it."""
    whole = path.read_bytes()
    keys = keys_of_interior_pages(whole)
    for spot in r.sample(keys, min(len(keys), 20)):
        data = bytearray(whole)
        data[spot] ^= r.choice([1, 2, 4, 8, 16])
        path.write_bytes(data)
        if misses_rows(path):
            return True
    return False


def keys_of_interior_pages(data):
    """Where the words before an @ begin, in the interior pages of tables without rowid."""
    keys = []
    for at in [at for at in range(0, len(data), 4096) if data[at + (100 if at == 0 else 0)] == 2]:
        position = data.find(b"@", at, at + 4096)
        while position >= 0:
            start = position
            while data[start - 1:start].isalnum():
                start -= 1
            if position - start >= 2:
                keys.append(start)
            position = data.find(b"@", position + 1, at + 4096)
    return keys


def misses_rows(path):
    """Is there an alias that a scan finds and a look-up does not?"""
    db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    db.text_factory = bytes
    try:
        rows = [address for address, in db.execute("SELECT address FROM aliases")]
        return any(db.execute("SELECT 1 FROM aliases WHERE address = CAST(? AS TEXT)", (address,)).fetchone() is None for address in rows)
    except sqlite3.Error:
        return True
    finally:
        db.close()
