"""Rows 48-62: Postfix's side, the process and the machine."""

import json
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from fault_table import recovers
from harness import PRELOADS, RCPTGATE, SANITIZED, SANITIZERS, Closed, Gate, MilterClient, Postfix, Process, World, run_threads, wait_for
from load import LONG, Load, session, status, times, troubles
from proxy import Proxy

ALIAS, UNKNOWN = "a@example.com", "nobody@example.com"
LIMITS = [{"name": "many", "per": "recipient", "max": 1000000, "window": "1h", "over": "defer"}]


def world_of(store="memory", **more):
    w = World(store, LIMITS, **more)
    w.database.alias(ALIAS)
    return w


@pytest.fixture()
def world():
    with world_of() as w:
        yield w


@pytest.fixture()
def mail():
    with world_of("redis") as w:
        yield w


def well(gate):
    return session(gate, ALIAS) == "continue" and session(gate, UNKNOWN) == "550 5.1.1"


# ------------------------------------------------------------------------------------------------------ row 48

@pytest.mark.parametrize("stage", ["connect", "mail", "rcpt", "data", "body", "rset"])
def test_row48_killed_at_each_callback(mail, stage):
    """What was accepted before is not lost by it, and nothing but 4xx is said."""
    codes = []

    def kill():
        mail.gate.stop(signal.SIGKILL)

    with mail.smtp() as smtp:
        try:
            for now, act in (("connect", lambda: smtp.command("NOOP")),
                             ("mail", lambda: smtp.mail()),
                             ("rcpt", lambda: smtp.rcpt(ALIAS)),
                             ("data", lambda: smtp.command("DATA")),
                             ("body", lambda: smtp.command("Subject: x\r\nX-Token: dead\r\n\r\nhello\r\n.")),
                             ("rset", lambda: smtp.rset())):
                if now == stage:
                    kill()
                reply = act()
                codes.append((now, reply.code))
                if now in ("rcpt", "data") and reply.code >= 400:
                    break
        except (Closed, OSError):
            codes.append((stage, "closed"))
    assert all(code == "closed" or code < 500 for _, code in codes), codes
    mail.gate.start()
    answers, last = None, None
    with mail.smtp() as smtp:
        answers, last = smtp.send([ALIAS], token="next")
    assert answers[0].code == 250 and last.code == 250
    mail.idle()
    assert mail.sink.of("next") == [ALIAS]
    taken = dict(codes).get("body") == 250
    assert mail.sink.of("dead") == ([ALIAS] if taken else [])


def test_row48_counters_survive(mail):
    with mail.smtp() as smtp:
        smtp.send([ALIAS], token="one")
    with mail.smtp() as smtp:
        smtp.mail()
        assert smtp.rcpt(ALIAS).code == 250
        mail.gate.stop(signal.SIGKILL)
    mail.gate.start()
    used = mail.used(ALIAS, "many")
    assert used in (1, 2), "what was reserved when it died ends with its window, nothing else is wrong"
    with mail.smtp() as smtp:
        smtp.send([ALIAS], token="two")
    assert mail.used(ALIAS, "many") == used + 1


# ------------------------------------------------------------------------------------------------------ row 49

def test_row49_frozen(mail):
    with mail.smtp() as smtp:
        smtp.mail()
        mail.gate.process.popen.send_signal(signal.SIGSTOP)
        try:
            begin = time.monotonic()
            reply = smtp.rcpt(ALIAS)
            assert reply.code == 451 and time.monotonic() - begin < 10
        finally:
            mail.gate.process.popen.send_signal(signal.SIGCONT)
    with mail.smtp() as smtp:
        answers, last = smtp.send([ALIAS], token="thawed")
    assert answers[0].code == 250 and last.code == 250


# ------------------------------------------------------------------------------------------------------ row 50

def mended(gate, seconds=6.0):
    recovers(lambda: session(gate, ALIAS) == "continue", "the socket is mended", seconds)


@pytest.mark.parametrize("how", ["removed", "replaced", "dead", "directory"])
def test_row50_socket_gone(world, how):
    gate = world.gate
    assert well(gate)
    with world.milter() as before:
        before.connect()
        gate.socket.unlink()
        if how == "dead":
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(str(gate.socket))
        elif how in ("replaced", "directory"):
            gate.socket.write_text("no socket") if how == "replaced" else gate.socket.mkdir()
            wait_for(lambda: "is no socket" in gate.log(), "it says what stands there", 5)
            assert status(gate)["status"] == "down" and "is no socket" in troubles(gate)
            gate.socket.unlink() if how == "replaced" else gate.socket.rmdir()
        mended(gate)
        before.mail()
        assert before.rcpt(f"<{ALIAS}>").status == "continue", "an open session does not notice"
    assert gate.socket.stat().st_mode & 0o777 == 0o660
    wait_for(lambda: "event=socket-trouble" in gate.log(), "not a word in the log")
    assert well(gate)
    assert status(gate)["status"] == "healthy"
    assert gate.stop() == 0 and not gate.socket.exists(), "the new socket is removed at the end"


def test_row50_mode_and_group(world):
    gate = world.gate
    group = gate.socket.stat().st_gid
    for spoil in (lambda: gate.socket.chmod(0), lambda: gate.socket.chmod(0o777),
                  lambda: os.chown(gate.socket, -1, 0)):
        spoil()
        wait_for(lambda: gate.socket.stat().st_mode & 0o777 == 0o660 and gate.socket.stat().st_gid == group,
                 "mode and group are set right", 5)
    wait_for(lambda: "set right" in gate.log(), "not a word in the log")
    assert well(gate)


def test_row50_another_listener_is_left_alone(world):
    world.gate.socket.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(world.gate.socket))
        other.listen()
        wait_for(lambda: "somebody else listens" in world.gate.log(), "it says so", 5)
        assert world.gate.process.alive()
    world.gate.socket.unlink(missing_ok=True)
    mended(world.gate)


# ------------------------------------------------------------------------------------------------------ row 51

GARBAGE = [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\0\0\0", b"\0\0\0\1O", b"\xff\xff\xff\xffO", os.urandom(4096),
           b"\0\0\0\x0dO" + b"\0" * 12, b"\0\0\0\1Z", struct.pack("!I", 70000) + b"R" + b"x" * 69999,
           b"EHLO x\r\n", b"\x16\x03\x01\x02\x00" + b"\0" * 512]


def test_row51_garbage(world):
    for data in GARBAGE * times(20, 2):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(world.gate.socket))
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(4096):
                    pass
            except (ConnectionError, socket.timeout):
                pass
    assert well(world.gate) and world.gate.process.alive()


def test_row51_frames_out_of_order(world):
    frames = [(b"M", b"<x@y.example>\0"), (b"R", b"<a@example.com>\0"), (b"E", b""), (b"A", b""), (b"H", b"x\0"),
              (b"B", b"body"), (b"L", b"n\0v\0"), (b"T", b""), (b"N", b""), (b"D", b"Rx\0"), (b"U", b"x\0"),
              (b"R", b""), (b"M", b""), (b"R", b"no end"), (b"C", b"h\0004"), (b"Q", b"")]
    for i in range(len(frames)):
        for j in range(len(frames)):
            try:
                with MilterClient(world.gate.socket) as m:
                    m.socket.settimeout(0.01)
                    for command, data in (frames[i], frames[j]):
                        m.send(command, data)
                    try:
                        while True:
                            command, data = m.receive()
                            assert command != b"y" or data[:1] == b"4", f"{frames[i]} {frames[j]}: {data!r}"
                    except socket.timeout:
                        pass
            except (Closed, ConnectionError):
                pass
    assert well(world.gate) and world.gate.process.alive()


# ------------------------------------------------------------------------------------------------------ row 52

def test_row52_strange_orders(world):
    with world.milter() as m:
        m.connect()
        m.socket.settimeout(1)
        try:  # RCPT without MAIL: libmilter lets it wait for a MAIL
            assert m.rcpt(f"<{ALIAS}>").status in ("continue", "451 4.3.0")
        except (Closed, socket.timeout):
            pass
    with world.milter() as m:
        m.connect()
        m.mail("<one@sender.example>")
        assert m.rcpt(f"<{ALIAS}>").status == "continue"
        m.mail("<two@sender.example>")
        assert m.rcpt(f"<{ALIAS}>").status == "continue"
        m.abort()
        m.abort()
        assert m.mail() is not None and m.rcpt(f"<{ALIAS}>").status == "continue"
        m.data()
        assert m.eom().kind == "continue"
    with world.milter(negotiate=False):
        pass
    with world.milter() as m:
        m.quit()
    wait_for(lambda: world.used(ALIAS, "many") == 1, "only the finished message is counted", 5)


# ------------------------------------------------------------------------------------------------------ row 53

def test_row53_without_macros(world):
    with world.milter() as m:
        m.ask(b"C", b"client\0" + b"4" + struct.pack("!H", 4000) + b"192.0.2.1\0")
        m.ask(b"M", b"<bob@sender.example>\0")
        assert m.rcpt(f"<{ALIAS}>", with_macros=False).status == "continue"
        assert m.rcpt(f"<{UNKNOWN}>", with_macros=False).status == "550 5.1.1"
        assert m.rcpt("<a%example.com@example.com>", with_macros=False).status.startswith("451")


# ------------------------------------------------------------------------------------------------------ row 54

def test_row54_non_smtpd_milters(world):
    for _ in range(3):
        with world.milter() as m:
            m.connect("127.0.0.1", host="localhost", port=0)
            m.mail("<bob@sender.example>", i="4cXqueue")
            assert m.rcpt(f"<{UNKNOWN}>").status == "continue"
            m.data()
            assert m.eom().kind in ("continue", "accept")
    wait_for(lambda: "non_smtpd_milters" in world.gate.log(), "it is said", 10)
    assert world.gate.log().count("non_smtpd_milters") == 1, "said once"
    assert well(world.gate)


# ------------------------------------------------------------------------------------------------------ row 55

def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_row55_out_of_descriptors():
    with world_of("redis") as world:
        gate, pid = world.gate, world.gate.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (140, 140))
        before = cpu_seconds(pid)
        idle = []
        for _ in range(200):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(gate.socket))
            idle.append(s)
        served = MilterClient.__new__(MilterClient)
        time.sleep(3)
        assert cpu_seconds(pid) - before < 1.0, "no spin"
        assert len(os.listdir(f"/proc/{pid}/fd")) < 130, "some are kept back for Redis and SQLite"
        wait_for(lambda: "out of file descriptors" in gate.log(), "not a word in the log")
        assert status(gate)["status"] == "degraded"
        waiting = threading.Thread(target=lambda: setattr(served, "said", session(gate, ALIAS, timeout=30)))
        waiting.start()
        time.sleep(0.5)
        assert waiting.is_alive(), "who connects now waits"
        for s in idle:
            s.close()
        waiting.join(10)
        assert served.said == "continue" and well(gate)
        recovers(lambda: status(gate)["status"] == "healthy", "well again", 10)


# ------------------------------------------------------------------------------------------------------ row 56

@pytest.mark.skipif(SANITIZED, reason="a sanitizer has address space of its own")
def test_row56_no_threads():
    """Redis hangs, so that every RCPT needs a thread of its own, and there is no room for their stacks."""
    with World("redis", LIMITS, counters={"timeout": "1500ms"}) as world:
        world.database.alias(ALIAS)
        gate, pid = world.gate, world.gate.process.pid
        assert well(gate)
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        room = size + 20 * 1024 * 1024
        resource.prlimit(pid, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
        world.redis.process.popen.send_signal(signal.SIGSTOP)
        try:
            answers = run_threads(30, lambda i: session(gate, ALIAS, timeout=6))
        finally:
            world.redis.process.popen.send_signal(signal.SIGCONT)
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert all(answer in ("continue", "lost", "tempfail") or answer.startswith("4") for answer in answers), answers
        assert gate.process.alive()
        recovers(lambda: well(gate), "well again", 20)


def test_row56_few_threads_are_said_at_the_start(world):
    gate = world.gate
    gate.stop()
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (300, before[1]))  # which does not bind root
    try:
        gate.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, before)
    wait_for(lambda: "event=threads room=300 " in gate.log(), "not a word in the log")
    assert well(gate)


# ------------------------------------------------------------------------------------------------------ row 57

@pytest.fixture()
def starved():
    """A gate whose nth allocation can be made to fail: fail("7"), fail("7+"), fail("")."""
    with World("redis", LIMITS, gates=0) as world:
        world.database.alias(ALIAS)
        order = world.scratch / "failmalloc"
        order.write_text("")

        def preloaded(work):
            before = dict(SANITIZERS)
            SANITIZERS["ASAN_OPTIONS"] += ":verify_asan_link_order=0:allocator_may_return_null=1"
            os.environ["LD_PRELOAD"] = str(PRELOADS / "failmalloc.so")
            os.environ["FAILMALLOC_FILE"] = str(order)
            if SANITIZED:
                os.environ["FAILMALLOC_SPARES_LIBC"] = "1"
            try:
                return work()
            finally:
                for name in ("LD_PRELOAD", "FAILMALLOC_FILE", "FAILMALLOC_SPARES_LIBC"):
                    os.environ.pop(name, None)
                SANITIZERS.update(before)

        world.gates.append(preloaded(lambda: Gate(world.scratch, world._policy("redis", LIMITS, {}))))

        def fail(text):
            gate = world.gate
            if not gate.process.alive():  # libc itself gives up where a thread's first use of a library's variables fails
                assert "cannot allocate memory for thread-local data" in gate.log(), f"it ended: {gate.process.popen.returncode}"
                order.write_text("")
                preloaded(gate.start)
            order.write_text(text)
            gate.process.popen.send_signal(signal.SIGUSR2)

        world.fail = fail
        world.postfixes.append(Postfix(world.scratch, world.gate.milter, world.sink))
        assert well(world.gate)
        with world.postfix.quiet():  # the nth allocation is that of the session that asks
            yield world
        fail("")
        recovers(lambda: well(world.gate), "well again", 20)
        taken = len(world.postfix.ledger.messages)
        wait_for(lambda: len(world.postfix.ledger.messages) > taken, "mail flows again")


def test_row57_malloc_fails(starved):
    """For every n that a session needs: 4xx or the truth, never a wrong answer."""
    seen = set()
    for n in range(1, times(400, 120)):
        for plus in ("", "+"):
            starved.fail(f"{n}{plus}")
            for address, truth in ((ALIAS, "continue"), (UNKNOWN, "550 5.1.1")):
                answer = session(starved.gate, address, timeout=3)
                seen.add(answer)
                assert answer in (truth, "lost", "tempfail") or answer.startswith("4"), (n, plus, address, answer)
            starved.fail("")
    assert any(answer.startswith("4") or answer in ("lost", "tempfail") for answer in seen), "nothing ever failed"


def ask(gate, **request):
    """One request to the control socket; None where there is no answer."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(3)
        try:
            s.connect(str(gate.state / "control.sock"))
            s.sendall(json.dumps(request).encode() + b"\n")
            line = s.makefile("rb").readline()
        except OSError:
            return None
    return json.loads(line) if line else None


def test_row57_while_it_is_asked(starved):
    """status, show, explain: an answer, an error or none, and never the end of the gate."""
    answered = 0
    for n in range(1, times(600, 150), 1 if LONG else 2):
        for request in ({"do": "status"}, {"do": "show", "subjects": [ALIAS]}, {"do": "explain", "to": ALIAS}):
            starved.fail(str(n))
            answer = ask(starved.gate, **request)
            answered += answer is not None
    assert answered > 0


def test_row57_while_it_reloads(starved):
    """The old policy or the new one."""
    gate = starved.gate
    for n in range(1, times(600, 80)):
        over = "reject" if n % 2 else "defer"
        limits = [{**LIMITS[0], "max": 0, "over": over}]
        starved.fail("")
        gate.write_policy(limits=limits)
        starved.fail(str(n))
        gate.reload()
        time.sleep(0.02)
        starved.fail("")
        assert session(gate, ALIAS) in ("continue", "450 4.2.1", "550 5.7.1", "lost"), n
    gate.write_policy(limits=LIMITS)


# ------------------------------------------------------------------------------------------------------ row 58

def test_row58_files_may_not_grow(world):
    """RLIMIT_FSIZE 0: neither the log nor the state can be written."""
    gate = world.gate
    resource.prlimit(gate.process.pid, resource.RLIMIT_FSIZE, (0, 0))
    for _ in range(20):
        assert well(gate)
    gate.write_policy(limits=[{**LIMITS[0], "max": 999}])
    wait_for(lambda: "last-policy.json" in troubles(gate), "status says what cannot be written", 5)
    assert well(gate) and gate.process.alive()
    assert "File too large" in troubles(gate)


def mount_tmpfs(path):
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", str(path)], capture_output=True)
    return done.returncode == 0


@pytest.fixture()
def tmpfs():
    """A gate whose state is a file system of 64 kB."""
    with World("memory", LIMITS, gates=0) as world:
        world.database.alias(ALIAS)
        gate = Gate(world.scratch, world._policy("memory", LIMITS, {}), start=False)
        if not mount_tmpfs(gate.state):
            pytest.skip("may not mount")
        world.gates.append(gate)
        try:
            gate.start()
            world.postfixes.append(Postfix(world.scratch, gate.milter, world.sink))
            yield gate
            gate.stop()
        finally:
            subprocess.run(["umount", "-l", str(gate.state)], check=False)


def test_row58_disk_full(tmpfs):
    gate = tmpfs
    filler = gate.state / "filler"
    with open(filler, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            pass
    gate.write_policy(limits=[{**LIMITS[0], "max": 999}])
    wait_for(lambda: "last-policy.json" in troubles(gate), "status says so", 5)
    assert well(gate) and status(gate)["status"] == "degraded"
    filler.unlink()
    recovers(lambda: "last-policy.json" not in troubles(gate), "written as soon as there is room", 20)
    assert "999" in (gate.state / "last-policy.json").read_text()


def test_row58_state_read_only(tmpfs):
    gate = tmpfs
    gate.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(gate.state)], check=True)
    gate.start()
    assert (session(gate, ALIAS), session(gate, UNKNOWN)) == ("continue", "550 5.1.1")
    gate.write_policy(limits=[{**LIMITS[0], "max": 0, "over": "reject"}])
    wait_for(lambda: session(gate, ALIAS) == "550 5.7.1", "policies are taken all the same", 5)
    wait_for(lambda: "event=state-trouble" in gate.log() and "event=policy-copy-trouble" in gate.log(), "it says so", 5)


# ------------------------------------------------------------------------------------------------------ row 59

def test_row59_log_blocks():
    with World("memory", LIMITS, gates=0) as world:
        world.database.alias(ALIAS)
        gate = Gate(world.scratch, world._policy("memory", LIMITS, {}), start=False)
        world.gates.append(gate)
        reader, writer = os.pipe()
        gate.process = Process([RCPTGATE, "run", "-c", gate.policy_path], world.scratch / "unused.log",
                               env=dict(os.environ, **SANITIZERS))
        gate.process.stop()
        popen = subprocess.Popen([RCPTGATE, "run", "-c", str(gate.policy_path)], stderr=writer,
                                 env=dict(os.environ, **SANITIZERS))
        os.close(writer)
        gate.process.popen = popen
        try:
            wait_for(gate.accepts, "it serves", 10)
            world.postfixes.append(Postfix(world.scratch, gate.milter, world.sink))
            longest, lines = 0.0, 0
            with MilterClient(gate.socket) as m:
                m.connect()
                while lines < 16000:
                    m.mail()
                    for _ in range(20):
                        begin = time.monotonic()
                        assert m.rcpt(f"<{UNKNOWN}>").status == "550 5.1.1"
                        longest = max(longest, time.monotonic() - begin)
                        lines += 1
                    m.abort()
            assert longest < 1.0, f"a session waited {longest:.2f} s for the log"
            wait_for(lambda: "log lines are lost" in troubles(gate), "status says that lines are lost", 5)
            read = b""
            os.set_blocking(reader, False)

            def drained():
                nonlocal read
                try:
                    read += os.read(reader, 1 << 20)
                except BlockingIOError:
                    pass
                return b"event=log-dropped lines=" in read

            wait_for(drained, "the log says how many", 10)
            assert session(gate, ALIAS) == "continue"
            gate.keep_longest()
        finally:
            threading.Thread(target=lambda: [None for _ in iter(lambda: read_or_wait(reader), b"")], daemon=True).start()
            popen.terminate()
            assert popen.wait(20) == 0
            gate.process = None


def read_or_wait(fd):
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        time.sleep(0.01)
        return b" "


# ------------------------------------------------------------------------------------------------------ row 60

def test_row60_sigterm_under_load():
    with world_of("redis") as world:
        gate = world.gate
        finished = 0
        for _ in range(times(100, 5)):
            with Load(gate.socket, [ALIAS], n=4, unknown=UNKNOWN) as load:
                wait_for(lambda: load.served(ALIAS) > 20, "mail flows", 20)
                assert gate.stop() == 0
            assert {s for s in load.statuses(ALIAS) if s.startswith("5")} == set()
            assert load.statuses(UNKNOWN) <= {"550 5.1.1", "tempfail", "451 4.3.0"}
            finished += load.finished[ALIAS]
            used = world.redis.used(f"rcptgate:recipient:{{{ALIAS}}}", "many")
            assert finished <= used <= finished + 4, "reservations are given back (a last eom can be cut off)"
            finished = used
            gate.start()
        assert well(gate)


def test_row60_many_open_sessions_give_back_together():
    """With a slow Redis, too: not one round trip for each."""
    with world_of("redis") as world:
        proxy = Proxy(world.scratch / "proxy.sock", world.redis.socket)
        gate = world.gate
        gate.stop()
        gate.write_policy(counters={"url": proxy.url, "timeout": "10s"})  # a busy machine is no outage
        gate.start()
        sessions = []
        for _ in range(200):
            milter = MilterClient(gate.socket)
            milter.connect()
            milter.mail()
            assert milter.rcpt(f"<{ALIAS}>").kind == "continue"
            sessions.append(milter)
        assert world.redis.used(f"rcptgate:recipient:{{{ALIAS}}}", "many") >= 200, "a lease holds some more"
        proxy.seconds, proxy.mode = 0.05, "delay"
        begin = time.monotonic()
        assert gate.stop() == 0
        took = time.monotonic() - begin
        proxy.mode = "pass"
        assert world.redis.used(f"rcptgate:recipient:{{{ALIAS}}}", "many") == 0
        assert took < 5, f"{took:.1f} s; one by one it would take 10 s"
        proxy.stop()


# ------------------------------------------------------------------------------------------------------ row 61

def opened(gate):
    """A session, or None: now and then one is cut off in the first moments of a gate, and Postfix says 451."""
    try:
        client = MilterClient(gate.socket)
        client.connect()
        return client
    except (ConnectionError, Closed):
        return None


def test_row61_overlapping_restarts():
    with world_of("memory") as world:
        gate = world.gate
        for i in range(times(100, 6)):
            old = gate.process
            open_session = wait_for(lambda: opened(gate), f"round {i}: a session")
            if i % 2 == 0:
                old.popen.send_signal(signal.SIGTERM)
                time.sleep(0.001 * (i % 20))
                gate.start(wait=False)
            else:
                gate.start(wait=False)
                time.sleep(0.005 * (i % 20))
                old.popen.send_signal(signal.SIGTERM)
            assert old.wait() == 0
            open_session.hang_up()
            recovers(lambda: session(gate, ALIAS) == "continue", f"round {i}: the new one serves", 15)
            assert gate.socket.exists() and gate.process.alive()


# ------------------------------------------------------------------------------------------- the control socket

def test_who_stands_still_at_the_control_socket_holds_nobody_up(world):
    gate = world.gate
    still = []
    for words in [b"", b"", b'{"do":', b"", b"", b'{"do": "status"}\n' * 100]:
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(gate.state / "control.sock"))
        s.sendall(words)
        still.append(s)
    begin = time.monotonic()
    assert status(gate)["status"] == "healthy"
    took = time.monotonic() - begin
    assert took < 3, f"status after {took:.1f} s: those who stand still are sent away after 5"
    begin = time.monotonic()
    assert gate.stop() == 0
    took = time.monotonic() - begin
    assert took < 3, f"the end took {took:.1f} s"
    for s in still:
        s.close()
    gate.start()


# ------------------------------------------------------------------------------------------------------ row 62

def healthy(gate):
    return status(gate)["status"] == "healthy"


def turns_red_and_green(gate, break_it, mend_it, word):
    wait_for(lambda: healthy(gate), "healthy before", 15)
    break_it()
    wait_for(lambda: not healthy(gate), f"{word}: turns red", 15)
    assert word in troubles(gate)
    mend_it()
    recovers(lambda: healthy(gate), f"{word}: turns green", 30)


def test_row62_each_backend_in_turn():
    with world_of("redis") as world:
        gate, text = world.gate, world.gate.policy_path.read_text()
        redis = world.redis
        turns_red_and_green(gate, redis.stop, redis.start, "Redis" if "Redis" in gate.log() else "counters")
        hidden = world.database.path.with_suffix(".hidden")
        turns_red_and_green(gate, lambda: world.database.path.rename(hidden),
                            lambda: hidden.rename(world.database.path), "aliases")
        turns_red_and_green(gate, lambda: gate.policy_path.write_text("{"),
                            lambda: gate.policy_path.write_text(text), "last good policy")
        bad = json.dumps(dict(gate.policy, limits=[{**LIMITS[0], "max": "x"}]))
        turns_red_and_green(gate, lambda: gate.policy_path.write_text(bad),
                            lambda: gate.policy_path.write_text(text), "/limits/0/max")
        block = world.scratch / "gate.sock"

        def take_socket():
            block.unlink()
            block.mkdir()

        turns_red_and_green(gate, take_socket, block.rmdir, "is no socket")
        assert well(gate)
