"""What costs too much, or is too open: bounded, refused, or warned of."""

import json
import os
import pty
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZERS, Scratch, World


@pytest.fixture()
def scratch():
    s = Scratch()
    yield s
    s.remove()


def check(path, *words, status=None):
    begin = time.monotonic()
    done = subprocess.run([RCPTGATE, "check", path, *words], capture_output=True, text=True, timeout=5 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS))
    assert status is None or done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr, time.monotonic() - begin


def policy(scratch, mode=0o600, **keys):
    path = scratch / "policy.json"
    path.write_text(json.dumps(keys))
    path.chmod(mode)
    return path


def test_check_warns_of_a_socket_for_every_local_user(scratch):
    said, _ = check(policy(scratch, milter={"socket": "inet:8893@127.0.0.1"}))
    assert "every user of this machine" in said and "unix" in said
    assert "every user" not in check(policy(scratch, milter={"socket": "unix:/run/x.sock"}))[0]


def test_check_warns_of_secrets_that_others_read(scratch):
    secret = scratch / "password"
    secret.write_text("x")
    secret.chmod(0o666)
    with_password = {"counters": {"url": "redis://u:secret@127.0.0.1:1/0"}}
    assert "every user of this machine can read this file" in check(policy(scratch, 0o644, **with_password))[0]
    assert "can read this file" not in check(policy(scratch, 0o640, **with_password))[0]
    with_file = {"counters": {"url": "redis://127.0.0.1:1/0", "password_file": str(secret)}}
    assert "/counters/password_file" in check(policy(scratch, 0o644, **with_file))[0]
    secret.chmod(0o600)
    assert "/counters/password_file" not in check(policy(scratch, 0o644, **with_file))[0]


def test_a_pipe_for_a_policy(scratch):
    path = scratch / "pipe"
    os.mkfifo(path)
    _, took = check(path, status=78)
    assert took < 40
    writer = threading.Thread(target=lambda: path.write_text("{}"))
    writer.start()
    check(path, status=0)
    writer.join()


def test_a_million_unknown_keys(scratch):
    """Ten times as many take about ten times as long."""
    path, took = scratch / "policy.json", []
    for n in (90000, 900000):
        path.write_text(json.dumps({f"key{i:07}": 1 for i in range(n)}))
        said, seconds = check(path, status=1)
        assert "more than 1000 problems" in said
        took.append(seconds)
    print(f"{took[0]:.1f} s, {took[1]:.1f} s")
    assert took[1] < 5 + 40 * took[0]


def test_durations_that_overflow():
    with World("memory", mta=False, database=False) as w:
        for duration in ("999999999999w", "99999999999d", "37000d"):
            assert "network blocked" not in w.gate.command("block", "192.0.2.1", "--for", duration, check=None)
        assert "no networks" in w.gate.command("blocks")
        w.gate.command("block", "192.0.2.1", "--for", "3650d")
        assert "192.0.2.1" in w.gate.command("blocks")


def seconds_of_status(gate):
    begin = time.monotonic()
    gate.command("status")
    return time.monotonic() - begin


def test_stuck_clients_of_the_control_socket():
    with World("memory", mta=False, database=False) as w:
        stuck, took = [], [seconds_of_status(w.gate)]
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(w.gate.state / "control.sock"))
            s.sendall(b'{"do"')
            stuck.append(s)
        took.append(seconds_of_status(w.gate))
        for s in stuck:
            s.close()
        assert took[1] < 4 + 4 * took[0]


def test_a_terminal_is_sent_no_control_characters(scratch):
    database = scratch / "rules/aliases.db"

    def run(*words, out=subprocess.PIPE):
        return subprocess.run([RCPTGATE, *words, "--database", database], stdout=out, check=True,
                              env=dict(os.environ, **SANITIZERS)).stdout

    run("alias", "add", "a@example.com", "x@b.example")
    db = sqlite3.connect(str(database), isolation_level=None)
    db.execute("UPDATE aliases SET owner = ?", ("\x1b]0;owned\x07",))
    db.close()
    master, slave = pty.openpty()
    run("alias", "export", "-", out=slave)
    shown = os.read(master, 65536)
    run("alias", "list", out=slave)
    shown += os.read(master, 65536)
    assert b"a@example.com" in shown and b"\x1b" not in shown and b"\x07" not in shown
    assert b"\x1b" in run("alias", "export", "-"), "a file has what the row has"
