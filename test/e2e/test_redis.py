"""What an operator sees in Redis, with redis-cli's eyes alone."""

import json
import re

import pytest

from harness import World, wait_for

LIMITS = [
    {"name": "minute", "per": "recipient", "max": 10, "window": "1h", "over": "defer"},
    {"name": "day", "per": "recipient", "max": 500, "window": "1d", "over": "reject"},
    {"name": "pair", "per": ["recipient", "client"], "max": 5, "window": "1h", "over": "defer"},
    {"name": "owner", "per": "owner", "max": 200, "window": "1h", "over": "defer"},
    {"name": "box", "per": "mailbox", "max": 60, "window": "1h", "share": {"of": "recipient", "max": "25%", "above": "50%"}},
    {"name": "box-domain", "per": "mailbox_domain", "max": 600, "window": "1h"},
    {"name": "sender", "per": "sender", "max": 600, "window": "1h"},
    {"name": "sender-domain", "per": "sender_domain", "max": 600, "window": "1h"},
    {"name": "domain", "per": "recipient_domain", "max": 600, "window": "1h"},
    {"name": "everything", "per": "all", "max": 100000, "window": "1h"},
    {"name": "here", "per": "host", "max": 100000, "window": "1h"},
    {"name": "tries", "per": "client", "count": "attempts", "max": 600, "window": "1h"},
    {"name": "volume", "per": "client", "count": "bytes", "max": "1GB", "window": "31d"},
    {"name": "globbed", "per": "recipient", "max": 100, "window": "1h", "when": {"catch_all": True}},
]


@pytest.fixture(scope="module")
def running():
    with World("redis", LIMITS, counters={"max_new_subjects": 20}) as w:
        w.database.domain("example.com", owner="alice")
        w.database.domain("catch.example", catch_all="accept")
        for name in "abcd":
            w.database.alias(f"{name}@example.com")
        w.database.alias("we{i}rd|x@example.com")
        w.settled()
        yield w


@pytest.fixture()
def world(running):
    """The same for every test, with empty counters."""
    running.redis.call("FLUSHALL")
    return running


def send(world, *recipients, client="192.0.2.7"):
    return [answer.code for answer in world.send(*recipients, client=client)]


def test_names_and_numbers(world):
    assert send(world, "a@example.com") == [250]
    assert send(world, "a@example.com") == [250]
    redis = world.redis
    fields = redis.fields("rcptgate:recipient:{a@example.com}")
    assert re.match(r"2/10( |$)", fields["minute"]) and re.match(r"2/500( |$)", fields["day"])
    for key, limit, used in [("recipient+client:{a@example.com}|192.0.2.7", "pair", 2),
                             ("owner:{alice}", "owner", 2), ("mailbox:{box@mailbox.example}", "box", 2),
                             ("mailbox_domain:{mailbox.example}", "box-domain", 2),
                             ("sender:{bob@sender.example}", "sender", 2),
                             ("sender_domain:{sender.example}", "sender-domain", 2),
                             ("recipient_domain:{example.com}", "domain", 2), ("all:{*}", "everything", 2),
                             ("client:{192.0.2.7}", "tries", 2)]:
        assert redis.used(f"rcptgate:{key}", limit) == used, key
    assert redis.used("rcptgate:client:{192.0.2.7}", "volume") > 100
    hosts = redis.keys("rcptgate:host:*")
    assert len(hosts) == 1 and re.fullmatch(r"rcptgate:host:\{[^{}]+\}", hosts[0])


def test_every_key_expires(world):
    send(world, "a@example.com", "b@example.com", "x@catch.example", "nobody@example.com")
    keys = [k for k in world.redis.keys("*") if not re.match(r"rcptgate:(events|blocks)$", k)]
    assert len(keys) > 10
    for key in keys:
        assert world.redis.call("PTTL", key) > 0, key


def test_a_refused_alias_makes_no_key_of_its_own(world):
    assert send(world, "nobody@example.com") == [550]
    assert not [k for k in world.redis.keys() if "nobody" in k]


def test_strange_bytes_are_encoded(world):
    assert send(world, "we{i}rd|x@example.com") == [250]
    assert world.redis.used("rcptgate:recipient:{we%7Bi%7Drd%7Cx@example.com}", "minute") == 1


def test_ipv6_client_is_its_network(world):
    assert send(world, "a@example.com", client="2001:db8:1:2:3::4") == [250]
    assert world.redis.keys("rcptgate:client:{2001:db8:1:2::/64}")


def test_del_resets(world):
    for i in range(10):
        assert send(world, "a@example.com", client=f"198.18.0.{i + 1}") == [250]
    assert send(world, "a@example.com") == [450]
    world.redis.call("DEL", "rcptgate:recipient:{a@example.com}")
    wait_for(lambda: send(world, "a@example.com") == [250], "DEL resets within a second")
    assert world.redis.used("rcptgate:recipient:{a@example.com}", "minute") >= 1


def test_deleted_meanwhile_is_not_given_back_twice(world):
    smtp = world.smtp()
    smtp.mail()
    assert smtp.rcpt("b@example.com").code == 250
    world.redis.call("DEL", "rcptgate:recipient:{b@example.com}")
    assert send(world, "b@example.com") == [250]
    smtp.abandon()
    with world.smtp() as other:
        other.mail()
        other.rset()
    wait_for(lambda: world.redis.used("rcptgate:recipient+client:{b@example.com}|192.0.2.1", "pair") == 0,
             "the first charge is given back")
    assert world.redis.used("rcptgate:recipient:{b@example.com}", "minute") == 1


def test_a_message_is_given_back_with_one_call(world):
    """Four recipients under a dozen limits each: to give back takes no longer than for one; but where the machine is busy just then."""
    keys = [f"rcptgate:recipient:{{{name}@example.com}}" for name in "abcd"]
    with world.milter() as milter:
        milter.connect()

        def given_back_at_once():
            milter.mail()
            for name in "abcd":
                assert milter.rcpt(f"{name}@example.com").kind == "continue"
            assert [world.redis.used(key, "day") for key in keys] == [1, 1, 1, 1]
            with world.redis.overheard() as asked:
                milter.abort()
                wait_for(lambda: [world.redis.used(key, "day") for key in keys] == [0, 0, 0, 0], "it is not given back")
            calls = [line for line in asked if re.search(r'\] "eval(sha)?"', line, re.I) and any(key in line for key in keys)]
            return len(calls) == 1 and all(key in calls[0] for key in keys)

        wait_for(given_back_at_once, "never with one call")


def test_catch_all_makes_few_new_keys(world):
    """However many limits a stranger's recipient meets, it makes at most max_new_subjects keys a minute."""
    for i in range(14):
        assert send(world, f"new{i}@catch.example", client=f"198.18.1.{i + 1}") == [250]
    keys = [k for k in world.redis.keys() if re.search(r"new\d+@catch", k)]
    assert 10 <= len(keys) <= 20, keys
    recipients = [k for k in world.redis.keys("rcptgate:recipient:*") if "catch.example" in k]
    assert sum(world.redis.used(k, "globbed") for k in recipients) == 14, "the others share one key"
    assert [k for k in recipients if "new" not in k]


def test_show_and_reset(world):
    send(world, "c@example.com")
    shown = world.gate.command("show", "c@example.com")
    assert "minute" in shown and "1/10" in shown.replace(" ", "")
    world.gate.command("reset", "c@example.com", "--limit", "minute")
    assert world.redis.used("rcptgate:recipient:{c@example.com}", "minute") == 0
    assert world.redis.used("rcptgate:recipient:{c@example.com}", "day") == 1
    world.gate.command("reset", "c@example.com")
    assert world.redis.used("rcptgate:recipient:{c@example.com}", "day") == 0


def all_counters(redis):
    """The stream of events, and what a gate remembers of itself, come and go by themselves."""
    return {key: redis.fields(key) for key in redis.keys("rcptgate:*:{*") if redis.call("TYPE", key) == "hash"}


def test_explain_charges_nothing(world):
    before = all_counters(world.redis)
    said = world.gate.command("explain", "--to", "d@example.com", "--from", "bob@sender.example",
                              "--client", "192.0.2.9")
    assert "minute" in said and "accept" in said
    said = world.gate.command("explain", "--to", "nobody@example.com", "--client", "192.0.2.9")
    assert "5.1.1" in said
    assert all_counters(world.redis) == before


def test_explain_of_no_address(world):
    said = world.gate.command("explain", "--to", "a..b@example.com")
    assert "no valid address" in said and "553 5.1.3" in said


def test_explain_of_a_sender_that_is_no_address(world):
    """Postfix lets some by, and the gate counts them."""
    said = world.gate.command("explain", "--to", "d@example.com", "--from", "a..b@sender.example", "--json")
    report = json.loads(said)
    assert (report["sender"], report["sender_invalid"], report["verdict"]) == ("a..b@sender.example", True, "accept")
    assert "<a..b@sender.example> (no valid address)" in world.gate.command(
        "explain", "--to", "d@example.com", "--from", "a..b@sender.example")


def test_arguments_that_are_not_utf8_are_named(world):
    bad = "\udcff"  # one byte, 0xff
    for words in (("show", bad), ("reset", bad), ("explain", "--to", f"{bad}@example.com"), ("top", "--limit", bad),
                  ("block", "198.51.100.9", "--reason", bad)):
        assert "not UTF-8" in world.gate.command(*words, check=64)
    assert "0 networks blocked, 1 refused" in world.gate.command("block", bad, check=1)


def test_whose_prefix_begins_as_ours_keeps_its_counters(world):
    ours = "recipient+client:{a@example.com}|192.0.2.1"
    send(world, "a@example.com", client="192.0.2.1")
    theirs = f"rcptgate:other:{ours}"
    for field, text in world.redis.fields(f"rcptgate:{ours}").items():
        world.redis.call("HSET", theirs, field, text)
    assert "other:" not in world.gate.command("top") + world.gate.command("show", "a@example.com")
    world.gate.command("reset", "a@example.com")
    assert world.redis.fields(theirs) and not world.redis.fields(f"rcptgate:{ours}")


def test_a_restart_that_nobody_asked_in():
    """What a gate admitted is in a Redis that came back empty before anybody asks: the other gate may be the first."""
    limits = [{"name": "hour", "per": "recipient", "max": 2, "window": "1h", "over": "reject"}]
    with World("redis", limits, gates=2, mta=False, database=False) as world:
        assert [world.take("a@elsewhere.example", number=i) for i in range(2)] == ["continue"] * 2
        world.redis.stop()
        world.redis.start()
        wait_for(lambda: world.redis.call("EXISTS", "rcptgate:recipient:{a@elsewhere.example}") and
                 world.used("a@elsewhere.example", "hour") == 2, "an idle gate does not tell what was lost")
