"""A random world from a seed: a plain dictionary of rows, limits, actors and strikes, so that it can be printed, cut down and repeated."""

import random

DOMAINS = ["example.com", "shop.example", "mail.example"]
SENDERS = [f"s{i}@{d}" for i in range(6) for d in ("sender.example", "big.example", "a.spam.example")]
ACTIONS = ["accept"] * 8 + ["reject", "discard", "defer"]
REDIS_STRIKES = ["redis-frozen", "redis-killed-empty", "redis-killed-data", "redis-flushed", "redis-no-script", "redis-slow", "redis-deaf",
                 "redis-cut", "redis-stalled"]
ALIAS_STRIKES = ["rows-lost", "aliases-emptied", "sender-rules-lost", "client-rules-lost", "interior-damaged", "pages-damaged", "file-worse",
                 "file-gone", "file-locked", "file-garbage"]
GATE_STRIKES = ["gate-killed", "gate-restarted"]
CLOCK_STRIKES = ["clock-redis", "clock-gate", "time-passes"]
OWNER_STRIKES = ["owner-adds", "owner-removes", "owner-sets", "owner-replaces", "owner-policy", "owner-busy"]
KINDS = {"redis": REDIS_STRIKES, "aliases": ALIAS_STRIKES, "gate": GATE_STRIKES, "clock": CLOCK_STRIKES, "owner": OWNER_STRIKES}


def rows(r):
    """Alias data: small or large, so that it has one page or interior ones."""
    domains = {d: {"domain": d, "owner": r.choice([None, "acme"]), "class": r.choice([None, "free"]),
                   "catch_all": r.choice([None, None, "accept"]) if i else None} for i, d in enumerate(DOMAINS[:r.randint(1, 3)])}
    aliases = {}
    for i in range(r.choice([5, 9, 20, 150, 400, 1500])):
        domain = r.choice(list(domains))
        address = f"a{i}@{domain}"
        aliases[address] = {"address": address, "mailbox": ", ".join(f"box{r.randint(0, 4)}@isp.example" for _ in range(r.choice([1, 1, 1, 2]))),
                            "owner": r.choice([None, None, "bob", "eve"]), "class": r.choice([None, "free", "paid"]),
                            "action": r.choice(ACTIONS), "expires_at": r.choice([None] * 8 + [1_000_000, 4_000_000_000])}
    globs = {}
    for _ in range(r.choice([0, 0, 1, 2])):
        domain = r.choice(list(domains))
        glob = r.choice(["shop-*", "a*", "*", "x?-*"])
        globs[domain, glob] = {"domain": domain, "glob": glob, "mailbox": "box9@isp.example", "action": r.choice(["accept", "reject", "discard"])}
    return {"domains": domains, "aliases": aliases, "globs": globs, "senders": sender_rules(r, aliases, domains), "clients": client_rules(r)}


def sender_rules(r, aliases, domains):
    rules = {}
    for _ in range(r.choice([0, 0, 2, 5])):
        scope = r.choice(["*", "@" + r.choice(list(domains)), "owner:bob", r.choice(list(aliases))])
        pattern = r.choice([r.choice(SENDERS), "@sender.example", "@.spam.example", "<>"])
        rules[scope, pattern] = {"scope": scope, "pattern": pattern, "action": r.choice(ACTIONS)}
    if r.random() < 0.15:  # an allow list
        scope = r.choice(["*", "@" + r.choice(list(domains))])
        rules[scope, "*"] = {"scope": scope, "pattern": "*", "action": r.choice(["reject", "discard"])}
        for sender in SENDERS[:-2] + [f"friend{i}@friend.example" for i in range(150)]:
            rules[scope, sender] = {"scope": scope, "pattern": sender, "action": "accept"}
    return rules


def client_rules(r):
    rules = {}
    if r.random() < 0.15:  # a narrow accept beside a wide reject
        rules["198.18.0.0/16"] = {"network": "198.18.0.0/16", "action": r.choice(["reject", "defer"])}
        for i in range(150):
            rules[f"198.18.0.{i}"] = {"network": f"198.18.0.{i}", "action": "accept"}
    for _ in range(r.choice([0, 0, 1])):
        network = r.choice(["192.0.2.66", "192.0.2.96/28", "203.0.113.0/24"])
        rules[network] = {"network": network, "action": r.choice(["accept", "reject", "defer", "discard"])}
    return rules


PER = ["recipient", "recipient", "recipient", "mailbox", "owner", "sender", "sender_domain", "client", "recipient_domain", "mailbox_domain",
       "all", "host", ["recipient", "client"], ["recipient", "sender"], ["mailbox", "sender_domain"]]


def limit(r, i):
    count = r.choice(["recipients", "recipients", "recipients", "messages", "bytes", "attempts"])
    per = r.choice(PER)
    wide = per in ("all", "host", "recipient_domain", "mailbox_domain", "owner", "sender_domain")
    entry = {"name": f"l{i}", "per": per, "count": count, "over": r.choice(["defer", "reject", "reject", "discard"]),
             "window": r.choice(["1s", "1s", "2s", "1h", "1d"]), "max": r.choice([3, 5, 10, 20]) * (5 if wide else 1)}
    if count == "bytes":
        entry["max"] = r.choice([20_000, 100_000, 1_000_000])
    if count == "attempts":
        entry["max"] *= 2
        entry["window"] = r.choice(["2s", "1h", "1h", "1d"])
    if r.random() < 0.2:
        entry["hold"] = r.choice(["1s", "2s", "1h"])
    if r.random() < 0.2 and count != "bytes":
        of = r.choice(["client", "sender", "sender_domain", "recipient"])
        if of != per and (not isinstance(per, list) or of not in per):
            entry["share"] = {"of": of, "max": r.choice(["25%", "34%", "50%"]), "above": r.choice(["0%", "50%"])}
    if r.random() < 0.25:
        entry["when"] = r.choice([{"class": "free"}, {"recipient_domain": DOMAINS[0]}, {"sender_domain": ["big.example", "sender.example"]},
                                  {"client": "192.0.2.0/24"}, {"null_sender": True}, {"catch_all": True}, {"null_sender": False}])
    if count == "attempts" and r.random() < 0.3:
        entry["when"] = {"unknown": True}
    if r.random() < 0.08:
        entry["ramp"] = r.choice(["1s", "5s"])
    if r.random() < 0.05:
        entry["shadow"] = True
    return entry


ACTORS = ["honest", "honest", "pool", "hammer", "names", "senders", "resetter", "idler", "liar", "burst", "silent", "opener", "late"]


def actor(r, i, data):
    aliases = list(data["aliases"])
    some = r.sample(aliases, min(len(aliases), r.choice([1, 2, 6, 30])))
    more = [f"shop-{r.randint(1, 9)}@{DOMAINS[0]}", f"nobody{r.randint(1, 9)}@{r.choice(list(data['domains']))}",
            f"who{r.randint(1, 9)}@elsewhere.example", f"postmaster@{DOMAINS[0]}", f"shop-z+tag@{r.choice(list(data['domains']))}"]
    net = r.choice(["192.0.2", "192.0.2", "198.18.0", "203.0.113", "2001:db8:1"])
    clients = [f"{net}:{n}::1" if ":" in net else f"{net}.{n}" for n in r.sample(range(1, 120), r.choice([1, 3, 8]))]
    return {"kind": r.choice(ACTORS), "to": some + r.sample(more, r.choice([0, 1, 3])), "from": r.sample(SENDERS, r.choice([1, 2, 5])) + r.choice([[], [], [""]]),
            "clients": clients, "gate": r.randint(0, 2), "size": r.choice([200, 3000, 15000, 60000]), "connections": r.choice([1, 2, 4, 8]),
            "pause": r.choice([0, 0, 0.01, 0.1]), "seed": r.randint(0, 1 << 30)}


def strike(r, family, seconds):
    kind = r.choice(KINDS[family])
    return {"kind": kind, "at": round(r.uniform(0.3, seconds * 0.5), 2), "for": round(r.choice([0.3, 1.0, 2.5, 4.0]), 2), "seed": r.randint(0, 1 << 30)}


def world(seed, families=tuple(KINDS)):
    """families: which kinds of strikes may come."""
    r = random.Random(seed)
    seconds = r.choice([1.5, 2.5, 4.0])
    data = rows(r)
    store = r.choice(["redis", "redis", "redis", "memory"])
    usable = [f for f in families if not (f == "redis" and store == "memory")]
    strikes = [strike(r, f, seconds) for f in r.sample(usable, min(len(usable), r.choice([0, 1, 1, 2])))]
    if store == "memory":
        strikes = [s for s in strikes if s["kind"] != "clock-redis"]
    if any(s["kind"] in ALIAS_STRIKES for s in strikes):
        seconds = max(seconds, 6.0)
    counters = {"timeout": r.choice(["100ms", "200ms"]) if any(s["kind"] in REDIS_STRIKES for s in strikes) else "10s"}
    if r.random() < 0.15:
        counters["when_down"] = r.choice(["defer", "accept"])
    if r.random() < 0.1:
        counters["local_share"] = "50%"
    if r.random() < 0.15:
        counters["max_new_subjects"] = r.choice([5, 50])
    if r.random() < 0.1:
        counters["client_network"] = {"ipv4": 24, "ipv6": 48}
    return {"seed": seed, "seconds": seconds, "mode": "shadow" if r.random() < 0.04 else "enforce", "store": store,
            "gates": r.choice([1, 1, 2, 3]) if store == "redis" else 1, "skew": r.choice([0, 0, 0, -70, 70, -5]) if store == "redis" else 0,
            "data": data, "counters": counters, "max_shrink": "50%", "limits": [limit(r, i) for i in range(r.randint(1, 4))],
            "actors": [actor(r, i, data) for i in range(r.randint(2, 5))], "strikes": strikes}
