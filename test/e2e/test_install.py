"""A snapshot that is installed and rolled back while mail comes in. RCPTGATE_INSTALL_ROWS=1000000 makes it a big one."""

import json
import os
import sqlite3
import subprocess
import threading

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZED, SANITIZERS, World, wait_for
from rule_host import Host

ROWS = int(os.environ.get("RCPTGATE_INSTALL_ROWS", "20000" if SANITIZED else "100000"))


class Mail:
    """Sessions that name one recipient each, over and over, and note what they are told: (status, text)."""

    def __init__(self, world, recipients):
        self.world, self.stop = world, threading.Event()
        self.told = {recipient: [] for recipient in recipients}
        self.troubles = []
        self.threads = [threading.Thread(target=self._ask, args=(recipient,), daemon=True) for recipient in recipients]

    def _ask(self, recipient):
        try:
            with self.world.smtp() as smtp:
                while not self.stop.is_set():
                    smtp.mail("x@sender.example")
                    reply = smtp.command(f"RCPT TO:<{recipient}>")
                    self.told[recipient].append((reply.status, reply.text))
                    smtp.command("RSET")
        except Exception as trouble:  # noqa: told by the test
            self.troubles.append(trouble)

    def more(self):
        """Waits until each has been told something from now on."""
        seen = {recipient: len(told) for recipient, told in self.told.items()}
        wait_for(lambda: self.troubles or all(len(told) > seen[recipient] + 1 for recipient, told in self.told.items()), "no answers")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        if kind is None and self.troubles:
            raise self.troubles[0]


def generation_of(host, name, part, n):
    """Aliases of whom `part` percent belong to an owner who is named in the sender rules too: whoever saw one without the other would
    let the mail through."""
    host.sql("DELETE FROM aliases")
    host.sql("DELETE FROM sender_rules")
    host.sql("INSERT OR IGNORE INTO domains (domain) VALUES ('example.com')")
    host.sql("INSERT INTO aliases (address, mailbox, owner) VALUES (?, 'box@b.example', ?)",
             [(f"a{i}@example.com", name if i % 100 < part else None) for i in range(n)])
    host.sql("INSERT INTO aliases (address, mailbox) VALUES (?, 'box@b.example')", [("stays@example.com",), (f"{name}@example.com",)])
    host.sql("INSERT INTO sender_rules (scope, pattern, action, reply) VALUES (?, '*', 'defer', ?)", [(f"owner:{name}", f"450 4.7.1 {name}")])


def same_rows(one, other):
    db = sqlite3.connect(str(one), timeout=PATIENCE)
    try:
        db.execute("ATTACH ? AS other", (str(other),))
        return all(db.execute(f"SELECT count(*) FROM (SELECT * FROM {a}.{table} EXCEPT SELECT * FROM {b}.{table})").fetchone() == (0,)
                   for table in ("domains", "aliases", "sender_rules") for a, b in (("main", "other"), ("other", "main")))
    finally:
        db.close()


@pytest.mark.parametrize("part", [10, 100])
def test_each_recipient_meets_all_of_the_old_or_all_of_the_new(part):
    with World(store="memory") as world:
        gate, database = world.gate, world.database
        writer = Host(world.scratch, "writer")
        files = {}
        for name in ("old", "new"):
            generation_of(writer, name, part, ROWS)
            files[name] = world.scratch / f"{name}.snapshot"
            gate.command("alias", "snapshot", files[name], "--database", writer.path)
        gate.command("alias", "install", files["old"])
        database.share()

        def taken(name):
            return (gate.status()["aliases"]["in_force"] == "live" and (gate.state / "aliases.copy.db").exists()
                    and same_rows(gate.state / "aliases.copy.db", files[name]))

        wait_for(lambda: taken("old"), "the first rows are not taken")
        asked = [f"a{i}@example.com" for i in (0, 100, ROWS - 100)]
        with Mail(world, [*asked, "stays@example.com", "old@example.com", "new@example.com"]) as mail:
            with subprocess.Popen([RCPTGATE, "alias", "install", files["new"], "-c", gate.policy_path], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, env=dict(os.environ, **SANITIZERS)) as process:
                wait_for(lambda: (database.directory / "aliases.db.version-1").exists(), "the install does not begin")
                process.kill()
            killed_in_time = same_rows(database.path, files["old"])
            assert killed_in_time or same_rows(database.path, files["new"])
            mail.more()
            gate.command("alias", "install", files["new"])
            database.share()
            mail.more()
            wait_for(lambda: taken("new"), "the new rows are not taken")
            mail.more()
            assert same_rows(database.path, files["new"])
            for recipient in asked:
                assert mail.told[recipient][-1] == ("450 4.7.1", "4.7.1 new")
            assert mail.told["old@example.com"][-1][0] == "550 5.1.1" and mail.told["new@example.com"][-1][0].startswith("250")
            assert json.loads(gate.command("status", "--json"))["status"] == "healthy"
            before = {recipient: len(told) for recipient, told in mail.told.items()}
            gate.command("alias", "rollback")
            mail.more()
            assert same_rows(database.path, files["old"])
            wait_for(lambda: taken("old"), "the old rows are not taken again")
            mail.more()
        for recipient in asked:
            all_told, n = mail.told[recipient], before[recipient]
            # 451: nobody could tell, on a machine so slow
            first, then = ([text for status, text in part if status != "451 4.3.0"] for part in (all_told[:n], all_told[n:]))
            assert set(first + then) <= {"4.7.1 old", "4.7.1 new"}, set(all_told)
            assert first == sorted(first, reverse=True) and then == sorted(then, reverse=False), "what was replaced never comes again"
            assert first[0] == then[-1] == "4.7.1 old"
        assert {status[:3] for status, _ in mail.told["stays@example.com"]} == {"250"}
        told = [status[:3] for status, _ in mail.told["new@example.com"][:before["new@example.com"]]]
        assert "550" not in told[told.index("250"):], "who exists is never unknown"


def test_the_gate_takes_what_was_forced():
    with World(store="memory", mta=False) as world:
        writer = Host(world.scratch, "writer")
        writer.fill(300)
        writer.run("domain", "add", "example.com")
        big, small = world.scratch / "big", world.scratch / "small"
        writer.run("alias", "snapshot", big)
        writer.run("alias", "import", "--replace", "--force", data=b"address,mailbox\na0@example.com,box@b.example\n")
        writer.run("alias", "snapshot", small)
        world.gate.command("alias", "install", big)
        world.settled()
        assert "max_shrink" in world.gate.command("alias", "install", small, check=1)
        world.gate.command("alias", "install", small, "--force")
        world.settled()
        assert json.loads(world.gate.command("status", "--json"))["status"] == "healthy"
        assert "550 5.1.1" in world.gate.command("explain", "--to", "a7@example.com")
        world.gate.command("alias", "rollback")
        world.settled()
        assert "go on" in world.gate.command("explain", "--to", "a7@example.com")
        world.gate.stop()
        world.gate.command("alias", "install", small, "--force")
        world.gate.start()
        world.settled()
        assert json.loads(world.gate.command("status", "--json"))["status"] == "healthy"
