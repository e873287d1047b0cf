"""Faults of the alias database (rows 26 to 40 and 69 to 71), in a real gate while RCPTs and Postfix's maps keep asking.

In each: what the last good copy knows goes on, what it does not know gets 451, nobody who exists is ever called
unknown, neither at RCPT nor in the maps, no RCPT waits for long, `status` and the log name the fault, and all is well again without a restart.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from fault_table import recovers
from harness import SANITIZED, MilterClient, Process, Scratch, World, rows_of, wait_for
from socketmap import SocketMap

KNOWN = [f"a{i}@example.com" for i in range(300)]  # the last is for a test to take away


class Flow:
    """Asks for recipients that exist and for one that does not, all the time, on connections of its own."""

    def __init__(self, gate, threads=2):
        self.gate, self.stopped = gate, False
        self.known, self.unknown = [], []  # (when, status)
        self.maps = {"known": set(), "unknown": set(), "ours": set(), "foreign": set()}  # first words of answers
        self.trouble = None
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        random_ = random.Random(number)
        try:
            client = MilterClient(self.gate.socket)
            client.connect()
            client.helo()
            maps = SocketMap(self.gate.maps)
            while not self.stopped:
                client.mail()
                for address, into in ((random_.choice(KNOWN[:-1]), self.known), ("nobody@example.com", self.unknown)):
                    start = time.monotonic()
                    into.append((start, client.rcpt(f"<{address}>").status))
                client.abort()
                self._ask(maps, random_.choice(KNOWN[:-1]))
                time.sleep(0.005)
            maps.socket.close()
            client.quit()
        except BaseException as trouble:  # noqa: told by stop()
            self.trouble = trouble

    def _ask(self, maps, address):
        self.maps["known"].add(maps.word("aliases", address))
        self.maps["unknown"].add(maps.word("aliases", "nobody@example.com"))
        self.maps["ours"].add(maps.word("domains", "example.com"))
        self.maps["foreign"].add(maps.word("domains", "elsewhere.example"))

    def now(self, kind="known"):
        """The next answer that was asked for from now on."""
        start, answers = time.monotonic(), getattr(self, kind)
        found = wait_for(lambda: [a for a in answers[-50:] if a[0] > start] or self.trouble, "an answer")
        if self.trouble:
            raise self.trouble
        return found[0][1]

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join(30)
        if self.trouble:
            raise self.trouble

    def check(self, known=("continue",), unknown=("550 5.1.1", "451 4.3.0")):
        """Every answer so far. (How long they took is measured in the gate.)"""
        assert len(self.known) > 10 and len(self.unknown) > 10
        assert {status for _, status in self.known} <= set(known)
        assert {status for _, status in self.unknown} <= set(unknown)
        as_known = {"OK"} if set(known) == {"continue"} else {"OK", "TEMP"}
        assert self.maps["known"] <= as_known and self.maps["ours"] <= as_known, self.maps
        assert self.maps["unknown"] <= {"NOTFOUND", "TEMP"} and self.maps["foreign"] <= {"NOTFOUND", "TEMP"}, self.maps


def world(**options):
    w = World("memory", maps=True, **options)
    try:
        w.database.aliases(KNOWN)
        w.database.alias("gone@example.com", action="reject")
        w.database.glob("example.com", "spam*", action="reject")
        settled(w)
        w.gate.witness.proof.look()  # before the fault: it looks less often than this took
    except BaseException:
        w.__exit__(*sys.exc_info())
        raise
    return w


def ask(w, address):
    return w.gate.told(address)[0]


def troubles(w):
    """What `status` says is wrong, and its text."""
    report = json.loads(w.gate.command("status", "--json", check=None))
    return {reason["what"]: reason["text"] for reason in report["reasons"]}


def named(w, *names, says=""):
    """Waits until one of these troubles is told, in `status` and in the log, in such words."""
    def told():
        return [text for name, text in troubles(w).items()
                if name in names and says in text and f"event={name}-trouble" in w.gate.log()]
    return wait_for(told, f"{names} in status and log, with {says!r}: {troubles(w)}")[0]


def meant(w):
    """What the database holds now is right, however much it lost."""
    w.gate.witness.proof.database.meant()


def rows_in(path, options=""):
    db = sqlite3.connect(f"file:{path}?mode=ro{options}", uri=True, timeout=30)
    try:
        return rows_of(db)
    finally:
        db.close()


def copied(w):
    """The last good copy is as the database is."""
    copy = w.gate.state / "aliases.copy.db"
    return copy.exists() and rows_in(copy, "&immutable=1") == rows_in(w.database.path)


def settled(w, seconds=30):
    """Well: the unknown is refused again, the known is not, the copy is up to date, and nothing about aliases is wrong."""
    wait_for(lambda: copied(w), "the copy is as the database is", seconds)
    wait_for(lambda: ask(w, "nobody@example.com") == "550 5.1.1", "550 for who does not exist", seconds)
    wait_for(lambda: ask(w, KNOWN[7]) == "continue", "an alias that exists", seconds)
    wait_for(lambda: not [t for t in troubles(w) if t.startswith("aliases")], "no trouble with aliases", seconds)
    return True


@contextmanager
def flowing(w, **expected):
    """Mail flows around the fault and its end."""
    flow = Flow(w.gate)
    try:
        wait_for(lambda: len(flow.unknown) > 10 or flow.trouble, "mail flows")
        yield flow
        recovers(lambda: settled(w), "all is well")
    finally:
        flow.stop()
    flow.check(**expected)


def copy_answers(flow, w):
    """What G says: exact rows as always, all else later."""
    wait_for(lambda: flow.now("unknown") == "451 4.3.0", "451 for what the copy does not know")
    assert flow.now() == "continue"
    assert ask(w, "gone@example.com") == "550 5.2.1"   # an exact row
    assert ask(w, "spam1@example.com") == "451 4.3.0"  # a glob
    assert ask(w, "who@elsewhere.example") == "451 4.3.0"


def files(w):
    path = w.database.path
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def saved(w):
    """A good file as it is now, for the repair."""
    good = w.scratch / "good.db"
    source, target = sqlite3.connect(str(w.database.path)), sqlite3.connect(str(good))
    with target:
        source.backup(target)
    source.close()
    target.close()
    good.chmod(0o666)
    return good


def restore(w, good):
    for path in files(w)[1:]:
        path.unlink(missing_ok=True)
    fresh = w.database.directory / "fresh"
    shutil.copyfile(good, fresh)
    fresh.chmod(0o666)
    os.rename(fresh, w.database.path)


def test_row26_missing():
    with world() as w, flowing(w) as flow:
        away = w.scratch / "away"
        away.mkdir()
        there = [path for path in files(w) if path.exists()]
        for path in there:
            path.rename(away / path.name)
        assert "does not exist" in named(w, "aliases", says="last good copy")
        copy_answers(flow, w)
        assert not w.database.path.exists()
        for path in there:
            (away / path.name).rename(path)


def test_row26_missing_with_postfix():
    with world() as w:
        good = saved(w)
        for path in files(w):
            path.unlink(missing_ok=True)
        named(w, "aliases")
        with w.smtp() as smtp:
            answers, end = smtp.send([KNOWN[0], "nobody@example.com", KNOWN[1]], token="missing")
        assert [a.status[:3] for a in answers] == ["250", "451", "250"] and end.code == 250
        w.idle()
        assert w.sink.of("missing") == sorted([KNOWN[0], KNOWN[1]])
        restore(w, good)
        settled(w)
        with w.smtp() as smtp:
            assert smtp.send(["nobody@example.com"])[0][0].status == "550 5.1.1"


def test_row26_missing_and_the_copy_cut():
    with world() as w:
        path, aside = w.database.path, w.database.directory / "aside"
        copy = w.gate.state / "aliases.copy.db"
        os.rename(path, aside)
        os.truncate(copy, copy.stat().st_size // 2)
        wait_for(lambda: ask(w, KNOWN[7]) == "451 4.3.0", "nothing answers")
        named(w, "aliases", says="no copy that is young enough")
        report = json.JSONDecoder().raw_decode(w.gate.command("status", "--json", check=2))[0]
        assert report["status"] == "down"
        os.rename(aside, path)
        recovers(lambda: ask(w, "nobody@example.com") == "550 5.1.1", "there is a copy again")
        settled(w)


def test_row26_missing_at_a_start():
    """The copy outlives the process; without one everybody gets 451, and `alias init` mends that."""
    with world() as w:
        w.gate.stop()
        for path in files(w):
            path.unlink(missing_ok=True)
        w.gate.start()
        assert ask(w, KNOWN[0]) == "continue" and ask(w, "nobody@example.com") == "451 4.3.0"
        w.gate.stop()
        (w.gate.state / "aliases.copy.db").unlink()
        w.gate.start()
        assert ask(w, KNOWN[0]) == "451 4.3.0" and ask(w, "postmaster@example.com") == "continue"
        assert "rcptgate alias init" in w.gate.command("check")
        named(w, "aliases", says="rcptgate alias init")
        w.gate.command("alias", "init")
        w.gate.command("domain", "add", "example.com")
        w.gate.command("alias", "add", KNOWN[7], "joe@mailbox.example")
        meant(w)
        settled(w)


def test_row26_max_stale():
    with World("memory") as w:
        w.gate.stop()
        w.gate.write_policy(aliases={"database": str(w.database.path), "max_stale": "3s"})
        w.database.aliases(KNOWN)
        w.gate.start()
        settled(w)
        good = saved(w)
        for path in files(w):
            path.unlink(missing_ok=True)
        wait_for(lambda: ask(w, "nobody@example.com") == "451 4.3.0", "the copy answers")
        wait_for(lambda: ask(w, KNOWN[0]) == "451 4.3.0", "the copy is too old")
        restore(w, good)
        settled(w)


def test_row27_empty():
    with world() as w:
        good = saved(w)
        with flowing(w) as flow:
            os.truncate(w.database.path, 0)
            named(w, "aliases", "aliases-refused")
            copy_answers(flow, w)
            restore(w, good)


def test_row27_no_tables():
    with world() as w:
        good = saved(w)
        with flowing(w) as flow:
            fresh = w.database.directory / "fresh"
            sqlite3.connect(str(fresh)).executescript("PRAGMA user_version = 1; CREATE TABLE x (y);").connection.close()
            for path in files(w)[1:]:
                path.unlink(missing_ok=True)
            fresh.rename(w.database.path)
            named(w, "aliases", "aliases-refused", says="has no table")
            copy_answers(flow, w)
            restore(w, good)


def test_row28_rows_gone_in_place():
    with world() as w, flowing(w, known=("continue", "451 4.3.0")) as flow:
        w.database.run("DELETE FROM aliases WHERE address LIKE 'a%'")
        named(w, "aliases-refused", says="max_shrink")
        copy_answers(flow, w)
        w.database.aliases(KNOWN)


def test_row28_all_domains_gone():
    """Not ours would be as wrong as unknown: Postfix would say it."""
    with world() as w, flowing(w, known=("continue", "451 4.3.0")) as flow:
        domains = ", ".join(f"('{domain}')" for domain, in w.database.run("SELECT domain FROM domains"))
        w.database.run("DELETE FROM domains")
        named(w, "aliases-refused")
        wait_for(lambda: flow.now("unknown") == "451 4.3.0", "451")
        w.database.run(f"INSERT INTO domains (domain) VALUES {domains}")


def test_row28_replaced_by_less_and_accepted():
    with world() as w:
        good = saved(w)
        with flowing(w) as flow:
            less = w.scratch / "less.db"
            shutil.copyfile(good, less)
            db = sqlite3.connect(str(less))
            with db:
                db.execute("DELETE FROM aliases WHERE address NOT IN (?, ?)", (KNOWN[7], "gone@example.com"))
            db.close()
            restore(w, less)
            named(w, "aliases-refused", says="rcptgate alias accept")
            copy_answers(flow, w)
            flow.stop()
            meant(w)
            assert "2 aliases" in w.gate.command("alias", "accept")
            assert ask(w, KNOWN[8]) == "550 5.1.1" and ask(w, KNOWN[7]) == "continue"


def test_row28_accepted_for_the_next_start():
    with world() as w:
        w.gate.stop()
        w.database.run("DELETE FROM aliases WHERE address <> ?", KNOWN[7])
        w.gate.start()
        assert ask(w, KNOWN[8]) == "continue" and ask(w, "nobody@example.com") == "451 4.3.0"
        w.gate.stop()
        meant(w)
        assert "no gate runs" in w.gate.command("alias", "accept")
        w.gate.start()
        assert ask(w, KNOWN[8]) == "550 5.1.1"
        settled(w)


def test_row28_one_alias_deleted_is_unknown_soon():
    with world() as w:
        for address in KNOWN[10:15]:
            w.database.run("DELETE FROM aliases WHERE address = ?", address)
            start = time.monotonic()
            assert ask(w, address) in ("550 5.1.1", "451 4.3.0")
            wait_for(lambda: ask(w, address) == "550 5.1.1", "the deleted alias is unknown")
            assert time.monotonic() - start < 2
        assert not [t for t in troubles(w) if t.startswith("aliases")]


def flip(path, share=0.5):
    """Damages pages in the middle of the file, in place."""
    random_ = random.Random(4)
    with open(path, "r+b") as f:
        size = f.seek(0, 2)
        for offset in range(4096, size, 4096):
            if random_.random() < share:
                f.seek(offset)
                f.write(random_.randbytes(512))


def test_row29_corrupt_pages():
    with world() as w:
        good = saved(w)
        w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        with flowing(w) as flow:
            flip(w.database.path)
            named(w, "aliases", "aliases-refused")
            for address in random.Random(1).sample(KNOWN, 100):
                assert ask(w, address) == "continue"
            assert flow.now("unknown") == "451 4.3.0"
            restore(w, good)


def test_row30_not_a_database():
    with world() as w:
        good = saved(w)
        w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        with flowing(w) as flow:
            garbage = random.Random(2).randbytes(w.database.path.stat().st_size)
            with open(w.database.path, "r+b") as f:
                f.write(garbage)
            named(w, "aliases", "aliases-refused")
            copy_answers(flow, w)
            restore(w, good)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)],
                         ids=["pipe", "directory", "device"])
def test_row30_no_file_at_all(make):
    """To open a pipe would be to wait for ever; and when the file is back its -wal is still its own."""
    with world() as w:
        path, aside = w.database.path, w.database.directory / "aside"
        writer = sqlite3.connect(str(path), isolation_level=None)  # keeps -wal from being written back
        writer.execute("INSERT INTO aliases (address) VALUES ('late@example.com')")
        settled(w)
        with flowing(w) as flow:
            os.rename(path, aside)
            make(path)
            named(w, "aliases", says="no regular file")
            copy_answers(flow, w)
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
            os.rename(aside, path)
        writer.close()


def test_row31_replaced_by_rename():
    with world() as w:
        good = saved(w)
        with flowing(w):
            db = sqlite3.connect(str(good))
            with db:
                db.execute("INSERT INTO aliases (address, mailbox) VALUES ('new@example.com', 'x@mailbox.example')")
            db.close()
            restore(w, good)
            start = time.monotonic()
            wait_for(lambda: ask(w, "new@example.com") == "continue", "the new file is in force")
            assert time.monotonic() - start < 2.5


OVERWRITE = {"cp": lambda new, path: ["cp", new, path],
             "dd": lambda new, path: ["dd", f"if={new}", f"of={path}", "bs=1M", "conv=notrunc", "status=none"]}


@pytest.mark.parametrize("journal, command", [("WAL", "cp"), ("WAL", "dd"), ("DELETE", "cp"), ("DELETE", "dd")])
def test_row31_overwritten_in_place(journal, command):
    """Nobody who has the file open sees that as a commit; neither the header nor what SQLite counts there need tell of it."""
    with world() as w:
        w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        if journal == "DELETE":
            w.gate.stop()
            w.database.run("PRAGMA journal_mode = DELETE")
            w.gate.start()
        w.database.alias("removed@example.com")
        settled(w)
        good = renamed(w, "removed@example.com", "new@example.com")
        w.database.run("UPDATE aliases SET owner = 'x' WHERE address = 'removed@example.com'")  # the same number of commits
        w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        with flowing(w, known=BETWEEN):
            settled(w)
            subprocess.run(OVERWRITE[command](good, w.database.path), check=True)
            wait_for(lambda: ask(w, "removed@example.com") == "550 5.1.1", "the old file is not in force any more")
            wait_for(lambda: ask(w, "new@example.com") == "continue", "the new one is")


BETWEEN = ("continue", "451 4.3.0")  # what is read while another file is written over it may lack a row that both have


def half_written(w):
    """(another file as pages, how many of them, the first ones, make a sound file with the old ones behind them, who is missing there and is in
    both files): rows that have moved from page to page."""
    w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    old, path, random_ = w.database.path.read_bytes(), w.scratch / "other.db", random.Random(1)
    size = int.from_bytes(old[16:18], "big")
    for _ in range(1000):
        path.write_bytes(old)
        db = sqlite3.connect(str(path), isolation_level=None)
        db.execute("BEGIN")
        for address in ["new@example.com", *(f"a{random_.random() * 300}@example.com" for _ in range(random_.randrange(60)))]:
            db.execute("INSERT INTO aliases (address, mailbox) VALUES (?, 'joe@mailbox.example')", (address,))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        new = path.read_bytes()
        for n in (at for at in range(size, len(old), size) if new[at:at + size] != old[at:at + size]):
            path.write_bytes(new[:n] + old[n:])
            db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
            try:
                sound = db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                missing = set(KNOWN) - {address for address, in db.execute("SELECT address FROM aliases")} if sound else ()
            except sqlite3.DatabaseError:
                continue
            finally:
                db.close()
            if missing:
                return [new[at:at + size] for at in range(0, len(new), size)], n // size, missing.pop()
    raise AssertionError("no half of a file is sound and lacks a row")


def goes_on_writing(w, file, pages, at, known):
    """Who overwrites it is at that page for longer than the gate waits until nobody writes."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        assert ask(w, known) in BETWEEN
        os.pwrite(file.fileno(), pages[at], at * len(pages[0]))  # the next one, of thousands
        time.sleep(0.02)


def test_row31_overwritten_slowly():
    """What is there meanwhile may be sound, and neither the one file nor the other."""
    with world() as w:
        pages, half, moved = half_written(w)
        with flowing(w, known=BETWEEN), open(w.database.path, "r+b", buffering=0) as file:
            for page in pages[:half]:
                file.write(page)
            goes_on_writing(w, file, pages, half - 1, moved)
            for page in pages[half:]:
                file.write(page)
            wait_for(lambda: ask(w, "new@example.com") == "continue", "the new file is in force")
            assert ask(w, moved) == "continue"


def test_row31_overwritten_slowly_after_a_crash():
    """With a WAL of which nobody can say whether a checkpoint is under way (see below). In the end the old file is there again."""
    with world() as w:
        pages, half, moved = half_written(w)
        w.gate.stop()
        old = w.database.path.read_bytes()
        subprocess.run([sys.executable, "-c", LEAVES_WAL, w.database.path], check=True)
        w.database.share()
        w.gate.start()
        settled(w)
        with flowing(w, known=BETWEEN), open(w.database.path, "r+b", buffering=0) as file:
            for page in pages[:half]:
                file.write(page)
            goes_on_writing(w, file, pages, half - 1, moved)
            os.pwrite(file.fileno(), old, 0)
            settled(w)
            assert ask(w, moved) == "continue"


def rolled_back(w):
    """A transaction so large that it is in the file before it ends, and then not any more."""
    db = sqlite3.connect(str(w.database.path), isolation_level=None, timeout=30)
    db.execute("PRAGMA cache_size = 10")
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO aliases (address, mailbox) VALUES (?, 'x@mailbox.example')", [(f"b{i}@example.com",) for i in range(3000)])
    db.execute("ROLLBACK")
    db.close()


@pytest.mark.parametrize("journal, write", [("WAL", os.utime), ("DELETE", os.utime), ("DELETE", rolled_back)],
                         ids=["WAL-touched", "DELETE-touched", "DELETE-rolled-back"])
def test_row31_written_to_and_as_before(journal, write):
    """Whatever is done to the file every second, and leaves in it what was there: who does not exist is refused all the same."""
    with world() as w:
        w.gate.stop()
        w.database.run(f"PRAGMA journal_mode = {journal}")
        w.gate.start()
        settled(w)
        with flowing(w) as flow:
            before, until = len(flow.unknown), time.monotonic() + 10
            while time.monotonic() < until:
                write(w if write is rolled_back else w.database.path)
                time.sleep(1)
            answers = [status for _, status in flow.unknown[before:]]
            assert answers.count("550 5.1.1") > 0.3 * len(answers), Counter(answers)


def renamed(w, old, new):
    """The database file with another row in the place of one."""
    w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    good = w.scratch / "good.db"
    shutil.copyfile(w.database.path, good)
    db = sqlite3.connect(str(good), isolation_level=None)
    db.execute("UPDATE aliases SET address = ? WHERE address = ?", (new, old))
    db.close()
    return good


LEAVES_WAL = """
import os, sqlite3, sys
sqlite3.connect(sys.argv[1], isolation_level=None).execute("INSERT INTO domains (domain) VALUES ('more.example')")
os._exit(0)
"""


def test_row31_overwritten_after_a_crash():
    """Who finds a WAL that a crash has left marks all of it as about to be brought to the file, and nobody does it."""
    with world() as w:
        w.database.alias("removed@example.com")
        settled(w)
        w.gate.stop()
        good = renamed(w, "removed@example.com", "new@example.com")
        subprocess.run([sys.executable, "-c", LEAVES_WAL, w.database.path], check=True)
        w.database.share()
        assert files(w)[1].stat().st_size > 0
        w.gate.start()
        with flowing(w, known=BETWEEN):
            settled(w)
            subprocess.run(OVERWRITE["dd"](good, w.database.path), check=True)
            wait_for(lambda: ask(w, "removed@example.com") == "550 5.1.1", "the old file is not in force any more")
            wait_for(lambda: ask(w, "new@example.com") == "continue", "the new one is")


def behind_a_link(w):
    """The database is somewhere else, and so are the files beside it."""
    w.gate.stop()
    w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    link, place = w.database.path, w.database.directory / "place"
    place.mkdir()
    path = place / link.name
    os.rename(link, path)
    link.symlink_to(path)
    w.gate.start()
    settled(w)
    return path


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "behind a link"])
def test_row31_replaced_beside_the_wal_of_the_old(linked):
    """A bare rename(): what the old file's -wal holds must not be laid over the new file. As long as it lies there the copy answers."""
    with world() as w:
        path = behind_a_link(w) if linked else w.database.path
        w.database.alias("removed@example.com")
        good = saved(w)
        db = sqlite3.connect(str(good))
        with db:
            db.execute("INSERT INTO aliases (address, mailbox) VALUES ('new@example.com', 'x@mailbox.example')")
            db.execute("DELETE FROM aliases WHERE address = 'removed@example.com'")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        with flowing(w) as flow:
            w.database.run("INSERT INTO aliases (address, mailbox) VALUES ('old@example.com', 'x@mailbox.example')")
            wal = Path(f"{path}-wal")
            assert wal.stat().st_size > 0, "the gate keeps it open"
            wait_for(lambda: ask(w, "old@example.com") == "continue", "the old file is read")
            wait_for(lambda: copied(w), "it is in the copy")
            time.sleep(0.7)  # it was looked at
            os.rename(good, path)
            named(w, "aliases", says=f"remove {wal}")
            copy_answers(flow, w)
            for _ in range(10):
                assert ask(w, "old@example.com") == "continue" and ask(w, "removed@example.com") == "continue"
                assert ask(w, "new@example.com").startswith("451")
                time.sleep(0.1)
            for name in ("-wal", "-shm"):  # as the manual says to do
                os.unlink(f"{path}{name}")
            w.database.run("INSERT INTO aliases (address, mailbox) VALUES ('later@example.com', 'x@mailbox.example')")
            wait_for(lambda: ask(w, "new@example.com") == "continue", "the new file is in force")
            wait_for(lambda: ask(w, "old@example.com").startswith("550"), "what is in the new file alone counts")
            wait_for(lambda: ask(w, "later@example.com") == "continue", "and what is written from then on")


def test_row32_truncated_while_open():
    with world() as w:
        good = saved(w)
        w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        with flowing(w) as flow:
            os.truncate(w.database.path, os.path.getsize(w.database.path) // 2)
            named(w, "aliases", "aliases-refused")
            copy_answers(flow, w)
            restore(w, good)


def ends(w):
    """Whether the gate ends of what has just happened. What it answers until then is right."""
    until = time.monotonic() + 2
    while w.gate.process.alive() and time.monotonic() < until:
        try:
            assert ask(w, KNOWN[7]) in ("continue", "451 4.3.0")
            assert ask(w, "nobody@example.com") in ("550 5.1.1", "451 4.3.0")
        except (OSError, EOFError):
            time.sleep(0.1)
    return not w.gate.process.alive()


@pytest.mark.skipif(SANITIZED, reason="the sanitizer takes the SIGBUS for a fault of the gate")
def test_row32_shm_truncated_while_open():
    """SQLite maps it: who reads in what is gone gets a SIGBUS. systemd starts the gate anew, here the test does."""
    with world() as w:
        for n in range(3):
            os.truncate(files(w)[2], 0)
            if ends(w):
                w.gate.start()
            settled(w)
            w.database.alias(f"later{n}@example.com")
            wait_for(lambda: ask(w, f"later{n}@example.com") == "continue", "what is written from then on")


def test_row33_locked_exclusively():
    with world() as w:
        w.gate.stop()
        w.database.run("PRAGMA journal_mode = DELETE")  # in WAL mode nobody can keep readers out
        w.gate.start()
        settled(w)
        with flowing(w) as flow:
            db = sqlite3.connect(str(w.database.path), timeout=30, isolation_level=None)
            db.execute("BEGIN EXCLUSIVE")
            named(w, "aliases", says="locked")
            copy_answers(flow, w)
            db.execute("COMMIT")
            db.close()


def run_as(gate, user, group):
    """The gate as a user who is not root, for whom modes mean something."""
    from harness import RCPTGATE, SANITIZERS
    for socket in (gate.socket, Path(gate.maps.removeprefix("unix:"))):
        socket.with_name(socket.name + ".lock").unlink(missing_ok=True)
    for path in [gate.state, *gate.state.iterdir()]:
        shutil.chown(path, user, group)
    gate.scratch.path.chmod(0o777)
    gate.process = Process(["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", RCPTGATE, "run", "-c",
                            gate.policy_path], gate.scratch / "gate.log", env=dict(os.environ, **SANITIZERS))
    wait_for(gate.accepts, "the gate does not open its socket")


@pytest.mark.parametrize("suffix, mode", [("-wal", 0o400), ("-shm", 0o400), ("-wal", 0), ("-shm", 0), ("", 0)])
def test_row34_modes(suffix, mode):
    with world() as w:
        w.gate.stop()
        keep = sqlite3.connect(str(w.database.path), isolation_level=None)  # so that -wal and -shm exist
        keep.execute("INSERT INTO aliases (address) VALUES ('kept@example.com')")
        for path in files(w):
            if path.exists():
                path.chmod(0o666)
        run_as(w.gate, "nobody", "postfix")
        settled(w)
        w.gate.stop()
        path = w.database.path.with_name(w.database.path.name + suffix)
        assert path.exists()
        path.chmod(mode)
        run_as(w.gate, "nobody", "postfix")
        flow = Flow(w.gate)
        if ask(w, "nobody@example.com") != "550 5.1.1":  # not served: the copy answers
            named(w, "aliases")
            assert "451" in ask(w, "nobody@example.com")
        assert ask(w, "kept@example.com") == "continue"
        path.chmod(0o666)
        settled(w)
        flow.stop()
        flow.check()
        keep.close()


@pytest.mark.parametrize("names", [("-shm",), ("-wal", "-shm")], ids=" ".join)
def test_row34_removed_while_open(names):
    """Whoever opens the database from then on has others: what is written to them has to be seen."""
    with world() as w:
        w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        with flowing(w):
            for name in names:
                os.unlink(f"{w.database.path}{name}")
            time.sleep(1)  # by then it is noticed
            for i in range(3):
                w.database.alias(f"later{i}@example.com")
                assert ask(w, f"later{i}@example.com") == "continue"


def test_row35_written_to_all_the_time():
    with world() as w, flowing(w) as flow:
        db = sqlite3.connect(str(w.database.path), timeout=30, isolation_level=None)
        end, n = time.monotonic() + 8, 0
        while time.monotonic() < end:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR REPLACE INTO aliases (address) VALUES (?)",
                           [(f"t{n + i}@example.com",) for i in range(20)])
            db.execute("DELETE FROM aliases WHERE address LIKE 't%' AND address NOT IN (?)", (f"t{n}@example.com",))
            db.execute("UPDATE aliases SET owner = ? WHERE address < 'a2'", (f"o{n}",))
            db.execute("COMMIT")
            n += 1
            time.sleep(0.002)
        db.close()
        assert n > 100
        assert not [t for t in troubles(w) if t.startswith("aliases")]
        refused = [status for _, status in flow.unknown]
        assert refused.count("550 5.1.1") > 0.9 * len(refused)  # validation keeps up


WRITER = textwrap.dedent("""
    import sqlite3, sys, time
    db = sqlite3.connect(sys.argv[1], isolation_level=None)
    db.execute("PRAGMA cache_size = 5")
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM aliases")
    db.executemany("INSERT INTO aliases (address, owner) VALUES (?, ?)",
                   [(f"w{i}@example.com", "o" * 500) for i in range(2000)])
    print("ready", flush=True)
    time.sleep(600)
""")


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_row36_writer_killed(journal):
    with world() as w:
        if journal == "DELETE":
            w.gate.stop()
            w.database.run("PRAGMA journal_mode = DELETE")
            w.gate.start()
            settled(w)
        with flowing(w) as flow:
            writer = subprocess.Popen([sys.executable, "-c", WRITER, str(w.database.path)], stdout=subprocess.PIPE)
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.3)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            time.sleep(0.5)
            assert flow.now() == "continue"
            if journal == "DELETE":
                named(w, "aliases", says="run: rcptgate alias list")
                copy_answers(flow, w)
                w.gate.command("alias", "list")  # the next writer rolls a hot journal back


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int broken(int fd)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0 || access(getenv("FAULT_FLAG"), F_OK) != 0) return 0;
    path[n] = '\0';
    return strstr(path, "aliases/aliases.db") != NULL;
}
ssize_t pread64(int fd, void *to, size_t n, off64_t at)
{
    static ssize_t (*real)(int, void *, size_t, off64_t);
    if (real == NULL) real = (ssize_t (*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
    if (broken(fd)) { errno = EIO; return -1; }
    return real(fd, to, n, at);
}
"""


@pytest.mark.skipif(SANITIZED, reason="a preloaded library must not come before the sanitizer's")
def test_row37_reads_fail():
    """EIO from the disk; every nth call, and no memory, are tried in test_ruledb_copy."""
    scratch = Scratch()
    source, shim, flag = scratch / "shim.c", scratch / "shim.so", scratch / "flag"
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    with world() as w:
        w.gate.stop()
        os.environ.update(LD_PRELOAD=str(shim), FAULT_FLAG=str(flag))
        try:
            w.gate.start()
        finally:
            del os.environ["LD_PRELOAD"], os.environ["FAULT_FLAG"]
        settled(w)
        with flowing(w) as flow:
            flag.touch()
            w.database.run("UPDATE aliases SET owner = 'x'")  # cached pages are of no use any more
            named(w, "aliases", "aliases-refused")
            copy_answers(flow, w)
            flag.unlink()
    scratch.remove()


@pytest.mark.skipif(SANITIZED, reason="takes the release build's measure")
def test_row37_no_room_for_the_copy():
    """Nothing more can be written to the state directory: new rows hold, and what refuses does once the file itself has passed
    its checks."""
    with world() as w:
        w.database.alias("brief@example.com")
        settled(w)
        with flowing(w, known=("continue", "451 4.3.0")) as flow:
            (w.gate.state / "aliases.copy.db.new").mkdir()  # as root nothing else keeps the gate from writing
            (w.gate.state / "aliases.copy.db.new" / "x").touch()
            w.database.alias("fresh@example.com")
            w.database.run("DELETE FROM aliases WHERE address = 'brief@example.com'")
            named(w, "aliases-copy", says="last good copy")
            assert ask(w, "fresh@example.com") == "continue"
            wait_for(lambda: ask(w, "brief@example.com") == "550 5.1.1", "the removed alias is unknown")
            wait_for(lambda: flow.now("unknown") == "550 5.1.1", "who never was is unknown")
            w.database.alias("brief@example.com")
            shutil.rmtree(w.gate.state / "aliases.copy.db.new")


def test_row38_column_lost():
    with world() as w:
        with flowing(w, known=("continue", "451 4.3.0")) as flow:
            w.database.run("ALTER TABLE aliases DROP COLUMN class")
            named(w, "aliases", "aliases-refused", says="column")
            copy_answers(flow, w)
            w.database.run("ALTER TABLE aliases ADD COLUMN class TEXT")


def test_row38_text_in_an_integer_column():
    with world() as w:
        good = saved(w)
        with flowing(w, known=("continue", "451 4.3.0")) as flow:
            w.database.script("""
                BEGIN;
                CREATE TABLE loose (address, mailbox, owner, class, action, reply, expires_at);
                INSERT INTO loose SELECT address, mailbox, owner, class, action, reply, 'soon' FROM aliases;
                DROP TABLE aliases;
                ALTER TABLE loose RENAME TO aliases;
                CREATE UNIQUE INDEX by_address ON aliases (address);
                COMMIT;""")
            named(w, "aliases-refused", says="wrong type")
            copy_answers(flow, w)
            restore(w, good)


def test_row38_version():
    with world() as w, flowing(w, known=("continue", "451 4.3.0")) as flow:
        w.database.run("PRAGMA user_version = 2")
        named(w, "aliases", "aliases-refused", says="user_version")
        copy_answers(flow, w)
        w.database.run("PRAGMA user_version = 1")


def test_row39_the_wal_stays_small():
    with world() as w, flowing(w) as flow:
        db = sqlite3.connect(str(w.database.path), timeout=30, isolation_level=None)
        wal = files(w)[1]
        written, largest, end = 0, 0, time.monotonic() + 10
        while time.monotonic() < end:
            db.execute("UPDATE aliases SET reply = ?", ("r" * random.randint(500, 1500),))
            written += 300 * 1500
            largest = max(largest, wal.stat().st_size)
        db.execute("UPDATE aliases SET reply = NULL")
        db.close()
        assert written > 2 * largest
        assert largest < 32 << 20, f"{largest >> 20} MB"
        assert len(flow.known) > 50


def test_row40_slow_query():
    with world() as w:
        good = saved(w)
        with flowing(w, known=("continue", "451 4.3.0")):
            w.database.script("""
                BEGIN;
                CREATE TABLE slow (address, mailbox, owner, class, action, reply, expires_at INTEGER);
                INSERT INTO slow SELECT address, mailbox, owner, class, action, reply, expires_at FROM aliases;
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500000)
                    INSERT INTO slow (address, action) SELECT 'x' || i || '@example.com', 'accept' FROM n;
                DROP TABLE aliases;
                ALTER TABLE slow RENAME TO aliases;
                COMMIT;""")
            wait_for(lambda: "more than" in " ".join(troubles(w).values()), "the slow query is named")
            assert ask(w, "nobody@example.com") == "451 4.3.0"
            restore(w, good)
            w.gate.command("alias", "accept")


# --- a key out of order

FRIENDS = [f"s{i}@friend.example" for i in range(500)]
HOSTS = [f"10.7.{i // 250}.{i % 250}" for i in range(1000)]


def interior_page(data, root):
    """(offset, its page) of the root of a table that has more than one page; a page of a WITHOUT ROWID table."""
    size = int.from_bytes(data[16:18], "big")
    at = (root - 1) * size
    assert data[at] == 2, "the table is too small"
    return at, data[at:at + size]


def asked(data, scratch, table, keys):
    """What quick_check and integrity_check say of this file, and how many of its keys are not found."""
    path = scratch / "damaged.db"
    path.write_bytes(data)
    db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        checks = [db.execute(f"PRAGMA {name}_check").fetchone()[0] for name in ("quick", "integrity")]
        column = {"aliases": "address", "client_rules": "network", "sender_rules": f"scope = '{KNOWN[0]}' AND pattern"}[table]
        found = [db.execute(f"SELECT 1 FROM {table} WHERE {column} = ?", (key,)).fetchone() for key in keys]
    except sqlite3.DatabaseError as trouble:
        return str(trouble), "", 0
    finally:
        db.close()
    return *checks, found.count(None)


def flipped_key(w, table, keys):
    """(offset, byte): the flipped bit of an interior page that quick_check does not see, and that hides the most keys."""
    w.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    data = w.database.path.read_bytes()
    db = sqlite3.connect(str(w.database.path))
    root, = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    db.close()
    page, content = interior_page(data, root)
    best = (0, 0, 0)
    for i in range(int.from_bytes(content[3:5], "big")):
        cell = int.from_bytes(content[12 + 2 * i:14 + 2 * i], "big")
        for at in range(cell + 8, cell + 40):
            for bit in (1, 8):
                changed = bytearray(data)
                changed[page + at] ^= bit
                quick, integrity, missed = asked(changed, w.scratch, table, keys)
                if quick == "ok" and integrity != "ok" and missed > best[0]:
                    best = (missed, page + at, changed[page + at])
    assert best[0] > 10, "no bit hides a key"
    return best[1:]


def write_past_sqlite(path, at, byte):
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, bytes([byte]), at)
    os.close(fd)


def answer_from(w, client, sender):
    """The hardest answer that this client gets for KNOWN[0]."""
    with w.milter() as milter:
        status = milter.connect(client).status
        if status == "continue":
            milter.helo()
            milter.mail(f"<{sender}>")
            status = milter.rcpt(f"<{KNOWN[0]}>").status
            milter.quit()
        return status


def asked_for(w, table, keys):
    """The answers to a sample of those whom a row of the table lets through."""
    sample = random.Random(3).sample(keys, 60)
    if table == "aliases":
        return {ask(w, key) for key in sample}
    if table == "sender_rules":
        return {answer_from(w, "192.0.2.1", key) for key in sample}
    return {answer_from(w, key, "a@b.example") for key in sample}


def with_friends(w):
    """Many who are let through, one by one, beside a rule that refuses all others."""
    rows = [(KNOWN[0], "*", "reject"), *((KNOWN[0], friend, "accept") for friend in [*FRIENDS, "a@b.example"])]
    networks = [("10.0.0.0/8", "reject"), *((host, "accept") for host in HOSTS)]
    db = sqlite3.connect(str(w.database.path), timeout=30)
    with db:
        db.executemany("INSERT INTO sender_rules (scope, pattern, action) VALUES (?, ?, ?)", rows)
        db.executemany("INSERT INTO client_rules (network, action) VALUES (?, ?)", networks)
    db.close()
    wait_for(lambda: copied(w), "the copy has them")


DAMAGED = {"aliases": KNOWN, "sender_rules": FRIENDS, "client_rules": HOSTS}


@pytest.mark.parametrize("table", DAMAGED)
@pytest.mark.parametrize("when", ["before a start", "while open"])
def test_row69_a_key_out_of_order(table, when):
    """Look-ups go astray, and quick_check says ok: whom a row lets through is never refused."""
    keys = DAMAGED[table]
    with world() as w:
        with_friends(w)
        good = saved(w)
        if when == "before a start":
            w.gate.stop()
            at, byte = flipped_key(w, table, keys)
            (w.gate.state / "aliases.copy.db").unlink()
            write_past_sqlite(w.database.path, at, byte)
            w.gate.start()
        else:
            write_past_sqlite(w.database.path, *flipped_key(w, table, keys))
        for _ in range(3):
            answers = asked_for(w, table, keys)
            assert answers <= {"continue", "451 4.3.0"}, answers
        named(w, "aliases-refused", says="integrity_check")
        restore(w, good)
        recovers(lambda: asked_for(w, table, keys) == {"continue"}, "all are let through")


# --- rows lost beside what refuses

MANY = [f"m{i}@many.example" for i in range(100000)]


def explained(w, to, client="192.0.2.1", sender="a@b.example"):
    report = w.gate.status(do="explain", to=to, client=client, **{"from": sender})
    return report["verdict"], report["by"]


def until_judged(w, who):
    """What is said once the data has passed its checks; before that nothing but "later" is."""
    while (verdict := explained(w, **who)) == ("defer", "backend"):
        time.sleep(0.05)
    assert copied(w), f"{verdict} before it was judged"
    return verdict


def lose_spared(w):
    """Exact rows beside globs that refuse, and drop."""
    w.database.run("DELETE FROM aliases WHERE address IN ('spam1@example.com', 'drop1@example.com')")


def lose_tagged(w):
    """The row of the address with its tag, beside one without that refuses."""
    w.database.run("DELETE FROM aliases WHERE address = 'gone+but@example.com'")


def lose_friend(w):
    w.database.run("DELETE FROM sender_rules WHERE pattern = 's7@friend.example'")


def lose_host(w):
    w.database.run("DELETE FROM client_rules WHERE network = '10.7.0.7'")


LOST = {  # what is lost: whom that hits, and what is said of them once it is judged
    lose_spared: [({"to": "spam1@example.com"}, ("reject", "alias")), ({"to": "drop1@example.com"}, ("discard", "alias"))],
    lose_tagged: [({"to": "gone+but@example.com"}, ("reject", "alias"))],
    lose_friend: [({"to": KNOWN[0], "sender": "s7@friend.example"}, ("reject", "sender"))],
    lose_host: [({"to": KNOWN[1], "client": "10.7.0.7"}, ("reject", "client"))],
}


@pytest.mark.parametrize("lose", LOST, ids=lambda lose: lose.__name__)
@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
def test_row70_rows_lost_beside_what_refuses(lose, many):
    """From the first moment until what is left has been judged: 451. Then it holds."""
    with world() as w:
        w.database.alias("spam1@example.com")
        w.database.alias("drop1@example.com")
        w.database.glob("example.com", "drop*", action="discard")
        w.database.alias("gone+but@example.com")
        if many:
            w.database.domain("many.example")
            w.database.aliases(MANY)
        with_friends(w)
        settled(w)
        assert {explained(w, **who) for who, _ in LOST[lose]} == {("accept", "")}
        lose(w)
        for who, then in LOST[lose]:
            assert until_judged(w, who) == then
        assert not [t for t in troubles(w) if t.startswith("aliases")]


def take_one(w, client):
    """A whole message from this client."""
    with w.milter() as milter:
        milter.connect(client)
        milter.helo()
        milter.mail()
        assert milter.rcpt(f"<{KNOWN[1]}>").status == "continue"
        milter.data()
        milter.body()
        milter.eom()
        milter.quit()


def test_row70_an_exempt_client_at_its_limit():
    """The count was read, but nobody knows yet that it counts this client."""
    limit = {"name": "one", "per": "client", "max": 1, "window": "1h", "over": "reject",
             "when": {"recipient_domain": "example.com"}}
    with World("memory", limits=[limit], domains=("example.com", "many.example")) as w:
        w.database.aliases([*KNOWN, *MANY])
        take_one(w, "192.0.2.9")
        settled(w)
        who = {"to": KNOWN[1], "client": "192.0.2.9"}
        assert explained(w, **who) == ("reject", "limit")
        w.database.client("192.0.2.0/24", "accept")
        assert explained(w, **who) == ("accept", "")
        wait_for(lambda: copied(w), "it is in the copy")
        w.database.client("198.51.100.0/24", "accept")  # so that not all are lost
        wait_for(lambda: copied(w), "it is in the copy")
        w.database.run("DELETE FROM client_rules WHERE network = '192.0.2.0/24'")
        assert until_judged(w, who) == ("reject", "limit")


@pytest.mark.parametrize("when", [{"catch_all": True}, {"class": "free"}], ids=["by pattern", "by class"])
def test_row70_a_limit_of_what_the_row_was_not(when):
    """Without its row an alias is one of those that the limit is for, which is full: until that is judged it does not refuse it."""
    limit = {"name": "one", "per": "client", "count": "attempts", "max": 1, "window": "1h", "over": "reject", "when": when}
    with World("memory", limits=[limit], domains=("example.com", "many.example")) as w:
        w.database.aliases([*KNOWN, *MANY])
        w.database.run("UPDATE domains SET class = 'free' WHERE domain = 'example.com'")
        w.database.run(f"UPDATE aliases SET class = 'paid' WHERE address = '{KNOWN[1]}'")
        w.database.glob("example.com", "*")
        wait_for(lambda: copied(w), "the copy is as the database is")
        other = "any@example.com" if "catch_all" in when else KNOWN[2]
        assert ask(w, other) == "continue"
        assert explained(w, other) == ("reject", "limit") and explained(w, KNOWN[1]) == ("accept", "")
        w.database.run(f"DELETE FROM aliases WHERE address = '{KNOWN[1]}'")
        assert until_judged(w, {"to": KNOWN[1]}) == ("reject", "limit")


# --- none left

EMPTIED = {
    "aliases": "DELETE FROM aliases",
    "globs": "DELETE FROM alias_globs",
    "domains": "DELETE FROM domains",
    "senders": "DELETE FROM sender_rules",
    "clients": "DELETE FROM client_rules WHERE action = 'accept'",
}


@pytest.mark.parametrize("table", EMPTIED)
def test_row71_a_small_table_emptied(table):
    with World("memory") as w:
        w.database.aliases(KNOWN[:9])
        w.database.glob("example.com", "shop-*")
        w.database.client("10.0.0.0/8", "reject")
        w.database.client("10.1.0.0/16", "accept")
        w.database.sender(KNOWN[0], "*", "reject")
        w.database.sender(KNOWN[0], "a@b.example", "accept")
        wait_for(lambda: copied(w) and explained(w, "shop-1@example.com")[0] == "accept", "all is well")
        good = saved(w)
        w.database.run(EMPTIED[table])
        for _ in range(20):
            assert {ask(w, address) for address in KNOWN[1:9]} <= {"continue", "451 4.3.0"}
            assert explained(w, "shop-1@example.com")[0] in ("accept", "defer")
            assert explained(w, KNOWN[0], client="10.1.0.1")[0] in ("accept", "defer")
        named(w, "aliases-refused", says="are left in")
        assert ask(w, KNOWN[1]) == "continue" and ask(w, "nobody@example.com") == "451 4.3.0"
        if table == "domains":  # else Postfix would be asked what it has never heard of
            restore(w, good)
        else:
            meant(w)
            w.gate.command("alias", "accept")
        wait_for(lambda: not [t for t in troubles(w) if t.startswith("aliases")], "it is taken")
