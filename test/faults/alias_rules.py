"""Addresses and the alias database, read as the manual says and without a line of the gate: what the file held, and when."""

import ipaddress
import os
import re
import sqlite3
import time
from collections import deque

NOTICED = 3.0  # seconds: a file that was replaced or broken is noticed within 1 s and then validated
LOOKED = 0.4  # how old our own look at a file can be; more often would keep the -wal of one that changes from being emptied
TICK = 20_000_000  # nanoseconds: a file that was written to so lately may be again without a trace in its times

ATOM = r"[^\s\x00-\x1f\x7f()<>\[\]:;@\\,.\"]+"
LOCAL = re.compile(rf"{ATOM}(?:\.{ATOM})*|\"(?:[^\x00-\x1f\x7f\"\\]|\\[\x20-\x7e])*\"")
LABEL = r"[^\W_](?:[\w-]*[^\W_])?"
DOMAIN = re.compile(rf"{LABEL}(?:\.{LABEL})*\.?|\[[^\[\]\\\s]+\]")


def bare(text):
    """Without < > and source route."""
    text = text.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    return re.sub(r"^@[^:]*:", "", text)


def is_address(text):
    """By RFC 5321, 4.1.2 and 4.5.3.1, and RFC 6531."""
    local, at, domain = bare(text).rpartition("@")
    try:
        long = len(local.encode()) > 64 or len(domain.encode()) > 255 or len(text.encode()) > 320
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return bool(at and not long and LOCAL.fullmatch(local) and DOMAIN.fullmatch(domain))


def canonical(text):
    """(local part, domain) as rules are written."""
    local, _, domain = bare(text).rpartition("@")
    domain = domain.rstrip(".").lower()
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        pass
    if len(local) > 1 and local[0] == local[-1] == '"':
        inner = re.sub(r"\\(.)", r"\1", local[1:-1])
        if re.fullmatch(rf"{ATOM}(?:\.{ATOM})*", inner):
            local = inner
    return re.sub("[A-Z]+", lambda m: m.group().lower(), local), domain


# ------------------------------------------------------------------------------------------------- alias rules

def matches_glob(text, glob):
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(c) or re.escape(c) for c in glob), text, re.S) is not None


class Rules:
    """One reading of the whole alias database; an sqlite3.Error or ValueError says why it is none."""

    COLUMNS = {"domains": "domain action catch_all owner class", "sender_rules": "scope pattern action",
               "aliases": "address action owner class mailbox expires_at", "client_rules": "network action expires_at",
               "alias_globs": "domain glob action owner class mailbox"}
    LARGEST = 16 << 20  # bytes; a larger one would take too long to read, and proves nothing

    def __init__(self, path, options=""):
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("no regular file")  # to open a pipe would be to wait
        db = sqlite3.connect(f"file:{path}?mode=ro{options}", uri=True, timeout=0, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            def pragma(name):
                return db.execute(f"PRAGMA {name}").fetchone()[0]

            db.execute("BEGIN")
            if pragma("page_count") * pragma("page_size") > self.LARGEST:
                raise ValueError("too large")
            if pragma("integrity_check") != "ok" or pragma("user_version") != 1:
                raise ValueError("corrupt, or of another version")
            tables = {name: [dict(row) for row in db.execute(f"SELECT {', '.join(columns.split())} FROM {name}")]
                      for name, columns in self.COLUMNS.items()}
        finally:
            db.close()
        for row in [row for rows in tables.values() for row in rows]:
            if not all(isinstance(v, (int if k == "expires_at" else str, type(None))) for k, v in row.items()):
                raise ValueError("a value has the wrong type")
        self.domains = {row["domain"]: row for row in tables["domains"]}
        self.aliases = {row["address"]: row for row in tables["aliases"]}
        self.globs, self.senders, self.clients = tables["alias_globs"], tables["sender_rules"], tables["client_rules"]

    def __len__(self):
        return len(self.aliases)

    def lost_all_of(self, good):
        return any(getattr(good, table) and not getattr(self, table) for table in ("domains", "aliases", "globs"))

    def find(self, local, domain):
        """The row of this recipient, and how it was found: "exact", "glob", "catch-all", "absent"; None: not ours."""
        if domain not in self.domains:
            return None, None
        for address in (f"{local}@{domain}", f"{local.partition('+')[0]}@{domain}"):
            if address in self.aliases:
                return self.aliases[address], "exact"
        globs = [row for row in self.globs if row["domain"] == domain and matches_glob(local, row["glob"])]
        if globs:
            return min(globs, key=lambda row: (-sum(c not in "*?" for c in row["glob"]), row["glob"])), "glob"
        return self.domains[domain], "catch-all" if self.domains[domain]["catch_all"] == "accept" else "absent"

    def words(self, local, domain):
        """Whom rules and `when` can ask for: the alias row's words, the domain's where it has none."""
        row, _ = self.find(local, domain)
        ours = self.domains.get(domain, {})
        return {key: (row or {}).get(key) or ours.get(key) for key in ("owner", "class", "mailbox")}

    def refusals(self, local, domain, sender, exact):
        """(what refuses, action) of each rule that refuses or drops this recipient. exact: of a copy, which is asked for its exact
        rows only."""
        row, how = self.find(local, domain)
        if how is None:
            return
        expired = row.get("expires_at") is not None and row["expires_at"] <= time.time()
        if how == "exact" and not expired:
            yield "alias", row["action"]
        if not exact:
            if expired or how == "absent":
                yield "unknown", "reject"
            yield "alias", self.domains[domain]["action"]
            if how == "glob":
                yield "alias", row["action"]
        scopes = {f"{local}@{domain}", f"{local.partition('+')[0]}@{domain}", f"@{domain}", "*",
                  f"owner:{self.words(local, domain)['owner']}"}
        of_sender = sender.rpartition("@")[2]
        for rule in self.senders:
            pattern = rule["pattern"]
            if rule["scope"] in scopes and (pattern == (sender or "<>") or not exact and (
                    pattern in ("*", f"@{of_sender}") or pattern.startswith("@.") and of_sender.endswith(pattern[1:]))):
                yield "sender", rule["action"]

    def refuses_client(self, client):
        address = ipaddress.ip_address(client)
        fitting = [(ipaddress.ip_network(row["network"]).prefixlen, row["action"]) for row in self.clients
                   if address in ipaddress.ip_network(row["network"])
                   and (row["expires_at"] is None or row["expires_at"] > time.time())]
        return bool(fitting) and max(fitting)[1] == "reject"


class Database:
    """What the file held, over time. A reading is None where the file proved nothing."""

    def __init__(self):
        self.readings = deque(maxlen=400)  # (when, inode, Rules or None)
        self.good, self.seen, self.wal_of, self.most = None, None, {}, 0

    def meant(self):
        """The test says that what the file holds now is right, however much it lost."""
        self.most, self.seen = 0, None

    @staticmethod
    def _signature(path):
        """What changes with the file. It must not be opened here: closing it would drop the locks that the test itself holds."""
        found = []
        for suffix in ("", "-wal"):
            try:
                stat = os.stat(f"{path}{suffix}")
                found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
            except OSError:
                found.append(None)
        return found

    def look(self, path):
        signature = self._signature(path)
        if signature == self.seen:
            return
        now, rules = time.monotonic(), None
        just_written = max(found[2] for found in [*signature, (0, 0, 0)] if found) > time.time_ns() - TICK
        inode = signature[0] and signature[0][0]
        try:
            if inode:
                rules = Rules(path, self._options(path, inode))
                if self.most and (len(rules) < self.most / 2 and self.most >= 100 or rules.lost_all_of(self.good)):
                    rules = None
        except (sqlite3.Error, ValueError, OSError):
            pass
        self.seen = None if just_written or signature != self._signature(path) else signature
        self.readings.append((now, inode, rules))
        if rules is not None:
            self.good, self.most = rules, len(rules)

    def _options(self, path, inode):
        """A -wal that was there before the file is of the file that was there before. (SQLite has no locks on a -wal.)"""
        try:
            with open(f"{path}-wal", "rb") as wal:
                salts = wal.read(24)[16:]
        except OSError:
            return ""
        return "&immutable=1" if salts and self.wal_of.setdefault(salts, inode) != inode else ""

    def between(self, begin, end):
        """The readings that held at some time from `begin` to `end`."""
        readings = list(self.readings)
        ends = [when for when, _, _ in readings[1:]] + [float("inf")]
        return [(inode, rules) for (when, inode, rules), until in zip(readings, ends) if when <= end and until >= begin]

    def in_force(self, begin, end):
        """The rules that could answer: (Rules, exact rows only)."""
        recent = self.between(begin - NOTICED, end)
        calm = len({inode for inode, _ in recent}) == 1 and all(rules is not None for _, rules in recent)
        for _, rules in self.between(begin - LOOKED, end) if calm else recent:
            if rules is not None:
                yield rules, False
        if not calm and self.good is not None:
            yield self.good, True
