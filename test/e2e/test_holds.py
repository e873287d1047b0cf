"""Holds on clients: answered from the next connection on, on every host, over a restart; `reset` ends them."""

import json
import signal

import pytest

from harness import MilterClient, World, wait_for

LIMITS = [{"name": "flood", "per": "client", "count": "attempts", "max": 3, "window": "1h", "over": "reject", "hold": "1h"}]
CLIENT = "192.0.2.7"


def talk(gate, client=CLIENT, n=1):
    return gate.told(*(f"x{i}@elsewhere.example" for i in range(n)), client=client)


@pytest.mark.parametrize("store", ["redis", "memory"])
def test_held_at_connect(store):
    with World(store, LIMITS, gates=2 if store == "redis" else 1, mta=False, database=False) as world:
        gate = world.gate
        m = MilterClient(gate.socket)
        m.connect(CLIENT)
        assert talk(gate, n=5) == ["continue"] * 3 + ["550 5.7.1"] * 2
        assert talk(gate) == ["refused"], "from the next connection on"
        m.mail()
        assert m.rcpt("<y@elsewhere.example>").status == "550 5.7.1", "in open sessions at the next RCPT"
        m.hang_up()
        assert talk(gate, "192.0.2.8") == ["continue"]
        line = wait_for(lambda: gate.decisions(client=CLIENT, at="connect"), "the log tells")
        assert line[0]["by"] == "limit"
        if store == "redis":
            assert talk(world.gates[1]) == ["refused"], "on every host"
        gate.stop()
        gate.start()
        assert talk(gate) == ["refused"], "after a restart"
        gate.command("reset", CLIENT)
        wait_for(lambda: talk(gate) == ["continue"], "reset ends it")


def test_a_crash_forgets_no_hold():
    with World("memory", LIMITS, mta=False, database=False) as world:
        gate, path = world.gate, world.gate.state / "holds"
        for client in (CLIENT, "192.0.2.8"):
            assert talk(gate, client, n=5)[3:] == ["550 5.7.1"] * 2
            wait_for(lambda: path.exists() and f"{{{client}}}" in path.read_text(), "the hold is written")
        gate.process.stop(signal.SIGKILL)
        gate.start()
        assert [talk(gate), talk(gate, "192.0.2.8")] == [["refused"]] * 2
        row = json.loads(gate.command("show", CLIENT, "--json"))["counters"][0]
        assert row["max"] == 3 and row["held_ms"] > 0, "what is restored knows its limit"
        gate.command("reset", CLIENT)
        wait_for(lambda: f"{{{CLIENT}}}" not in path.read_text(), "so is who was let go")
        gate.process.stop(signal.SIGKILL)
        gate.start()
        assert [talk(gate), talk(gate, "192.0.2.8")] == [["continue"], ["refused"]]


def told(gate):
    return {r["what"]: r["text"] for r in gate.status()["reasons"]}.get("holds", "")


def test_a_file_that_was_damaged_or_cannot_be_written_is_told():
    with World("memory", LIMITS, mta=False, database=False) as world:
        gate = world.gate
        assert talk(gate, n=5)[3:] == ["550 5.7.1"] * 2
        gate.stop()
        path = gate.state / "holds"
        path.write_text(path.read_text()[:-5])
        gate.start()
        assert "1 lines of" in wait_for(lambda: told(gate), "status names it")
        gate.stop()
        path.unlink(missing_ok=True)
        path.mkdir()
        gate.start()
        assert "cannot read" in wait_for(lambda: told(gate), "that it cannot be read")
        assert talk(gate, n=5)[3:] == ["550 5.7.1"] * 2
        wait_for(lambda: "cannot write" in told(gate), "nor written")
        path.rmdir()
        wait_for(lambda: "cannot write" not in told(gate), "all is well")
        assert path.is_file()
