"""Rows 63-68, 73, 77: abuse. What one sender does to one recipient is felt by nobody else, and nothing grows without bound."""

import re
import statistics
import struct
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import harness
from fault_table import record, recovers
from flood import flood, tally
from flood_delay import MAX, Measurement
from harness import PRELOADS, SANITIZED, MilterClient, World, wait_for
from load import Load, times


# ------------------------------------------------------------------------------------------------------ row 63

def test_row63_one_recipient_flooded():
    """The goal is 1.2 for the median over many rounds (flood_delay.py alone). Here the load of others must not fail it, so that one
    round that shows no delay is enough."""
    seen = []
    for _ in range(4):
        measured = Measurement(times(8, 2), 3.0).run()
        assert measured.answers["spread"].keys() == {250}
        assert measured.answers["flood"][250] == measured.rounds * MAX // 2, "the flood gets half of what there is"
        assert measured.answers["flood"][550] > 0, "a soft refusal that goes on becomes a hard one"
        assert measured.accepted == [MAX // 2] * measured.rounds, "the other sources get the other half"
        medians, p99s = measured.ratios(0.5), measured.ratios(0.99)
        seen += zip(medians, p99s)
        if any(median < 1.5 and p99 < 3 for median, p99 in seen):
            break
    else:
        raise harness.Failure(f"mail to others is slower beside a flood, by factors of (median, p99) {seen}")
    record(63, "one recipient flooded from one client", f"delay of others' mail beside it, of that beside a spread load: median "
           f"{statistics.median(medians):.2f}, p99 {statistics.median(p99s):.2f}; its other sources get the half that is theirs")


# ------------------------------------------------------------------------------------------------------ row 64

@pytest.fixture()
def clock(tmp_path, monkeypatch):
    """clock(600): from now on it is ten minutes later, for the gates and Redis alike."""
    offset, late = tmp_path / "clockshift", 0
    offset.write_bytes(struct.pack("=q", 0))
    tmp_path.chmod(0o755)
    monkeypatch.setenv("LD_PRELOAD", str(PRELOADS / "clockshift.so"))
    monkeypatch.setenv("CLOCKSHIFT", str(offset))

    def later(seconds):
        nonlocal late
        late += seconds
        with open(offset, "r+b") as out:
            out.write(struct.pack("=q", late))

    return later


TOLD_S = 1.5  # by then each gate has told the others whom it deferred; a minute before it matters, but here the clock jumps


class Herd:
    """Messages of many clients that are tried until they are taken, each time by the other gate."""

    def __init__(self, world, messages, clients=100, sessions=20):
        self.world, self.tries, self.sessions = world, 0, sessions
        each = messages // clients
        self.waiting = {f"198.51.100.{c + 1}": [(f"s{i}@c{c}.example", f"r{i}@example.com") for i in range(each)]
                        for c in range(clients)}

    def __len__(self):
        return sum(map(len, self.waiting.values()))

    def release(self):
        """All that wait are tried at once; those that were not taken wait again. How often each answer was given."""
        self.tries += 1
        gates, clients = self.world.gates, list(self.waiting)
        said = {}
        for at in range(0, len(clients), self.sessions):
            some = clients[at:at + self.sessions]
            shares = [(gates[(i + self.tries) % len(gates)], client, self.waiting[client]) for i, client in enumerate(some)]
            said.update(zip(some, flood(shares, send=True, seen=False)))
        for client, answers in said.items():
            self.waiting[client] = [pair for pair, answer in zip(self.waiting[client], answers) if answer != "continue"]
        return tally(said.values())


def remembered_of(world, wanted):
    """How many retries Redis knows, once it was told."""
    end = time.monotonic() + 5
    while remembered_now(world) < wanted and time.monotonic() < end:
        time.sleep(0.1)
    return remembered_now(world)


def remembered_now(world):
    return sum(world.redis.call("HLEN", key) for key in world.redis.keys("rcptgate:retries:*"))


def attempts_counted(world):
    return sum(world.redis.used(key, "tries") for key in world.redis.keys("rcptgate:client:*"))


@pytest.mark.skipif(SANITIZED, reason="a preloaded library must not come before the sanitizer's")
@pytest.mark.parametrize("outage", ["counters", "aliases"])
def test_row64_herd_of_retries(outage, clock):
    """Nothing but attempts could answer hard here: no client may try more often than it has messages, and then is held."""
    messages = times(100000, 5000)
    each = messages // 100
    allowed = each // 10 if outage == "counters" else each + each // 10  # the first tries are counted where Redis is well
    limits = [{"name": "herd", "per": "all", "max": messages // 2, "window": "1m", "ramp": "10m"},
              {"name": "tries", "per": "client", "count": "attempts", "max": allowed, "window": "1d", "over": "reject",
               "hold": "1d"}]
    counters = {"when_down": "defer", "timeout": "10s"}  # a busy machine is no outage
    with World("redis", limits, gates=2, mta=False, counters=counters, domains=[]) as world:
        herd = Herd(world, messages)
        if outage == "counters":
            world.database.domain("example.com", catch_all="accept")
            world.settled()
            world.redis.stop()
        else:  # before the domain is there: the last good copy does not know it
            away = world.database.path.with_name("away")
            world.database.path.rename(away)
        for gate in world.gates:
            wait_for(lambda: f"event={outage}-trouble" in gate.log(), "the outage is noticed")
        assert herd.release() == {"451 4.3.0": messages}
        clock(900)
        if outage == "counters":
            world.redis.start()
        else:
            away.rename(world.database.path)
            world.database.domain("example.com", catch_all="accept")
        for gate in world.gates:
            wait_for(lambda: f"because={outage}" in gate.log(), "the ramp begins")
            wait_for(lambda: f"event={outage}-well" in gate.log(), "the outage is over")
            wait_for(lambda: gate.status(do="explain", to="r@example.com")["counts"] == "", "Redis counts again")
        world.settled()
        remembered = remembered_of(world, messages)
        rounds, let_in, began = 0, [], time.monotonic()
        while len(herd):
            answers = herd.release()
            assert set(answers) <= {"continue", "451 4.3.2", "450 4.2.1"}, answers
            let_in.append(answers["continue"])
            rounds += 1
            if rounds == 1:
                minutes = (time.monotonic() - began) / 60
            time.sleep(TOLD_S)
            clock(180)
            assert rounds < 20
        anew = attempts_counted(world) - (messages if outage == "aliases" else 0)
        assert let_in[0] <= messages // 2 * (0.12 + 0.09 * minutes) * (1 + minutes), "the ramp holds the herd"
        assert rounds > 2
        assert remembered >= messages * 0.99 and anew <= messages * 0.01
        record(64, f"{messages:,} retries at once after an outage ({outage}), two gates",
               f"let in by and by: {let_in}; {remembered:,} remembered, {anew} counted anew")


# ------------------------------------------------------------------------------------------------------ row 65

def test_row65_four_clients_while_redis_is_down():
    """Two are blocked, one before and one during the outage; one is held softly, one hard. A fifth sends its mail."""
    limits = [{"name": "fast", "per": "client", "count": "attempts", "max": 100, "window": "2s", "over": "defer", "hold": "1h"},
              {"name": "abuse", "per": "client", "count": "attempts", "max": 1000, "window": "1h", "over": "reject", "hold": "1h"}]
    known, new, soft, hard = (f"203.0.113.{i}" for i in range(1, 5))
    with World("redis", limits, gates=2, mta=False, domains=[], counters={"timeout": "100ms"}) as world:
        first, second = world.gates
        world.database.domain("example.com", catch_all="accept")

        def say(client, n, gate=first):
            pairs = [(f"bob{i}@sender.example", f"r{i}@example.com") for i in range(n)]
            return tally(flood([(gate, client, pairs)]))

        assert say("192.0.2.1", 10) == {"continue": 10}
        first.command("block", known, "--reason", "flood")
        wait_for(lambda: say(known, 1, second) == {"refused": 1}, "the block is on both", 5)
        world.redis.stop()
        wait_for(lambda: "event=counters-trouble" in first.log(), "the outage is noticed")
        first.command("block", new)
        with Load(first.socket, ["a@example.com"], n=1, pause=0.05) as others:
            first.status(forget_longest=True)
            assert say(known, 1) == say(new, 1) == {"refused": 1}, "known here, and at once"
            floods = flood([(first, client, [(f"bob@{client}.example", f"r{i}@example.com") for i in range(n)])
                            for client, n in ((known, 3000), (new, 3000), (soft, 900), (hard, 3000))])
            assert tally(floods[:2]) == {"refused": 6000}
            assert tally(floods[2:3]) == {"continue": 100, "450 4.2.1": 800}
            assert tally(floods[3:]) == {"continue": 100, "450 4.2.1": 900, "550 5.7.1": 2000}
            time.sleep(2.5)
            assert say(soft, 5) == {"450 4.2.1": 5}, "held, although the window is over"
            assert say(hard, 5) == {"refused": 5}, "from the next connection on"
        assert others.statuses("a@example.com") == {"continue"} and others.served("a@example.com") > 20
        assert first.status()["traffic"]["decision_max_ms"] < 2 * 100
        world.redis.start()
        for client, answer in ((known, "refused"), (new, "refused"), (hard, "refused"), (soft, "450 4.2.1")):
            recovers(lambda: say(client, 1, second) == {answer: 1}, f"{client} is stopped on the other host too", 10)
        record(65, "four clients flood while Redis is down", "blocked: 554 at connect; held: 450, then 550; others' mail goes on")


# ------------------------------------------------------------------------------------------------------ row 66

@pytest.mark.parametrize("store", ["redis", "memory"])
def test_row66_rcpt_and_rset(store):
    """Six sessions never hold more than six of ten at a time; four are for real senders, whenever they come, and no trace is left."""
    rounds = times(100000, 10000)
    victim, max_ = "victim@example.com", 10
    with World(store, [{"name": "ten", "per": "recipient", "max": max_, "window": "1d", "over": "reject"}]) as world:
        world.database.alias(victim)
        answers = {}

        def by_milter():
            pairs = [(f"s{i}@sender.example", victim) for i in range(rounds // 5)]
            answers["milter"] = tally(flood([(world.gate, f"203.0.113.{i}", pairs) for i in range(5)]))

        def by_smtp():
            with world.smtp("203.0.113.9") as smtp:
                said = Counter()
                for i in range(rounds // 20):
                    smtp.mail(f"s{i}@sender.example")
                    said[smtp.rcpt(victim).status] += 1
                    smtp.rset()
                answers["smtp"] = said

        attackers = [threading.Thread(target=work) for work in (by_milter, by_smtp)]
        for thread in attackers:
            thread.start()
        for i in range(4):
            time.sleep(0.1)
            with world.smtp(f"192.0.2.{i + 1}") as smtp:
                said, done = smtp.send([victim], token=f"real-{i}")
                assert (said[0].code, done.code) == (250, 250)
        for thread in attackers:
            thread.join()
        # who hammers may meet what the others are about to give back
        assert set(answers["milter"]) <= {"continue", "450 4.2.1"} and answers["milter"]["continue"] > rounds / 2
        assert set(answers["smtp"]) <= {"250 2.1.5", "450 4.2.1"}
        wait_for(lambda: world.used(victim, "ten") == 4, "all was given back", 2)
        for i in range(4, max_):
            with world.smtp(f"192.0.2.{i + 1}") as smtp:
                assert smtp.send([victim], token=f"real-{i}")[1].code == 250
        with world.smtp("192.0.2.99") as smtp:
            smtp.mail()
            assert smtp.rcpt(victim).status == "550 5.7.1"
        world.idle()
        assert all(world.sink.of(f"real-{i}") == [victim] for i in range(max_))
        record(66, f"{rounds:,} times RCPT and RSET for a victim ({store})", f"the victim got its {max_} messages")


# ------------------------------------------------------------------------------------------------------ row 67

def counters(world, pattern="rcptgate:*"):
    """Without those of the mail that always flows."""
    return [key for key in world.redis.keys(pattern) if "post.example" not in key]


def resident_mb(process):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()).group(1)) / 1024


def redis_mb(redis):
    return int(re.search(r"used_memory:(\d+)", redis.call("INFO", "memory")).group(1)) / 2**20


def test_row67_made_up_recipients():
    """Catch-all, glob and unknown, each third; memory is flat from the first half to the second."""
    recipients = times(1000000, 48000) // 24 * 24
    limits = [{"name": "minute", "per": "recipient", "max": 10, "window": "1m"},
              {"name": "day", "per": "recipient", "max": 10**6, "window": "1d", "over": "reject"},
              {"name": "pair", "per": ["recipient", "client"], "max": 5, "window": "1h"},
              {"name": "harvest", "per": "client", "count": "attempts", "max": 10**9, "window": "1h",
               "when": {"unknown": True}},
              {"name": "tries", "per": "recipient_domain", "count": "attempts", "max": 10**9, "window": "1h"}]
    with World("redis", limits, mta=False, domains=["closed.example", "glob.example"]) as world:
        world.database.domain("all.example", catch_all="accept")
        world.database.glob("glob.example", "x-*")
        gate, redis = world.gate, world.redis
        shapes = ("{}@all.example", "x-{}@glob.example", "{}@closed.example")

        def made_up(first, n):
            """By four clients at the same time."""
            each = n // 4
            return tally(flood([(gate, f"203.0.113.{c + 1}", [("bob@sender.example", shapes[i % 3].format(i)) for i in
                                                            range(first + c * each, first + (c + 1) * each)])
                                for c in range(4)], send=True, seen=False))

        before = redis_mb(redis), resident_mb(gate.process)
        began = time.monotonic()
        answers = made_up(0, recipients // 2)
        keys_half, half = len(counters(world)), (redis_mb(redis), resident_mb(gate.process))
        answers += made_up(recipients // 2, recipients // 2)
        minutes = (time.monotonic() - began) / 60
        keys, after = len(counters(world)), (redis_mb(redis), resident_mb(gate.process))
        assert set(answers) == {"continue", "450 4.2.1", "550 5.1.1"}, answers
        assert answers["550 5.1.1"] == recipients // 3, "every unknown one, and no other"
        assert not redis.keys("*closed.example*|*") and not redis.keys("*recipient:{*@closed.example}")
        retries = 2 * 64  # the hashes of two half-days
        assert keys <= 2 * 1000 * (int(minutes) + 1) + retries + 50, f"{keys} keys after {minutes:.1f} minutes"
        assert after[0] - before[0] < 64, "Redis"
        if not SANITIZED:
            assert after[1] - before[1] < 150, "the gate"
            assert after[1] - half[1] < 0.2 * (half[1] - before[1]) + 16, "flat"
        record(67, f"{recipients:,} made-up recipients in {minutes * 60:.0f} s",
               f"{keys_half:,} keys after half, {keys:,} at the end; Redis {before[0]:.0f}, {half[0]:.0f}, {after[0]:.0f} MB; "
               f"gate {before[1]:.0f}, {half[1]:.0f}, {after[1]:.0f} MB")


# ------------------------------------------------------------------------------------------------------ row 68

def hostile():
    """What stands between < and >, as bytes: every byte in every place, and what breaks lines, keys, formats or buffers elsewhere."""
    for byte in range(1, 256):
        b = bytes([byte])
        for form in (b"a%cb@example.com", b'"a%cb"@example.com', b'"a\\%cb"@example.com', b"ab@exa%cmple.com", b"%c@example.com"):
            yield form.replace(b"%c", b)
    yield from (word + b"@example.com" for word in (
        b"a\r\nverdict=accept", b"a\nqueue=- client=192.0.2.1 verdict=accept", b'"a\r\n.\r\nRCPT TO:<b@example.com>"',
        b'x"_verdict=accept_reply="250', b'"x\\" verdict=accept reply=\\"250 2.0.0"', b"%s%n%999999d", b"%{limit}%{used}", b"%0d%0a%00",
        b"${jndi:ldap://x}", b"a}|{b", b"{user@example.com}|192.0.2.1", b"a*?[b", b"../../etc/passwd", b"'; DROP TABLE aliases; --",
        b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "ﬀİı".encode(), b"\x1b[31m\x1b]0;x\x07",
        b"l" * 64, b"l" * 65, b"l" * 10240, b'"' + b"q " * 5120 + b'"', b"(" * 500 + b")" * 500, b'"' + b"\\" * 501 + b'"'))
    yield from (b"user@" + domain for domain in (
        b"d" * 10240, b"d." * 5120, b"[192.0.2.1]", b"[IPv6:::1]", "bücher.example".encode(), b"xn--0.example", b"-.example", b"..", b"a b",
        b"exam\xcc\x81ple.com", b"example.com%00.example", b"example.com\r\n"))
    yield from (b"@", b"a", b"@example.com", b"a@", b"a@b@example.com", b"a!b", b"@a,@b:c@example.com")


SPELLINGS = (b"user@example.com", b"USER@Example.COM", b'"user"@example.com', b'"us\\er"@example.com', b"user@example.com.", b"user+tag@example.com",
             b"@relay.example:user@example.com")
LOG_VALUE = r'(?:"(?:[^"\\]|\\.)*"|<[^<>\s]*>|(?![<"])\S*)'
LOG_LINE = re.compile(rf"(?:[a-z_]+={LOG_VALUE} )*[a-z_]+={LOG_VALUE}")


def check_log(gate):
    """Each line is whole, begins as the gate has it, and has no key twice. Returns how many decisions there are of this row."""
    gate.stop()  # all is written by then
    decisions = 0
    for line in gate.process.log_path.read_bytes().splitlines():
        text = line.decode("ascii")
        assert text.isprintable() and LOG_LINE.fullmatch(text), text
        keys = re.findall(r"(?:^| )([a-z_]+)=", text)
        assert keys[:1] == ["event"] or keys[:4] == ["queue", "client", "from", "to"], text
        assert len(keys) == len(set(keys)), text
        decisions += keys[0] == "queue" and "@post.example>" not in text
    return decisions


def check_reply(line):
    """line: as it goes out, without its CR LF."""
    assert re.fullmatch(r"[245]\d\d[ -](?:[245]\.\d{1,3}\.\d{1,3} )?[ -~]*", line) and len(line) <= 510, line


@pytest.fixture()
def mail():
    """Replies say who and from whom; the second limit makes any RCPT one that is refused with such a reply."""
    reply = "550 5.7.1 <%{recipient}> from <%{sender}> via %{client} no more"
    limits = [{"name": "count", "per": "recipient", "max": 10**6, "window": "1m"},
              {"name": "closed", "per": ["recipient", "sender"], "max": 0, "window": "1m", "over": "reject", "reply": reply,
               "when": {"sender_domain": "closed.example"}}]
    replies = {"invalid": "553 5.1.3 <%{recipient}> from <%{sender}> is no address"}
    with World("redis", limits, domains=[], replies=replies, counters={"max_new_subjects": 10**6, "timeout": "1s"}) as world:
        world.database.domain("example.com", catch_all="accept")
        world.keys = lambda: counters(world, "rcptgate:recipient:*")
        yield world


def check_keys(raw, keys, accepted):
    assert len(keys) <= 1 and (keys or not accepted), (raw, keys)
    assert all(re.fullmatch(r"rcptgate:recipient:\{[^{}| ]+\}", key) and key.isascii() and key.isprintable() for key in keys), keys


def test_row68_hostile_addresses_of_a_milter_client(mail):
    """What no Postfix would pass on, too: line ends, raw bytes; as recipient and as sender; with {rcpt_addr} and without."""
    asked = refused = 0
    with mail.milter() as milter:
        milter.connect("192.0.2.1")
        for raw in hostile():
            sender = raw.replace(b"@example.com", b"@closed.example")
            for from_, macros in ((b"bob@sender.example", True), (b"bob@sender.example", False), (sender, True), (b"x@closed.example", True)):
                mail.redis.call("FLUSHALL")
                milter.ask(b"M", b"<" + from_ + b">\0")
                answer = milter.rcpt(b"<" + raw + b">", with_macros=macros, **({"rcpt_addr": raw} if macros else {}))
                asked += 1
                assert answer.kind in ("continue", "reply"), (raw, answer)
                if answer.kind == "reply":
                    refused += 1
                    check_reply(answer.text)
                    assert answer.status in ("553 5.1.3", "451 4.3.0", "550 5.7.1"), (raw, answer)
                check_keys(raw, mail.keys(), answer.kind == "continue")
                milter.abort()
        mail.redis.call("FLUSHALL")
        for raw in SPELLINGS:
            milter.mail()
            assert milter.rcpt(b"<" + raw + b">", rcpt_addr=raw).kind == "continue", raw
            milter.eom()
    assert mail.keys() == ["rcptgate:recipient:{user@example.com}"] and mail.used("user@example.com", "count") == len(SPELLINGS)
    assert refused > asked // 10
    assert check_log(mail.gate) == asked + len(SPELLINGS)
    record(68, f"{asked:,} hostile RCPTs of a milter client", f"one key or 553: {refused:,} refused; every line whole")


def test_row68_hostile_addresses_through_postfix(mail):
    """As far as SMTP lets them. Postfix refuses some by itself; the session stays in step."""
    asked = 0
    with mail.smtp() as smtp:
        for raw in hostile():
            if b"\r" in raw or b"\n" in raw:
                continue  # the end of the command: what follows would be another one
            for sender in "bob@sender.example", "x@closed.example":
                mail.redis.call("FLUSHALL")
                assert smtp.mail(sender).code == 250
                reply = smtp.rcpt(b"<" + raw + b">")
                for line in reply.lines:
                    check_reply(line)
                check_keys(raw, mail.keys(), False)
                assert smtp.rset().code == 250, raw
                asked += 1
    logged = check_log(mail.gate)
    assert asked // 4 < logged <= asked
    record(68, f"{asked:,} hostile RCPTs through Postfix", f"one key or 553; {logged:,} reached the gate; every line whole")


# ------------------------------------------------------------------------------------------------------ row 73

class Pool:
    """Messages of one big sender, each tried again from another address and by the other gate."""

    def __init__(self, world, messages):
        self.world, self.messages, self.tries, self.address = world, messages, 0, 0

    def try_all(self, same_address=False):
        self.tries += 1
        self.address += not same_address
        said = Counter()
        for g, gate in enumerate(self.world.gates):
            with MilterClient(gate.socket) as m:
                m.connect(f"203.0.113.{self.address}")
                for i in range(self.messages):
                    if (i + self.tries) % 2 == g:
                        m.mail(f"<s{i}@sender.example>")
                        said[m.rcpt(f"<r{i}@example.com>").status] += 1
        return said

    def noted(self):
        """Redis knows all that was deferred just now."""
        mine = f".{self.address}"
        wait_for(lambda: sum(text.endswith(mine) for text in self.texts()) == self.messages, "Redis is not told who was deferred")

    def texts(self):
        for key in self.world.redis.keys("rcptgate:retries:*"):
            yield from self.world.redis.call("HGETALL", key)[1::2]


@pytest.mark.skipif(SANITIZED, reason="a preloaded library must not come before the sanitizer's")
@pytest.mark.parametrize("because", ["stale aliases", "a defer row"])
def test_row73_retries_from_a_pool(because, clock):
    """Alias data alone answers 4xx, and what comes again could be answered hard by limits on attempts that no such RCPT has met: one
    attempt is all that each subject may have."""
    stale = because == "stale aliases"
    limits = [{"name": per, "per": per, "count": "attempts", "max": 1, "window": "1d", "over": "reject", "hold": "1d"}
              for per in (["recipient", "sender"] if stale else ["recipient", "mailbox", "owner", "sender"])]
    messages = times(1000, 100)
    with World("redis", limits, gates=2, mta=False, domains=[]) as world:
        database, away = world.database, world.database.path.with_name("away")
        database.domain("example.com", catch_all="accept")
        if stale:
            database.path.rename(away)
            for gate in world.gates:
                wait_for(lambda: "event=aliases-trouble" in gate.log(), "the outage is noticed")
        else:
            for i in range(messages):
                database.alias(f"r{i}@example.com", mailbox=f"m{i}@mailbox.example", owner=f"o{i}", action="defer")
        pool, answers = Pool(world, messages), Counter()
        for _ in range(4):
            answers += pool.try_all()
            pool.noted()
        clock(120)
        answers += pool.try_all(same_address=True)
        assert answers == {"451 4.3.0" if stale else "450 4.2.1": 5 * messages}
        if stale:
            away.rename(database.path)
        else:
            database.run("UPDATE aliases SET action = 'accept'")
        wait_for(lambda: world.gates[0].status(do="explain", to="r0@example.com")["verdict"] == "accept", "the fault is over")
        wait_for(lambda: world.gates[1].status(do="explain", to="r0@example.com")["verdict"] == "accept", "the fault is over")
        pool.noted()
        for _ in range(5):
            assert pool.try_all() == {"continue": messages}, "each answer of 4xx lets one pass"
        counted = [key for limit in limits for key in world.redis.keys(f"rcptgate:{limit['per']}:*")]
        assert not counted, "attempts were counted"
        assert pool.try_all()["continue"] == messages, "the first attempt of each"
        assert pool.try_all() == {"550 5.7.1": messages}, "no more than those"
        record(73, f"retries of {messages:,} messages after {because}, from a pool of clients, two gates",
               f"{answers.total()} times 4xx, none counted")


# ------------------------------------------------------------------------------------------------------ row 77

@pytest.mark.parametrize("store", ["redis", "memory"])
def test_row77_made_up_senders_clients_and_pairs(store):
    """A full counter of a victim and a client's hold stand, whatever is made up; Redis has no more keys than the bounds allow."""
    new, bound, n = 20, 2000, times(700000, 24000) // 4
    limits = [{"name": "full", "per": "recipient", "max": 1, "window": "1d", "over": "reject",
               "when": {"recipient_domain": "victim.example"}},
              {"name": "held", "per": "client", "max": 1, "window": "1h", "over": "reject", "hold": "1d",
               "when": {"sender_domain": "flooder.example"}},
              {"name": "from", "per": "sender", "max": 5, "window": "1d", "over": "reject", "hold": "1d"},
              {"name": "sdom", "per": "sender_domain", "max": 10**6, "window": "1d"},
              {"name": "pair", "per": ["recipient", "sender"], "max": 10**6, "window": "1d"},
              {"name": "net", "per": "client", "max": 10**6, "window": "1d"},
              {"name": "share", "per": "host", "max": 10**9, "window": "1d", "share": {"of": "sender", "max": "50%", "above": "0%"}}]
    with World(store, limits, mta=False, domains=[], counters={"max_new_subjects": new, "local_subjects": bound}) as world:
        world.database.domain("victim.example", catch_all="accept")
        world.database.alias("a@example.com")
        world.database.domain("example.com")
        gate = world.gate

        def answer(client, sender, to):
            return flood([(gate, client, [(sender, to)])], send=True, seen=False)[0][0]

        def guard():
            return answer("198.51.100.1", "x@ok.example", "v@victim.example"), answer("198.51.100.9", "y@ok.example", "a@example.com")

        assert answer("198.51.100.1", "x@ok.example", "v@victim.example") == "continue"
        assert answer("198.51.100.9", "x@flooder.example", "a@example.com") == "continue"
        assert answer("198.51.100.9", "x@flooder.example", "a@example.com") == "550 5.7.1"
        assert guard() == ("550 5.7.1", "refused")
        began, answers = time.monotonic(), Counter()
        for part in range(10):
            some = range(part * n // 10, (part + 1) * n // 10)
            answers += tally(flood([(gate, f"2001:db8:{part:x}:{s:x}::1", [(f"s{i}@d{i}.example", "a@example.com") for i in some[s::4]])
                                    for s in range(4)], send=True, seen=False))
            assert guard() == ("550 5.7.1", "refused"), "what is full and what is held stays"
        minutes = int((time.monotonic() - began) / 60) + 1
        assert set(answers) <= {"continue", "450 4.2.1"}, "strangers who share a counter are never answered hard"
        keys = counters(world) if store == "redis" else []
        # 100 times as many senders, domains and clients each, as many pairs and shares of one first subject; and what is no stranger's
        most = minutes * (3 * 100 * new + 2 * new) + 200
        assert len(keys) <= most, f"{len(keys)} keys, at most {most}"
        what = "counters-local" if store == "redis" else "counters-evict"
        wait_for(lambda: any(e["what"] == what and "local_subjects" in e["text"]
                             for e in gate.status()["reasons"] + gate.status()["notes"]), "status does not say that it forgets")
        record(77, f"{n:,} made-up senders, domains and pairs ({store})", f"{answers['continue']:,} let in, {len(keys):,} keys")
