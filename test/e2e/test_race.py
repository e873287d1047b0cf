"""Twenty connections race for one alias: exactly `max` get in, whoever counts."""

import pytest

from harness import World, run_threads

LIMITS = [{"name": "hundred", "per": "recipient", "max": 100, "window": "1h", "over": "defer"}]
CONNECTIONS, EACH = 20, 10


def race(world, gates, deliver):
    """Every connection asks EACH times for the same alias; how many were let in."""
    world.database.alias("race@example.com")

    def work(i):
        admitted = 0
        with world.smtp(f"198.18.0.{i + 1}", number=i % gates) as smtp:
            for n in range(EACH):
                smtp.mail()
                reply = smtp.rcpt("race@example.com")
                assert reply.status in ("250 2.1.5", "450 4.2.1"), repr(reply)
                if reply.code == 250:
                    admitted += 1
                    assert smtp.data(f"{i}-{n}").code == 250
                else:
                    smtp.rset()
        return admitted

    return sum(run_threads(CONNECTIONS, work))


@pytest.mark.parametrize("store,gates", [("redis", 1), ("memory", 1), ("redis", 2), ("cluster", 2)])
def test_exactly_max(store, gates):
    with World(store, LIMITS, gates=gates) as world:
        assert race(world, gates, True) == 100
        assert world.used("race@example.com", "hundred") == 100
        world.idle()
        assert len(world.sink.deliveries) == 100


def test_what_is_given_back_is_free_again():
    """Racing with aborts never admits more than max, and leaves the whole allowance."""
    with World("redis", LIMITS) as world:
        world.database.alias("race@example.com")

        def work(i):
            with world.smtp(f"198.18.0.{i + 1}") as smtp:
                for _ in range(30):
                    smtp.mail()
                    assert smtp.rcpt("race@example.com").code == 250
                    smtp.rset()

        run_threads(CONNECTIONS, work)
        assert race(world, 1, True) == 100
