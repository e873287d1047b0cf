"""Limits that count the backlog: Postfix's own queue, a very long one, one that cannot be read, and those of other hosts."""

import itertools
import json
import os
import re
import subprocess
import time
from pathlib import Path

from harness import PATIENCE, SANITIZED, MilterClient, Web, World, wait_for

MANY = 20000 if SANITIZED else 100000
BOX = {"name": "box", "per": "mailbox", "count": "backlog", "max": 3}


def ask(gate, address, sender="bob@sender.example"):
    """The answer to one RCPT."""
    return gate.told(address, sender=f"<{sender}>")[0]


def queue_status(gate):
    return json.loads(gate.command("status", "--json", check=None)).get("queue") or {}


def seconds_of_verdicts(gate, seconds):
    """How long each RCPT of that time took, sorted."""
    times, end = [], time.monotonic() + seconds
    with MilterClient(gate.socket) as milter:
        milter.connect("192.0.2.7")
        milter.helo()
        while time.monotonic() < end:
            milter.mail("<bob@sender.example>")
            before = time.perf_counter()
            assert milter.rcpt("<x@other.example>").status == "continue"
            times.append(time.perf_counter() - before)
            milter.abort()
            time.sleep(0.005)
    return sorted(times)


def seconds_of_a_stop(gate):
    began = time.monotonic()
    gate.stop()
    return time.monotonic() - began


def script(world, name, text):
    path = world.scratch / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_postfix():
    settings = {"virtual_transport": "retry:4.3.2 not now", "queue_run_delay": "300s", "minimal_backoff_time": "300s",
                "maximal_backoff_time": "300s"}
    with World("redis", maps=True, postfix=settings) as world:
        world.database.alias("a@example.com", mailbox="Full@Mailbox.Example")
        world.database.alias("b@example.com", mailbox="full+b@mailbox.example")
        world.database.alias("c@example.com", mailbox="free@mailbox.example")
        etc = world.postfix.etc
        gate = world.gate
        gate.write_policy(limits=[BOX], queue={"every": "1s", "command": ["/usr/sbin/postqueue", "-c", str(etc), "-j"]})
        wait_for(lambda: queue_status(gate).get("known"), "the queue is not read")
        with world.smtp() as smtp:
            for name in "aab":
                codes, _ = smtp.send([f"{name}@example.com"])
                assert [c.code for c in codes] == [250]
        wait_for(lambda: queue_status(gate).get("messages") == 3, "the messages do not show")
        with world.smtp() as smtp:
            smtp.mail()
            for address in ("a@example.com", "b@example.com"):
                reply = smtp.rcpt(address)
                assert reply.code == 450 and reply.text.startswith("4.2.1"), reply
            assert smtp.rcpt("c@example.com").code == 250
        wait_for(lambda: gate.decisions(by="limit", limit="box", used="3", max="3", verdict="defer"), "no decision line")
        assert "age" in gate.decisions(limit="box")[0]
        fields = world.redis.fields("rcptgate:backlog:mailbox")
        assert len(fields) == 1, fields
        (field, value), = fields.items()
        assert field.startswith("full@mailbox.example|") and value.startswith("3 ")
        assert world.redis.call("PTTL", "rcptgate:backlog:mailbox") > 0
        told = gate.command("status")
        assert re.search(r"^queue +3 messages, the oldest for \d+s; read \d+s ago, which took \d+ ms$", told, re.M), told
        told = gate.command("show", "full@mailbox.example")
        assert re.search(r"^mailbox:full@mailbox\.example\n    box +3/3 waiting in Postfix's queue, read \d+s ago$", told, re.M), told
        shown = json.loads(gate.command("show", "mailbox:Full+x@Mailbox.example", "--json"))["backlog"]
        assert [(row["limit"], row["waiting"], row["max"]) for row in shown] == [("box", 3, 3)]
        assert "0/3 waiting" in gate.command("show", "mailbox:free@mailbox.example")
        assert gate.command("show", "full@elsewhere.example") == "no counters\n"
        subprocess.run(["postsuper", "-c", etc, "-d", "ALL"], check=True, capture_output=True)
        wait_for(lambda: ask(gate, "a@example.com") == "continue", "the queue is empty, and still it refuses")
        wait_for(lambda: not world.redis.fields("rcptgate:backlog:mailbox"), "the field stays")


def test_a_hundred_thousand_messages_slow_nobody():
    with World("memory", mta=False, database=False) as world:
        gate = world.gate
        long = script(world, "long.py", f"#!/usr/bin/python3\nmany = {MANY}\n" """
import json, sys
for i in range(many):
    sys.stdout.write(json.dumps({"queue_name": "deferred", "queue_id": "%X" % i, "arrival_time": 1700000000 + i,
        "message_size": 1000, "sender": "s%d@many%d.example" % (i % 5000, i % 100),
        "recipients": [{"address": "r%d@box%d.example" % (i, i % 1000), "delay_reason": "x" * 100}]}) + "\\n")
""")
        limits = [{"name": "all", "per": "all", "count": "backlog", "max": MANY, "over": "defer"},
                  {"name": "from", "per": "sender_domain", "count": "backlog", "max": MANY // 100},
                  {"name": "mbox", "per": "mailbox", "count": "backlog", "max": MANY // 100},
                  {"name": "from2", "per": "sender", "count": "backlog", "max": MANY // 100}]
        quiet = seconds_of_verdicts(gate, 1)
        gate.write_policy(limits=limits, queue={"every": "60s", "command": [long]})  # and as long to read it
        wait_for(lambda: queue_status(gate).get("known"), "not read", 3 * PATIENCE)
        status = queue_status(gate)
        assert status["messages"] == MANY and status["oldest_s"] > 86400, status
        every = 1 if status["read_ms"] < 2500 else 2 * status["read_ms"] // 1000  # it may take as long, or 5 s
        gate.write_policy(queue={"every": f"{every}s", "command": [long]})
        assert ask(gate, "x@other.example").startswith("450")
        gate.write_policy(limits=limits[1:])
        wait_for(lambda: ask(gate, "x@other.example") == "continue", "the limit that is gone refuses")
        assert ask(gate, "x@other.example", "q@many7.example").startswith("450")
        times = seconds_of_verdicts(gate, 6)  # reading goes on all the time
        worst, median = times[-1], times[len(times) // 2]
        print(f"reading took {queue_status(gate)['read_ms']} ms; a verdict meanwhile: median {median * 1000:.2f} ms, "
              f"p99 {times[len(times) * 99 // 100] * 1000:.2f} ms, longest {worst * 1000:.2f} ms of {len(times)}")
        assert median < max(0.02, 5 * quiet[len(quiet) // 2]), (median, worst)
        peak = int(next(line.split()[1] for line in open(f"/proc/{gate.process.pid}/status") if line.startswith("VmHWM")))
        assert SANITIZED or peak < 300 * 1024, peak  # a sanitizer keeps what was freed
        wait_for(lambda: "event=queue-old" in gate.log(), "an old message is not told")


def test_a_command_that_hangs_or_fails_is_a_fault_and_no_stop():
    with World("memory", mta=False) as world:
        world.database.alias("a@example.com", mailbox="full@box.example")
        gate = world.gate
        mode, pids = world.scratch / "mode", world.scratch / "pids"
        mode.write_text("good")
        command = script(world, "queue.sh", f"""#!/bin/sh
case $(cat {mode}) in
good) for i in 1 2 3; do
    echo '{{"sender": "s@x.example", "recipients": [{{"address": "full@box.example"}}]}}'
done ;;
hang) echo $$ >> {pids}; sleep 1000 & echo $! >> {pids}; sleep 1000 ;;
fail) echo 'queue: no access' >&2; exit 69 ;;
junk) echo 'Mail queue is empty' ;;
esac
""")
        gate.write_policy(limits=[BOX], queue={"every": "1s", "command": [command]})
        wait_for(lambda: ask(gate, "a@example.com").startswith("450 4.2.1"), "the backlog does not refuse")
        mode.write_text("fail")
        wait_for(lambda: "queue: no access" in gate.log() and "status 69" in gate.log(), "the failure is not told")
        # the last numbers stay for a while
        assert ask(gate, "a@example.com").startswith("450 4.2.1")
        gate.command("status", check=1)
        mode.write_text("hang")
        wait_for(lambda: "did not end within 5 s" in gate.log(), "a command that hangs is not killed")
        # ... and then are unknown: nothing is refused
        wait_for(lambda: ask(gate, "a@example.com") == "continue", "old numbers refuse")
        told = gate.command("status", check=1)
        assert "queue       unknown" in told and "did not end within" in told, told
        assert gate.command("show", "mailbox:full@box.example") == "no counters\n"
        first, child = map(int, pids.read_text().split()[:2])
        for pid in (first, child):
            state = f"/proc/{pid}/stat"
            wait_for(lambda: not os.path.exists(state) or " Z " in open(state).read(), "what was killed lives on")
        mode.write_text("junk")
        wait_for(lambda: "no JSON object" in gate.log(), "junk is not told")
        mode.write_text("good")
        wait_for(lambda: ask(gate, "a@example.com").startswith("450 4.2.1"), "it does not come back")
        wait_for(lambda: "event=queue-well" in gate.log(), "it is not well again")
        # a stop waits for no command
        unhindered = seconds_of_a_stop(gate)
        gate.start()
        mode.write_text("hang")
        pids.write_text("")
        wait_for(lambda: pids.read_text().count("\n") >= 2, "the command does not run")
        assert seconds_of_a_stop(gate) < 2 * unhindered + 4


def test_other_hosts():
    with World("redis", mta=False) as world:
        world.database.alias("a@example.com", mailbox="sum@box.example")
        world.database.alias("b@example.com", mailbox="gone@box.example")
        gate, redis = world.gate, world.redis
        command = script(world, "queue.sh", """#!/bin/sh
echo '{"sender": "s@x.example", "recipients": [{"address": "sum@box.example"}]}'
""")
        key = "rcptgate:backlog:mailbox"
        now = int(time.time() * 1000)
        redis.call("HSET", key, "sum@box.example|mx9", f"2 {now}", "gone@box.example|mx8", f"5 {now - 7200000}",
                   "gone@box.example|mx7", f"5 {now - 600000}", "junk", "x", "gone@box.example|mx6", "five")
        gate.write_policy(limits=[BOX, {"name": "all", "per": "all", "count": "backlog", "max": 50}],
                          queue={"every": "1s", "command": [command]})
        wait_for(lambda: ask(gate, "a@example.com").startswith("450 4.2.1"), "what waits elsewhere is not added")
        assert ask(gate, "b@example.com") == "continue"
        wait_for(lambda: "gone@box.example|mx8" not in redis.fields(key), "a dead host's field stays")
        fields = redis.fields("rcptgate:backlog:all")
        assert len(fields) == 1 and list(fields)[0].startswith("*|"), fields
        # the other host's stamp moves, however wrong its clock is
        stamps = itertools.count(now - 600000)

        def moves():
            redis.call("HSET", key, "gone@box.example|mx7", f"5 {next(stamps)}")
            time.sleep(0.3)
            return ask(gate, "b@example.com").startswith("450 4.2.1")

        wait_for(moves, "a host whose stamp moves does not count")
        # it stands still: forgotten after three rounds and ten seconds
        wait_for(lambda: ask(gate, "b@example.com") == "continue", "a host that is silent counts on")
        # Redis away: this host's numbers alone
        redis.stop()
        wait_for(lambda: ask(gate, "a@example.com") == "continue", "numbers of other hosts stay")


def test_without_such_a_limit_nobody_looks_at_the_queue_any_more():
    with World("memory", mta=False, database=False) as world:
        gate = world.gate
        empty = script(world, "empty.py", "#!/usr/bin/python3\n")
        gate.write_policy(limits=[BOX], queue={"every": "1s", "command": [empty]})
        wait_for(lambda: queue_status(gate).get("known"), "the queue is not read")
        gate.write_policy(limits=[], queue={"every": "1s", "command": [empty]})
        wait_for(lambda: not queue_status(gate), "it is still read")

        def wakes():
            tasks = [path / "status" for path in Path(f"/proc/{gate.process.popen.pid}/task").iterdir()]
            return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", task.read_text(), re.M)[1]) for task in tasks)

        time.sleep(1.5)
        before = wakes()
        time.sleep(1)
        assert wakes() - before < 200


def test_what_a_sender_is_called_breaks_no_line_of_the_log():
    with World("memory", mta=False, database=False) as world:
        gate = world.gate
        line = json.dumps({"sender": '"x y=z"@evil.example', "recipients": [{"address": "a@example.com"}]})
        queue = script(world, "queue.sh", f"#!/bin/sh\ncat <<'END'\n{line}\nEND\n")
        gate.write_policy(limits=[{"name": "from", "per": "sender", "count": "backlog", "max": 1}],
                          queue={"every": "1s", "command": [queue]})
        wait_for(lambda: ask(gate, "a@example.com", '"x y=z"@evil.example').startswith("450"), "it is not refused")
        wait_for(lambda: 'subject=sender:{"x%20y=z"@evil.example} ' in gate.log(), "the event is not as it should be")


def test_a_queue_that_grows_is_told():
    with World("redis", mta=False, database=False) as world:
        gate, web, length = world.gate, Web(world.scratch), world.scratch / "length"
        length.write_text("60 1")
        command = script(world, "queue.sh", f"""#!/bin/sh
read n age < {length}
since=$(($(date +%s) - age))
while [ $n -gt 0 ]; do
    echo '{{"sender": "s@x.example", "arrival_time": '$since', "recipients": [{{"address": "r@box.example"}}]}}'
    n=$((n - 1))
done
""")
        gate.write_policy(limits=[BOX], queue={"every": "1s", "command": [command]}, http={"listen": web.listen})
        wait_for(lambda: queue_status(gate).get("messages") == 60, "the queue is not read")
        length.write_text("200 60")
        wait_for(lambda: "event=queue-growing messages=200" in gate.log(), "growth is not told")
        assert "event=queue-old" not in gate.log()
        length.write_text("1500 20000")
        wait_for(lambda: "event=queue-old messages=1500" in gate.log(), "an old message is not told")
        assert gate.log().count("event=queue-growing") == 1, "once in ten minutes"

        def told_in_redis():
            events = [dict(zip(fields[::2], fields[1::2])) for _, fields in world.redis.call("XRANGE", "rcptgate:events", "-", "+")]
            told = {event["event"]: event for event in events}
            return told if "queue-growing" in told and "queue-old" in told else None

        told = wait_for(told_in_redis, "the events do not arrive in Redis")
        assert told["queue-growing"]["messages"] == "200" and int(told["queue-old"]["oldest_s"]) >= 20000
        wait_for(web.up, "the HTTP server does not answer")
        metrics = web.get("/metrics")
        assert re.search(r"^rcptgate_queue_messages 1500$", metrics, re.M)
        oldest = float(re.search(r"^rcptgate_queue_oldest_timestamp_seconds (\S+)$", metrics, re.M).group(1))
        read = float(re.search(r"^rcptgate_queue_read_timestamp_seconds (\S+)$", metrics, re.M).group(1))
        assert 20000 - 2 <= read - oldest < 20100 and time.time() - read < PATIENCE
        page = web.get("/").replace("&#8239;", " ")
        assert re.search(r"Postfix's queue</dt><dd>1 500 messages, the oldest for 6h; read \d+s ago, which took \d+ ms</dd>", page), page


def test_numbers_of_other_hosts_do_not_overflow():
    with World("redis", mta=False) as world:
        world.database.alias("a@example.com", mailbox="sum@box.example")
        world.database.alias("b@example.com", mailbox="mad@box.example")
        now = int(time.time() * 1000)
        most = 2 ** 63 - 1
        world.redis.call("HSET", "rcptgate:backlog:mailbox", "sum@box.example|mx7", f"{most} {now}",
                         "sum@box.example|mx8", f"5 {now}", "sum@box.example|mx9", f"{most - 2} {now}",
                         "mad@box.example|mx7", f"{most} {now}")
        world.gate.write_policy(limits=[BOX], queue={"every": "1s", "command": ["/bin/true"]})
        wait_for(lambda: ask(world.gate, "a@example.com").startswith("450 4.2.1"), "what makes sense counts")
        assert ask(world.gate, "b@example.com") == "continue", "what makes none does not"


def test_hosts_that_come_and_go_leave_room_for_others():
    """As containers do, each with a name of its own."""
    with World("redis", mta=False) as world:
        redis, key = world.redis, "rcptgate:backlog:mailbox"
        world.database.alias("a@example.com", mailbox="sum@box.example")
        command = script(world, "queue.sh", """#!/bin/sh
echo '{"sender": "s@x.example", "recipients": [{"address": "other@box.example"}]}'
""")
        world.gate.write_policy(limits=[BOX, {"name": "all", "per": "all", "count": "backlog", "max": 50}],
                                queue={"every": "1s", "command": [command]})

        def rounds():
            return list(redis.fields("rcptgate:backlog:all").values())

        for start in range(0, 600, 200):
            now = int(time.time() * 1000)
            redis.call("HSET", key, *(word for i in range(start, start + 200) for word in (f"x@box.example|pod{i}", f"1 {now}")))
            for _ in range(2):  # one may have been under way
                before = rounds()
                wait_for(lambda: rounds() != before, "they are read")
            redis.call("DEL", key)
        redis.call("HSET", key, "sum@box.example|mx7", f"9 {int(time.time() * 1000)}")
        wait_for(lambda: ask(world.gate, "a@example.com").startswith("450 4.2.1"), "a host that came later does not count")
