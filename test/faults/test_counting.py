"""What is open proves nothing, clocks that differ, clocks that are old: rows 72, 74 and 75 of the fault matrix."""

import threading
import time

import pytest

import fault_table
from fault_world import ALIAS, Faults
from harness import PRELOADS, SANITIZED, MilterClient, Smtp, World, wait_for
from test_redis import PATIENT_MS, clock  # noqa: F401 (a fixture)

MINE = {"recipient_domain": "example.com"}
HARD = [{"name": "hard", "per": "recipient", "max": 3, "window": "1h", "over": "reject", "hold": "1h", "when": MINE}]
BYTES = [{"name": "volume", "per": "recipient", "count": "bytes", "max": 100000, "window": "1m", "over": "reject", "hold": "1h",
          "when": MINE}]


def volume(f):
    return f.redis.used(f"rcptgate:recipient:{{{ALIAS}}}", "volume")


def held(f):
    return any("held=" in text for key in f.redis.keys("rcptgate:recipient:*") for text in f.redis.fields(key).values())


def test_row72_idle_transactions_behind_postfix():
    """RCPT and then nothing; RCPT, RSET and then nothing: Postfix keeps the ABORT back until its next command."""
    with Faults(72, "idle transactions, RSET held back", limits=HARD, timeout_ms=PATIENT_MS) as f:
        sessions = [Smtp(f.postfix, f"192.0.2.{i + 1}") for i in range(3)]
        for number, smtp in enumerate(sessions):
            smtp.mail()
            assert smtp.rcpt(ALIAS).code == 250
            if number > 0:
                smtp.rset()
        with Smtp(f.postfix, "192.0.2.77") as friend:
            answers = {str(friend.send([ALIAS])[0][0].code) for _ in range(5)}
        assert answers <= {"450", "250"} and "450" in answers, answers
        assert not held(f)
        for smtp in sessions:
            smtp.close()
        wait_for(lambda: f.redis.used(f"rcptgate:recipient:{{{ALIAS}}}", "hard") <= 2, "what was charged is not given back", 2)
        with Smtp(f.postfix, "192.0.2.78") as friend:
            while friend.send([ALIAS])[0][0].code == 250:
                pass
            wait_for(lambda: friend.send([ALIAS])[0][0].code == 550, "taken, all of it, is proof", 2)
        f.row.remark = "450 while they are open, 550 once so many messages ended"


def test_row72_lies_about_the_size():
    with Faults(72, "SIZE= lies", limits=BYTES, timeout_ms=PATIENT_MS) as f:
        liars = []
        for i in range(5):
            milter = MilterClient(f.gate.socket)
            milter.connect(f"192.0.2.{i + 1}")
            milter.mail("<liar@sender.example>", "SIZE=20000")
            assert milter.rcpt(f"<{ALIAS}>").kind == "continue"
            liars.append(milter)
        assert {f.rcpt(client="192.0.2.77") for _ in range(5)} == {"452 4.2.2"}
        assert not held(f)
        for milter in liars:
            milter.hang_up()
        wait_for(lambda: volume(f) == 0, "what was charged is not given back", 2)
        wait_for(lambda: f.rcpt(client="192.0.2.77") == "continue", "the friend gets through", 2)
        f.row.remark = "452 while they are open"


def test_row72_open_without_size():
    """However many are open, one overshoots."""
    with Faults(72, "open without SIZE=", limits=BYTES, timeout_ms=PATIENT_MS) as f:
        sessions, ends = [MilterClient(f.gate.socket) for _ in range(20)], []
        for milter in sessions:
            milter.connect("192.0.2.1")
            milter.mail()
            assert milter.rcpt(f"<{ALIAS}>").kind == "continue"
        threads = [threading.Thread(target=lambda m=m: ends.append(big_end(m))) for m in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ends) == ["452 4.2.2"] * 19 + ["continue"], ends
        assert 500000 <= volume(f) < 510000
        f.row.remark = "one of 20, then 452 at the end"


def big_end(milter, size=500000):
    milter.data()
    milter.header("Subject", "large")
    for at in range(0, size, 50000):
        milter.body(b"x" * min(50000, size - at))
    answer = milter.eom()
    milter.quit()
    return answer.status


@pytest.mark.skipif(SANITIZED, reason="a preloaded library must not come before the sanitizer's")
@pytest.mark.parametrize("seconds", [-70, 70])
def test_row74_redis_has_another_time(seconds, clock):  # noqa: F811
    """The window is a minute: slots of the two clocks have nothing in common."""
    clock(seconds)
    with Faults(74, f"Redis' clock is {seconds:+} s off", limits=BYTES, timeout_ms=PATIENT_MS) as f:
        for given_back in (False, True):
            with MilterClient(f.gate.socket) as milter:
                milter.connect("192.0.2.1")
                milter.mail("<bob@sender.example>", "SIZE=30000")
                assert milter.rcpt(f"<{ALIAS}>").kind == "continue"
                wait_for(lambda: volume(f) >= (60000 if given_back else 30000), "what was declared is counted", 5)
                if given_back:
                    milter.abort()
                else:
                    assert big_end(milter, 39990 - len("Subject: large\r\n")) == "continue"
            wait_for(lambda: 39980 <= volume(f) <= 40000, "each byte counts once, and what is given back does not", 5)
        assert 39980 <= volume(f) <= 40000
        with MilterClient(f.gate.socket) as milter:
            milter.connect("192.0.2.1")
            milter.mail("<bob@sender.example>", "SIZE=59000")
            assert milter.rcpt(f"<{ALIAS}>").kind == "continue", "refused early"
            milter.quit()
        f.row.remark = "each byte once"


@pytest.mark.skipif(SANITIZED, reason="a preloaded library must not come before the sanitizer's")
@pytest.mark.parametrize("store", ["memory", "local"])
def test_row75_old_clocks(store, monkeypatch):
    """Every look at the clock is up to 20 ms old: 16 sessions, and never more than 20 a second."""
    stale_ms, most, seconds = 20, 20, 4
    monkeypatch.setenv("LD_PRELOAD", str(PRELOADS / "clockshift.so"))
    monkeypatch.setenv("CLOCKSTALE", str(stale_ms))
    limits = [{"name": "second", "per": "recipient", "max": most, "window": "1s", "over": "defer", "when": MINE}]
    fault_table.record(75, f"stale clocks, {store}")
    with World("memory" if store == "memory" else "redis", limits, mta=False) as w:
        w.database.alias(ALIAS)
        if store == "local":
            w.redis.stop()
        admitted, until = [], time.monotonic() + seconds

        def run(i):
            with MilterClient(w.gate.socket) as milter:
                milter.connect(f"192.0.2.{i + 1}")
                while time.monotonic() < until:
                    milter.mail()
                    if milter.rcpt(f"<{ALIAS}>").kind == "continue":
                        admitted.append(time.monotonic())
                        milter.data()
                        milter.body()
                        milter.eom()
                    else:
                        milter.abort()

        wait_for(lambda: w.settled() or True, "the gate answers")
        threads = [threading.Thread(target=run, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        admitted.sort()
        span = 1 - 0.1 - 2 * stale_ms / 1000  # a slot's worth for what a busy machine adds to each answer
        worst = max(sum(1 for at in admitted if begin <= at <= begin + span) for begin in admitted)
        assert worst <= most, worst
        assert len(admitted) >= most * (seconds - 1) / 1.2
        fault_table.row.remark = f"{worst} of {most} at most, {len(admitted)} in {seconds} s"
        if store == "local":
            w.redis.start()
