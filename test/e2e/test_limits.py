"""Limits as a sender meets them, with both stores: what is charged, what is given back, who is left alone."""

import json

import pytest

from harness import World, wait_for

WINDOW = "1h"  # longer than any test takes, however slow the machine is


def limits():
    return [
        {"name": "ten", "per": "recipient", "max": 10, "window": WINDOW, "over": "defer",
         "when": {"recipient_domain": "ten.example"}},
        {"name": "hard", "per": "recipient", "max": 2, "window": WINDOW, "over": "reject",
         "when": {"recipient_domain": "hard.example"}},
        {"name": "gone", "per": "recipient", "max": 2, "window": WINDOW, "over": "discard",
         "when": {"recipient_domain": "drop.example"}},
        {"name": "once-defer", "per": "recipient", "max": 1, "window": WINDOW, "over": "defer",
         "when": {"recipient_domain": "rank.example"}},
        {"name": "once-reject", "per": "owner", "max": 2, "window": WINDOW, "over": "reject",
         "when": {"recipient_domain": "rank.example"}},
        {"name": "pair", "per": ["recipient", "client"], "max": 2, "window": WINDOW, "over": "defer",
         "when": {"recipient_domain": "pair.example"}},
        {"name": "boxes", "per": "mailbox", "max": 3, "window": WINDOW, "over": "defer",
         "when": {"recipient_domain": "box.example"}},
        {"name": "msgs", "per": "client", "count": "messages", "max": 2, "window": WINDOW, "over": "defer",
         "when": {"client": "198.18.1.0/24"}},
        {"name": "volume", "per": "recipient", "count": "bytes", "max": "10kB", "window": WINDOW, "over": "defer",
         "when": {"recipient_domain": "bytes.example"}},
        {"name": "tries", "per": "client", "count": "attempts", "max": 5, "window": WINDOW, "over": "defer",
         "when": {"client": "198.18.2.0/24"}},
        {"name": "quiet", "per": "recipient", "max": 1, "window": WINDOW, "over": "reject", "shadow": True,
         "when": {"recipient_domain": "shadow.example"}},
        {"name": "fair", "per": "recipient", "max": 12, "window": WINDOW, "over": "defer",
         "share": {"of": "client", "max": "33%", "above": "0%"}, "when": {"recipient_domain": "share.example"}},
        {"name": "spoken", "per": "recipient", "max": 1, "window": WINDOW, "over": "defer",
         "reply": "451 4.7.1 100%% busy: %{recipient} from %{sender} used %{used} of %{max}, %{wait}",
         "when": {"recipient_domain": "reply.example"}},
        {"name": "nulls", "per": "recipient", "max": 1, "window": WINDOW, "over": "reject",
         "when": {"recipient_domain": "null.example"}},
        {"name": "users", "per": "user", "max": 1, "window": WINDOW, "over": "defer",
         "when": {"authenticated": True}},
        {"name": "users-sender", "per": ["user", "sender"], "max": 9, "window": WINDOW, "over": "defer"},
        {"name": "tripped", "per": "client", "max": 2, "window": WINDOW, "over": "defer", "hold": "1h",
         "when": {"client": "198.18.3.0/24", "recipient_domain": "hold.example"}},
        {"name": "strangers", "per": "client", "count": "attempts", "max": 3, "window": WINDOW, "over": "defer",
         "when": {"client": "198.18.4.0/24", "unknown": True}},
    ]


DOMAINS = ["ten", "hard", "drop", "rank", "pair", "box", "free", "bytes", "shadow", "share", "reply", "null", "hold"]


@pytest.fixture(scope="module", params=["redis", "cluster", "memory"])
def world(request):
    with World(request.param, limits(), domains=[f"{name}.example" for name in DOMAINS]) as w:
        w.database.domain("rank.example", owner="olga")
        for domain in DOMAINS:
            w.database.aliases([f"{name}@{domain}.example" for name in "abcdefghijklmnop"],
                               "box@mailbox.example")
        w.settled()
        yield w


def codes(answers):
    return [a.code for a in answers]


def send_one(world, recipient, client="192.0.2.1", **message):
    return world.send(recipient, client=client, **message)[0]


def test_ten_pass_and_the_eleventh_is_deferred(world):
    with world.smtp() as smtp:
        for i in range(10):
            answers, end = smtp.send(["a@ten.example"], token=f"ten-{i}")
            assert codes(answers) == [250] and end.code == 250
        answers, end = smtp.send(["b@ten.example", "a@ten.example", "c@free.example"], token="eleventh")
        assert [a.status for a in answers] == ["250 2.1.5", "450 4.2.1", "250 2.1.5"] and end.code == 250
    assert world.used("a@ten.example", "ten") == 10
    world.idle()
    assert world.sink.of("eleventh") == ["b@ten.example", "c@free.example"]
    assert sum(len(world.sink.of(f"ten-{i}")) for i in range(10)) == 10


def test_reject(world):
    assert [send_one(world, "a@hard.example").status for _ in range(3)] == ["250 2.1.5"] * 2 + ["550 5.7.1"]


def test_discard(world):
    ends = []
    with world.smtp() as smtp:
        for i in range(4):
            ends.append(smtp.send(["a@drop.example", "a@free.example"], token=f"over-{i}"))
    assert all(codes(answers) == [250, 250] and end.code == 250 for answers, end in ends)
    world.idle()
    assert [len(world.sink.of(f"over-{i}")) for i in range(4)] == [2, 2, 1, 1]


def test_the_hardest_answer_wins_and_nothing_else_is_charged(world):
    assert send_one(world, "a@rank.example").code == 250
    assert send_one(world, "a@rank.example").status == "450 4.2.1"
    assert world.used("olga", "once-reject", per="owner") == 1, "a refused RCPT charges none"
    assert send_one(world, "b@rank.example").code == 250
    assert send_one(world, "a@rank.example").status == "550 5.7.1"


def test_a_list_counts_each_combination(world):
    assert [send_one(world, "a@pair.example", "198.18.9.1").code for _ in range(3)] == [250, 250, 450]
    assert send_one(world, "a@pair.example", "198.18.9.2").code == 250
    assert send_one(world, "b@pair.example", "198.18.9.1").code == 250


def test_mailbox_is_shared_by_its_aliases(world):
    db = world.database
    for name in "abcd":
        db.alias(f"{name}@box.example", "x@mailbox.example,y@mailbox.example" if name == "a" else "x@mailbox.example")
    assert [send_one(world, f"{name}@box.example").code for name in "abcd"] == [250, 250, 250, 450]
    assert world.used("x@mailbox.example", "boxes", per="mailbox") == 3
    assert world.used("y@mailbox.example", "boxes", per="mailbox") == 1


def test_three_spellings_count_once_in_a_message(world):
    with world.smtp() as smtp:
        answers, end = smtp.send(["d@ten.example", "D@TEN.example", '"d"@ten.example'])
        assert codes(answers) == [250] * 3 and end.code == 250
        assert world.used("d@ten.example", "ten") == 1
        answers, end = smtp.send(["d@ten.example", "d+x@ten.example", "d+y@ten.example"])
        assert codes(answers) == [250] * 3 and end.code == 250
    assert world.used("d@ten.example", "ten") == 4, "each tag is mail of its own for the same mailbox"


def test_a_thousand_rounds_leave_nothing(world):
    late = 0
    with world.smtp() as smtp:
        for _ in range(1000):
            smtp.mail()
            while smtp.rcpt("e@ten.example").code == 450:  # what waits to be given back is given back first, by the deadline
                late += 1
            smtp.rset()
    assert late < 20
    wait_for(lambda: world.used("e@ten.example", "ten") == 0, "used is 0 again")


ENDINGS = {
    "quit": lambda smtp: smtp.close(),
    "hang up": lambda smtp: smtp.abandon(),
    "rset": lambda smtp: smtp.rset(),
    "helo": lambda smtp: smtp.command("EHLO again.example"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_given_back(world, ending):
    address = f"{'fghi'[list(ENDINGS).index(ending)]}@ten.example"
    smtp = world.smtp()
    smtp.mail()
    for _ in range(3):
        assert smtp.rcpt(address).code == 250
    wait_for(lambda: world.used(address, "ten") == 1, "it is charged at RCPT")
    ENDINGS[ending](smtp)
    if ending in ("rset", "helo"):
        # Postfix keeps an abort in its buffer until it has a question for the milter.
        smtp.mail()
        assert smtp.rcpt("a@free.example").code == 250
    wait_for(lambda: world.used(address, "ten") == 0, "given back within a second")
    smtp.abandon()


def test_what_ended_stays_charged(world):
    with world.smtp() as smtp:
        answers, end = smtp.send(["k@ten.example"])
        assert end.code == 250
        smtp.rset()
        smtp.mail()
        smtp.rset()
    assert world.used("k@ten.example", "ten") == 1


def test_messages_count_once_however_many_recipients(world):
    with world.smtp("198.18.1.1") as smtp:
        for _ in range(2):
            answers, end = smtp.send([f"{name}@free.example" for name in "abcdef"])
            assert codes(answers) == [250] * 6 and end.code == 250
        answers, end = smtp.send(["a@free.example"])
        assert answers[0].status == "450 4.2.1"


def test_bytes_are_settled_at_the_end(world):
    with world.smtp() as smtp:
        smtp.mail(options=" SIZE=20000")
        assert smtp.rcpt("a@bytes.example").status == "452 4.2.2", "declared too large"
        smtp.rset()
        answers, end = smtp.send(["a@bytes.example"], body="x" * 70 + "\r\n" + ("y" * 78 + "\r\n") * 60)
        assert codes(answers) == [250] and end.code == 250
        used = world.used("a@bytes.example", "volume")
        assert 4000 < used < 8000
        answers, end = smtp.send(["a@bytes.example"], body=("y" * 78 + "\r\n") * 90)
        assert codes(answers) == [250] and end.code == 250, "one message may overshoot"
        assert smtp.send(["a@bytes.example"])[0][0].status == "452 4.2.2"


def test_attempts_count_refused_ones_too(world):
    answers = []
    with world.smtp("198.18.2.1") as smtp:
        for i in range(7):
            smtp.mail()
            answers.append(smtp.rcpt(f"nobody{i}@free.example" if i < 3 else f"{'abcdefg'[i]}@free.example").code)
            smtp.rset()
    assert answers == [550, 550, 550, 250, 250, 450, 450]


def test_attempts_on_unknown_only(world):
    with world.smtp("198.18.4.1") as smtp:
        smtp.mail()
        for i in range(4):
            assert smtp.rcpt("a@free.example").code == 250
        seen = [smtp.rcpt(f"nobody{i}@free.example").code for i in range(5)]
        assert seen == [550] * 5, "the rule's own answer is the hardest"


def test_shadow_refuses_nothing(world):
    assert [send_one(world, "a@shadow.example").code for _ in range(4)] == [250] * 4
    wait_for(lambda: any("quiet" in line for line in world.gate.log().splitlines()), "but it is seen in the log")


def test_share(world):
    mine = [send_one(world, "a@share.example", "198.18.20.1").code for _ in range(6)]
    assert mine == [250] * 4 + [450] * 2
    others = [send_one(world, "a@share.example", f"198.18.20.{i}").code for i in range(2, 10)]
    assert others == [250] * 8
    assert send_one(world, "a@share.example", "198.18.20.11").code == 450
    assert world.used("a@share.example", "fair") == 12


def test_own_reply(world):
    assert send_one(world, "a@reply.example").code == 250
    reply = send_one(world, "a@reply.example", sender="50%off@sender.example")
    assert reply.status == "451 4.7.1"
    assert "a@reply.example from 50%off@sender.example used 1 of 1" in reply.text and "busy" in reply.text


def test_null_sender_gets_4xx_at_most(world):
    assert send_one(world, "a@null.example", sender="").code == 250
    assert send_one(world, "a@null.example", sender="").code == 450
    assert send_one(world, "a@null.example").status == "550 5.7.1"


def test_user(world):
    with world.smtp("192.0.2.50", login="joe") as smtp:
        assert [smtp.send([f"{n}@free.example"])[0][0].code for n in "ab"] == [250, 450]
    with world.smtp("192.0.2.50", login="ann") as smtp:
        assert smtp.send(["a@free.example"])[0][0].code == 250


def test_show_and_reset_take_a_login_as_it_is_written(world):
    login = "Ann+x@Corp.example"
    with world.smtp("192.0.2.51", login=login) as smtp:
        assert smtp.send(["n@free.example"])[0][0].code == 250

    def counted(subject):
        rows = json.loads(world.gate.command("show", subject, "--json"))["counters"]
        return [(row["key"], row["limit"]) for row in rows]

    folded = login.lower()
    wanted = [(f"user:{{{folded}}}", "users"), (f"user+sender:{{{folded}}}|bob@sender.example", "users-sender")]
    assert sorted(counted(login)) == sorted(counted(f"user:{login}")) == sorted(wanted)
    assert sorted(counted(f"user:{folded}")) == sorted(wanted)
    world.gate.command("reset", f"user:{login}")
    assert counted(login) == []


def test_hold_covers_all_that_the_client_sends(world):
    assert [send_one(world, "a@hold.example", "198.18.3.1").code for _ in range(3)] == [250, 250, 450]
    assert send_one(world, "a@free.example", "198.18.3.1").code == 450, "held, whatever `when` says"
    assert send_one(world, "a@free.example", "198.18.3.2").code == 250


def test_exempt_client_is_not_counted(world):
    with world.smtp(None) as smtp:
        for _ in range(12):
            assert codes(smtp.send(["l@ten.example"])[0]) == [250]
    assert world.used("l@ten.example", "ten") == 0


def test_refused_by_postfix_or_rules_is_not_charged(world):
    world.database.alias("m@ten.example", action="reject")
    with world.smtp() as smtp:
        smtp.mail()
        assert smtp.rcpt("m@ten.example").code == 550
        assert smtp.rcpt("nobody@ten.example").code == 550
    assert world.used("m@ten.example", "ten") == 0 and world.used("nobody@ten.example", "ten") == 0


def test_never_421(world):
    assert " 421 " not in world.postfix.log() and " 521 " not in world.postfix.log()


@pytest.mark.parametrize("store", ["redis", "cluster", "memory"])
def test_each_refusal_counts_once(store):
    """Also where a message has just ended, and the gate looks a second time at what was taken; and what it lets in then was none."""
    limits = [{"name": "few", "per": "recipient", "max": 2, "window": "1h", "over": "reject"}]
    with World(store, limits, mta=False) as world:
        world.database.aliases(["a@example.com", "b@example.com"])
        world.settled()

        def refused(address):
            rows = json.loads(world.gate.command("show", address, "--json"))["counters"]
            return sum(row["refused"] for row in rows)

        assert [world.take("a@example.com") for _ in range(6)] == ["continue"] * 2 + ["550 5.7.1"] * 4
        wait_for(lambda: refused("a@example.com") == 4, "four were refused")
        with world.milter() as m:
            m.connect()
            for i in range(3):
                m.mail()
                assert [m.rcpt(f"<b+{i}{j}@example.com>").status for j in range(2)] == ["continue"] * 2
                m.abort()
        assert refused("b@example.com") == 0
