"""What a 5xx or a dropped recipient can stand on, found out without the gate: from the alias database and the policy file as
they stood when the gate answered, from what it let through before, from blocks that the test set, from the address itself.

It is meant to be unfair to the gate: what cannot be shown here is a wrong answer."""

import ipaddress
import threading
import time
from collections import defaultdict, deque
from fnmatch import fnmatchcase
from functools import lru_cache

from alias_rules import LOOKED, Database, canonical, is_address
from policies import Policy

RETURNED = 2.0  # seconds: what was charged is given back within one; a busy machine has two
SLACK = 1.1  # a count may hold on to what is 1.1 windows old


@lru_cache
def address_and_network(client):
    """(None, None) for a client whose address is not known."""
    try:
        address = ipaddress.ip_address(client)
        return address, ipaddress.ip_network((address, 32 if address.version == 4 else 64), strict=False)
    except ValueError:
        return None, None


class Charge:
    """One RCPT that was let through, until its message is over; taken: its end was asked for, and until then it proves nothing;
    given_back: when it was not finished."""

    def __init__(self, taken=False):
        self.when, self.taken, self.given_back = time.monotonic(), taken, None

    def counts(self, since):
        return self.taken and self.when >= since and \
            (self.given_back is None or self.given_back > time.monotonic() - RETURNED)


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
            of_alias = self.database.good.words(local, domain)
            how = self.database.good.find(local, domain)[1]
        address, network = address_and_network(client)
        return {**of_alias, "recipient": f"{local.partition('+')[0]}@{domain}", "recipient_domain": domain, "client": network,
                "address": address, "sender": sender or None, "sender_domain": sender.rpartition("@")[2] or None, "host": "",
                "all": "", "null_sender": not sender, "unknown": how == "absent", "catch_all": how in ("glob", "catch-all"),
                "authenticated": False}

    def _count(self, facts, charge, attempts):
        with self.lock:
            for limit in self.policy.versions[-1].limits.values() if self.policy.versions else []:
                key = limit.key(facts) if limit.attempts == attempts else None
                if key is not None:
                    counted = self.shared.counts[key]
                    counted.append(charge)
                    while counted[0].when < charge.when - SLACK * limit.window:
                        counted.popleft()
                    if attempts and limit.hold and len(counted) > limit.max:
                        self.shared.tripped[key] = charge.when

    def attempt(self, facts):
        self._count(facts, Charge(taken=True), True)

    def admit(self, facts):
        charge = Charge()
        self._count(facts, charge, False)
        return charge

    # ---- what can be shown

    def refused(self, code, facts, sender, recipient, begin):
        """Why this recipient could be refused for good ("550 5.1.1"), by what held since `begin`; None: nothing says so."""
        said = code.partition(" ")[2]
        if said == "5.1.3":
            return None if is_address(recipient) else "no address"
        if said == "5.1.1":
            return self._rule("reject", {"unknown"}, facts, sender, recipient, begin)
        rules = {"alias"} if said == "5.2.1" else {"unknown", "alias", "sender"}
        self.look()  # what is known may be older than the files
        return self._limit("reject", facts, begin) or self.refused_client(facts, begin) or \
            self._rule("reject", rules, facts, sender, recipient, begin)

    def dropped(self, facts, sender, recipient, begin):
        """Why this recipient could be dropped from a message that was taken."""
        self.look()
        return self._limit("discard", facts, begin) or \
            self._rule("discard", {"alias", "sender"}, facts, sender, recipient, begin)

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
            for limit in self._limits_in_force(begin):
                if limit.per == ["client"] and limit.over == "reject" and \
                        self._is_held(limit, (limit.name, facts["client"]), begin):
                    return f"held by {limit.name}"
        return None

    def _rule(self, action, wanted, facts, sender, recipient, begin):
        local, domain = canonical(recipient)
        with self.lock:
            for _ in range(2):  # what is known may be older than the file
                policies = self.policy.in_force(begin, time.monotonic())
                if policies and all(policy.shadow for policy in policies):
                    return None
                exempt = self._is_exempt(facts)
                for rules, exact in self.database.in_force(begin, time.monotonic()):
                    for what, does in rules.refusals(local, domain, sender, exact):
                        if does == action and what in wanted and not (exempt and what == "unknown"):
                            return f"{what} says {action}"
                self.database.seen = None  # whatever its times say: a commit is seen after -wal was written, on a slow disk long after
                self.look()
        return None

    def _is_exempt(self, facts):
        """Never unknown, and never refused for good by a limit."""
        patterns = self.policy.versions[-1].exempt if self.policy.versions else []
        return any(isinstance(pattern, str) and fnmatchcase(facts["recipient"], pattern) for pattern in patterns)

    def _is_held(self, limit, key, begin):
        return key in self.shared.tripped and self.shared.tripped[key] + limit.hold > begin

    def _limits_in_force(self, begin):
        for policy in self.policy.in_force(begin, time.monotonic()):
            if not policy.shadow:
                yield from (limit for limit in policy.limits.values() if not limit.shadow)

    def _limit(self, over, facts, begin):
        if over == "reject" and self._is_exempt(facts):
            return None
        with self.lock:
            for limit in self._limits_in_force(begin):
                key = limit.key(facts)
                if key is None or limit.over != over or facts["null_sender"] and limit.when.get("null_sender") is not True:
                    continue
                used = sum(charge.counts(begin - SLACK * limit.window) for charge in self.shared.counts[key])
                if used >= limit.max + limit.attempts or self._is_held(limit, key, begin):
                    return f"{limit.name} {used}/{limit.max}"
        return None
