"""Alias, sender and client rules as the contract states them: what the owner of the data meant, looked up without a line of the gate.

Tables are plain dictionaries. A look-up says how a recipient was found, and what each rule that speaks about it asks for."""

import ipaddress
import re
from functools import lru_cache

HARD_CODE = {"unknown": "550 5.1.1", "alias": "550 5.2.1", "sender": "550 5.7.1", "client": "554 5.7.1"}


@lru_cache(65536)
def _glob(glob):
    return re.compile("".join({"*": ".*", "?": "."}.get(c) or re.escape(c) for c in glob), re.S)


@lru_cache(65536)
def network_of(client, ipv4=32, ipv6=64):
    """The network that counts as one client."""
    address = ipaddress.ip_address(client)
    return str(ipaddress.ip_network((address, ipv4 if address.version == 4 else ipv6), strict=False))


@lru_cache(65536)
def canonical(address):
    """(local part with its subaddress, domain), lower case."""
    local, _, domain = address.strip("<>").rpartition("@")
    return local.lower(), domain.lower()


def base(address):
    """Without its subaddress: the subject that counters and most rules know."""
    local, domain = canonical(address)
    return f"{local.partition('+')[0]}@{domain}" if domain else ""


class Found:
    """How a recipient was found, and whose words hold for it."""

    def __init__(self, how, row, domain_row):
        self.how, self.row, self.domain_row = how, row, domain_row  # how: None (not ours), exact, glob, catch-all, absent, expired

    def word(self, name):
        return (self.row or {}).get(name) or (self.domain_row or {}).get(name)


class Rules:
    """One state of the alias data. domains, aliases, clients: {key: row}; senders: {(scope, pattern): row}; globs: {(domain, glob): row}."""

    def __init__(self, domains, aliases, globs, senders, clients):
        self.domains, self.aliases, self.globs, self.senders, self.clients = domains, aliases, globs, senders, clients
        self.globs_of = {}
        for (domain, glob), row in globs.items():
            self.globs_of.setdefault(domain, []).append((-sum(c not in "*?" for c in glob), glob, row))
        for rows in self.globs_of.values():
            rows.sort(key=lambda entry: entry[:2])
        self.scopes = {scope for scope, _ in senders}
        self.networks = sorted(((ipaddress.ip_network(n), row) for n, row in clients.items()), key=lambda e: -e[0].prefixlen)
        self._clients = {}

    def copy(self):
        return Rules(*({key: dict(row) for key, row in table.items()}
                       for table in (self.domains, self.aliases, self.globs, self.senders, self.clients)))

    def find(self, local, domain):
        """The row of a recipient, expired or not."""
        ours = self.domains.get(domain)
        if ours is None:
            return Found(None, None, None)
        for address in (f"{local}@{domain}", f"{local.partition('+')[0]}@{domain}"):
            if address in self.aliases:
                return Found("exact", self.aliases[address], ours)
        for _, glob, row in self.globs_of.get(domain, ()):
            if _glob(glob).fullmatch(local):
                return Found("glob", row, ours)
        return Found("catch-all" if ours.get("catch_all") == "accept" else "absent", None, ours)

    def sender_action(self, local, domain, found, sender):
        """What the most specific sender rule says; None: no rule speaks."""
        scopes = [f"{local}@{domain}", f"{local.partition('+')[0]}@{domain}", f"@{domain}", f"owner:{found.word('owner')}", "*"]
        for scope in scopes:
            if scope not in self.scopes:
                continue
            for pattern in self._patterns(sender):
                if (scope, pattern) in self.senders:
                    return self.senders[scope, pattern].get("action", "accept")
        return None

    @staticmethod
    def _patterns(sender):
        if not sender:
            return ["<>", "*"]
        local, domain = canonical(sender)
        labels = domain.split(".")
        below = ["@." + ".".join(labels[i:]) for i in range(len(labels))]
        return [f"{local}@{domain}", base(sender), f"@{domain}", *below, "*"]

    def client_action(self, client):
        """What the longest network says; None: no rule."""
        if client not in self._clients:
            address = ipaddress.ip_address(client)
            self._clients[client] = next((row.get("action", "accept") for network, row in self.networks if address in network), None)
        return self._clients[client]

    def hard(self, found, now, exempt):
        """What the alias data alone proves about a recipient: {(rule, action)} of what refuses for good, drops or defers."""
        if found.how is None:
            return set()
        says = set()
        expires = (found.row or {}).get("expires_at")
        expired = expires is not None and expires <= now
        if (expired or found.how == "absent") and not exempt:
            says.add(("unknown", "reject"))
        if found.row is not None and not expired:
            says.add(("alias", found.row.get("action", "accept")))
        if not exempt:
            says.add(("alias", found.domain_row.get("action", "accept")))
        return {entry for entry in says if entry[1] != "accept"}
