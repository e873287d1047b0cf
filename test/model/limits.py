"""Limits as the contract states them: to whom one applies, and under which keys it counts."""

import ipaddress
import itertools

from rules import base, canonical, network_of

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
ALWAYS = {"client", "user", "host", "all"}  # subjects that a discard alias meets, too


def seconds(text):
    number = text.rstrip("dhms")
    return int(number) * UNITS[text[len(number):]]


class Limit:
    """One entry of the policy."""

    def __init__(self, entry):
        self.entry, self.name = entry, entry["name"]
        self.per = entry["per"] if isinstance(entry["per"], list) else [entry["per"]]
        self.max, self.window = entry["max"], seconds(entry["window"])
        self.count, self.over = entry.get("count", "recipients"), entry.get("over", "defer")
        self.hold = seconds(entry["hold"]) if "hold" in entry else 0
        self.ramp = seconds(entry["ramp"]) if "ramp" in entry else 0
        self.when, self.shadow = entry.get("when", {}), entry.get("shadow", False)
        self.share = self._share(entry.get("share"))

    def _share(self, share):
        """(of, the most of one source, from which use on)."""
        if not share:
            return None
        most = self.max * int(share["max"].rstrip("%")) / 100
        return share["of"], max(1, int(most + 0.5)), self.max * int(share.get("above", "0%").rstrip("%")) / 100

    def identity(self):
        """What keeps its number when the policy changes."""
        return self.name, self.count, tuple(self.per)

    def applies(self, facts):
        for condition, wanted in self.when.items():
            words = wanted if isinstance(wanted, list) else [wanted]
            if condition == "client":
                address = ipaddress.ip_address(facts["address"])
                if not any(address in ipaddress.ip_network(word) for word in words):
                    return False
            elif facts[condition] not in words:
                return False
        return True

    def keys(self, facts, despite_when=False):
        """The subjects that it counts; [] where it does not apply."""
        if not despite_when and not self.applies(facts):
            return []
        subjects = [facts[word] if isinstance(facts[word], list) else [facts[word]] for word in self.per]
        return [key for key in itertools.product(*subjects) if None not in key]

    def only_always(self):
        return set(self.per) <= ALWAYS


def is_role(local):
    """Exempt, and never answered "unknown"."""
    return local.partition("+")[0] in ("postmaster", "abuse")


def facts_of(rules, recipient, sender, client):
    """All that a limit can ask about a RCPT, by one state of the alias data."""
    local, domain = canonical(recipient)
    found = rules.find(local, domain)
    boxes = [word.strip().lower() for word in (found.word("mailbox") or "").split(",") if word.strip()] if found.row else []
    of_sender = base(sender) or None
    return found, {
        "recipient": base(recipient), "recipient_domain": domain, "mailbox": boxes or [None],
        "mailbox_domain": sorted({box.rpartition("@")[2] for box in boxes}) or [None], "owner": found.word("owner"),
        "class": found.word("class"), "sender": of_sender, "sender_domain": of_sender and of_sender.rpartition("@")[2],
        "client": network_of(client), "address": client, "user": None, "host": "", "all": "", "null_sender": not sender,
        "authenticated": False, "catch_all": found.how in ("glob", "catch-all"), "unknown": found.how == "absent" and not is_role(local)}
