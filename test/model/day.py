"""A day of mail, made from its number alone: who sends what to whom and when, under which policy and alias rules; and the log that Postfix
writes of it. What is answered is asked of real gates, at the day's own time."""

import bz2
import datetime
import gzip
import heapq
import lzma
import os
import random
from zoneinfo import ZoneInfo

import frames
from frames import FRAMES, syslog_date

# Zone and the local day; what makes it a special one.
DAYS = [("UTC", (2025, 3, 14), "plain"), ("Europe/Berlin", (2025, 10, 26), "the hour that comes twice"),
        ("Europe/Berlin", (2025, 3, 30), "an hour is skipped"), ("America/New_York", (2024, 11, 3), "the hour that comes twice"),
        ("Australia/Lord_Howe", (2025, 4, 6), "half an hour comes twice"), ("UTC", (2024, 2, 29), "29 February"),
        ("Asia/Kolkata", (2024, 2, 29), "29 February"), ("Europe/Berlin", (2024, 12, 31), "the end of a year"),
        ("Asia/Kolkata", (2025, 7, 1), "plain"), ("America/St_Johns", (2025, 6, 30), "plain")]
CHAINS = ["none", "none", "none", "filter", "filter-xforward", "filter-expands", "two-filters", "proxy", "proxy-xforward"]


def limit(name, per, most, window, over="defer", count="recipients", **more):
    return {"name": name, "per": per, "max": most, "window": f"{window}s", "over": over, "count": count, **more}


def any_limits(dice, drops):
    """What may stand in a policy; drops: also one that drops recipients."""
    n = dice.randint
    found = [limit("alias-minute", "recipient", n(2, 6), 60), limit("pair", ["recipient", "client"], 3, 600),
             limit("client-hour", "client", n(6, 20), 3600, "reject"), limit("sender-day", "sender", n(10, 25), 86400, "reject"),
             limit("tries", "client", n(15, 40), 7200, "reject", "attempts"), limit("boxes", "mailbox", n(4, 12), 600),
             limit("owners", "owner", n(20, 40), 3600, "reject", when={"class": ["c0", "c1"]}),
             limit("shared", "recipient_domain", n(40, 90), 1800, share={"of": "client", "max": "20%", "above": "10%"}),
             limit("held", "recipient", n(5, 9), 300, "defer", hold="20m"), limit("held-hard", "sender", n(5, 9), 600, "reject", hold="30m"),
             limit("held-client", "client", n(5, 12), 900, "reject", hold="10m"), limit("logins", "user", n(5, 20), 3600, "reject"),
             limit("mails", "sender_domain", n(15, 40), 3600, "defer", "messages"), limit("host", "host", n(60, 200), 3600),
             limit("all-tries", "all", n(150, 300), 3600, "defer", "attempts"),
             limit("bounces", "recipient", n(1, 3), 3600, "reject", when={"null_sender": True}),
             limit("by-catch-all", "recipient_domain", n(5, 20), 3600, "reject", when={"catch_all": True}),
             limit("guesses", "client", n(2, 5), 7200, "reject", "attempts", when={"unknown": True}),
             limit("watched", "client", 3, 3600, "reject", shadow=True)]
    if drops:
        found.append(limit("dropped", "recipient", n(8, 15), 3600, "discard"))
    return sorted(dice.sample(found, n(4, 7)), key=lambda entry: entry["name"])


def other_limits(dice):
    return [limit("alias-hour", "recipient", dice.randint(3, 30), 3600, "reject"), limit("user-day", "user", 12, 86400),
            limit("domains", "sender_domain", 40, 7200), limit("client-tries", "client", 60, 7200, "reject", "attempts")]


# Limits under which the order of the RCPTs of one message does not matter, where its client and sender send nothing else.
ORDERLESS = {"alias-minute", "pair", "client-hour", "sender-day", "tries", "held", "logins", "mails", "bounces", "guesses", "watched"}


def counts_attempts(limits):
    return any(entry["count"] == "attempts" for entry in limits)


class Mail:
    """One message, what became of it, and what the two policies said of its RCPTs."""

    def __init__(self, at, client, user, sender, rcpts):
        self.at = self.ends_at = at
        self.client, self.user, self.sender, self.rcpts = client, user, sender, rcpts
        self.reaches_end, self.queue, self.pid, self.answers = True, None, None, []
        self.decisions, self.others, self.other_answers, self.end = [], [], [], None

    def copy(self, at, client):
        return Mail(at, client, self.user, self.sender, self.rcpts)

    def is_through(self):
        return bool(self.answers) and "through" in self.answers


class Day:
    def __init__(self, number):
        self.number, self.dice = number, random.Random(number)
        dice = self.dice
        zone, date, self.what = dice.choice(DAYS)
        self.zone_name, self.zone = zone, ZoneInfo(zone)
        self.frame = FRAMES[number % len(FRAMES)](self)
        self.chain, self.srs = dice.choice(CHAINS), dice.choice(["", "", "=", "+", "-"])
        self.gate = "" if self.chain.startswith("proxy") else dice.choice(["", "", "mx1", "gate1"])
        if isinstance(self.frame, (frames.DockerBare, frames.Compose)) and self.gate:
            self.gate = "mx1"  # these frames name no host
        self.prefix = dice.choice(["postfix", "postfix-in", "mx-2/postfix", "postfix/submission"])
        self.begin = int(datetime.datetime(*date, tzinfo=self.zone).timestamp()) - 2 * 3600
        self.seconds = dice.choice([8, 26, 28]) * 3600
        self.limits, self.others = any_limits(dice, bool(self.gate)), other_limits(dice)
        self.mode = dice.choice(["enforce"] * 9 + ["shadow"])
        self.catch_all = dice.choice(["accept", "reject"])
        self.lines, self.order = [], 0
        self.ids, self.freed = set(), []
        self.taken = set()  # the ids of the messages that came in
        self.mails, self.ended = [], []  # in the order of their RCPTs, and of their ends

    def __str__(self):
        return (f"day {self.number}: {self.what}, {self.zone_name}, {type(self.frame).__name__}, filters {self.chain}, "
                f"SRS {self.srs or 'none'}, gate {self.gate or 'none'}, {self.mode}, limits {' '.join(entry['name'] for entry in self.limits)}")

    # the rules

    def fill(self, database):
        dice = self.dice
        database.domain("example.com", catch_all=self.catch_all)
        for i in range(24):
            mailbox = f"box{i % 9}@mailbox.example" + (f",more{i % 5}@mailbox.example" if i % 6 == 0 else "")
            database.alias(f"alias{i}@example.com", mailbox, owner=f"o{i % 4}", **{"class": f"c{i % 3}"})
        database.alias("gone@example.com", action="reject")
        database.alias("later@example.com", action="defer")
        database.alias("ends@example.com", expires_at=self.begin + dice.randrange(self.seconds))
        database.glob("example.com", "g-*", mailbox="glob@mailbox.example")
        database.sender("*", "@bad.example", "reject")
        database.sender("alias3@example.com", "@s3.example", "defer")
        database.sender("@example.com", "sender5@s5.example", "accept")
        database.client("203.0.113.0/28", "accept")
        database.client("203.0.113.16/28", "defer")
        database.client("203.0.113.32/28", "reject")
        if self.gate:  # what is dropped is in no line of Postfix's
            database.alias("drop@example.com", action="discard")
            database.sender("alias4@example.com", "@s4.example", "discard")

    def any_client(self):
        odd = [f"203.0.113.{i}" for i in (1, 2, 17, 33)]
        return self.dice.choice([f"192.0.2.{i}" for i in range(1, 25)] + ["2001:db8::7", "2001:db8::8"] + odd)

    def any_sender(self):
        senders = [f"Sender{i}@s{i % 7}.example" for i in range(24)] + ["", "", "x@bad.example", "prvs=12ab34=Sender2@s2.example"]
        return self.dice.choice(senders + [f"SRS0=aB{i}=TT=far.example=u{i}@forwarder.example" for i in range(3)])

    def any_alias(self):
        aliases = [f"alias{i}@example.com" for i in range(24)] * 3 + [f"Alias{i}+tag{i % 2}@Example.com" for i in range(9)]
        aliases += ["gone@example.com", "later@example.com", "ends@example.com", "ends@example.com", "g-one@example.com", "g-two@example.com",
                    "nobody@example.com", "no-one@example.com", "someone@elsewhere.example", "postmaster@example.com"]
        return self.dice.choice(aliases + (["drop@example.com", "drop@example.com"] if self.gate else []))

    # what happens

    def plan(self):
        """The messages that come by themselves, by their second: one each, so that their order is sure."""
        dice, coming = self.dice, {}
        orderless = bool(self.gate) or all(entry["name"] in ORDERLESS for entry in self.limits)
        for second in dice.sample(range(self.seconds), dice.randint(120, 260)):
            at, user = self.begin + second, dice.choice(["", "", "", "Bob@Login"])
            if dice.random() < 0.1:  # a flood, one a second
                flood = Mail(at, self.any_client(), "", self.any_sender(), [self.any_alias()])
                for i in range(dice.randint(3, 30)):
                    coming[at + i] = flood.copy(at + i, flood.client)
            elif dice.random() < 0.1 and orderless:
                mail = Mail(at, self.any_client(), user, self.any_sender(), [self.any_alias() for _ in range(dice.randint(2, 6))])
                if not self.gate:
                    mail.client, mail.sender = f"198.51.{second % 256}.{dice.randrange(250)}", f"one-{second}@many{second}.example"
                    mail.user, mail.rcpts = user and f"Ann{second}", sorted(set(mail.rcpts))
                coming[at] = mail
            else:
                coming[at] = Mail(at, self.any_client(), user, self.any_sender(), [self.any_alias()])
        return coming

    def play(self, gate, other):
        """Asks the gates: that of the day, and one with another policy that is told of the same RCPTs."""
        dice, coming = self.dice, self.plan()
        order = sorted(coming)
        while order:
            at = heapq.heappop(order)
            mail = coming[at]
            if at > mail.at:
                self.end(gate, other, mail)
                continue
            mail.queue, mail.pid = self.new_id(at), 100 + len(self.mails) % 40
            self.taken.add(mail.queue)
            if len(mail.rcpts) == 1 and (self.gate or not counts_attempts(self.limits)):  # Postfix does not tell of such a RCPT
                mail.reaches_end = dice.random() > 0.05
            mail.answers = gate.ask(at, mail)
            self.mails.append(mail)
            if self.is_told(mail):
                mail.reaches_end = mail.reaches_end or not mail.is_through()
                mail.other_answers = other.ask(at, mail)
            later = at + dice.randint(2, 9)
            if self.may_last(mail) and later not in coming and dice.random() < 0.3:  # others come meanwhile
                mail.ends_at, coming[later] = later, mail
                heapq.heappush(order, later)
            else:
                self.end(gate, other, mail)
            if mail.answers == ["defer"] and dice.random() < 0.5:  # it comes again, perhaps from another host of its pool
                again = at + dice.choice([5, 61, 130, 700])
                if again not in coming:
                    coming[again] = mail.copy(again, dice.choice([mail.client, self.any_client()]))
                    heapq.heappush(order, again)

    def may_last(self, mail):
        """May its end be another moment's than its RCPTs? Each that Postfix logs alone, or that a proxy gives on, has the time of its line."""
        return mail.answers is not None and {*mail.answers} == {"through"} and mail.reaches_end and not self.chain.startswith("proxy")

    def end(self, gate, other, mail):
        if mail.answers is not None:
            gate.end(mail.ends_at, mail, mail.is_through() and mail.reaches_end)
        if mail.answers is not None and self.is_told(mail) and mail.other_answers is not None:
            other.end(mail.ends_at, mail, "through" in mail.other_answers and mail.reaches_end)
        self.ended.append(mail)
        if mail.reaches_end:
            self.freed.append((mail.ends_at + 4010, mail.queue))

    def is_told(self, mail):
        """Are its RCPTs in the log? Those of a connection that was refused are in none."""
        return mail.answers is not None and (bool(self.gate) or mail.reaches_end or not mail.is_through())

    def take(self, gate, other):
        """What the gates logged, when they have ended."""
        decisions, ends, _ = (iter(lines) for lines in gate.said())
        others, _, refusals = (iter(lines) for lines in other.said())
        for mail in self.mails:
            mail.decisions = [next(decisions) for _ in mail.answers or []]
            if self.is_told(mail):
                refusal = next(refusals) if mail.other_answers is None else None
                mail.others = [refusal or next(others) for _ in mail.rcpts]
        for mail in self.ended:
            mail.end = next(ends) if mail.is_through() and mail.reaches_end else None
        if [*decisions, *ends, *others, *refusals]:
            raise AssertionError("the gates decided more than they were asked")

    def kept(self, mail):
        """The recipients that Postfix delivers to."""
        return [rcpt for rcpt, decision in zip(mail.rcpts, mail.decisions)
                if decision.verdict == "accept" or (self.mode == "shadow" and decision.verdict != "duplicate")]

    def told(self):
        """Of each RCPT that is in the log: its message, and what the two policies said."""
        for mail in self.mails:
            if not self.is_told(mail):
                continue
            for decision, other in zip(mail.decisions, mail.others):
                if self.gate or decision.verdict != "duplicate":
                    yield mail, decision, other

    # what is logged of it

    def write_log(self):
        for mail in self.mails:
            self.log_mail(mail)
            if self.dice.random() < 0.1:
                self.log_bounce(mail.at)
        for at in range(self.begin, self.begin + self.seconds, 50):
            self.log(at, "mx1", self.program("anvil"), 9, "statistics: max connection rate 1/60s for (smtp:192.0.2.1) at x")

    def log_mail(self, mail):
        if mail.answers is None:
            self.postfix(mail.at, "smtpd", 100, f"NOQUEUE: milter-reject: CONNECT from unknown[{mail.client}]: 554 5.7.1 no; proto=SMTP")
            return
        if self.gate:
            for decision in mail.decisions:
                self.log(mail.at, self.gate, "rcptgate", 77, decision.text)
        begun = False
        for rcpt, answer in zip(mail.rcpts, mail.answers):
            if answer == "through" and not begun and not self.chain.startswith("proxy"):
                begun = True
                self.client_line(mail.at, 100, mail.queue, mail.client, mail.user)
            elif answer != "through":
                self.log_refusal(mail, rcpt, answer, mail.queue if begun else None)
        if self.gate and mail.end:
            self.log(mail.ends_at, self.gate, "rcptgate", 77, mail.end)
        if not mail.is_through():
            return
        if self.chain.startswith("proxy"):
            login = f", sasl_method=PLAIN, sasl_username={mail.user}" if mail.user else ""
            self.postfix(mail.at, "smtpd", mail.pid, f"NOQUEUE: client=unknown[{mail.client}]{login}")
        if not mail.reaches_end:
            self.postfix(mail.at + 1, "smtpd", 100, f"lost connection after RCPT from unknown[{mail.client}]")
            return
        if self.kept(mail):
            self.log_accepted(mail, self.kept(mail))
        else:
            self.postfix(mail.ends_at, "cleanup", 7, f"{mail.queue}: milter-discard: END-OF-MESSAGE from unknown[{mail.client}]: milter triggers "
                         f"DISCARD action; from=<{mail.sender}> to=<{mail.rcpts[-1]}> proto=ESMTP helo=<x>")

    def new_id(self, at):
        """Short queue ids are given again."""
        if self.freed and self.freed[0][0] < at - 10 and self.dice.random() < 0.3:
            return self.freed.pop(0)[1]
        while True:
            queue = "".join(self.dice.choices("0123456789ABCDEF", k=11))
            if queue not in self.ids:
                self.ids.add(queue)
                return queue

    def program(self, daemon):
        prefix = self.prefix if daemon == "smtpd" else self.prefix.partition("/sub")[0]
        return f"{prefix}/{daemon}"

    def log(self, at, host, program, pid, text):
        self.order += 1
        self.lines.append((at, self.order, host, program, pid, text))

    def postfix(self, at, daemon, pid, text):
        self.log(at, "mx1", self.program(daemon), pid, text)

    def queued_sender(self, sender):
        """As the queue shows it, behind SRS."""
        if not self.srs or not sender:
            return sender
        local, _, domain = sender.rpartition("@")
        if local.startswith("SRS0"):
            return f"SRS1{self.srs}Hash={domain}={local[4:]}@example.com"
        return f"SRS0{self.srs}Hash=TT={domain}={local}@example.com"

    def log_refusal(self, mail, rcpt, answer, queue):
        code = "450 4.2.1" if answer == "defer" else "550 5.7.1"
        login = f" sasl_username=<{mail.user}>" if mail.user else ""
        self.postfix(mail.at, "smtpd", 100, f"{queue or 'NOQUEUE'}: milter-reject: RCPT from unknown[{mail.client}]: {code} "
                     f"<{rcpt}>: no; from=<{mail.sender}> to=<{rcpt}> proto=ESMTP helo=<x>{login}")

    def removed(self, at, queue):
        self.postfix(at, "qmgr", 8, f"{queue}: removed")
        if queue not in self.taken:
            self.freed = sorted([*self.freed, (at, queue)])

    def log_bounce(self, at):
        """Mail of this host's own: no RCPT, under an id that a message of before may have had."""
        queue = self.new_id(at)
        self.queued(at, queue, "", 1)
        self.delivered(at + 1, queue, f"bounced{at}@sender.example", None, "mx.sender.example[203.0.113.8]:25", "250 2.0.0 Ok")
        self.removed(at + 1, queue)

    def client_line(self, at, pid, queue, client, user="", forwarded="", origin=""):
        login = f", sasl_method=PLAIN, sasl_username={user}" if user else ""
        before = f", orig_queue_id={origin}" if origin else ""
        real = f", orig_client=mail.example[{forwarded}]" if forwarded else ""
        name = "localhost" if client == "127.0.0.1" else "unknown"
        self.postfix(at, "smtpd", pid, f"{queue}: client={name}[{client}]{login}{before}{real}")

    def queued(self, at, queue, sender, n):
        self.postfix(at, "cleanup", 7, f"{queue}: message-id=<{queue}@x.example>")
        self.postfix(at, "qmgr", 8, f"{queue}: from=<{self.queued_sender(sender)}>, size=1234, nrcpt={n} (queue active)")

    def delivered(self, at, queue, to, original, relay, said, status="sent"):
        orig = f"orig_to=<{original}>, " if original and original != to else ""
        self.postfix(at, "smtp", 55, f"{queue}: to=<{to}>, {orig}relay={relay}, delay=1, delays=0/0/0/1, dsn=2.0.0, "
                     f"status={status} ({said})")

    def deliver_out(self, at, queue, rcpts, mailboxes, expanded=False):
        """From the last queue to the mailboxes; some of it later."""
        for rcpt in rcpts:
            for i in range(mailboxes):
                to, original = f"box{i}@mailbox.example", None if expanded else rcpt
                if expanded:
                    to = f"box{i}.{rcpt.partition('@')[0]}@mailbox.example"
                later = at + self.dice.choice([1, 2, 30, 4000])
                if later > at + 100:
                    self.delivered(at + 1, queue, to, original, "none", "connect: timed out", "deferred")
                self.delivered(later, queue, to, original, "mx.mailbox.example[203.0.113.9]:25", "250 2.0.0 Ok: queued as 0123456789AB")
        self.removed(at + 4001, queue)

    def log_accepted(self, mail, rcpts):
        mailboxes = self.dice.randint(1, 2)
        if self.chain.startswith("proxy"):
            self.log_proxied(mail, rcpts, mailboxes)
            return
        self.queued(mail.ends_at, mail.queue, mail.sender, len(rcpts))
        if self.chain == "none":
            self.deliver_out(mail.ends_at, mail.queue, rcpts, mailboxes)
        else:
            self.log_filtered(mail, mail.ends_at, rcpts, mail.queue, mailboxes, 2 if self.chain == "two-filters" else 1)

    def log_filtered(self, mail, at, rcpts, queue, mailboxes, filters):
        back, expands_behind = self.new_id(at + 1), self.chain == "filter-expands"
        xforward = self.chain == "filter-xforward"
        self.client_line(at + 1, 200, back, "127.0.0.1", "", mail.client if xforward else "", queue if xforward else "")
        self.queued(at + 1, back, mail.sender, len(rcpts))
        said = "250 2.0.0 Ok" if xforward else f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {back}"
        if filters > 1:
            self.log_filtered(mail, at + 1, rcpts, back, mailboxes, filters - 1)
        else:
            self.deliver_out(at + 1, back, rcpts, mailboxes, expanded=not expands_behind)
        for rcpt in rcpts:
            to = rcpt if expands_behind else f"box0.{rcpt.partition('@')[0]}@mailbox.example"
            self.delivered(at + self.dice.randint(2, 5), queue, to, rcpt, "127.0.0.1[127.0.0.1]:10024", said)
        self.removed(at + 6, queue)

    def log_proxied(self, mail, rcpts, mailboxes):
        self.client_line(mail.at, 300, mail.queue, "127.0.0.1", "", mail.client if self.chain == "proxy-xforward" else "")
        self.queued(mail.at, mail.queue, mail.sender, len(rcpts))
        self.postfix(mail.at, "smtpd", mail.pid, f"proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as {mail.queue}; from=<{mail.sender}> "
                     f"to=<{rcpts[-1]}> proto=ESMTP helo=<x>")
        self.deliver_out(mail.at, mail.queue, rcpts, mailboxes)

    # the file

    def text(self):
        lines = sorted(self.lines)
        if self.frame.zoned and not self.chain.startswith("proxy") and self.dice.random() < 0.5:  # written a little out of order
            late = {}  # what a process says in a second keeps its order
            lines.sort(key=lambda line: (line[0] + late.setdefault((line[0], *line[2:5]), self.dice.randint(0, 3)), line[1]))
        repeats = getattr(self.frame, "repeats", None)
        out, before, times = [], None, 0

        def tell():
            if times == 0:
                return
            at, _, host, program, pid, text = before
            said = repeats.format(times, text)
            if repeats.startswith("last"):
                out.append(f"{syslog_date(self.frame.local(at))} {host} {said}\n")
            else:
                out.append(self.frame.line(at, host, program, pid, said))

        for line in lines:
            if repeats and before and before[2:] == line[2:] and before[0] == line[0]:
                times += 1
                continue
            tell()
            before, times = line, 0
            out.append(self.frame.line(line[0], *line[2:]))
        tell()
        return out

    def write(self, directory):
        """The log as one or two files, and how replay shall be given them."""
        lines = self.text()
        cut = self.dice.choice([len(lines), len(lines) // 2])
        files = []
        for number, part in enumerate((lines[:cut], lines[cut:])):
            if not part:
                continue
            encoding = "latin-1" if isinstance(self.frame, frames.JournalExport) else "utf-8"
            data = "".join(part).encode(encoding)
            packer, end = self.dice.choice([(bytes, ""), (gzip.compress, ".gz"), (bz2.compress, ".bz2"), (lzma.compress, ".xz")])
            path = directory / f"mail{number}.log{end}"
            path.write_bytes(packer(data))
            changed = self.begin + self.seconds + 86400  # the files were not touched for a day
            os.utime(path, (changed, changed))
            files.append(str(path))
        return files
