"""Start, reload, stop: the socket, the signals, the policy that was once good."""

import os
import signal
import socket
import stat
import subprocess

import pytest

from harness import PATIENCE, RCPTGATE, Gate, Scratch, World, parse_log, wait_for

LIMITS = [{"name": "ten", "per": "recipient", "max": 10, "window": "1h", "over": "defer"}]
ALIAS = "a@example.com"


@pytest.fixture()
def world():
    with World("redis", LIMITS, mta=False) as w:
        w.database.alias(ALIAS)
        yield w


def used(world):
    return world.redis.used("rcptgate:recipient:{a@example.com}", "ten")


def open_message(world):
    m = world.milter()
    m.connect()
    m.mail()
    assert m.rcpt(f"<{ALIAS}>").status == "continue"
    return m


def test_sigterm_gives_reservations_back(world):
    sessions = [open_message(world) for _ in range(5)]
    assert used(world) == 5
    assert world.gate.stop() == 0
    assert used(world) == 0
    for m in sessions:
        m.hang_up()
    assert not world.gate.socket.exists() or not connects(world.gate.socket)


def connects(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(str(path))
            return True
        except OSError:
            return False


def test_socket_mode_and_group(world):
    import grp
    info = os.stat(world.gate.socket)
    assert stat.S_IMODE(info.st_mode) == 0o660
    assert grp.getgrgid(info.st_gid).gr_name == "postfix"
    info = os.stat(world.gate.state / "control.sock")
    assert (stat.S_IMODE(info.st_mode), info.st_gid) == (0o660, os.getegid()), "the gate's own group"


def test_an_unknown_group_stops_nobody():
    with World("memory", LIMITS, mta=False) as world:
        world.database.alias(ALIAS)
        gate = world.gate
        gate.stop()
        gate.write_policy(milter={"socket": f"unix:{gate.socket}", "group": "no-such-group"})
        gate.start()
        assert stat.S_IMODE(os.stat(gate.socket).st_mode) == 0o660
        open_message(world).hang_up()
        wait_for(lambda: "no-such-group" in gate.command("status", check=None), "status names it")


def test_stale_socket_is_replaced(world):
    world.gate.stop(signal.SIGKILL)
    assert world.gate.socket.exists(), "killed: the socket stays"
    world.gate.start()
    open_message(world).hang_up()


def test_two_instances_on_one_socket(world):
    second = Gate(world.scratch, dict(world.gate.policy), name="second", start=False)
    second.write_policy(milter=world.gate.policy["milter"], state=str(second.state))
    second.start(wait=False)
    assert second.process.wait() != 0
    assert second.log().strip(), "it says why"
    open_message(world).hang_up()


def test_restart_keeps_the_counts(world):
    with open_message(world) as m:
        m.data()
        m.eom()
    world.gate.stop()
    world.gate.start()
    with open_message(world) as m:
        m.data()
        m.eom()
    assert used(world) == 2


def test_reload(world):
    world.gate.write_policy(limits=[{"name": "ten", "per": "recipient", "max": 0, "window": "1h", "over": "reject"}])
    world.gate.reload()
    wait_for(lambda: world.gate.told(ALIAS) == ["550 5.7.1"], "the new policy is in force")


def test_a_reload_validates_the_alias_data(world):
    def age():
        return world.gate.status()["aliases"]["validated_age_s"]

    wait_for(lambda: age() >= 2, "an unchanged file is checked every few minutes")
    world.gate.reload()
    wait_for(lambda: age() < 2, "it is not checked at once")


def test_broken_policy_keeps_the_last_good_one(world):
    world.gate.policy_path.write_text('{"limits": [')
    world.gate.reload()
    wait_for(lambda: "event=policy-trouble" in world.gate.log(), "it says so")
    open_message(world).hang_up()
    world.gate.command("check", check=78)
    world.gate.stop()
    world.gate.start()
    wait_for(lambda: "last-policy.json" in world.gate.log(), "it does not say which policy is in force")
    open_message(world).hang_up()


def test_never_a_good_policy_is_78():
    scratch = Scratch()
    try:
        gate = Gate(scratch, {}, start=False)
        gate.policy_path.write_text("not json")
        gate.start(wait=False)
        assert gate.process.wait() == 78
        assert str(gate.policy_path) in gate.log()
    finally:
        scratch.remove()


def test_a_bad_entry_is_skipped_and_named():
    limits = [{"name": "bad", "per": "nonsense", "max": 1, "window": "1m"}, *LIMITS]
    with World("memory", limits, mta=False) as world:
        world.database.alias(ALIAS)
        open_message(world).hang_up()
        lines = [parse_log(line) for line in world.gate.log().splitlines() if "event=policy-skipped" in line]
        assert [line["pointer"] for line in lines] == ["/limits/0/per"]
        assert "recipient_domain" in lines[0]["text"], "the text is whole, quotes and all"
        said = world.gate.command("check", check=1)
        assert "/limits/0/per" in said


def test_without_a_database_all_get_451():
    with World("memory", LIMITS, mta=False, database=False,
               aliases={"database": "/nonexistent/aliases.db"}) as world:
        with world.milter() as m:
            m.connect()
            m.mail()
            assert m.rcpt(f"<{ALIAS}>").status == "451 4.3.0"
            assert m.rcpt("<postmaster@example.com>").status == "continue"


def test_without_redis_mail_goes_on(world):
    world.redis.stop()
    with world.milter() as m:
        m.connect()
        m.mail()
        assert m.rcpt(f"<{ALIAS}>").status in ("continue", "451 4.3.0")
        assert m.rcpt(f"<{ALIAS}>").status in ("continue", "451 4.3.0")


def test_shadow_mode_refuses_nothing():
    with World("memory", [{"name": "none", "per": "recipient", "max": 0, "window": "1h", "over": "reject"}],
               mta=False, mode="shadow") as world:
        world.database.alias(ALIAS)
        with world.milter() as m:
            m.connect()
            m.mail()
            assert m.rcpt(f"<{ALIAS}>").status == "continue"
            assert m.rcpt("<nobody@example.com>").status == "continue"
            m.data()
            assert m.eom().changes == []


def test_stops_while_a_client_hangs(world):
    m = world.milter(negotiate=False)
    m.raw(b"\0\0\0\x0dO\0")
    assert world.gate.stop() == 0
    m.hang_up()


def test_memory_stops_cleanly():
    with World("memory", LIMITS, mta=False) as world:
        world.database.alias(ALIAS)
        sessions = [open_message(world) for _ in range(3)]
        assert world.gate.stop() == 0
        for m in sessions:
            m.hang_up()


def test_the_policy_is_named_where_one_likes():
    scratch = Scratch()
    try:
        gate = Gate(scratch, {}, start=False)
        path = str(gate.policy_path)
        for words in (["check", "-c", path], ["-c", path, "check"], ["check", f"-c{path}"], [f"-c{path}", "check"],
                      ["-c", path, "check", "--json"], ["check", "--json", "-c", path]):
            done = subprocess.run([RCPTGATE, *words], capture_output=True, text=True, timeout=PATIENCE)
            assert (done.returncode, path in done.stdout) == (0, True), (words, done)
        for words in (["help", "-c", path], ["-c", path, "help", "check"], ["check", "--help"]):
            done = subprocess.run([RCPTGATE, *words], capture_output=True, text=True, timeout=PATIENCE)
            assert (done.returncode, "check" in done.stdout) == (0, True), (words, done)
    finally:
        scratch.remove()
