"""Two thousand mixed messages on twenty connections: what was answered 250 is exactly what is delivered."""

import collections
import random

import pytest

from harness import World, run_threads

MESSAGES, CONNECTIONS = 2000, 20
KINDS = ["plain"] * 6 + ["limited"] * 3 + ["unknown", "reject", "defer", "discard", "two", "spelled"]


@pytest.mark.parametrize("store", ["redis", "memory"])
def test_answered_is_delivered(store):
    limits = [{"name": "few", "per": "recipient", "max": 40, "window": "1h", "over": "defer",
               "when": {"recipient_domain": "few.example"}},
              {"name": "dropped", "per": "recipient", "max": 20, "window": "1h", "over": "reject",
               "when": {"recipient_domain": "hard.example"}},
              {"name": "all", "per": "all", "max": 1000000, "window": "1h", "over": "defer"},
              {"name": "volume", "per": "recipient", "count": "bytes", "max": "1GB", "window": "1h"}]
    with World(store, limits, domains=["example.com", "few.example", "hard.example"], maps=True) as world:
        db = world.database
        db.aliases([f"a{i}@example.com" for i in range(30)])
        db.aliases([f"f{i}@few.example" for i in range(20)])
        db.aliases([f"h{i}@hard.example" for i in range(20)])
        for i in range(5):
            db.alias(f"drop{i}@example.com", action="discard")
            db.alias(f"no{i}@example.com", action="reject")
            db.alias(f"later{i}@example.com", action="defer")
            db.alias(f"two{i}@example.com", f"one{i}@mailbox.example,other{i}@mailbox.example")

        results = run_threads(CONNECTIONS, lambda i: talk(world, i))
        promised = sum(results, collections.Counter())
        assert sum(promised.values()) > MESSAGES, "the test would prove nothing"
        world.idle()
        # The original recipient of a delivery is the alias; an alias of two mailboxes is delivered twice.
        delivered = collections.Counter((d.token, as_postfix_tells_apart(d.original or d.recipient))
                                        for d in world.sink.deliveries)
        assert delivered == promised
        verdicts = collections.Counter(line["verdict"] for line in world.gate.decisions())
        assert all(verdicts[v] > 50 for v in ("accept", "reject", "defer", "discard")), verdicts


def as_postfix_tells_apart(address):
    """Postfix expands each spelling of an alias on its own, unless only case differs."""
    return address.lower()


def recipient(kind, dice):
    n = dice.randrange(5)
    return {"plain": f"a{dice.randrange(30)}@example.com",
            "limited": dice.choice([f"f{dice.randrange(20)}@few.example", f"h{dice.randrange(20)}@hard.example"]),
            "unknown": f"nobody{n}@example.com", "reject": f"no{n}@example.com", "defer": f"later{n}@example.com",
            "discard": f"drop{n}@example.com", "two": f"two{n}@example.com",
            "spelled": dice.choice([f'"A{n}"@Example.com', f"A{n}@EXAMPLE.COM"])}[kind]


def talk(world, i):
    """One connection's messages; a counter of (token, alias) that Postfix took responsibility for."""
    dice = random.Random(i)
    promised = collections.Counter()
    with world.smtp(f"198.18.0.{i + 1}") as smtp:
        for n in range(MESSAGES // CONNECTIONS):
            token = f"{i}-{n}"
            wanted = [recipient(dice.choice(KINDS), dice) for _ in range(dice.randint(1, 5))]
            smtp.mail(dice.choice(["bob@sender.example", "", "eve@other.example"]))
            taken = [address for address in wanted if smtp.rcpt(address).code == 250]
            if dice.random() < 0.1:
                smtp.rset()
            elif taken:
                assert smtp.data(token).code == 250
                for address in {as_postfix_tells_apart(a) for a in taken if not a.startswith("drop")}:
                    promised[token, address] = 2 if address.startswith("two") else 1
            else:
                smtp.rset()
    return promised
