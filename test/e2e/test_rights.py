"""Who may write to a directory leads root nowhere: its commands take the rights of the directory's owner, and so does the gate."""

import json
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZED, SANITIZERS, SOURCE, Gate, Scratch, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
OTHER = pwd.getpwnam("nobody")
MAGIC = bytes.fromhex("d9d505f920a163d7")  # of a journal


@pytest.fixture()
def scratch():
    s = Scratch()
    yield s
    s.remove()


@pytest.fixture()
def victim(scratch):
    """A file that is root's alone."""
    directory = scratch / "roots"
    directory.mkdir(mode=0o700)
    path = directory / "victim"
    path.write_text("precious\n")
    path.chmod(0o600)
    return path


def shared(scratch, uid=OTHER.pw_uid, gid=OTHER.pw_gid, mode=0o2770):
    directory = scratch / "aliases"
    directory.mkdir()
    shutil.chown(directory, uid, gid)
    directory.chmod(mode)
    return directory


def run(*words, check=0):
    done = subprocess.run([RCPTGATE, *map(str, words)], capture_output=True, text=True, timeout=2 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS))
    assert check is None or done.returncode == check, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def plant_hot_journal(database, victim):
    """A database that was left within a transaction, whose journal names the victim as its super-journal."""
    work = database.with_name("work.db")
    db = sqlite3.connect(str(work), isolation_level=None)
    db.executescript((SOURCE / "policy/aliases.sql").read_text())
    db.executescript("PRAGMA journal_mode = DELETE; PRAGMA cache_size = 5;")
    db.executemany("INSERT INTO domains (domain) VALUES (?)", [(f"d{i}.example",) for i in range(2000)])
    db.execute("BEGIN")
    db.execute("UPDATE domains SET owner = 'x' || domain")
    for end in ("", "-journal"):
        shutil.copy(f"{work}{end}", f"{database}{end}")
    db.execute("ROLLBACK")
    db.close()
    work.unlink()
    name = str(victim).encode()
    with open(f"{database}-journal", "ab") as journal:
        journal.write((0x40000000 // 4096 + 1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big")
                      + (sum(name) & 0xffffffff).to_bytes(4, "big") + MAGIC)
    for end in ("", "-journal"):
        shutil.chown(f"{database}{end}", OTHER.pw_uid, OTHER.pw_gid)


@pytest.mark.parametrize("words", [("domain", "add", "new.example"), ("domain", "remove", "d1.example"),
                                   ("alias", "list"), ("client", "import", "/dev/null")])
def test_a_journal_that_names_a_file_of_roots(scratch, victim, words):
    database = shared(scratch) / "aliases.db"
    plant_hot_journal(database, victim)
    run(*words, "--database", database, check=None)
    assert victim.exists()


def test_a_link_in_place_of_a_draft(scratch, victim):
    directory = shared(scratch)
    victim.write_text("")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for entry in os.scandir(directory):
                if ".new." in entry.name:
                    try:
                        os.unlink(entry.path)
                        os.symlink(victim, entry.path)
                    except OSError:
                        pass

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(20):
            run("alias", "init", "--database", directory / "aliases.db", check=None)
            for path in directory.iterdir():
                path.unlink(missing_ok=True)
    finally:
        stop.set()
        attacker.join()
    assert victim.read_text() == ""


def test_what_root_makes_is_the_owners(scratch):
    directory = shared(scratch)
    database = directory / "aliases.db"
    run("alias", "init", "--database", database)
    run("domain", "add", "example.com", "--database", database)
    info = database.stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (OTHER.pw_uid, OTHER.pw_gid, 0o660)
    out = scratch / "roots.csv"
    run("domain", "export", out, "--database", database)
    assert "example.com" in out.read_text() and out.stat().st_uid == 0, "what root writes elsewhere is root's"
    listed = run("domain", "list", "--database", database)
    assert "example.com" in listed


def test_a_new_directory_belongs_to_the_gate(scratch):
    state = scratch / "state"
    state.mkdir()
    shutil.chown(state, OTHER.pw_uid, OTHER.pw_gid)
    database = scratch / "rules/aliases.db"
    policy = scratch / "policy.json"
    policy.write_text(f'{{"state": "{state}", "aliases": {{"database": "{database}"}}}}')
    run("alias", "init", "--group", "postfix", "-c", policy)
    info = database.parent.stat()
    assert info.st_uid == OTHER.pw_uid and info.st_mode & 0o7777 == 0o2770
    assert {database.stat().st_gid, info.st_gid} == {shutil._get_gid("postfix")}
    assert database.stat().st_uid == OTHER.pw_uid
    said = run("alias", "init", "--group", "postfix", "--database", scratch / "else/aliases.db", check=73)
    assert "install -d" in said and not (scratch / "else").exists()


@pytest.mark.parametrize("mode", [0o2770, 0o777])
def test_a_directory_of_roots_that_others_write_to_is_refused(scratch, mode):
    database = shared(scratch, 0, OTHER.pw_gid, 0o2700) / "aliases.db"
    run("alias", "init", "--database", database)
    run("domain", "add", "one.example", "--database", database)
    database.parent.chmod(mode)
    for words in (("domain", "add", "two.example"), ("domain", "list"), ("domain", "export", "-")):
        said = run(*words, "--database", database, check=1)
        assert str(database.parent) in said and "chown" in said and "chmod" in said
    database.unlink()
    assert "chown" in run("alias", "init", "--database", database, check=73)


def test_a_link_of_others_on_the_way(scratch):
    directory = shared(scratch, 0, 0, 0o700)
    link = scratch / "link"
    link.symlink_to(directory)
    run("alias", "init", "--database", link / "aliases.db")
    os.lchown(link, OTHER.pw_uid, OTHER.pw_gid)
    assert "chown" in run("domain", "list", "--database", link / "aliases.db", check=1)


# ------------------------------------------------------------------------------------------------------ state

def policy_of(scratch, uid=OTHER.pw_uid, **more):
    state = scratch / "state"
    state.mkdir()
    shutil.chown(state, uid, OTHER.pw_gid)
    path = scratch / "policy.json"
    path.write_text(json.dumps({"state": str(state), "http": {"listen": ""}, "log": {"to": "stderr"}, **more}))
    return state, path


@pytest.mark.parametrize("name", ["lock", "blocks", "blocks.new"])
def test_block_without_a_gate_and_a_second_name(scratch, victim, name):
    state, policy = policy_of(scratch)
    os.link(victim, state / name)
    run("block", "192.0.2.1", "-c", policy, check=None)
    assert victim.read_text() == "precious\n" and victim.stat().st_uid == 0


@pytest.mark.parametrize("name", ["lock", "blocks", "last-policy.json"])
def test_block_without_a_gate_and_a_pipe(scratch, name):
    state, policy = policy_of(scratch)
    os.mkfifo(state / name)
    shutil.chown(state / name, OTHER.pw_uid)
    begin = time.monotonic()
    run("block", "192.0.2.1", "-c", policy, check=None)
    assert time.monotonic() - begin < PATIENCE / 2


def test_block_without_a_gate_belongs_to_the_owner(scratch):
    state, policy = policy_of(scratch)
    run("block", "192.0.2.1", "-c", policy)
    assert {path.name for path in state.iterdir()} == {"lock", "blocks"}
    assert {path.stat().st_uid for path in state.iterdir()} == {OTHER.pw_uid}


def test_block_in_a_state_of_roots_that_others_write_to(scratch):
    state, policy = policy_of(scratch, uid=0)
    state.chmod(0o770)
    assert "chown" in run("block", "192.0.2.1", "-c", policy, check=69)
    state.chmod(0o750)
    run("block", "192.0.2.1", "-c", policy)


# -------------------------------------------------------------------------------------------------------- run

def ids_of(pid):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return ({int(n) for n in lines["Uid"].split()}, {int(n) for n in lines["Gid"].split()},
            {int(n) for n in lines["Groups"].split()}, int(lines["CapEff"], 16) | int(lines["CapPrm"], 16))


def gate_of(scratch, owner=None, **more):
    gate = Gate(scratch, {"counters": {"url": "memory:"}, **more}, start=False)
    gate.socket = scratch / "run/gate.sock"
    gate.write_policy(milter={"socket": f"unix:{gate.socket}", "group": "postfix", "mode": "0660"},
                      maps={"socket": f"unix:{scratch / 'run/map.sock'}"})
    if owner:
        shutil.chown(gate.state, owner)
    gate.start()
    return gate


@pytest.mark.parametrize("user, owner", [(None, "nobody"), ("nobody", "nobody"), ("root", "nobody")])
def test_a_gate_that_root_starts(scratch, user, owner):
    gate = gate_of(scratch, owner, **({"user": user} if user else {}))
    try:
        uids, _, groups, capabilities = ids_of(gate.process.pid)
        assert uids == {OTHER.pw_uid} and not capabilities
        assert 0 not in groups and shutil._get_gid("postfix") in groups
        info = gate.socket.stat()
        assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (OTHER.pw_uid, shutil._get_gid("postfix"), 0o660)
        assert all(path.stat().st_uid == OTHER.pw_uid for path in gate.state.iterdir())
        assert "root" not in gate.command("status")
        gate.socket.unlink()
        wait_for(lambda: gate.socket.exists() and gate.accepts(), "it mends its socket all the same")
        gate.command("block", "192.0.2.1")
        assert "192.0.2.1" in gate.command("blocks")
        assert Path(f"/proc/{gate.process.pid}/limits").read_text().split("Max core file size")[1].split()[:2] == ["0", "0"]
    finally:
        assert gate.stop() == 0


@pytest.mark.skipif(SANITIZED, reason="a leak check looks at itself from outside")
def test_its_memory_is_nobodys_business(scratch):
    """Not even that of other processes of its user: they cannot read it, nor trace it, and it leaves no core."""
    own = scratch / "own"
    own.mkdir()
    gate = Gate(scratch, {"counters": {"url": "memory:"}, "state": str(own), "milter": {"socket": f"unix:{own}/m", "group": ""},
                          "maps": {"socket": ""}}, start=False,
                under=("setpriv", "--reuid", str(OTHER.pw_uid), "--regid", str(OTHER.pw_gid), "--clear-groups"))
    gate.socket = own / "m"
    shutil.chown(own, OTHER.pw_uid, OTHER.pw_gid)
    gate.policy_path.chmod(0o644)
    gate.start()
    try:
        proc = Path(f"/proc/{gate.process.pid}")
        assert ids_of(gate.process.pid)[0] == {OTHER.pw_uid}
        for name in ("mem", "environ", "maps", "auxv"):
            assert (proc / name).stat().st_uid == 0, "who cannot be dumped has files of root's there"
            seen = subprocess.run(["head", "-c", "1", str(proc / name)], user=OTHER.pw_uid, group=OTHER.pw_gid, extra_groups=[],
                                  capture_output=True, text=True)
            assert seen.returncode != 0 and "Permission denied" in seen.stderr, (name, seen)
        assert (proc / "limits").read_text().split("Max core file size")[1].split()[:2] == ["0", "0"]
    finally:
        assert gate.stop() == 0


@pytest.mark.parametrize("bad", ["{", '{"state": 7, "user": 7, "queue": 7, "limits": 7, "milter": {"socket": 7, "group": 7}}'])
def test_what_the_gates_user_kept_as_last_good_gives_no_rights(scratch, bad):
    """Not those of root, nor of a group, nor a directory in one of root's: whoever has taken over the gate may have written it."""
    state, policy = policy_of(scratch)
    roots, other = scratch / "roots", scratch / "other"
    for directory in (roots, other):
        directory.mkdir(mode=0o755)
    shutil.chown(other, OTHER.pw_uid)
    policy.write_text(f'{{\n"state": "{state}",\n{bad[1:]}\n' if bad == "{" else bad)
    planted = {"state": str(roots / "state"), "user": "root", "http": {"listen": ""}, "log": {"to": "stderr"},
               "milter": {"socket": f"unix:{roots / 'run/m.sock'}", "group": "shadow"}, "maps": {"socket": ""},
               "queue": {"every": "1s", "command": ["/bin/sh", "-c", f"id > {other / 'id'}; chmod 644 {other / 'id'}"]},
               "limits": [{"name": "b", "per": "all", "count": "backlog", "max": 10}]}
    last = state / "last-policy.json"
    last.write_text(json.dumps({"file": str(policy), "policy": planted}))
    shutil.chown(last, OTHER.pw_uid)
    gate = subprocess.Popen([RCPTGATE, "run", "-c", str(policy)], stderr=subprocess.PIPE, text=True,
                            env=dict(os.environ, STATE_DIRECTORY=str(state), **SANITIZERS))
    try:
        wait_for(lambda: gate.poll() is not None or (other / "id").exists() and "uid" in (other / "id").read_text(), "it ends, or asks")
    finally:
        gate.terminate()
        said = gate.communicate(timeout=PATIENCE)[1]
    assert list(roots.iterdir()) == [], said
    assert not (other / "id").exists() or "root" not in (other / "id").read_text() and "shadow" not in (other / "id").read_text()


def test_a_second_name_of_a_file_of_roots_is_no_last_good_policy(scratch):
    """The gate's user may give it to what root wrote elsewhere."""
    state, policy = policy_of(scratch)
    policy.write_text(f'{{\n"state": "{state}",\n')
    roots = scratch / "roots.json"
    roots.write_text(json.dumps({"file": str(policy), "policy": {"user": "root", "http": {"listen": ""}, "log": {"to": "stderr"}, "maps": {"socket": ""},
                                                                 "milter": {"socket": f"unix:{scratch / 'm.sock'}"}}}))
    os.link(roots, state / "last-policy.json")
    done = subprocess.run([RCPTGATE, "run", "-c", str(policy)], capture_output=True, text=True, timeout=PATIENCE,
                          env=dict(os.environ, STATE_DIRECTORY=str(state), **SANITIZERS))
    assert done.returncode == 78 and "no last good policy" in done.stderr


@pytest.mark.parametrize("counters", [7, {"url": 7}, {"urk": "memory:"}])
def test_what_root_checks_sends_no_file_of_roots(scratch, counters):
    state, policy = policy_of(scratch)
    policy.write_text(json.dumps({"state": str(state), "counters": counters}))
    secret = scratch / "shadow"
    secret.write_text("root:secret\n")
    secret.chmod(0o600)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        planted = {"counters": {"url": f"redis://127.0.0.1:{server.getsockname()[1]}", "password_file": str(secret), "timeout": "1s"}}
        last = state / "last-policy.json"
        last.write_text(json.dumps({"file": str(policy), "policy": planted}))
        shutil.chown(last, OTHER.pw_uid)
        server.settimeout(0.1)
        check = subprocess.Popen([RCPTGATE, "check", "--connect", str(policy)], stdout=subprocess.DEVNULL)
        while check.poll() is None:
            try:
                client, _ = server.accept()
            except socket.timeout:
                continue
            with client:
                client.settimeout(PATIENCE)
                assert b"secret" not in client.recv(1000)
        assert check.wait() == 1


def test_a_gate_that_root_starts_with_a_broken_policy(scratch):
    gate = gate_of(scratch, "nobody")
    wait_for((gate.state / "last-policy.json").exists, "a last good policy")
    assert gate.stop() == 0
    gate.policy_path.write_text(f'{{\n"state": "{gate.state}",\n')
    gate.start()
    try:
        uids, _, groups, _ = ids_of(gate.process.pid)
        assert uids == {OTHER.pw_uid} and groups == {OTHER.pw_gid, shutil._get_gid("postfix")}
        assert gate.socket.stat().st_gid == shutil._get_gid("postfix")
    finally:
        assert gate.stop() == 0


def test_a_gate_whose_state_is_roots_says_so(scratch):
    gate = gate_of(scratch)
    try:
        assert ids_of(gate.process.pid)[0] == {0}
        report = json.loads(gate.command("status", "--json"))
        assert report["status"] == "healthy" and "root's rights" in gate.command("status")
        wait_for(lambda: "root's rights" in gate.log(), "not a word in the log")
    finally:
        assert gate.stop() == 0


def test_a_user_who_does_not_exist_is_a_bad_entry(scratch):
    _, policy = policy_of(scratch, user="nobody-of-that-name")
    said = run("check", policy, check=1)
    assert "/user: must be a user of this host; used instead: the owner of \"state\"" in said


def test_a_socket_is_not_given_rights_by_a_name_that_was_swapped(scratch):
    """What stands in its place is not the socket: it keeps its mode."""
    gate = gate_of(scratch, "nobody")
    try:
        secret = gate.state / "last-policy.json"
        wait_for(secret.exists, "a last good policy")
        before = secret.stat().st_mode
        gate.socket.unlink()
        gate.socket.symlink_to(secret)
        wait_for(lambda: "event=socket" in gate.log(), "it notices")
        assert secret.stat().st_mode == before
    finally:
        gate.stop()
