"""Rows 41-47, 78: the policy file breaks while the gate runs, or before it starts."""

import json
import os
import shutil
import time

import pytest

from fault_table import record, recovers
from harness import SANITIZED, Failure, World, wait_for
from load import LONG, Load, session, times, troubles

ALIAS, FULL, UNKNOWN = "a@example.com", "full@example.com", "nobody@example.com"
LIMITS = [
    {"name": "many", "per": "recipient", "max": 1000000, "window": "1h", "over": "defer"},
    {"name": "none", "per": "recipient", "max": 0, "window": "1h", "over": "reject",
     "when": {"class": "full"}},
]
EXPECTED = {ALIAS: "continue", FULL: "550 5.7.1", UNKNOWN: "550 5.1.1"}


@pytest.fixture()
def world():
    with World("memory", LIMITS) as w:
        w.database.alias(ALIAS)
        w.database.alias(FULL, **{"class": "full"})
        wait_for(lambda: (w.gate.state / "last-policy.json").exists(), "the policy is kept")
        yield w


def check_answers(gate):
    assert {address: session(gate, address) for address in EXPECTED} == EXPECTED


def loads(gate):
    return gate.log().count("event=policy-loaded")


def reload(gate):
    """SIGUSR1, and waits for the outcome."""
    before = gate.log().count("event=policy-")
    gate.reload()
    wait_for(lambda: gate.log().count("event=policy-") > before, "the reload is over", 10)
    time.sleep(0.1)


def prefixes(text, n):
    return [text[:len(text) * i // n] for i in range(n)]


# ------------------------------------------------------------------------------------------------------ row 41

def test_row41_every_prefix_through_the_loader(world, tmp_path):
    text = world.gate.policy_path.read_text()
    cut = tmp_path / "cut.json"
    for n in range(0, len(text) - 1, 1 if LONG else 9):
        cut.write_text(text[:n])
        said = world.gate.command("check", cut, check=78)
        assert str(cut) in said


def test_row41_cut_off_on_reload(world):
    text = world.gate.policy_path.read_text()
    with Load(world.gate.socket, [ALIAS, FULL], n=2, unknown=UNKNOWN, pause=0.01) as load:
        for part in prefixes(text, 20):
            world.gate.policy_path.write_text(part)
            world.gate.reload()
            time.sleep(0.15)
            check_answers(world.gate)
        wait_for(lambda: "event=policy-trouble" in world.gate.log(), "an alert says so", 5)
        said = troubles(world.gate)
        assert str(world.gate.policy_path) in said and "last good policy" in said
        world.gate.policy_path.write_text(text)
        recovers(lambda: "event=policy-well" in world.gate.log(), "well again", 5)
    assert {address: load.statuses(address) for address in EXPECTED} == \
        {address: {status} for address, status in EXPECTED.items()}
    assert load.served(ALIAS) > 50 and load.answers[(None, "lost")] == 0
    assert "last good policy" not in troubles(world.gate)


def test_row41_missing_and_back(world):
    text = world.gate.policy_path.read_text()
    world.gate.policy_path.unlink()
    wait_for(lambda: "event=policy-trouble" in world.gate.log(), "an alert says so", 3)
    check_answers(world.gate)
    world.gate.policy_path.write_text(text)
    recovers(lambda: "event=policy-well" in world.gate.log(), "well again", 3)
    check_answers(world.gate)


# ------------------------------------------------------------------------------------------------------ row 42

@pytest.mark.parametrize("told", [True, False])
def test_row42_bad_at_a_cold_start(world, told):
    """The last good policy is found whatever is left of the file, or where its line "state" is left."""
    text, gate = world.gate.policy_path.read_text(), world.gate
    gate.state_is_told = told
    cuts = [None, *prefixes(text, times(20, 4))]
    if not told:
        line = next(line for line in text.splitlines(True) if '"state"' in line)
        cuts = [text[:-2], text[:text.index(line) + len(line)], "[\n" + line.replace(",", ""), text.replace(":", "", 1)]
    for cut in cuts:
        gate.stop()
        if cut is None:
            gate.policy_path.unlink()
        else:
            gate.policy_path.write_text(cut)
        gate.start()
        check_answers(gate)
        assert "last good policy" in troubles(gate), "status asks the gate although the file is broken"
    gate.policy_path.write_text(text)
    recovers(lambda: "event=policy-well" in gate.log(), "well again", 3)


def test_row42_state_that_is_not_named_is_78(world):
    """Half a line says nothing, and a key of that name within a line is not looked for."""
    text, state = world.gate.policy_path.read_text(), str(world.gate.state)
    world.gate.state_is_told = False
    for cut in (text[:text.index(state) + len(state)], text.replace("\n", " ")[:-2]):
        world.gate.stop()
        world.gate.policy_path.write_text(cut)
        assert "last good" in ends_with_78(world.gate)


def test_row42_bad_entries_at_a_cold_start(world):
    limits = [{**LIMITS[0], "max": "x"}, {**LIMITS[1], "window": 5}, {"name": "new", "per": "recipient", "max": -1,
                                                                       "window": "1m"}]
    world.gate.stop()
    world.gate.write_policy(limits=limits)
    world.gate.start()
    check_answers(world.gate)
    said = troubles(world.gate)
    assert "/limits/0/max" in said and "its last good version" in said and "/limits/2/max" in said
    assert "its last good version" in world.gate.command("check", check=1)


def ends_with_78(gate):
    """Its last words."""
    gate.start(wait=False)
    assert gate.process.wait() == 78
    last = gate.log().strip().splitlines()[-1]
    gate.process = None
    return last


def test_row42_nothing_good_is_78(world):
    world.gate.stop()
    world.gate.policy_path.write_text("{")
    shutil.rmtree(world.gate.state)
    last = ends_with_78(world.gate)
    assert str(world.gate.policy_path) in last and "JSON" in last and "last good" in last


def test_row42_another_file_is_not_taken(world):
    """The state directory of one policy says nothing about another."""
    world.gate.stop()
    other = world.scratch / "other.json"
    other.write_text(f'{{"state": "{world.gate.state}", "limits": [')
    world.gate.policy_path = other
    assert str(other) in ends_with_78(world.gate)


# ------------------------------------------------------------------------------------------------------ row 43

WRONG = {"number": [None, True, "10", 1.5, [], {}, -1, 10**30], "text": [None, False, 7, [], {}, ""],
         "list": [None, 5, "x", {}], "object": [None, 5, "x", []]}
KEYS = [
    (("limits", 1, "max"), "number"), (("limits", 1, "window"), "text"), (("limits", 1, "per"), "text"),
    (("limits", 1, "over"), "text"), (("limits", 1, "when"), "object"), (("limits", 1, "when", "class"), "text"),
    (("limits",), "list"), (("mode",), "text"), (("counters",), "object"), (("counters", "url"), "text"),
    (("counters", "timeout"), "text"), (("aliases",), "object"), (("aliases", "database"), "text"),
    (("aliases", "subaddress"), "text"), (("exempt",), "object"), (("exempt", "clients"), "list"),
    (("exempt", "recipients"), "list"), (("replies",), "object"), (("replies", "unknown"), "text"),
    (("milter", "mode"), "text"), (("log", "level"), "text"), (("state",), "text"),
]


def test_row43_mistyped_values(world):
    """Each bad entry costs nothing: its last good version stays, all others are in force."""
    base = dict(world.gate.policy, mode="enforce", exempt={"clients": ["127.0.0.0/8"], "recipients": ["abuse@*"]},
                replies={"unknown": "550 5.1.1 nobody"})
    world.gate.policy_path.write_text(json.dumps(base))
    reload(world.gate)
    for path, kind in KEYS:
        for wrong in WRONG[kind] if LONG else WRONG[kind][:4]:
            if path[-1] == "subaddress" and wrong == "":
                continue  # means: none
            policy = json.loads(json.dumps(base))
            at = policy
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = wrong
            world.gate.policy_path.write_text(json.dumps(policy))
            before = loads(world.gate)
            reload(world.gate)
            wait_for(lambda: loads(world.gate) > before, f"{path} = {wrong!r} is loaded", 5)
            pointer = "/" + "/".join(map(str, path))
            assert pointer in world.gate.log().rsplit("event=policy-skipped", 1)[-1] or \
                pointer in troubles(world.gate), (path, wrong)
            answers = {address: session(world.gate, address) for address in EXPECTED}
            assert answers == EXPECTED, (path, wrong)
    world.gate.policy_path.write_text(json.dumps(base))
    reload(world.gate)
    recovers(lambda: "event=policy-entries-well" in world.gate.log(), "well again", 5)


# ------------------------------------------------------------------------------------------------------ row 44

def test_row44_duplicates_are_named(world):
    path = world.gate.policy_path
    path.write_text('{"mode": "enforce", "mode": "shadow", "limits": ['
                    '{"name": "x", "per": "client", "max": 1, "max": 2, "window": "1m"},'
                    '{"name": "y", "per": "client", "max": 3, "window": "1m"},'
                    '{"name": "y", "per": "client", "max": 4, "window": "1m"}]}')
    said = world.gate.command("check", check=1)
    for pointer in ("/mode", "/limits/0/max", "/limits/2/name"):
        assert pointer in said


# ------------------------------------------------------------------------------------------------------ row 45

def test_row45_written_slowly_in_place(world):
    """However it is chopped up, one policy or the other is in force, never a mixture."""
    old = world.gate.policy_path.read_text()
    new = json.dumps(dict(world.gate.policy, limits=[LIMITS[0], {**LIMITS[1], "over": "defer"}]), indent=2)
    with Load(world.gate.socket, [ALIAS, FULL], n=2, unknown=UNKNOWN, pause=0.005) as load:
        for text in [new, old] * times(10, 2):
            before = loads(world.gate)
            with open(world.gate.policy_path, "w") as out:
                for i in range(0, len(text), max(1, len(text) // 20)):
                    out.write(text[i:i + max(1, len(text) // 20)])
                    out.flush()
                    time.sleep(0.05 if i % 3 else 0.13)
                assert loads(world.gate) == before, "taken before it was complete"
            wait_for(lambda: loads(world.gate) > before, "it is taken when it is complete", 3)
    assert load.statuses(ALIAS) == {"continue"} and load.statuses(UNKNOWN) == {"550 5.1.1"}
    assert load.statuses(FULL) == {"550 5.7.1", "450 4.2.1"}


def test_row45_noticed_within_a_second(world):
    slowest = 0.0
    for i in range(5):
        limits = [LIMITS[0], {**LIMITS[1], "over": "defer" if i % 2 == 0 else "reject"}]
        begin = time.monotonic()
        world.gate.write_policy(limits=limits)
        want = "450 4.2.1" if i % 2 == 0 else "550 5.7.1"
        wait_for(lambda: session(world.gate, FULL) == want, "the new policy is in force", 5)
        slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.05)
    assert slowest < 2.0, f"noticed after {slowest:.2f} s (promised 1 s, on an idle machine)"


# ------------------------------------------------------------------------------------------------------ row 46

def test_row46_valid_but_catastrophic(world):
    limits = [{**LIMITS[0], "max": 0}, LIMITS[1]]
    policy = dict(world.gate.policy, limits=limits, mode="shadow")
    del policy["aliases"]
    world.gate.policy_path.write_text(json.dumps(policy))
    assert "is 0" in world.gate.command("check")
    wait_for(lambda: loads(world.gate) == 1, "it is in force", 5)
    warnings = [line for line in world.gate.log().splitlines() if "event=policy-warning" in line]
    for word in ("pointer=/mode", "pointer=/aliases", "allows 0 now", "every limit has a max of 0"):
        assert any(word in line for line in warnings), word
    policy["limits"] = []
    world.gate.policy_path.write_text(json.dumps(policy))
    wait_for(lambda: "all 2 limits are gone" in world.gate.log(), "it warns", 5)


# ------------------------------------------------------------------------------------------------------ row 47

def resident(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise Failure("no VmRSS")


def test_row47_reload_under_load(world):
    rounds = times(1000, 60)
    gate, done = world.gate, loads
    with Load(gate.socket, [ALIAS, FULL], n=4, unknown=UNKNOWN) as load:
        for i in range(rounds):
            if i == rounds // 4:
                early = resident(gate.process.pid)
            limits = [{**LIMITS[0], "max": 1000000 + i}, LIMITS[1]]
            before = done(gate) if i % 50 == 0 else None
            temporary = gate.policy_path.with_name("new.json")
            temporary.write_text(json.dumps(dict(gate.policy, limits=limits)))
            os.rename(temporary, gate.policy_path)
            gate.reload()
            time.sleep(0.01)
            if before is not None:
                wait_for(lambda: done(gate) > before, "it is loaded", 10)
        late = resident(gate.process.pid)
    for address, status in EXPECTED.items():
        assert load.statuses(address) - {"451 4.3.0"} == {status}  # a look-up may meet its deadline on a slow machine
    assert load.answers[(None, "lost")] == 0
    assert done(gate) >= rounds // 10, "reloads were really made"
    if not SANITIZED:  # a sanitizer keeps what was freed, and looks for leaks itself
        assert late < early * 1.3 + 4096, f"{early} kB -> {late} kB"
    wait_for(lambda: str(1000000 + rounds - 1) in (gate.state / "last-policy.json").read_text(), "the last one is kept",
             15)


# ------------------------------------------------------------------------------------------------------ row 78

@pytest.mark.parametrize("store", ["memory", "redis"])
def test_row78_another_count_under_the_same_name(store):
    """What were messages are no recipients, nor is their hold one of them."""
    def limits(count):
        return [{"name": "day", "per": "recipient", "max": 3, "window": "1d", "over": "reject", "hold": "1d", "count": count}]

    with World(store, limits("messages"), mta=False) as world:
        world.database.alias(ALIAS)
        assert [world.take(ALIAS) for _ in range(4)] == ["continue"] * 3 + ["550 5.7.1"]
        for count in ("recipients", "attempts", "messages"):
            before = loads(world.gate)
            world.gate.write_policy(limits=limits(count))
            wait_for(lambda: loads(world.gate) > before, "the policy is in force")
            assert [world.take(ALIAS) for _ in range(4)] == ["continue"] * 3 + ["550 5.7.1"], count
        record(78, f"count of a limit changed under its name ({store})", "begins anew each time")
