"""The SQL of contrib/migration on small tables of the applications, and what a gate then says. In SQLite, which understands it with a few
functions more; RCPTGATE_PSQL="psql ..." and RCPTGATE_MYSQL="mysql ..." name the real engines, on an empty database that may be filled."""

import csv
import io
import json
import os
import shlex
import sqlite3
import subprocess

import pytest

from harness import PATIENCE, SOURCE, World

MIGRATION = SOURCE / "contrib/migration"

# As far as the SQL asks for it, in words that all engines know.
SIMPLELOGIN = """
CREATE TABLE users (id INTEGER PRIMARY KEY, disabled BOOLEAN NOT NULL, delete_on TIMESTAMP, block_behaviour VARCHAR(20) NOT NULL);
CREATE TABLE public_domain (domain VARCHAR(128) NOT NULL);
CREATE TABLE custom_domain (user_id INTEGER NOT NULL, domain VARCHAR(128) NOT NULL, verified BOOLEAN NOT NULL);
CREATE TABLE mailbox (id INTEGER PRIMARY KEY, email VARCHAR(256) NOT NULL, verified BOOLEAN NOT NULL);
CREATE TABLE alias (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, email VARCHAR(128) NOT NULL, enabled BOOLEAN NOT NULL, custom_domain_id INTEGER,
                    mailbox_id INTEGER NOT NULL, delete_on TIMESTAMP);
CREATE TABLE alias_mailbox (alias_id INTEGER NOT NULL, mailbox_id INTEGER NOT NULL);
CREATE TABLE deleted_alias (email VARCHAR(256) NOT NULL);
CREATE TABLE domain_deleted_alias (email VARCHAR(256) NOT NULL);
CREATE TABLE contact (alias_id INTEGER NOT NULL, website_email VARCHAR(512) NOT NULL, block_forward BOOLEAN NOT NULL);
INSERT INTO users VALUES (1, FALSE, NULL, 'return_2xx'), (2, FALSE, NULL, 'return_5xx'), (3, TRUE, NULL, 'return_2xx');
INSERT INTO public_domain VALUES ('sl.example'), ('Other.example');
INSERT INTO custom_domain VALUES (2, 'custom.example', TRUE), (2, 'unproved.example', FALSE), (2, 'sl.example', TRUE);
INSERT INTO mailbox VALUES (1, 'one@box.example', TRUE), (2, 'two@box.example', TRUE), (3, 'unproved@box.example', FALSE);
INSERT INTO alias VALUES (1, 1, 'shop@sl.example', TRUE, NULL, 2, NULL), (2, 1, 'off@sl.example', FALSE, NULL, 1, NULL),
    (3, 2, 'off@custom.example', FALSE, 9, 2, NULL), (4, 2, 'trash@custom.example', TRUE, 9, 2, '2026-01-01 00:00:00'),
    (5, 3, 'user@sl.example', TRUE, NULL, 3, NULL), (6, 2, 'again@custom.example', TRUE, 9, 2, NULL);
INSERT INTO alias_mailbox VALUES (1, 1), (1, 2), (1, 3);
INSERT INTO deleted_alias VALUES ('gone@sl.example');
INSERT INTO domain_deleted_alias VALUES ('gone@custom.example'), ('again@custom.example');
INSERT INTO contact VALUES (1, 'Spam@bad.example', TRUE), (6, 'spam@bad.example', TRUE), (6, 'good@shop.example', FALSE), (6, 'no address', TRUE),
    (6, 'a"b c"@bad.example', TRUE);
"""

ADDY = """
CREATE TABLE users (id CHAR(36) PRIMARY KEY, default_recipient_id CHAR(36), reject_until TIMESTAMP NULL, defer_until TIMESTAMP NULL);
CREATE TABLE usernames (id CHAR(36) PRIMARY KEY, user_id CHAR(36), username VARCHAR(255), active BOOLEAN, default_recipient_id CHAR(36));
CREATE TABLE domains (id CHAR(36) PRIMARY KEY, user_id CHAR(36), domain VARCHAR(255), active BOOLEAN, domain_verified_at TIMESTAMP NULL,
                      default_recipient_id CHAR(36));
CREATE TABLE aliases (id CHAR(36) PRIMARY KEY, user_id CHAR(36), aliasable_id CHAR(36), email VARCHAR(255), active BOOLEAN, deleted_at TIMESTAMP NULL);
CREATE TABLE alias_recipients (id CHAR(36) PRIMARY KEY, alias_id CHAR(36), recipient_id CHAR(36));
CREATE TABLE blocked_senders (user_id CHAR(36), type VARCHAR(10), value VARCHAR(255));
INSERT INTO users VALUES ('u1', 'r1', NULL, NULL), ('u2', 'r2', NULL, '2037-01-01 00:00:00'), ('u3', 'r3', '2037-01-01 00:00:00', '2037-01-01 00:00:00'),
    ('u4', 'r4', '2001-01-01 00:00:00', NULL);
INSERT INTO usernames VALUES ('n1', 'u1', 'Anna', TRUE, NULL), ('n2', 'u4', 'Off', FALSE, 'r5');
INSERT INTO domains VALUES ('d1', 'u1', 'custom.example', TRUE, '2026-01-01 00:00:00', 'r6'), ('d2', 'u1', 'off.example', FALSE, '2026-01-01 00:00:00', NULL),
    ('d3', 'u1', 'unproved.example', TRUE, NULL, NULL);
INSERT INTO aliases VALUES ('a1', 'u1', NULL, 'Shop@addy.example.com', TRUE, NULL), ('a2', 'u1', NULL, 'off@addy.example.com', FALSE, NULL),
    ('a3', 'u1', 'd1', 'gone@custom.example', TRUE, '2026-01-01 00:00:00'), ('a4', 'u2', NULL, 'later@addy.example.com', TRUE, NULL),
    ('a5', 'u3', NULL, 'full@addy.example.com', TRUE, NULL), ('a6', 'u4', 'n2', 'x@off.addy.example.com', TRUE, NULL),
    ('a7', 'u1', 'd1', 'here@custom.example', TRUE, NULL), ('a8', 'u1', 'n1', 'y@anna.addy.example.com', TRUE, NULL);
INSERT INTO alias_recipients VALUES ('x1', 'a1', 'r9'), ('x2', 'a1', 'r8');
INSERT INTO blocked_senders VALUES ('u1', 'email', 'Spam@bad.example'), ('u1', 'domain', 'worse.example'), ('u1', 'email', 'nonsense');
"""


class StringAgg:
    def __init__(self):
        self.parts = []

    def step(self, value, separator):
        self.parts.append(value)
        self.separator = separator

    def finalize(self):
        return self.separator.join(self.parts)


class Lite:
    """SQLite with what the others have more."""

    def __init__(self, schema):
        self.db = sqlite3.connect(":memory:")
        self.db.create_function("concat", -1, lambda *parts: None if None in parts else "".join(parts))
        self.db.create_function("now", 0, lambda: "2026-11-29 12:00:00")
        self.db.create_aggregate("string_agg", 2, StringAgg)
        self.db.executescript(schema)

    def run(self, path):
        """As psql --csv, or as mysql -NBr: by what the columns are."""
        cursor = self.db.execute(path.read_text())
        rows = cursor.fetchall()
        if len(cursor.description) == 1:
            return "".join(row[0] + "\n" for row in rows).encode()
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(column[0] for column in cursor.description)
        writer.writerows(rows)
        return out.getvalue().encode()


class Real:
    def __init__(self, command, schema):
        self.command = shlex.split(command)
        self._ask([], schema.encode())

    def _ask(self, more, sql):
        return subprocess.run(self.command + more, input=sql, check=True, capture_output=True, timeout=PATIENCE).stdout

    def run(self, path):
        psql = "psql" in self.command[0]
        return self._ask(["-Xq", "--csv", "-v", "ON_ERROR_STOP=1"] if psql else ["-NBr"], path.read_bytes())


def engines(name, schema):
    yield pytest.param(lambda: Lite(schema), id="sqlite")
    if name in os.environ:
        yield pytest.param(lambda: Real(os.environ[name], schema), id=name.removeprefix("RCPTGATE_").lower())


def import_all(world, engine, application):
    files = {}
    for noun, what in (("domain", "domains"), ("alias", "aliases"), ("sender", "senders")):
        files[noun] = world.scratch / f"{what}.rows"
        files[noun].write_bytes(engine.run(MIGRATION / f"{application}-{what}.sql"))
        world.gate.command(noun, "import", "--replace", files[noun])
    world.database.share()
    world.settled()
    for noun, path in files.items():  # a timer changes nothing where nothing changed
        assert "0 added, 0 updated, 0 removed" in world.gate.command(noun, "import", "--replace", path)


def verdicts(world, pairs):
    found = {}
    for to, sender in pairs:
        report = json.loads(world.gate.command("explain", "--to", to, "--from", sender, "--client", "192.0.2.1", "--json"))
        found[to, sender] = report["verdict"]
    return found


@pytest.mark.parametrize("engine", engines("RCPTGATE_PSQL", SIMPLELOGIN))
def test_simplelogin(engine):
    with World(store="memory", mta=False, domains=()) as world:
        world.gate.write_policy(aliases={"database": str(world.database.path), "subaddress": ""})
        import_all(world, engine(), "simplelogin")
        domains, aliases, _, senders, _ = world.database.rows()
        assert domains == [("custom.example", "accept", "accept", "2", "custom", None), ("other.example", "accept", "accept", None, "shared", None),
                           ("sl.example", "accept", "accept", None, "shared", None)]
        assert {row[0]: row[1:5] for row in aliases} == {
            "shop@sl.example": ("one@box.example,two@box.example", "1", "shared", "accept"),
            "off@sl.example": ("one@box.example", "1", "shared", "discard"),
            "off@custom.example": ("two@box.example", "2", "custom", "reject"),
            "trash@custom.example": ("two@box.example", "2", "custom", "reject"),
            "user@sl.example": (None, "3", "shared", "reject"),
            "again@custom.example": ("two@box.example", "2", "custom", "accept"),
            "gone@sl.example": (None, None, None, "reject"), "gone@custom.example": (None, None, None, "reject")}
        assert [row[:3] for row in senders] == [("again@custom.example", "spam@bad.example", "reject"), ("shop@sl.example", "spam@bad.example", "discard")]
        assert verdicts(world, [("shop@sl.example", "a@b.example"), ("shop@sl.example", "spam@bad.example"), ("again@custom.example", "spam@bad.example"),
                                ("gone@sl.example", "a@b.example"), ("bounce+17+@sl.example", "<>"), ("new@sl.example", "a@b.example"),
                                ("x@elsewhere.example", "a@b.example")]) == {
            ("shop@sl.example", "a@b.example"): "accept", ("shop@sl.example", "spam@bad.example"): "discard",
            ("again@custom.example", "spam@bad.example"): "reject", ("gone@sl.example", "a@b.example"): "reject",
            ("bounce+17+@sl.example", "<>"): "accept", ("new@sl.example", "a@b.example"): "accept", ("x@elsewhere.example", "a@b.example"): "accept"}


@pytest.mark.parametrize("engine", engines("RCPTGATE_MYSQL", ADDY))
def test_addy(engine):
    with World(store="memory", mta=False, domains=()) as world:
        import_all(world, engine(), "addy")
        domains, aliases, _, senders, _ = world.database.rows()
        assert {row[0]: (row[1], row[2], row[3]) for row in domains} == {
            "addy.example.com": ("accept", "accept", None), ".addy.example.com": ("accept", "accept", None),
            "mail.example.com": ("accept", "accept", None), ".mail.example.com": ("accept", "accept", None),
            "off.addy.example.com": ("discard", "accept", "u4"), "off.mail.example.com": ("discard", "accept", "u4"),
            "custom.example": ("accept", "accept", "u1"), "off.example": ("discard", "accept", "u1")}
        assert {row[0]: row[1:5] for row in aliases} == {
            "shop@addy.example.com": ("r8@recipient.invalid", "u1", "shared", "accept"),
            "off@addy.example.com": ("r1@recipient.invalid", "u1", "shared", "discard"),
            "gone@custom.example": ("r6@recipient.invalid", "u1", "custom", "reject"),
            "later@addy.example.com": ("r2@recipient.invalid", "u2", "shared", "defer"),
            "full@addy.example.com": ("r3@recipient.invalid", "u3", "shared", "reject"),
            "x@off.addy.example.com": ("r5@recipient.invalid", "u4", "username", "accept"),
            "here@custom.example": ("r6@recipient.invalid", "u1", "custom", "accept"),
            "y@anna.addy.example.com": ("r1@recipient.invalid", "u1", "username", "accept")}
        assert [row[:3] for row in senders] == [("owner:u1", "@worse.example", "reject"), ("owner:u1", "spam@bad.example", "reject")]
        assert verdicts(world, [("shop+2@addy.example.com", "a@b.example"), ("shop@addy.example.com", "x@worse.example"),
                                ("x@off.addy.example.com", "a@b.example"), ("new@anna.addy.example.com", "a@b.example"),
                                ("later@addy.example.com", "a@b.example")]) == {
            ("shop+2@addy.example.com", "a@b.example"): "accept", ("shop@addy.example.com", "x@worse.example"): "reject",
            ("x@off.addy.example.com", "a@b.example"): "discard", ("new@anna.addy.example.com", "a@b.example"): "accept",
            ("later@addy.example.com", "a@b.example"): "defer"}


def test_bad_rows_and_an_empty_database_change_nothing():
    with World(store="memory", mta=False, domains=()) as world:
        import_all(world, Lite(SIMPLELOGIN), "simplelogin")
        before = world.database.rows()
        empty = Lite(SIMPLELOGIN.split("INSERT")[0])
        for noun, what in (("domain", "domains"), ("alias", "aliases"), ("sender", "senders")):
            rows = world.scratch / "rows.csv"
            rows.write_bytes(empty.run(MIGRATION / f"simplelogin-{what}.sql"))
            assert "--force" in world.gate.command(noun, "import", "--replace", rows, check=1)
        bad = Lite(SIMPLELOGIN + "INSERT INTO alias VALUES (7, 1, 'no address', TRUE, NULL, 1, NULL);")
        rows.write_bytes(bad.run(MIGRATION / "simplelogin-aliases.sql"))
        assert "no address" in world.gate.command("alias", "import", "--replace", rows, check=1)
        assert world.database.rows() == before
