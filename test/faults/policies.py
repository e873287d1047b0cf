"""The policy file over time and the limits in it, as far as they can refuse for good or drop."""

import ipaddress
import json
import os
import re
import time
from collections import deque, namedtuple

import alias_rules

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
                self.over not in ("defer", "reject", "discard") or \
                entry.get("count", "recipients") not in ("recipients", "attempts"):
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


Version = namedtuple("Version", "when limits shadow exempt")  # {name: Limit}; mode is shadow; patterns of recipients


class Policy:
    """The policy file over time: a bad file leaves the last good one in force, a bad entry its last good version."""

    def __init__(self):
        self.versions, self.seen, self.database = deque(maxlen=400), None, None

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
        if isinstance(policy, dict):
            self._take(policy)

    def _take(self, policy):
        old = self.versions[-1].limits if self.versions else {}
        entries, exempt, aliases = policy.get("limits", []), policy.get("exempt"), policy.get("aliases")
        limits = self._limits(entries, old) if isinstance(entries, list) else old
        if isinstance(aliases, dict):
            self.database = aliases.get("database", self.database)
        exempt = exempt.get("recipients") if isinstance(exempt, dict) else None
        self.versions.append(Version(time.monotonic(), limits, policy.get("mode") == "shadow",
                                     exempt if isinstance(exempt, list) else ["postmaster@*", "abuse@*"]))

    @staticmethod
    def _limits(entries, old):
        limits = {}
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else None
            try:
                limits[name] = Limit(entry)
            except (AttributeError, KeyError, TypeError, ValueError):
                if isinstance(name, str) and name in old:
                    limits[name] = old[name]
        return limits

    def in_force(self, begin, end):
        """The versions that the gate could have in force at some time from `begin` to `end`."""
        versions = list(self.versions)
        ends = [version.when for version in versions[1:]] + [float("inf")]
        begin -= alias_rules.NOTICED
        return [version for version, until in zip(versions, ends) if version.when <= end and until >= begin]
