"""import and export of the alias rules: what comes out goes in again to the same rows, and a file is taken whole or not at all."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZERS, Scratch, run_on_a_terminal

TABLES = ("domains", "aliases", "alias_globs", "sender_rules", "client_rules")


class Place:
    def __init__(self):
        self.scratch = Scratch()
        self.database = self.scratch / "rules/aliases.db"

    def run(self, *words, check=0, data=None):
        done = subprocess.run([RCPTGATE, *map(str, words), "--database", str(self.database)], input=data,
                              capture_output=True, timeout=5 * PATIENCE, env=dict(os.environ, **SANITIZERS))
        assert done.returncode == check, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def rows(self, table):
        db = sqlite3.connect(str(self.database))
        try:
            return sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
        finally:
            db.close()

    def all_rows(self):
        return {table: self.rows(table) for table in TABLES}

    def write(self, name, text):
        path = self.scratch / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


@pytest.fixture
def place():
    p = Place()
    yield p
    p.scratch.remove()


def fill(place):
    """A row of every kind, with all that a format can trip over."""
    place.run("domain", "add", "example.com", "--catch-all", "accept", "--owner", "o, \"quoted\"")
    place.run("domain", "add", "bücher.example")
    place.run("alias", "add", "one@example.com", "Joe@Mailbox.example", "--reply", "", "--expires", "2040-01-31")
    place.run("alias", "add", '"odd name"@example.com', "a@b.example,c@d.example", "--class", "ünïcode")
    place.run("alias", "add", '"star*"@example.com', "star@b.example")
    place.run("alias", "add", "gone@example.com", "--action", "reject", "--reply", '550 5.1.1 gone, "for good"')
    place.run("alias", "add", "shop-*@example.com", "shop@b.example", "--owner", "me")
    place.run("alias", "add", "?@bücher.example", "q@b.example")
    place.run("sender", "add", "*", "<>", "accept")
    place.run("sender", "add", '"st*r"@example.com', '"who?"@b.example', "reject")
    place.run("sender", "add", "owner:Me", "@.spam.example", "reject", "--reply", "550 5.7.1 no")
    place.run("client", "add", "192.0.2.0/24", "defer", "--for", "30d")
    place.run("client", "add", "2001:db8::/32", "accept")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_round_trip(place, form):
    fill(place)
    before = place.all_rows()
    assert all(before[table] for table in TABLES)
    files = {}
    for noun in ("alias", "domain", "sender", "client"):
        files[noun] = place.scratch / f"{noun}.{form}"
        place.run(noun, "export", files[noun])
    shutil.rmtree(place.database.parent)
    for noun, path in files.items():
        out, err = place.run(noun, "import", path)
        assert "0 bad" in out and err == ""
    assert place.all_rows() == before
    for noun, path in files.items():  # once more over what is there, by standard input and by its first byte
        place.run(noun, "import", "--replace", data=path.read_bytes())
        assert place.run(noun, "export", "--format", form)[0].encode() == path.read_bytes()
    assert place.all_rows() == before


def test_list_finds_a_key_however_it_is_typed(place):
    fill(place)
    for noun, pattern in (("alias", "ONE@Example.com"), ("alias", "SHOP-*"), ("sender", "Owner:Me"), ("client", "2001:DB8*")):
        assert len(place.run(noun, "list", pattern)[0].splitlines()) == 2, pattern  # the head, and the row


def test_formats(place):
    place.run("alias", "import", "--format", "csv", data=b'\xef\xbb\xbfMailbox,ADDRESS\r\n"x@y.example",One@Example.com\r\n')
    place.run("alias", "import", data=b'{"address": "two@example.com", "mailbox": null, "expires_at": 2000000000}\n\n')
    place.run("alias", "import", place.write("a.ndjson", '{"address":"f-*@example.com","expires_at":null}'))
    place.run("client", "import", data=b"network,action,expires_at\n192.0.2.9,reject,30d\n198.51.100.0/24,accept,never\n")
    assert place.rows("aliases") == [("one@example.com", "x@y.example", None, None, "accept", None, None),
                                     ("two@example.com", None, None, None, "accept", None, 2000000000)]
    assert place.rows("alias_globs") == [("example.com", "f-*", None, None, None, "accept", None)]
    clients = dict((row[0], row) for row in place.rows("client_rules"))
    assert clients["198.51.100.0/24"][3] is None and clients["192.0.2.9"][3] > 1700000000


BAD = """address,mailbox,action,reply
good@example.com,me@b.example,,
no-domain,me@b.example,,
bad@example.com,not an address,,
act@example.com,,explode,
rep@example.com,,reject,450 4.2.1 later
"split
line@example.com",,,
few@example.com,
good@example.com,again@b.example,,
last@example.com,me@b.example,defer,450 4.2.1 later
"""


def test_bad_rows(place):
    path = place.write("bad.csv", BAD)
    out, err = place.run("alias", "import", path, check=1)
    assert [int(line.split(":")[2]) for line in err.splitlines()] == [3, 4, 5, 6, 7, 9, 10], err
    assert "refused: 2 added" in out and "7 bad; nothing was written" in out
    assert place.rows("aliases") == []
    told = json.loads(place.run("alias", "import", path, "--json", check=1)[0])
    assert told == {"added": 2, "updated": 0, "removed": 0, "bad": 7, "written": False}
    place.run("alias", "import", path, "--skip-bad")
    assert [row[0] for row in place.rows("aliases")] == ["good@example.com", "last@example.com"]


def test_many_bad_rows_are_counted(place):
    data = b"domain\n" + b"not a domain!\n" * 100
    out, err = place.run("domain", "import", data=data, check=1)
    assert len(err.splitlines()) == 21 and "and 80 more" in err and "100 bad" in out


@pytest.mark.parametrize("data, words", [
    (b"", "empty"), (b"adress\na@b.example\n", "did you mean address"), (b"mailbox\na@b.example\n", "no address"),
    (b"address,address\na@b.example,\n", "twice"), (b"one@example.com\n", "no column"),
])
def test_headers(place, data, words):
    assert words in place.run("alias", "import", data=data, check=1)[1]
    assert place.rows("aliases") == []


@pytest.mark.parametrize("line, words", [
    (b'{"address": "a@b.example"', "JSON"), (b"[1]", "object"), (b'{"adress": "a@b.example"}', "did you mean"),
    (b'{"address": ["a@b.example"]}', "neither"), (b'{"mailbox": "a@b.example"}', "address is empty"),
    (b'{"address": "%s@b.example"}' % (b"x" * 70000), "too long"),
])
def test_bad_json(place, line, words):
    data = b'{"address": "good@b.example"}\n' + line + b"\n"
    out, err = place.run("alias", "import", "--format", "jsonl", data=data, check=1)
    assert ":2: " in err and words in err and "1 added" in out and "1 bad" in out
    assert place.rows("aliases") == []


def test_existing_rows(place):
    place.run("alias", "add", "one@example.com", "old@b.example", "--owner", "me", "--action", "reject")
    data = b"address,mailbox\none@example.com,new@b.example\ntwo@example.com,new@b.example\n"
    assert "exists already" in place.run("alias", "import", data=data, check=1)[1]
    assert "would be: 1 added, 1 updated" in place.run("alias", "import", "--update", "--dry-run", data=data)[0]
    assert place.rows("aliases")[0][1] == "old@b.example"
    place.run("alias", "import", "--update", data=data)
    assert place.rows("aliases") == [("one@example.com", "new@b.example", "me", None, "reject", None, None),
                                     ("two@example.com", "new@b.example", None, None, "accept", None, None)]
    # A reply must fit the action that the row has already.
    reply = b"address,reply\none@example.com,450 4.2.1 later\n"
    assert "450" in place.run("alias", "import", "--update", data=reply, check=1)[1]


def test_nothing_new(place):
    """What is as the file says is not updated, however often it is imported, and whatever the file has of it."""
    fill(place)
    for noun in ("alias", "domain", "sender", "client"):
        data = place.run(noun, "export")[0].encode()
        before = [place.rows(table) for table in ("aliases", "alias_globs", "domains", "sender_rules", "client_rules")]
        out, _ = place.run(noun, "import", "--update", data=data)
        assert out == "0 added, 0 updated, 0 bad\n", noun
        assert before == [place.rows(table) for table in ("aliases", "alias_globs", "domains", "sender_rules", "client_rules")]
    names = b"address\none@example.com\nshop-*@example.com\n"
    assert place.run("alias", "import", "--update", data=names)[0] == "0 added, 0 updated, 0 bad\n"
    text = b"map.example  anything\none@map.example  box@b.example\n"
    assert place.run("domain", "import", "--format", "postfix", "--update", data=text)[0] == "1 added, 0 updated, 0 bad\n"
    assert place.run("domain", "import", "--format", "postfix", "--update", data=text)[0] == "0 added, 0 updated, 0 bad\n"
    assert place.run("alias", "import", "--format", "postfix", data=text)[0] == "1 added, 0 updated, 0 bad\n"
    changed = text.replace(b"box@", b"other@")
    assert place.run("alias", "import", "--format", "postfix", "--update", data=changed)[0] == "0 added, 1 updated, 0 bad\n"
    assert "nothing to set" in place.run("domain", "set", "map.example", check=1)[1]


def test_replace(place):
    fill(place)
    domains = place.rows("domains")
    place.run("alias", "import", "--replace", data=b"address\nbad address\n", check=1)
    assert len(place.rows("aliases")) == 4 and len(place.rows("alias_globs")) == 2
    place.run("alias", "import", "--replace", data=b"address\nnew@example.com\n")
    assert [row[0] for row in place.rows("aliases")] == ["new@example.com"]
    assert place.rows("alias_globs") == [] and place.rows("domains") == domains


def test_replace_says_what_it_removes(place):
    """An import in place of many rows says first what it would do, and removes most of them only with --force."""
    rows = b"address,mailbox\n" + b"".join(b"a%d@example.com,box@b.example\n" % i for i in range(200))
    place.run("alias", "import", data=rows)
    for data in (b"address\n", rows[:2000]):
        dry, _ = place.run("alias", "import", "--replace", "--dry-run", data=data, check=1)
        out, err = place.run("alias", "import", "--replace", data=data, check=1)
        assert out == dry.replace("would be: ", "refused: ") and " removed" in out and "0 added" in out and "--force" in err
        assert len(place.rows("aliases")) == 200
    changed = rows.replace(b"a0@example.com,box@", b"a0@example.com,other@").replace(b"a1@", b"b1@")
    assert place.run("alias", "import", "--replace", data=changed)[0] == "1 added, 1 updated, 1 removed, 0 bad\n"
    out, _ = place.run("alias", "import", "--replace", "--json", "--force", data=b"address\n")
    assert json.loads(out) == {"added": 0, "updated": 0, "removed": 200, "bad": 0, "written": True}
    place.run("alias", "add", "one@example.com")
    assert "--force" in place.run("alias", "import", "--replace", data=b"address\n", check=1)[1]  # all of a few
    assert len(place.rows("aliases")) == 1
    place.run("alias", "export", "--force", check=64)


def test_interrupted(place):
    """Ctrl-C says that nothing changed, which is so."""
    place.run("alias", "add", "one@example.com")
    with subprocess.Popen([RCPTGATE, "alias", "import", "--replace", "--database", str(place.database)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, **SANITIZERS)) as process:
        process.stdin.write(b"address\n" + b"".join(b"a%d@example.com\n" % i for i in range(20000)))
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5 * PATIENCE)
        assert process.returncode == 130 and b"nothing was changed" in err, err
    assert [row[0] for row in place.rows("aliases")] == ["one@example.com"]


def test_usage(place):
    place.run("alias", "list", "--replace", check=64)
    place.run("alias", "import", "--owner", "me", check=64)
    place.run("alias", "import", "--format", "xml", check=64)
    place.run("alias", "import", place.scratch / "missing.csv", check=66)
    place.run("sender", "import", data=b"pattern,action\n@x.example,\n", check=1)
    place.run("alias", "import", "--dry-run", data=b"address\na@b.example\n")  # the database is there by now
    place.run("alias", "export", "/nonexistent/file.csv", check=73)


def test_dry_run_creates_nothing(place):
    assert "does not exist" in place.run("alias", "import", "--dry-run", data=b"address\na@b.example\n", check=1)[1]
    assert not place.database.exists()


def test_an_export_that_fails_leaves_the_old_file(place):
    place.run("alias", "add", "one@example.com")
    path = place.write("keep.jsonl", "precious\n")
    db = sqlite3.connect(str(place.database))
    db.execute("INSERT INTO aliases (address, owner) VALUES ('two@example.com', CAST(x'ff' AS TEXT))")
    db.commit()
    db.close()
    assert "JSON" in place.run("alias", "export", path, check=1)[1]
    assert path.read_text() == "precious\n"
    assert sorted(p.name for p in place.scratch.path.iterdir()) == ["keep.jsonl", "rules"]


def test_many_rows_and_progress(place):
    """One transaction, and on a terminal a line that tells how far it is."""
    rows = [f"a{i}@example.com,box{i % 100}@b.example\n".encode() for i in range(60000)]

    def feed(stdin):
        stdin.write(b"address,mailbox\n" + b"".join(rows[:30000]))
        stdin.flush()
        time.sleep(0.3)
        assert place.rows("aliases") == []
        stdin.write(b"".join(rows[30000:]))

    status, out, terminal = run_on_a_terminal([RCPTGATE, "alias", "import", "--database", str(place.database)], feed,
                                              env=dict(os.environ, **SANITIZERS))
    assert status == 0 and "60000 added" in out and b" rows, 0 bad" in terminal
    assert len(place.rows("aliases")) == 60000


def test_what_a_gate_will_refuse_is_said_at_once(place):
    """The last row of a table is gone: whoever runs the gate hears what to run, where it is done."""
    policy = place.write("policy.json", json.dumps({"state": str(place.scratch / "state"), "aliases": {"database": str(place.database)}}))
    why = "0 of 1 are left in aliases; restore it, or, if that is right, run: rcptgate alias accept"
    place.run("domain", "add", "example.com", "-c", policy)
    place.run("alias", "add", "a@example.com", "m@b.example", "-c", policy)
    place.run("alias", "add", "b@example.com", "m@b.example", "-c", policy)
    assert place.run("alias", "remove", "a@example.com", "-c", policy)[1] == ""
    empty, other = place.write("empty.csv", "address\n"), place.write("other.csv", "address,mailbox\nc@example.com,m@b.example\n")
    assert why in place.run("alias", "import", "--replace", "--force", "--dry-run", empty, "-c", policy)[1]
    assert place.run("alias", "import", "--replace", other, "-c", policy)[1] == ""
    place.run("alias", "add", "g*@example.com", "m@b.example", "-c", policy)
    for dry in ((), ("--dry-run",)):  # the only glob, beside an alias that stays
        out, said = place.run("alias", "import", "--replace", *dry, other, "-c", policy, check=1)
        assert out == ("would be: " if dry else "refused: ") + "0 added, 0 updated, 1 removed, 0 bad\n"
        assert said == "rcptgate alias: max_shrink does not allow it: 0 of 1 are left in alias_globs; nothing was written (--force does it)\n"
    assert place.rows("alias_globs") != []
    assert "alias_globs" in place.run("alias", "import", "--replace", "--force", other, "-c", policy)[1]
    assert why in place.run("alias", "remove", "c@example.com", "-c", policy)[1]
    place.run("sender", "add", "*", "reject", "-c", policy)
    assert place.run("sender", "remove", "*", "*", "-c", policy)[1] == "", "it refused: more is let through without it"


def test_the_last_friend_goes(place):
    """The only row that accepts, behind more that reject than a command counts: what holds now is said, and what a gate will ask."""
    policy = place.write("policy.json", json.dumps({"state": str(place.scratch / "state"), "aliases": {"database": str(place.database)}}))
    rows = "".join(f"10.1.{i}.1,reject\n" for i in range(150))
    place.run("client", "import", place.write("many.csv", "network,action\n" + rows), "-c", policy)
    for network, action in (("192.0.2.0/24", "reject"), ("192.0.0.0/16", "defer"), ("192.0.2.7", "accept"), ("192.0.2.9", "accept")):
        place.run("client", "add", network, action, "-c", policy)
    place.run("client", "add", "192.0.2.8/30", "accept", "--expires", "2001-01-01", "-c", policy)  # it was for a while
    assert place.run("client", "remove", "192.0.2.9", "-c", policy) == ("removed 192.0.2.9\n192.0.2.0/24 holds for it now: reject\n", "")
    place.run("client", "remove", "192.0.2.8/30", "-c", policy)
    said, warned = place.run("client", "remove", "192.0.2.7", "-c", policy)
    assert said == "removed 192.0.2.7\n192.0.2.0/24 holds for it now: reject\n"
    assert "0 of 1 are left in client_rules; restore it, or, if that is right, run: rcptgate alias accept" in warned
    assert place.run("client", "remove", "10.1.7.1", "-c", policy) == ("removed 10.1.7.1\n", "")
    place.run("client", "add", "192.0.2.7", "accept", "-c", policy)
    assert "0 of 1 are left" in place.run("client", "set", "192.0.2.7", "defer", "-c", policy)[1], "it accepts no more"
    place.run("client", "set", "192.0.2.7", "accept", "-c", policy)
    update = place.write("update.csv", "network,action\n192.0.2.7,reject\n")
    assert "0 of 1 are left" in place.run("client", "import", "--update", update, "-c", policy)[1]


# ------------------------------------------------------------------------------------------------- Postfix maps

VIRTUAL = """\
# what virtual(5) allows
example.com          anything
Example.NET          whatever, it is not read

shop@example.com     me@mailbox.example
both@example.com     me@mailbox.example,
    you@mailbox.example   third@mailbox.example
  # a comment between
    fourth@mailbox.example
Capital@Example.com  Me@Mailbox.example
@example.net         all@mailbox.example
"odd name"@example.com  odd@mailbox.example
"""


def test_a_virtual_map(place):
    """As Postfix reads the same file."""
    virtual = place.write("virtual", VIRTUAL)
    place.run("alias", "init")
    dry, said = place.run("alias", "import", "--format", "postfix", "--dry-run", virtual)
    assert "5" in dry + said and place.rows("aliases") == []
    place.run("domain", "import", "--format", "postfix", virtual)
    place.run("alias", "import", "--format", "postfix", virtual)
    assert [row[0] for row in place.rows("domains")] == ["example.com", "example.net"]
    ours = {row[0]: row[1].split(",") for row in place.rows("aliases")}
    ours.update({f"@{row[0]}": row[2].split(",") for row in place.rows("alias_globs") if row[1] == "*"})
    (place.scratch / "etc").mkdir()
    (place.scratch / "etc/main.cf").write_text("compatibility_level = 3.6\n")
    for key, mailboxes in ours.items():
        asked = subprocess.run(["postmap", "-c", place.scratch / "etc", "-q", key.lower().strip(), f"texthash:{virtual}"],
                               capture_output=True, text=True)
        assert asked.returncode == 0, (key, asked)
        assert [m.lower() for m in re.split(r"[,\s]+", asked.stdout.strip())] == [m.lower() for m in mailboxes]
    assert len(ours) == 5


@pytest.mark.parametrize("line, why", [
    ("root me@mailbox.example", "$myorigin"), ("a@example.com", "nothing behind"), ("sh*p@example.com me@mailbox.example", "globs"),
    ("@example.com @example.net", "domain for a domain"), ("a@example.com joe", "a@example.com"), ("  a@example.com b@x.example", "white space"),
])
def test_a_line_of_a_map_that_cannot_be(place, line, why):
    virtual = place.write("virtual", f"good@example.com me@mailbox.example\n{line}\n" if line[0] != " " else f"{line}\ngood@example.com me@m.example\n")
    _, said = place.run("alias", "import", "--format", "postfix", virtual, check=1)
    assert why in said or why in line and "joe" in said, said
    assert place.rows("aliases") == []
    place.run("alias", "import", "--format", "postfix", "--skip-bad", virtual)
    assert [row[0] for row in place.rows("aliases")] == ["good@example.com"]


def test_maps_go_out_and_in(place):
    fill(place)
    before = place.rows("aliases")
    out, said = place.run("alias", "export", "--format", "postfix")
    kept = [row for row in before if row[4] == "accept" and row[6] is None and row[1]]
    assert len(out.splitlines()) == len(kept) + sum(row[1] == "*" and bool(row[2]) for row in place.rows("alias_globs"))
    assert "left out" in said
    place.run("alias", "import", "--format", "postfix", "--update", data=out.encode())
    assert place.rows("aliases") == before
    domains, _ = place.run("domain", "export", "--format", "postfix")
    names = [row[0] for row in place.rows("domains")]
    place.run("domain", "import", "--format", "postfix", "--replace", data=domains.encode())
    assert [row[0] for row in place.rows("domains")] == names
    place.run("sender", "import", "--format", "postfix", "/dev/null", check=64)
