"""replay: the log of a real Postfix, and the gate's own, give the answers that the gate gave; another policy gives its own."""

import bz2
import gzip
import json
import lzma
import os
import shutil
import socket
import subprocess
import time

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZERS, Scratch, World, run_on_a_terminal, wait_for

LIMITS = [{"name": "three", "per": "recipient", "max": 3, "window": "1h", "over": "defer"},
          {"name": "client-rcpts", "per": "client", "max": 11, "window": "1h", "over": "reject"}]


def replay(*words, check=0, data=None):
    done = subprocess.run([RCPTGATE, "replay", *map(str, words)], input=data, capture_output=True, timeout=5 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS))
    assert done.returncode == check, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout.decode(), done.stderr.decode()


def report(*words, **more):
    return json.loads(replay("--json", *words, **more)[0])


def answers(told):
    return {name: told[name] for name in ("accept", "defer", "reject", "discard", "undecided")}


def all_is_logged(world):
    """Postfix's log is written by a process of its own, and later than the mail is there."""
    log, refused = world.postfix.log(), [*world.gate.decisions(verdict="defer"), *world.gate.decisions(verdict="reject")]
    return (log.count(" milter-reject: RCPT ") == len(refused) and log.count(" status=sent ") == len(world.sink.deliveries) and
            log.count(": removed") == log.count(" (queue active)"))


@pytest.fixture(scope="module")
def mail():
    """Some mail through a real Postfix and a gate, and the logs of both."""
    with World("memory", LIMITS, maps=True) as world:
        world.database.alias("one@example.com", "joe@mailbox.example")
        world.database.alias("two@example.com", "ann@mailbox.example,joe@mailbox.example")
        world.database.alias("döner@example.com", "joe@mailbox.example")
        world.database.alias("drop@example.com", "joe@mailbox.example", action="discard")
        world.settled()
        with world.smtp("192.0.2.1") as smtp:
            smtp.send(["one@example.com", "two+tag@example.com", "nobody@example.com", "drop@example.com"])
            for _ in range(4):
                smtp.send(["One@Example.com"])
            smtp.mail("grün@sender.example", " SMTPUTF8")
            smtp.rcpt("döner@example.com")
            smtp.data()
        with world.smtp("2001:db8::7", login="ann") as smtp:
            smtp.send(["two@example.com", '"odd name"@example.com', "elsewhere@mailbox.example"], sender='"x y"@z.example')
            for i in range(14):
                smtp.send([f"free{i}@mailbox.example"])
        world.idle()
        wait_for(lambda: len(world.gate.decisions()) == 26, "the gate does not log all its decisions")
        wait_for(lambda: all_is_logged(world), "Postfix does not log all that it did")
        # The gate of the test logs to stderr; behind syslog its lines look so.
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        decisions = [f"{stamp} mx rcptgate[77]: {line}\n" for line in world.gate.log().splitlines()]
        world.mail_log = world.scratch / "mail.log"
        world.mail_log.write_text(world.postfix.log())
        world.decision_log = world.scratch / "decisions.log"
        world.decision_log.write_text("".join(decisions))
        yield world


def policy(world, name, limits, aliases=True, **more):
    path = world.scratch / f"{name}.json"
    made = {"limits": limits, **more}
    if aliases:
        made["aliases"] = {"database": str(world.database.path)}
    path.write_text(json.dumps(made))
    return path


def test_own_decisions_are_decided_again(mail):
    same = policy(mail, "same", LIMITS)
    told = report("-c", same, mail.decision_log)
    given = [line["verdict"] for line in mail.gate.decisions()]
    assert set(given) >= {"accept", "defer", "reject", "discard"}
    assert answers(told["policy"]) == {"accept": given.count("accept"), "defer": given.count("defer"),
                                       "reject": given.count("reject"), "discard": given.count("discard"),
                                       "undecided": 0}
    assert told["log"]["from_decisions"] == len(given) and told["log"]["from_deliveries"] == 0
    by = {row["by"]: row["count"] for row in told["policy"]["causes"] if row["action"] == "reject"}
    gave = mail.gate.decisions(verdict="reject")
    assert by == {"alias": sum(line["by"] == "alias" for line in gave),
                  "limit client-rcpts": sum(line["by"] == "limit" for line in gave)}


def test_what_is_not_ascii_is_logged_and_read(mail):
    """It stands in the log as it does in the keys of Redis, and is the same address when it is read again."""
    line, = mail.gate.decisions(to="<d%C3%B6ner@example.com>")
    assert line["from"] == "<gr%C3%BCn@sender.example>" and line["verdict"] == "accept"
    once = policy(mail, "utf8", [{"name": "none", "per": ["recipient", "sender"], "max": 0, "window": "1h", "over": "reject"}])
    subjects = {row["subject"] for row in report("-c", once, "-n", 0, mail.decision_log)["policy"]["subjects"]}
    assert "recipient+sender:{d%C3%B6ner@example.com}|gr%C3%BCn@sender.example" in subjects


def test_postfix_lines_alone(mail):
    """What Postfix tells: no dropped recipients, but every other RCPT, with the alias and not its mailboxes."""
    told = report("-c", policy(mail, "none", []), "--no-aliases", "-n", 0, mail.mail_log)
    given = mail.gate.decisions()
    accepted = [line for line in given if line["verdict"] == "accept"]
    refused = [line for line in given if line["verdict"] in ("defer", "reject")]
    log = told["log"]
    assert (log["from_deliveries"], log["from_milter_refusals"]) == (len(accepted), len(refused))
    assert (log["from_decisions"], log["late"]) == (0, 0)
    assert told["policy"]["accept"] == len(accepted) + len(refused)
    one = policy(mail, "one", [{"name": "once", "per": "recipient", "max": 1, "window": "1h", "over": "reject"}])
    subjects = {row["subject"]: row["count"] for row in report("-c", one, "--no-aliases", mail.mail_log)["policy"]["subjects"]}
    assert subjects["recipient:{one@example.com}"] == 4 and subjects["recipient:{two@example.com}"] == 1
    assert not any("joe@" in subject or "free" in subject for subject in subjects)


def test_both_in_one_log_count_once(mail):
    both = mail.scratch / "both.log"
    both.write_text(mail.decision_log.read_text() + mail.mail_log.read_text())
    told = report("-c", policy(mail, "same", LIMITS), both)
    assert told["log"]["rcpts"] == told["log"]["from_decisions"] == len(mail.gate.decisions())


def test_compressed_and_standard_input(mail):
    path = policy(mail, "same", LIMITS)
    plain = report("-c", path, mail.mail_log)
    packers = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    if shutil.which("zstd"):
        packers["zst"] = lambda data: subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout
    packed = {"": mail.mail_log.read_bytes(), **{end: pack(mail.mail_log.read_bytes()) for end, pack in packers.items()}}
    for end, data in packed.items():
        file = mail.scratch / f"packed.log.{end}"
        file.write_bytes(data)
        assert report("-c", path, file)["policy"] == plain["policy"]
        assert report("-c", path, "-", data=data)["policy"] == plain["policy"]


def test_two_policies(mail):
    old = policy(mail, "old", LIMITS)
    new = policy(mail, "new", [{"name": "two", "per": "recipient", "max": 2, "window": "1h", "over": "reject"}])
    told = report("--policy", new, "--against", old, mail.decision_log)
    moved = {(row["from"], row["to"]): row["count"] for row in told["moved"]}
    assert moved[("accept", "reject")] == 1 and moved[("defer", "reject")] == 2  # the third, and what was over three
    assert moved[("reject", "accept")] == told["against"]["reject"] - 2  # the client's limit is gone, unknown stays
    subjects = {(row["from"], row["to"], row["by"], row["subject"]) for row in told["changes"]}
    assert ("accept", "reject", "limit two", "recipient:{one@example.com}") in subjects
    assert ("reject", "accept", "limit client-rcpts", "client:{2001:db8::/64}") in subjects
    text = replay("--policy", new, "--against", old, mail.decision_log)[0]
    assert "what changes" in text and "accept -> reject" in text
    assert "no RCPT would get another answer" in replay("-c", old, "--against", old, mail.decision_log)[0]


def test_redis_is_never_asked(mail):
    with socket.socket() as listener:
        listener.bind((mail.scratch.address, 0))
        listener.listen()
        listener.settimeout(0.3)
        url = "redis://{}:{}/0".format(*listener.getsockname())
        path = policy(mail, "redis", LIMITS, counters={"url": url})
        assert report("-c", path, mail.decision_log)["policy"]["defer"] == len(mail.gate.decisions(verdict="defer"))
        with pytest.raises(socket.timeout):
            listener.accept()


def test_alias_rules(mail):
    path = policy(mail, "plain", [])
    with_rules, without = report("-c", path, mail.decision_log), report("-c", path, "--no-aliases", mail.decision_log)
    assert with_rules["policy"]["reject"] == 2 and with_rules["policy"]["discard"] == 1
    assert without["policy"]["reject"] == 0 and "--no-aliases" in without["policy"]["assumed"]
    gone = mail.scratch / "gone.json"
    gone.write_text(json.dumps({"aliases": {"database": str(mail.scratch / "missing.db")}}))
    told = report("-c", gone, mail.decision_log)
    assert told["policy"]["undecided"] == told["policy"]["defer"] == 0 and "does not exist" in told["policy"]["assumed"]


def test_the_backlog_is_not_in_a_log(mail):
    full = policy(mail, "full", [{"name": "q", "per": "host", "count": "backlog", "max": 0, "over": "reject"}])
    assert "no limit on the backlog refuses" in report("-c", full, mail.decision_log)["policy"]["assumed"]
    assert "backlog" not in report("-c", policy(mail, "plain", []), mail.decision_log)["policy"]["assumed"]


# ------------------------------------------------------------------------------------------- logs that are made up

@pytest.fixture
def scratch():
    s = Scratch()
    yield s
    s.remove()


def decision(at, to, client="192.0.2.1", sender="s@sender.example"):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return f"{stamp} mx rcptgate[7]: queue=- client={client} from=<{sender}> to=<{to}> verdict=accept\n"


def write(scratch, name, thing):
    path = scratch / name
    path.write_text(thing if isinstance(thing, str) else json.dumps(thing))
    return path


def test_the_clock_is_that_of_the_log(scratch):
    """Ten a minute for an hour stays below eleven a minute; the same in five minutes does not."""
    path = write(scratch, "p.json", {"limits": [
        {"name": "minute", "per": "recipient", "max": 11, "window": "1m", "over": "defer"}]})
    slow = write(scratch, "slow.log", "".join(decision(1750000000 + 6 * i, "a@example.com") for i in range(600)))
    fast = write(scratch, "fast.log", "".join(decision(1750000000 + i // 2, "a@example.com") for i in range(600)))
    assert report("-c", path, slow)["policy"]["defer"] == 0
    told = report("-c", path, fast)
    assert 500 < told["policy"]["defer"] < 560
    assert told["log"]["first"] == "2025-06-15T15:06:40Z" and told["log"]["last"] == "2025-06-15T15:11:39Z"
    row = told["policy"]["subjects"][0]
    assert row["subject"] == "recipient:{a@example.com}" and row["first"] == "2025-06-15T15:06:45Z"


def test_retries_hammering_and_holds(scratch):
    """What is left for later in the gate (retries) happens at its own moment of the log, every time the same."""
    path = write(scratch, "p.json", {"limits": [
        {"name": "once", "per": "recipient", "max": 1, "window": "1h", "over": "defer"},
        {"name": "tries", "per": "client", "count": "attempts", "max": 5, "window": "1h", "over": "reject"}]})
    retries = [decision(1750000000 + 120 * i, "a@example.com") for i in range(20)]
    hammers = [decision(1750000000 + i, "b@example.com", client="192.0.2.2") for i in range(20)]
    told = [report("-c", path, write(scratch, "r.log", "".join(retries + hammers)))["policy"] for _ in range(5)]
    assert all(one == told[0] for one in told)
    subjects = {(row["by"], row["subject"]): row["count"] for row in told[0]["subjects"]}
    assert subjects[("limit tries", "client:{192.0.2.2}")] == 15
    assert ("limit tries", "client:{192.0.2.1}") not in subjects


def test_bytes_come_from_the_queue_manager(scratch):
    path = write(scratch, "p.json", {"limits": [
        {"name": "volume", "per": "recipient", "count": "bytes", "max": "10kB", "window": "1h", "over": "defer"}]})
    lines = ""
    for i in range(5):
        head = f"2026-01-02T03:04:{10 * i:02}Z mx postfix/"
        lines += (f"{head}smtpd[1]: AAAA{i}: client=unknown[192.0.2.1]\n"
                  f"{head}qmgr[1]: AAAA{i}: from=<s@x.example>, size=4000, nrcpt=1 (queue active)\n"
                  f"{head}lmtp[1]: AAAA{i}: to=<a@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent (ok)\n")
    told = report("-c", path, write(scratch, "m.log", lines))
    assert answers(told["policy"]) == {"accept": 2, "defer": 3, "reject": 0, "discard": 0, "undecided": 0}
    assert "what was refused has none" in told["policy"]["assumed"]


def test_files_in_order_and_garbage(scratch):
    path = write(scratch, "p.json", {})
    first = write(scratch, "mail.log.1", decision(1750000000, "a@example.com") + "what is this\n\n")
    second = write(scratch, "mail.log", decision(1750086400, "b@example.com"))
    told = report("-c", path, first, second)["log"]
    assert (told["lines"], told["garbage"], told["rcpts"], told["out_of_order"]) == (4, 1, 2, False)
    assert report("-c", path, second, first)["log"]["out_of_order"] is True
    assert "give the oldest first" in replay("-c", path, second, first)[0]


def test_hostile_lines(scratch):
    """Whatever stands in a log, nothing of it reaches a terminal as a control character, and nothing crashes."""
    path = write(scratch, "p.json", {"limits": [{"name": "none", "per": "recipient", "max": 0, "window": "1m", "over": "reject"}]})
    log = scratch / "mail.log"
    body = decision(1750000000, "a\x1b[2J\x07@example.com").encode()
    body += decision(1750000000, "%00%1b%0a@example.com").encode() + decision(1750000000, "x" * 5000).encode()
    body += b"\0" * 5000 + b"\n" + b"x" * 400000 + b"\n" + os.urandom(20000) + b"\n"
    body += decision(1750000000, "good@example.com").encode()
    log.write_bytes(body)
    out, _ = replay("-c", path, log)
    assert "recipient:{good@example.com}" in out
    assert not any(ord(c) < 32 and c != "\n" for c in out)


def test_what_the_log_did_not_tell_is_said(scratch):
    """Of each layer, in words and numbers, and the same in both forms."""
    path = write(scratch, "p.json", {})
    head = "mx postfix/smtpd[1]:"
    refused = "NOQUEUE: milter-reject: RCPT from unknown[192.0.2.1]: 450 4.2.1 no; from=<> to=<a@example.com> proto=ESMTP helo=<x>"
    log = write(scratch, "mail.log", f"""Nov 23 02:10:00 {head} {refused}
Nov 23 02:00:00 mx last message repeated 2 times
{head} {refused}
Nov 23 02:11:00 {head} AAAAA1: client=localhost[127.0.0.1]
Nov 23 02:11:00 mx postfix/qmgr[1]: AAAAA1: from=<SRS0=Ab1c=TT=x.example=joe@us.example>, size=1, nrcpt=1 (queue active)
Nov 23 02:11:00 mx postfix/lmtp[1]: AAAAA1: to=<b@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent (ok)
\t"MESSAGE" : "x",
""")
    told = report("-c", path, log)["log"]
    assert told["rcpts"] == 4
    assert told["frame"]["undated"] == 1 and told["frame"]["repeated"] == 2
    assert [(row["frame"], row["lines"]) for row in told["frame"]["unread"]] == [("JSON over several lines", 1)]
    assert told["clock"]["without_year"] == told["clock"]["without_zone"] == 5 and told["clock"]["back"] == 1
    assert told["clock"]["back_most_s"] == 600
    assert told["identity"]["from_this_host"] == 1 and told["identity"]["sender_from_queue"] == 1
    assert told["dropped"]["notes"] == []
    text = replay("-c", path, log)[0]
    for layer in ("frame", "clock", "identity"):
        assert told[layer]["notes"] and all(f"{layer}: {note}" in text for note in told[layer]["notes"]), layer
    assert "the sender before SRS of ours counts" in text


def test_frames_that_help_is_known_for(scratch):
    path = write(scratch, "p.json", {})
    for body, hint in (("LPKSHHRH\0\0\n", "journalctl --file"), ("postfix/smtpd[1]: NOQUEUE: x\n", "docker logs --timestamps"),
                       ("[   12.345678] mx postfix/smtpd[1]: x\n", "short-iso"), ("    _HOSTNAME=mx\n", "short-iso")):
        assert hint in replay("-c", path, write(scratch, "odd.log", body), check=1)[1]


def test_exit_statuses(scratch):
    path = write(scratch, "p.json", {})
    log = write(scratch, "mail.log", decision(1750000000, "a@example.com"))
    assert "no RCPT was found" in replay("-c", path, path, check=1)[1]
    assert "cannot be read" in replay("-c", path, log, scratch / "missing.log", check=66)[1]
    assert "directory" in replay("-c", path, scratch.path, check=66)[1]
    cut = scratch / "cut.gz"
    cut.write_bytes(gzip.compress(os.urandom(20000))[:9000])
    assert "ends in its middle" in replay("-c", path, cut, check=66)[1]
    assert "missing.json" in replay("-c", scratch / "missing.json", log, check=78)[1]
    replay("-c", path, "--against", write(scratch, "bad.json", "{"), log, check=78)
    replay("-c", path, check=64)
    replay("-c", path, "-n", "many", log, check=64)
    broken = scratch / "aliases.db"
    broken.write_text("this is no database, but long enough to be looked at" * 20)
    damaged = write(scratch, "damaged.json", {"aliases": {"database": str(broken)}})
    assert "--no-aliases" in replay("-c", damaged, log, check=78)[1]
    replay("-c", damaged, "--no-aliases", log)


def test_many_lines_and_progress(scratch):
    """A terminal shows how far it is."""
    path = write(scratch, "p.json", {"limits": LIMITS})
    lines = []
    for i in range(40000):
        lines.append(decision(1750000000 + i // 10, f"a{i % 5000}@example.com", client=f"192.0.2.{i % 250}"))
        lines.append(f"2025-06-15T15:06:40Z mx postfix/smtpd[1]: connect from unknown[192.0.2.{i % 250}]\n" * 9)
    log = "".join(lines).encode()
    assert "400000 lines, 40000 RCPTs" in replay("-c", path, "-", data=log)[0]

    def feed(stdin):
        for _ in range(2):
            stdin.write(log[:1000000])
            stdin.flush()
            time.sleep(0.3)
        stdin.write(log)

    status, out, terminal = run_on_a_terminal([RCPTGATE, "replay", "-c", str(path), "-"], feed, env=dict(os.environ, **SANITIZERS))
    assert status == 0 and " RCPTs from " in out and b" lines" in terminal and terminal.endswith(b"\x1b[K")
