"""Judges a world's books by the contract alone. It knows nothing of the gate's code, and speaks only where it is certain.

Every doubt is the gate's: an answer lies between its asking and its arrival, a charge may have been made wherever it could have been,
and is proven only where it must have been. A finding has a class ("hard/reserved"), so that what is known can be told from what is new."""

from bisect import bisect_right
from collections import defaultdict
from itertools import islice

from books import FOREVER, Rcpt
from limits import ALWAYS, facts_of, is_role
from rules import HARD_CODE, base, canonical, network_of

BACK = 1.1            # windows after which an allowance is back
GIVEN_BACK = 2.0      # seconds after which what was given back is certainly free; the contract says one
NOTED = 0.3           # seconds after which a 4xx has certainly been noted as a deferral
CALM = 6.0            # seconds after which nothing of a fault may show any more
MOST_WAITING = 16
ALIAS_FAULTS = {"rows-lost", "aliases-emptied", "sender-rules-lost", "client-rules-lost", "interior-damaged", "pages-damaged", "file-worse",
                "file-gone", "file-locked", "file-garbage"}
ROWS_DIFFER = ALIAS_FAULTS - {"file-gone", "file-locked", "file-garbage"}  # what the gate reads meanwhile is not what was meant
OUTAGES = {"redis-frozen", "redis-killed-empty", "redis-killed-data", "redis-slow", "redis-deaf", "redis-cut", "redis-stalled", "redis-unheard"}
CLOCKS = {"clock-redis", "clock-gate", "time-passes"}
GATES = {"gate-killed", "gate-restarted"}
STRANGE = {"recipient", "sender", "sender_domain", "client"}  # behind the first of a list: what a stranger can choose


class Finding:
    def __init__(self, kind, when, text, about=()):
        self.kind, self.when, self.text, self.about = kind, when, text, about  # about: the RCPTs that belong to it

    def __repr__(self):
        return f"{self.kind}: {self.text}"


class View:
    """What a RCPT is by one state of the alias data and one of the policy."""

    __slots__ = ("rules", "limits", "found", "facts", "says", "sender", "client", "exempt_client", "exempt_recipient", "keys")

    def __init__(self, rules, limits, recipient, sender, client, ipv4, ipv6):
        local, domain = canonical(recipient)
        self.rules, self.limits = rules, limits
        self.found, self.facts = facts_of(rules, recipient, sender, client)
        self.facts["client"] = network_of(client, ipv4, ipv6)
        self.exempt_recipient = is_role(local)
        self.client = rules.client_action(client)
        self.exempt_client = self.client == "accept"
        self.says = rules.hard(self.found, 2_000_000_000, self.exempt_recipient)
        self.sender = None if self.exempt_client else rules.sender_action(local, domain, self.found, sender)
        self.keys = [] if self.exempt_client else [(limit, key) for limit in limits for key in limit.keys(self.facts)]

    def actions(self):
        """All that rules ask for: {(rule, action)}."""
        says = set(self.says)
        if self.sender not in (None, "accept"):
            says.add(("sender", self.sender))
        if self.client not in (None, "accept"):
            says.add(("client", self.client))
        return says

    def meets(self, limit):
        """May this limit be asked at all? Alias rules that refuse, defer or drop leave few; but where they cannot be trusted just now, an
        exempt recipient gets its mail, and meets all."""
        if self.exempt_recipient:
            return True
        actions = {action for rule, action in self.says}
        if "reject" in actions or "defer" in actions:
            return limit.count == "attempts" and set(limit.per) <= ALWAYS | {"recipient_domain"}
        return limit.only_always() if "discard" in actions else True

    def may_refuse(self, limit, hard):
        """Can this limit answer here, and with its own class?"""
        if limit.shadow:
            return False
        if hard and (self.exempt_recipient or self.facts["null_sender"] and limit.when.get("null_sender") is not True):
            return False
        return self.meets(limit)

    def charged(self):
        """Limits that a RCPT which nothing refuses certainly charges."""
        if self.actions() or self.exempt_client:
            return []
        return self.keys


def used_of(text):
    return int(text.split("/")[0]) if text else 0


class Oracle:
    def __init__(self, spec, books):
        self.spec, self.books, self.findings = spec, books, []
        network = spec["counters"].get("client_network", {})
        self.bits = network.get("ipv4", 32), network.get("ipv6", 64)
        timeout = spec["counters"].get("timeout", "100ms")
        self.timeout = int(timeout.rstrip("ms")) / (1000 if timeout.endswith("ms") else 1)
        self.cache, self.charges, self.holds = {}, defaultdict(list), {}
        self.first_clock = min([s.begin for s in books.strikes if s.kind in CLOCKS], default=FOREVER)
        self.alias_faults = [s for s in books.strikes if s.kind in ALIAS_FAULTS and not s.facts.get("nothing")]
        # when the machine may have kept Redis from answering in time: an outage like any other
        starved = books.starved_from(self.timeout / 3) if self.timeout < 5 else None
        self.starved_from = FOREVER if starved is None else starved

    def judge(self):
        self._retries()
        self._index()
        for r in self.books.rcpts:
            if r.code is None:
                continue
            if self.spec["mode"] == "shadow":
                self._shadow(r)
            elif r.hard():
                self._hard(r)
            elif r.soft():
                self._soft(r)
            elif r.code == "continue":
                self._accepted(r)
            elif r.code != "tempfail":
                self._find("answer/" + r.code, r, f"RCPT was answered {r.code}")
            self._waited(r)
        if self.spec["mode"] != "shadow":
            for key in self.limit_of:
                self._over(key)
        self._connects()
        self._messages()
        self._named()
        if self.books.counters is not None:
            self._counters()
        return sorted(self.findings, key=lambda finding: finding.when)

    def _find(self, kind, r, text, about=()):
        if (kind == "needless/451" or kind.startswith("over/")) and r.answered >= self.starved_from:
            return
        self.findings.append(Finding(kind, r.asked, f"{r.code} for <{r.raw}> from <{r.sender}> client {r.client} gate {r.gate} ({r.actor}): {text}",
                                     [*about, r]))

    # ---- what a RCPT is

    def touched(self, kinds, begin, end, after=CALM):
        return any(s.kind in kinds and s.touches(begin, end, after) for s in self.books.strikes)

    def views(self, r):
        end = min(r.answered, r.asked + 60)
        lag = FOREVER if any(s.touches(r.asked, end, CALM) for s in self.alias_faults) else 0.0
        found = []
        for i, rules in self.books.rules.seen(r.asked, end, lag):
            for j, limits in self.books.limits.seen(r.asked, end):
                key = (i, j, r.raw, r.sender, r.client)
                view = self.cache.get(key)
                if view is None:
                    view = self.cache[key] = View(rules, limits, r.raw, r.sender, r.client, *self.bits)
                found.append(view)
        return found

    def _index(self):
        """Who could have charged what: for every key its RCPTs, in the order in which they were asked."""
        self.known = [self.views(r) for r in self.books.rcpts]
        self.repeats = self._repeated()
        self.limit_of, self.lists = {}, {}
        for r in self.books.rcpts:
            keys = {}
            unsaid = r.code is None or r.code.startswith("451") or self.touched(ALIAS_FAULTS, r.asked, r.answered)  # other rules than are meant spoke
            for view in self.known[r.index]:
                for limit, key in view.keys:
                    if unsaid or view.meets(limit):
                        keys[limit.identity(), key] = limit
                if not view.exempt_client:
                    for limit in view.limits:
                        if limit.hold and limit.per == ["client"]:
                            keys[limit.identity(), (view.facts["client"],)] = limit
            for key, limit in keys.items():
                self.charges[key].append(r)
                self.limit_of[key] = limit
        longest = [m.released - m.begun for m in self.books.messages if m.released < FOREVER]
        self.longest = max(longest, default=0.0)

    def _repeated(self):
        """Which RCPTs name a recipient that their message has already: the same one twice in one message counts once, whatever is counted."""
        repeats = set()
        for message in self.books.messages:
            let = set()
            for r in message.rcpts:
                if r.raw.lower() in let:
                    repeats.add(r.index)
                elif r.code == "continue":
                    let.add(r.raw.lower())
        return repeats

    def _lists(self, name):
        """(all that may be taken, what never ended, what was given back), each with the times of asking. Attempts: all, but for retries."""
        if name not in self.lists:
            charges = self.charges[name]
            if name[0][1] == "attempts":
                kinds = [[c for c in charges if c.index not in self.retry], [], []]
            else:
                let = [c for c in charges if c.code in ("continue", None)]
                kinds = [[c for c in let if c.message.ended < FOREVER], [c for c in let if c.message.ended == c.message.released == FOREVER],
                         [c for c in let if c.message.ended == FOREVER > c.message.released]]
            self.lists[name] = [(kind, [c.asked for c in kind]) for kind in kinds]
        return self.lists[name]

    def _shift(self, when):
        return sum(s.facts["by"] for s in self.books.strikes if s.kind == "time-passes" and s.begin <= when and "by" in s.facts)

    def _retries(self):
        """Which RCPTs are certainly retries: the four numbers of each pair, as long as nobody can doubt them."""
        self.retry, self.first_deferred = set(), {}
        for r in self.books.rcpts:
            if r.soft():  # whatever counts it, and whoever the client is
                pair = base(r.sender), base(r.raw)
                self.first_deferred[pair] = min(self.first_deferred.get(pair, FOREVER), r.asked)
        pairs = {}
        doubt = min([s.begin for s in self.books.strikes if s.kind in OUTAGES | GATES | {"redis-flushed", "clock-redis", "clock-gate"}], default=FOREVER)
        doubt = min(doubt, self.starved_from)
        passes = [(s.begin, s.end) for s in self.books.strikes if s.kind == "time-passes"]
        for r in self.books.rcpts:
            client = network_of(r.client, *self.bits)
            name = (base(r.sender), base(r.raw)) + (() if r.sender else (client,))
            pair = pairs.setdefault(name, {"young": 0, "ripe": 0, "t": 0.0, "client": None, "free": 0.0, "murky": False})
            if r.code is None or r.asked < pair["free"] + NOTED or any(b - 0.1 <= r.answered and r.asked <= e + 0.1 for b, e in passes):
                pair["murky"] = pair["murky"] or pair["free"] > 0 or r.code is None
            pair["free"] = max(pair["free"], min(r.answered, r.asked + 60))
            if r.soft() and not self._notes(r):
                pair["murky"] = True
            if pair["murky"] or r.answered > doubt or self.spec["mode"] == "shadow":
                continue
            now = r.asked + self._shift(r.asked)
            if pair["young"] and now - pair["t"] >= 60.5:
                pair["ripe"], pair["young"] = pair["ripe"] + pair["young"], 0
            if pair["ripe"]:
                pair["ripe"] -= 1
                self.retry.add(r.index)
            elif pair["young"] and pair["client"] != client:
                pair["young"] -= 1
                self.retry.add(r.index)
            if r.soft():
                if not pair["young"]:
                    pair["t"] = now
                if pair["young"] + pair["ripe"] < MOST_WAITING:
                    pair["young"] += 1
                pair["client"] = client

    def _notes(self, r):
        """Was a deferral noted then? Not without a limit on attempts."""
        return all(any(limit.count == "attempts" for limit in limits) for _, limits in self.books.limits.seen(r.asked, min(r.answered, r.asked + 60)))

    # ---- how much could have been counted

    def _before(self, name, r, horizon, openly=True):
        """The RCPTs of that key that could count at r's decision, the newest first. openly: reservations, too."""
        bytes_ = name[0][1] == "bytes"
        for number, (charges, starts) in enumerate(self._lists(name)[:3 if openly else 1]):
            first = max(horizon - 30, r.asked - self.longest - GIVEN_BACK) if number == 2 else horizon - 30
            for i in range(bisect_right(starts, r.answered) - 1, -1, -1):
                c = charges[i]
                if c.asked < first:
                    break
                last = max(c.answered, min(c.message.end_answered, r.answered)) if bytes_ else c.answered
                if last >= horizon and c is not r:
                    yield c

    def _horizon(self, limit, r):
        return -FOREVER if self.first_clock <= r.answered else r.asked - BACK * limit.window - 0.05

    def count(self, limit, key, r, openly, enough, source=None):
        """The most that can have been counted at r's decision, at least until it is `enough`. openly: reservations count, too."""
        total, messages, recipients = 0, set(), set()
        for c in self._before((limit.identity(), key), r, self._horizon(limit, r), openly):
            if total > enough:
                break
            if source and not any(v.facts.get(source[0]) == source[1] for v in self.known[c.index]):
                continue
            if limit.count == "attempts":
                total += 1
                continue
            m = c.message
            if m.ended > r.answered and (not openly or m.released + GIVEN_BACK < r.asked):
                continue
            if m.end is not None and not m.taken() and m.end != "discard" and m.end_answered + GIVEN_BACK < r.asked:
                continue
            if limit.count == "messages":
                total += m not in messages
                messages.add(m)
            elif limit.count == "bytes":
                total += max(m.size + 64 if m.size else 0, (m.declared or 0) if openly else 0)
            else:
                total += (m, c.raw.lower()) not in recipients
                recipients.add((m, c.raw.lower()))
        return total

    @staticmethod
    def need(limit, r):
        return max(1, r.message.declared or 0) if limit.count == "bytes" else 1

    def full(self, limit, key, view, r, openly):
        """Could this limit have refused r, by what was taken or (openly) by what is reserved as well?"""
        need = self.need(limit, r)
        if self.count(limit, key, r, openly, limit.max - need) + need > limit.max:
            return True
        if limit.share:
            of, most, above = limit.share
            source = view.facts.get(of)
            for one in source if isinstance(source, list) else [source]:
                if one is not None and self.count(limit, key, r, openly, most - need, (of, one)) + need > most and \
                        self.count(limit, key, r, openly, above) >= above:
                    return True
        return False

    def held(self, limit, key, r):
        """Could a hold be in force?"""
        if not limit.hold:
            return False
        name = limit.identity(), key, limit.max
        if name not in self.holds:
            self.holds[name] = self._hold_times(limit, key)
        last = bisect_right(self.holds[name], r.answered) - 1
        return last >= 0 and (self.first_clock <= r.answered or self.holds[name][last] + limit.hold + 0.5 >= r.asked)

    def _hold_times(self, limit, key):
        """When a hold could have begun, by what was taken then."""
        times = []
        for c in self.charges[limit.identity(), key]:
            need = min(self.need(limit, c), max(1, limit.max // 10))
            if self.count(limit, key, c, False, limit.max - need) + need > limit.max or limit.share:
                times.append(min(c.answered, c.asked + 60))
        return sorted(times)

    def by_limit(self, r, overs, hard, bytes_=None):
        """Does some limit that answers so speak for a refusal of r?"""
        for view in self.known[r.index]:
            if view.exempt_client:
                continue
            for limit, key in view.keys:
                if limit.over in overs and (bytes_ is None or (limit.count == "bytes") == bytes_) and view.may_refuse(limit, hard) and \
                        (self.held(limit, key, r) or self.full(limit, key, view, r, not hard)):
                    return True
            for limit in view.limits:
                if limit.per == ["client"] and limit.over in overs and not limit.shadow and self.held(limit, (view.facts["client"],), r) and \
                        not (hard and (view.exempt_recipient or view.facts["null_sender"] and limit.when.get("null_sender") is not True)):
                    return True
        return False

    # ---- answers

    def _hard(self, r):
        views = self.known[r.index]
        for view in views:
            for rule, action in view.actions():
                if action == "reject" and HARD_CODE[rule] == r.code:
                    return
        if r.code in ("550 5.7.1", "552 5.2.2") and self.by_limit(r, ("reject",), True, r.code == "552 5.2.2"):
            return
        if r.code in ("550 5.7.1", "552 5.2.2") and not self._only_rules(r):
            self._find("hard/" + self._why(r, ("reject",)), r, "what was taken and what is asked fit", self._story(r, ("reject",)))
            return
        self._find(f"rule/{self._rule_of(r)}{self._fault(r)}", r, "no rule says so")

    def _only_rules(self, r):
        return not any(limit.over == "reject" and not limit.shadow for view in self.known[r.index] for limit in view.limits)

    @staticmethod
    def _rule_of(r):
        return {"550 5.1.1": "unknown", "550 5.2.1": "alias", "550 5.7.1": "sender", "554 5.7.1": "client"}.get(r.code, r.code.replace(" ", "-"))

    def _fault(self, r):
        """The name of what is wrong with the alias data at that moment."""
        for s in sorted(self.books.strikes, key=lambda s: s.kind not in ALIAS_FAULTS):
            if (s.kind in ALIAS_FAULTS or s.kind.startswith("owner")) and not s.facts.get("nothing") and s.touches(r.asked, r.answered, CALM):
                return "@" + s.kind
        return ""

    def _why(self, r, overs):
        """What would explain a hard answer that is none: the class of a finding."""
        asked = [(view, limit, key) for view in self.known[r.index] for limit, key in view.keys if limit.over in overs and view.may_refuse(limit, True)]
        reasons = {
            "renamed": lambda view, limit, key: self._renamed(limit, r),
            "retries": lambda view, limit, key: limit.count == "attempts" and self._attempts(limit, key, r) + 1 > limit.max,
            "reserved": lambda view, limit, key: self.full(limit, key, view, r, True),
            "reserved-hold": lambda view, limit, key: limit.hold and self._tripped_openly(limit, key, view, r),
        }
        for name, explains in reasons.items():
            if any(explains(*entry) for entry in asked):
                return name
        holds = [(view, limit, (view.facts["client"],)) for view in self.known[r.index] for limit in view.limits
                 if limit.hold and limit.per == ["client"] and limit.over in overs]
        if any(self._tripped_openly(limit, key, view, r) for view, limit, key in holds):
            return "reserved-hold"  # it covers what the rules refuse, too
        if self._spills(r) and any(len(limit.per) > 1 or limit.share or view.facts["catch_all"] for view, limit, _ in asked):
            return "overflow"
        if any(s.touches(r.asked, r.answered, CALM) for s in self.alias_faults):
            return "rules" + self._fault(r)  # what the limit asks about is not what was meant
        if any(limit.hold and limit.per == ["client"] for view in self.known[r.index] for limit in view.limits):
            return "client-hold"
        if self.spec["skew"] or self.first_clock <= r.answered:
            return "clocks"
        return "nothing"

    def _tripped_openly(self, limit, key, view, r):
        """Was there a RCPT before r that reservations, or a declared size alone, refused?"""
        before = [c for c in self.charges[limit.identity(), key] if c.asked <= r.answered and c.answered + limit.hold + 1 >= r.asked]
        return any(self.full(limit, key, view, c, True) for c in before[:200] + before[-200:])

    def _renamed(self, limit, r):
        return any(s.kind == "owner-policy" and s.facts.get("what") == "count" and s.facts.get("limit") == limit.name and s.begin <= r.answered
                   for s in self.books.strikes)

    def _attempts(self, limit, key, r):
        horizon = self._horizon(limit, r)
        found = (c for c in self.charges[limit.identity(), key] if c.asked <= r.answered and c is not r and c.answered >= horizon)
        return sum(1 for _ in islice(found, limit.max + 1))

    def _story(self, r, overs):
        """The RCPTs that share a key of such a limit with r; for the first findings only."""
        if len(self.findings) > 50:
            return []
        for view in self.known[r.index]:
            for limit, key in view.keys:
                if limit.over in overs:
                    return sorted(self._before((limit.identity(), key), r, self._horizon(limit, r)), key=lambda c: c.asked)[-40:]
        return []

    def _soft(self, r):
        actions = {entry for view in self.known[r.index] for entry in view.actions()}
        if any(action == "defer" for _, action in actions):
            return
        if r.code.startswith("451"):
            self._backend(r)
            return
        if self.by_limit(r, ("defer", "reject", "discard"), False):
            return
        if r.answered >= self.starved_from or self.touched(OUTAGES | ROWS_DIFFER, r.asked, r.answered) or self._spills(r):
            return
        if self.touched(CLOCKS | {"owner-policy"}, r.asked, r.answered, FOREVER):
            return
        kind = "discard" if any(action == "discard" for _, action in actions) else "skew" if self.spec["skew"] else \
            "ramp" if any(limit.ramp for view in self.known[r.index] for limit, _ in view.keys) else "limit"
        self._find(f"soft/{kind}", r, "nothing is used up",
                   self._story(r, ("defer", "reject", "discard")))

    def _spills(self, r):
        """Can strangers' keys have been so many that r shares one with them?"""
        most = self.spec["counters"].get("max_new_subjects", 1000)
        limits = [(limit, view.facts["catch_all"]) for view in self.known[r.index] for limit in view.limits]
        crowded = "local_subjects" in self.spec["counters"]
        if (crowded or r.index >= 100 * most) and any(len(limit.per) == 1 and self._made_up(limit.per[0], r) for limit, _ in limits):
            return True
        keys = max(sum(2 if limit.share else 1 for limit in view.limits) for view in self.known[r.index]) if limits else 0  # new ones, of each RCPT; a hundred are on their way at once
        return (crowded or (r.index + 100) * keys >= most) and any(len(limit.per) > 1 or limit.share or catch_all for limit, catch_all in limits)

    @staticmethod
    def _made_up(word, r):
        """Can a stranger choose as many of these as he likes?"""
        return word in ("sender", "sender_domain") or word == "client" and ":" in r.client

    def _backend(self, r):
        if r.code == "451 4.3.2":
            if not any(limit.ramp for view in self.known[r.index] for limit, _ in view.keys):
                self._find("soft/no-ramp", r, "no limit has a ramp")
            return
        slow = r.answered - r.asked > 0.04 and self.books.noise_of_machine(r.gate, r.asked, r.answered) > 0.02  # a look-up is given up
        if not slow and not any(s.touches(r.asked, r.answered, CALM) for s in self.books.strikes):
            self._find("needless/451", r, "nothing is broken")

    def _accepted(self, r):
        views = self.known[r.index]
        if r.dropped and not self._may_drop(r):
            why = self._why(r, ("discard",)) if self._discards(r) else "nothing"
            self._find("drop/" + (why + self._fault(r) if why == "nothing" else why), r,
                       "was accepted and dropped, no rule says so", self._story(r, ("discard",)))
        if len(views) != 1 or self.alias_faults and self.touched(ALIAS_FAULTS, r.asked, r.answered):
            return
        view = views[0]
        refuses = [rule for rule, action in sorted(view.actions()) if action in ("reject", "defer") and
                   not (rule in ("sender", "client") and view.exempt_client or rule == "sender" and view.found.how is None)]
        drops = any(action == "discard" for _, action in view.actions())  # stronger than a defer
        if refuses and not (drops and not any(action == "reject" for _, action in view.actions())) and not self.by_limit(r, ("discard",), True):
            self._find(f"accepted/{refuses[0]}{self._fault(r)}", r, f"{refuses} refuse it")
        elif r.message.taken() and not r.dropped and ("alias", "discard") in view.says:
            self._find("not-dropped" + self._fault(r), r, "its alias says discard")

    def _discards(self, r):
        return any(limit.over == "discard" for view in self.known[r.index] for limit, _ in view.keys)

    def _may_drop(self, r):
        return any(action == "discard" for view in self.known[r.index] for _, action in view.actions()) or self.by_limit(r, ("discard",), True)

    def _shadow(self, r):
        if r.code not in ("continue", "tempfail") and not r.code.startswith("451 4.3.0"):  # tempfail: a gate that ends
            self._find("shadow/refused", r, "in shadow mode")
        elif r.dropped:
            self._find("shadow/dropped", r, "in shadow mode")

    def _waited(self, r):
        """One timeout, once; where nothing is asked of Redis, or it is slow by design, the database has half a second."""
        wait = r.answered - r.asked - self.books.loop.noise(r.asked, r.answered)
        most = 2 * self.timeout if self.timeout < 5 else 2 * 0.5
        if not self.spec["waits"] or self.touched(GATES, r.asked, r.answered, 1.0):
            return
        if wait > most + 0.15 and wait > most + 0.15 + self.books.noise_of_machine(r.gate, r.asked, r.answered):
            names = sorted({s.kind for s in self.books.strikes if s.touches(r.asked, r.answered, 1.0)})
            self._find("wait/" + "+".join(names or ["nothing"]), r, f"waited {wait * 1000:.0f} ms, timeout {self.timeout * 1000:.0f} ms")

    # ---- sums

    def _segments(self):
        """Spans between events that let counts be forgotten or moved, as the contract allows."""
        if not hasattr(self, "breaks"):
            spec, self.breaks = self.spec, []
            outage = any(s.kind in OUTAGES for s in self.books.strikes)
            for s in self.books.strikes:
                forgets = s.kind in CLOCKS | {"redis-flushed", "owner-policy"} or \
                    s.kind == "redis-killed-empty" and (spec["gates"] > 1 or spec["counters"].get("when_down")) or \
                    s.kind in GATES and (spec["store"] == "memory" or outage) or \
                    s.kind in OUTAGES and spec["counters"].get("when_down") == "accept"
                if forgets:
                    self.breaks.append((s.begin, s.end + 3.0))
            self.breaks.sort()
        return self.breaks

    def _segment(self, begin, end):
        number = 0
        for first, last in self._segments():
            if begin <= last and end >= first:
                return None
            number += begin > last
        return number

    def _over(self, name):
        (limit_name, kind, per), key = name
        limit = self.limit_of[name]
        if "local_subjects" in self.spec["counters"]:
            self._over_crowded(name, limit)
            return
        if kind == "attempts":
            self._over_attempts(name, limit, key)
            return
        if limit.shadow or len(self._lists(name)[0][0]) <= (limit.max if kind != "bytes" else 1):
            return
        spans = defaultdict(list)
        seen = set()
        for r in self._lists(name)[0][0]:
            if r.code != "continue" or not r.message.taken() or r.dropped:
                continue
            if not all((limit.name, limit.max, limit.window, key) in [(l.name, l.max, l.window, k) for l, k in v.charged()] for v in self.known[r.index]):
                continue
            same = r.message if kind != "recipients" else (r.message, r.raw.lower())
            if same in seen:
                continue
            seen.add(same)
            end = r.message.end_answered if kind == "bytes" else r.answered
            segment = self._segment(r.asked, end)
            if segment is not None and not any(s.touches(r.asked, end, CALM) for s in self.alias_faults):
                spans[segment].append((r.asked, end, r.message.size if kind == "bytes" else 1, r))
        for charges in spans.values():
            self._over_in(limit, kind, charges)

    def _over_crowded(self, name, limit):
        """Memory with less room than there are subjects may forget what is neither full nor held; what was full of what was taken stays so."""
        if limit.shadow or limit.count == "attempts" or limit.window < 3600 or self._segments() or self.alias_faults:
            return
        full = FOREVER
        for r in self.charges[name]:
            if r.code == "continue" and r.asked > full and r.message.taken() and not r.dropped and r.index not in self.repeats:
                self._find("over/forgotten", r, f"{limit.name} was full, and nothing was given back since", self.charges[name][-30:])
                return
            if full == FOREVER and self._proves_full(name, limit, r):
                full = r.answered

    def _proves_full(self, name, limit, r):
        """Did this limit alone refuse r, by what was taken?"""
        hard = r.hard()
        if r.code not in ("450 4.2.1", "550 5.7.1") or any(view.actions() for view in self.known[r.index]):
            return False
        if limit.over != "reject" if hard else self._spills(r) or not self._quiet(name, r):
            return False
        return not any((other.identity(), key) != name and (not hard or other.over == "reject") and
                       (self.held(other, key, r) or self.full(other, key, view, r, not hard))
                       for view in self.known[r.index] for other, key in view.keys)

    def _quiet(self, name, r):
        """Had all that this key let in before r been taken, or been given back?"""
        return all(c.message.taken() and c.message.end_answered < r.asked or c.message.released + GIVEN_BACK < r.asked
                   for c in self.charges[name] if c.asked <= r.answered and c.code in ("continue", None))

    def _over_attempts(self, name, limit, key):
        """Nobody is let in after `max` attempts that certainly were none but first ones."""
        if limit.shadow or len(self.charges[name]) <= limit.max or self._segments() or any(s.kind in OUTAGES | GATES | ALIAS_FAULTS for s in self.books.strikes):
            return
        asked, answered = [], []
        for r in self.charges[name]:
            may_be_retry = self.first_deferred.get((base(r.sender), base(r.raw)), FOREVER) < r.answered
            sure = r.code is not None and r.index not in self.repeats and \
                all((limit.name, limit.max, key) in [(l.name, l.max, k) for l, k in v.charged()] for v in self.known[r.index])
            ended = r.message.taken() or not any(other.over == "discard" for v in self.known[r.index] for other, _ in v.keys)  # whether it was dropped
            if sure and r.code == "continue" and not r.dropped and ended:
                recent = (answered[i] for i in range(len(asked) - 1, -1, -1) if asked[i] > r.answered - limit.window)
                before = sum(1 for _ in islice((at for at in recent if at < r.asked), limit.max))
                if before >= limit.max and not may_be_retry:
                    self._find("over/attempts", r, f"{limit.name}: at least {before} attempts of {limit.max} were before it", self.charges[name][-30:])
                    return
            if sure and not may_be_retry:
                asked.append(r.asked)
                answered.append(r.answered)

    def _over_in(self, limit, kind, charges):
        begin = 0
        charges.sort(key=lambda c: c[0])
        for i, (asked, _, _, _) in enumerate(charges):
            inside = [c for c in charges[i:i + (limit.max + 60 if kind != "bytes" else 400)] if c[1] < asked + limit.window]
            total = sum(c[2] for c in inside)
            if kind == "bytes" and inside:
                total -= max(c[2] for c in inside)
            most = limit.max
            if inside and self.touched(OUTAGES, asked, inside[-1][1]):
                lost = self._in_flight(asked, inside[-1][1])
                most = limit.max * self.spec["gates"] + (lost if kind != "bytes" else lost * max(c[2] for c in inside))
            if total > most:
                r = inside[-1][3]
                where = kind if kind == "bytes" else self.spec["store"]
                if where == "redis" and self.spec["skew"]:
                    where = "redis-skew"
                if self.touched(OUTAGES, asked, inside[-1][1]):
                    where += "-outage"
                self._find(f"over/{where}", r, f"{limit.name} took {total}{' and one more' if kind == 'bytes' else ''} of {limit.max} in {inside[-1][1] - asked:.3f} s of {limit.window} s",
                           [c[3] for c in inside][-40:-1])
                return

    def _in_flight(self, begin, end):
        """How many charges the outages in that span may have taken the answers of."""
        strikes = [s for s in self.books.strikes if s.kind in OUTAGES and s.touches(begin, end, CALM)]
        if any(not s.kind.startswith("redis-killed") or s.end - s.begin > 0.5 for s in strikes):
            return self.spec["lanes"]
        return sum(r.asked <= s.end + 0.02 and r.answered >= s.begin - 0.02 for r in self.books.rcpts for s in strikes)

    # ---- the rest

    def _connects(self):
        for asked, answered, gate, client, code in self.books.connects:
            lag = FOREVER if any(s.touches(asked, answered, CALM) for s in self.alias_faults) else 0.0
            actions = {rules.client_action(client) for _, rules in self.books.rules.seen(asked, answered, lag)}
            soft = code == "tempfail" or code[0] == "4"
            if "reject" in actions or soft and ("defer" in actions or self.touched(ALIAS_FAULTS | GATES, asked, answered)):
                continue
            if any(limit.per == ["client"] and limit.hold for _, _, limits in self.books.limits.states for limit in limits):
                continue  # a hold: seen at RCPT
            self.findings.append(Finding(f"connect/{self._fault_at(asked, answered)}", asked, f"client {client} was refused at connect: {code}, rules say {actions}"))

    def _fault_at(self, asked, answered):
        return "+".join(sorted({s.kind for s in self.books.strikes if s.touches(asked, answered, CALM)})) or "nothing"

    def _messages(self):
        for m in self.books.messages:
            if m.end is None:
                continue
            if m.end[0] == "5" or m.end == "reject":
                self.findings.append(Finding("end/hard", m.ended, f"the end of a message was answered {m.end}", m.rcpts))
            gone = {text.strip("<>") for command, text in m.changes if command == b"-"}
            strange = gone - {r.raw for r in m.rcpts}
            if strange:
                self.findings.append(Finding("drop/stranger", m.ended, f"dropped, but never asked for: {strange}", m.rcpts))
            if m.end[0] == "4" and not any(limit.count == "bytes" for _, _, limits in self.books.limits.states for limit in limits):
                self.findings.append(Finding("end/soft", m.ended, f"the end of a message was answered {m.end}, and no limit counts bytes", m.rcpts))

    def _named(self):
        for s in self.books.strikes:
            if s.named is None or s.facts.get("nothing") or s.facts.get("trouble"):
                continue
            for gate, reasons in s.named.items():
                if reasons is not None and not any(s.facts["expected"] in what for what in reasons):
                    self.findings.append(Finding(f"status/{s.kind}", s.begin, f"gate {gate} does not name {s.kind}: its reasons are {reasons}"))

    # ---- what Redis holds at the end

    def _counters(self):
        """What is counted lies between what must and what can have been, and no key exists that the contract does not want."""
        self.the_end = end = Rcpt(self.books.closed + GIVEN_BACK + 0.1, 0, "", "", "", None, "")
        end.answered, end.code = end.asked, "the end"
        for name in self.limit_of:
            (limit_name, kind, per), key = name
            limit = self.limit_of[name]
            if limit.window < 3600 or "host" in per or "%" in str(key):
                continue
            text = self.books.counters.get(self._key(per, key), {}).get(limit_name)
            used = used_of(text)
            most, least = self.count(limit, key, end, True, FOREVER), self._least(name, limit, key)
            if not least <= used <= most:
                about = sorted(self.charges[name], key=lambda r: r.asked)[-30:]
                skew = "-skew" if self.spec["skew"] and kind == "bytes" else "-shadow" if self.spec["mode"] == "shadow" else ""
                self.findings.append(Finding(f"counted/{'high' if used > most else 'low'}-{kind}{skew}", end.asked,
                                             f"{self._key(per, key)} {limit_name} is {text!r}, but it must be {least} to {most}", about))
        self._overflows()
        self._strange_keys()

    def _used(self, per, key, limit_name):
        return used_of(self.books.counters.get(self._key(per, key), {}).get(limit_name))

    @staticmethod
    def _key(per, key):
        words = [word if word.find("/") < 0 else word[:-3] if word.endswith("/32") else word for word in key]
        if per == ("all",):
            words = ["*"]
        return f"rcptgate:{'+'.join(per)}:{{{words[0]}}}" + "".join("|" + word for word in words[1:])

    def _least(self, name, limit, key):
        """What must have been counted."""
        if limit.shadow or self.spec["mode"] == "shadow" and limit.count != "attempts":
            return 0  # what it would refuse it does not count; in shadow mode nothing is deferred, and no attempt is a retry
        if self._may_spill(limit, key):
            return 0
        total, messages, recipients = 0, set(), set()
        for r in self.charges[name]:
            again = self.first_deferred.get((base(r.sender), base(r.raw)), FOREVER) < r.answered
            sure = all((limit.name, key) in [(l.name, k) for l, k in v.charged()] for v in self.known[r.index]) and r.code is not None
            if not sure or r.index in self.repeats:
                continue
            if limit.count == "attempts":
                total += not again
            elif r.code == "continue" and r.message.taken() and not r.dropped:
                if limit.count == "recipients":
                    total += (r.message, r.raw.lower()) not in recipients
                    recipients.add((r.message, r.raw.lower()))
                else:
                    total += 0 if r.message in messages else r.message.size if limit.count == "bytes" else 1
                    messages.add(r.message)
        return total

    def _may_spill(self, limit, key):
        """Can what that key should have be counted with strangers'?"""
        most = self.spec["counters"].get("max_new_subjects", 1000)
        if len(self.books.rcpts) < most:
            return False
        rs = self.charges[limit.identity(), key]
        if len(limit.per) == 1 and len(self.books.rcpts) >= 100 * most and any(self._made_up(limit.per[0], r) for r in rs):
            return True
        return len(limit.per) > 1 or limit.per == ["recipient"] and any(view.facts["catch_all"] for r in rs for view in self.known[r.index])

    def _overflow_key(self, limit, key):
        """The key that strangers share in its place; None: it has none, or the contract does not name it."""
        if limit.per == ["recipient"]:
            return ("@" + canonical(key[0])[1],) if any(v.facts["catch_all"] for r in self.charges[limit.identity(), key] for v in self.known[r.index]) else None
        if len(limit.per) == 1 or limit.per[0] == "recipient" or not STRANGE & set(limit.per[1:]):
            return None
        return key[0], "*"

    def _overflows(self):
        """Overflow keys hold no more than what their subjects, together, do not have under keys of their own."""
        left = defaultdict(int)
        for name in self.limit_of:
            (limit_name, _, per), key = name
            limit = self.limit_of[name]
            if limit.window >= 3600 and "host" not in per and (overflow := self._overflow_key(limit, key)):
                own = self._used(per, key, limit_name)
                left[self._key(per, overflow), limit_name] += max(0, self.count(limit, key, self.the_end, True, FOREVER) - own)
        for (of, limit_name), most in left.items():
            used = used_of(self.books.counters.get(of, {}).get(limit_name))
            if used > most:
                self.findings.append(Finding("counted/overflow", self.the_end.asked, f"{of} {limit_name} is {used}, but it must be {most} at most"))

    def _strange_keys(self):
        """Addresses that never existed, and aliases that discard, have no keys of their own; in shadow mode nothing is noted as deferred."""
        strange, usual = {}, set()
        for r in self.books.rcpts:
            views = self.known[r.index]
            if all(v.found.how == "absent" and not v.exempt_recipient for v in views):
                strange[base(r.raw)] = "guessed", r
            elif all(("alias", "discard") in v.says and not v.exempt_client for v in views):
                strange[base(r.raw)] = "discard", r
            else:
                usual.add(base(r.raw))
        for key in self.books.counters:
            if self.spec["mode"] == "shadow" and ":retries:" in key:
                self.findings.append(Finding("keys/retries", self.the_end.asked, f"in shadow mode Redis has {key} {self.books.counters[key]}"))
            for word in key.replace("{", "|").replace("}", "|").split("|"):
                if word in strange and word not in usual:
                    what, r = strange[word]
                    self._find(f"keys/{what}", r, f"Redis has {key} {self.books.counters[key]}")
