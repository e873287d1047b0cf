"""Snapshots of alias data: made on one host, installed on another, rolled back; and nothing that is damaged, older, much smaller or hostile
gets in."""

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZED, SANITIZERS, SOURCE, Scratch, World, rows_of, wait_for
from rule_host import OTHER, Host

SEAL = len("\nrcptgate-snapshot 1\nserial 000000000000\nsha256 \n") + 64


class Hosts:
    """A writer, and a gate's host to which snapshots are carried."""

    def __init__(self):
        self.scratch = Scratch()
        self.writer, self.reader = Host(self.scratch, "writer"), Host(self.scratch, "reader")
        self.n = 0

    def snapshot(self):
        """The file, and its serial. Asked for again where others write for longer than a command waits."""
        self.n += 1
        path = self.scratch / f"{self.n}.snapshot"

        def said():
            text = self.writer.run("alias", "snapshot", path, "--json", check=None)
            return None if " is busy: " in text else text

        return path, json.loads(wait_for(said, "the database is always busy"))["serial"]

    def same(self):
        return self.writer.rows() == self.reader.rows()


@pytest.fixture
def hosts():
    h = Hosts()
    yield h
    h.scratch.remove()


def fill_all(host):
    for words in (("domain", "add", "example.com", "--owner", "me"), ("domain", "add", ".below.example"),
                  ("alias", "add", "one@example.com", "Joe@b.example", "--expires", "2040-01-31"),
                  ("alias", "add", "gone@example.com", "--action", "reject", "--reply", "550 5.1.1 gone for good"),
                  ("alias", "add", "shop-*@example.com", "a@b.example,c@d.example", "--class", "ünïcode"),
                  ("sender", "add", "owner:me", "@.spam.example", "reject"), ("sender", "add", "*", "<>", "accept"),
                  ("client", "add", "192.0.2.0/24", "defer", "--for", "30d")):
        host.run(*words)


def seal(body, serial):
    hashed = body + b"\nrcptgate-snapshot 1\nserial %012d\nsha256 " % serial
    return hashed + hashlib.sha256(hashed).hexdigest().encode() + b"\n"


# ------------------------------------------------------------------------------------------------- the way of a snapshot

def test_all_tables_travel(hosts):
    fill_all(hosts.writer)
    path, serial = hosts.snapshot()
    assert abs(serial - time.time()) < PATIENCE
    said = hosts.reader.run("alias", "install", path)
    assert f"serial {serial}" in said and "8 added, 0 updated, 0 removed" in said and "alias_globs: 1 added" in said, said
    assert hosts.same() and all(hosts.reader.rows())
    assert "nothing changes" in hosts.reader.run("alias", "install", path)
    assert hosts.reader.versions() == ["aliases.db.version-0"] and not hosts.reader.left_over() and not hosts.writer.left_over()
    for host in (hosts.writer, hosts.reader):
        assert all(file.stat().st_mode & 0o777 == 0o660 for file in host.directory.iterdir())
        assert os.geteuid() != 0 or {file.stat().st_uid for file in host.directory.iterdir()} == {OTHER.pw_uid}
    assert path.stat().st_uid == os.geteuid()


def test_a_lost_database_comes_back_from_the_copy():
    """The manual's way (ALIAS DATA): the gate's last good copy becomes the database again, under the gate, which takes it."""
    with World(store="memory", mta=False) as w:
        w.database.alias("a@example.com")
        w.settled()
        rows, away = w.database.rows(), w.scratch / "away"
        away.mkdir()
        for path in list(w.database.directory.iterdir()):
            path.rename(away / path.name)
        wait_for(lambda: w.gate.status()["reasons"], "nobody misses the database")
        shutil.copy(w.gate.state / "aliases.copy.db", away / "good.db")
        w.gate.command("alias", "snapshot", "--database", away / "good.db", away / "good")
        w.gate.command("alias", "install", away / "good")
        w.database.share()
        assert w.database.rows() == rows
        w.settled()
        w.gate.gets_well()


@pytest.mark.parametrize("mode", [0, 0o440], ids=["barred", "read-only"])
def test_a_shm_that_is_just_being_made(hosts, mode):
    """Until SQLite gives it the database's mode, it has what another program's umask left."""
    holder = sqlite3.connect(str(hosts.reader.path))
    holder.execute("SELECT * FROM aliases").fetchall()
    shm = hosts.reader.directory / "aliases.db-shm"
    for words in (("domain", "add", "example.com"), ("domain", "list")):
        shm.chmod(mode)
        moment = threading.Timer(0.1, shm.chmod, [0o660])
        moment.start()
        hosts.reader.run(*words)
        moment.join()
    holder.close()


def test_a_snapshot_is_a_database_and_a_seal(hosts):
    fill_all(hosts.writer)
    hosts.writer.sql("CREATE TABLE passwords (of_whom TEXT)")
    path, serial = hosts.snapshot()
    db = sqlite3.connect(str(path))
    assert rows_of(db) == hosts.writer.rows() and db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()) == 5, "nothing of others is carried away"
    db.close()
    data = path.read_bytes()
    lines = data[-SEAL:].decode().split("\n")
    assert lines == ["", "rcptgate-snapshot 1", f"serial {serial:012d}", "sha256 " + hashlib.sha256(data[:-65]).hexdigest(), ""]


def test_a_pipe(hosts):
    fill_all(hosts.writer)
    data = subprocess.run([RCPTGATE, "alias", "snapshot", "-", "--database", str(hosts.writer.path)], capture_output=True, check=True,
                          timeout=PATIENCE, env=dict(os.environ, **SANITIZERS)).stdout
    assert "cut off" in hosts.reader.run("alias", "install", "-", data=data[:-7], check=1)
    told = json.loads(hosts.reader.run("alias", "install", "-", "--json", data=data))
    assert (told["added"], told["written"], told["in_force"], told["tables"]["domains"]["added"]) == (8, True, 0, 2)
    assert hosts.same()


def test_a_host_without_a_database(hosts):
    fill_all(hosts.writer)
    path, _ = hosts.snapshot()
    shutil.rmtree(hosts.reader.directory)
    assert "does not exist" in hosts.reader.run("alias", "install", "--dry-run", path, check=1)
    hosts.reader.run("alias", "install", path)
    assert hosts.same()


def test_serials_grow_whatever_the_clock_says(hosts):
    serials = [hosts.snapshot()[1] for _ in range(3)]
    assert serials == sorted(set(serials))
    ahead = int(time.time()) + 100000
    hosts.writer.sql(f"UPDATE rcptgate_snapshots SET newest = {ahead}")
    assert hosts.snapshot()[1] == ahead + 1
    path, serial = hosts.snapshot()
    assert serial == ahead + 2
    hosts.reader.run("alias", "install", path)
    out = hosts.scratch / "of-the-reader"
    assert json.loads(hosts.reader.run("alias", "snapshot", out, "--json"))["serial"] == ahead + 3


def test_a_snapshot_is_of_one_moment(hosts):
    """While somebody writes pairs, it has each pair whole."""
    stop = threading.Event()

    def write():
        i = 0
        while not stop.is_set():
            hosts.writer.fill(2, start=2 * i)
            i += 1
            if i % 50 == 0:
                hosts.writer.sql("DELETE FROM aliases")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            path, _ = hosts.snapshot()
            db = sqlite3.connect(str(path))
            assert db.execute("SELECT count(*) % 2 FROM aliases").fetchall() == [(0,)]
            db.close()
    finally:
        stop.set()
        writer.join()


# ------------------------------------------------------------------------------------------------------- what is refused

def refused(hosts, path, words, status=1, rows=None):
    """Not installed, whatever is forced; the same is said where nothing was to be written."""
    rows = hosts.reader.rows() if rows is None else rows
    for options in ((), ("--force",), ("--dry-run",)):
        assert words in hosts.reader.run("alias", "install", path, *options, check=status), options
    assert hosts.reader.rows() == rows and not hosts.reader.left_over() and hosts.reader.versions() == []


def test_damaged_by_a_bit_or_cut_off(hosts):
    fill_all(hosts.writer)
    path, _ = hosts.snapshot()
    data, bad = path.read_bytes(), hosts.scratch / "bad"
    places = [0, 18, 40, 99, 5000, len(data) // 2, len(data) - SEAL - 1, *range(len(data) - SEAL, len(data), 13), len(data) - 1]
    for place in places:
        bad.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1:])
        said = hosts.reader.run("alias", "install", "--force", bad, check=1)
        assert "no snapshot" in said or "does not end" in said or "SHA-256" in said, (place, said)
    for size in (0, 1, 100, 4096, len(data) // 2, len(data) - SEAL, len(data) - 1):
        bad.write_bytes(data[:size])
        said = hosts.reader.run("alias", "install", "--force", bad, check=1)
        assert "no snapshot" in said or "cut off" in said, (size, said)
    bad.write_bytes(data[:4096] + data[8192:])
    refused(hosts, bad, "SHA-256")
    bad.write_bytes(data + b"\n")
    refused(hosts, bad, "does not end")
    assert hosts.reader.rows() == [[], [], [], [], []]


def test_what_is_no_snapshot(hosts):
    fill_all(hosts.writer)
    pipe, folder, text = hosts.scratch / "pipe", hosts.scratch / "folder", hosts.scratch / "text"
    os.mkfifo(pipe)
    folder.mkdir()
    text.write_text("address,mailbox\n" * 1000)
    link = hosts.scratch / "link"
    link.symlink_to(pipe)
    for path in (pipe, folder, link, hosts.scratch / "missing", "/dev/zero"):
        hosts.reader.run("alias", "install", path, check=66)
    refused(hosts, text, "no snapshot")
    refused(hosts, hosts.writer.path, "no snapshot")
    assert not hosts.reader.left_over()


@pytest.mark.parametrize("spoil, words", [
    ("PRAGMA user_version = 2", "user_version 2"),
    ("DROP TABLE sender_rules", "no table sender_rules"),
    ("DROP TABLE sender_rules; CREATE VIEW sender_rules AS SELECT 'x' AS scope, 'y' AS pattern, 'accept' AS action, 1 AS reply",
     "no table sender_rules"),
    ("DROP TABLE client_rules; CREATE TABLE client_rules (network, action, reply); ", "no column client_rules.expires_at"),
    ("DROP TABLE client_rules; CREATE TABLE client_rules (network, action, reply, expires_at);"
     "INSERT INTO client_rules VALUES (1, 2, 3, 4)", "wrong type"),
    ("CREATE TRIGGER t AFTER INSERT ON aliases BEGIN DELETE FROM domains; END", None),
    ("DROP TABLE aliases; CREATE TABLE aliases (address TEXT, mailbox TEXT, owner TEXT, class TEXT, action TEXT, reply TEXT, expires_at INTEGER) STRICT;"
     "INSERT INTO aliases (address, action) VALUES ('Capital@example.com', 'accept')", "CHECK"),
    ("DROP TABLE aliases; CREATE TABLE aliases (address TEXT, mailbox TEXT, owner TEXT, class TEXT, action TEXT, reply TEXT, expires_at INTEGER) STRICT;"
     "INSERT INTO aliases (address) VALUES ('a@example.com')", "NOT NULL"),
])
def test_hostile_though_sealed(hosts, spoil, words):
    fill_all(hosts.writer)
    path, serial = hosts.snapshot()
    path.write_bytes(path.read_bytes()[:-SEAL])
    db = sqlite3.connect(str(path))
    db.executescript(spoil)
    db.execute("VACUUM")
    db.close()
    path.write_bytes(seal(path.read_bytes(), serial))
    if words is not None:
        rows = hosts.reader.rows()
        for options in ((), ("--force",)):
            assert words in hosts.reader.run("alias", "install", path, *options, check=1), options
        assert hosts.reader.rows() == rows and not hosts.reader.left_over()
    else:
        hosts.reader.run("alias", "install", path)
        assert hosts.same()


def test_damaged_and_sealed_again(hosts):
    hosts.writer.fill(2000)
    path, serial = hosts.snapshot()
    data = path.read_bytes()[:-SEAL]
    path.write_bytes(seal(data[:-4096] + bytes(4096), serial))
    refused(hosts, path, "damaged")


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
def test_hostile_neighbours(hosts):
    """A hot journal beside the file that names one of root's, and links where the draft and the versions will be."""
    from test_rights import plant_hot_journal
    fill_all(hosts.writer)
    path, _ = hosts.snapshot()
    victim = hosts.scratch / "victim"
    victim.write_text("precious\n")
    planted = hosts.scratch / "planted"
    planted.mkdir()
    plant_hot_journal(planted / "x.db", victim)
    shutil.copy(planted / "x.db-journal", f"{path}-journal")
    for name in ("aliases.db.draft", "aliases.db.version-0"):
        (hosts.reader.directory / name).symlink_to(victim)
    hosts.reader.run("alias", "install", path)
    assert hosts.same() and victim.read_text() == "precious\n" and not hosts.reader.left_over()
    assert not (hosts.reader.directory / "aliases.db.version-0").is_symlink()
    secret = hosts.scratch / "secret"
    secret.write_text("root's alone\n" * 1000)
    secret.chmod(0o600)
    link = hosts.scratch / "link"
    link.symlink_to(secret)
    assert "root's" not in hosts.reader.run("alias", "install", link, check=1)
    hosts.reader.directory.chmod(0o2750)  # what root alone may open arrives all the same
    path.chmod(0o600)
    assert "nothing changes" in hosts.reader.run("alias", "install", path)


def test_rows_that_can_never_act_are_not_carried(hosts):
    """A file from before today's CHECKs may hold them."""
    hosts.writer.sql("DROP TABLE aliases")
    hosts.writer.sql("CREATE TABLE aliases (address TEXT NOT NULL PRIMARY KEY, mailbox TEXT, owner TEXT, class TEXT, action TEXT NOT NULL"
                     " DEFAULT 'accept', reply TEXT, expires_at INTEGER) STRICT, WITHOUT ROWID")
    hosts.writer.fill(1)
    hosts.snapshot()
    hosts.writer.sql("INSERT INTO aliases (address) VALUES ('trailing@example.com.')")
    path = hosts.scratch / "none"
    assert "rcptgate check" in hosts.writer.run("alias", "snapshot", path, check=1)
    assert not path.exists() and not hosts.writer.left_over()


def test_a_damaged_database_makes_no_snapshot(hosts):
    hosts.writer.fill(2000)
    hosts.writer.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    data = hosts.writer.path.read_bytes()
    hosts.writer.path.write_bytes(data[:-4096] + bytes(4096))
    path = hosts.scratch / "kept"
    path.write_text("the last good one\n")
    assert "damaged" in hosts.writer.run("alias", "snapshot", path, check=1)
    assert path.read_text() == "the last good one\n" and not hosts.writer.left_over()


def in_utf16(host):
    """The database anew, as some program has made it."""
    rows = host.rows()
    for path in host.directory.iterdir():
        path.unlink()
    db = sqlite3.connect(str(host.path), isolation_level=None)
    db.executescript("PRAGMA encoding = 'UTF-16';" + (SOURCE / "policy/aliases.sql").read_text())
    db.executemany("INSERT INTO domains (domain, action) VALUES (?, ?)", [row[:2] for row in rows[0]])
    db.close()
    host.path.chmod(0o666)


@pytest.mark.parametrize("which", ["writer", "reader"])
def test_another_encoding(hosts, which):
    """Where it cannot be done it is said why, and what to do."""
    for host in (hosts.writer, hosts.reader):
        host.run("domain", "add", "example.com")
    path = hosts.scratch / "any"
    in_utf16(getattr(hosts, which))
    if which == "reader":
        path, _ = hosts.snapshot()
        said = hosts.reader.run("alias", "install", path, check=1)
    else:
        said = hosts.writer.run("alias", "snapshot", path, check=1)
    assert "PRAGMA encoding" in said and "rcptgate alias init" in said
    assert which == "reader" or not path.exists()


def test_shrunk_and_older(hosts):
    hosts.writer.fill(200)
    first, _ = hosts.snapshot()
    hosts.reader.run("alias", "install", first)
    hosts.writer.run("alias", "import", "--replace", "--force", data=b"address\na0@example.com\n")
    small, _ = hosts.snapshot()
    dry = hosts.reader.run("alias", "install", "--dry-run", small, check=1)
    assert "max_shrink" in dry and "0 added, 1 updated, 199 removed" in dry
    assert dry.startswith("would be: ")
    assert hosts.reader.run("alias", "install", small, check=1) == dry.replace("would be: ", "refused: ")
    assert json.loads(hosts.reader.run("alias", "install", small, "--json", check=1).split("\n")[0])["written"] is False
    hosts.reader.run("alias", "install", small, "--force")
    assert hosts.same()
    assert "older" in hosts.reader.run("alias", "install", first, check=1)
    assert hosts.same()
    hosts.reader.run("alias", "install", first, "--force")
    assert len(hosts.reader.rows()[1]) == 200


def test_a_writer_does_not_install_its_own(hosts):
    """A timer on the wrong host must not undo what was edited since."""
    hosts.writer.fill(1)
    path, _ = hosts.snapshot()
    hosts.writer.fill(1, start=1)
    assert "made here" in hosts.writer.run("alias", "install", path, check=1)
    assert len(hosts.writer.rows()[1]) == 2


def test_dry_run_says_the_same_and_changes_nothing(hosts):
    fill_all(hosts.writer)
    path, _ = hosts.snapshot()
    before = hosts.reader.sql("SELECT * FROM sqlite_schema")
    dry = hosts.reader.run("alias", "install", path, "--dry-run")
    assert dry.startswith("would be: ")
    told = json.loads(hosts.reader.run("alias", "install", path, "--dry-run", "--json"))
    assert hosts.reader.rows() == [[], [], [], [], []] and hosts.reader.sql("SELECT * FROM sqlite_schema") == before
    assert hosts.reader.versions() == hosts.reader.left_over() == []
    assert "would be: " + hosts.reader.run("alias", "install", path) == dry and told["written"] is False
    back = hosts.reader.run("alias", "rollback", "--dry-run")
    assert back.startswith("would be: rows that no snapshot brought") and hosts.same()
    assert "would be: " + hosts.reader.run("alias", "rollback") == back


def test_usage(hosts):
    for words in (("alias", "snapshot"), ("alias", "install"), ("alias", "rollback", "file"), ("domain", "snapshot", "file"),
                  ("alias", "snapshot", "file", "--force"), ("alias", "rollback", "--force"), ("alias", "install", "f", "--owner", "me")):
        hosts.reader.run(*words, check=64)
    hosts.writer.run("alias", "snapshot", "/nonexistent/file", check=73)
    lock = os.open(hosts.reader.directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    path, _ = hosts.snapshot()
    assert "under way" in hosts.reader.run("alias", "install", path, check=75)
    os.close(lock)
    hosts.reader.run("alias", "install", path)


# ------------------------------------------------------------------------------------------------------------- rollback

def test_rollback_brings_the_rows_back(hosts):
    states, paths = [], []
    for i in range(5):
        hosts.writer.fill(10, start=10 * i)
        if i > 0:
            hosts.writer.sql(f"DELETE FROM aliases WHERE address = 'a{i}@example.com'")
        path, serial = hosts.snapshot()
        hosts.reader.run("alias", "install", path)
        states.append(hosts.reader.rows())
        paths.append((path, serial))
    assert len(hosts.reader.versions()) == 3
    said = hosts.reader.run("alias", "rollback")
    assert f"serial {paths[3][1]} in place of serial {paths[4][1]}" in said and hosts.reader.rows() == states[3]
    assert "rolled back" in hosts.reader.run("alias", "install", paths[4][0], check=1)
    assert "nothing changes" in hosts.reader.run("alias", "install", paths[3][0])
    hosts.reader.run("alias", "rollback")
    hosts.reader.run("alias", "rollback")
    assert hosts.reader.rows() == states[1] and hosts.reader.versions() == []
    assert "kept" in hosts.reader.run("alias", "rollback", check=1)
    for path, _ in paths[2:]:
        assert "rolled back" in hosts.reader.run("alias", "install", path, check=1)
    assert hosts.reader.rows() == states[1]
    hosts.reader.run("alias", "install", paths[4][0], "--force")
    assert hosts.reader.rows() == states[4]
    newer, _ = hosts.snapshot()
    hosts.reader.run("alias", "rollback")
    hosts.reader.run("alias", "install", newer)
    assert hosts.same() and len(hosts.reader.versions()) == 1


def test_rollback_brings_back_what_was_edited_there(hosts):
    hosts.reader.fill(5, mailbox="own@b.example")
    own = hosts.reader.rows()
    hosts.writer.fill(50)
    path, _ = hosts.snapshot()
    hosts.reader.run("alias", "install", path)
    hosts.reader.run("alias", "rollback")
    assert hosts.reader.rows() == own


def test_a_version_that_was_damaged(hosts):
    hosts.writer.fill(5)
    path, _ = hosts.snapshot()
    hosts.reader.run("alias", "install", path)
    version = hosts.reader.directory / "aliases.db.version-0"
    version.write_bytes(version.read_bytes()[:-200] + b"x" * 200)
    assert "does not end" in hosts.reader.run("alias", "rollback", check=1)
    assert hosts.same()


# ------------------------------------------------------------------------------------------------------ what interrupts it

@pytest.mark.parametrize("part", [10, 100])  # percent of the rows that change: by difference, and all of a table
def test_killed_at_any_moment(hosts, part):
    n, rounds = 2000 if SANITIZED else 8000, 8
    hosts.reader.fill(n, mailbox="old@b.example")
    hosts.writer.fill(n, mailbox="old@b.example")
    hosts.writer.sql(f"UPDATE aliases SET mailbox = 'new@b.example' WHERE CAST(substr(address, 2) AS INTEGER) % 100 < {part}")
    path, _ = hosts.snapshot()
    old, new = hosts.reader.rows(), hosts.writer.rows()
    command = [RCPTGATE, "alias", "install", str(path), "--database", str(hosts.reader.path)]
    begin = time.monotonic()
    hosts.reader.run("alias", "install", path)
    took = time.monotonic() - begin
    assert hosts.reader.rows() == new
    outcomes = set()
    for i in range(20 * rounds):
        if i >= rounds and False in outcomes:
            break
        hosts.reader.run("alias", "rollback", check=None)
        assert hosts.reader.rows() == old
        hosts.reader.sql("UPDATE rcptgate_snapshots SET newest = 0, in_force = 0")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=dict(os.environ, **SANITIZERS)) as process:
            time.sleep(took * (0.2 + i / rounds) if i < rounds else took * 0.9 ** i)  # it was quicker than the first time
            process.kill()
        rows = hosts.reader.rows()
        assert rows in (old, new)
        outcomes.add(rows == new)
        hosts.reader.run("alias", "install", path)
        assert hosts.reader.rows() == new
        assert not hosts.reader.left_over() and len(hosts.reader.versions()) <= 2
    assert False in outcomes, "it was never killed in time"


def test_disk_full(hosts):
    """Whatever it is that does not fit any more, the rows stay, and are installed once there is room."""
    small = hosts.scratch / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", str(small)],
                                           capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        host = Host(hosts.scratch, "small/rules")
        host.fill(10000, mailbox="old@b.example")
        hosts.writer.fill(10000, mailbox="new@b.example")
        path, _ = hosts.snapshot()
        old, failures, room = host.rows(), 0, 0
        while True:
            free = os.statvfs(small)
            ballast = small / "ballast"
            ballast.write_bytes(b"")
            ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room)))
            said = host.run("alias", "install", path, check=None)
            ballast.unlink()
            if host.rows() != old:
                break
            assert "full" in said or "space" in said, said
            assert not host.left_over() and host.versions() == []
            failures, room = failures + 1, room + 150000
        assert host.rows() == hosts.writer.rows() and failures >= 5
        host.run("alias", "rollback")
        assert host.rows() == old
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
