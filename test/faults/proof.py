"""What a 5xx or a dropped recipient can stand on, found out without the gate: from the alias database and the policy file as
they stood when the gate answered, from what it let through before, from blocks that the test set, from the address itself.

It is meant to be unfair to the gate: what cannot be shown here is a wrong answer."""

import ipaddress
import json
import os
import re
import sqlite3
import threading
import time
from collections import defaultdict, deque
from fnmatch import fnmatchcase

NOTICED = 3.0   # seconds: a file that was replaced or broken is noticed within 1 s and then validated
LOOKED = 0.1    # how old our own look at a file can be
TICK = 20_000_000  # nanoseconds: files that were written to so lately may be again without a trace in their times
RETURNED = 2.0  # what was charged is given back within a second; a busy machine has two
SLACK = 1.1     # a count may hold on to what is 1.1 windows old

# --------------------------------------------------------------------------------------------------- addresses

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
        if os.path.getsize(path) > self.LARGEST:
            raise ValueError("too large")
        db = sqlite3.connect(f"file:{path}?mode=ro{options}", uri=True, timeout=0, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            db.execute("BEGIN")
            if db.execute("PRAGMA quick_check").fetchone()[0] != "ok" or db.execute("PRAGMA user_version").fetchone()[0] != 1:
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

    def words(self, local, domain, sender):
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
                  f"owner:{self.words(local, domain, sender)['owner']}"}
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
                if len(rules) < self.most / 2 and self.most >= 100:
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


# ------------------------------------------------------------------------------------------------------ policy

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
SUBJECTS = {"recipient", "mailbox", "recipient_domain", "owner", "sender", "sender_domain", "client", "host", "all"}
FLAGS = {"null_sender", "unknown", "authenticated", "catch_all"}
WORDS = {"class", "recipient_domain", "sender_domain", "client"}


def seconds(text):
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text if isinstance(text, str) else "")
    return int(found.group(1)) * UNITS[found.group(2)] if found else None


class Limit:
    def __init__(self, entry):
        self.name, self.over, self.max = entry["name"], entry.get("over", "defer"), entry["max"]
        self.per = entry["per"] if isinstance(entry["per"], list) else [entry["per"]]
        self.window, self.hold = seconds(entry["window"]), seconds(entry.get("hold")) or 0
        self.attempts = entry.get("count", "recipients") == "attempts"
        self.when = entry.get("when", {})
        self.shadow = entry.get("shadow", False)
        if type(self.max) is not int or self.max < 0 or self.window is None or not set(self.per) <= SUBJECTS or \
                not all(self._is_condition(*entry) for entry in self.when.items()) or \
                self.over not in ("defer", "reject", "discard") or entry.get("count", "recipients") not in ("recipients", "attempts"):
            raise ValueError("no limit, or none that is counted here")

    @staticmethod
    def _is_condition(name, value):
        if name in FLAGS:
            return isinstance(value, bool)
        words = value if isinstance(value, list) else [value]
        return name in WORDS and words and all(isinstance(word, str) and word for word in words)

    def key(self, facts):
        """Under which the RCPT is counted; None: the limit does not apply."""
        for condition, wanted in self.when.items():
            wanted = wanted if isinstance(wanted, list) else [wanted]
            if condition == "client":
                if facts["address"] is None or not any(
                        facts["address"] in ipaddress.ip_network(network, strict=False) for network in wanted):
                    return None
            elif facts.get(condition) not in wanted:
                return None
        key = tuple(facts.get(word) for word in self.per)
        return None if None in key else (self.name, *key)


class Policy:
    """The policy file over time: a bad file leaves the last good one in force, a bad entry its last good version."""

    def __init__(self):
        self.versions = deque(maxlen=400)  # (when, {name: Limit}, shadow mode, exempt recipients)
        self.seen, self.database = None, None

    def look(self, path):
        try:
            stat = os.stat(path)
            if (path, stat.st_ino, stat.st_size, stat.st_mtime_ns) == self.seen:
                return
            self.seen = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            with open(path, encoding="utf-8") as text:
                policy = json.load(text)
        except (OSError, ValueError):
            return
        if not isinstance(policy, dict):
            return
        old = self.versions[-1][1] if self.versions else {}
        entries = policy.get("limits", [])
        limits = old if not isinstance(entries, list) else {}
        for entry in entries if isinstance(entries, list) else []:
            try:
                limits[entry["name"]] = Limit(entry)
            except (AttributeError, KeyError, TypeError, ValueError):
                if isinstance(entry, dict) and isinstance(entry.get("name"), str) and entry["name"] in old:
                    limits[entry["name"]] = old[entry["name"]]
        try:
            self.database = policy["aliases"]["database"]
        except (KeyError, TypeError):
            pass
        exempt = policy.get("exempt")
        exempt = exempt.get("recipients") if isinstance(exempt, dict) else None
        self.versions.append((time.monotonic(), limits, policy.get("mode") == "shadow",
                              exempt if isinstance(exempt, list) else ["postmaster@*", "abuse@*"]))

    def in_force(self, begin, end):
        versions = list(self.versions)
        ends = [version[0] for version in versions[1:]] + [float("inf")]
        return [version[1:] for version, until in zip(versions, ends) if version[0] <= end and until >= begin - NOTICED]


# ------------------------------------------------------------------------------------------------------- proof

class Charge:
    """One RCPT that was let through, until its message is over; given_back: when it was not finished."""

    def __init__(self):
        self.when, self.given_back = time.monotonic(), None

    def counts(self, since):
        return self.when >= since and (self.given_back is None or self.given_back > time.monotonic() - RETURNED)


class Shared:
    """What the gates of one test know of each other."""

    def __init__(self):
        self.lock = threading.RLock()
        self.counts = defaultdict(deque)  # limit and subject: charges
        self.tripped = {}  # limit and subject: since when it is held
        self.blocks = []  # networks that the test has blocked


class Proof:
    """Everything that is known about one gate. policy_path: a function, since a test may give the gate another file."""

    def __init__(self, policy_path, shared=None):
        self.policy_path, self.database, self.policy, self.shared = policy_path, Database(), Policy(), shared or Shared()
        self.lock, self.over = self.shared.lock, threading.Event()
        self.look()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self.over.wait(LOOKED / 2):
            self.look()

    def look(self):
        with self.lock:
            self.policy.look(str(self.policy_path()))
            if self.policy.database:
                self.database.look(self.policy.database)

    def block(self, network):
        """The test has blocked these clients, from now on."""
        self.shared.blocks.append(ipaddress.ip_network(network))

    # ---- what is counted

    def facts(self, client, sender, recipient):
        """What limits can ask about a RCPT."""
        local, domain = canonical(recipient)
        of_alias, how = {}, None
        if self.database.good is not None:
            of_alias = self.database.good.words(local, domain, sender)
            how = self.database.good.find(local, domain)[1]
        try:
            address = ipaddress.ip_address(client)
            network = ipaddress.ip_network((address, 32 if address.version == 4 else 64), strict=False)
        except ValueError:
            address = network = None
        return {**of_alias, "recipient": f"{local.partition('+')[0]}@{domain}", "recipient_domain": domain, "client": network,
                "address": address, "sender": sender or None, "sender_domain": sender.rpartition("@")[2] or None, "host": "",
                "all": "", "null_sender": not sender, "unknown": how == "absent", "catch_all": how in ("glob", "catch-all"),
                "authenticated": False}

    def _count(self, facts, charge, attempts):
        with self.lock:
            for limits, _, _ in self.policy.in_force(charge.when, charge.when)[-1:]:
                for limit in limits.values():
                    key = limit.key(facts) if limit.attempts == attempts else None
                    if key is not None:
                        counted = self.shared.counts[key]
                        counted.append(charge)
                        while counted[0].when < charge.when - SLACK * limit.window:
                            counted.popleft()
                        if attempts and limit.hold and len(counted) > limit.max:
                            self.shared.tripped[key] = charge.when

    def attempt(self, facts):
        self._count(facts, Charge(), True)

    def admit(self, facts):
        charge = Charge()
        self._count(facts, charge, False)
        return charge

    # ---- what can be shown

    def refused(self, code, facts, sender, recipient, begin):
        """Why this recipient could be refused for good ("550 5.1.1"), by what held since `begin`; None: nothing says so."""
        if code.startswith("553"):
            return None if is_address(recipient) else "no address"
        wanted = {"5.1.1": {"unknown"}, "5.2.1": {"alias"}}.get(code.partition(" ")[2], {"unknown", "alias", "sender"})
        return self._rule("reject", wanted, facts, sender, recipient, begin) or \
            (self._limit("reject", facts, begin) or self.refused_client(facts, begin) if "sender" in wanted else None)

    def dropped(self, facts, sender, recipient, begin):
        """Why this recipient could be dropped from a message that was taken."""
        return self._rule("discard", {"alias", "sender"}, facts, sender, recipient, begin) or \
            self._limit("discard", facts, begin)

    def refused_client(self, facts, begin):
        """Why this client could be refused, whatever it asks for."""
        with self.lock:
            address = facts["address"]
            if address is None:
                return None
            if any(address in network for network in self.shared.blocks):
                return "a block"
            if any(rules.refuses_client(str(address)) for rules, _ in self.database.in_force(begin, time.monotonic())):
                return "a client rule"
            for limits, shadow, _ in self.policy.in_force(begin, time.monotonic()):
                for limit in limits.values():
                    held = self.shared.tripped.get((limit.name, facts["client"]))
                    if limit.per == ["client"] and limit.over == "reject" and held is not None and not shadow and \
                            held + limit.hold > begin:
                        return f"held by {limit.name}"
        return None

    def _rule(self, action, wanted, facts, sender, recipient, begin):
        local, domain = canonical(recipient)
        with self.lock:
            for _ in range(2):  # what is known may be older than the file
                policies = self.policy.in_force(begin, time.monotonic())
                if policies and all(shadow for _, shadow, _ in policies):
                    return None
                exempt = self._is_exempt(facts)
                for rules, exact in self.database.in_force(begin, time.monotonic()):
                    for what, does in rules.refusals(local, domain, sender, exact):
                        if does == action and what in wanted and not (exempt and what == "unknown"):
                            return f"{what} says {action}"
                self.look()
        return None

    def _is_exempt(self, facts):
        """Never unknown, and never refused for good by a limit."""
        return any(fnmatchcase(facts["recipient"], pattern) for patterns in [version[-1] for version in self.policy.versions][-1:]
                   for pattern in patterns if isinstance(pattern, str))

    def _limit(self, over, facts, begin):
        now = time.monotonic()
        if over == "reject" and self._is_exempt(facts):
            return None
        with self.lock:
            for limits, shadow, _ in self.policy.in_force(begin, now):
                for limit in limits.values():
                    key = limit.key(facts)
                    if key is None or limit.over != over or limit.shadow or shadow or \
                            facts["null_sender"] and limit.when.get("null_sender") is not True:
                        continue
                    used = sum(charge.counts(begin - SLACK * limit.window) for charge in self.shared.counts[key])
                    if used >= limit.max + limit.attempts or self.shared.tripped.get(key, -limit.hold) + limit.hold > begin:
                        return f"{limit.name} {used}/{limit.max}"
        return None
