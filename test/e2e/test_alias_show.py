"""`alias show`: what the rules say of one address, with no gate; and a gate that runs says the same."""

import json
import os
import subprocess

import pytest

from harness import PATIENCE, RCPTGATE, World

ADDRESSES = ["shop@example.com", "Shop+tag@EXAMPLE.com", "gone@example.com", "old@example.com", "any-thing@example.com", "nobody@example.com",
             "who@catch.example", "x@deep.below.example", "stranger@else.example", "postmaster@example.com"]


@pytest.fixture(scope="module")
def world():
    with World(store="memory", mta=False, domains=()) as w:
        for domain, columns in (("example.com", {"owner": "me", "class": "paid"}), ("catch.example", {"catch_all": "accept"}),
                                (".below.example", {}), ("shut.example", {"action": "reject", "reply": "550 5.2.1 shut"})):
            w.database.domain(domain, **columns)
        w.database.alias("shop@example.com", "A@b.example, c@d.example", expires_at=4000000000)
        w.database.alias("gone@example.com", None, action="reject", reply="550 5.2.1 gone for good")
        w.database.alias("old@example.com", expires_at=1000)
        w.database.alias("in@shut.example")
        w.database.glob("example.com", "any-*", owner="you")
        w.database.glob(".below.example", "*")
        for scope, pattern, action in (("*", "<>", "accept"), ("owner:me", "*", "defer"), ("@example.com", "@spam.example", "reject"),
                                       ("shop@example.com", "x@y.example", "accept"), ("other@example.com", "*", "discard")):
            w.database.sender(scope, pattern, action)
        w.settled()
        yield w


def show(world, address):
    return json.loads(world.gate.command("alias", "show", address, "--json"))


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_gate_says_the_same(world, address):
    states = {"not our domain": "not ours"}
    shown, explained = show(world, address), json.loads(world.gate.command("explain", "--to", address, "--json"))["alias"]
    for key in ("via", "row", "action", "owner", "class", "mailbox"):
        assert (shown[key] or None) == (explained.get(key) or None), key
    assert shown["state"] == states.get(explained["state"], explained["state"])


def test_sender_rules_from_the_most_specific_scope_on(world):
    found = [(rule["scope"], rule["pattern"], rule["action"]) for rule in show(world, "shop+tag@example.com")["senders"]]
    assert found == [("shop@example.com", "x@y.example", "accept"), ("@example.com", "@spam.example", "reject"), ("owner:me", "*", "defer"),
                     ("*", "<>", "accept")]
    assert [rule["scope"] for rule in show(world, "any-thing@example.com")["senders"]] == ["@example.com", "*"]


def test_in_words(world):
    said = world.gate.command("alias", "show", "shop@example.com")
    for words in ("accept, by exact address", "a@b.example", "c@d.example", "2096-10-02", "owner      me", "class      paid",
                  "reject from @spam.example to @example.com"):
        assert words in said, said
    assert "expired" in world.gate.command("alias", "show", "old@example.com")
    assert "550 5.2.1 gone for good" in world.gate.command("alias", "show", "gone@example.com")
    assert "550 5.2.1 shut" in world.gate.command("alias", "show", "in@shut.example")
    assert "never unknown" in world.gate.command("alias", "show", "postmaster@example.com")
    assert "not one of ours" in world.gate.command("alias", "show", "stranger@else.example")
    assert "no address" in world.gate.command("alias", "show", "no address", check=1)
    world.gate.command("alias", "show", check=64)
    world.gate.command("domain", "show", "example.com", check=64)


def test_nothing_obeys_what_a_row_holds(world):
    world.database.alias("evil@example.com", "\x1b[31m\u009b1m\u202e@b.example")
    for command in (("alias", "show", "evil@example.com"), ("alias", "list"), ("explain", "--to", "evil@example.com")):
        said = world.gate.command(*command)
        assert "evil@example.com" in said
        assert not set(said) & set("\x1b\u009b\u202e"), command
    world.database.run("DELETE FROM aliases WHERE address = 'evil@example.com'")


def test_a_database_that_cannot_be_read(world):
    assert "does not exist" in world.gate.command("alias", "show", "a@b.example", "--database", "/nonexistent/aliases.db", check=1)
    assert os.path.exists(world.database.path)


def test_a_policy_without_alias_rules_does_for_a_database_that_is_named(world):
    policy = world.scratch / "empty.json"
    policy.write_text("{}")
    for words in (("-c", str(policy)), ()):
        done = subprocess.run([RCPTGATE, "alias", "show", "shop+x@example.com", "--database", str(world.database.path), *words], capture_output=True,
                              text=True, check=True, timeout=PATIENCE, env=world.gate.env())
        assert "accept, by address without its subaddress" in done.stdout
