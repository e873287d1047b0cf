"""A random world from a seed: a plain dictionary of rows, limits, actors and strikes, so that it can be printed, cut down and repeated."""

import random

DOMAINS = ["example.com", "shop.example", "mail.example"]
SENDERS = [f"s{i}@{d}" for i in range(6) for d in ("sender.example", "big.example", "a.spam.example")]
ACTIONS = ["accept"] * 8 + ["reject", "discard", "defer"]
REDIS_STRIKES = ["redis-frozen", "redis-killed-empty", "redis-killed-data", "redis-flushed", "redis-no-script", "redis-slow", "redis-deaf",
                 "redis-cut", "redis-stalled"]
SILENCES = [kind for kind in REDIS_STRIKES if kind not in ("redis-flushed", "redis-no-script")]  # Redis does not answer in time
ALIAS_STRIKES = ["rows-lost", "aliases-emptied", "sender-rules-lost", "client-rules-lost", "interior-damaged", "pages-damaged", "file-worse",
                 "file-gone", "file-locked", "file-garbage"]
GATE_STRIKES = ["gate-killed", "gate-restarted"]
CLOCK_STRIKES = ["clock-redis", "clock-gate", "time-passes"]
OWNER_STRIKES = ["owner-adds", "owner-removes", "owner-sets", "owner-replaces", "owner-policy", "owner-busy"]  # and owner-relents, by theme
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


def lost_rows_that_matter(r, spec):
    """Alias data in which the rows that a strike takes decide: what is beside them refuses or drops."""
    data, kinds = spec["data"], {s["kind"] for s in spec["strikes"]}
    if kinds & {"rows-lost", "aliases-emptied", "interior-damaged", "file-worse"} and r.random() < 0.6:
        for domain, row in data["domains"].items():
            if r.random() < 0.3:
                row["catch_all"] = "accept"
            else:
                data["globs"][domain, "*"] = {"domain": domain, "glob": "*", "mailbox": "box9@isp.example", "action": r.choice(["reject", "discard"])}
    if "interior-damaged" in kinds or "pages-damaged" in kinds:
        for i in range(len(data["aliases"]), 700):
            address = f"a{i}@{DOMAINS[0]}"
            data["aliases"][address] = {"address": address, "mailbox": f"box{i % 5}@isp.example", "action": "accept"}
    if kinds & {"sender-rules-lost", "client-rules-lost"}:  # what is lost has to be most of all rows
        data["aliases"] = dict(list(data["aliases"].items())[:20])
        data["senders"], data["clients"] = {}, {}
        for entry in spec["actors"]:
            entry["to"] = [to for to in entry["to"] if to in data["aliases"]] or list(data["aliases"])
    if "sender-rules-lost" in kinds:
        scope = r.choice(["*", "@" + DOMAINS[0]])
        data["senders"][scope, "*"] = {"scope": scope, "pattern": "*", "action": r.choice(["reject", "discard"])}
        for sender in SENDERS + [f"friend{i}@friend.example" for i in range(150)]:
            data["senders"][scope, sender] = {"scope": scope, "pattern": sender, "action": "accept"}
    elif "client-rules-lost" in kinds:
        data["clients"]["192.0.2.0/24"] = {"network": "192.0.2.0/24", "action": "reject"}
        for i in range(150):
            data["clients"][f"192.0.2.{i}"] = {"network": f"192.0.2.{i}", "action": "accept"}
    if kinds & set(ALIAS_STRIKES):
        spec["actors"].append({**actor(r, 90, data), "kind": "roll", "to": list(data["aliases"]), "connections": 1, "pause": 0})


def retries(r, spec):
    """Something refuses softly, and attempts at the same subject refuse hard."""
    per = r.choice(["recipient", "mailbox", "owner", "sender", "sender_domain"])
    spec["limits"] = [{"name": "l0", "per": "recipient", "max": r.choice([1, 3]), "window": "1h"},
                      {"name": "l1", "per": per, "count": "attempts", "over": r.choice(["reject", "reject", "discard"]), "max": r.choice([2, 5, 10, 30]),
                       "window": r.choice(["1h", "1d"])}]
    for row in list(spec["data"]["aliases"].values())[::4]:
        row["action"] = "defer"
    if r.random() < 0.4:
        spec["seconds"] = 4.0
        spec["strikes"] = [strike(r, "clock", spec["seconds"]) | {"kind": "time-passes", "at": round(spec["seconds"] * n / 4, 2)} for n in (1, 2, 3)]
    spec["actors"] = [{**actor(r, i, spec["data"]), "kind": r.choice(["pool", "late", "pool", "hammer"])} for i in range(3)]
    for entry in spec["actors"]:
        entry["clients"] = [f"192.0.2.{n}" for n in r.sample(range(1, 60), 8)]
    chance = r.random()
    if chance < 0.3:
        deferred_by_rule(r, spec)
    elif chance < 0.4:  # nothing is deferred, so nothing is a retry
        spec.update(store="redis", mode="shadow", strikes=[])
        for entry in spec["actors"]:
            entry["kind"] = "late"


def deferred_by_rule(r, spec):
    """Rows defer, and then do so no more: who comes again retries, though none of these limits was asked before."""
    data, some = spec["data"], list(spec["data"]["aliases"])[:6]
    spec.update(mode="enforce", seconds=4.0)
    spec["limits"][1]["max"] = r.choice([2, 5])
    data.update(senders={}, clients={})
    for address in some:
        data["aliases"][address].update(action="defer", expires_at=None, owner="bob", mailbox="box0@isp.example")
    spec["strikes"] = [{"kind": "owner-relents", "at": 1.6, "for": 0.0, "seed": 0}]
    if r.random() < 0.5:
        spec["strikes"].append({"kind": "time-passes", "at": 1.2, "for": 0.0, "seed": r.randint(0, 1 << 30)})
    for i, entry in enumerate(spec["actors"]):
        entry.update(kind="late", to=some, **{"from": SENDERS[6 * i:6 * i + 5]})


def volume(r, spec):
    """Bytes: declared, undeclared, many open at once, a Redis whose clock is off."""
    spec["limits"] = [{"name": "l0", "per": r.choice(["recipient", "mailbox", "recipient_domain"]), "count": "bytes", "max": r.choice([50_000, 300_000]),
                       "over": r.choice(["reject", "defer"]), "window": r.choice(["1m", "1m", "2s", "1h", "1d"])}]
    spec["skew"] = r.choice([0, -70, 70]) if spec["store"] == "redis" else 0
    for row in spec["data"]["aliases"].values():
        row.update(action="accept", expires_at=None)
    spec["data"]["senders"] = {}
    spec["actors"] = [{**actor(r, i, spec["data"]), "kind": r.choice(["opener", "liar", "honest", "slow"]), "connections": 4, "pause": 0.01}
                      for i in range(3)]


def race(r, spec):
    """Many connections for one alias in one process, while its data is written to all the time."""
    spec.update(store="memory", gates=1, skew=0)
    spec["limits"] = [{"name": "l0", "per": "recipient", "max": r.choice([5, 20]), "window": "1s"}]
    spec["strikes"] = [{"kind": "owner-busy", "at": 0.1, "for": spec["seconds"], "seed": r.randint(0, 1 << 30)}]
    for row in spec["data"]["aliases"].values():
        row.update(action="accept", expires_at=None)
    spec["data"].update(senders={}, clients={})
    one = {**actor(r, 0, spec["data"]), "connections": 16, "kind": "burst", "to": list(spec["data"]["aliases"])[:3]}
    spec["actors"] = [one, {**one, "kind": "hammer", "seed": 5}]
    if r.random() < 0.6:
        overtaking(r, spec)


def overtaking(r, spec):
    """RCPTs whose look-up takes milliseconds are overtaken by others that began later: through thousands of globs, beside exact rows."""
    data, domain = spec["data"], DOMAINS[0]
    data["globs"] = {(domain, f"slow-{i}-*"): {"domain": domain, "glob": f"slow-{i}-*", "mailbox": "box9@isp.example", "action": "accept"} for i in range(4000)}
    quick = [f"a{i}@{domain}" for i in range(5)]
    data["aliases"].update({to: {"address": to, "mailbox": "box1@isp.example", "action": "accept"} for to in quick})
    spec.update(mode="enforce", seconds=6.0, strikes=[])
    spec["limits"] = [{"name": "l0", "per": r.choice(["all", "host", "recipient_domain"]), "max": 5, "window": "1s", "over": r.choice(["defer", "reject"])},
                      {"name": "l1", "per": "recipient", "max": 1, "window": "1h", "when": {"catch_all": True}}]
    one = {**actor(r, 0, data), "from": ["s0@sender.example"]}
    spec["actors"] = [{**one, "kind": "hammer", "connections": 6, "pause": 0, "to": ["slow-3999-x@" + domain]},
                      {**one, "kind": "beat", "connections": 1, "pause": 0, "to": quick}]


def slow_redis(r, spec):
    """Redis answers, late but in time; everything that a RCPT can ask of it is asked."""
    spec.update(store="redis", strikes=[{"kind": "redis-slow", "at": 0.4, "for": 3.0, "seed": r.randint(0, 1 << 30)}], seconds=4.0)
    spec["counters"]["timeout"] = "100ms"
    spec["limits"] = [{"name": "l0", "per": "recipient", "max": 3, "window": "1h"},
                      {"name": "l1", "per": ["recipient", "client"], "count": "attempts", "max": 1000, "window": "1h", "over": "reject"},
                      {"name": "l2", "per": "sender", "count": "attempts", "max": 1000, "window": "1d", "over": "reject"}]
    spec["actors"] = [{**actor(r, i, spec["data"]), "kind": r.choice(["honest", "senders", "hammer", "honest"]), "connections": 8, "pause": 0} for i in range(3)]


def returns(r, spec):
    """Redis restarts without its data while nobody asks; then many ask at once."""
    spec.update(store="redis", mode="enforce", gates=1, seconds=6.0)
    spec["counters"] = {"timeout": "200ms"}
    spec["strikes"] = [{"kind": "redis-killed-empty", "at": 1.0 + 0.8 * i, "for": 0.0, "seed": 0} for i in range(5)]
    for row in spec["data"]["aliases"].values():
        row.update(action="accept", expires_at=None)
    spec["data"].update(senders={}, clients={})
    spec["limits"] = [{"name": "l0", "per": r.choice(["recipient", "mailbox", "recipient_domain"]), "max": r.choice([3, 5]), "window": "1h",
                       "over": r.choice(["defer", "reject"])}]
    spec["actors"] = [{**actor(r, 0, spec["data"]), "kind": "returner", "connections": r.choice([4, 8]), "to": list(spec["data"]["aliases"])[:1], "pause": 0}]


def unheard(r, spec):
    """Redis is away, and what is added on its return may have been added already; the limit is far from full."""
    returns(r, spec)
    spec["strikes"] = [{"kind": "redis-unheard", "at": 0.6, "for": 1.0, "seed": r.randint(0, 1 << 30)}]
    spec["limits"][0] |= {"max": 40, "over": "reject"}
    spec["actors"][0] |= {"kind": "honest", "connections": 1, "pause": 0.08}


def shares(r, spec):
    """A share beside aliases that discard and addresses that are guessed."""
    spec["limits"] = [{"name": "l0", "per": r.choice(["host", "all", "client"]), "max": r.choice([20, 50]), "window": "1h", "over": r.choice(["defer", "reject"]),
                       "share": {"of": r.choice(["recipient", "sender"]), "max": "10%", "above": "0%"}}]
    if r.random() < 0.4:
        spec["limits"][0] |= {"count": "attempts", "max": 500}
    for row in list(spec["data"]["aliases"].values())[::3]:
        row["action"] = "discard"
    spec["strikes"] = []
    if r.random() < 0.3:
        tides(r, spec)


def tides(r, spec):
    """A share that binds while others fill the limit, and does not when their part has left the window."""
    seconds, data = r.choice([1, 2]), spec["data"]
    spec.update(seconds=4.0 + seconds, store="redis", gates=1, skew=0)
    data.update(senders={}, clients={})
    some = list(data["aliases"])
    for address in some:
        data["aliases"][address].update(action="accept", expires_at=None)
    spec["limits"] = [{"name": "l0", "per": r.choice(["host", "all"]), "max": 16, "window": f"{seconds}s", "over": r.choice(["defer", "reject"]),
                       "share": {"of": "recipient", "max": "34%", "above": "50%"}}]
    one = actor(r, 0, data)
    spec["actors"] = [{**one, "kind": "tide", "window": seconds, "to": [some[0]] + some[1:] * 3, "from": ["s0@sender.example"]}]


def overflow(r, spec):
    """More made-up recipients than may have keys of their own, several spellings of each in one message."""
    spec.update(store="redis", strikes=[])
    spec["counters"]["max_new_subjects"] = r.choice([5, 50])
    domain = r.choice(list(spec["data"]["domains"]))
    spec["data"]["globs"] = {(domain, "shop-*"): {"domain": domain, "glob": "shop-*", "mailbox": "box9@isp.example", "action": "accept"}}
    spec["data"].update(senders={}, clients={})
    spec["limits"] = [{"name": "l0", "per": r.choice(["recipient", "recipient", ["mailbox", "recipient"]]), "count": r.choice(["messages", "messages", "bytes", "recipients"]),
                       "over": r.choice(["defer", "reject"]), "max": 1_000_000, "window": r.choice(["1h", "1d"])}]
    spec["actors"] = [{**actor(r, i, spec["data"]), "kind": r.choice(["tags", "tags", "names"]), "to": [f"shop-1@{domain}"], "connections": 2, "pause": 0.01}
                      for i in range(2)]


def renamed(r, spec):
    """A limit counts something else from one moment on, under its old name."""
    spec["limits"] = [{"name": "l0", "per": r.choice(["recipient", "client", "mailbox"]), "count": r.choice(["bytes", "attempts", "recipients"]),
                       "over": "reject", "window": "1d", "max": 1000}]
    if spec["limits"][0]["count"] == "bytes":
        spec["limits"][0]["max"] = 1_000_000
    spec["strikes"] = [{"kind": "owner-policy", "what": "count", "at": 0.5, "for": 0.1, "seed": r.randint(0, 1 << 30)}]


def crowd(r, spec):
    """More made-up senders than memory has room for, beside an alias that is full."""
    spec.update(store="memory", gates=1, skew=0, seconds=4.0, strikes=[])
    spec["counters"]["local_subjects"] = 1000
    spec["limits"] = [{"name": "l0", "per": "recipient", "max": 5, "window": "1h", "over": r.choice(["defer", "reject", "reject"])},
                      {"name": "l1", "per": "sender", "max": 100, "window": "1h"}]
    one = actor(r, 0, spec["data"])
    spec["actors"] = [{**one, "kind": "senders", "connections": 4, "pause": 0, "to": [f"who{i}@elsewhere.example" for i in range(2000)]},
                      {**one, "kind": "honest", "pause": 0.05}]


THEMES = [crowd, retries, retries, volume, race, slow_redis, returns, unheard, shares, overflow, renamed]


def world(seed, families=None, theme=None):
    """families: which kinds of strikes may come, with no theme; theme: its name."""
    r = random.Random(seed)
    spec = plain(r, seed, tuple(KINDS) if families is None else families)
    if theme or families is None and r.random() < 0.5:
        names = {f.__name__: f for f in THEMES}
        chosen = names[theme] if theme else r.choice(THEMES)
        chosen(r, spec)
        spec["theme"] = chosen.__name__
    lost_rows_that_matter(r, spec)
    return spec


def plain(r, seed, families):
    seconds = r.choice([1.5, 2.5, 4.0])
    data = rows(r)
    store = r.choice(["redis", "redis", "redis", "memory"])
    usable = [f for f in families if not (f == "redis" and store == "memory")]
    strikes = [strike(r, f, seconds) for f in r.sample(usable, min(len(usable), r.choice([0, 1, 1, 2])))]
    if store == "memory":
        strikes = [s for s in strikes if s["kind"] != "clock-redis"]
    if any(s["kind"] in ALIAS_STRIKES for s in strikes):
        seconds = max(seconds, 6.0)
    counters = {"timeout": r.choice(["100ms", "200ms"]) if any(s["kind"] in SILENCES for s in strikes) else "10s"}
    if r.random() < 0.15:
        counters["when_down"] = r.choice(["defer", "accept"])
    if r.random() < 0.1:
        counters["local_share"] = "50%"
    if r.random() < 0.15:
        counters["max_new_subjects"] = r.choice([5, 50])
    if r.random() < 0.1:
        counters["client_network"] = {"ipv4": 24, "ipv6": 48}
    return {"seed": seed, "theme": "plain", "seconds": seconds, "mode": "shadow" if r.random() < 0.04 else "enforce", "store": store,
            "gates": r.choice([1, 1, 2, 3]) if store == "redis" else 1, "skew": r.choice([0, 0, 0, -70, 70, -5]) if store == "redis" else 0,
            "data": data, "counters": counters, "max_shrink": "50%", "limits": [limit(r, i) for i in range(r.randint(1, 4))],
            "actors": [actor(r, i, data) for i in range(r.randint(2, 5))], "strikes": strikes}
