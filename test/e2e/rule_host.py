"""A host with a rule database, whose directory is somebody's who is not root."""

import contextlib
import os
import pwd
import shutil
import sqlite3
import subprocess

from harness import PATIENCE, RCPTGATE, SANITIZERS, rows_of

OTHER = pwd.getpwnam("nobody")


def run(*words, check=0, data=None, **options):
    done = subprocess.run([RCPTGATE, *map(str, words)], capture_output=True, input=data, timeout=5 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS), **options)
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert check is None or done.returncode == check, (words, done.returncode, out, err)
    return out if check == 0 else out + err


class Host:
    def __init__(self, scratch, name):
        self.directory = scratch / name
        self.directory.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.directory, OTHER.pw_uid, OTHER.pw_gid)
            self.directory.chmod(0o2770)
        self.path = self.directory / "aliases.db"
        run("alias", "init", "--database", self.path)

    def run(self, *words, **options):
        return run(*words, "--database", self.path, **options)

    def sql(self, sql, rows=None):
        db = sqlite3.connect(str(self.path), timeout=PATIENCE, isolation_level=None)
        try:
            if rows is None:
                return db.execute(sql).fetchall()
            db.execute("BEGIN IMMEDIATE")
            db.executemany(sql, rows)
            db.execute("COMMIT")
        finally:
            db.close()
            self._give_away()

    def rows(self):
        db = sqlite3.connect(str(self.path), timeout=PATIENCE)
        try:
            return rows_of(db)
        finally:
            db.close()
            self._give_away()

    def _give_away(self):
        """What was written here by us belongs to the directory's owner, as if it had been written there."""
        for path in self.directory.iterdir() if os.geteuid() == 0 else ():
            if path.name in ("aliases.db", "aliases.db-wal", "aliases.db-shm"):
                with contextlib.suppress(FileNotFoundError):  # the last to close it has removed it
                    shutil.chown(path, OTHER.pw_uid, OTHER.pw_gid)

    def fill(self, n, mailbox="box@b.example", start=0):
        self.sql("INSERT INTO aliases (address, mailbox) VALUES (?, ?)",
                 [(f"a{i}@example.com", mailbox) for i in range(start, start + n)])

    def versions(self):
        return sorted(path.name for path in self.directory.iterdir() if ".version-" in path.name)

    def left_over(self):
        """What nobody should find beside the database."""
        return [path.name for path in self.directory.iterdir()
                if path.name not in ("aliases.db", "aliases.db-wal", "aliases.db-shm") and ".version-" not in path.name]
