"""What the commands say to people: who may not ask, what waits for a restart, what was mistyped."""

import json
import os
import re
import shlex
import subprocess

import pytest

from harness import PATIENCE, RCPTGATE, SOURCE, SANITIZED, SANITIZERS, World, wait_for

NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


@pytest.fixture(scope="module")
def world():
    limits = [{"name": "minute", "per": "recipient", "max": 2, "window": "1h", "over": "defer"}]
    with World("memory", limits, mta=False, exempt={"clients": ["127.0.0.0/8"]}) as found:
        found.database.domain("example.com")
        found.database.alias("a@example.com")
        found.settled()
        yield found


def run(*words, check=0, **options):
    done = subprocess.run([RCPTGATE, *map(str, words)], capture_output=True, text=True, timeout=3 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS), **options)
    assert done.returncode == check, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


ASKING = (("status",), ("status", "--json"), ("explain", "--to", "a@example.com"), ("show", "a@example.com"), ("top",), ("top", "--by", "client"), ("events",),
          ("reset", "a@example.com"), ("block", "192.0.2.9"), ("blocks",))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_no_right_to_ask(world, words):
    """Who may not ask is told so, and gets no answer that would have to be made up."""
    world.scratch.path.chmod(0o755)
    for mode in (0o755, 0o700):  # of the state directory: the socket cannot be opened, or not be seen
        world.gate.state.chmod(mode)
        said = run(*words, "-c", world.gate.policy_path, check=77, **NOBODY)
        assert "451" not in said and "DOWN" not in said and "may not ask the gate" in said or "unknown" in said, said
    world.gate.state.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_no_right_to_read(world):
    """Without a gate a command reads for itself; where it may not, an answer would be made up."""
    policy = world.scratch / "other.json"
    policy.write_text(json.dumps(dict(world.gate.policy, state=str(world.scratch / "none"))))
    world.database.directory.chmod(0o700)
    said = run("explain", "--to", "a@example.com", "-c", policy, check=77, **NOBODY)
    assert "may not read" in said and "451" not in said
    said = run("check", policy, **NOBODY)
    assert "cannot be read by you" in said and "451" not in said
    for words in (("list",), ("show", "a@example.com"), ("add", "b@example.com"), ("snapshot", "-")):
        run("alias", *words, "-c", policy, check=77, **NOBODY)
    world.database.directory.chmod(0o777)
    policy.chmod(0o600)
    for words in ASKING:
        run(*words, "-c", policy, check=77, **NOBODY)
    policy.unlink()


def test_status_without_a_policy(world):
    """Where no policy says which gate is meant, nobody knows whether one runs: it is not called down."""
    said = run("status", "-c", world.scratch / "nowhere.json", check=2)
    assert "UNKNOWN: no gate answers" in said and "DOWN" not in said
    assert '"status": "unknown"' in run("status", "--json", "-c", world.scratch / "nowhere.json", check=2)


def restart_notes(world):
    return [note["text"] for note in world.gate.status()["notes"] if note["what"] == "restart"]


def test_a_restart_that_is_due(world):
    """After an edit of what only a restart changes, status goes on to say what is in force, and that a restart is due."""
    before = world.gate.status()
    old = world.gate.policy["counters"]
    world.gate.write_policy(counters=dict(old, url="redis://192.0.2.1:6379/3"))
    wait_for(lambda: restart_notes(world), "no note")
    now = world.gate.status()
    assert now["counters"] == before["counters"] and now["status"] == before["status"]
    assert restart_notes(world) == ["waiting for a restart: counters.url"]
    assert "counters.url" in run("status", "-c", world.gate.policy_path)
    world.gate.write_policy(counters=old)
    wait_for(lambda: not restart_notes(world), "the note stays")


def test_status_names_rows_that_never_act(world):
    assert "1 alias of 1 domain," in run("status", "-c", world.gate.policy_path)
    world.database.run("PRAGMA ignore_check_constraints = 1")
    world.database.script("PRAGMA ignore_check_constraints = 1;"
                          "INSERT INTO client_rules (network, action) VALUES ('192.0.2.7/32', 'reject')")
    world.settled()
    assert "1 row can never act" in run("status", "-c", world.gate.policy_path)
    said = run("check", world.gate.policy_path)
    assert "192.0.2.7/32 can never match: write it as 192.0.2.7" in said
    assert "192.0.2.7/32" in run("client", "list", "-c", world.gate.policy_path)
    run("client", "remove", "192.0.2.7/32", "-c", world.gate.policy_path)
    assert "never act" not in run("status", "-c", world.gate.policy_path)


def test_a_refused_block_promises_nothing(world):
    said = run("block", "127.0.0.1", "-c", world.gate.policy_path, check=1)
    assert "exempt" in said and "other" not in said


def test_nearest_names():
    for words, near in ((("stauts",), "status"), (("explain", "--form", "x"), "--from"), (("alias", "lst"), "list"),
                        (("help", "chek"), "check"), (("alias", "add", "--mailbx", "x"), "--mailbox")):
        said = run(*words, check=64)
        assert f'did you mean "{near}"?' in said, said
    assert "did you mean" not in run("xyzzyx", check=64)
    assert 'did you mean "--version"?' in run("--verison", check=64)
    assert run("status", "-h") == run("help", "status") == run("status", "--help")
    assert run("-V") == run("--version") != ""


def test_check_reads_standard_input():
    assert "-: usable" in run("check", "-", check=1, input='{"conters": {}}') or SANITIZED
    assert "this limit is skipped" in run("check", "-", check=1, input='{"limits": [{"name": "Bad Name", "per": "all", "max": 1, "window": "1m"}]}')
    assert json.loads(run("check", "-", "--json", input="{}"))["status"] == "clean"
    run("check", "-", check=78, input="{")
    missing = ("check", "/nowhere/policy.json")
    assert "/nowhere/policy.json: unusable: cannot be read: No such file" in run(*missing, check=78)
    assert [(p["kind"], "cannot be read" in p["text"]) for p in json.loads(run(*missing, "--json", check=78))["problems"]] == [("unusable", True)]


def test_what_does_not_exist(world):
    c = ("-c", world.gate.policy_path)
    for words in (("top", "--limit", "minut"), ("reset", "a@example.com", "--limit", "minut")):
        assert 'no limit "minut"; did you mean "minute"?' in run(*words, *c, check=1)
    for kind in ("ownr:bob", "Owner:bob"):
        assert 'did you mean "owner"' in run("show", kind, *c, check=1)
    run("explain", "--to", "", *c, check=64)
    run("top", "--limit", "minute", *c)


def test_nobody_reads_on(world):
    """export | head -1 is no error."""
    world.database.aliases([f"x{i}@example.com" for i in range(20000)])
    done = subprocess.run(["sh", "-c", '"$0" alias export --database "$1" | head -1; "$0" alias list --database "$1" | head -1',
                           RCPTGATE, str(world.database.path)], capture_output=True, text=True, timeout=3 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS), check=True)
    assert done.stderr == "" and done.stdout.startswith("address,mailbox")
    done = subprocess.run(["bash", "-c", 'set -o pipefail; "$0" alias export --database "$1" | head -1', RCPTGATE,
                           str(world.database.path)], capture_output=True, text=True, timeout=3 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS), check=False)
    assert done.returncode == 0, done


def test_a_domain_with_aliases_left(world):
    world.database.aliases(["y@example.com", "z@example.com"])
    (n,), = world.database.run("SELECT count(*) FROM aliases")
    said = run("domain", "remove", "example.com", "--database", world.database.path)
    assert f"{n} aliases of it are left" in said
    run("domain", "add", "example.com", "--database", world.database.path)


def test_the_last_friend_goes():
    """The only client that is accepted in a network that is rejected: let in until the loss is taken as meant, and never told 5xx before."""
    with World("memory", mta=False) as w:
        w.database.alias("a@example.com")
        w.database.client("192.0.2.0/24", "reject")
        w.database.client("192.0.2.7", "accept")
        w.settled()

        def asked(client):
            with w.milter() as milter:
                answer = milter.connect(client)
                if answer.kind != "continue":
                    return answer.kind
                milter.mail()
                return milter.rcpt("<a@example.com>").status

        assert (asked("192.0.2.7"), asked("192.0.2.8")) == ("continue", "reject")
        assert "192.0.2.0/24 holds for it now: reject" in w.gate.command("client", "remove", "192.0.2.7")
        wait_for(lambda: w.gate.status()["aliases"]["in_force"] == "copy", "the loss is not seen")
        assert (asked("192.0.2.7"), asked("192.0.2.8")) == ("continue", "451 4.3.0")
        w.gate.command("client", "add", "192.0.2.7", "accept")  # it was a mistake
        wait_for(lambda: w.gate.status()["aliases"]["in_force"] == "live", "what was put right is not taken")
        assert (asked("192.0.2.7"), asked("192.0.2.8")) == ("continue", "reject")
        w.gate.command("client", "remove", "192.0.2.7")
        wait_for(lambda: w.gate.status()["aliases"]["in_force"] == "copy", "the loss is not seen")
        w.gate.command("alias", "accept")
        wait_for(lambda: asked("192.0.2.7") == "reject", "what was accepted is not taken")


def test_postfix_lines(world):
    """The lines of this host are those that Postfix then has: what they set, --check finds."""
    c = ("-c", world.gate.policy_path)
    etc = world.scratch / "postfix-etc"
    etc.mkdir()
    (etc / "main.cf").write_text("compatibility_level = 3.6\n")
    (etc / "master.cf").write_text("smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n")
    env = dict(os.environ, **SANITIZERS, MAIL_CONFIG=str(etc))
    lines = run("postfix-lines", *c)
    assert f"unix:{world.gate.socket}" in lines and "\npostconf -e 'smtpd_reject_unlisted_recipient = no'" in lines
    for name, table in (("domains", "domains"), ("maps", "aliases")):
        assert f"\npostconf -e 'virtual_alias_{name} = socketmap:{world.gate.maps}:{table}'" in lines

    def check(status):
        done = subprocess.run([RCPTGATE, "postfix-lines", "--check", *map(str, c)], capture_output=True, text=True, env=env,
                              timeout=3 * PATIENCE, check=False)
        assert done.returncode == status, done
        return done.stdout

    before = check(1)
    for name in ("smtpd_milters", "smtpd_reject_unlisted_recipient", "smtpd_soft_error_limit", "smtpd_hard_error_limit"):
        assert f"{name} = " in before
    subprocess.run(["sh", "-e"], input=lines, text=True, check=True, env=env, timeout=PATIENCE)
    assert check(1).startswith("submission/inet/smtpd_milters")
    subprocess.run(["postconf", "-P", "submission/inet/smtpd_milters="], check=True, env=env, timeout=PATIENCE)
    assert "has what it needs" in check(0)
    subprocess.run(["postconf", "-e", "enable_original_recipient = no"], check=True, env=env, timeout=PATIENCE)
    assert "enable_original_recipient = no" in check(1)
    subprocess.run(["postconf", "-e", "enable_original_recipient = yes",
                    "virtual_alias_maps = socketmap:unix:rcptgate/map.sock:aliases"], check=True, env=env, timeout=PATIENCE)
    assert check(1).startswith("virtual_alias_maps = ")


@pytest.mark.parametrize("lines,named", [
    ("", []),
    ("canonical_maps = inline:{old@example.com=a@example.com}", ["canonical_maps"]),
    ("canonical_maps = inline:{old@example.com=a@example.com}\ncanonical_classes = envelope_sender, header_recipient", []),
    ("recipient_canonical_maps = inline:{old@example.com=a@example.com}", ["recipient_canonical_maps"]),
    ("recipient_canonical_maps = inline:{old@example.com=a@example.com}\nrecipient_canonical_classes = header_recipient", []),
    ("masquerade_domains = example.com", []),
    ("masquerade_domains = example.com\nmasquerade_classes = envelope_recipient", ["masquerade_domains"])])
def test_what_renames_recipients_behind_the_gate_is_named(world, lines, named):
    """Whoever knows the old names here, too, lacks nothing: it is a warning. Without alias rules nobody is unknown."""
    etc = world.scratch / f"renaming-{abs(hash(lines))}"
    etc.mkdir()
    (etc / "main.cf").write_text(f"compatibility_level = 3.6\n{lines}\n")
    (etc / "master.cf").write_text("smtp inet n - y - - smtpd\n")
    env = dict(os.environ, **SANITIZERS, MAIL_CONFIG=str(etc))
    without = world.scratch / "without-aliases.json"
    without.write_text(json.dumps({"milter": {"socket": f"unix:{world.gate.socket}"}, "mode": "shadow"}))
    for policy, wanted in ((world.gate.policy_path, named), (without, [])):
        subprocess.run(["sh", "-e"], input=run("postfix-lines", "-c", policy), text=True, check=True, env=env, timeout=PATIENCE)
        done = subprocess.run([RCPTGATE, "postfix-lines", "--check", "-c", policy], capture_output=True, text=True, env=env,
                              timeout=3 * PATIENCE, check=False)
        said = [line for line in done.stdout.splitlines() if "warning: renames recipients" in line]
        assert [line.split(" = ")[0] for line in said] == wanted, done
        assert ("has what it needs" in done.stdout) == (done.returncode == 0), done
        if policy != without:
            assert done.returncode == 0, done


@pytest.mark.parametrize("changes,maps", [({}, "#"), ({"aliases": {}}, ""), ({"aliases": {}, "milter": {"socket": "inet:8893@127.0.0.1"}}, "#"),
                                          ({"aliases": {}, "milter": {"socket": "unix:/var/spool/postfix/rcptgate/b/milter.sock"}}, "")])
def test_postfix_asks_no_map_that_nobody_answers(world, changes, maps):
    """A gate without alias rules, or with no socket for maps, would have all mail delayed; and nobody but Postfix knows who is unknown."""
    policy = world.scratch / "lines.json"
    policy.write_text(json.dumps(changes))
    lines = run("postfix-lines", "-c", policy).splitlines()
    where = "rcptgate/b/map.sock" if "/b/" in str(changes) else "rcptgate/map.sock"
    assert f"{maps}postconf -e 'virtual_alias_maps = socketmap:unix:{where}:aliases'" in lines
    assert ("#" if not changes else "") + "postconf -e 'smtpd_reject_unlisted_recipient = no'" in lines


def test_completions_are_the_table():
    subprocess.run([SOURCE / "contrib/completion/generate", "--check", RCPTGATE], check=True, timeout=3 * PATIENCE)


@pytest.mark.parametrize("line,wanted", [("rcptgate stat", "status"), ("rcptgate -c x.json expl", "explain"), ("rcptgate alias im", "import"),
                                         ("rcptgate explain --fr", "--from"), ("rcptgate client add --action de", "defer"),
                                         ("rcptgate help postf", "postfix-lines")])
def test_bash_completes(line, wanted):
    script = ('source "$0"; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _rcptgate; echo "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, SOURCE / "contrib/completion/rcptgate.bash", line], check=True, capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.stdout.split() == [wanted]


def test_check_is_not_clean_beside_a_warning(world):
    """What refuses everybody, or never acts, is not called clean; the exit status is that of a file with every entry in force."""
    policy = world.scratch / "odd.json"
    limit = {"name": "a", "per": "owner", "max": 1, "window": "1m", "over": "reject"}
    policy.write_text(json.dumps({"limits": [limit]}))
    said = run("check", policy)
    assert "never acts" in said and said.splitlines()[-1] == f"{policy}: usable as written, with 1 warning"
    assert json.loads(run("check", "--json", policy))["status"] == "warnings"
    policy.write_text(json.dumps({"aliases": {"database": str(world.scratch / "none/aliases.db")}}))
    said = run("check", policy)
    assert "gets 451" in said and ": clean" not in said


def test_misspelt_keys_and_a_restart():
    """A slip switches nothing off: what was in force stays, for the gate, after a restart of it, and for commands."""
    limits = [{"name": "minute", "per": "recipient", "max": 1, "window": "1h", "over": "defer"}]
    with World("memory", limits, mta=False) as own:
        own.database.domain("example.com")
        own.database.alias("a@example.com")
        own.settled()
        wait_for(lambda: (own.gate.state / "last-policy.json").exists(), "no last good policy")
        good = dict(own.gate.policy)

        def answers():
            with own.milter() as client:
                client.connect()
                client.helo()
                client.mail("<b@sender.example>")
                return client.rcpt("<nobody@example.com>").status

        for right, slip in (("aliases", "alises"), ("limits", "limts"), ("counters", "conters"), ("exempt", "exemt")):
            if right in good:
                own.gate.policy = {slip if key == right else key: value for key, value in good.items()}
                own.gate.write_policy(mode="shadwo")
                wait_for(lambda slip=slip: any(slip in reason["text"] for reason in own.gate.status()["reasons"]), f"{slip} is not named")
                for restart in (False, True):
                    if restart:
                        own.gate.stop()
                        own.gate.start()
                        own.settled()
                    now = own.gate.status()
                    assert now["mode"] == "enforce" and now["aliases"] and len(now["limits"]) == 1, (slip, restart)
                    assert answers() == "550 5.1.1", (slip, restart)
                assert "nobody@example.com" in run("explain", "--to", "nobody@example.com", "-c", own.gate.policy_path)
                run("alias", "list", "-c", own.gate.policy_path)


def test_explain_says_who_is_exempt():
    """Nothing else tells why an address that is no alias is let in."""
    with World("memory", mta=False) as own:
        own.settled()
        for to, exempt in (("postmaster@example.com", True), ("Abuse@Example.com", True), ("postmaster", True), ("p@other.example", False)):
            first = own.gate.command("explain", "--to", to).splitlines()[0]
            assert first.endswith(" (exempt)") == exempt, first


# --------------------------------------------------------------------------------------------- what manuals show

def examples():
    """All command lines of manuals and Markdown that begin with rcptgate; without those that start a gate, or stand for one."""
    found = set()
    for page in [*SOURCE.glob("milter/*.[578]"), *SOURCE.glob("policy/*.[578]")]:
        for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$|^\.Dl (.*?)$", page.read_text(), re.M | re.S):
            found.update("".join(block).replace("\\e\n", " ").replace("\\(dq", '"').splitlines())
    for page in [SOURCE / "README.md", *SOURCE.glob("contrib/**/*.md")]:
        text = page.read_text()
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.M | re.S):
            found.update(block.splitlines())
        found.update(re.findall(r"`(rcptgate [^\s`]+ [^\s`]+ [^`\n]+)`", text))  # fewer words are the name of a command
    words = [shlex.split(part, comments=True) for line in found if "…" not in line for part in re.split(r" \| |&&", line) if part.strip().startswith("rcptgate ")]
    endless = ("--follow", "--watch")  # as without them, over and over
    return sorted([word for word in line if word not in endless] for line in words if line[1:] and line[1] != "run" and not line[1].isupper())


def test_examples_can_be_typed():
    limits = [{"name": "alias-minute", "per": "recipient", "max": 2, "window": "1h", "over": "defer"}]
    lines = examples()
    assert len(lines) > 60
    with World("memory", limits, mta=False) as world:
        world.database.alias("shop@example.com")
        for line in lines:
            done = subprocess.run([RCPTGATE, *line[1:], "-c", world.gate.policy_path], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  cwd=world.scratch.path, env=world.gate.env(), timeout=3 * PATIENCE)
            assert done.returncode not in (64, 70) and done.returncode >= 0, (line, done.returncode, done.stderr)
            assert not re.search(r"cannot be given|no limit|no column", done.stderr), (line, done.stderr)
